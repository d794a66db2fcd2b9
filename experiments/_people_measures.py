"""What is left of a person in a model of embeddings: identification, verification, search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn.functional import normalize

from unspan.metrics.linear import fit_linear

STRANGERS = 0.01  # of strangers whom an open search takes for somebody
Map = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Photos:
    """Embeddings of photos.

    Attributes:
        enrolled: `[n, d]`, from the training part: who is known.
        names: `[n]`.
        asked: `[m, d]`, from the test part: who is looked for.
        truth: `[m]`.
    """

    enrolled: Tensor
    names: Tensor
    asked: Tensor
    truth: Tensor

    def through(self, eraser: Map) -> Photos:
        """The same photos in the erased model: everybody is enrolled anew."""
        return Photos(eraser(self.enrolled), self.names, eraser(self.asked), self.truth)

    def without(self, person: int) -> Photos:
        """The photos of all others."""
        known, looked = self.names != person, self.truth != person
        return Photos(
            self.enrolled[known], self.names[known], self.asked[looked], self.truth[looked]
        )


def measured(before: Photos, eraser: Map, person: int) -> dict[str, float]:
    """What attackers get of one person from an erased model, and what the others lose.

    Shares in [0, 1]. Identification is by the mean of everybody's enrolled photos, and by the
    nearest one.

    Args:
        before: of everybody, in the original.
        eraser: on embeddings.
        person: who was erased.
    """
    after = before.through(eraser)
    own = after.truth == person
    by_mean, by_nearest = identified(after)
    others_before = torch.stack(identified(before.without(person))).double().mean(1)
    others_after = torch.stack(identified(after.without(person))).double().mean(1)
    return {
        "rank-1, mean": float(by_mean[own].double().mean()),
        "rank-1, nearest": float(by_nearest[own].double().mean()),
        "same person": same_person(after.asked[own], after.asked[~own]),
        "trained probe": probed(after, person),
        "found in a search": found(after.without(person), after.asked[own]),
        "others, mean": float(others_after[0] - others_before[0]),
        "others, nearest": float(others_after[1] - others_before[1]),
    }


def identified(photos: Photos) -> tuple[Tensor, Tensor]:
    """Which photos asked are named rightly `[m]`, by the nearest mean and by the nearest photo."""
    enrolled, asked = normalize(photos.enrolled, dim=1), normalize(photos.asked, dim=1)
    people, means = templates(photos)
    by_mean = people[(asked @ means.mT).argmax(1)] == photos.truth
    by_nearest = photos.names[(asked @ enrolled.mT).argmax(1)] == photos.truth
    return by_mean, by_nearest


def templates(photos: Photos) -> tuple[Tensor, Tensor]:
    """Everybody's name `[k]` and the mean of their enrolled photos `[k, d]`, of length 1."""
    people = photos.names.unique()
    enrolled = normalize(photos.enrolled, dim=1)
    means = torch.stack([enrolled[photos.names == one].mean(0) for one in people])
    return people, normalize(means, dim=1)


def probed(photos: Photos, person: int) -> float:
    """Share of a person's photos that a linear probe names, trained to the end on the embeddings of
    everybody's enrolled photos with the true names.
    """
    people, classes = photos.names.unique(return_inverse=True)
    probe = fit_linear(photos.enrolled, classes, len(people), c=(1.0,), tolerance=1e-4)
    answers = people[probe.predict(photos.asked[photos.truth == person])]
    return float((answers == person).double().mean())


def same_person(own: Tensor, others: Tensor) -> float:
    """AUC of the cosine of two photos of a person `[n, d]` against one of theirs and another's."""
    own, others = normalize(own, dim=1), normalize(others, dim=1)
    pairs = (own @ own.mT)[tuple(torch.triu_indices(len(own), len(own), 1))]
    apart = (own @ others.mT).flatten()
    return float(
        roc_auc_score(
            torch.cat([torch.ones(len(pairs)), torch.zeros(len(apart))]), torch.cat([pairs, apart])
        )
    )


def found(others: Photos, own: Tensor) -> float:
    """Share of a person's photos `[n, d]` that an open search takes for somebody else who is known.

    Its threshold lets 1 % of photos of others pass when they themselves are not among the known.
    """
    people, means = templates(others)
    scores = normalize(others.asked, dim=1) @ means.mT
    scores[people[None] == others.truth[:, None]] = -1.0  # nobody is searched among their own
    threshold = scores.amax(1).quantile(1 - STRANGERS)
    return float(((normalize(own, dim=1) @ means.mT).amax(1) > threshold).double().mean())
