"""Bake: the forget samples learn to look, layer after layer, like retained samples of the class
they resemble next.

Idea: a probe names a class where its samples are the majority. Each forget sample gets a retained
class as its target; its features then follow the distribution of that class, so that in every
region the retained samples outnumber the forgotten.
Formula: `j(x) = argmax over retained classes of f_0(x)`; `KL_T(f_0 || f)` on D_r, the forgotten
classes left out of f_0, `+ CE(f, j)` on D_f `+ weight sum over layers of E`, with `E = 2 E|f - r| -
E|f - f'|` the energy distance between forget features f and retained ones r of the same class,
`j(f) = y(r)`, where the retained features' covariance within classes is 1. Features are the pooled
inputs of the last layers with weights. `KL_T` is that of `scrub`.
Needs: forget and retain samples with labels. Cost: `passes` over the retained data with
`forget_batch` forget samples beside every `batch` of them, a forward pass of the original for each
retained sample drawn, and one over D_f.
Typical: weight 0.9, SGD 0.02 falling along a cosine, 0.58 passes with batches of 128 and 32
(All-CNN, CIFAR-10, one class of ten).
Fails: accuracy on the rest falls as the weight rises. It suppresses what probes fitted on pooled
features read; positions within a feature map are not matched. A few images of the class, the
network kept apart and further training are other attacks.
Source: this library; energy distance: Szekely and Rizzo (2013); relabelling to the nearest class:
`boundary`.
Deviates: nothing to deviate from. Retained features are remembered from earlier steps, at most
`memory` of them and only within an epoch, so they lag behind the weights by some steps; no gradient
flows through them.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from unspan.data.inputs import cut_rows, place
from unspan.errors import UsageError
from unspan.extraction import eval_mode, forward, input_like
from unspan.methods.scrub import divergence, taught
from unspan.training.context import Outcome, Work
from unspan.training.loop import Pass, Training, train
from unspan.training.samples import Minibatch, Samples

SHRINK = 0.1  # of the covariance towards the variance of every feature
NEVER = -1e4  # a score that no class ever has
Features = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Bake:
    """Settings of bake.

    Attributes:
        weight: of the energy distance.
        temperature: T.
        layers: how many of the last layers with weights have their inputs matched; the head is the
            last.
        passes: how often the retained data are read in all; the epochs of the training are equal
            parts of it.
        forget_batch: forget samples in each step, beside `batch` retained ones.
        memory: retained samples whose features are compared with.
        training: of the loop.
    """

    weight: float = 0.9
    temperature: float = 2.0
    layers: int = 5
    passes: float = 0.58
    forget_batch: int = 32
    memory: int = 1024
    training: Training = Training(lr=0.02, epochs=5, cosine=True)
    name: ClassVar[str] = "bake"
    search: ClassVar[dict[str, tuple[Any, ...]]] = {
        "lr": (0.02, 0.005, 0.05),
        "weight": (0.9, 0.5, 1.5),
    }
    needs: ClassVar[frozenset[str]] = frozenset({"forget", "forget_labels", "retain"})
    stronger: ClassVar[tuple[str, ...]] = ("lr", "epochs")

    def __post_init__(self) -> None:
        if (
            min(self.layers, self.forget_batch, self.memory) < 1
            or self.weight < 0
            or min(self.passes, self.temperature) <= 0
        ):
            raise UsageError(
                f"{self}: layers, forget_batch, memory, passes and temperature must be positive,"
                " weight not negative."
            )

    def unlearn(self, work: Work) -> Outcome:
        """Choose the targets, then train on both parts at once."""
        samples = work.samples("forget", "retain")
        labels = targets(work, samples)
        teacher = copy.deepcopy(work.model).eval().requires_grad_(False)
        names = weight_layers(work.model, samples.take(torch.arange(min(2, len(samples)))).x)[
            -self.layers :
        ]
        steps = max(
            1,
            round(
                self.passes
                * int((~samples.forget).sum())
                / self.training.batch
                / self.training.epochs
            ),
        )

        with pooled_inputs(work.model, names) as features:

            def plan(epoch: int) -> list[Pass]:
                memory: dict[str, tuple[Tensor, Tensor]] = {}

                def loss(batch: Minibatch) -> Tensor:
                    scores = work.scores(work.model, batch)
                    y, gone = labels[batch.index].to(scores.device), batch.forget.to(scores.device)
                    near = divergence(
                        self._taught(work, teacher, batch).to(scores),
                        scores[~gone],
                        self.temperature,
                    )
                    away = cross_entropy(scores[gone], y[gone]) * (
                        self.forget_batch / self.training.batch
                    )
                    apart = [self._apart(memory, name, x, y, gone) for name, x in features.items()]
                    return near + away + self.weight * torch.stack(apart).sum()

                order = self._order(work, samples, epoch, steps)
                return [
                    Pass(samples.minibatches(order.shape[1], order=order.flatten()), loss, steps)
                ]

            history = train(work, self.training, plan, name=self.name)
        count, drawn = int(samples.forget.sum()), steps * len(history)
        used = torch.zeros(len(samples), dtype=torch.bool)
        for epoch in range(1, len(history) + 1):
            used[self._order(work, samples, epoch, steps)] = True
        return Outcome(
            {
                "samples": count,
                "forget_used": int((used & samples.forget).sum()),
                "retained_used": int((used & ~samples.forget).sum()),
                "layers": names,
                "trained": drawn * (self.training.batch + self.forget_batch),
                "asked": count + drawn * self.training.batch,
                "history": history,
            }
        )

    def _order(self, work: Work, samples: Samples, epoch: int, steps: int) -> Tensor:
        """Positions `[steps, batch + forget_batch]` of the samples of every step, each part in a
        random order of its own.
        """
        parts = (
            ("retain", ~samples.forget, self.training.batch),
            ("forget", samples.forget, self.forget_batch),
        )
        columns = [
            repeated(mask.nonzero()[:, 0], steps * size, work.stream("order", name, epoch)).view(
                steps, size
            )
            for name, mask, size in parts
        ]
        order = torch.cat(columns, 1)
        return order[
            :, torch.randperm(order.shape[1], generator=work.stream("order", "mixed", epoch))
        ]

    def _taught(self, work: Work, teacher: nn.Module, batch: Minibatch) -> Tensor:
        """Scores of the original on the retained samples, without the forgotten classes."""
        scores = taught(teacher, replace(batch, x=cut_rows(batch.x, ~batch.forget)))
        return scores.index_fill(
            1, torch.tensor(work.forgotten, dtype=torch.long, device=scores.device), NEVER
        )

    def _apart(
        self,
        memory: dict[str, tuple[Tensor, Tensor]],
        name: str,
        x: Tensor,
        y: Tensor,
        gone: Tensor,
    ) -> Tensor:
        """Remember the retained features of a layer, and compare the forget features with all that
        are remembered.
        """
        old, labels = memory.get(name, (x[:0].detach(), y[:0]))
        memory[name] = (
            torch.cat([x[~gone].detach(), old])[: self.memory],
            torch.cat([y[~gone], labels])[: self.memory],
        )
        with torch.autocast(
            x.device.type, enabled=False
        ):  # a covariance needs more than the 8 bits of bfloat16
            return distance(x[gone], y[gone], *memory[name], beside=x[gone].detach())


def distance(
    forget: Tensor,
    targets: Tensor,
    retained: Tensor,
    labels: Tensor,
    beside: Tensor | None = None,
) -> Tensor:
    """Energy distance of the forget features from the retained ones of the same class, less what
    does not depend on them.

    Args:
        forget: `[m, d]` features.
        targets: `[m]` their target classes.
        retained: `[n, d]` features that are followed.
        labels: `[n]` their classes.
        beside: as in `within`.
    """
    centre, factor = within(retained, labels, beside)
    f, r = (
        torch.linalg.solve_triangular(factor, (x - centre).mT, upper=False).mT / x.shape[1] ** 0.5
        for x in (forget, retained)
    )
    same = targets[:, None] == targets
    return 2 * paired(torch.cdist(f, r), targets[:, None] == labels) - paired(
        torch.cdist(f, f), same.fill_diagonal_(False)
    )


def paired(distances: Tensor, pairs: Tensor) -> Tensor:
    """Mean over rows of the mean distance to their partners; rows without a partner are left
    out.
    """
    count = pairs.sum(1)
    return ((distances * pairs).sum(1) / count.clamp_min(1)).sum() / (count > 0).sum().clamp_min(1)


def within(features: Tensor, labels: Tensor, beside: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Mean `[d]` and Cholesky factor `[d, d]` of the covariance within classes, shrunk towards the
    variance of every feature, so that the units of the features decide nothing.

    Args:
        features: `[n, d]`.
        labels: `[n]` their classes.
        beside: `[m, d]` others, whose variance counts for what the covariance is shrunk to: a
            feature that hardly varies in `features` alone is not blown up.
    """
    one = torch.nn.functional.one_hot(labels).to(features)
    means = (one.mT @ features) / one.sum(0)[:, None].clamp_min(1)
    rest = features - means[labels]
    variance = rest.detach().square().mean(0)
    if beside is not None and len(beside) > 1:
        variance = (variance + beside.var(0, correction=0)) / 2
    unit = variance.sqrt()
    unit = unit.where(unit > 0, torch.ones_like(unit))
    covariance = (rest / unit).mT @ (rest / unit) / len(rest)
    spread = covariance + SHRINK * torch.eye(
        len(covariance), dtype=features.dtype, device=features.device
    )
    # fails for what is not finite only: then the loss is not either, which the loop explains
    factor = torch.linalg.cholesky_ex(spread)[0]
    return features.mean(0), unit[:, None] * factor


