"""SCRUB: a student that departs from its teacher on the forget data and stays with it on the rest.

Idea: alternate passes that raise the divergence from the original on D_f with passes that lower it,
and the loss, on D_r.
Formula: `KL_T = T^2 KL(softmax(t / T) || softmax(s / T))`, mean over samples. Epoch e: if `e <=
msteps` a pass over D_f on `-KL_T`; then a pass over D_r on `gamma CE + alpha KL_T`.
Needs: forget and retain samples with labels; SCRUB+R also held-out samples of the forgotten
classes. Cost: epochs over both, twice the forward passes.
Typical: large scale: SGD 5e-4, gamma 0.99, alpha 0.001, T 4, msteps 2, 3 epochs, batches 128 and
32.
Fails: `-KL` has no ceiling and can destroy the student; rewinding on the wrong set leaks. SCRUB+R
that was killed starts again.
Source: Kurmanji et al., NeurIPS 2023; settings of their large-scale notebook.
Deviates: `ceiling` limits the divergence a sample is pushed to. Rewinding (SCRUB+R) picks the epoch
whose forget error is nearest to the last epoch's error on held-out samples of the class. The
release's list of errors is one longer than its checkpoints.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div

from unspan.errors import UsageError
from unspan.methods.base import TrainedMethod
from unspan.methods.descent import over
from unspan.training.context import (
    Outcome,
    TrainingContext,
    accuracy_on,
    class_scores,
    copied_state,
)
from unspan.training.loop import Pass, train
from unspan.training.samples import Minibatch
from unspan.training.settings import Training


@dataclass(frozen=True, kw_only=True)
class Scrub(TrainedMethod):
    """Settings of SCRUB.

    Attributes:
        gamma: weight of the cross-entropy on retained data.
        alpha: weight of the divergence on retained data.
        temperature: T.
        msteps: epochs with a pass over the forget data.
        forget_batch: samples a step of that pass.
        ceiling: divergence in nats (times T^2) beyond which a sample is left alone; None for no
            limit.
        rewind: SCRUB+R.
        training: of the loop.
    """

    gamma: float = 0.99
    alpha: float = 0.001
    temperature: float = 4.0
    msteps: int = 2
    forget_batch: int = 32
    ceiling: float | None = None
    rewind: bool = False
    training: Training = Training(lr=5e-4, epochs=3)
    name: ClassVar[str] = "scrub"
    paper: ClassVar[str] = "Kurmanji et al., SCRUB, NeurIPS 2023"
    stronger: ClassVar[tuple[str, ...]] = ("lr", "msteps")
    search: ClassVar[dict[str, tuple[Any, ...]]] = {"lr": (5e-4, 2e-3, 1e-2), "alpha": (0.001, 0.1)}

    def limits(self, figures: Mapping[str, Any]) -> dict[str, float]:
        """No more epochs drive away than there are."""
        return {"msteps": self.training.epochs}

    def __post_init__(self) -> None:
        if self.temperature <= 0 or self.forget_batch < 1 or self.msteps < 0:
            raise UsageError(
                f"temperature={self.temperature}, forget_batch={self.forget_batch},"
                f" msteps={self.msteps}: temperature and batch must be positive, msteps not"
                " negative."
            )

    @property
    def needs(self) -> frozenset[str]:
        """Held-out samples only for rewinding."""
        return frozenset(
            {"forget", "forget_labels", "retain"} | ({"holdout"} if self.rewind else set())
        )

    def unlearn(self, context: TrainingContext) -> Outcome:
        """Alternate both passes."""
        states: list[dict[str, Tensor]] = []

        def remember(epoch: int, row: dict[str, Any]) -> bool:
            if self.rewind:
                states.append(copied_state(context.model))
            return False

        history = train(
            context,
            self.training,
            self.plan(context),
            after_epoch=remember,
            name=self.name,
            resumable=not self.rewind,
        )
        report = _rewound(context, states, history) if states else {}
        return Outcome(report, history=history)

    def plan(self, context: TrainingContext) -> Callable[[int], list[Pass]]:
        """The passes of an epoch; the model as it is now is the teacher."""
        teacher = copy.deepcopy(context.model).eval().requires_grad_(False)
        return partial(self._passes, context, teacher)

    def _passes(self, context: TrainingContext, teacher: nn.Module, epoch: int) -> list[Pass]:
        """Away from the teacher on the forget data in the first epochs, then near on the rest."""

        def apart(batch: Minibatch) -> Tensor:
            scores = context.scores(context.model, batch)
            return -divergence(taught(teacher, batch), scores, self.temperature, self.ceiling)

        def near(batch: Minibatch) -> Tensor:
            scores = context.scores(context.model, batch)
            return self.gamma * cross_entropy(
                scores, batch.y.to(scores.device)
            ) + self.alpha * divergence(taught(teacher, batch), scores, self.temperature)

        passes = []
        if epoch <= self.msteps:
            forget = context.samples("forget")
            passes.append(over(context, forget, self.forget_batch, ("forget", epoch), apart))
        retain = context.samples("retain")
        return [*passes, over(context, retain, self.training.batch, ("retain", epoch), near)]


def _rewound(
    context: TrainingContext, states: list[dict[str, Tensor]], history: list[dict[str, Any]]
) -> dict[str, Any]:
    """Take the model back to the state whose forget error is nearest to that of held-out samples.

    Args:
        context: with the model as the last epoch left it.
        states: of the model after each epoch.
        history: a row for each epoch.

    Returns:
        Figures for the receipt.
    """
    goal = 1 - accuracy_on(context.model, context.samples("holdout"))
    first = len(history) - len(states)
    best = nearest(goal, [1 - row["forget_accuracy"] for row in history[first:]])
    context.model.load_state_dict(states[best])
    return {"rewound_to_epoch": first + best + 1, "held_out_error": goal}


def taught(teacher: nn.Module, batch: Minibatch) -> Tensor:
    """Scores `[n, C]` of the frozen teacher."""
    with torch.no_grad():
        return class_scores(teacher, batch.x)


def divergence(
    teacher: Tensor, student: Tensor, temperature: float, ceiling: float | None = None
) -> Tensor:
    """`T^2 KL(softmax(t / T) || softmax(s / T))` in nats, mean over samples; none beyond the
    ceiling is pushed on.
    """
    each = temperature**2 * kl_div(
        (student / temperature).log_softmax(1),
        (teacher / temperature).log_softmax(1),
        reduction="none",
        log_target=True,
    ).sum(1)
    return (each if ceiling is None else each.clamp_max(ceiling)).mean()


def nearest(goal: float, errors: list[float]) -> int:
    """Position of the error nearest to the goal; the later one of two.

    >>> nearest(0.3, [0.1, 0.25, 0.35, 0.6])
    2
    """
    return min(reversed(range(len(errors))), key=lambda i: round(abs(errors[i] - goal), 12))
