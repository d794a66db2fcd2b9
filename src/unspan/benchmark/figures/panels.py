"""Figures with a panel for each model: cosines of classes, Grad-CAM, t-SNE."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from typing import Any

from unspan.benchmark.figures.drawing import (
    COLOURS,
    MARKS,
    Drawing,
    Drawn,
    class_name,
    forgotten,
)
from unspan.benchmark.table_values import Filled

_NAMED = 20  # classes whose names can be read at the edge of a panel


def cosines(title: str, rows: Sequence[Filled]) -> Drawn:
    """Figure 3: cosine between class means of the original's features and those of another
    model.
    """
    shown = [one for one in rows if one.results[0]["steps"][-1]["beside"].get("cosines")]
    if not shown:
        return []
    from matplotlib.figure import Figure

    columns = min(4, len(shown))
    lines = -(-len(shown) // columns)
    figure = Figure(figsize=(2.4 * columns + 1.2, 2.5 * lines + 0.6))
    grid = figure.subplots(lines, columns, squeeze=False)
    image: Any = None
    told = []
    for place, panel in enumerate(grid.flat):
        if place >= len(shown):
            panel.axis("off")
            continue
        one = shown[place]
        found = one.results[0]["steps"][-1]["beside"]["cosines"]["after"]
        image = panel.imshow(
            [[math.nan if value is None else value for value in row] for row in found],
            vmin=0,
            vmax=1,
            cmap="cividis",
        )
        known = [value for row in found for value in row if value is not None]
        panel.set_title(f"{one.row['label']} ({min(known):.2f} to {max(known):.2f})", fontsize=8)
        _class_ticks(panel, one.results[0], len(found), place, columns, len(shown))
        told.append(f"{one.row['label']} {_own_cosine(one)}")
    figure.colorbar(image, ax=grid, label="cosine to the original", shrink=0.8)
    figure.suptitle(f"{title}. Rows: classes of the original; columns: of the model", fontsize=9)
    asked = forgotten(rows)
    said = f"Cosine of the mean of {asked} to that in the original, by method: {', '.join(told)}."
    return [Drawing("", figure, said)]


def _class_ticks(panel: Any, result: Any, count: int, place: int, columns: int, shown: int) -> None:
    """Names of the classes at the left and the lower edge; forgotten ones are marked."""
    panel.set_xticks([])
    panel.set_yticks([])
    if count > _NAMED:
        return
    gone = {label for step in _steps(result["cell"]["request"]) for label in step}
    names = [
        f"▸ {class_name(result, label)}" if label in gone else class_name(result, label)
        for label in range(count)
    ]
    if place % columns == 0:
        panel.set_yticks(range(count), names, fontsize=6)
    if place + columns >= shown:
        panel.set_xticks(range(count), names, fontsize=6, rotation=90)


def _own_cosine(one: Filled) -> str:
    """Cosines of the forgotten classes to themselves."""
    result = one.results[0]
    found = result["steps"][-1]["beside"]["cosines"]["after"]
    gone = [label for step in _steps(result["cell"]["request"]) for label in step]
    own = [found[label][label] for label in gone if found[label][label] is not None]
    return " and ".join(f"{value:.2f}" for value in own) or "unknown"


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
    asked = forgotten(rows)
    figure.suptitle(f"{title}: test images of {asked}", fontsize=9)
    names = ", ".join(one.row["label"] for one in shown)
    said = (
        f"{count} test images of {asked}, one a row, and the regions that each network uses for"
        f" the true class, one a column: {names}."
    )
    return [Drawing("", figure, said)]


def tsne(title: str, rows: Sequence[Filled]) -> Drawn:
    """Features of test samples in two dimensions, one panel a model; the forgotten classes are
    dark.
    """
    shown = [one for one in rows if one.results[0]["pictures"].get("tsne")]
    if not shown:
        return []
    from matplotlib.figure import Figure

    columns = min(3, len(shown))
    lines = -(-len(shown) // columns)
    figure = Figure(figsize=(2.6 * columns + 1.2, 2.7 * lines))
    kinds: dict[str, Any] = {}
    for place, panel in enumerate(figure.subplots(lines, columns, squeeze=False).flat):
        panel.axis("off")
        if place < len(shown):
            kinds |= _map(panel, shown[place].results[0])
            panel.set_title(shown[place].row["label"], fontsize=8)
    figure.legend(
        kinds.values(), kinds.keys(), loc="center right", frameon=False, fontsize=7, markerscale=1.8
    )
    figure.subplots_adjust(right=0.84)
    asked = forgotten(rows)
    figure.suptitle(f"{title} (×: {asked})", fontsize=9)
    names = ", ".join(one.row["label"] for one in shown)
    said = (
        f"Maps of test features, one for each of {names}. Every class has a colour and a mark;"
        f" {asked} is drawn as black crosses."
    )
    return [Drawing("", figure, said)]


def _map(panel: Any, result: Any) -> dict[str, Any]:
    """Draw the points of one model; the marks by name of the class."""
    gone = {label for step in _steps(result["cell"]["request"]) for label in step}
    points = result["pictures"]["tsne"]
    kinds = {}
    for label in sorted({point[2] for point in points}, key=lambda one: (one in gone, one)):
        own = [point for point in points if point[2] == label]
        look = {
            "color": COLOURS[label % len(COLOURS)],
            "marker": MARKS[label % len(MARKS)],
            "s": 6,
            "alpha": 0.6,
        }
        if label in gone:
            look = {"color": "black", "marker": "x", "s": 9, "linewidths": 0.8}
        kinds[class_name(result, label)] = panel.scatter(
            [x for x, _, _ in own], [y for _, y, _ in own], **look
        )
    return kinds


def _steps(request: dict[str, Any]) -> list[list[int]]:
    return request.get("steps") or ([request["classes"]] if "classes" in request else [])
