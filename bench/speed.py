"""Two sides in turns: plaintext, the product, plaintext, the product… within one run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.buyers import Prepared
from bench.processes import (
    accepts,
    descendants,
    environment,
    free_port,
    python,
    running,
    wait_until,
)
from bench.run import Bench, Figure, Outcome
from bench.stats import Ratio, median, ratio
from bench.wrk import Sample, shoot

START_S = 20.0
WARM_UP_S = 1.0
WORKERS = (1, 2)

Shot = Callable[[], Sample]


@dataclass(frozen=True, slots=True)
class Plaintext:
    port: int
    pids: list[int]

    def get(self, seconds: float) -> Sample:
        url = f"http://127.0.0.1:{self.port}/"
        return shoot(url, "get.lua", seconds=seconds, watched={"http": self.pids})

    def post(self, requests: Prepared, seconds: float) -> Sample:
        """The product's own requests, byte for byte."""
        return shoot(
            f"http://127.0.0.1:{self.port}/",
            "prepared.lua",
            requests.file,
            requests.width,
            seconds=seconds,
            watched={"http": self.pids},
        )


@contextmanager
def plaintext(folder: Path, interface: str, workers: int) -> Iterator[Plaintext]:
    port, log = free_port(), folder / f"plaintext-{interface}-{workers}.log"
    command = python("bench.plaintext", interface, str(port), str(workers))
    with running(command, log=log, environ=environment()) as child:
        wait_until("plaintext", lambda: accepts(port), seconds=START_S, child=child, log=log)
        served = [p.pid for p in descendants(child.pid)]
        bench_side = Plaintext(port, served)
        bench_side.get(WARM_UP_S)
        yield bench_side


@dataclass(slots=True)
class Rounds:
    """Samples by side, in the order in which they were taken."""

    plaintext: list[Sample] = field(default_factory=list)
    product: list[Sample] = field(default_factory=list)
    plaintext_rsgi: list[Sample] = field(default_factory=list)
    plaintext_post: list[Sample] = field(default_factory=list)

    def ratio(self) -> Ratio:
        return ratio(_rates(self.product), _rates(self.plaintext))

    def details(self) -> dict[str, Any]:
        sides = {
            "plaintext": self.plaintext,
            "product": self.product,
            "plaintext_rsgi": self.plaintext_rsgi,
            "plaintext_post": self.plaintext_post,
        }
        return {side: [asdict(sample) for sample in samples] for side, samples in sides.items()}


def take_turns(
    bench: Bench,
    name: str,
    workers: int,
    *,
    shot: Callable[[int], Sample],
    requests: Callable[[], Prepared],
) -> Rounds:
    """Rounds of plaintext and product; then plaintext over RSGI, and given the product's requests.

    `shot(round)` is one stretch of the product, with everything before and after that must be done
    while nothing is timed. `requests` gives a file of the product's requests for plaintext.
    """
    rounds, seconds = Rounds(), bench.sizes.seconds
    with ExitStack() as stack:
        asgi = stack.enter_context(plaintext(bench.folder, "asginl", workers))
        for index in range(bench.sizes.rounds):
            turn = f"{name}, {workers} HTTP worker{'s' * (workers > 1)}"
            turn += f": round {index + 1} of {bench.sizes.rounds}"
            bench.say(f"{turn}, plaintext")
            rounds.plaintext.append(asgi.get(seconds))
            bench.say(f"{turn}, product")
            rounds.product.append(shot(index))
        bench.say(f"{name}: plaintext with the product's requests, and over RSGI")
        rsgi = stack.enter_context(plaintext(bench.folder, "rsgi", workers))
        with_body = requests()
        for _ in range(min(3, bench.sizes.rounds)):
            rounds.plaintext_post.append(asgi.post(with_body, seconds))
            rounds.plaintext_rsgi.append(rsgi.get(seconds))
    return rounds


def report(
    found: Outcome, workers: int, rounds: Rounds, *, at_least: float, aim: float | None = None
) -> None:
    """The figures of one number of workers."""
    between = rounds.ratio()
    label = f"{workers} worker{'s' * (workers > 1)}"
    found.figures += [
        Figure(
            name=label,
            value=median(_rates(rounds.product)),
            unit="/s",
            ratio=between.of_medians,
            at_least=at_least,
        ),
        _beside(f"{label}, plaintext", rounds.plaintext, rounds),
        _beside(f"{label}, plaintext over RSGI", rounds.plaintext_rsgi, rounds),
        _beside(f"{label}, plaintext given the same POST", rounds.plaintext_post, rounds),
    ]
    found.details[label] = {
        **rounds.details(),
        "ratio": asdict(between),
        "ratio_to_same_post": median(_rates(rounds.product))
        / median(_rates(rounds.plaintext_post)),
        "cores": cores(rounds.product),
        "aim": aim,
    }


def cores(samples: list[Sample]) -> dict[str, float]:
    """Cores in use while the product was under load, by kind of process."""
    kinds = samples[0].cpu
    return {kind: round(median([sample.cpu[kind] for sample in samples]), 2) for kind in kinds}


def _beside(name: str, samples: list[Sample], rounds: Rounds) -> Figure:
    rate = median(_rates(samples))
    return Figure(name=name, value=rate, unit="/s", ratio=rate / median(_rates(rounds.plaintext)))


def _rates(samples: list[Sample]) -> list[float]:
    return [sample.per_s for sample in samples]
