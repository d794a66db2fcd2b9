"""What the figures share: colours, marks, axes, names of points, legends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from unspan.benchmark.table_values import Column, Filled, lines

Drawn = list[tuple[str, Any]]  # (name, matplotlib figure)
NEUTRAL, FORGET_ONLY, RETAIN, SECOND = "#5f6b79", "#0f5aa8", "#c46a00", "#9b1c4a"
MARKS = "osD^vP*Xh<>pd8"


def new_axes(width: float, height: float) -> tuple[Any, Any]:
    """A figure of so many inches, and its axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    return figure, figure.subplots()


def mean_of(one: Filled, key: str, step: int = -1) -> float | None:
    """Mean over the seeds of one number of a row; None where it was not measured."""
    found = lines([one], (Column(key, key),), step)[0].numbers.get(key)
    return None if found is None else found.mean


def colour_of(one: Filled) -> str:
    """A row by what its method reads."""
    return {True: RETAIN, False: FORGET_ONLY, None: NEUTRAL}[one.row["needs_retain"]]


def plain_ticks(value: float, _place: int) -> str:
    """Numbers of a logarithmic axis without mathematics, which titles of users must not set off."""
    return f"{value:g}"


def place_names(axes: Any, points: Sequence[tuple[float, float]], names: Sequence[str]) -> None:
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
            arrowprops={"arrowstyle": "-", "color": NEUTRAL, "linewidth": 0.5} if far else None,
        )


def legend_of_kinds(axes: Any, rows: Sequence[Filled], **where: Any) -> None:
    """Say which colour stands for which data that a method reads."""
    from matplotlib.patches import Patch

    names = {None: "reference", False: "forget data only", True: "reads retained data"}
    used = [kind for kind in names if any(one.row["needs_retain"] is kind for one in rows)]
    axes.legend(
        handles=[
            Patch(color={True: RETAIN, False: FORGET_ONLY, None: NEUTRAL}[kind], label=names[kind])
            for kind in used
        ],
        frameon=False,
        **where,
    )
