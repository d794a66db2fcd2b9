"""Figures that compare methods by one number: recovery, change of weights, run time.

Only what begins at zero is a bar. On a logarithmic scale values are marks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from unspan.benchmark.compact import weight_changes
from unspan.benchmark.figures.drawing import (
    ERRORS,
    FORGET_ONLY,
    NEUTRAL,
    SECOND,
    SEEDS,
    Drawing,
    Drawn,
    Spread,
    bars_of,
    colour_of,
    forgotten,
    headed,
    legend_of_kinds,
    mean_of,
    new_axes,
    over_seeds,
    plain_ticks,
    spread_of,
)
from unspan.benchmark.table_values import Filled

Changes = dict[str, dict[str, Spread]]  # change of each part of the weights in percent, by row
_PROBES = (
    (-0.2, "KR D_f", "D_f", FORGET_ONLY, "", "published probe (KR), training samples"),
    (0.2, "probe", "D_ft", SECOND, "//", "converged linear probe, test samples"),
)


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
    heights: dict[str, list[Spread]] = {}
    for shift, key, base, colour, hatch, label in _PROBES:
        scale = 100 / (mean_of(original, base) or 1.0)
        found = [(spread_of(one, key) or Spread(0.0)).times(scale).above_zero() for one in shown]
        heights[key] = found
        axes.bar(
            [place + shift for place in range(len(shown))],
            [one.mean for one in found],
            0.38,
            yerr=bars_of(found),
            color=colour,
            hatch=hatch,
            edgecolor="white",
            error_kw={"linewidth": 0.9},
            label=label,
        )
    axes.set_xticks(range(len(shown)), [one.row["label"] for one in shown], rotation=40, ha="right")
    axes.set_ylabel(f"recovered of {forgotten(rows)},\n% of what the original names")
    axes.axhline(100, color=NEUTRAL, linewidth=0.8, linestyle=":")
    axes.grid(axis="y", alpha=0.3)
    axes.legend(frameon=False, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.08))
    headed(figure, axes, title, ERRORS)
    told = "; ".join(
        f"{one.row['label']} {end.mean:.0f} % and {early.mean:.0f} %"
        for one, early, end in zip(shown, heights["KR D_f"], heights["probe"], strict=True)
    )
    said = f"Recovered of {forgotten(rows)} by a converged probe and by the published one: {told}."
    return [Drawing("", figure, said)]


def weights(title: str, rows: Sequence[Filled]) -> Drawn:
    """Figure 2: relative change of the head and of all other weights; and of every layer."""
    changes: Changes = {}
    for one in rows:
        if one.row["method"] != "original" and _parts(one, 0):
            seeds = [_parts(one, place) for place in range(len(one.results))]
            changes[one.row["label"]] = {
                part: over_seeds([seed.get(part, 0.0) for seed in seeds]) for part in seeds[0]
            }
    if not changes:
        return []
    return [_change_of_parts(title, changes), _change_of_layers(title, changes)]


def _parts(one: Filled, place: int) -> dict[str, float]:
    """Change of each part of the weights in percent, of one seed."""
    changes = weight_changes(one.results[place]["steps"][-1]["beside"])
    return {part: 100 * value for part, value in changes.items()}


def _change_of_parts(title: str, changes: Changes) -> Drawing:
    figure, axes = new_axes(6.4, 0.28 * len(changes) + 1.4)
    none = Spread(0.0)
    for shift, part, label, colour, mark in (
        (-0.14, "head", "head", SECOND, "D"),
        (0.14, "other", "all other weights", FORGET_ONLY, "o"),
    ):
        found = [change.get(part, none).above_zero() for change in changes.values()]
        axes.errorbar(
            [one.mean for one in found],
            [place + shift for place in range(len(changes))],
            xerr=bars_of(found),
            fmt=mark,
            color=colour,
            markersize=5,
            elinewidth=0.9,
            label=label,
        )
    axes.set_yticks(range(len(changes)), list(changes))
    axes.invert_yaxis()
    axes.set_xscale("symlog", linthresh=0.1)
    axes.set_xlim(left=-0.02, right=300)
    axes.xaxis.set_major_formatter(plain_ticks)
    axes.set_xlabel("change of weights, % of their norm, logarithmic above 0.1 %")
    axes.grid(axis="x", alpha=0.3)
    axes.legend(frameon=False, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.08))
    headed(figure, axes, title, SEEDS)
    told = "; ".join(
        f"{name} {change.get('head', none).mean:.2g} % and {change.get('other', none).mean:.2g} %"
        for name, change in changes.items()
    )
    return Drawing("", figure, f"Change of the head and of all other weights: {told}.")


def _change_of_layers(title: str, changes: Changes) -> Drawing:
    names = [name for name in next(iter(changes.values())) if name.endswith(".weight")]
    figure, axes = new_axes(7.2, 0.28 * len(changes) + 1.6)
    values = [
        [math.log10(max(change[name].mean if name in change else 0.0, 1e-4)) for name in names]
        for change in changes.values()
    ]
    image = axes.imshow(values, aspect="auto", cmap="viridis", vmin=-2, vmax=2)
    axes.set_xticks(
        range(len(names)),
        [name.removesuffix(".weight") for name in names],
        rotation=60,
        ha="right",
        fontsize=7,
    )
    axes.set_yticks(range(len(changes)), list(changes), fontsize=7)
    figure.colorbar(image, label="change, % of the norm", ticks=range(-2, 3), format=_power_of_ten)
    headed(figure, axes, f"{title}, by layer")
    told = "; ".join(_most(name, change, names) for name, change in changes.items())
    return Drawing("-layers", figure, f"The layer that changed most, by method: {told}.")


def _power_of_ten(exponent: float, _place: int = 0) -> str:
    return f"{10.0 ** float(exponent):g}"


def _most(method: str, change: dict[str, Spread], names: Sequence[str]) -> str:
    top = max(names, key=lambda name: change[name].mean if name in change else 0.0)
    value = change[top].mean if top in change else 0.0
    return f"{method} {top.removesuffix('.weight')}, {value:.2g} %" if value else f"{method} none"


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
    seconds = [spread_of(one, "seconds") or Spread(0.0) for one in shown]
    for place, (one, value) in enumerate(zip(shown, seconds, strict=True)):
        below = min(value.below, 0.9 * value.mean)  # a logarithmic axis has no zero
        axes.errorbar(
            [value.mean],
            [place],
            xerr=[[below], [value.above]],
            fmt="o",
            color=colour_of(one),
            markersize=6,
            elinewidth=0.9,
        )
        axes.annotate(
            _seconds(value.mean),
            (value.mean + value.above, place),
            xytext=(7, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    axes.set_yticks(range(len(shown)), [one.row["label"] for one in shown])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.margins(x=0.12)
    axes.xaxis.set_major_formatter(plain_ticks)
    axes.xaxis.set_minor_formatter(lambda value, place: "")
    axes.set_xlabel("seconds, logarithmic")
    axes.grid(axis="x", alpha=0.3)
    legend_of_kinds(axes, shown, loc="lower center", bbox_to_anchor=(0.5, 1.08), ncols=3)
    headed(figure, axes, title, SEEDS)
    order = sorted(zip(seconds, shown, strict=True), key=lambda one: one[0].mean)
    told = ", ".join(f"{one.row['label']} {_seconds(value.mean)}" for value, one in order)
    return [Drawing("", figure, f"Seconds of each method, the fastest first: {told}.")]


def _seconds(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"
