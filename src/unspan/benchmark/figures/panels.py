"""Figures with a panel for each model: cosines of classes, Grad-CAM, t-SNE."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from typing import Any

from unspan.benchmark.figures.drawing import Drawn
from unspan.benchmark.table_values import Filled


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


def _steps(request: dict[str, Any]) -> list[list[int]]:
    return request.get("steps") or ([request["classes"]] if "classes" in request else [])
