"""LAU (layer attack unlearning): move only the head, away from what it says about attacked
features.

Idea: attack the penultimate features of a forget sample until the head names another class, and
teach the head that answer.
Formula: features are attacked, `z' = clip(z + a sign(grad CE(g_t(z'), y)))`. No entry moves by
more than eps. The teacher's answer to them, `q = g_t(z')`, is learned.
Loss of a sample: `(1 - lambda) CE(g(z), argmax q)
+ lambda T^2 KL(softmax(q / T) || softmax(g(z) / T))`.
Samples that are no longer recognised keep the student's own answer. The teacher g_t is a copy of
the head, renewed in every epoch.
Needs: forget samples with labels. Cost: one forward pass, then the head alone.
Typical: lambda 0.5, T 4, at most 10 epochs, ends when no sample is recognised.
Fails: features do not change at all, so every probe reads the class as before. The step is of one
size for all features, so features in smaller units are moved further.
Source: Kim, Lee, Woo, AAAI 2024 (arXiv 2312.16823); no official code, so the loss follows its
description and a port.
Deviates: eps is a share of the typical feature entry (median norm / sqrt(d)) and features are not
clipped to [0, 1]. The divergence is a mean over samples. Training ends on the whole forget set, not
on one batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, linear

from unspan.data.inputs import place
from unspan.errors import InconclusiveError, UsageError
from unspan.extraction import eval_mode, read
from unspan.methods.base import TrainedMethod
from unspan.system.target import Target
from unspan.training.context import Outcome, TrainingContext


@dataclass(frozen=True, kw_only=True)
class LAU(TrainedMethod):
    """Settings of LAU.

    Attributes:
        radius: eps, as a share of the typical feature entry.
        steps: of the attack, each of a quarter of the radius.
        temperature: T.
        balance: lambda, weight of the divergence.
        lr: step of SGD on the head.
        epochs: most passes.
        batch: samples a step.
    """

    radius: float = 0.5
    steps: int = 10
    temperature: float = 4.0
    balance: float = 0.5
    lr: float = 0.01
    epochs: int = 10
    batch: int = 64
    name: ClassVar[str] = "lau"
    paper: ClassVar[str] = "Kim, Lee, Woo, AAAI 2024, arXiv 2312.16823"
    target: ClassVar[Target] = Target.SUPPRESS
    search: ClassVar[dict[str, tuple[Any, ...]]] = {"lr": (0.01, 1e-3, 1e-4), "radius": (0.5, 0.2)}
    needs: ClassVar[frozenset[str]] = frozenset({"forget", "forget_labels"})
    stronger: ClassVar[tuple[str, ...]] = ("lr", "epochs")

    def __post_init__(self) -> None:
        if not (
            self.radius > 0
            and self.steps >= 1
            and self.temperature > 0
            and 0 <= self.balance <= 1
            and self.lr > 0
            and self.epochs >= 1
            and self.batch >= 1
        ):
            raise UsageError(
                f"{self}: radius, steps, temperature, lr, epochs and batch must be positive,"
                " balance a share."
            )

    def unlearn(self, context: TrainingContext) -> Outcome:
        """Train the head on attacked features."""
        samples, head = context.samples("forget"), context.head(changes=True)
        z = _features(context, self.batch)
        y = samples.y
        weight, bias = (
            head.weight.detach().float().cpu().clone().requires_grad_(),
            (
                None
                if head.bias is None
                else head.bias.detach().float().cpu().clone().requires_grad_()
            ),
        )
        eps = self.radius * float(z.norm(dim=1).median()) / z.shape[1] ** 0.5
        sgd = torch.optim.SGD(
            [one for one in (weight, bias) if one is not None], lr=self.lr, momentum=0.9
        )
        history: list[dict[str, Any]] = []
        for epoch in range(1, self.epochs + 1):
            teacher = weight.detach().clone(), None if bias is None else bias.detach().clone()
            total = 0.0
            for rows in torch.randperm(len(z), generator=context.stream("order", epoch)).split(
                self.batch
            ):
                scores = linear(z[rows], weight, bias)
                loss = self.loss(
                    scores,
                    linear(attacked(z[rows], y[rows], teacher, eps, self.steps), *teacher),
                    y[rows],
                )
                sgd.zero_grad()
                loss.backward()
                sgd.step()
                total += float(loss.detach()) * len(rows)
            with torch.no_grad():
                left = float((linear(z, weight, bias).argmax(1) == y).double().mean())
            if not bool(weight.isfinite().all()):
                raise InconclusiveError(
                    f"lau: the head is infinite or NaN after epoch {epoch}. Lower lr (now"
                    f" {self.lr:g})."
                )
            history.append({"epoch": epoch, "loss": total / len(z), "forget_accuracy": left})
            context.run.report("lau", epoch, self.epochs)
            if left == 0:
                break
        with torch.no_grad():
            head.weight.copy_(weight)
            if head.bias is not None and bias is not None:
                head.bias.copy_(bias)
        return Outcome({"radius": eps}, history=history)

    def loss(self, scores: Tensor, attacked_scores: Tensor, y: Tensor) -> Tensor:
        """The loss of a minibatch; `scores` are the student's on clean features, `attacked_scores`
        the teacher's.
        """
        known = scores.detach().argmax(1) == y
        goal = torch.where(known[:, None], attacked_scores, scores.detach())
        t = self.temperature
        near = t**2 * kl_div(
            (scores / t).log_softmax(1),
            (goal / t).log_softmax(1),
            reduction="batchmean",
            log_target=True,
        )
        return (1 - self.balance) * cross_entropy(scores, goal.argmax(1)) + self.balance * near


def attacked(
    z: Tensor, y: Tensor, head: tuple[Tensor, Tensor | None], eps: float, steps: int
) -> Tensor:
    """Features moved within eps in every entry so that the head recognises them less, by signed
    gradient steps.
    """
    moved = z.clone()
    for _ in range(steps):
        moved.requires_grad_()
        (slope,) = torch.autograd.grad(
            cross_entropy(linear(moved, *head), y, reduction="sum"), moved
        )
        moved = torch.minimum(
            torch.maximum(moved.detach() + eps / 4 * slope.sign(), z - eps), z + eps
        )
    return moved


def _features(context: TrainingContext, batch: int) -> Tensor:
    """`[n, d]` features of the forget samples in evaluation mode."""
    like, rows = next(context.model.parameters()), []
    with eval_mode(context.model):
        for one in context.samples("forget").minibatches(batch):
            rows.append(
                read(context.model, context.feature_layer, place(one.x, like))[0].float().cpu()
            )
    return torch.cat(rows)
