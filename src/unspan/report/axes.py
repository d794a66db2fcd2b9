"""What the figures share: markers, axes, labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from unspan.audit_record.record import AuditRecord
from unspan.report.formatting import literal
from unspan.report.svg import INK

MOST = 20  # classes in one drawing
MODELS = ("before", "after", "reference")
LABEL = {"before": "before", "after": "after erasing", "reference": "reference"}
FORGOTTEN = "▸ "
_MARKER = {
    "before": ("o", "before", 9.5),
    "after": ("D", "after", 5.5),
    "reference": ("^", "ref", 7.0),
}
_DASH = {"before": "--", "after": "-", "reference": ":"}


def look(model: str, line: bool = False) -> dict[str, Any]:
    """Marker of a model: a wide circle, a filled diamond that fits into it, a triangle."""
    marker, colour, size = _MARKER[model]
    face = INK[colour] if model == "after" else "none"
    return {
        "marker": marker,
        "color": INK[colour],
        "markerfacecolor": face,
        "markeredgewidth": 1.5,
        "markersize": size,
        "linestyle": _DASH[model] if line else "none",
    }


def legend(model: str, line: bool = False) -> Any:
    """Entry of a model in a legend."""
    from matplotlib.lines import Line2D

    return Line2D([], [], label=LABEL[model], **look(model, line))


def bar(label: str, face: str, edge: str) -> Any:
    """Entry of a kind of bar in a legend."""
    from matplotlib.patches import Patch

    return Patch(facecolor=face, edgecolor=edge, label=label)


def names(axes: Any, texts: list[str], marked: list[bool]) -> None:
    """Names down the side, the first on top."""
    axes.set_ylim(len(texts) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    bold(axes.set_yticks(range(len(texts)), texts), marked)
    axes.spines["left"].set_visible(False)


def bold(ticks: Sequence[Any], marked: list[bool]) -> None:
    """Emphasise the names of what was to be forgotten."""
    for tick, strong in zip(ticks, marked):
        for label in (tick.label1, tick.label2):
            label.set_fontweight("bold" if strong else "normal")
            label.set_color(INK["forget" if strong else "ink"])


def share_axis(axes: Any, which: str) -> None:
    """0 to 100 percent."""
    ticks = [0, 0.25, 0.5, 0.75, 1]
    texts = [f"{100 * tick:.0f}\u00a0%" for tick in ticks]
    if which == "x":
        axes.set_xlim(-0.005, 1.005)
        axes.set_xticks(ticks, texts)
    else:
        axes.set_ylim(-0.005, 1.005)
        axes.set_yticks(ticks, texts)
    axes.grid(axis=which)


def auc_axis(axes: Any, values: Sequence[float]) -> None:
    """From guessing to certain, or from 0 when something lies below guessing."""
    start = 0.5 if min(values) >= 0.5 else 0.0
    ticks = [start + i * (1 - start) / 5 for i in range(6)]
    axes.set_xlim(start - 0.005, 1.005)
    axes.set_xticks(ticks, [f"{tick:.1f}" for tick in ticks])
    axes.grid(axis="x")


def share(value: float | None) -> float | None:
    """A number from 0 to 1, None for everything else."""
    return value if value is not None and 0 <= value <= 1 else None


def forgotten(audit: AuditRecord) -> set[str]:
    """Names of the classes that were to be forgotten, as they are written."""
    chosen = audit.request.selector if audit.request.kind == "class" else []
    drawn = [one.name for one in audit.figures.per_class if one.forget]
    return {literal(one) for one in (*chosen, *drawn)}
