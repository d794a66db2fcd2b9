"""Figures of a benchmark from the JSON of its cells, each as SVG and PDF."""

from __future__ import annotations

import base64
import io
import math
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from unspan.benchmark.views import REFERENCES, Filled, lines
from unspan.benchmark.views import Column as _Column

Drawn = list[tuple[str, Any]]  # (name, matplotlib figure)
_NEUTRAL, _FORGET_ONLY, _RETAIN, _SECOND = "#5f6b79", "#0f5aa8", "#c46a00", "#9b1c4a"
_MARKS = "osD^vP*Xh<>pd8"


def save(view: str, name: str, title: str, rows: Sequence[Filled], folder: Path) -> list[Path]:
    """Draw one view and write its files; nothing when no cell has what it needs."""
    from matplotlib import rc_context

    settings: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": "unspan",
        "font.family": "DejaVu Sans",
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "pdf.fonttype": 42,
        "text.parse_math": False,
    }
    found: list[Path] = []
    pairs = list(dict.fromkeys(one.row["pair"] for one in rows))
    with rc_context(settings):
        for number, pair in enumerate(pairs, 1):
            own = [one for one in rows if one.results and one.row["pair"] == pair]
            which = f"-{number}" if len(pairs) > 1 else ""
            for suffix, figure in _DRAW[view](f"{title}: {pair}" if which else title, own):
                for kind in ("svg", "pdf"):
                    path = folder / f"{name}-{view}{which}{suffix}.{kind}"
                    figure.savefig(
                        path,
                        metadata={"Date": None} if kind == "svg" else {"CreationDate": None},
                        bbox_inches="tight",
                    )
                    found.append(path)
    return found


