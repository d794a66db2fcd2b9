"""ZRF as released: other divergences than the paper's, and a mean over classes as well."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from unspan.metrics.score import Score, unmeasured

NAME = "ZRF (released)"


def released_zrf(logits: Tensor, random: Sequence[Tensor], split: str) -> Score:
    """ZRF by the code of Chundawat et al., AAAI 2023.

    Divergences are in nats and from the mixture instead of to it. They are averaged over samples
    *and* classes, which pushes the value towards 1 by a factor C, whatever the model. The value is
    not finite when a probability underflows. `unspan.metrics.unlearning.zrf` is what the paper
    says.

    Args:
        logits: `[n, C]` scores of the audited model.
        random: `[n, C]` scores of each network with random weights.
        split: which samples.
    """
    n = len(logits)
    values = torch.tensor([_published(logits, other) for other in random], dtype=torch.float64)
    if not bool(values.isfinite().all()):
        reason = "a probability underflows, where the released metric is not finite."
        return unmeasured(NAME, reason, unit="1", better="reference", split=split, n=n)
    return Score(
        name=NAME,
        value=float(values.mean()),
        unit="1",
        better="reference",
        split=split,
        n=n,
        detail={"networks": values.tolist(), "spread": float(values.std())},
    )


def _published(a: Tensor, b: Tensor) -> float:
    p, q = a.float().softmax(1), b.float().softmax(1)
    middle = (p + q) / 2
    wrong = [torch.xlogy(middle, middle) - middle * side.log() for side in (p, q)]
    return 1 - float((wrong[0].mean() + wrong[1].mean()) / 2)
