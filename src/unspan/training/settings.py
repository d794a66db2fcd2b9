"""Settings of the loop that every method trains with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from unspan.errors import UsageError
from unspan.training.augment import KINDS


@dataclass(frozen=True, kw_only=True)
class Training:
    """Settings of the loop.

    Attributes:
        lr: step size; of `adafactor` as a share of the root mean square of each weight tensor, so
            that it means the same in every network.
        epochs: passes.
        batch: samples a step.
        optimiser: `sgd`, `nesterov` (SGD with the momentum of Nesterov), `adam`, or `adafactor`
            (Shazeer and Stern, 2018).
        momentum: of SGD.
        weight_decay: added to the gradient, as in the released codes.
        milestones: epochs (from 1) after which the step is divided by 10.
        cosine: let the step fall to 0 along a half cosine instead.
        batchnorm: `train` updates running statistics and normalises by the minibatch; `frozen` does
            neither. Layers that their owner froze are `frozen` in any case.
        clip: largest norm of a gradient; None for no limit.
        accumulate: parts into which a minibatch is cut, their gradients added, to save memory.
        precision: `float32`, or `bf16` for mixed precision.
        augment: of image minibatches: `none`, `flip`, or `crop-flip` (zero-padded by 4 of 32
            pixels).
        stop_at: end early once at most this share of the forget samples is recognised; None runs
            all epochs.
    """

    lr: float
    epochs: int
    batch: int = 128
    optimiser: Literal["sgd", "nesterov", "adam", "adafactor"] = "sgd"
    momentum: float = 0.9
    weight_decay: float = 5e-4
    milestones: tuple[int, ...] = ()
    cosine: bool = False
    batchnorm: Literal["train", "frozen"] = "train"
    clip: float | None = None
    accumulate: int = 1
    precision: Literal["float32", "bf16"] = "float32"
    augment: Literal["none", "flip", "crop-flip"] = "none"
    stop_at: float | None = None

    def __post_init__(self) -> None:
        right = {
            "epochs": _is_count(self.epochs),
            "batch": _is_count(self.batch),
            "accumulate": _is_count(self.accumulate),
            "lr": _is_number(self.lr) and self.lr > 0,
            "clip": self.clip is None or (_is_number(self.clip) and self.clip > 0),
            "momentum": _is_number(self.momentum) and self.momentum >= 0,
            "weight_decay": _is_number(self.weight_decay) and self.weight_decay >= 0,
            "stop_at": self.stop_at is None or (_is_number(self.stop_at) and self.stop_at >= 0),
        }
        for name, is_right in right.items():
            if not is_right:
                raise UsageError(
                    f"{name}={vars(self)[name]!r}: all of lr, epochs, batch, accumulate and clip"
                    " must be positive numbers, momentum, weight_decay and stop_at not negative."
                )
        if self.momentum >= 1 or (self.stop_at or 0) > 1:
            raise UsageError(
                f"momentum={self.momentum}, stop_at={self.stop_at}: momentum lies below 1, stop_at"
                " is a share."
            )
        if self.optimiser == "nesterov" and self.momentum == 0:
            raise UsageError("optimiser='nesterov' needs a momentum above 0; use sgd without one.")
        choices = (
            ("optimiser", self.optimiser, ("sgd", "nesterov", "adam", "adafactor")),
            ("batchnorm", self.batchnorm, ("train", "frozen")),
            ("precision", self.precision, ("float32", "bf16")),
            ("augment", self.augment, KINDS),
        )
        for name, value, allowed in choices:
            if value not in allowed:
                raise UsageError(f"{name}={value!r}: use {' or '.join(allowed)}.")

    def step_size(self, epoch: int) -> float:
        """The learning rate of an epoch, counted from 1."""
        if self.cosine:
            return self.lr * (1 + math.cos(math.pi * (epoch - 1) / self.epochs)) / 2
        return self.lr * 0.1 ** sum(epoch > one for one in self.milestones)


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return math.isfinite(value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
