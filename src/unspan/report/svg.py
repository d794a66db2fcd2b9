"""From a matplotlib figure to SVG that can stand inside a page: no outside reference, own ids,
colours by name.
"""

from __future__ import annotations

import io
import re
import unicodedata
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from xml.etree import ElementTree

from unspan.report.formatting import literal
from unspan.system.palette import LIGHT

WIDTH = 340  # drawing units; about the width of a phone, so that text keeps its size there
TEXT = 10.5
# Each name of the palette is drawn in a colour of its own that is replaced by the CSS variable
# afterwards.
INK = {name: f"#0102{i:02x}" for i, name in enumerate(LIGHT, 1)}
_NAMES = {colour: f"var(--{name})" for name, colour in INK.items()}
_COLOUR = re.compile("|".join(_NAMES))
_WIDE = {"ijl.,:;|!'`()[]ft Ir-": 0.42, "mwMW@%—": 1.02, "<>=+~^#&_": 0.86}
_LONG = re.compile(r"-?\d+\.\d{3,}")
_FONT = re.compile(r"font:\s*(?P<before>[^;]*?)(?P<size>[\d.]+)px[^;]*")
_SETTINGS = {
    "svg.fonttype": "none",
    "svg.hashsalt": "unspan",
    "font.family": "DejaVu Sans",
    "font.size": TEXT,
    "text.parse_math": False,
    "text.color": INK["ink"],
    "axes.edgecolor": INK["line"],
    "axes.labelcolor": INK["ink"],
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "xtick.color": INK["line"],
    "ytick.color": INK["line"],
    "xtick.labelcolor": INK["muted"],
    "ytick.labelcolor": INK["ink"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": INK["line"],
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": TEXT,
    "legend.handletextpad": 0.4,
    "legend.columnspacing": 1.0,
    "legend.borderaxespad": 0.0,
    "legend.borderpad": 0.1,
    "xtick.labelsize": TEXT - 0.5,
    "ytick.labelsize": TEXT,
    "lines.linewidth": 1.6,
    "lines.markersize": 6.5,
    "path.sketch": None,
}


@contextmanager
def drawing() -> Iterator[None]:
    """Matplotlib with our settings only: the user's own style files change nothing."""
    import matplotlib
    from matplotlib import rcsetup

    own: Any = {
        name: value
        for name, value in matplotlib.rcParamsDefault.items()
        if not name.startswith(("backend", "interactive", "toolbar"))
    }
    with (
        warnings.catch_warnings(),
        matplotlib.rc_context(
            own | _SETTINGS | {"axes.prop_cycle": rcsetup.cycler(color=[INK["ink"]])}
        ),
    ):
        warnings.filterwarnings(
            "ignore", message=".*[Gg]lyph.*"
        )  # text stays text: the browser has the fonts
        yield


def canvas(
    height: float,
    left: float,
    right: float = 12,
    top: float = 8,
    bottom: float = 26,
    count: int = 1,
    gap: float = 0,
) -> tuple[Any, list[Any]]:
    """A figure of fixed width with `count` axes of equal height, one under the other.

    Args:
        height: of the whole figure, in drawing units as all others.
        left: margin for labels.
        right: margin.
        top: margin.
        bottom: margin.
        count: how many axes.
        gap: between axes.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72)
    each = (height - top - bottom - gap * (count - 1)) / count
    return figure, [
        figure.add_axes(
            (
                left / WIDTH,
                1 - (top + each * (i + 1) + gap * i) / height,
                (WIDTH - left - right) / WIDTH,
                each / height,
            )
        )
        for i in range(count)
    ]


def room(labels: list[str]) -> float:
    """Left margin that holds the widest of some labels, bold or not."""
    return max((width(one) for one in labels), default=0) * 1.12 + 10


def width(text: str) -> float:
    """At most how wide a text is in drawing units, in any common font without serifs."""
    return TEXT * sum(
        next(
            (size for letters, size in _WIDE.items() if c in letters),
            1.05 if unicodedata.east_asian_width(c) in "WFA" else 0.85 if c.isupper() else 0.66,
        )
        for c in text
    )


def fitted(text: Any, space: float = 110) -> str:
    """A label cut to a width."""
    flat = literal(text, 100)
    if width(flat) <= space:
        return flat
    while flat and width(flat) + TEXT > space:
        flat = flat[:-1]
    return flat + "…"


def inline(figure: Any, key: str, title: str, description: str, *, halo: bool = False) -> str:
    """The figure as an `svg` element.

    Args:
        figure: of matplotlib, drawn inside `drawing()`.
        key: prefix of all its ids; differs between the figures of a page.
        title: name read by screen readers.
        description: what the figure says, for those who do not see it.
        halo: texts stand on lines or points and need a ground of their own.
    """
    buffer = io.BytesIO()
    figure.savefig(
        buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
    )
    root = ElementTree.fromstring(buffer.getvalue())  # written by matplotlib a line above
    box = root.get("viewBox", f"0 0 {WIDTH} {WIDTH}")
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    for parent in list(root.iter()):
        for child in [one for one in parent if one.tag in ("metadata", "style")]:
            parent.remove(child)
    for element in root.iter():
        _rewrite(element, key)
    root.attrib.clear()
    root.attrib.update(
        {
            "viewBox": box,
            "class": "plot halo" if halo else "plot",
            "role": "img",
            "aria-labelledby": f"{key}-title {key}-desc",
        }
    )
    for place, (tag, text) in enumerate((("title", title), ("desc", description))):
        element = ElementTree.Element(tag, {"id": f"{key}-{tag}"})
        element.text = literal(text)
        root.insert(place, element)
    return ElementTree.tostring(root, encoding="unicode")


def _rewrite(element: ElementTree.Element, key: str) -> None:
    for name, value in list(element.attrib.items()):
        bare = name.rpartition("}")[2]
        if bare == "id":
            value = f"{key}-{value}"
        elif bare == "href":
            value = f"#{key}-{value[1:]}"
        else:
            value = _COLOUR.sub(lambda found: _NAMES[found[0]], value).replace(
                "url(#", f"url(#{key}-"
            )
            value = _LONG.sub(lambda found: f"{float(found[0]):.2f}", value)
            if bare == "style":
                value = _FONT.sub(_font, value)
        del element.attrib[name]
        element.set(bare, value)
    if element.tag == "path" and "d" in element.attrib:
        element.set("d", " ".join(element.attrib["d"].split()))
    if element.tag != "text" and element.text and not element.text.strip():
        element.text = None
    if element.tail and not element.tail.strip():
        element.tail = None


def _font(found: re.Match[str]) -> str:
    weight = "; font-weight: 700" if "bold" in found["before"] or "700" in found["before"] else ""
    return f"font-size: {found['size']}px{weight}"


def key_line(figure: Any, entries: list[Any], height: float, length: float) -> None:
    """The legend, in one line above the drawing."""
    figure.legend(
        handles=entries,
        loc="upper left",
        bbox_to_anchor=(4 / WIDTH, 1 - 4 / height),
        ncols=3,
        handlelength=length,
    )
