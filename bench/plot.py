"""The figures that have a target, as bars against it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.report import Report, number
from bench.run import Figure

MET, MISSED, BESIDE, TARGET = "#2a9d62", "#d1603d", "#c9ced6", "#1d3557"


def draw(report: Report, file: Path) -> bool:
    """False where matplotlib is not installed."""
    try:
        import matplotlib
    except ModuleNotFoundError:
        return False
    matplotlib.use("Agg")
    from matplotlib import pyplot

    judged = [
        (scenario, figure)
        for scenario, outcome in report.scenarios.items()
        for figure in outcome.figures
        if figure.met is not None
    ]
    if not judged:
        return True
    height = 0.34 * len(judged) + 1.2
    canvas, axes = pyplot.subplots(figsize=(9, height), layout="constrained")
    for place, (_, figure) in enumerate(reversed(judged)):
        _bar(axes, place, figure)
    labels = [f"{scenario}: {figure.name}" for scenario, figure in reversed(judged)]
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.axvline(1, color=TARGET, linewidth=1.2)
    axes.set_xlim(0, 2.6)
    axes.set_xlabel("measured, as a multiple of its target (line = target)", fontsize=8)
    axes.tick_params(axis="x", labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(
        f"{report.hardware['cpu']}, {report.hardware['cores']} cores, {report.taken_at}", fontsize=9
    )
    canvas.savefig(file, dpi=110, metadata={"Software": None})
    pyplot.close(canvas)
    return True


def _bar(axes: Any, place: int, figure: Figure) -> None:
    target = figure.at_least if figure.at_least is not None else figure.at_most
    assert target is not None
    share = figure.judged / target
    axes.barh(place, min(share, 2.5), color=MET if figure.met else MISSED, height=0.6)
    told = f"{figure.ratio:.2f} of plaintext" if figure.ratio is not None else ""
    told = told or number(figure.value, figure.unit)
    bound = "at least" if figure.at_least is not None else "at most"
    axes.text(
        min(share, 2.5) + 0.02, place, f"{told} ({bound} {target:g})", va="center", fontsize=7
    )
