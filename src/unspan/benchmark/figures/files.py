"""Each figure as SVG and PDF, and the list of all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from unspan.benchmark.figures.bars import recovery, runtime, weights
from unspan.benchmark.figures.curves import pareto, steps
from unspan.benchmark.figures.drawing import Drawn
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
            for suffix, figure in DRAW[view](f"{title}: {pair}" if which else title, own):
                for kind in ("svg", "pdf"):
                    path = folder / f"{name}-{view}{which}{suffix}.{kind}"
                    figure.savefig(
                        path,
                        metadata={"Date": None} if kind == "svg" else {"CreationDate": None},
                        bbox_inches="tight",
                    )
                    found.append(path)
    return found
