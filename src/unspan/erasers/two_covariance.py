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


@dataclass(frozen=True)
class Others:
    """What is known of other people.

    Attributes:
        mean: `[d]` of their embeddings.
        total: `[d, d]`, covariance of their embeddings.
        within: `[d, d]`, covariance around the mean of each person whose samples are told apart.
        known: people who are told apart.
        freedom: their samples, without one for each of them.
    """

    mean: Tensor
    total: Tensor
    within: Tensor
    known: int
    freedom: float


def others_of_samples(z: Tensor, labels: Tensor) -> Others:
    """Other people by their embeddings.

    Args:
        z: `[n, d]`.
        labels: `[n]`, who each is of; -1 where that is not known.
    """
    mean = z.mean(0)
    total = (z - mean).mT @ (z - mean) / len(z)
    own = z[labels >= 0]
    _, person, count = labels[labels >= 0].unique(return_inverse=True, return_counts=True)
    sums = z.new_zeros(len(count), z.shape[1]).index_add_(0, person, own)
    centred = own - (sums / count[:, None])[person]  # 0 where there is one sample of a person
    freedom = len(own) - len(count)
    within = centred.mT @ centred / max(freedom, 1)
    return Others(mean, total, within, int((count > 1).sum()), freedom)


def others_of_clusters(labels: Tensor, count: Tensor, mean: Tensor, covariance: Tensor) -> Others:
    """Other people by moments of clusters of their embeddings; several may be of one person.

    Args:
        labels: `[K]`, who each cluster is of; -1 where that is not known.
        count: `[K]` samples.
        mean: `[K, d]`.
        covariance: `[K, d, d]` of each cluster, or `[1, d, d]` within all of them.
    """
    each = covariance.expand(len(count), -1, -1)
    weights = count.double()
    centre, scatter = _joined(weights, mean, each)
    within = torch.zeros_like(scatter)
    freedom, known = 0.0, 0
    for label in labels[labels >= 0].unique():
        own = labels == label
        within += _joined(weights[own], mean[own], each[own])[1]
        freedom += float(weights[own].sum()) - 1
        known += 1
    return Others(centre, scatter / weights.sum(), within / max(freedom, 1.0), known, freedom)


def _joined(count: Tensor, mean: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Mean `[d]` of the samples of all clusters, and their scatter `[d, d]` around it."""
    centre = count @ mean / count.sum()
    gaps = mean - centre
    inside = torch.einsum("k,kij->ij", (count - 1).clamp_min(0), covariance)
    return centre, inside + (count[:, None] * gaps).mT @ gaps


def people(others: Others, own: Tensor) -> People:
    """The two covariances, from what is known of others and embeddings of the person in question.

    The share of the variance that lies within a person is estimated from both. What the labels say
    of the covariance within counts `f / (f + 3 d)`. Here f is the number of samples of people told
    apart, without one for each of them. For the rest it is taken as proportional to the covariance
    of all.

    Args:
        others: other people.
        own: `[m, d]` of the person, m at least 2.
    """
    total, known = others.total, others.known
    size = total.trace().clamp_min(1e-300)
    share = (own - own.mean(0)).square().sum() / (len(own) - 1) / size
    if known:
        told = _PRIOR * others.within.trace() / size
        share = ((len(own) - 1) * share + told) / (len(own) - 1 + _PRIOR)
    share = share.clamp(_FEWEST, _MOST)
    weight = others.freedom / (others.freedom + _DOUBT * len(others.mean))
    within = weight * others.within + (1 - weight) * share * total
    between = root(total - within, 1.0)  # without the negative eigenvalues that the estimates leave
    return People(others.mean, total, between, with_ridge(within, _RIDGE), known)


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