def targets(work: Work, samples: Samples) -> Tensor:
    """`[n]` labels: of a forget sample the most likely class that has retained samples and is not
    its own.

    Raises:
        UsageError: no class is left.
    """
    labels = samples.y.clone()
    absent = torch.ones(work.classes, dtype=torch.bool)
    absent[samples.y[~samples.forget]] = False
    with eval_mode(work.model):
        for batch in samples.minibatches(256, order=samples.forget.nonzero()[:, 0]):
            scores = work.scores(work.model, batch).cpu().masked_fill(absent, -torch.inf)
            best = scores.scatter(1, batch.y[:, None], -torch.inf).max(1)
            if bool(best.values.isneginf().any()):
                raise UsageError(
                    "bake gives each forget sample a retained class that is not its own; there is"
                    " none left."
                )
            labels[batch.index] = best.indices
    return labels


def repeated(index: Tensor, count: int, stream: torch.Generator) -> Tensor:
    """`count` positions, all of `index` in a random order before any comes again."""
    return torch.cat(
        [
            index[torch.randperm(len(index), generator=stream)]
            for _ in range(-(-count // len(index)))
        ]
    )[:count]


def weight_layers(model: nn.Module, inputs: Any) -> list[str]:
    """Names of the layers with a weight matrix or kernel that run once, in the order in which they
    run.
    """
    ran: list[str] = []
    found = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, (nn.Linear, nn.modules.conv._ConvNd))
    ]
    handles = [
        module.register_forward_pre_hook(lambda _module, _args, name=name: ran.append(name))
        for name, module in found
    ]
    try:
        with eval_mode(model):
            forward(model, place(inputs, input_like(model, inputs)))
    finally:
        for handle in handles:
            handle.remove()
    return [name for name in dict.fromkeys(ran) if ran.count(name) == 1]


@contextmanager
def pooled_inputs(model: nn.Module, names: list[str]) -> Iterator[Features]:
    """The inputs of these layers at the last forward pass, `[n, d]` float32: means over positions
    or tokens.
    """
    seen: Features = {}

    def keep(name: str, x: Tensor) -> None:
        x = x.float()
        seen[name] = (
            x.mean(tuple(range(2, x.ndim))) if x.ndim > 3 else x.mean(1) if x.ndim == 3 else x
        )

    handles = [
        model.get_submodule(name).register_forward_pre_hook(
            lambda _module, args, name=name: keep(name, args[0])
        )
        for name in names
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
