"""Numbers behind the figures of a report; nothing is drawn here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from unspan.audit_record.drawings import (
    ClassAccuracy,
    ClassCosine,
    Embedding,
    Figures,
    LayerChange,
    LayerReading,
    RelearningCurves,
)
from unspan.auditing.white_box import WhiteBox
from unspan.errors import DataError
from unspan.metrics.accuracy import per_class
from unspan.metrics.identity import AttackKind
from unspan.metrics.outputs import Outputs
from unspan.metrics.score import Reading
from unspan.metrics.similarity import class_cosine, weight_change

if TYPE_CHECKING:
    from unspan.auditing.case import Case

_POINTS = 400  # samples of an embedding; t-SNE costs seconds, and the picture is small
_FEWEST = 50  # of them
_SHOWN = 20  # classes of a matrix that can still be read


def data(case: Case, readings: dict[str, list[Reading]], box: WhiteBox, pictures: bool) -> Figures:
    """The numbers of all figures; what cannot be drawn is left out."""
    before, after = case.test["before"], case.test["after"]
    names = _names(case, before.classes())
    scored = before.logits is not None and after.logits is not None
    labelled = bool((before.labels >= 0).all())
    return Figures(
        sweep=[
            LayerReading(str(one.identity.layer), one.original, one.erased, one.reference)
            for one in box.verdicts
        ],
        per_class=_per_class(before, after, names, case.request.classes) if scored else [],
        cosine=_cosine(before, after, names) if labelled and len(names) <= _SHOWN else None,
        layer_change=_changes(case),
        relearn=_curves(readings),
        embedding=(
            _embedding(before, after, names, case.run.seed) if pictures and case.by_class else None
        ),
    )


def _names(case: Case, classes: int) -> list[str]:
    given = list(case.class_names or [])
    return [str(given[i]) if i < len(given) else str(i) for i in range(classes)]


def _per_class(
    before: Outputs, after: Outputs, names: list[str], forgotten: tuple[int, ...]
) -> list[ClassAccuracy]:
    """Classes that have test samples."""
    old, new = per_class(before).rows(), per_class(after).rows()
    return [
        ClassAccuracy(
            name=names[i],
            forget=i in forgotten,
            before=old[i]["accuracy"],
            after=row["accuracy"],
            low=row["low"],
            high=row["high"],
            n=row["n"],
        )
        for i, row in enumerate(new)
        if row["n"]
    ]


def _cosine(before: Outputs, after: Outputs, names: list[str]) -> ClassCosine:
    return ClassCosine(names, _matrix(before), _matrix(after))


def _matrix(one: Outputs) -> list[list[float | None]]:
    matrix = class_cosine(one.features, one.labels, one.classes())
    return [
        [None if value != value else round(value, 4) for value in row] for row in matrix.tolist()
    ]


def _changes(case: Case) -> list[LayerChange]:
    if case.models is None:
        return []
    before, after = case.models.before, case.models.after
    old, new = before.model.state_dict(), after.model.state_dict()
    try:
        rows = weight_change(old, new, head=before.feature_layer.head)
    except DataError:
        return []
    return [
        LayerChange(one.name.removesuffix(".weight"), one.value)
        for one in rows
        if one.name in old and old[one.name].ndim > 1 and one.value is not None
    ]


def _curves(readings: dict[str, list[Reading]]) -> RelearningCurves | None:
    """How fast the original, the erased model and the first reference are taught again."""
    curves: dict[str, list[float]] = {}
    shots: list[int] = []
    for name in list(readings)[:3]:
        refits = [one for one in readings[name] if one.identity.kind is AttackKind.FEW_SHOT_REFIT]
        refits.sort(key=lambda one: one.identity.shots or 0)
        shots = [one.identity.shots or 0 for one in refits]
        shown = name if name in ("before", "after") else "reference"
        curves[shown] = [one.value for one in refits]
    return RelearningCurves(shots, curves) if shots else None


def _embedding(before: Outputs, after: Outputs, names: list[str], seed: int) -> Embedding | None:
    """t-SNE of both models' features on the same samples."""
    rows = torch.randperm(len(before), generator=torch.Generator().manual_seed(seed))[:_POINTS]
    if len(rows) < _FEWEST:
        return None
    return Embedding(
        names, "t-SNE", _placed(before.rows(rows), seed), _placed(after.rows(rows), seed)
    )


def _placed(some: Outputs, seed: int) -> list[tuple[float, float, int]]:
    from sklearn.manifold import TSNE

    x = some.features
    x = (x - x.mean(0)) / x.std().clamp_min(1e-9)
    neighbours = min(30, len(x) // 4)
    drawn = TSNE(random_state=seed, init="pca", perplexity=neighbours).fit_transform(x.numpy())
    return [
        (round(float(across), 2), round(float(up), 2), int(label))
        for (across, up), label in zip(drawn, some.labels, strict=True)
    ]
