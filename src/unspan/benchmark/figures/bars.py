"""Figures of bars: recovery, change of weights, run time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from unspan.benchmark.figures.drawing import (
    FORGET_ONLY,
    NEUTRAL,
    SECOND,
    Drawn,
    colour_of,
    legend_of_kinds,
    mean_of,
    new_axes,
    plain_ticks,
)
from unspan.benchmark.table_values import Filled

Changes = dict[str, dict[str, float]]  # relative change of each part of the weights, by row


def recovery(title: str, rows: Sequence[Filled]) -> Drawn:
    """Figure 1: what a linear probe gets back, over what the original gets right; the published
    probe and a converged one.
    """
    original = next((one for one in rows if one.row["method"] == "original"), None)
    if original is None or not mean_of(original, "D_f") or mean_of(original, "KR D_f") is None:
        return []
    shown = [
        one
        for one in rows
        if one.row["method"] != "original" and mean_of(one, "KR D_f") is not None
    ]
    figure, axes = new_axes(7.2, 3.2)
    for shift, key, base, colour, label in (
        (-0.2, "KR D_f", "D_f", FORGET_ONLY, "published probe (KR), on D_f"),
        (0.2, "probe", "D_ft", SECOND, "converged linear probe, on D_ft"),
    ):
        heights = [
            100 * (mean_of(one, key) or 0.0) / (mean_of(original, base) or 1.0) for one in shown
        ]
        axes.bar(
            [place + shift for place in range(len(shown))], heights, 0.38, color=colour, label=label
        )
    axes.set_xticks(range(len(shown)), [one.row["label"] for one in shown], rotation=40, ha="right")
    axes.set_ylabel("recovery rate, %")
    axes.axhline(100, color=NEUTRAL, linewidth=0.8, linestyle=":")
    axes.grid(axis="y", alpha=0.3)
    axes.legend(frameon=False, ncols=2, loc="lower center", bbox_to_anchor=(0.5, -0.5))
    axes.set_title(title, loc="left", fontsize=9)
    return [("", figure)]


def weights(title: str, rows: Sequence[Filled]) -> Drawn:
    """Figure 2: relative change of the head and of all other weights; and of every layer."""
    changes = {
        one.row["label"]: {
            part["part"]: part["value"] or 0.0
            for part in one.results[0]["steps"][-1]["beside"]["weights"]
        }
        for one in rows
        if one.row["method"] != "original" and one.results[0]["steps"][-1]["beside"].get("weights")
    }
    if not changes:
        return []
    return [("", _change_of_parts(title, changes)), ("-layers", _change_of_layers(title, changes))]


def _change_of_parts(title: str, changes: Changes) -> Any:
    figure, axes = new_axes(7.2, 3.0)
    for shift, part, colour in ((-0.2, "head", SECOND), (0.2, "other", FORGET_ONLY)):
        axes.bar(
            [place + shift for place in range(len(changes))],
            [100 * change.get(part, 0.0) for change in changes.values()],
            0.38,
            color=colour,
            label=part,
        )
    axes.set_xticks(range(len(changes)), list(changes), rotation=40, ha="right")
    axes.set_yscale("symlog", linthresh=0.1)
    axes.yaxis.set_major_formatter(plain_ticks)
    axes.set_ylabel("change of weights, % of their norm")
    axes.grid(axis="y", alpha=0.3)
    axes.legend(frameon=False)
    axes.set_title(title, loc="left", fontsize=9)
    return figure


def _change_of_layers(title: str, changes: Changes) -> Any:
    names = [name for name in next(iter(changes.values())) if name.endswith(".weight")]
    figure, axes = new_axes(7.2, 0.28 * len(changes) + 1.6)
    values = [
        [math.log10(max(change.get(name, 0.0), 1e-6)) for name in names]
        for change in changes.values()
    ]
    image = axes.imshow(values, aspect="auto", cmap="viridis", vmin=-4, vmax=0)
    axes.set_xticks(
        range(len(names)),
        [name.removesuffix(".weight") for name in names],
        rotation=60,
        ha="right",
        fontsize=7,
    )
    axes.set_yticks(range(len(changes)), list(changes), fontsize=7)
    figure.colorbar(image, label="log10 of relative change")
    axes.set_title(f"{title}, by layer", loc="left", fontsize=9)
    return figure


def runtime(title: str, rows: Sequence[Filled]) -> Drawn:
    """Figure 5: seconds that each method took."""
    shown = [
        one
        for one in rows
        if one.row["method"] != "original" and (mean_of(one, "seconds") or 0.0) > 0
    ]
    if not shown:
        return []
    figure, axes = new_axes(6.4, 0.28 * len(shown) + 1.2)
    seconds = [mean_of(one, "seconds") or 0.0 for one in shown]
    axes.barh(range(len(shown)), seconds, color=[colour_of(one) for one in shown])
    for place, value in enumerate(seconds):
        axes.text(
            value * 1.06,
            place,
            f"{value:.1f}" if value < 100 else f"{value:.0f}",
            va="center",
            fontsize=8,
        )
    axes.set_yticks(range(len(shown)), [one.row["label"] for one in shown])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(plain_ticks)
    axes.xaxis.set_minor_formatter(lambda value, place: "")
    axes.set_xlabel("seconds")
    axes.grid(axis="x", alpha=0.3)
    legend_of_kinds(axes, shown, loc="lower center", bbox_to_anchor=(0.5, 1.1), ncols=3)
    axes.set_title(title, loc="left", fontsize=9)
    return [("", figure)]
