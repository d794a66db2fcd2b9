"""Measured numbers of README and docs, read from `results/`.

    python docs/measured.py           # writes them, and docs/before-after.svg
    python docs/measured.py --check   # fails where they differ from results/

A value stands before a comment that names it, `8.9 %<!--t1a_esc_own-->`. A new one is written as
the comment alone.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from benchmark_values import by_row, largest_cosine
from experiment_values import (
    attack_values,
    baked,
    esc_t,
    membership,
    people,
    people_queries,
    published_kr,
    ray_passes,
    relearned,
    resample_asked,
    run_time,
    samples,
    text_layers,
    topics,
)
from scale_values import fits, processes, stored_vectors, table_of_vectors
from search_values import searched
from shown import ROOT, shown

README = ROOT / "README.md"
DOCS = ROOT / "docs"
PICTURE = DOCS / "before-after.svg"
MARK = re.compile(r"(?:\d[\d.,]*(?:–[\d.]+)?(?: ± [\d.]+)?(?: %)?¹?)?<!--(\w+)-->")
BEGIN, END = "<!-- begin: docs/measured.py -->", "<!-- end: docs/measured.py -->"
BARS = (  # label, column of `Row`, colour
    ("the model's own answer", "own", "#9aa5b1"),
    ("strongest attack, one image", "attack", "#c2410c"),
    ("an MLP, image and its mirror image", "again", "#7c3aed"),
)


@dataclass(frozen=True)
class Row:
    """Percent of the forgotten class and of the others after one method; one value a key or seed.

    Attributes:
        name: of the method, as people say it.
        attack: what the strongest attack tried recognises of the forgotten class.
        own: what the model itself recognises of it.
        others: what the model itself recognises of the other classes.
        again: what an MLP recognises of it that sees the mirrored image too.
    """

    name: str
    attack: tuple[float, ...]
    own: tuple[float, ...]
    others: tuple[float, ...]
    again: tuple[float, ...]


def survive(name: str, row: str, network: str = "cifar10-allcnn") -> Row:
    """A row of `experiments/survive.py`."""
    files = sorted((ROOT / "results" / "survive").glob(f"{network}.{row}.*.json"))
    cells = [json.loads(file.read_text("utf-8")) for file in files]
    return Row(
        name,
        tuple(100 * max(one["value"] for one in cell["probes"].values()) for cell in cells),
        tuple(100 * cell["own forget"] for cell in cells),
        tuple(100 * cell["remaining"] for cell in cells),
        tuple(100 * cell["asked"]["two views"]["forget"]["value"] for cell in cells),
    )


def bake() -> Row:
    """The row of `experiments/bake.py` for all retained images; the last layer is attacked."""
    table = json.loads((ROOT / "results" / "bake.json").read_text("utf-8"))
    cells = [table[f"baked, seed {seed}"] for seed in range(3)]
    found = [cell["measured"] for cell in cells]
    asked = [cell["asked twice"]["one answer"]["forget"]["value"] for cell in cells]
    layer = [max(attack_values(list(one["layers"].values())[-1])) for one in found]
    return Row(
        "bake",
        tuple(100 * max(pair) for pair in zip(asked, layer, strict=True)),
        tuple(100 * one["forget"]["value"] for one in found),
        tuple(100 * one["remaining, all"]["value"] for one in found),
        tuple(100 * cell["asked twice"]["two views"]["forget"]["value"] for cell in cells),
    )


def rows() -> list[Row]:
    """The rows of the first table, in its order."""
    return [
        survive("original", "original"),
        survive("ESC", "esc"),
        survive("LEACE", "leace"),
        survive("resample", "resample"),
        bake(),
        survive("retrained without deer", "original", "cifar10-allcnn-retrained"),
    ]


@cache
def values() -> dict[str, str]:
    """What pages may name, such as `esc_attack`."""
    found = {}
    for row in rows():
        key = row.name.split()[0].lower()
        found |= {
            f"{key}_attack": shown(row.attack),
            f"{key}_own": shown(row.own),
            f"{key}_others": shown(row.others),
            f"{key}_again": shown(row.again),
        }
    found["largest_cosine"] = largest_cosine()
    return (
        found
        | by_row()
        | baked()
        | membership()
        | ray_passes()
        | people()
        | people_queries()
        | topics()
        | esc_t()
        | published_kr()
        | relearned()
        | resample_asked()
        | run_time()
        | samples()
        | fits()
        | processes()
        | stored_vectors()
        | table_of_vectors()
        | searched()
        | text_layers()
    )


def table() -> str:
    """The first table as Markdown."""
    lines = [
        "| | strongest attack, one image: deer | MLP, image and its mirror: deer | own answer: deer"
        " | own answer: others |",
        "|---|---|---|---|---|",
    ]
    for row in rows():
        cells = (row.name, *map(shown, (row.attack, row.again, row.own, row.others)))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def picture() -> None:
    """Draw what the model and attackers recognise of the forgotten class."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "unspan"
    from matplotlib import pyplot

    found = rows()
    figure, axes = pyplot.subplots(figsize=(7.2, 3.8), layout="constrained")
    for shift, (label, column, colour) in zip((0.27, 0.0, -0.27), BARS, strict=True):
        heights = [statistics.mean(getattr(row, column)) for row in found]
        places = [-i + shift for i in range(len(found))]
        bars = axes.barh(places, heights, 0.25, label=label, color=colour)
        axes.bar_label(bars, fmt="%.0f %%", padding=3, fontsize=7)
    axes.axvline(10, color="#6b7280", linewidth=0.8, linestyle=":")
    axes.annotate("chance", (10.5, 0.62), fontsize=8, color="#6b7280", annotation_clip=False)
    axes.set_yticks([-i for i in range(len(found))], [row.name for row in found])
    axes.set_xlim(0, 100)
    axes.set_xlabel("test images of deer that are recognised, % (n = 1,000)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, fontsize=8, loc="outside lower center", ncols=3)
    figure.savefig(PICTURE, metadata={"Date": None}, facecolor="white")


def filled(text: str) -> str:
    """The text with the value of today before each `<!--name-->`; stops at a name that is none."""
    found = values()
    unknown = {one[1] for one in MARK.finditer(text)} - found.keys()
    if unknown:
        sys.exit(f"No value is called {', '.join(sorted(unknown))}. Names: measured.values().")
    return MARK.sub(lambda one: f"{found[one[1]]}<!--{one[1]}-->", text)


def pages() -> dict[Path, str]:
    """README and pages of `docs/`, as they should be."""
    wanted = {page: filled(page.read_text("utf-8")) for page in sorted(DOCS.glob("*.md"))}
    text = README.read_text("utf-8")
    start, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    wanted[README] = text[:start] + "\n" + table() + "\n" + text[end:]
    return wanted


def main() -> None:
    """Write, or check, the measured values of README and docs, and the picture."""
    other = {page: text for page, text in pages().items() if page.read_text("utf-8") != text}
    if "--check" in sys.argv[1:]:
        if other:
            names = ", ".join(page.relative_to(ROOT).as_posix() for page in other)
            sys.exit(f"{names}: differ from results/. Run python docs/measured.py.")
        return
    for page, text in other.items():
        page.write_text(text, "utf-8")
    picture()


if __name__ == "__main__":
    main()
