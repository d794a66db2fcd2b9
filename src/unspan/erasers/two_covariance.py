"""People as Gaussians of one covariance: whose embedding is it?

The two-covariance model: the mean embeddings of people are normal with covariance B, the embeddings
of one person are normal around its mean with covariance W. Source: Brümmer and de Villiers, The
speaker partitioning problem, Odyssey 2010; the model is a case of PLDA (Ioffe, 2006).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unspan.erasers.linalg import root
from unspan.erasers.transport import with_ridge

_RIDGE = 0.3  # of the mean variance within people, added to every variance within
_DOUBT = 3  # times d: samples, of those labelled, that count half for the variance within people
_PRIOR = 5  # degrees of freedom that the share of others counts beside that of the samples
_FEWEST, _MOST = 0.02, 0.9  # of the variance that may lie within people


@dataclass(frozen=True)
class People:
    """How embeddings vary between and within people.

    Attributes:
        mean: `[d]` of all embeddings.
        total: `[d, d]`, covariance of all embeddings.
        between: `[d, d]`, covariance of the means of people.
        within: `[d, d]`, covariance of the embeddings of one person, with a ridge.
        known: people whose samples were told apart, 0 where there are no labels.
    """

    mean: Tensor
    total: Tensor
    between: Tensor
    within: Tensor
    known: int


def people(others: Tensor, labels: Tensor, own: Tensor) -> People:
    """The two covariances, from embeddings of other people and of the person in question.

    The share of the variance that lies within a person is estimated from both. What the labels say
    of the covariance within counts `f / (f + 3 d)`. Here f is the number of labelled samples,
    without one for each person. For the rest it is taken as proportional to the covariance of all.

    Args:
        others: `[n, d]` of other people.
        labels: `[n]`, who each is of; -1 where that is not known.
        own: `[m, d]` of the person, m at least 2.
    """
    mean = others.mean(0)
    total = (others - mean).mT @ (others - mean) / len(others)
    size = total.trace().clamp_min(1e-300)
    share = (own - own.mean(0)).square().sum() / (len(own) - 1) / size
    pooled, known, freedom = _pooled_within(others, labels)
    if known:
        share = ((len(own) - 1) * share + _PRIOR * pooled.trace() / size) / (len(own) - 1 + _PRIOR)
    share = share.clamp(_FEWEST, _MOST)
    weight = freedom / (freedom + _DOUBT * others.shape[1])
    within = weight * pooled + (1 - weight) * share * total
    between = root(total - within, 1.0)  # without the negative eigenvalues that the estimates leave
    return People(mean, total, between, with_ridge(within, _RIDGE), known)


def _pooled_within(others: Tensor, labels: Tensor) -> tuple[Tensor, int, int]:
    """Covariance `[d, d]` around the mean of each label, the labels of two samples or more, and how
    many samples these have beyond the first.
    """
    dim = others.shape[1]
    scatter = torch.zeros(dim, dim, dtype=others.dtype)
    freedom, known = 0, 0
    for label in labels[labels >= 0].unique():
        group = others[labels == label]
        if len(group) < 2:
            continue
        centred = group - group.mean(0)
        scatter.addmm_(centred.mT, centred)
        freedom += len(group) - 1
        known += 1
    return scatter / max(freedom, 1), known, freedom


def log_likelihood_ratio(everyone: People, own: Tensor) -> tuple[Tensor, Tensor]:
    """Log-likelihood ratio of two hypotheses for an embedding z: the person's, or anybody's.

    The mean of the person follows from its m samples and the model by Bayes' rule: with
    `A = B (B + W / m)^-1` it is normal around `A (average - mean)` with covariance `B - A B`.

    Args:
        everyone: the model.
        own: `[m, d]` embeddings of the person.

    Returns:
        Q `[d, d]` and q `[d]`: with `v = z - mean` the ratio is `v^T Q v + v^T q`, up to a
        constant.
    """
    between, within = everyone.between, everyone.within
    gain = torch.linalg.solve(between + within / len(own), between).mT
    centre = gain @ (own.mean(0) - everyone.mean)
    left = between - gain @ between
    inverse = torch.linalg.inv(within + (left + left.mT) / 2)
    quadratic = (torch.linalg.inv(within + between) - inverse) / 2
    return (quadratic + quadratic.mT) / 2, inverse @ centre
