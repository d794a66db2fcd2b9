"""LiRA: is the audited model as sure of a sample as models that saw it, or as those that did not?

Offline (`lira_scores`) needs only models that never saw the samples. Online (`lira_ratios`) needs
both kinds for every sample, non-members included.

Source: Carlini et al., "Membership Inference Attacks From First Principles", S&P 2022, algorithm 1
and eq. 4 (online and offline), and section VI (one variance for all samples where there are few
models).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from unspan.errors import DataError

OWN_VARIANCE = 64  # models of a kind that tell the variance of each sample by itself


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


def log_probability(scaled: Tensor) -> Tensor:
    """`ln p_y` from `scaled_logits`, without rounding where p is near 0 or 1."""
    return logsigmoid(scaled.double())


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


def lira_ratios(audited: Tensor, models: Tensor, saw: Tensor) -> Tensor:
    """Logarithm of how much likelier each sample was trained on than not, `[n]` float64.

    `ln N(audited; mean and variance over models that saw it) - ln N(audited; the same over models
    that did not)`. Higher means member. Two-sided: who is less sure than any model that saw the
    sample is no member either.

    A sample gets a variance of its own from `OWN_VARIANCE` models of a kind on. From fewer, one
    variance of each kind is pooled over all samples. A kind whose variance is not known, or is 0,
    takes that of the other; without either it is 1.

    Args:
        audited: `[n]` scaled logits in the audited model.
        models: `[m, n]` in other models; the audited one may not be among them.
        saw: `[m, n]` bool, whether a model was trained on a sample. Each sample, also a non-member,
            needs a model that saw it and one that did not. Where non-members were seen by no model,
            the scores of a model that saw nothing are not centred, and its AUC is not 1/2.

    Raises:
        DataError: shapes do not fit, a value is not finite, a sample lacks a kind of models, or the
            audited model is among the others.
    """
    _check_online(audited, models, saw)
    audited, models = audited.double(), models.double()
    kinds = [_Normals(models, mask) for mask in (saw, ~saw)]
    variances = [one.variance for one in kinds]
    for place, other in ((0, 1), (1, 0)):
        unknown = variances[place] <= 0
        variances[place] = torch.where(unknown, variances[other], variances[place])
    variances = [torch.where(one > 0, one, 1.0) for one in variances]
    likely = [
        -0.5 * ((audited - one.mean).square() / variance + variance.log())
        for one, variance in zip(kinds, variances, strict=True)
    ]
    return likely[0] - likely[1]


class _Normals:
    """Mean `[n]` and variance `[n]` of each sample over the models of one kind.

    A variance that is not known is 0.
    """

    def __init__(self, models: Tensor, mask: Tensor) -> None:
        count = mask.sum(0)
        self.mean = torch.where(mask, models, 0.0).sum(0) / count
        squares = torch.where(mask, models - self.mean, 0.0).square().sum(0)
        freedom = count - 1
        own = squares / freedom.clamp_min(1)
        shared = squares.sum() / freedom.sum().clamp_min(1)
        self.variance = torch.where(count >= OWN_VARIANCE, own, shared)


def _check_online(audited: Tensor, models: Tensor, saw: Tensor) -> None:
    if models.ndim != 2 or models.shape[1:] != audited.shape or saw.shape != models.shape:
        raise DataError(
            "Online LiRA needs [n], [m, n] and a mask [m, n]; got"
            f" {[list(part.shape) for part in (audited, models, saw)]}."
        )
    if not bool(audited.isfinite().all() and models.isfinite().all()):
        raise DataError("LiRA needs finite scaled logits.")
    lacking = int((saw.all(0) | ~saw.any(0)).sum())
    if lacking:
        raise DataError(
            f"{lacking} samples lack a model that saw them, or one that did not. Online LiRA needs"
            " both for each sample, also for those that are no members."
        )
    if bool((models == audited).all(1).any()):
        raise DataError("The audited model is among the models that its samples are judged by.")
