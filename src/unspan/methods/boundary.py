"""Boundary Shrink and Boundary Expand: move the decision boundary over the forget samples.

Idea (shrink): give every forget sample the label of the class that lies nearest across the
boundary. Expand: give all of them a class of its own, an extra output that is deleted afterwards.
Formula (shrink): `x' = clip(x + eps sign(grad CE(f_0(x), y)))`, `y' = argmax f_0(x')`, `min
CE(f(x), y')` over D_f.
Needs: forget samples with labels. Cost: one backward pass through the input and epochs over the
forget data.
Typical: eps 0.1 of the pixel range in one step; SGD 1e-5, momentum 0.9, 10 epochs, batch 64.
Fails: at 1e-5 little happens unless many samples are given; BatchNorm statistics of one class hurt
the rest.
Source: Chen et al., "Boundary Unlearning", CVPR 2023; their release.
Deviates: where the attack does not cross the boundary the best wrong class is taken (the release
keeps the true label, which strengthens it). The step is eps times each channel's own range of
values, so normalised inputs need no mean and deviation. The release clamps normalised images at 0
and 1. BatchNorm is frozen. No curvature term and no confidence weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from unspan.data.inputs import place
from unspan.errors import UsageError
from unspan.extraction import eval_mode, input_like
from unspan.methods.base import TrainedMethod
from unspan.methods.descent import over
from unspan.training.context import Outcome, TrainingContext
from unspan.training.loop import train
from unspan.training.samples import Minibatch, Samples
from unspan.training.settings import Training


@dataclass(frozen=True, kw_only=True)
class Boundary(TrainedMethod):
    """Settings of Boundary Shrink (`kind="shrink"`) and Expand (`kind="expand"`).

    Attributes:
        kind: which of the two.
        eps: step of the attack, as a share of the range of values.
        training: of the loop.
    """

    kind: Literal["shrink", "expand"] = "shrink"
    eps: float = 0.1
    training: Training = Training(lr=1e-5, epochs=10, batch=64, batchnorm="frozen")
    name: ClassVar[str] = "boundary"
    paper: ClassVar[str] = "Chen et al., Boundary Unlearning, CVPR 2023"
    search: ClassVar[dict[str, tuple[Any, ...]]] = {"lr": (1e-5, 1e-4, 1e-3, 1e-2)}
    needs: ClassVar[frozenset[str]] = frozenset({"forget", "forget_labels"})
    stronger: ClassVar[tuple[str, ...]] = ("lr", "epochs")

    def __post_init__(self) -> None:
        if self.kind not in ("shrink", "expand") or self.eps <= 0:
            raise UsageError(
                f"kind={self.kind!r}, eps={self.eps}: kind is shrink or expand, eps is positive."
            )

    def unlearn(self, context: TrainingContext) -> Outcome:
        """Find the labels, then train on them."""
        samples = context.samples("forget")
        if self.kind == "expand":
            return self._expand(context, samples)
        labels, crossed = nearest_labels(context, samples, self.eps, self.training.batch)
        history = self._fit(context, samples, labels)
        return Outcome({"crossed_the_boundary": crossed}, history=history)

    def _fit(
        self, context: TrainingContext, samples: Samples, labels: Tensor
    ) -> list[dict[str, object]]:
        def loss(batch: Minibatch) -> Tensor:
            scores = context.scores(context.model, batch)
            return cross_entropy(scores, labels[batch.index].to(scores.device))

        return train(
            context,
            self.training,
            lambda epoch: [over(context, samples, self.training.batch, ("forget", epoch), loss)],
            name=f"boundary {self.kind}",
        )

    def _expand(self, context: TrainingContext, samples: Samples) -> Outcome:
        """Train with one more output, then take it away."""
        head = context.head(changes=True)
        old = head.weight, head.bias, head.out_features
        extra = torch.randn(1, head.in_features, generator=context.stream("extra output")).to(
            head.weight
        ) * float(head.weight.detach().std())
        head.weight = nn.Parameter(torch.cat([head.weight.detach(), extra]))
        head.bias = (
            None
            if head.bias is None
            else nn.Parameter(torch.cat([head.bias.detach(), head.bias.detach().new_zeros(1)]))
        )
        head.out_features += 1
        history = self._fit(context, samples, torch.full_like(samples.y, head.out_features - 1))
        with torch.no_grad():
            old[0].copy_(head.weight[:-1])
            if old[1] is not None:
                old[1].copy_(head.bias[:-1])
        head.weight, head.bias, head.out_features = old
        return Outcome(history=history)


def nearest_labels(
    context: TrainingContext, samples: Samples, eps: float, batch: int
) -> tuple[Tensor, float]:
    """`[n]` wrong labels across the boundary of the original model, and the share of samples that
    crossed it.

    Raises:
        UsageError: the inputs are not floating tensors.
    """
    low, high = value_range(samples, batch)
    found, crossed = [], 0
    with eval_mode(context.model), torch.enable_grad():
        for one in samples.minibatches(batch):
            if not (isinstance(one.x, Tensor) and one.x.is_floating_point()):
                raise UsageError(
                    "Boundary unlearning attacks the inputs, which must be floating tensors such as"
                    " images."
                )
            x = place(one.x, input_like(context.model, one.x)).clone().requires_grad_()
            y = one.y.to(x.device)
            (slope,) = torch.autograd.grad(
                cross_entropy(
                    context.scores(context.model, Minibatch(x, one.y, one.index, one.forget)),
                    y,
                    reduction="sum",
                ),
                x,
            )
            bottom, top = low.to(x), high.to(x)
            moved = torch.minimum(
                torch.maximum(x.detach() + eps * (top - bottom) * slope.sign(), bottom), top
            )
            with torch.no_grad():
                scores = context.scores(
                    context.model, Minibatch(moved, one.y, one.index, one.forget)
                )
            crossed += int((scores.argmax(1) != y).sum())
            found.append(scores.scatter(1, y[:, None], -torch.inf).argmax(1).cpu())
    return torch.cat(found), crossed / len(samples)


def value_range(samples: Samples, batch: int) -> tuple[Tensor, Tensor]:
    """Smallest and largest value of each channel, shaped to be added to inputs."""
    low = high = None
    for one in samples.minibatches(batch):
        if not isinstance(one.x, Tensor):
            raise UsageError(
                "Boundary unlearning attacks the inputs, which must be floating tensors such as"
                " images."
            )
        flat = one.x.flatten(2) if one.x.ndim > 2 else one.x[:, None]
        small, large = flat.amin((0, 2)), flat.amax((0, 2))
        low, high = (
            (small, large)
            if low is None or high is None
            else (torch.minimum(low, small), torch.maximum(high, large))
        )
        shape = (1, -1) + (1,) * (one.x.ndim - 2) if one.x.ndim > 2 else (1, 1)
    assert low is not None and high is not None
    return low.view(shape), high.view(shape)
