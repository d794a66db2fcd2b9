"""What an embedding model shows of a topic, and what others lose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn.functional import normalize

Map = Callable[[Tensor], Tensor]
NEAREST = 10
_PAIRED = 300  # texts whose pairs are compared


@dataclass(frozen=True)
class Texts:
    """Embeddings of texts.

    Attributes:
        indexed: `[n, d]`, texts that are searched.
        topics: `[n]`.
        asked: `[m, d]`, texts that are searched for.
        truth: `[m]`.
    """

    indexed: Tensor
    topics: Tensor
    asked: Tensor
    truth: Tensor

    def through(self, eraser: Map) -> Texts:
        """The same texts in the erased model: everything is indexed anew."""
        return Texts(eraser(self.indexed), self.topics, eraser(self.asked), self.truth)


def hits(indexed: Tensor, topics: Tensor, asked: Tensor, truth: Tensor) -> Tensor:
    """How many of the ten texts nearest by cosine are of the topic asked for, `[m]`."""
    likeness = normalize(asked, dim=1) @ normalize(indexed, dim=1).mT
    nearest = likeness.topk(NEAREST, dim=1).indices
    return (topics[nearest] == truth[:, None]).sum(1)


def found(texts: Texts) -> Tensor:
    """`hits` of every text asked."""
    return hits(texts.indexed, texts.topics, texts.asked, texts.truth)


def recall(hits: Tensor) -> float:
    """Share of searches that find a text of their topic among the ten nearest."""
    return float((hits > 0).double().mean())


def precision(hits: Tensor) -> float:
    """Share of the ten nearest texts that are of the topic asked for."""
    return float(hits.double().mean()) / NEAREST


def chance(topics: Tensor, topic: int) -> tuple[float, float]:
    """Recall and precision of ten texts drawn at random."""
    share = float((topics == topic).double().mean())
    return 1 - (1 - share) ** NEAREST, share


def same_topic(own: Tensor, others: Tensor) -> float:
    """AUC of the cosine of two texts of a topic `[n, d]` against one of them and one of another."""
    generator = torch.Generator().manual_seed(0)
    own, others = (
        normalize(one[torch.randperm(len(one), generator=generator)[:_PAIRED]], dim=1)
        for one in (own, others)
    )
    pairs = (own @ own.mT)[tuple(torch.triu_indices(len(own), len(own), 1))]
    apart = (own @ others.mT).flatten()
    return area(pairs, apart)


def area(one: Tensor, other: Tensor) -> float:
    """AUC of telling scores `one` `[n]` from `other` `[m]`."""
    truth = torch.cat([torch.ones(len(one)), torch.zeros(len(other))])
    return float(roc_auc_score(truth, torch.cat([one, other]).detach()))


def measured(before: Texts, hits_before: Tensor, eraser: Map, topic: int) -> dict[str, float]:
    """What a search finds of an erased topic, and what searches for the others lose.

    Args:
        before: in the original.
        hits_before: `found` there.
        eraser: on embeddings.
        topic: that was erased.
    """
    after = before.through(eraser)
    own = after.truth == topic
    now = found(after)
    return {
        "recall": recall(now[own]),
        "precision": precision(now[own]),
        "same topic": same_topic(after.asked[own], after.asked[~own]),
        "others, recall": recall(now[~own]) - recall(hits_before[~own]),
        "others, precision": precision(now[~own]) - precision(hits_before[~own]),
    }


def probed(texts: Texts, topic: int) -> dict[str, float]:
    """AUC of telling the topic by probes that were trained on embeddings with their true topics.

    Linear: the discriminant of two Gaussians of one covariance. Quadratic: of two covariances.
    """
    own = texts.topics == topic
    one, rest = texts.indexed[own].double(), texts.indexed[~own].double()
    asked, true = texts.asked.double(), texts.truth == topic
    shared = _covariance(rest)
    direction = torch.linalg.solve(shared, one.mean(0) - rest.mean(0))
    # half of the own covariance is that of the others: a topic has few texts
    mixed = (_covariance(one) + shared) / 2
    linear = asked @ direction
    quadratic = _distance(asked, rest.mean(0), shared) - _distance(asked, one.mean(0), mixed)
    return {
        "linear probe": area(linear[true], linear[~true]),
        "quadratic probe": area(quadratic[true], quadratic[~true]),
    }


def _covariance(z: Tensor) -> Tensor:
    found = z.mT.cov(correction=0)
    return found + 0.1 * found.diagonal().mean() * torch.eye(len(found), dtype=found.dtype)


def _distance(z: Tensor, mean: Tensor, covariance: Tensor) -> Tensor:
    centred = z - mean
    return (torch.linalg.solve(covariance, centred.mT).mT * centred).sum(1)
