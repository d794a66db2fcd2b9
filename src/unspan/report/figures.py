"""The figures of a report, drawn from numbers and class names; each gives None when the audit does
not have its data.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from unspan.audit_record.drawings import ClassAccuracy
from unspan.audit_record.record import AuditRecord
from unspan.report.axes import (
    FORGOTTEN,
    LABEL,
    MODELS,
    MOST,
    bar,
    legend,
    look,
    names,
    share,
    share_axis,
)
from unspan.report.document import Figure, Panel
from unspan.report.formatting import literal, measured, percent
from unspan.report.svg import INK, TEXT, canvas, drawing, fitted, inline, key_line, room
from unspan.report.words.drawn import Drawn

LAYERS = 40  # in one drawing
LARGEST = 1e9  # change of a layer that is drawn
_RELEARN = Drawn.RELEARN_CAPTION.value


def per_class(audit: AuditRecord) -> Figure | None:
    """Accuracy of every class before and after."""
    found = [
        replace(one, name=literal(one.name), low=share(one.low), high=share(one.high))
        for one in audit.figures.per_class
        if share(one.before) is not None and share(one.after) is not None
    ]
    if not found:
        return None
    shown = _chosen(found)
    part = (
        Drawn.CLASSES_DRAWN.format(shown=len(shown), found=len(found))
        if len(shown) < len(found)
        else ""
    )
    caption = Drawn.PER_CLASS_CAPTION.format(forgotten=FORGOTTEN.strip(), part=part)
    return Figure(Drawn.PER_CLASS_TITLE.value, caption, partial(_per_class, shown))


def _per_class(shown: list[ClassAccuracy]) -> list[Panel]:
    labels = [(FORGOTTEN if one.forget else "") + fitted(one.name, 100) for one in shown]
    height = 34 + 30 * len(shown) + 26
    with drawing():
        figure, (axes,) = canvas(height, room(labels), right=20, top=34)
        for place, one in enumerate(shown):
            axes.barh(
                place - 0.19,
                one.before,
                0.3,
                facecolor="none",
                edgecolor=INK["before"],
                linewidth=1.1,
            )
            axes.barh(place + 0.19, one.after, 0.3, color=INK["forget" if one.forget else "after"])
            if one.low is not None and one.high is not None:
                axes.plot([one.low, one.high], [place + 0.19] * 2, color=INK["ink"], linewidth=1.4)
        names(axes, labels, [one.forget for one in shown])
        share_axis(axes, "x")
        entries = [
            bar("before", "none", INK["before"]),
            bar("after", INK["after"], "none"),
            bar(Drawn.AFTER_FORGOTTEN.value, INK["forget"], "none"),
        ]
        key_line(figure, entries, height, 1.2)
        told = "; ".join(_told(one) for one in shown)
        title = Drawn.ACCURACY_EVERY_CLASS.value
        return [Panel("", inline(figure, "per-class", title, told))]


def _told(one: ClassAccuracy) -> str:
    """A class in words, for people who do not see the drawing."""
    before = measured(one.before, n=one.n).line
    after = measured(one.after, one.low, one.high, "share", one.n).line
    forgotten = Drawn.FORGOTTEN.value if one.forget else ""
    return f"{one.name}{forgotten}: {before} before, {after} after"


def _chosen(found: list[ClassAccuracy]) -> list[ClassAccuracy]:
    """The forgotten classes and those that changed most, in their order."""
    order = sorted(
        range(len(found)),
        key=lambda i: (not found[i].forget, -abs(found[i].after - found[i].before)),
    )
    return [found[i] for i in sorted(order[:MOST])]


def layer_change(audit: AuditRecord) -> Figure | None:
    """How much the weights of each layer changed."""
    found = [(literal(one.layer), one.change) for one in audit.figures.layer_change]
    drawn = [(name, value) for name, value in found if 0 <= value < LARGEST][:LAYERS]
    if not drawn:
        return None
    same = sum(value == 0 for _, value in drawn)
    note = Drawn.LAYERS_UNCHANGED.format(same=same, drawn=len(drawn)) if same else ""
    return Figure(
        Drawn.WEIGHTS_CHANGED.value,
        Drawn.WEIGHTS_CAPTION.format(note=note),
        partial(_layer_change, drawn),
    )


def _layer_change(drawn: list[tuple[str, float]]) -> list[Panel]:
    labels = [fitted(name) for name, _ in drawn]
    with drawing():
        figure, (axes,) = canvas(
            10 + 21 * len(drawn) + 28, room(labels), right=54, top=10, bottom=28
        )
        for place, (_, value) in enumerate(drawn):
            axes.barh(place, value, 0.6, color=INK["after"])
            axes.annotate(
                f"{value:.3g}",
                (value, place),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=TEXT - 1,
                annotation_clip=False,
            )
        names(axes, labels, [False] * len(drawn))
        axes.set_xlim(0, max(value for _, value in drawn) or 1.0)
        axes.locator_params(axis="x", nbins=3)
        axes.xaxis.set_major_formatter(lambda tick, _: f"{tick:.3g}")
        axes.grid(axis="x")
        told = "; ".join(f"{name}: {value:.3g}" for name, value in drawn)
        return [Panel("", inline(figure, "layer-change", Drawn.CHANGE_WEIGHTS_LAYER.value, told))]


def relearn(audit: AuditRecord) -> Figure | None:
    """Accuracy on the forgotten data after a few examples."""
    curves = relearned(audit)
    if audit.figures.relearn is None or not curves:
        return None
    return Figure(
        Drawn.ACCURACY_FORGOTTEN_DATA.value,
        _RELEARN,
        partial(_relearn, audit.figures.relearn.shots, curves),
    )


def relearned(audit: AuditRecord) -> dict[str, list[float]]:
    """The share recognised with each number of examples, for each model that was measured."""
    source = audit.figures.relearn
    if source is None:
        return {}
    curves = {}
    for model in MODELS:
        values = source.curves.get(model, [])
        drawable = all(share(value) is not None for value in values)
        if values and drawable and len(values) == len(source.shots):
            curves[model] = values
    return curves


def _relearn(shots: list[int], curves: dict[str, list[float]]) -> list[Panel]:
    with drawing():
        figure, (axes,) = canvas(232, 46, right=16, top=34, bottom=40)
        for model, known in curves.items():
            axes.plot(range(len(shots)), known, clip_on=False, zorder=3, **look(model, line=True))
        axes.set_xticks(range(len(shots)), [f"{shot:,}" for shot in shots])
        axes.set_xlim(-0.15, max(len(shots) - 0.85, 0.5))
        axes.set_xlabel(Drawn.EXAMPLES_ATTACKER.value, fontsize=TEXT)
        share_axis(axes, "y")
        key_line(figure, [legend(model, line=True) for model in curves], 232, 1.8)
        told = "; ".join(
            f"{LABEL[model]}: "
            + ", ".join(f"{percent(value, 0)} after {shot:,}" for shot, value in zip(shots, known))
            for model, known in curves.items()
        )
        return [
            Panel(
                "",
                inline(figure, "relearn", Drawn.ACCURACY_FORGOTTEN_DATA.value, told),
            )
        ]
