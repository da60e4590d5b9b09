"""What a run found, as JSON, as a table for people and as a table for the docs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from rich.table import Table

from bench.run import Figure, Outcome

COLUMNS = ("scenario", "figure", "measured", "of plaintext", "target", "met")


@dataclass(slots=True, kw_only=True)
class Report:
    taken_at: str
    quick: bool
    hardware: dict[str, str]
    versions: dict[str, str]
    settings: dict[str, str]
    scenarios: dict[str, Outcome] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    """Scenarios that could not be measured or whose check failed, and why."""
    seconds: float = 0.0

    def document(self) -> dict[str, Any]:
        """For the JSON file and `--json`."""
        document = asdict(self)
        for name, outcome in self.scenarios.items():
            document["scenarios"][name]["figures"] = [
                {**asdict(figure), "met": figure.met} for figure in outcome.figures
            ]
        return document

    def rows(self) -> list[tuple[str, ...]]:
        rows = [
            (scenario, *row(figure))
            for scenario, outcome in self.scenarios.items()
            for figure in outcome.figures
        ]
        return rows + [
            (name, f"failed: {why}", "", "", "", "no") for name, why in self.failed.items()
        ]

    def table(self) -> Table:
        table = Table(title="Quick: for trying, not for telling" if self.quick else None)
        for column in COLUMNS:
            table.add_column(column, justify="right" if column in COLUMNS[2:5] else "left")
        styles = {"yes": "green", "no": "red"}
        before = ""
        for scenario, *cells in self.rows():
            table.add_row(
                scenario if scenario != before else "", *cells, style=styles.get(cells[-1])
            )
            before = scenario
        return table

    def notes(self) -> list[str]:
        return [note for outcome in self.scenarios.values() for note in outcome.notes]

    def markdown(self) -> str:
        """The table, what it was taken on, and the sentences that go with it."""
        lines = ["| " + " | ".join(COLUMNS) + " |", "|---|---|---:|---:|---:|---|"]
        lines += ["| " + " | ".join(cells) + " |" for cells in self.rows()]
        lines += ["", f"Taken at {self.taken_at} in {self.seconds / 60:.0f} minutes."]
        for title, facts in (
            ("Hardware", self.hardware),
            ("Versions", self.versions),
            ("Settings", self.settings),
        ):
            told = "; ".join(f"{name}: {value}" for name, value in facts.items())
            lines.append(f"{title}: {told}.")
        return (
            "\n\n".join(["\n".join(lines[: len(self.rows()) + 2]), *lines[-4:], *self.notes()])
            + "\n"
        )


def row(figure: Figure) -> tuple[str, ...]:
    """Figure, measured, ratio, target, met."""
    ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
    met = {True: "yes", False: "no", None: ""}[figure.met]
    return figure.name, number(figure.value, figure.unit), ratio, _target(figure), met


def number(value: float, unit: str) -> str:
    """Three digits or the whole number: more would be noise."""
    text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{text}{unit}" if unit in ("/s", "%") else f"{text} {unit}"


def _target(figure: Figure) -> str:
    unit = "" if figure.ratio is not None else figure.unit
    if figure.at_least is not None:
        return f"≥ {number(figure.at_least, unit).strip()}"
    if figure.at_most is not None:
        return f"≤ {number(figure.at_most, unit).strip()}"
    return ""
