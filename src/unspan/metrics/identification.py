"""Identification: whose an embedding is, by a search for the nearest mean or the nearest sample.

Everybody is enrolled anew, with embeddings of the model in question: an attacker who only looks up
what was stored before the erasure would find less. Means of embeddings of length 1 are compared by
cosine, as face and voice services do, and so are single embeddings, as a search index does.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from unspan.metrics.neighbours import neighbours
from unspan.metrics.outputs import Outputs
from unspan.metrics.probes import CHUNK, names_forgotten, share_reading
from unspan.metrics.score import Reading

_SCORES = 2**24  # of searches and people, held at a time: 128 MiB


def nearest_means(fit: Outputs, test: Outputs) -> Tensor:
    """The label `[n]` of the nearest mean for every test embedding; -1 where none is enrolled.

    >>> z = torch.eye(2)
    >>> both = Outputs(features=z, logits=None, labels=torch.tensor([5, 3]), forget=z[0] > 0)
    >>> nearest_means(both, both).tolist()
    [5, 3]
    """
    known = fit.labels[fit.labels >= 0].unique()
    if not len(known):
        return torch.full_like(test.labels, -1)
    sums = torch.zeros(len(known), fit.features.shape[1], dtype=torch.float64)
    for z, labels in zip(fit.features.split(CHUNK), fit.labels.split(CHUNK), strict=True):
        rows = labels >= 0
        sums.index_add_(0, torch.searchsorted(known, labels[rows]), normalize(z[rows].double()))
    means = normalize(sums)
    step = max(1, min(CHUNK, _SCORES // len(means)))
    nearest = [(normalize(z.double()) @ means.mT).argmax(1) for z in test.features.split(step)]
    return known[torch.cat(nearest)]


def nearest_samples(fit: Outputs, test: Outputs) -> Tensor:
    """The label `[n]` of the nearest enrolled embedding by cosine; -1 where none is enrolled."""
    rows = (fit.labels >= 0).nonzero()[:, 0]
    if not len(rows):
        return torch.full_like(test.labels, -1)
    return fit.labels[neighbours(fit.features, rows, test.features, 1, cosine=True)[:, 0]]


def identification(fit: Outputs, test: Outputs) -> list[Reading]:
    """What searches name of the forget test samples: by the nearest mean, by the nearest sample.

    Args:
        fit: enrolled samples with the labels of whom they show.
        test: samples that are searched for.
    """
    found = []
    for name, read in (
        ("search by the nearest mean", nearest_means(fit, test)),
        ("search by the nearest sample", nearest_samples(fit, test)),
    ):
        hit = read == test.labels
        found.append(share_reading(name, hit, test, names_forgotten(read, test)))
    return found
