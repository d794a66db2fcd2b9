"""Circle, diamond and triangle on one line: what an attack reads before, after and in the
reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from unspan.audit_record.drawings import LayerReading
from unspan.audit_record.record import AuditRecord
from unspan.audit_record.results import AttackResult
from unspan.report.axes import LABEL, MODELS, auc_axis, legend, look, share, share_axis
from unspan.report.document import Figure, Panel
from unspan.report.formatting import fraction, literal, measured
from unspan.report.svg import INK, WIDTH, canvas, drawing, fitted, inline, key_line
from unspan.report.words.drawn import Drawn

LAYERS = 40  # in one drawing
STRONGEST = 12  # attacks in one drawing
_ATTACKS = Drawn.ATTACKS_CAPTION.value
_LAYERS = Drawn.LAYERS_CAPTION.value


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a drawing.

    Attributes:
        name: of the attack or layer.
        unit: `share` or `AUC`.
        at: what is read, by model; None where it cannot be drawn.
        low: lower end of the interval after erasing.
        high: upper end.
        n: samples behind it.
        part: the recoverable part in words, empty when there is none.
    """

    name: str
    unit: str
    at: dict[str, float | None]
    low: float | None = None
    high: float | None = None
    n: int = 0
    part: str = ""

    @property
    def drawn(self) -> list[float]:
        """The values that can be drawn."""
        return [value for value in self.at.values() if value is not None]


def attacks(audit: AuditRecord) -> Figure | None:
    """Every attack: before, after with interval, reference."""
    shown = [_of_attack(one) for one in audit.attacks[:STRONGEST]]
    caption = _ATTACKS
    if len(audit.attacks) > STRONGEST:
        caption += Drawn.STRONGEST_DRAWN.format(strongest=STRONGEST, attacks=len(audit.attacks))
    return dumbbells("attacks", Drawn.EACH_ATTACK.value, caption, shown)


def _of_attack(one: AttackResult) -> Line:
    return Line(
        name=literal(one.attack),
        unit=one.unit,
        at={
            "before": share(one.original),
            "after": share(one.erased),
            "reference": share(one.reference),
        },
        low=share(one.erased_low),
        high=share(one.erased_high),
        n=one.n,
        part=fraction(one.rho, one.rho_low, one.rho_high).line,
    )


def sweep(audit: AuditRecord) -> Figure | None:
    """The same probe at every layer."""
    shown = [_of_layer(one) for one in audit.figures.sweep[:LAYERS]]
    return dumbbells("sweep", Drawn.EACH_LAYER.value, _LAYERS, shown)


def _of_layer(one: LayerReading) -> Line:
    return Line(
        name=literal(one.layer),
        unit="share",
        at={
            "before": share(one.before),
            "after": share(one.after),
            "reference": share(one.reference),
        },
    )


def dumbbells(key: str, title: str, caption: str, lines: list[Line]) -> Figure | None:
    """A figure of lines; None where there is nothing to draw."""
    drawn = [one for one in lines if one.at["after"] is not None]
    return Figure(title, caption, partial(_panels, key, title, drawn)) if drawn else None


def _panels(key: str, title: str, drawn: list[Line]) -> list[Panel]:
    """One panel for shares and one for AUCs."""
    shares = [one for one in drawn if one.unit == "share"]
    areas = [one for one in drawn if one.unit == "AUC"]
    over = Drawn.AS_SHARE.value if areas else ""
    panels = []
    if shares:
        panels.append(Panel(over, _panel(f"{key}-share", title, shares)))
    if areas:
        over = Drawn.AS_AUC.value
        panels.append(Panel(over, _panel(f"{key}-auc", title, areas)))
    return panels


def _panel(key: str, title: str, lines: list[Line]) -> str:
    height = 34 + 42 * len(lines) + 28
    with drawing():
        figure, (axes,) = canvas(height, 14, right=20, top=34, bottom=28)
        for place, one in enumerate(lines):
            _draw(axes, place, one)
        axes.set_yticks([])
        axes.set_ylim(len(lines) - 0.55, -0.75)
        axes.spines["left"].set_visible(False)
        if lines[0].unit == "share":
            share_axis(axes, "x")
        else:
            auc_axis(axes, _extent(lines))
        key_line(figure, [legend(model) for model in MODELS], height, 1.2)
        told = "; ".join(_told(one) for one in lines)
        return inline(figure, key, title, told, halo=True)


def _extent(lines: Sequence[Line]) -> list[float]:
    values = []
    for one in lines:
        values += one.drawn
        if one.low is not None:
            values.append(one.low)
    return values


def _draw(axes: Any, place: int, one: Line) -> None:
    ends = [min(one.drawn), max(one.drawn)]
    axes.plot(ends, [place, place], color=INK["line"], linewidth=2.2, zorder=1)
    if one.low is not None and one.high is not None and one.low <= one.high:
        axes.errorbar(
            [(one.low + one.high) / 2],
            [place],
            xerr=(one.high - one.low) / 2,
            fmt="none",
            ecolor=INK["after"],
            elinewidth=1.6,
            capsize=4,
            zorder=3,
        )
    for model in MODELS:
        value = one.at[model]
        if value is not None:
            axes.plot([value], [place], zorder=4, clip_on=False, **look(model))
    axes.annotate(
        fitted(one.name, WIDTH - 40),
        (0, place - 0.45),
        xycoords=("axes fraction", "data"),
        va="center",
        ha="left",
    )


def _told(one: Line) -> str:
    """The line in words, for people who do not see the drawing."""
    parts = []
    for model in MODELS:
        if one.at[model] is not None:
            low, high = (one.low, one.high) if model == "after" else (None, None)
            read = measured(one.at[model], low, high, one.unit, one.n).line
            parts.append(f"{LABEL[model]} {read}")
    told = f"{one.name}: {', '.join(parts)}"
    return f"{told}, recoverable part {one.part}" if one.part else told
