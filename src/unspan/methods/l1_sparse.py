"""l1-sparse: fine-tune on the retained data while pulling all weights towards zero.

Idea: a sparse model has less room for what it is not asked to keep.
Formula: `CE(D_r) + g_e |theta|_1`. `g_e = gamma (1 - (e - 1) / (E - E_0))` for the first E - E_0
epochs, then 0.
Needs: retain samples with labels. Cost: as finetune.
Typical: gamma 5e-4 (searched in 1e-6 to 1e-4 elsewhere), SGD 0.01, 10 epochs, E_0 = 0.
Fails: gamma too large wipes the network (the released command line defaults to 0.2); the
subgradient gives no exact zeros.
Source: Jia et al., "Model sparsity can simplify machine unlearning", NeurIPS 2023, eq. 5; OPTML
Unlearn-Sparse.
Deviates: `proximal=True` soft-thresholds by `lr gamma` after every step, which gives exact zeros;
biases and BatchNorm are penalised as in the release. Reports the share of weights below 1e-8.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from unspan.errors import UsageError
from unspan.methods.base import TrainedMethod
from unspan.methods.descent import descend
from unspan.training.context import Outcome, TrainingContext
from unspan.training.settings import Training


@dataclass(frozen=True, kw_only=True)
class L1Sparse(TrainedMethod):
    """Settings of l1-sparse.

    Attributes:
        gamma: weight of the penalty in the first epoch.
        free: E_0, last epochs without penalty.
        proximal: soft-threshold after each step instead of adding to the loss.
        training: of the loop.
    """

    gamma: float = 5e-4
    free: int = 0
    proximal: bool = False
    training: Training = Training(lr=0.01, epochs=10)
    name: ClassVar[str] = "l1-sparse"
    paper: ClassVar[str] = "Jia et al., Model Sparsity Can Simplify Unlearning, NeurIPS 2023"
    search: ClassVar[dict[str, tuple[Any, ...]]] = {"gamma": (5e-4, 1e-4, 1e-5), "lr": (0.01, 0.03)}
    needs: ClassVar[frozenset[str]] = frozenset({"retain"})
    stronger: ClassVar[tuple[str, ...]] = ("lr", "gamma")

    def __post_init__(self) -> None:
        if self.gamma < 0 or not 0 <= self.free < self.training.epochs:
            raise UsageError(
                f"gamma={self.gamma}, free={self.free}: gamma must not be negative, and free must"
                f" be less than the {self.training.epochs} epochs."
            )

    def strength(self, epoch: int) -> float:
        """`g_e` of an epoch, counted from 1; falls linearly to 0 over the epochs that are not
        free.
        """
        return self.gamma * max(0.0, 1 - (epoch - 1) / (self.training.epochs - self.free))

    def unlearn(self, context: TrainingContext) -> Outcome:
        """Train with the penalty, or with thresholding."""
        weights = [one for one in context.model.parameters() if one.requires_grad]
        now = {"step": 0.0}

        def penalty(epoch: int) -> Tensor:
            now["step"] = self.training.step_size(epoch) * self.strength(epoch)
            if self.proximal or not weights:
                return torch.zeros(())
            return self.strength(epoch) * l1_norm(weights)

        def shrink() -> None:
            with torch.no_grad():
                for one in weights:
                    one.copy_(soft_threshold(one, now["step"]))

        done = descend(
            context, self.training, "l1-sparse", penalty, shrink if self.proximal else None
        )
        small = sum(int((one.detach().abs() < 1e-8).sum()) for one in weights) / max(
            sum(one.numel() for one in weights), 1
        )
        return replace(done, report={"weights_below_1e-8": small})


def l1_norm(weights: list[torch.nn.Parameter]) -> Tensor:
    """`|theta|_1`: the sum of absolute values of all weights."""
    return torch.stack([one.abs().sum() for one in weights]).sum()


def soft_threshold(weight: Tensor, by: float) -> Tensor:
    """Every entry nearer to zero by `by`, zero when it is within.

    >>> soft_threshold(torch.tensor([1.0, -0.2, 0.05]), 0.1).tolist()
    [0.8999999761581421, -0.10000000149011612, 0.0]
    """
    return weight.sign() * (weight.abs() - by).clamp_min(0)
