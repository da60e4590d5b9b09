"""What runs behind the answers of an HTTP process."""

from __future__ import annotations

from structlog.testing import capture_logs

from sluice.lasting import lasting


async def test_a_loop_that_breaks_is_begun_again() -> None:
    begun = 0

    async def loop() -> None:
        nonlocal begun
        begun += 1
        if begun < 3:
            raise KeyError("a mistake")

    with capture_logs() as logged:
        await lasting(loop, pause_s=0)
    assert begun == 3
    assert [(each["event"], each["log_level"]) for each in logged] == [
        ("a loop broke", "error")
    ] * 2
