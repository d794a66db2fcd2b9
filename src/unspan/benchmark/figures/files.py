"""Each figure as SVG and PDF, and the list of all."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, unescape

from unspan.benchmark.figures.bars import recovery, runtime, weights
from unspan.benchmark.figures.curves import pareto, steps
from unspan.benchmark.figures.drawing import Drawing, Drawn
from unspan.benchmark.figures.panels import cosines, gradcam, tsne
from unspan.benchmark.table_values import Filled

DRAW: dict[str, Callable[[str, Sequence[Filled]], Drawn]] = {
    "recovery": recovery,
    "weights": weights,
    "cosines": cosines,
    "runtime": runtime,
    "gradcam": gradcam,
    "tsne": tsne,
    "pareto": pareto,
    "steps": steps,
}


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
            headline = f"{title}: {pair}" if which else title
            for one in DRAW[view](headline, own):
                stem = folder / f"{name}-{view}{which}{one.name}"
                found += _written(stem, headline, one)
    return found


def _written(stem: Path, title: str, one: Drawing) -> list[Path]:
    """A figure as SVG, which says what is seen, and as PDF."""
    vector, page = (stem.with_name(f"{stem.name}.{kind}") for kind in ("svg", "pdf"))
    one.figure.savefig(vector, metadata={"Date": None}, bbox_inches="tight")
    one.figure.savefig(page, metadata={"CreationDate": None}, bbox_inches="tight")
    text = vector.read_text("utf-8")
    told = f"<title>{escape(title)}</title>\n <desc>{escape(one.told)}</desc>\n "
    begun, head, rest = text.partition("<svg ")
    tag, end, body = rest.partition(">")
    vector.write_text(f'{begun}{head}role="img" {tag}{end}\n {told}{body.lstrip()}', "utf-8")
    return [vector, page]


def alternative(vector: Path) -> str:
    """What is seen on a figure, in words, as its SVG says it."""
    found = re.search(r"<desc>(.*?)</desc>", vector.read_text("utf-8"), re.DOTALL)
    return unescape(found[1]) if found else ""
