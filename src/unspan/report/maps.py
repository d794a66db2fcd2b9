"""Pictures of the feature space: similarity of classes, and samples in two dimensions. They
describe; they test nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from unspan.audit_record.record import AuditRecord
from unspan.report.axes import FORGOTTEN, MOST, bold, forgotten
from unspan.report.document import Figure, Panel
from unspan.report.formatting import literal
from unspan.report.svg import INK, TEXT, WIDTH, canvas, drawing, fitted, inline, room, width
from unspan.report.words.drawn import Drawn
from unspan.system.palette import SHADE

WRITTEN = 12  # classes up to which the cells of a matrix carry their number
POINTS = 1500  # in one drawing
FARTHEST = 1e9  # coordinates beyond are left out
Point = tuple[float, float, int]
Matrix = list[list["float | None"]]
_OVER = {"before": Drawn.BEFORE.value, "after": Drawn.AFTER_ERASING.value}


def cosine(audit: AuditRecord) -> Figure | None:
    """Cosines between class means before and after."""
    source = audit.figures.cosine
    if source is None:
        return None
    gone = forgotten(audit)
    classes = [literal(one) for one in source.classes]
    given = {"before": source.before, "after": source.after}
    matrices = {}
    for model, rows in given.items():
        matrix = _matrix(rows, len(classes))
        if matrix is not None:
            matrices[model] = matrix
    if not matrices:
        return None
    keep = _nearest(classes, next(iter(matrices.values())), gone)
    part = (
        Drawn.NEAREST_DRAWN.format(keep=len(keep), classes=len(classes))
        if len(keep) < len(classes)
        else ""
    )
    caption = Drawn.COSINE_CAPTION.format(part=part)
    return Figure(
        Drawn.COSINE_TITLE.value,
        caption,
        lambda: [
            Panel(_OVER[model], _cells(model, classes, matrix, keep, gone))
            for model, matrix in matrices.items()
        ],
    )


def _cells(model: str, classes: list[str], matrix: Matrix, keep: list[int], gone: set[str]) -> str:
    from matplotlib.collections import PolyCollection
    from matplotlib.colors import to_rgba

    labels = [(FORGOTTEN if classes[i] in gone else "") + fitted(classes[i], 74) for i in keep]
    marked = [classes[i] in gone for i in keep]
    left = room(labels)
    with drawing():
        figure, (axes,) = canvas(WIDTH, left, right=6, top=left, bottom=6)
        values = {
            (i, j): value
            for i, row in enumerate(keep)
            for j, column in enumerate(keep)
            if (value := matrix[row][column]) is not None
        }
        corners = [
            [(j - 0.5, i - 0.5), (j + 0.5, i - 0.5), (j + 0.5, i + 0.5), (j - 0.5, i + 0.5)]
            for i, j in values
        ]
        shades = [
            to_rgba(INK["after" if value >= 0 else "ref"], SHADE * abs(value))
            for value in values.values()
        ]
        axes.add_collection(PolyCollection(corners, facecolors=shades, edgecolors="none"))
        for (i, j), value in values.items() if len(keep) <= WRITTEN else ():
            axes.text(j, i, _short(value), ha="center", va="center", fontsize=8.5)
        axes.set_xlim(-0.5, len(keep) - 0.5)
        axes.set_ylim(len(keep) - 0.5, -0.5)
        axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
        for spine in axes.spines.values():
            spine.set_visible(False)
        bold(axes.set_xticks(range(len(keep)), labels, rotation=90), marked)
        bold(axes.set_yticks(range(len(keep)), labels), marked)
        told = "; ".join(
            Drawn.NEAREST.format(name=classes[i], nearest=_closest(classes, matrix, i))
            for i in keep
        )
        return inline(
            figure,
            f"cosine-{model}",
            Drawn.COSINE_OF.format(model=model),
            told,
        )


def _nearest(classes: list[str], matrix: Matrix, gone: set[str]) -> list[int]:
    if len(classes) <= MOST:
        return list(range(len(classes)))
    own = [i for i, name in enumerate(classes) if name in gone][:MOST] or [0]
    order = sorted(
        range(len(classes)), key=lambda i: (i not in own, -max(matrix[i][j] or 0.0 for j in own))
    )
    return sorted(order[:MOST])


def _closest(classes: list[str], matrix: Matrix, i: int) -> str:
    best = max(
        ((value, j) for j, value in enumerate(matrix[i]) if j != i and value is not None),
        default=None,
    )
    return f"{classes[best[1]]} ({best[0]:.2f})" if best else Drawn.NONE_MEASURED.value


def _short(value: float) -> str:
    text = f"{value:.2f}"
    return {"1.00": "1", "-1.00": "−1", "0.00": "0", "-0.00": "0"}.get(
        text, text.replace("0.", ".", 1).replace("-", "−")
    )


def _matrix(rows: Matrix, size: int) -> Matrix | None:
    """Values from -1 to 1; None where a class has no samples, or for rows of another length."""
    if len(rows) != size or any(len(row) != size for row in rows):
        return None
    if all(value is None for row in rows for value in row):
        return None
    return [
        [None if value is None else max(-1.0, min(1.0, value)) for value in row] for row in rows
    ]


def embedding(audit: AuditRecord) -> Figure | None:
    """Features in two dimensions."""
    source = audit.figures.embedding
    if source is None:
        return None
    gone = forgotten(audit)
    classes = [literal(one) for one in source.classes]
    given = {"before": source.before, "after": source.after}
    clouds = {model: _points(points, len(classes)) for model, points in given.items()}
    clouds = {model: points for model, points in clouds.items() if points}
    if not clouds:
        return None
    caption = Drawn.EMBEDDING_CAPTION.format(method=literal(source.method, 40))
    return Figure(
        Drawn.EMBEDDING_TITLE.value,
        caption,
        lambda: [
            Panel(_OVER[model], _cloud(model, classes, points, gone))
            for model, points in clouds.items()
        ],
    )


def _points(given: list[Point], classes: int) -> list[Point]:
    """Points that can be drawn, at most `POINTS` of them."""
    kept = []
    for across, up, label in given:
        if max(abs(across), abs(up)) < FARTHEST and 0 <= label < classes:
            kept.append((across, up, label))
    return kept[:: max(1, math.ceil(len(kept) / POINTS))]


def _cloud(model: str, classes: list[str], points: Sequence[Point], gone: set[str]) -> str:
    with drawing():
        figure, (axes,) = canvas(300, 6, right=6, top=6, bottom=6)
        for erased in (False, True):
            part = [p for p in points if (classes[p[2]] in gone) is erased]
            look = (
                {"color": INK["forget"], "markersize": 4.2, "alpha": 0.85}
                if erased
                else {"color": INK["before"], "markersize": 2.6, "alpha": 0.45}
            )
            axes.plot(
                [p[0] for p in part],
                [p[1] for p in part],
                "^" if erased else "o",
                markeredgewidth=0,
                **look,
            )
        axes.margins(0.06)
        axes.autoscale_view()
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_visible(True)
        _place_names(axes, points, classes, gone)
        told = Drawn.MEAN_POSITION_EACH.value + "; ".join(
            f"{classes[i]} ({x:.1f}, {y:.1f})" for i, x, y in _middles(points)
        )
        return inline(
            figure,
            f"embedding-{model}",
            Drawn.FEATURES_TWO_DIMENSIONS.format(model=model),
            told,
            halo=True,
        )


def _middles(points: Sequence[Point]) -> list[tuple[int, float, float]]:
    found = []
    for i in sorted({p[2] for p in points}):
        own = [p for p in points if p[2] == i]
        found.append((i, sum(p[0] for p in own) / len(own), sum(p[1] for p in own) / len(own)))
    return found


def _place_names(axes: Any, points: Sequence[Point], classes: list[str], gone: set[str]) -> None:
    """Class names near the middle of their points, moved apart; a name without room is left out."""
    taken: list[tuple[float, float, float, float]] = []
    line = TEXT * 1.5
    for i, x, y in sorted(_middles(points), key=lambda one: classes[one[0]] not in gone)[:MOST]:
        strong = classes[i] in gone
        text = (FORGOTTEN if strong else "") + fitted(classes[i], 90)
        across, up = axes.transData.transform((x, y))
        half = width(text) * (1.15 if strong else 1) / 2
        column = min(max(across, half + 8), WIDTH - half - 8)
        for step in (0, 1, -1, 2, -2, 3, -3, 4, -4):
            row = min(max(up + step * line, line), 300 - line)
            box = (column - half, row - line / 2, column + half, row + line / 2)
            if all(
                box[2] <= b[0] or b[2] <= box[0] or box[3] <= b[1] or b[3] <= box[1] for b in taken
            ):
                taken.append(box)
                at = axes.transData.inverted().transform((column, row))
                axes.annotate(
                    text,
                    at,
                    ha="center",
                    va="center",
                    fontweight="bold" if strong else "normal",
                    color=INK["forget" if strong else "ink"],
                )
                break
