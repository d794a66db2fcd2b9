"""The picture of `figure5.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def draw(found: dict[str, Any], file: Path) -> None:
    """A mark for every method, seconds on a logarithmic scale."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "unspan"
    from matplotlib import pyplot

    rows = found["seconds"]
    figure, axes = pyplot.subplots(figsize=(7.2, 0.3 * len(rows) + 1), layout="constrained")
    for place, one in enumerate(rows.values()):
        low, high = one["cpu range"]
        bar = [[one["cpu"] - low], [high - one["cpu"]]]
        fill = "white" if one["scaled"] else None
        axes.errorbar([one["cpu"]], [place], xerr=bar, fmt="o", color="#0072B2", mfc=fill)
        text = f"{one['cpu']:,.1f}" if one["cpu"] < 100 else f"{one['cpu']:,.0f}"
        axes.annotate(text, (high, place), xytext=(7, -3), textcoords="offset points", fontsize=8)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.margins(x=0.12)
    axes.set_xlabel(
        f"CPU seconds, one thread: median and range of {found['rounds']} rounds\n"
        "(open marks: measured on fewer images, multiplied up)"
    )
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, metadata={"Date": None}, facecolor="white")
