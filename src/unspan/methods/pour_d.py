"""POUR-D: train the features of the forget samples towards themselves without the direction of the
class.

Idea: pour-p changes the head alone; here the network learns to give the projected features itself.
Formula: P as in pour-p, theta_0 the original. `min over theta of E_{D_f} |z_theta(x) - P
z_theta_0(x)|^2`, z the features; the head is frozen.
Needs: forget samples without labels, the class, and a linear head. With `direction=means` also
retain samples, and neither class nor linear head. Cost: epochs over the forget samples, twice the
forward passes.
Typical: SGD with momentum of Nesterov 0.9, weight decay 5e-4, a half cosine. Step size, epochs and
batch of the paper are not known; here 1e-3, 10, 128.
Fails: the loss is a sum over features and grows with their size. Where it turns NaN, lower lr to
1e-4, or limit the gradient (clip 1, with an lr of 0.03). Only samples of the class are trained on,
so what others lose is seen too late. A probe finds the class wherever its features lie apart from
the others.
Source: "POUR", CVPR 2026 (arXiv 2511.19339).
Deviates: with `direction=means` the direction is the mean feature of the forget samples minus the
mean of all samples. The paper does not centre it; on non-negative features it is then mostly what
classes share. Labels tell several classes apart there.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from unspan.data.inputs import place
from unspan.errors import UsageError
from unspan.extraction import eval_mode, input_like, read
from unspan.methods.base import TrainedMethod
from unspan.methods.descent import over
from unspan.methods.pour_p import class_rows, complement
from unspan.system.target import Target
from unspan.training.context import Outcome, TrainingContext
from unspan.training.loop import train
from unspan.training.samples import Minibatch, Samples
from unspan.training.settings import Training


@dataclass(frozen=True, kw_only=True)
class POURD(TrainedMethod):
    """Settings of POUR-D.

    Attributes:
        direction: of a class: its row of the `head`, or centred `means` of features.
        training: of the loop.
    """

    direction: Literal["head", "means"] = "head"
    training: Training = Training(
        lr=1e-3, epochs=10, optimiser="nesterov", cosine=True, batchnorm="frozen"
    )
    name: ClassVar[str] = "pour-d"
    paper: ClassVar[str] = "POUR, CVPR 2026, arXiv 2511.19339"
    target: ClassVar[Target] = Target.SUPPRESS
    search: ClassVar[dict[str, tuple[Any, ...]]] = {"lr": (1e-3, 1e-2)}
    stronger: ClassVar[tuple[str, ...]] = ("lr", "epochs")
    labelled: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.direction not in ("head", "means"):
            raise UsageError(f"direction={self.direction!r}: use head or means.")

    @property
    def needs(self) -> frozenset[str]:
        """Retain data only for the mean of all features."""
        return frozenset({"forget"} | ({"retain"} if self.direction == "means" else set()))

    def unlearn(self, context: TrainingContext) -> Outcome:
        """Train everything but the head on projected features of the original.

        Raises:
            UsageError: the direction is that of the head, and there is no class or linear head.
        """
        rows = class_rows(context) if self.direction == "head" else mean_rows(context)
        keep = complement(rows).float()
        teacher = copy.deepcopy(context.model).eval().requires_grad_(False)
        samples = context.samples("forget")

        def loss(batch: Minibatch) -> Tensor:
            goal = features(teacher, context, batch).detach() @ keep
            here = features(context.model, context, batch)
            return (here - goal).square().sum(1).mean()

        history = train(
            context,
            self.training,
            lambda epoch: [over(context, samples, self.training.batch, ("forget", epoch), loss)],
            parameters=_encoder(context),
            name=self.name,
        )
        return Outcome({"directions": int(torch.linalg.matrix_rank(rows))}, history=history)


def features(model: nn.Module, context: TrainingContext, batch: Minibatch) -> Tensor:
    """Features `[n, d]` of a minibatch at the feature layer, float32."""
    inputs = place(batch.x, input_like(model, batch.x))
    return read(model, context.feature_layer, inputs)[0].float()


def mean_rows(context: TrainingContext, batch: int = 256) -> Tensor:
    """Mean features of each forgotten class minus the mean of all samples, `[k, d]` float64.

    Samples without labels are one class.
    """
    forget, retain = context.samples("forget"), context.samples("retain")
    here = _all(context, forget, batch)
    everything = here.sum(0) + _all(context, retain, batch).sum(0)
    centre = everything / (len(forget) + len(retain))
    means = [here[forget.y == label].mean(0) for label in forget.y.unique()]
    return (torch.stack(means) - centre).to(next(context.model.parameters()).device)


def _all(context: TrainingContext, samples: Samples, batch: int) -> Tensor:
    with eval_mode(context.model):
        found = [
            features(context.model, context, one).double().cpu()
            for one in samples.minibatches(batch)
        ]
    return torch.cat(found)


def _encoder(context: TrainingContext) -> list[nn.Parameter]:
    """All parameters that may change, but those of the head."""
    name = context.feature_layer.head
    head = [] if name is None else list(context.model.get_submodule(name).parameters())
    return [
        one
        for one in context.model.parameters()
        if one.requires_grad and not any(one is other for other in head)
    ]
