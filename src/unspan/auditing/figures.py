"""Numbers behind the figures of a report; nothing is drawn here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from unspan.auditing.white_box import WhiteBox
from unspan.errors import DataError
from unspan.metrics.accuracy import per_class
from unspan.metrics.identity import AttackKind
from unspan.metrics.outputs import Outputs
from unspan.metrics.score import Reading
from unspan.metrics.similarity import class_cosine, weight_change

if TYPE_CHECKING:
    from unspan.auditing.case import Case

_POINTS = 800  # samples of an embedding
_SHOWN = 20  # classes of a matrix that can still be read


def data(
    case: Case, readings: dict[str, list[Reading]], box: WhiteBox, pictures: bool
) -> dict[str, Any]:
    """All figures as JSON values; what cannot be drawn is left out."""
    before, after = case.test["before"], case.test["after"]
    names = _names(case, before.classes())
    found: dict[str, Any] = {
        "sweep": [
            {
                "layer": one.identity.layer,
                "before": one.original,
                "after": one.erased,
                "reference": one.reference,
            }
            for one in box.verdicts
        ]
    }
    if before.logits is not None and after.logits is not None:
        found["per_class"] = _per_class(before, after, names, case.splits.classes)
    if bool((before.labels >= 0).all()) and len(names) <= _SHOWN:
        found["cosine"] = {"classes": names, "before": _matrix(before), "after": _matrix(after)}
    found["layer_change"] = _changes(case)
    found["relearn"] = _curve(readings)
    if pictures and case.by_class:
        found["embedding"] = _embedding(before, after, names, case.run.seed)
    return {name: value for name, value in found.items() if value}


def _names(case: Case, classes: int) -> list[str]:
    given = list(case.class_names or [])
    return [str(given[i]) if i < len(given) else str(i) for i in range(classes)]


def _per_class(
    before: Outputs, after: Outputs, names: list[str], forgotten: tuple[int, ...]
) -> dict[str, Any]:
    old, new = per_class(before).rows(), per_class(after).rows()
    seen = [i for i, row in enumerate(new) if row["n"]]
    return {
        "classes": [names[i] for i in seen],
        "forget": [i in forgotten for i in seen],
        "before": [old[i]["accuracy"] for i in seen],
        "after": [new[i]["accuracy"] for i in seen],
        "low": [new[i]["low"] for i in seen],
        "high": [new[i]["high"] for i in seen],
        "n": [new[i]["n"] for i in seen],
    }


def _matrix(one: Outputs) -> list[list[float | None]]:
    matrix = class_cosine(one.features, one.labels, one.classes())
    return [
        [None if value != value else round(value, 4) for value in row] for row in matrix.tolist()
    ]


def _changes(case: Case) -> list[dict[str, Any]]:
    old, new = (one.model.state_dict() for one in case.subjects)
    try:
        rows = weight_change(old, new, head=case.subjects[0].feature_layer.head)
    except DataError:
        return []
    tensors = [one for one in rows if one.name in old and old[one.name].ndim > 1]
    return [{"layer": one.name.removesuffix(".weight"), "change": one.value} for one in tensors]


def _curve(readings: dict[str, list[Reading]]) -> dict[str, Any]:
    curves: dict[str, list[float]] = {}
    shots: list[int] = []
    for name in [
        "before",
        "after",
        *(name for name in readings if name not in ("before", "after")),
    ][:3]:
        found = sorted(
            (one for one in readings[name] if one.identity.kind is AttackKind.FEW_SHOT_REFIT),
            key=lambda one: one.identity.shots or 0,
        )
        shots = [one.identity.shots or 0 for one in found]
        curves["reference" if name not in ("before", "after") else name] = [
            one.value for one in found
        ]
    return {"shots": shots, "curves": curves} if shots else {}


def _embedding(before: Outputs, after: Outputs, names: list[str], seed: int) -> dict[str, Any]:
    """t-SNE of both models' features on the same samples."""
    from sklearn.manifold import TSNE

    rows = torch.randperm(len(before), generator=torch.Generator().manual_seed(seed))[:_POINTS]
    if len(rows) < 50:
        return {}
    points = {}
    for name, one in (("before", before), ("after", after)):
        x = one.features[rows]
        x = (x - x.mean(0)) / x.std().clamp_min(1e-9)
        found = TSNE(
            random_state=seed, init="pca", perplexity=min(30, len(rows) // 4)
        ).fit_transform(x.numpy())
        points[name] = [
            [round(float(a), 2), round(float(b), 2), int(c)]
            for (a, b), c in zip(found, one.labels[rows], strict=True)
        ]
    return {"classes": names, "method": "t-SNE", **points}
