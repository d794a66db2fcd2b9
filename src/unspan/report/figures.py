"""The figures of a report, drawn from numbers and class names; each gives None when the audit does
not have its data.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from unspan.report.axes import (
    FORGOTTEN,
    LABEL,
    MODELS,
    MOST,
    auc_axis,
    bar,
    class_rows,
    items,
    legend,
    look,
    names,
    share,
    share_axis,
)
from unspan.report.document import Figure, Panel, rows, said, table
from unspan.report.formatting import count, fraction, measured, number, percent
from unspan.report.svg import INK, TEXT, WIDTH, canvas, drawing, fitted, inline, room

LAYERS = 40  # in one drawing
STRONGEST = 12  # attacks in one drawing


def per_class(audit: Mapping[str, Any]) -> Figure | None:
    """Accuracy of every class before and after."""
    found = class_rows(audit)
    if not found:
        return None
    shown = _chosen(found)
    part = (
        f" {len(shown)} of {len(found)} classes are drawn: the forgotten ones and those that"
        " changed most; the table has all."
        if len(shown) < len(found)
        else ""
    )
    caption = (
        "Outlined bars: before. Filled bars: after, with the 95\u00a0% interval as a dark line."
        f" {FORGOTTEN.strip()} marks what was to be forgotten.{part}"
    )
    return Figure(
        "What the model itself names, class by class", caption, partial(_per_class, shown)
    )


def _per_class(shown: list[dict[str, Any]]) -> list[Panel]:
    labels = [(FORGOTTEN if one["forget"] else "") + fitted(one["name"], 100) for one in shown]
    height = 34 + 30 * len(shown) + 26
    with drawing():
        figure, (axes,) = canvas(height, room(labels), right=20, top=34)
        for place, one in enumerate(shown):
            axes.barh(
                place - 0.19,
                one["before"],
                0.3,
                facecolor="none",
                edgecolor=INK["before"],
                linewidth=1.1,
            )
            axes.barh(
                place + 0.19, one["after"], 0.3, color=INK["forget" if one["forget"] else "after"]
            )
            if one["low"] is not None and one["high"] is not None:
                axes.plot(
                    [one["low"], one["high"]], [place + 0.19] * 2, color=INK["ink"], linewidth=1.4
                )
        names(axes, labels, [one["forget"] for one in shown])
        share_axis(axes, "x")
        entries = [
            bar("before", "none", INK["before"]),
            bar("after", INK["after"], "none"),
            bar("after, forgotten", INK["forget"], "none"),
        ]
        _legend(figure, entries, height, 1.2)
        told = "; ".join(
            f"{one['name']}{' (to be forgotten)' if one['forget'] else ''}:"
            f" {measured(one['before'], n=one['n']).line} before,"
            f" {measured(one['after'], one['low'], one['high'], 'share', one['n']).line} after"
            for one in shown
        )
        return [
            Panel("", inline(figure, "per-class", "Accuracy of every class before and after", told))
        ]


def _chosen(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    order = sorted(
        range(len(found)),
        key=lambda i: (not found[i]["forget"], -abs(found[i]["after"] - found[i]["before"])),
    )
    return [found[i] for i in sorted(order[:MOST])]


def attacks(audit: Mapping[str, Any]) -> Figure | None:
    """Every attack: before, after with interval, reference."""
    found = []
    for one in rows(audit, "attacks")[:STRONGEST]:
        values = {
            "before": one.get("original"),
            "after": one.get("erased"),
            "reference": one.get("reference"),
            "low": one.get("erased_low"),
            "high": one.get("erased_high"),
        }
        part = fraction(one.get("rho"), one.get("rho_low"), one.get("rho_high")).line
        found.append(
            {
                "name": said(one, "attack"),
                "unit": one.get("unit"),
                "n": count(one.get("n")),
                "part": part,
                **{key: share(value) for key, value in values.items()},
            }
        )
    caption = (
        "Circle: before. Diamond with line: after erasing, with its 95\u00a0% interval. Triangle:"
        " the reference, which never had these data. The nearer the diamond is to the circle, the"
        " less was removed."
        + (
            f" The {STRONGEST} strongest of {len(rows(audit, 'attacks'))} attacks are drawn; the"
            " table has all."
            if len(rows(audit, "attacks")) > STRONGEST
            else ""
        )
    )
    return _dumbbells("attacks", "What each attack reads", caption, found)


def sweep(audit: Mapping[str, Any]) -> Figure | None:
    """The same probe at every layer."""
    found = []
    for one in rows(table(audit, "figures"), "sweep")[:LAYERS]:
        found.append(
            {
                "name": said(one, "layer"),
                "unit": "share",
                "low": None,
                "high": None,
                "n": 0,
                "part": "",
                **{key: share(one.get(key)) for key in MODELS},
            }
        )
    caption = (
        "Layers from input to output. A diamond inside its circle means that the layer still"
        " carries what was to be removed."
    )
    return _dumbbells("sweep", "What a probe reads at each layer", caption, found)


def _dumbbells(key: str, title: str, caption: str, found: list[dict[str, Any]]) -> Figure | None:
    drawn = [one for one in found if one["after"] is not None]
    return Figure(title, caption, partial(_panels, key, title, drawn)) if drawn else None


def _panels(key: str, title: str, drawn: list[dict[str, Any]]) -> list[Panel]:
    shares, areas = (
        [one for one in drawn if (one["unit"] == "AUC") is wanted] for wanted in (False, True)
    )
    panels = []
    for unit, over, part in (
        ("share", "As share of samples recognised" if areas else "", shares),
        ("AUC", "As AUC: 0.5 is guessing, 1 is certain", areas),
    ):
        if not part:
            continue
        height = 34 + 42 * len(part) + 28
        with drawing():
            figure, (axes,) = canvas(height, 14, right=20, top=34, bottom=28)
            for place, one in enumerate(part):
                _dumbbell(axes, place, one)
            axes.set_yticks([])
            axes.set_ylim(len(part) - 0.55, -0.75)
            axes.spines["left"].set_visible(False)
            if unit == "share":
                share_axis(axes, "x")
            else:
                auc_axis(
                    axes,
                    [
                        one[which]
                        for one in part
                        for which in (*MODELS, "low")
                        if one[which] is not None
                    ],
                )
            _legend(figure, [legend(model) for model in MODELS], height, 1.2)
            panels.append(
                Panel(
                    over,
                    inline(
                        figure,
                        f"{key}-{unit.lower()}",
                        title,
                        "; ".join(_told(one, unit) for one in part),
                        halo=True,
                    ),
                )
            )
    return panels


def _dumbbell(axes: Any, place: int, one: Mapping[str, Any]) -> None:
    ends = [one[model] for model in MODELS if one[model] is not None]
    axes.plot([min(ends), max(ends)], [place, place], color=INK["line"], linewidth=2.2, zorder=1)
    if one["low"] is not None and one["high"] is not None and one["low"] <= one["high"]:
        axes.errorbar(
            [(one["low"] + one["high"]) / 2],
            [place],
            xerr=(one["high"] - one["low"]) / 2,
            fmt="none",
            ecolor=INK["after"],
            elinewidth=1.6,
            capsize=4,
            zorder=3,
        )
    for model in MODELS:
        if one[model] is not None:
            axes.plot([one[model]], [place], zorder=4, clip_on=False, **look(model))
    axes.annotate(
        fitted(one["name"], WIDTH - 40),
        (0, place - 0.45),
        xycoords=("axes fraction", "data"),
        va="center",
        ha="left",
    )


def _told(one: Mapping[str, Any], unit: str) -> str:
    ends = {
        model: (one["low"], one["high"]) if model == "after" else (None, None) for model in MODELS
    }
    parts = [
        f"{LABEL[model]}"
        f" {measured(one[model], ends[model][0], ends[model][1], unit, one['n']).line}"
        for model in MODELS
        if one[model] is not None
    ]
    return f"{one['name']}: {', '.join(parts)}" + (
        f", recoverable part {one['part']}" if one["part"] else ""
    )


def layer_change(audit: Mapping[str, Any]) -> Figure | None:
    """How much the weights of each layer changed."""
    found = [
        (said(one, "layer"), number(one.get("change")))
        for one in rows(table(audit, "figures"), "layer_change")
    ]
    drawn = [(name, value) for name, value in found if value is not None and 0 <= value < 1e9][
        :LAYERS
    ]
    if not drawn:
        return None
    same = sum(value == 0 for _, value in drawn)
    note = (
        f" {same} of {len(drawn)} layers did not change: whoever holds the weights has what those"
        " layers know."
        if same
        else ""
    )
    return Figure(
        "Where the weights changed",
        f"Relative change of the weights of each layer, from input to output.{note}",
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
        return [
            Panel("", inline(figure, "layer-change", "Change of the weights, layer by layer", told))
        ]


def relearn(audit: Mapping[str, Any]) -> Figure | None:
    """Accuracy on the forgotten data after a few examples."""
    shots, curves = relearned(audit)
    caption = (
        "Share of forgotten test samples recognised when the attacker has a few examples. A solid"
        " line above the dotted one means faster than in the reference."
    )
    return (
        Figure(
            "Accuracy on the forgotten data after a few examples",
            caption,
            partial(_relearn, shots, curves),
        )
        if curves
        else None
    )


def relearned(audit: Mapping[str, Any]) -> tuple[list[int], dict[str, list[float]]]:
    """Numbers of examples, and the share recognised with each of them in each model that was
    measured.
    """
    source, curves = table(table(audit, "figures"), "relearn"), {}
    shots = [count(one) for one in items(source, "shots")]
    for model in MODELS:
        values = [share(one) for one in items(table(source, "curves"), model)]
        known = [value for value in values if value is not None]
        if known and len(known) == len(values) == len(shots):
            curves[model] = known
    return shots, curves


def _relearn(shots: list[int], curves: dict[str, list[float]]) -> list[Panel]:
    with drawing():
        figure, (axes,) = canvas(232, 46, right=16, top=34, bottom=40)
        for model, known in curves.items():
            axes.plot(range(len(shots)), known, clip_on=False, zorder=3, **look(model, line=True))
        axes.set_xticks(range(len(shots)), [f"{shot:,}" for shot in shots])
        axes.set_xlim(-0.15, max(len(shots) - 0.85, 0.5))
        axes.set_xlabel("examples the attacker has", fontsize=TEXT)
        share_axis(axes, "y")
        _legend(figure, [legend(model, line=True) for model in curves], 232, 1.8)
        told = "; ".join(
            f"{LABEL[model]}: "
            + ", ".join(f"{percent(value, 0)} after {shot:,}" for shot, value in zip(shots, known))
            for model, known in curves.items()
        )
        return [
            Panel(
                "",
                inline(
                    figure, "relearn", "Accuracy on the forgotten data after a few examples", told
                ),
            )
        ]


def _legend(figure: Any, entries: list[Any], height: float, length: float) -> None:
    figure.legend(
        handles=entries,
        loc="upper left",
        bbox_to_anchor=(4 / WIDTH, 1 - 4 / height),
        ncols=3,
        handlelength=length,
    )
