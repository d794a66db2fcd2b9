"""SVD (Deep Unlearning): edit every layer by what its inputs on forget samples do not share with
the retained ones.

Idea: in each layer, project the directions of the forget activations out of the weight, but keep
what retained data use.
Formula: inputs R of a layer, `R = U S V'`, `r_i = s_i^2 / sum s^2`. `l_i = alpha r_i / ((alpha - 1)
r_i + 1)`, `P = U diag(l) U'`. `P_dis = P_f (I - P_r)`; `W <- W (I - P_dis)'`.
Needs: a few forget and retain samples; labels are read, not used. Cost: two forward passes over
them and an eigendecomposition a layer.
Typical: alpha_r 100 (30 to 1000), alpha_f 3 (1 to 100), about 900 samples of each.
Fails: both alphas must be chosen on validation data; biases and BatchNorm are not edited.
Directions are those of the raw inputs of a layer, so inputs of larger units come first.
Source: Kodge, Saha, Roy, "Deep Unlearning", TMLR 2024.
Deviates: Gram matrices are added over as many samples as are given, in float64, with all patches of
a convolution (grouped ones group by group). All forgotten classes count (the release honours the
first). All layers see the original's activations, as there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from unspan.errors import UsageError
from unspan.extraction import eval_mode
from unspan.methods.base import TrainedMethod
from unspan.training.context import Outcome, TrainingContext
from unspan.training.samples import Samples

_PATCHES = 200_000  # rows of a layer's activations that are taken from one minibatch at most


@dataclass(frozen=True, kw_only=True)
class SVD(TrainedMethod):
    """Settings of Deep Unlearning.

    Attributes:
        alpha_retain: how sharply directions of retained activations are kept.
        alpha_forget: how sharply those of forget activations are removed.
        samples: most samples of either kind.
        batch: samples a forward pass.
    """

    alpha_retain: float = 100.0
    alpha_forget: float = 3.0
    samples: int = 999
    batch: int = 64
    name: ClassVar[str] = "svd"
    paper: ClassVar[str] = "Kodge, Saha, Roy, Deep Unlearning, TMLR 2024"
    search: ClassVar[dict[str, tuple[Any, ...]]] = {
        "alpha_retain": (100.0, 30.0, 300.0, 1000.0),
        "alpha_forget": (3.0, 10.0, 30.0),
    }
    needs: ClassVar[frozenset[str]] = frozenset({"forget", "forget_labels", "retain"})
    stronger: ClassVar[tuple[str, ...]] = ("alpha_forget",)

    def __post_init__(self) -> None:
        if (
            not (0 < self.alpha_retain < math.inf and 0 < self.alpha_forget < math.inf)
            or min(self.samples, self.batch) < 1
        ):
            raise UsageError(f"{self}: all settings must be positive.")

    def unlearn(self, context: TrainingContext) -> Outcome:
        """Collect activations, then edit the layers."""
        layers = {
            name: module
            for name, module in context.model.named_modules()
            if isinstance(module, (nn.Linear, nn.Conv2d)) and module.weight.requires_grad
        }
        if not layers:
            raise UsageError(
                "SVD edits Linear and Conv2d layers, and this model has none that may change."
            )
        forget, retain = (
            self._grams(context, layers, context.samples(name), name)
            for name in ("forget", "retain")
        )
        changes = {}
        with torch.no_grad():
            for name, module in layers.items():
                if name not in forget or name not in retain:  # a layer that did not run
                    continue
                old = module.weight.detach().clone()
                groups = module.groups if isinstance(module, nn.Conv2d) else 1
                parts = module.weight.flatten(1).double().cpu().chunk(groups)
                new = [
                    part @ removal(f, r, self.alpha_forget, self.alpha_retain).mT
                    for part, f, r in zip(parts, forget[name], retain[name], strict=True)
                ]
                module.weight.copy_(torch.cat(new).view_as(module.weight))
                changes[name] = float((module.weight - old).norm() / old.norm().clamp_min(1e-12))
        return Outcome(
            {"layers": len(changes), "largest_change": max(changes.values(), default=0.0)},
            forget_used=min(len(context.samples("forget")), self.samples),
            retained_used=min(len(context.samples("retain")), self.samples),
        )

    def _grams(
        self, context: TrainingContext, layers: Mapping[str, nn.Module], samples: Samples, name: str
    ) -> dict[str, Tensor]:
        """`[groups, d_in, d_in]` Gram matrix of every layer's inputs, float64."""
        total: dict[str, Tensor] = {}

        def note(layer: str, module: nn.Module, given: Tensor) -> None:
            rows = activations(module, given)
            gram = torch.stack([(part.mT @ part).double() for part in rows]).cpu()
            total[layer] = total[layer] + gram if layer in total else gram

        handles = [
            module.register_forward_pre_hook(lambda m, args, layer=layer: note(layer, m, args[0]))
            for layer, module in layers.items()
        ]
        try:
            with eval_mode(context.model):
                for batch in samples.minibatches(
                    self.batch, order=samples.some(self.samples, context.stream("svd", name))
                ):
                    context.scores(context.model, batch)
        finally:
            for handle in handles:
                handle.remove()
        return total


def activations(module: nn.Module, given: Tensor) -> list[Tensor]:
    """Inputs of a layer as rows `[n, d_in]`, one matrix a group; patches of a convolution."""
    if isinstance(module, nn.Conv2d):
        padded = nn.functional.pad(
            given,
            module._reversed_padding_repeated_twice,
            mode="constant" if module.padding_mode == "zeros" else module.padding_mode,
        )
        patches = nn.functional.unfold(
            padded, module.kernel_size, module.dilation, 0, module.stride
        )
        rows = patches.mT.flatten(0, 1).float()
    else:
        rows = given.flatten(0, -2).float()
    if len(rows) > _PATCHES:
        rows = rows[:: -(-len(rows) // _PATCHES)]
    return list(rows.chunk(module.groups if isinstance(module, nn.Conv2d) else 1, 1))


def importance(gram: Tensor, alpha: float) -> Tensor:
    """`P = U diag(l) U'` of a Gram matrix, `[d, d]`."""
    values, vectors = torch.linalg.eigh(gram)
    r = values.clamp_min(0) / values.clamp_min(0).sum().clamp_min(1e-300)
    return vectors * (alpha * r / ((alpha - 1) * r + 1)) @ vectors.mT


def removal(forget: Tensor, retain: Tensor, alpha_forget: float, alpha_retain: float) -> Tensor:
    """`I - P_f (I - P_r)`, `[d, d]`."""
    eye = torch.eye(len(forget), dtype=forget.dtype)
    return eye - importance(forget, alpha_forget) @ (eye - importance(retain, alpha_retain))
