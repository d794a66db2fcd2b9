"""Fisher forgetting: noise where the retained data do not need the weight.

Idea: add Gaussian noise whose variance is the inverse of the Fisher information of the retained
data.
Formula: `F_j = E_{x in D_r} sum_y p(y|x) (d_j log p(y|x))^2`. `v_j = alpha min(1 / (F_j + 1e-8),
cap)`, cap 1e3, in the head 1e2. Weights of two or more dimensions share the mean of v over their
inputs. The head and one-dimensional weights have 10 v. Head rows of a forgotten class have mean 0
and variance 1e-3. `theta' = theta + sqrt(v) noise`.
Needs: retain samples; labels are read, not used. Cost: C backward passes for every sample used; no
training.
Typical: alpha 1e-7 to 1e-6.
Fails: the approximation is diagonal: at an alpha that forgets, accuracy on the rest often falls;
features move little. A row of weights shares its noise, and caps are absolute: inputs of very
different units get noise that fits the typical one.
Source: Golatkar, Achille, Soatto, "Eternal Sunshine of the Spotless Net", CVPR 2020;
SelectiveForgetting.
Deviates: gradients are per sample (a release squares means of batches), and the expectation is the
model's own. The head is found by reference, and several classes may be forgotten. A convolution
shares its variance over kernel positions too (the release over input channels). BatchNorm
statistics are not touched, as there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from unspan.data.inputs import place
from unspan.errors import UsageError
from unspan.extraction import eval_mode, logits_of
from unspan.methods.base import TrainedMethod
from unspan.training.context import Outcome, TrainingContext
from unspan.training.samples import Minibatch

_ENTRIES = 2**26  # numbers of per-sample gradients held at once


@dataclass(frozen=True, kw_only=True)
class Fisher(TrainedMethod):
    """Settings of Fisher forgetting.

    Attributes:
        alpha: scale of the noise.
        samples: most retained samples that are used; None for all.
        draws: classes drawn from p(y|x) instead of the sum over all of them; None sums.
    """

    alpha: float = 1e-7
    samples: int | None = None
    draws: int | None = None
    name: ClassVar[str] = "fisher"
    paper: ClassVar[str] = "Golatkar et al., Eternal Sunshine of the Spotless Net, CVPR 2020"
    search: ClassVar[dict[str, tuple[Any, ...]]] = {"alpha": (1e-7, 1e-8, 1e-9, 1e-6)}
    needs: ClassVar[frozenset[str]] = frozenset({"retain"})
    stronger: ClassVar[tuple[str, ...]] = ("alpha",)

    def __post_init__(self) -> None:
        if (
            not 0 < self.alpha < math.inf
            or (self.samples is not None and self.samples < 1)
            or (self.draws is not None and self.draws < 1)
        ):
            raise UsageError(
                f"alpha={self.alpha}, samples={self.samples}, draws={self.draws}: all must be"
                " positive."
            )

    def unlearn(self, context: TrainingContext) -> Outcome:
        """Estimate the information, then add the noise."""
        retain = context.samples("retain")
        index = retain.some(self.samples or len(retain), context.stream("fisher samples"))
        information = fisher_information(context, index, self.draws)
        head = _last_layer(context)
        with torch.no_grad():
            for name, weight in context.model.named_parameters():
                if not weight.requires_grad:
                    continue
                last = head is not None and any(weight is one for one in (head.weight, head.bias))
                variance = noise_variance(information[name], self.alpha, last)
                mean = weight.detach().clone()
                if last and context.forgotten:
                    rows = list(context.forgotten)
                    mean[rows], variance[rows] = 0.0, 1e-3
                noise = torch.randn(weight.shape, generator=context.stream("noise", name)).to(
                    weight
                )
                weight.copy_(mean + variance.sqrt() * noise)
        return Outcome({"noise": self.alpha}, retained_used=len(index))


def _last_layer(context: TrainingContext) -> nn.Linear | nn.Conv2d | None:
    """The layer whose rows are the classes; None where there is none of these kinds."""
    name = context.feature_layer.head
    module = None if name is None else context.model.get_submodule(name)
    return module if isinstance(module, (nn.Linear, nn.Conv2d)) else None


def noise_variance(information: Tensor, alpha: float, last: bool) -> Tensor:
    """Variance of the noise of one weight tensor."""
    variance = alpha * (1 / (information + 1e-8)).clamp_max(1e2 if last else 1e3)
    if variance.ndim > 1:
        variance = (
            variance.flatten(1)
            .mean(1)
            .view(-1, *[1] * (variance.ndim - 1))
            .expand_as(information)
            .clone()
        )
    return variance * (10 if last or information.ndim == 1 else 1)


def fisher_information(
    context: TrainingContext, index: Tensor, draws: int | None
) -> dict[str, Tensor]:
    """Diagonal Fisher information of every parameter, by name, on retained samples, in evaluation
    mode.
    """
    model = context.model
    weights = {name: one.detach() for name, one in model.named_parameters()}
    buffers = dict(model.named_buffers())
    total = {name: torch.zeros_like(one) for name, one in weights.items()}
    size = max(1, min(256, _ENTRIES // max(sum(one.numel() for one in weights.values()), 1)))

    def own(current: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        scores = logits_of(torch.func.functional_call(model, (current, buffers), (x[None],)))
        assert scores is not None
        return scores.flatten(1).log_softmax(1)[0].gather(0, y[None])[0]

    slopes = torch.func.vmap(torch.func.grad(own), in_dims=(None, 0, 0))
    done = 0
    with eval_mode(model):
        for batch in context.samples("retain").minibatches(size, order=index):
            x = _tensor(batch, next(model.parameters()))
            p = context.scores(model, batch).softmax(1)
            chosen = (
                p.multinomial(
                    draws, replacement=True, generator=context.stream("fisher draws", done)
                )
                if draws
                else None
            )
            for k in range(draws or p.shape[1]):
                y = (
                    chosen[:, k]
                    if chosen is not None
                    else torch.full((len(batch),), k, device=p.device)
                )
                weight = (
                    torch.full((len(batch),), 1 / (draws or 1), device=p.device)
                    if chosen is not None
                    else p[:, k]
                )
                with torch.enable_grad():
                    for name, slope in slopes(weights, x, y).items():
                        total[name] += (
                            slope.square() * weight.view(-1, *[1] * (slope.ndim - 1))
                        ).sum(0)
            done += len(batch)
            context.run.report("fisher information", done, len(index))
    return {name: one / max(done, 1) for name, one in total.items()}


def _tensor(batch: Minibatch, like: nn.Parameter) -> Tensor:
    if not isinstance(batch.x, Tensor):
        raise UsageError(
            "Fisher forgetting takes gradients sample by sample, which needs tensor inputs."
        )
    return place(batch.x, like)
