"""Which state of the model `dlfd` returns: the forgetting score, and the states that it admits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from unspan.errors import InconclusiveError
from unspan.extraction import eval_mode
from unspan.metrics.membership import loss_attack
from unspan.training.context import TrainingContext, accuracy_on, copied_state
from unspan.training.samples import Samples

_LOOKED_AT = 2000  # samples of each part


class States:
    """States that the training passes, and the best one that may be returned.

    Attributes:
        looks: what was measured, in order.
    """

    def __init__(self, context: TrainingContext, save: float):
        """Begin with nothing seen.

        Args:
            context: with the model.
            save: forgetting score at or below which a state may be returned.
        """
        self.looks: list[dict[str, float]] = []
        self._context = context
        self._save = save
        self._best: dict[str, Any] = {}
        self._state: dict[str, Tensor] = {}

    def look(self, epoch: int, step: int) -> float:
        """Measure the model, keep its state where it is the best so far; the forgetting score."""
        context = self._context
        score = forgetting_score(context)
        accuracy = _accuracy(context, context.samples("retain"))
        self.looks.append(
            {"epoch": epoch, "step": step, "forgetting_score": score, "retain_accuracy": accuracy}
        )
        if score <= self._save and accuracy >= self._best.get("accuracy", -1.0):
            self._best = {"epoch": epoch, "step": step, "score": score, "accuracy": accuracy}
            self._state = copied_state(context.model)
        return score

    def restore_best(self) -> dict[str, Any]:
        """Give the model its best state back, and say which one it was.

        Raises:
            InconclusiveError: no state may be returned.
        """
        if not self._best:
            lowest = min((one["forgetting_score"] for one in self.looks), default=float("nan"))
            raise InconclusiveError(
                f"dlfd: no state is admissible: the forgetting score fell to {lowest:.3f}, and"
                f" save={self._save:g} is asked for. Train longer, perturb more (radius, weight),"
                " or raise save."
            )
        self._context.model.load_state_dict(self._state)
        return self._best


def forgetting_score(context: TrainingContext) -> float:
    """`2 |accuracy - 0.5|` of a balanced, two-sided loss attack: forget against held-out
    samples.
    """
    found = [_losses(context, context.samples(name)) for name in ("forget", "holdout")]
    accuracy = loss_attack(found[0], found[1], "forget against holdout", seed=context.run.seed)[
        0
    ].value
    return 1.0 if accuracy is None else 2 * abs(accuracy - 0.5)


def _losses(context: TrainingContext, samples: Samples) -> Tensor:
    rows = []
    with eval_mode(context.model):
        for batch in samples.minibatches(
            256, order=samples.some(_LOOKED_AT, context.stream("forgetting score"))
        ):
            scores = context.scores(context.model, batch)
            rows.append(
                cross_entropy(scores.double(), batch.y.to(scores.device), reduction="none").cpu()
            )
    return torch.cat(rows)


def _accuracy(context: TrainingContext, samples: Samples) -> float:
    return accuracy_on(
        context.model, samples, samples.some(_LOOKED_AT, context.stream("followed", "retain"))
    )
