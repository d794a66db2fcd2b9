"""BadT (bad teaching): a student that copies a random network on the forget data and the original
on the rest.

Idea: two frozen teachers, a competent and an incompetent one; every sample has one of them.
Formula: `KL(softmax(t(x) / T) || softmax(s(x) / T))`, t = a network with random weights on D_f, the
original on D_r, mixed in one shuffled pass.
Needs: forget samples and a share of the retained ones; labels are read, not used. Cost: one epoch
over both, with one teacher pass.
Typical: Adam 1e-4, 1 epoch, batch 256, T 1, 30 % of D_r.
Fails: outputs on forget samples become those of a random network, which is itself a mark (low
confidence).
Source: Chundawat et al., AAAI 2023; their release.
Deviates: each sample asks only its own teacher. The mean is over samples. The release also divides
by the number of classes, to which its step size belongs (experiments/released). The incompetent
teacher is never the network that ZRF compares with.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import kl_div

from unspan.data.inputs import cut_rows
from unspan.errors import UsageError
from unspan.methods.base import TrainedMethod
from unspan.models.redraw import redraw
from unspan.training.context import Outcome, TrainingContext, class_scores
from unspan.training.loop import Pass, train
from unspan.training.samples import Minibatch
from unspan.training.settings import Training


@dataclass(frozen=True, kw_only=True)
class BadTeaching(TrainedMethod):
    """Settings of BadT.

    Attributes:
        temperature: T.
        retain_share: share of the retained data that is used, in (0, 1].
        training: of the loop.
    """

    temperature: float = 1.0
    retain_share: float = 0.3
    training: Training = Training(lr=1e-4, epochs=1, batch=256, optimiser="adam", weight_decay=0.0)
    name: ClassVar[str] = "bad-teaching"
    paper: ClassVar[str] = "Chundawat et al., Can Bad Teaching Induce Forgetting?, AAAI 2023"
    search: ClassVar[dict[str, tuple[Any, ...]]] = {"lr": (1e-4, 3e-4, 1e-3, 3e-5)}
    needs: ClassVar[frozenset[str]] = frozenset({"forget", "forget_labels", "retain"})
    stronger: ClassVar[tuple[str, ...]] = ("lr", "epochs")

    def __post_init__(self) -> None:
        if not 0 < self.retain_share <= 1 or self.temperature <= 0:
            raise UsageError(
                f"retain_share={self.retain_share}, temperature={self.temperature}: the share lies"
                " above 0 and is at most 1, the temperature is positive."
            )

    def unlearn(self, context: TrainingContext) -> Outcome:
        """Teach."""
        samples = context.samples("forget", "retain")
        good, bad = (
            copy.deepcopy(context.model).eval().requires_grad_(False),
            copy.deepcopy(context.model).eval().requires_grad_(False),
        )
        redraw(bad, int(context.stream("incompetent teacher").initial_seed() % 2**31))
        retained = (~samples.forget).nonzero()[:, 0]
        chosen = retained[
            torch.randperm(len(retained), generator=context.stream("retained share"))[
                : max(1, round(self.retain_share * len(retained)))
            ]
        ]
        used = torch.cat([samples.forget.nonzero()[:, 0], chosen])

        def loss(batch: Minibatch) -> Tensor:
            student = context.scores(context.model, batch)
            return self.divergence(student, teachers(good, bad, batch, student))

        def plan(epoch: int) -> list[Pass]:
            order = used[
                torch.randperm(len(used), generator=context.stream("order", "bad-teaching", epoch))
            ]
            return [
                Pass(
                    samples.minibatches(self.training.batch, order=order),
                    loss,
                    -(-len(used) // self.training.batch),
                )
            ]

        history = train(context, self.training, plan, name=self.name)
        return Outcome(history=history, retained_used=len(chosen))

    def divergence(self, student: Tensor, teacher: Tensor) -> Tensor:
        """`KL(softmax(teacher / T) || softmax(student / T))` of scores `[n, C]`, in nats.

        The mean over samples.
        """
        return kl_div(
            (student / self.temperature).log_softmax(1),
            (teacher / self.temperature).log_softmax(1),
            reduction="batchmean",
            log_target=True,
        )


def teachers(good: torch.nn.Module, bad: torch.nn.Module, batch: Minibatch, like: Tensor) -> Tensor:
    """Scores `[n, C]` of the teacher that belongs to each sample."""
    scores = torch.empty_like(like)
    with torch.no_grad():
        for teacher, rows in ((bad, batch.forget), (good, ~batch.forget)):
            if bool(rows.any()):
                scores[rows.to(scores.device)] = class_scores(teacher, cut_rows(batch.x, rows))
    return scores
