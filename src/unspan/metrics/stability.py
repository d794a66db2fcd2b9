"""Instability: do outputs of forgotten samples move more than others when the input is disturbed a
little, or shown in another view?
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from unspan.errors import DataError, UsageError
from unspan.metrics.score import Reading, auc_reading

NOISE = "instability"


def movement_gain(clean: Tensor, noisy: Tensor) -> Tensor:
    """How far each output moves as a share of its length, `|noisy - clean| / |clean|`, `[n]`
    float64.

    The length makes it independent of scale: an eraser shrinks the features of the class it erases,
    and their plain movement with them. An output of length 0 that moves has an infinite gain, one
    that stays has 0.

    Args:
        clean: `[n, d]` features or scores.
        noisy: `[n, d]` of the same inputs, disturbed.

    Raises:
        DataError: shapes differ, or a value is NaN.
    """
    if clean.shape != noisy.shape or clean.ndim != 2:
        raise DataError(
            f"Movement needs two tensors [n, d] of the same inputs; got {list(clean.shape)} and"
            f" {list(noisy.shape)}."
        )
    moved = (noisy.double() - clean.double()).norm(dim=1)
    length = clean.double().norm(dim=1)
    if bool(moved.isnan().any()):
        raise DataError("Outputs contain NaN or infinite values; movement is not defined.")
    return torch.where(moved == 0, torch.zeros_like(moved), moved / length)


def instability(clean: Tensor, noisy: Tensor, forget: Tensor, attack: str = NOISE) -> Reading:
    """AUC with which a larger movement gain marks forget samples; 0.5 knows nothing.

    The attacker has a fixed rule, "forgotten samples move more", and fits nothing: what is left of
    a forgotten class after an erasure lies near decision boundaries. A value clearly below 0.5 is a
    trace too, for an attacker with the opposite rule; `detail["either_way"]` is `max(AUC, 1 -
    AUC)`, without interval because the rule is chosen after looking.

    Args:
        clean: `[n, d]` features or scores.
        noisy: `[n, d]` of the same inputs, disturbed or in another view.
        forget: `[n]` bool.
        attack: its name.

    Raises:
        DataError: as `movement_gain`, or one kind of sample is missing.
    """
    if not 0 < int(forget.sum()) < len(forget):
        raise DataError("Instability compares forget with other samples; one kind is missing.")
    gain = movement_gain(clean, noisy)
    area = auc_reading(attack, gain[forget], gain[~forget]).value
    middle = {
        name: float(gain[rows].median()) for name, rows in (("forget", forget), ("rest", ~forget))
    }
    medians = {name: value if math.isfinite(value) else None for name, value in middle.items()}
    return auc_reading(
        attack, gain[forget], gain[~forget], either_way=max(area, 1 - area), median_gain=medians
    )


def disturbed(
    model: Callable[[Tensor], Tensor],
    inputs: Tensor,
    *,
    noise: float = 0.01,
    seed: int = 0,
    batch: int = 256,
) -> tuple[Tensor, Tensor]:
    """Outputs `[n, d]` float32 on the CPU of the same inputs, clean and with Gaussian noise.

    Args:
        model: inputs -> `[n, d]` features or scores, in evaluation mode.
        inputs: `[n, ...]` floating point; not written to.
        noise: standard deviation of the noise as a share of that of all inputs.
        seed: of a local generator, so the same noise meets every model.
        batch: inputs a call.

    Raises:
        UsageError: noise or batch is not above 0, inputs are not floating point, or the model is in
            training mode.
    """
    if not noise > 0 or batch < 1 or not inputs.is_floating_point() or len(inputs) == 0:
        raise UsageError(
            f"noise={noise}, batch={batch}, inputs {inputs.dtype}{list(inputs.shape)}: use noise >"
            " 0, batch >= 1 and floating-point inputs."
        )
    if isinstance(model, nn.Module) and any(module.training for module in model.modules()):
        raise UsageError(
            "The model is in training mode: dropout and BatchNorm would move its outputs without"
            " any noise. Call model.eval()."
        )
    added = noise_for(inputs, noise=noise, seed=seed)
    clean, noisy = [], []
    with torch.no_grad():
        for part, step in zip(inputs.split(batch), added.split(batch), strict=True):
            clean.append(model(part).float().flatten(1).cpu())
            noisy.append(model(part + step).float().flatten(1).cpu())
    return torch.cat(clean), torch.cat(noisy)


def noise_for(inputs: Tensor, *, noise: float = 0.01, seed: int = 0) -> Tensor:
    """Gaussian noise of the shape, dtype and device of `inputs [n, ...]`.

    Args:
        inputs: floating point.
        noise: its standard deviation as a share of that of all inputs.
        seed: of a local generator, so the same noise meets every model.
    """
    generator = torch.Generator().manual_seed(seed)
    values = inputs.float() if inputs.element_size() < 4 else inputs
    size = noise * float(values.std(unbiased=False))
    drawn = [torch.randn(inputs.shape[1:], generator=generator) for _ in inputs]  # a call a row
    return (size * torch.stack(drawn)).to(inputs.device, inputs.dtype)
