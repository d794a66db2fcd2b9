"""What the figures share: colours, marks, axes, names of points, error bars, legends."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from unspan.benchmark.table_values import Column, Filled, lines

# of Okabe and Ito: told apart with every common colour vision, and by marks besides
NEUTRAL, FORGET_ONLY, RETAIN, SECOND = "#5f6b79", "#0072B2", "#D55E00", "#CC79A7"
COLOURS = (FORGET_ONLY, RETAIN, "#009E73", SECOND, "#56B4E9", "#E69F00", NEUTRAL)
MARKS = "osD^vP*Xh<>pd8"
ERRORS = (
    "Lines: one deviation over seeds to both sides; of one seed, or equal ones, the 95 % interval."
)
_NAMED = 4  # classes that a label has room for
SEEDS = "Lines: one deviation over seeds to both sides; a method without a line ran once."


@dataclass(frozen=True)
class Drawing:
    """A figure of a view.

    Attributes:
        name: what is added to the name of its files; empty where a view has one figure.
        figure: of matplotlib.
        told: what is seen, in words, for people who do not see it.
    """

    name: str
    figure: Any
    told: str


Drawn = list[Drawing]


@dataclass(frozen=True)
class Spread:
    """A value of a row with its error bar.

    Attributes:
        mean: over the seeds.
        below: length of the bar to the left or down, 0 where it is unknown.
        above: to the right or up.
    """

    mean: float
    below: float = 0.0
    above: float = 0.0

    def above_zero(self) -> Spread:
        """The same with a bar that ends at 0, for what cannot be negative."""
        return Spread(self.mean, min(self.below, self.mean), self.above)

    def times(self, factor: float) -> Spread:
        """The same on another scale."""
        return Spread(factor * self.mean, factor * self.below, factor * self.above)


def spread_of(one: Filled, key: str, step: int = -1) -> Spread | None:
    """A number of a row with one deviation over the seeds; with its interval where there is one
    seed, or all seeds gave the same.
    """
    found = lines([one], (Column(key, key),), step)[0].numbers.get(key)
    if found is None:
        return None
    if found.std:
        return Spread(found.mean, found.std, found.std)
    value = one.results[0]["steps"][step]["values"].get(key, {})
    low, high = value.get("low"), value.get("high")
    if low is None or high is None:
        return Spread(found.mean)
    return Spread(found.mean, max(found.mean - low, 0.0), max(high - found.mean, 0.0))


def over_seeds(values: Sequence[float]) -> Spread:
    """The mean of values with one deviation."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return Spread(statistics.fmean(values), deviation, deviation)


def bars_of(spreads: Sequence[Spread]) -> list[list[float]]:
    """Lengths of error bars as matplotlib takes them."""
    return [[one.below for one in spreads], [one.above for one in spreads]]


def forgotten(rows: Sequence[Filled], default: str = "the forgotten samples") -> str:
    """Names of the classes that were to be forgotten; their number where they are many."""
    for one in rows:
        for result in one.results:
            asked = result["cell"]["request"]
            labels = [label for step in asked.get("steps", []) for label in step]
            labels = labels or list(asked.get("classes", []))
            if len(labels) > _NAMED:
                return f"{len(labels)} classes"
            if labels:
                return ", ".join(class_name(result, label) for label in labels)
    return default


def class_name(result: Any, label: int) -> str:
    """Name of a class of a cell; its number where it has none."""
    names = result.get("classes") or []
    return str(names[label]) if label < len(names) else str(label)


def headed(figure: Any, axes: Any, title: str, errors: str = "") -> None:
    """Put a title above, and what error bars mean below; called when all else is drawn."""
    axes.set_title(title, loc="left", fontsize=9)
    if errors:
        explained(figure, errors)


def explained(figure: Any, text: str) -> None:
    """Put a line below everything that is drawn."""
    figure.draw_without_rendering()
    lowest = figure.get_tightbbox().y0 / figure.get_figheight()
    figure.text(0.01, lowest - 0.03, text, fontsize=7, color=NEUTRAL, va="top")


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
    axes.figure.draw_without_rendering()
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
