"""What all tests share: one running product, for tests that do not stop or kill any of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import patience
from tests.support.product import Product

patience.be_patient()


@pytest.fixture(scope="session")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """`sluice up --no-demo` in a folder of its own; it runs until the session ends."""
    with Product(tmp_path_factory.mktemp("product")) as running:
        yield running
