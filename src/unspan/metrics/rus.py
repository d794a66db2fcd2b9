"""RUS: did features of forgotten samples change while those of the others stayed?

It sees similarity inside the forgotten class and not whether the class can be told from others: a
class moved as a whole scores well while a probe reads it as before. So it is computed only beside
the reading of a probe, and never decides.

Source: POUR, CVPR 2026, arXiv 2511.19339. Deviates: CKA is estimated without bias (Song et al.,
JMLR 2012), since the usual estimate of two independent sets of few rows is near 1.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from unspan.errors import DataError
from unspan.metrics.outputs import Outputs
from unspan.metrics.score import Score, unmeasured

_CHUNK = 8192  # rows converted to float64 at once
_FEWEST = 4  # rows of an unbiased estimate


def unbiased_cka(a: Tensor, b: Tensor) -> float | None:
    """Linear centred kernel alignment of two feature sets of the same rows, estimated without bias.

    1: equal up to rotation, scale and shift. About 0 for independent features at any n and d; it
    may be negative. None where a set does not vary, or has fewer than 4 rows. Memory `[d, e]`
    float64 whatever n.

    Args:
        a: `[n, d]`.
        b: `[n, e]`.

    Raises:
        DataError: the numbers of rows differ.
    """
    if len(a) != len(b):
        raise DataError(f"CKA compares the same samples; got {len(a)} and {len(b)} rows.")
    if len(a) < _FEWEST:
        return None
    own = [_dependence(one, one) for one in (a, b)]
    if min(own) <= 0:
        return None
    return _dependence(a, b) / (own[0] * own[1]) ** 0.5


def _dependence(a: Tensor, b: Tensor) -> float:
    """Unbiased HSIC of linear kernels whose diagonals are left out, times `n (n - 3)`."""
    n = len(a)
    means = [one.double().mean(0) for one in (a, b)]
    cross = torch.zeros(a.shape[1], b.shape[1], dtype=torch.float64)
    diagonal = 0.0
    totals = [0.0, 0.0]
    for parts in zip(a.split(_CHUNK), b.split(_CHUNK), strict=True):
        # centred rows add up to 0, so a row of a kernel without its diagonal adds up to minus that
        x, y = (part.double() - mean for part, mean in zip(parts, means, strict=True))
        squares = [one.square().sum(1) for one in (x, y)]
        cross.addmm_(x.mT, y)
        diagonal += float((squares[0] * squares[1]).sum())
        for place, one in enumerate(squares):
            totals[place] -= float(one.sum())
    return (
        float(cross.square().sum())
        - diagonal
        + totals[0] * totals[1] / ((n - 1) * (n - 2))
        - 2 * diagonal / (n - 2)
    )


def rus(
    model: Outputs, other: Outputs, kind: Literal["original", "retrained"], probe: float
) -> Score:
    """RUS of a model against the original or a retrained one, `2 Phi CKA_r / (Phi + CKA_r)`.

    Phi is `1 - CKA_f` against the original and `CKA_f` against a retrained model. CKA_f and CKA_r
    are over forgotten and retained rows. In [0, 1]; the untouched model scores 0 against itself.

    Args:
        model: outputs that are judged.
        other: of the original or a retrained model, the same rows.
        kind: which of the two.
        probe: share of the forgotten samples that a converged probe reads in the judged model; the
            note says it, so that the score never stands alone.

    Raises:
        DataError: the rows differ.
    """
    name, split = f"RUS against the {kind} model", "test"
    found = [
        unbiased_cka(model.features[rows], other.features[rows])
        for rows in (model.forget, ~model.forget)
    ]
    note = f"a converged probe reads {100 * probe:.1f} % of the forgotten samples"
    forget, retain = found
    if forget is None or retain is None:
        reason = "fewer than 4 samples of a kind, or features that do not vary."
        return unmeasured(name, reason, better="none", split=split, unit="1", n=len(model))
    moved = min(max(1 - forget if kind == "original" else forget, 0.0), 1.0)
    kept = min(max(retain, 0.0), 1.0)
    return Score(
        name=name,
        value=2 * moved * kept / (moved + kept) if moved + kept > 0 else 0.0,
        unit="1",
        split=split,
        n=len(model),
        note=note,
        detail={
            "CKA_f": forget,
            "CKA_r": retain,
            "probe": probe,
            "forget": int(model.forget.sum()),
        },
    )
