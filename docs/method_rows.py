"""The measured row of a method, beside the original and the retrained network, for its page.

Rows of one page come from one file, so that the same attackers stand behind all of them.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import measured
from benchmark_values import TABLE1A, has_row, readings
from experiment_values import attack_values, survivors
from shown import ROOT, shown, unbroken

from unspan.metrics.score import share_interval

COLUMNS = (
    "own answer: others",
    "own answer: deer",
    "linear probe: deer",
    "strongest attack: deer",
)
OTHERS = 9000  # test images of the other classes
RETRAINED = "retrained without deer"
SURVIVE = ("esc", "leace", "resample")  # attacked by the widest set of attackers
BARS = {"own answer: deer": "#8b95a1", "strongest attack: deer": "#d55e00"}


@dataclass(frozen=True)
class Line:
    """What one network recognises.

    Attributes:
        name: of the network or method.
        values: percent of the test images, in the order of the columns; one value a key or seed.
        deer: how many test images of deer there are.
    """

    name: str
    values: tuple[tuple[float, ...], ...]
    deer: int = 1000

    def cells(self) -> list[str]:
        """Means and deviations; a single value has its interval."""
        return [
            self._cell(values, n) for values, n in zip(self.values, self._counts(), strict=True)
        ]

    def mean(self, column: str) -> float:
        """Over keys or seeds."""
        return statistics.mean(self.values[COLUMNS.index(column)])

    def _counts(self) -> tuple[int, ...]:
        return (OTHERS, *[self.deer] * (len(COLUMNS) - 1))

    def _cell(self, values: tuple[float, ...], n: int) -> str:
        if len(values) > 1:
            return unbroken(shown(values))
        low, high = share_interval(values[0] * n / 100, n)
        interval = unbroken(f"({100 * low:.1f} to {100 * high:.1f})")
        return f"{unbroken(shown(values))} <br>{interval}"


TABLE = f"results/bench/tables/{TABLE1A}.jsonl"


@dataclass(frozen=True)
class Rows:
    """The original, the method and retraining; who attacked; the file of all."""

    lines: tuple[Line, ...]
    attackers: str
    source: str


def section(method: str) -> str:
    """What was measured of a method, as Markdown: a sentence, a table and a picture."""
    found = rows(method)
    if found is None:
        return f"## Measured\n\nNot yet: `{TABLE}` has no row of this method.\n"
    lines = [
        "## Measured",
        "",
        f"CIFAR-10 (JPEG copy), All-CNN, class deer; n = {found.lines[0].deer:,} test images of"
        f" deer and 9,000 others. {found.attackers}",
        "",
        f"| | {' | '.join(COLUMNS)} |",
        "|---|---|---|---|---|",
        *(f"| {line.name} | {' | '.join(line.cells())} |" for line in found.lines),
        "",
        *picture(found.lines),
        "",
        "In brackets: 95 % interval. After ±: deviation over keys or seeds."
        f" From `{found.source}`.",
        "",
    ]
    return "\n".join(lines)


def rows(method: str) -> Rows | None:
    """The lines of a method from the file that holds it; None where none does."""
    if method in SURVIVE:
        return Rows(
            (
                _survived("original", "original", "cifar10-allcnn"),
                _survived(method, method, "cifar10-allcnn"),
                _survived(RETRAINED, "original", "cifar10-allcnn-retrained"),
            ),
            "Attackers have the features and labels of all training images. The strongest is the"
            " best of linear probes, neighbours, an MLP and trees.",
            "results/survive/",
        )
    if method == "bake":
        return Rows(
            (
                _baked("original", "original"),
                _baked("bake", *(f"baked, seed {seed}" for seed in range(3))),
                _baked(RETRAINED, "retrained"),
            ),
            "Attackers have the features and labels of all training images. The strongest is the"
            " best of a linear probe, neighbours and an MLP on the last layer.",
            "results/bake.json",
        )
    if method == "dlfd":
        return Rows(
            (_alone("original", "original"), _alone(method, method), _alone(RETRAINED, "retrain")),
            "The method, retraining and the attackers have at most 10,000 retained training"
            " images. The strongest is the better of a linear probe and neighbours.",
            "results/methods/",
        )
    if not has_row(TABLE1A, method):
        return None
    names = dict.fromkeys(("original", method, "retrain"))
    return Rows(
        tuple(_benchmarked(name) for name in names),
        "The method and the attackers have all training images. The strongest is the best of a"
        " linear probe, neighbours, an MLP, and means over ten altered copies.",
        TABLE,
    )


def _survived(name: str, row: str, network: str) -> Line:
    found = measured.survive(name, row, network)
    every = survivors(network)[row]
    linear = tuple(100 * one["probes"]["linear probe (converged)"]["value"] for one in every)
    return Line(name, (found.others, found.own, linear, found.attack))


def _baked(name: str, *keys: str) -> Line:
    table = json.loads((ROOT / "results" / "bake.json").read_text("utf-8"))
    values = []
    for key in keys:
        found = table[key]["measured"]
        last = list(found["layers"].values())[-1]
        asked = table[key]["asked twice"]["one answer"]["forget"]["value"]
        best = max(asked, *attack_values(last))
        own = (found["remaining, all"]["value"], found["forget"]["value"])
        values.append([100 * value for value in (*own, last["linear"]["value"], best)])
    return Line(name, tuple(zip(*values, strict=True)))


def _alone(name: str, file: str) -> Line:
    path = ROOT / "results" / "methods" / f"{file}.json"
    found = json.loads(path.read_text("utf-8"))["measured"]
    probe = found["converged probe"]["value"]
    best = max(probe, found["kNN-20"]["value"])
    values = (found["test retain"]["value"], found["test forget"]["value"], probe, best)
    return Line(name, tuple((100 * value,) for value in values), found["test forget"]["n"])


def _benchmarked(label: str) -> Line:
    values = tuple(
        tuple(one["value"] for one in readings(TABLE1A, label, key))
        for key in ("D_rt", "D_ft", "probe", "strongest")
    )
    return Line(RETRAINED if label == "retrain" else label, values)


def first_picture() -> str:
    """The picture of the first page: the rows of the README."""
    found = [
        Line(row.name, (row.others, row.own, row.attack, row.attack)) for row in measured.rows()
    ]
    return "\n".join(picture(found)) + "\n"


def picture(lines: Sequence[Line]) -> list[str]:
    """Bars of the own answer and the strongest attack, as inline SVG in the colours of the page."""
    said = "; ".join(
        f"{line.name}: "
        + ", ".join(f"{column.partition(':')[0]} {line.mean(column):.0f} %" for column in BARS)
        for line in lines
    )
    drawn = [
        f'<svg viewBox="0 0 420 {58 * len(lines) + 26}" role="img" aria-label="{said}"'
        ' style="max-width: 30rem; width: 100%" fill="currentColor" font-size="13">'
    ]
    for place, (column, colour) in enumerate(BARS.items()):
        left = 150 * place
        drawn.append(
            f'<rect x="{left}" y="4" width="12" height="12" fill="{colour}"/>'
            f'<text x="{left + 18}" y="15">{column}</text>'
        )
    for place, line in enumerate(lines):
        top = 58 * place + 28
        drawn.append(f'<text x="0" y="{top + 13}">{line.name}</text>')
        for step, (column, colour) in enumerate(BARS.items()):
            width, y = 3.6 * line.mean(column), top + 20 + 15 * step
            drawn.append(
                f'<rect x="0" y="{y}" width="{width:.1f}" height="13" fill="{colour}"/>'
                f'<text x="{width + 6:.1f}" y="{y + 11}">{line.mean(column):.0f} %</text>'
            )
    return ["```{raw} html", *drawn, "</svg>", "```"]