def _axes(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    return figure, figure.subplots()


def _mean(one: Filled, key: str, step: int = -1) -> float | None:
    found = lines([one], (_Column(key, key),), step)[0].numbers.get(key)
    return None if found is None else found.mean


def _colour(one: Filled) -> str:
    return {True: _RETAIN, False: _FORGET_ONLY, None: _NEUTRAL}[one.row["needs_retain"]]


def _plain_ticks(value: float, _place: int) -> str:
    """Numbers of a logarithmic axis without mathematics, which titles of users must not set off."""
    return f"{value:g}"


def _place_names(axes: Any, points: Sequence[tuple[float, float]], names: Sequence[str]) -> None:
    """Write a name beside every point, where it covers the fewest others."""
    axes.figure.canvas.draw()
    pixels, scale = axes.transData.transform(points), 72 / axes.figure.dpi
    taken = [(x - 4, y - 4, x + 4, y + 4) for x, y in pixels]
    for (x, y), point, name in zip(pixels, points, names, strict=True):
        wide, high = 5.2 * len(name), 10.0
        spots = [
            (x + 7, y - 4),
            (x - 7 - wide, y - 4),
            *(
                (x + side, y + shift)
                for shift in (9, -17, 20, -28, 31, -39, 42, -50)
                for side in (7, -wide / 2, -7 - wide)
            ),
        ]

        def covered(spot: tuple[float, float], wide: float = wide, high: float = high) -> int:
            return sum(
                spot[0] < right
                and left < spot[0] + wide
                and spot[1] < top
                and bottom < spot[1] + high
                for left, bottom, right, top in taken
            )

        left, bottom = min(spots, key=covered)
        taken.append((left, bottom, left + wide, bottom + high))
        far = abs(bottom + 4 - y) > 12
        axes.annotate(
            name,
            point,
            xytext=((left - x) * scale, (bottom - y) * scale),
            textcoords="offset points",
            fontsize=7,
            arrowprops={"arrowstyle": "-", "color": _NEUTRAL, "linewidth": 0.5} if far else None,
        )


def _kinds(axes: Any, rows: Sequence[Filled], **where: Any) -> None:
    from matplotlib.patches import Patch

    names = {None: "reference", False: "forget data only", True: "reads retained data"}
    used = [kind for kind in names if any(one.row["needs_retain"] is kind for one in rows)]
    axes.legend(
        handles=[
            Patch(
                color={True: _RETAIN, False: _FORGET_ONLY, None: _NEUTRAL}[kind], label=names[kind]
            )
            for kind in used
        ],
        frameon=False,
        **where,
    )


def recovery(title: str, rows: Sequence[Filled]) -> Drawn:
    """Figure 1: what a linear probe gets back, over what the original gets right; the published
    probe and a converged one.
    """
    original = next((one for one in rows if one.row["method"] == "original"), None)
    if original is None or not _mean(original, "D_f") or _mean(original, "KR D_f") is None:
        return []
    shown = [
        one for one in rows if one.row["method"] != "original" and _mean(one, "KR D_f") is not None
    ]
    figure, axes = _axes(7.2, 3.2)
    for shift, key, base, colour, label in (
        (-0.2, "KR D_f", "D_f", _FORGET_ONLY, "published probe (KR), on D_f"),
        (0.2, "probe", "D_ft", _SECOND, "converged linear probe, on D_ft"),
    ):
        heights = [100 * (_mean(one, key) or 0.0) / (_mean(original, base) or 1.0) for one in shown]
        axes.bar(
            [place + shift for place in range(len(shown))], heights, 0.38, color=colour, label=label
        )
    axes.set_xticks(range(len(shown)), [one.row["label"] for one in shown], rotation=40, ha="right")
    axes.set_ylabel("recovery rate, %")
    axes.axhline(100, color=_NEUTRAL, linewidth=0.8, linestyle=":")
    axes.grid(axis="y", alpha=0.3)
    axes.legend(frameon=False, ncols=2, loc="lower center", bbox_to_anchor=(0.5, -0.5))
    axes.set_title(title, loc="left", fontsize=9)
    return [("", figure)]


def weights(title: str, rows: Sequence[Filled]) -> Drawn:
    """Figure 2: relative change of the head and of all other weights; and of every layer."""
    shown = [
        one
        for one in rows
        if one.row["method"] != "original" and one.results[0]["steps"][-1]["beside"].get("weights")
    ]
    if not shown:
        return []
    change = {
        one.row["label"]: {
            part["part"]: part["value"] or 0.0
            for part in one.results[0]["steps"][-1]["beside"]["weights"]
        }
        for one in shown
    }
    figure, axes = _axes(7.2, 3.0)
    for shift, part, colour in ((-0.2, "head", _SECOND), (0.2, "other", _FORGET_ONLY)):
        axes.bar(
            [place + shift for place in range(len(shown))],
            [100 * change[one.row["label"]].get(part, 0.0) for one in shown],
            0.38,
            color=colour,
            label=part,
        )
    axes.set_xticks(range(len(shown)), [one.row["label"] for one in shown], rotation=40, ha="right")
    axes.set_yscale("symlog", linthresh=0.1)
    axes.yaxis.set_major_formatter(_plain_ticks)
    axes.set_ylabel("change of weights, % of their norm")
    axes.grid(axis="y", alpha=0.3)
    axes.legend(frameon=False)
    axes.set_title(title, loc="left", fontsize=9)
    names = [name for name in change[shown[0].row["label"]] if name.endswith(".weight")]
    grid, inner = _axes(7.2, 0.28 * len(shown) + 1.6)
    values = [
        [math.log10(max(change[one.row["label"]].get(name, 0.0), 1e-6)) for name in names]
        for one in shown
    ]
    image = inner.imshow(values, aspect="auto", cmap="viridis", vmin=-4, vmax=0)
    inner.set_xticks(
        range(len(names)),
        [name.removesuffix(".weight") for name in names],
        rotation=60,
        ha="right",
        fontsize=7,
    )
    inner.set_yticks(range(len(shown)), [one.row["label"] for one in shown], fontsize=7)
    grid.colorbar(image, label="log10 of relative change")
    inner.set_title(f"{title}, by layer", loc="left", fontsize=9)
    return [("", figure), ("-layers", grid)]


def cosines(title: str, rows: Sequence[Filled]) -> Drawn:
    """Figure 3: cosine between class means of the original's features and those of another
    model.
    """
    shown = [one for one in rows if one.results[0]["steps"][-1]["beside"].get("cosines")]
    if not shown:
        return []
    from matplotlib.figure import Figure

    columns = min(4, len(shown))
    figure = Figure(figsize=(2.4 * columns + 0.6, 2.5 * -(-len(shown) // columns)))
    grid = figure.subplots(-(-len(shown) // columns), columns, squeeze=False)
    image: Any = None
    for place, panel in enumerate(grid.flat):
        if place >= len(shown):
            panel.axis("off")
            continue
        found = shown[place].results[0]["steps"][-1]["beside"]["cosines"]["after"]
        image = panel.imshow(
            [[math.nan if value is None else value for value in row] for row in found],
            vmin=0,
            vmax=1,
            cmap="magma",
        )
        known = [value for row in found for value in row if value is not None]
        panel.set_title(
            f"{shown[place].row['label']} ({min(known):.2f} to {max(known):.2f})", fontsize=8
        )
        panel.set_xticks([])
        panel.set_yticks([])
    figure.colorbar(image, ax=grid, label="cosine to the original", shrink=0.8)
    figure.suptitle(title, fontsize=9)
    return [("", figure)]


def runtime(title: str, rows: Sequence[Filled]) -> Drawn:
    """Figure 5: seconds that each method took."""
    shown = [
        one
        for one in rows
        if one.row["method"] != "original" and (_mean(one, "seconds") or 0.0) > 0
    ]
    if not shown:
        return []
    figure, axes = _axes(6.4, 0.28 * len(shown) + 1.2)
    seconds = [_mean(one, "seconds") or 0.0 for one in shown]
    axes.barh(range(len(shown)), seconds, color=[_colour(one) for one in shown])
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
    axes.xaxis.set_major_formatter(_plain_ticks)
    axes.xaxis.set_minor_formatter(lambda value, place: "")
    axes.set_xlabel("seconds")
    axes.grid(axis="x", alpha=0.3)
    _kinds(axes, shown, loc="lower center", bbox_to_anchor=(0.5, 1.1), ncols=3)
    axes.set_title(title, loc="left", fontsize=9)
    return [("", figure)]


def pareto(title: str, rows: Sequence[Filled]) -> Drawn:
    """Remaining test accuracy against the strongest attack; the front is what no other method beats
    in both.
    """
    shown = [
        one
        for one in rows
        if _mean(one, "strongest") is not None and _mean(one, "D_rt") is not None
    ]
    if not shown:
        return []
    figure, axes = _axes(6.8, 4.6)
    points = [(_mean(one, "strongest") or 0.0, _mean(one, "D_rt") or 0.0) for one in shown]
    for place, (one, (x, y)) in enumerate(zip(shown, points, strict=True)):
        axes.scatter(x, y, color=_colour(one), marker=_MARKS[place % len(_MARKS)], s=42, zorder=3)
    free = [
        point
        for one, point in zip(shown, points, strict=True)
        if one.row["method"] not in REFERENCES
    ]
    front = sorted(
        point
        for point in free
        if not any(
            (other[0] <= point[0] and other[1] >= point[1]) and other != point for other in free
        )
    )
    axes.plot(
        [x for x, _ in front],
        [y for _, y in front],
        color=_NEUTRAL,
        linewidth=1,
        linestyle="--",
        zorder=1,
    )
    axes.set_xlabel("strongest attack on the forgotten class, % (left: less is left)")
    axes.set_ylabel("remaining test accuracy, %")
    axes.grid(alpha=0.3)
    _kinds(axes, shown, loc="lower center", bbox_to_anchor=(0.5, 1.08), ncols=3)
    axes.set_title(title, loc="left", fontsize=9)
    axes.margins(0.12)
    _place_names(axes, points, [one.row["label"] for one in shown])
    return [("", figure)]


def gradcam(title: str, rows: Sequence[Filled]) -> Drawn:
    """Figure 6: the image, and where every model looks for the true class."""
    shown = [one for one in rows if one.results[0]["pictures"].get("gradcam")]
    if not shown:
        return []
    from matplotlib.figure import Figure
    from PIL import Image

    count = len(shown[0].results[0]["pictures"]["gradcam"])
    figure = Figure(figsize=(1.25 * (len(shown) + 1), 1.3 * count + 0.4))
    grid = figure.subplots(count, len(shown) + 1, squeeze=False)
    for row in range(count):
        pictures = [("input", shown[0].results[0]["pictures"]["gradcam"][row]["image"])] + [
            (one.row["label"], one.results[0]["pictures"]["gradcam"][row]["map"]) for one in shown
        ]
        for column, (label, address) in enumerate(pictures):
            grid[row][column].imshow(
                Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))
            )
            grid[row][column].axis("off")
            if row == 0:
                grid[row][column].set_title(label, fontsize=8)
    figure.suptitle(title, fontsize=9)
    return [("", figure)]


def tsne(title: str, rows: Sequence[Filled]) -> Drawn:
    """Features of test samples in two dimensions, one panel a model; the forgotten classes are
    dark.
    """
    shown = [one for one in rows if one.results[0]["pictures"].get("tsne")]
    if not shown:
        return []
    from matplotlib.figure import Figure

    columns = min(3, len(shown))
    figure = Figure(figsize=(2.6 * columns, 2.7 * -(-len(shown) // columns)))
    for place, panel in enumerate(
        figure.subplots(-(-len(shown) // columns), columns, squeeze=False).flat
    ):
        panel.axis("off")
        if place >= len(shown):
            continue
        one = shown[place].results[0]
        gone = {label for step in _steps(one["cell"]["request"]) for label in step}
        points = one["pictures"]["tsne"]
        kept = [point for point in points if point[2] not in gone]
        panel.scatter(
            [x for x, _, _ in kept],
            [y for _, y, _ in kept],
            c=[c for _, _, c in kept],
            cmap="tab10",
            s=4,
            alpha=0.5,
        )
        lost = [point for point in points if point[2] in gone]
        panel.scatter(
            [x for x, _, _ in lost],
            [y for _, y, _ in lost],
            color="black",
            s=9,
            marker="x",
            linewidths=0.8,
        )
        panel.set_title(shown[place].row["label"], fontsize=8)
    figure.suptitle(f"{title} (×: forgotten class)", fontsize=9)
    return [("", figure)]


def steps(title: str, rows: Sequence[Filled]) -> Drawn:
    """One request after the other: remaining accuracy and the strongest attack on everything that
    was to be forgotten.
    """
    shown = [one for one in rows if len(one.results[0]["steps"]) > 1]
    if not shown:
        return []
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.4, 3.0))
    for panel, (key, name) in zip(
        figure.subplots(1, 2),
        (("D_rt", "remaining test accuracy, %"), ("strongest", "strongest attack, %")),
        strict=True,
    ):
        for place, one in enumerate(shown):
            values = [
                statistics.fmean(
                    value
                    for result in one.results
                    if (value := result["steps"][step]["values"].get(key, {}).get("value"))
                    is not None
                )
                for step in range(len(one.results[0]["steps"]))
            ]
            panel.plot(
                range(1, len(values) + 1),
                values,
                marker=_MARKS[place % len(_MARKS)],
                label=one.row["label"],
            )
        panel.set_xlabel("requests so far")
        panel.set_ylabel(name)
        panel.xaxis.get_major_locator().set_params(integer=True)
        panel.grid(alpha=0.3)
    panel.legend(frameon=False, fontsize=7.5)
    figure.suptitle(title, fontsize=9)
    figure.tight_layout()
    return [("", figure)]


def _steps(request: dict[str, Any]) -> list[list[int]]:
    return request.get("steps") or ([request["classes"]] if "classes" in request else [])


_DRAW: dict[str, Callable[[str, Sequence[Filled]], Drawn]] = {
    "recovery": recovery,
    "weights": weights,
    "cosines": cosines,
    "runtime": runtime,
    "gradcam": gradcam,
    "tsne": tsne,
    "pareto": pareto,
    "steps": steps,
}
