"""How the examples draw: colours that colour-blind readers tell apart, on a transparent ground.

`show` writes two files, for light pages and for dark ones. The site shows the one that fits.
"""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

FOLDER = Path("build/pictures")
INK, INK_ON_DARK = "#27313c", "#e6eaef"  # text and lines
GREY, BLUE, ORANGE, GREEN = "#8b95a1", "#3f8fd0", "#d55e00", "#009e73"
MANY = ("#e69f00", "#56b4e9", "#009e73", "#b8a800", "#3f8fd0", "#cc79a7")  # after Okabe and Ito

SHOWN: list[tuple[Path, str]] = []  # files written by `show`, each with its text alternative

matplotlib.use("svg")
matplotlib.rcParams |= {
    "svg.hashsalt": "unspan",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    **dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK
    ),
}


def show(figure: Figure, name: str, alternative: str) -> None:
    """Write `NAME-light.svg` and `NAME-dark.svg`; the alternative says what the picture shows."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    light = FOLDER / f"{name}-light.svg"
    figure.savefig(light, transparent=True, metadata={"Date": None, "Title": alternative})
    drawn = re.sub(r"(\d\.\d\d)\d+", r"\1", light.read_text("utf-8"))  # a hundredth of a point
    light.write_text(drawn, "utf-8")
    (FOLDER / f"{name}-dark.svg").write_text(drawn.replace(INK, INK_ON_DARK), "utf-8")
    SHOWN.append((light, alternative))
