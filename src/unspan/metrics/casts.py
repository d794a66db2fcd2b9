"""Does a cast, a quantisation or a pruning of the head bring an erased class back?"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from unspan.errors import DataError, UsageError
from unspan.metrics.accuracy import forget_accuracy, retain_accuracy
from unspan.metrics.outputs import Outputs
from unspan.metrics.score import Score

CASTS = ("bf16", "f16", "int8", "int4", "prune50")
LIMITS = {
    "bf16": 1e-3,
    "f16": 1e-3,
    "int8": 1e-2,
}  # of the part of the removed directions that a cast brings back
_HALF = {"bf16": torch.bfloat16, "f16": torch.float16}
_LEVELS = {"int8": 127, "int4": 7}


def cast_weight(weight: Tensor, how: str) -> Tensor:
    """The weight `[C, d]` after a cast, as float32.

    `bf16`, `f16`: rounded to that format. `int8`, `int4`: weight only, symmetric, one scale a row
    (its largest absolute weight is 127 or 7). `prune50`: the half with the smallest absolute values
    of the whole matrix is zero.

    Raises:
        UsageError: unknown cast.

    >>> cast_weight(torch.tensor([[1.0, -0.4], [0.2, 0.0]]), "prune50").tolist()
    [[1.0, -0.4000000059604645], [0.0, 0.0]]
    """
    weight = weight.detach().float()
    if how in _HALF:
        return weight.to(_HALF[how]).float()
    if how in _LEVELS:
        step = weight.abs().amax(1, keepdim=True) / _LEVELS[how]
        return torch.where(step > 0, (weight / step).round() * step, weight)
    if how == "prune50":
        drop = weight.abs().flatten().argsort(stable=True)[: weight.numel() // 2]
        return weight.flatten().index_fill(0, drop, 0.0).view_as(weight)
    raise UsageError(f"Unknown cast '{how}'; use one of {', '.join(CASTS)}.")


def cast_outputs(outputs: Outputs, weight: Tensor, bias: Tensor | None, how: str | None) -> Outputs:
    """Outputs with scores from the features and a cast head; `None` computes them in float32.

    For `bf16` and `f16` the features, the bias and the scores are rounded as well, sums are in
    float32.

    Args:
        outputs: features are what the head receives.
        weight: `[C, d]`.
        bias: `[C]` or None.
        how: one of `CASTS`, or None.

    Raises:
        DataError: the head does not fit the features.
    """
    if (
        weight.ndim != 2
        or weight.shape[1] != outputs.features.shape[1]
        or (bias is not None and bias.shape != weight.shape[:1])
    ):
        raise DataError(
            f"A head {list(weight.shape)} does not fit features {list(outputs.features.shape)}."
        )
    offset = torch.zeros(len(weight)) if bias is None else bias.detach().float()
    head = weight.detach().float() if how is None else cast_weight(weight, how)
    kind = _HALF.get(how or "")
    scores = []
    for part in outputs.features.split(8192):
        if kind is None:
            scores.append(part.float() @ head.mT + offset)
        else:
            scores.append(
                (part.to(kind).float() @ head.mT + offset.to(kind).float()).to(kind).float()
            )
    return replace(outputs, logits=torch.cat(scores))


def cast_scores(outputs: Outputs, weight: Tensor, bias: Tensor | None, split: str) -> list[Score]:
    """Forget accuracy after each cast; lower is more forgotten.

    `detail["passes"]`: it is not above the 95 % interval of the float32 head, that is, the cast did
    not bring the class back (below is no failure: pruning may break the head for every class, see
    `detail["retain"]`).

    Args:
        outputs: features are what the head receives, with labels and forget rows.
        weight: `[C, d]` head as shipped.
        bias: `[C]` or None.
        split: which samples.

    Raises:
        DataError: the head does not fit, or float32 scores are not finite.
    """
    plain = forget_accuracy(cast_outputs(outputs, weight, bias, None), split)
    found = []
    for how in CASTS:
        cast = cast_outputs(outputs, weight, bias, how)
        name = f"forget accuracy, {how}"
        broken = 0 if cast.logits is None else int((~cast.logits.isfinite()).any(1).sum())
        if broken:
            note = f"not measurable: {broken} of {len(outputs)} samples overflow {how}."
            found.append(
                Score(name=name, value=None, better="lower", split=split, n=plain.n, note=note)
            )
            continue
        score, kept = forget_accuracy(cast, split), retain_accuracy(cast, split)
        passes = None if score.value is None or plain.high is None else score.value <= plain.high
        inside = (
            None
            if score.value is None or plain.low is None
            else passes and score.value >= plain.low
        )
        detail = {
            "float32": plain.value,
            "float32_low": plain.low,
            "float32_high": plain.high,
            "inside": inside,
            "passes": passes,
            "retain": kept.value,
        }
        found.append(replace(score, name=name, detail=detail))
    return found


def null_ratio(before: Tensor, after: Tensor, directions: Tensor, how: str | None) -> Score:
    """`|W'_q U| / |W U|` (Frobenius): how much of the removed directions the head reads after a
    cast; lower is better.

    0 is a perfect null space. `detail["limit"]` is what is promised for the cast, None where
    nothing is.

    Args:
        before: original head W, `[C, d]`.
        after: head W' with the directions removed, `[C, d]`.
        directions: U, `[d, k]` orthonormal.
        how: one of `CASTS`, or None for the head as shipped.

    Raises:
        DataError: W does not read the directions, so there is nothing to compare with.
    """
    basis = directions.double()
    base = float((before.double() @ basis).norm())
    if base == 0:
        raise DataError(
            "The original head does not read the removed directions; the ratio has no base."
        )
    cast = after if how is None else cast_weight(after, how)
    limit = LIMITS.get(how or "")
    value = float((cast.double() @ basis).norm()) / base
    return Score(
        name=f"null space, {how or 'as shipped'}",
        value=value,
        unit="1",
        better="lower",
        n=basis.shape[1],
        detail={"limit": limit, "passes": None if limit is None else value <= limit},
    )
