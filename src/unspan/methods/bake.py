"""Bake: the forget samples learn to look, layer after layer, like retained samples of the class
they resemble next.

Idea: a probe names a class where its samples are the majority. Each forget sample gets a retained
class as its target, and its features then follow the distribution of that class. So the retained
samples outnumber the forgotten ones in every region.

Formula: the loss is `KL_T(f_0 || f)` on retained samples, plus `CE(f, j)` on forget samples, plus
`weight` times the sum over layers of E. Here f_0 are the scores of the original without the
forgotten classes, and `KL_T` is that of `scrub`. The target of a forget sample x is `j(x) = argmax
over retained classes of f_0(x)`. `E = 2 E|f - r| - E|f - f'|` is the energy distance. Here f are
features of forget samples, and r those of retained samples of the class j(f). They are scaled so
that the covariance of retained ones within classes is 1. Features are the pooled inputs of some
layers with weights, spread over the last half of the network.

Steps are those of Adafactor: a share of the size of each weight tensor, so that one setting serves
networks of any kind. Where held-out samples show that accuracy is lost, the training starts again
with a third of the step, twice at most. Without held-out samples a tenth of the retained ones is
kept apart for that. The original was trained on those, so memory that fades counts as lost too.

Needs: forget and retain samples with labels. Held-out samples are read where they are given.
Cost: `steps`, each of `batch` retained and `forget_batch` forget samples. A forward pass of the
original for each retained sample drawn, and one over the forget set. One forward pass an epoch over
the samples that show what is lost.
Typical: weight 0.9, 200 steps of 3 %, falling along a cosine, with batches of 128 and 32. For one
class of ten (All-CNN, CIFAR-10) 3 % was lowered to 1 %, for five of 100 (ResNet-20) to 0.3 %.
Fails: accuracy on the rest falls as the weight rises. It suppresses what probes fitted on pooled
features read; positions within a feature map are not matched. A few images of the class, the
network kept apart and further training are other attacks.
Source: this library; energy distance: Szekely and Rizzo (2013); relabelling to the nearest class:
`boundary`.
Deviates: nothing to deviate from. Retained features are remembered from earlier steps, at most
`memory` of them and only within an epoch. They lag behind the weights by some steps, and no
gradient flows through them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from unspan.data.inputs import cut_rows
from unspan.errors import InconclusiveError, UsageError
from unspan.methods.baking.energy import FeatureMemory, energy_distance
from unspan.methods.baking.held_out import HeldOut
from unspan.methods.baking.layers import matched_layers, pooled_inputs
from unspan.methods.baking.targets import shuffled_repeats, target_classes
from unspan.methods.base import TrainedMethod
from unspan.methods.scrub import divergence, taught
from unspan.system.target import Target
from unspan.training.context import Outcome, TrainingContext
from unspan.training.loop import Pass, train
from unspan.training.samples import Minibatch, Samples
from unspan.training.settings import Training

_UNUSED = (
    "The held-out samples are all of classes to forget, so the cost was judged by retained samples."
)
_NEVER = -1e4  # a score that no class ever has
_ATTEMPTS = 3  # trainings, each with a third of the step of the one before
_EARLY = 3.0  # times the points that may be lost: shown to be lost, they end a training early


@dataclass(frozen=True, kw_only=True)
class Bake(TrainedMethod):
    """Settings of bake.

    Attributes:
        weight: of the energy distance.
        temperature: T.
        layers: how many layers with weights have their inputs matched, spread over the last half of
            the network; the head is the last.
        steps: of the optimiser in all; the epochs of the training are equal parts of them.
        forget_batch: forget samples in each step, beside `batch` retained ones.
        memory: retained samples whose features are compared with.
        drop: points of accuracy on held-out samples; where the training is shown to lose more, it
            starts again with a third of the step.
        training: of the loop.
    """

    weight: float = 0.9
    temperature: float = 2.0
    layers: int = 5
    steps: int = 200
    forget_batch: int = 32
    memory: int = 1024
    drop: float = 1.0
    training: Training = Training(
        lr=0.03, epochs=5, optimiser="adafactor", weight_decay=0.0, cosine=True
    )
    name: ClassVar[str] = "bake"
    one_process: ClassVar[bool] = True  # its distances are between the samples of a minibatch
    paper: ClassVar[str] = "this project"
    cost: ClassVar[str] = "trains for 200 steps, three times at most"
    target: ClassVar[Target] = Target.SUPPRESS
    revision: ClassVar[int] = 2  # 1: SGD, a number of passes, the last layers
    search: ClassVar[dict[str, tuple[Any, ...]]] = {
        "lr": (0.03, 0.01, 0.003),
        "weight": (0.9, 0.5, 1.5),
    }
    needs: ClassVar[frozenset[str]] = frozenset({"forget", "forget_labels", "retain"})
    reads_if_given: ClassVar[frozenset[str]] = frozenset({"holdout"})
    stronger: ClassVar[tuple[str, ...]] = ("lr", "epochs")

    def __post_init__(self) -> None:
        counts = min(self.layers, self.forget_batch, self.memory, self.steps)
        if counts < 1 or min(self.weight, self.drop) < 0 or self.temperature <= 0:
            raise UsageError(
                f"{self}: layers, forget_batch, memory, steps and temperature must be positive,"
                " weight and drop not negative."
            )

    def unlearn(self, context: TrainingContext) -> Outcome:
        """Choose the target classes, then train on both parts at once; again with a lower step
        where held-out samples show that accuracy is lost.
        """
        samples = context.samples("forget", "retain")
        labels = target_classes(context, samples)
        held = HeldOut.drawn(context, samples)
        teacher = copy.deepcopy(context.model).eval().requires_grad_(False)
        first = samples.take(torch.arange(min(2, len(samples)))).x
        names = matched_layers(context.model, first, self.layers)
        steps = -(-self.steps // self.training.epochs)
        draw = partial(_order, context, samples, held, self, steps)

        with pooled_inputs(context.model, names) as features:

            def plan(epoch: int) -> list[Pass]:
                memory = FeatureMemory(self.memory)
                loss = partial(self._loss, context, teacher, labels, features, memory)
                order = draw(epoch)
                batches = samples.minibatches(order.shape[1], order=order.flatten())
                return [Pass(batches, loss, steps)]

            history, lowered, epochs = self._trained(context, teacher, held, plan)
        drawn = steps * epochs
        used = torch.zeros(len(samples), dtype=torch.bool)
        for epoch in range(1, len(history) + 1):
            used[draw(epoch)] = True
        return Outcome(
            {
                "layers": names,
                "trained": drawn * (self.training.batch + self.forget_batch),
                "asked": int(samples.forget.sum())
                + drawn * self.training.batch
                + (1 + epochs) * len(held.index),
                "held_out": len(held.index),
                "lowered": lowered,
            },
            warnings=(_UNUSED,) if held.unused else (),
            history=history,
            forget_used=int((used & samples.forget).sum()),
            retained_used=int((used & ~samples.forget).sum()),
        )

    def _trained(
        self,
        context: TrainingContext,
        teacher: nn.Module,
        held: HeldOut,
        plan: Callable[[int], list[Pass]],
    ) -> tuple[list[dict[str, Any]], int, int]:
        """Train, at most three times from the original, each time with a third of the step.

        Args:
            context: with the model.
            teacher: the original.
            held: what accuracy is judged by.
            plan: passes of an epoch.

        Returns:
            History of the last training, how often the step was lowered, and whole epochs in all.

        Raises:
            InconclusiveError: weights were not finite at the lowest step either.
        """

        def ruined(again: bool, epoch: int, row: dict[str, Any]) -> bool:
            row["lost"], row["shown_lost"] = (round(one, 3) for one in held.lost(context.model))
            return again and bool(row["shown_lost"] > _EARLY * self.drop)

        epochs = 0
        for lowered in range(_ATTEMPTS):
            again = lowered < _ATTEMPTS - 1
            training = replace(self.training, lr=self.training.lr / 3**lowered)
            if lowered:
                context.model.load_state_dict(teacher.state_dict())
            try:
                history = train(
                    context, training, plan, after_epoch=partial(ruined, again), name=self.name
                )
            except InconclusiveError:
                if not again:
                    raise
                continue
            epochs += len(history)
            if history[-1]["shown_lost"] <= self.drop:
                break
        return history, lowered, epochs

    def _loss(
        self,
        context: TrainingContext,
        teacher: nn.Module,
        labels: Tensor,
        features: dict[str, Tensor],
        memory: FeatureMemory,
        batch: Minibatch,
    ) -> Tensor:
        """The loss of one minibatch, `[]`.

        Args:
            context: with the model.
            teacher: the original.
            labels: `[n]` target classes of all samples.
            features: of the last forward pass, by layer.
            memory: of retained features of earlier steps.
            batch: retained and forget samples.
        """
        scores = context.scores(context.model, batch)
        y = labels[batch.index].to(scores.device)
        gone = batch.forget.to(scores.device)
        wanted = self._taught(context, teacher, batch).to(scores)
        near = divergence(wanted, scores[~gone], self.temperature)
        share = self.forget_batch / self.training.batch
        away = cross_entropy(scores[gone], y[gone]) * share
        apart = [_apart(memory, name, x, y, gone) for name, x in features.items()]
        return near + away + self.weight * torch.stack(apart).sum()

    def _taught(self, context: TrainingContext, teacher: nn.Module, batch: Minibatch) -> Tensor:
        """Scores of the original on the retained samples, without the forgotten classes."""
        scores = taught(teacher, replace(batch, x=cut_rows(batch.x, ~batch.forget)))
        forgotten = torch.tensor(context.forgotten, dtype=torch.long, device=scores.device)
        return scores.index_fill(1, forgotten, _NEVER)


def _order(
    context: TrainingContext, samples: Samples, held: HeldOut, method: Bake, steps: int, epoch: int
) -> Tensor:
    """Positions `[steps, batch + forget_batch]` of the samples of every step.

    Each part comes in a random order of its own; retained samples that are kept apart do not come.
    """
    retained = ~samples.forget
    retained[held.apart] = False
    parts = (
        ("retain", retained, method.training.batch),
        ("forget", samples.forget, method.forget_batch),
    )
    columns = []
    for name, mask, size in parts:
        positions = mask.nonzero()[:, 0]
        stream = context.stream("order", name, epoch)
        columns.append(shuffled_repeats(positions, steps * size, stream).view(steps, size))
    order = torch.cat(columns, 1)
    mixed = torch.randperm(order.shape[1], generator=context.stream("order", "mixed", epoch))
    return order[:, mixed]


def _apart(memory: FeatureMemory, layer: str, z: Tensor, y: Tensor, gone: Tensor) -> Tensor:
    """Remember the retained features of a layer, and compare the forget features with all of them.

    Args:
        memory: of retained features.
        layer: name.
        z: `[n, d]` features of a minibatch.
        y: `[n]` target classes.
        gone: `[n]` bool, which are forget samples.
    """
    retained, labels = memory.add(layer, z[~gone], y[~gone])
    # without autocast: a covariance needs more than the 8 bits of bfloat16
    with torch.autocast(z.device.type, enabled=False):
        return energy_distance(z[gone], y[gone], retained, labels, z[gone].detach())
