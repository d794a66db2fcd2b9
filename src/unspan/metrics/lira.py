"""LiRA, offline: is the audited model surer of a sample than models that never saw it?

Source: Carlini et al., "Membership Inference Attacks From First Principles", S&P 2022, eq. 4 and
section VI (offline, one variance for all samples where there are few models).
"""

from __future__ import annotations

import torch
from torch import Tensor

from unspan.errors import DataError


def scaled_logits(logits: Tensor, labels: Tensor) -> Tensor:
    """`ln p_y - ln(1 - p_y)` of the true class, `[n]` float64: about normal over models.

    Args:
        logits: `[n, C]`, two classes or more.
        labels: `[n]`.
    """
    logits = logits.double()
    own = logits.gather(1, labels[:, None])
    others = logits.scatter(1, labels[:, None], -torch.inf)
    return own[:, 0] - others.logsumexp(1)


def lira_scores(audited: Tensor, references: Tensor) -> Tensor:
    """How many deviations the audited model is surer of each sample than the references, `[n]`.

    That orders samples as `P(Z <= audited)` does, Z normal with the mean of the references for each
    sample and one variance for all. Higher means member. One-sided: a sample of which the model is
    less sure than models that never saw it counts as no member.

    Args:
        audited: `[n]` scaled logits in the audited model.
        references: `[m, n]` in models trained without the samples.

    Raises:
        DataError: shapes do not fit, or a value is not finite.
    """
    if references.ndim != 2 or not len(references) or references.shape[1:] != audited.shape:
        raise DataError(
            f"LiRA needs [n] and [m, n] with m >= 1; got {list(audited.shape)} and"
            f" {list(references.shape)}."
        )
    if not bool(audited.isfinite().all() and references.isfinite().all()):
        raise DataError("LiRA needs finite scaled logits.")
    references = references.double()
    spread = 1.0
    if len(references) > 1:
        spread = float(references.var(0).mean().sqrt()) or 1.0
    return (audited.double() - references.mean(0)) / spread
