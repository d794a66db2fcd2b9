"""Does a network remember the samples of a request? Asked before single samples are erased.

The attack needs no other network: it tells samples of the request from unseen ones of the same
classes by how sure the network is of their labels. An audit with retrained networks tells more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from unspan.data.loading import batches
from unspan.data.request import Request
from unspan.erasure.predictions import class_scores
from unspan.errors import UnspanError
from unspan.extraction import FeatureLayer, eval_mode, unwrap
from unspan.metrics.lira import scaled_logits
from unspan.metrics.score import Reading, auc_reading
from unspan.run import Run
from unspan.system.text_enum import TextEnum

FEWEST = 10  # samples a side: fewer tell nothing
ROOM = 0.10  # above an AUC of 1/2: an interval that ends below is narrow enough to be chance
_HALF = 0.5


class Memory(TextEnum):
    """What the attack says of a network."""

    REMEMBERED = "remembered"  # the interval lies above 1/2
    AT_CHANCE = "at chance"  # it holds 1/2, or lies below, and ends within `ROOM` of it
    NOT_SHOWN = "not shown"  # it holds 1/2, and too few samples were read to call that chance


@dataclass(frozen=True, kw_only=True)
class Remembered:
    """The attack on one network.

    Attributes:
        memory: what it says.
        auc: of telling samples of the request from unseen ones; 1/2 is chance.
        low: lower end of its 95 % interval.
        high: upper end.
        forget: samples of the request that were compared.
        unseen: samples that no network was trained on.
    """

    memory: Memory
    auc: float
    low: float
    high: float
    forget: int
    unseen: int

    @property
    def do_nothing(self) -> bool:
        """Whether leaving the network as it is may be the right answer."""
        return self.memory is Memory.AT_CHANCE

    def to_dict(self) -> dict[str, Any]:
        """JSON values, for a receipt."""
        return asdict(self) | {"memory": self.memory.value, "do_nothing": self.do_nothing}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Remembered:
        """As a receipt has it."""
        own = {name: one for name, one in values.items() if name != "do_nothing"}
        return cls(**own | {"memory": Memory(values["memory"])})

    def sentence(self) -> str:
        """The figures, for people."""
        return (
            f"{_MEANING[self.memory]}: the attack on losses has an AUC of {self.auc:.2f} (95 %"
            f" interval {self.low:.2f} to {self.high:.2f}, chance is 0.50; {self.forget} samples to"
            f" forget, {self.unseen} unseen)"
        )

    def with_advice(self) -> str:
        """The figures of a network from which nothing was erased yet, and what follows."""
        return self.sentence() + _ADVICE[self.memory]


_MEANING = {
    Memory.REMEMBERED: "the network remembers these samples",
    Memory.AT_CHANCE: "the network hardly remembers these samples",
    Memory.NOT_SHOWN: "whether the network remembers these samples is not shown",
}
_ADVICE = {
    Memory.REMEMBERED: "",
    Memory.AT_CHANCE: (
        ". You may leave the network as it is; an audit with retrained networks (unspan audit)"
        " looks closer"
    ),
    Memory.NOT_SHOWN: ". More samples would decide",
}


def remembered(
    model: nn.Module, request: Request, run: Run, feature_layer: FeatureLayer | None = None
) -> Remembered | None:
    """The attack on the request of single samples; None where it cannot be measured.

    That is so for a class, without held-out samples or labels, without class scores, and with fewer
    than `FEWEST` samples a side.

    Args:
        model: unchanged.
        request: with `holdout`.
        run: batch size, device.
        feature_layer: where the class scores are, for a model that returns more than them.
    """
    if request.classes or request.holdout is None:
        return None
    try:
        read = read_membership(model, request.forget, request.holdout, run, feature_layer)
    except UnspanError:
        return None
    if read is None:
        return None
    low, high = read.interval()
    return Remembered(
        memory=_memory(low, high),
        auc=read.value,
        low=low,
        high=high,
        forget=len(read.forget),
        unseen=0 if read.rest is None else len(read.rest),
    )


def _memory(low: float, high: float) -> Memory:
    if low > _HALF:
        return Memory.REMEMBERED
    return Memory.AT_CHANCE if high <= _HALF + ROOM else Memory.NOT_SHOWN


def read_membership(
    model: nn.Module, members: Any, unseen: Any, run: Run, feature_layer: FeatureLayer | None = None
) -> Reading | None:
    """AUC with which a network is surer of members than of unseen samples of the same classes.

    None where fewer than `FEWEST` a side can be compared. A sample counts by how much surer the
    network is of its label than of those of unseen samples of its class on average.

    Args:
        model: unchanged.
        members: labelled samples.
        unseen: the same, of which no network was trained on any.
        run: batch size, device.
        feature_layer: as in `remembered`.
    """
    asked, asked_labels = _sure(model, members, run, feature_layer)
    other, other_labels = _sure(model, unseen, run, feature_layer)
    own, rest = [], []
    for label in asked_labels.unique().tolist():
        same = other[other_labels == label]
        if len(same):
            own.append(asked[asked_labels == label] - same.mean())
            rest.append(same - same.mean())
    if min(sum(map(len, own)), sum(map(len, rest))) < FEWEST:
        return None
    return auc_reading("membership", torch.cat(own), torch.cat(rest))


def _sure(
    model: nn.Module, data: Any, run: Run, feature_layer: FeatureLayer | None
) -> tuple[Tensor, Tensor]:
    """Scaled logits `[n]` of the labelled samples, and their labels `[n]`."""
    sure, labels = [torch.empty(0).double()], [torch.empty(0).long()]
    with eval_mode(model):
        for batch in batches(data, run, shard=False):
            if batch.labels is None:
                continue
            scores = class_scores(unwrap(model), feature_layer, batch, "membership")[1].cpu()
            sure.append(scaled_logits(scores, batch.labels))
            labels.append(batch.labels)
    return torch.cat(sure), torch.cat(labels)
