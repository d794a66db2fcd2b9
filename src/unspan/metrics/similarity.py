"""How features and weights changed: CKA, Fisher ratio, class cosines, relative weight change. They
describe, without verdict.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import normalize

from unspan.errors import DataError
from unspan.extraction import CHILD
from unspan.metrics.score import Score, unmeasured

_CHUNK = 8192  # rows converted to float64 at once


def linear_cka(a: Tensor, b: Tensor, split: str) -> Score:
    """Linear centred kernel alignment of two feature sets of the same samples, in [0, 1]; 1: equal
    up to rotation and scale.

    `|A' B|² / (|A' A| |B' B|)` with centred columns and Frobenius norms; memory is `[d, d]` float64
    whatever n. Biased upwards when n is not much larger than d. Source: Kornblith et al., ICML
    2019.

    Args:
        a: `[n, d]` features of one model.
        b: `[n, e]` features of another, same rows.
        split: which samples.

    Raises:
        DataError: the numbers of rows differ.
    """
    if len(a) != len(b):
        raise DataError(f"CKA compares the same samples; got {len(a)} and {len(b)} rows.")
    cross = float(_product(a, b).norm()) ** 2
    own = float(_product(a, a).norm()) * float(_product(b, b).norm())
    if own == 0:
        reason = "the features of a model are constant."
        return unmeasured("linear CKA", reason, better="none", split=split, unit="1", n=len(a))
    return Score(name="linear CKA", value=min(cross / own, 1.0), unit="1", split=split, n=len(a))


def _product(a: Tensor, b: Tensor) -> Tensor:
    """`A' B` of centred columns, `[d, e]` float64, a chunk of rows at a time."""
    mean_a, mean_b = _mean(a), _mean(b)
    total = torch.zeros(a.shape[1], b.shape[1], dtype=torch.float64)
    for one, two in zip(a.split(_CHUNK), b.split(_CHUNK), strict=True):
        total.addmm_((one.double() - mean_a).mT, two.double() - mean_b)
    return total


def _mean(a: Tensor) -> Tensor:
    total = torch.zeros(a.shape[1], dtype=torch.float64)
    for part in a.split(_CHUNK):
        total += part.double().sum(0)
    return total / max(len(a), 1)


def fisher_ratio(features: Tensor, forget: Tensor, split: str) -> Score:
    """`|mean_f - mean_r|² / (tr S_f + tr S_r)`: how far forget features lie from the rest, in units
    of their spread.

    0: equal means. Independent of rotation and scale; S are covariances (divisor n).

    Args:
        features: `[n, d]`.
        forget: `[n]` bool.
        split: which samples.
    """
    parts = [features[rows] for rows in (forget, ~forget)]
    if min(map(len, parts)) < 2:
        reason = "fewer than 2 samples on one side."
        return unmeasured(
            "Fisher ratio", reason, better="none", split=split, unit="1", n=len(features)
        )
    means = [_mean(part) for part in parts]
    spread = sum(
        float((chunk.double() - mean).square().sum()) / len(part)
        for part, mean in zip(parts, means, strict=True)
        for chunk in part.split(_CHUNK)
    )
    gap = float((means[0] - means[1]).square().sum())
    note = "" if spread > 0 else "not measurable: the features do not vary."
    return Score(
        name="Fisher ratio",
        value=gap / spread if spread > 0 else None,
        unit="1",
        split=split,
        n=len(features),
        note=note,
    )


def class_cosine(
    features: Tensor,
    labels: Tensor,
    classes: int,
    other: Tensor | None = None,
    *,
    centred: bool = False,
    pairwise: bool = False,
) -> Tensor:
    """Cosine between classes, `[C, C]` float64 (Figure 3 of ESC); NaN for classes without samples.

    Row i is class i of `features`, column j is class j of `other` (the same features when None).
    The paper states neither
    centring nor averaging: its values "all above 0.5" fit uncentred means, the default. A class
    mapped to 0 has cosine 0.

    Args:
        features: `[n, d]`.
        labels: `[n]` classes, -1 for none.
        classes: C.
        other: `[n, d]` features of another model, for original against erased.
        centred: subtract each model's mean feature first.
        pairwise: mean cosine over pairs of samples instead of the cosine of the class means (the
            diagonal then includes each sample with itself).

    Raises:
        DataError: shapes do not fit.
    """
    other = features if other is None else other
    if other.shape != features.shape or len(labels) != len(features):
        raise DataError(
            "Class cosines need features of equal shape and a label a row; got"
            f" {list(features.shape)}, {list(other.shape)} and {len(labels)} labels."
        )
    sides = []
    for side in (features, other):
        sums = torch.zeros(classes, side.shape[1], dtype=torch.float64)
        shift = _mean(side) if centred else 0.0
        for rows in torch.arange(len(side)).split(_CHUNK):
            rows = rows[labels[rows] >= 0]
            values = side[rows].double() - shift
            sums.index_add_(0, labels[rows], normalize(values, eps=1e-300) if pairwise else values)
        sides.append(sums)
    n = torch.bincount(labels[labels >= 0], minlength=classes).double()
    if pairwise:
        return (sides[0] / n[:, None]) @ (sides[1] / n[:, None]).mT
    found = normalize(sides[0], eps=1e-300) @ normalize(sides[1], eps=1e-300).mT
    found[n == 0] = torch.nan
    found[:, n == 0] = torch.nan
    return found


def weight_change(
    before: Mapping[str, Tensor], after: Mapping[str, Tensor], *, head: str | None = None
) -> list[Score]:
    """Relative change `|after - before| / |before|` (Frobenius) of the head, of everything else,
    and of each tensor (Figure 2 of ESC).

    The paper does not define its norm; `detail` has the mean absolute change as well. Entries of an
    eraser (a module named `unspan`) and integer tensors are left out. n is the number of weights.

    Args:
        before: state dict of the original.
        after: state dict of the other model.
        head: module path of the head, for the two group rows.

    Raises:
        DataError: other keys than the eraser's, or a shape, differ.
    """
    after = {key: value for key, value in after.items() if CHILD not in key.split(".")}
    before = {key: value for key, value in before.items() if CHILD not in key.split(".")}
    odd = sorted(set(before) ^ set(after)) or [
        key for key in before if before[key].shape != after[key].shape
    ]
    if odd:
        raise DataError(f"The models do not have the same tensors; first differences: {odd[:5]}.")
    parts = {}
    for key, old in before.items():
        if old.is_floating_point():
            gap = after[key].double() - old.double()
            parts[key] = (
                float(gap.square().sum()),
                float(old.double().square().sum()),
                float(gap.abs().sum()),
                old.numel(),
            )
    groups = (
        {}
        if head is None
        else {
            "head": [key for key in parts if key.startswith(f"{head}.")],
            "other": [key for key in parts if not key.startswith(f"{head}.")],
        }
    )
    return [
        _change(name, [parts[key] for key in keys])
        for name, keys in {**groups, **{key: [key] for key in parts}}.items()
        if keys
    ]


def _change(name: str, parts: list[tuple[float, float, float, int]]) -> Score:
    gap, base, absolute, n = (sum(column) for column in zip(*parts, strict=True))
    value = 0.0 if gap == 0 else (gap / base) ** 0.5 if base > 0 else None
    note = "" if value is not None else "not measurable: the weights were all zero."
    return Score(
        name=f"weight change: {name}",
        value=value,
        unit="1",
        n=int(n),
        note=note,
        detail={"mean_absolute": absolute / max(n, 1)},
    )
