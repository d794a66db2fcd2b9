"""How the output of a layer is related to the scores of the model: does it decide them?"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from unspan.extraction.tracing import Trace


def decides(out: Tensor, scores: Tensor) -> bool:
    """Whether a layer's output decides the scores of the model.

    They are the same up to shape, softmax, sigmoid, temperature, a shift of each class, or the
    choice of one token.
    """
    return out is scores or picks_a_token(out, scores) or follow(out, scores, shifted=True)


def follow(out: Tensor, scores: Tensor, *, shifted: bool = False) -> bool:
    """Whether scores are those of a layer up to shape, softmax, sigmoid or temperature.

    Args:
        out: of the layer.
        scores: of the model.
        shifted: also up to a shift of each class.
    """
    if out is scores:
        return True
    if scores.ndim < 2 or out.numel() != scores.numel() or out.shape[0] != scores.shape[0]:
        return False
    a = out.flatten(1).float()
    b = scores.flatten(1).float()
    if a.shape != b.shape:
        return False
    if a.shape[1] < 2:
        return torch.allclose(a, b, rtol=1e-4, atol=1e-6)
    if any(torch.allclose(f(a), b, rtol=1e-3, atol=1e-5) for f in _SAME_ORDER):
        return True
    if shifted and constant_shift(out, scores) is not None:
        return True
    has_unit_length = (b.square().sum(1) - 1).abs().max() < 1e-4
    if bool(has_unit_length):  # a normalised embedding
        return False
    scale = (a * b).sum() / a.square().sum().clamp_min(1e-30)
    return bool(scale > 0) and torch.allclose(scale * a, b, rtol=1e-3, atol=1e-5)


def _same(scores: Tensor) -> Tensor:
    return scores


def _log_softmax(scores: Tensor) -> Tensor:
    return scores.log_softmax(1)


_SAME_ORDER = (_same, partial(torch.softmax, dim=1), _log_softmax, torch.sigmoid)


def constant_shift(out: Tensor, scores: Tensor) -> Tensor | None:
    """The vector `[C]` that is added to every row, None where the rows differ.

    At least two rows are needed to tell.
    """
    gap = scores.flatten(1).float() - out.flatten(1).float()
    if len(gap) < 2:
        return None
    largest = max(1.0, float(gap.abs().max()))
    if float((gap - gap[0]).abs().max()) > 1e-4 * largest:
        return None
    return gap[0]


def picks_a_token(out: Tensor, scores: Tensor) -> bool:
    """Whether the model's scores `[n, C]` are, in each sample, those `[n, t, C]` of one token."""
    if out.ndim != 3 or scores.ndim != 2 or out.shape[::2] != scores.shape:
        return False
    gap = (out.float() - scores.float()[:, None]).abs().amax(2).amin(1)
    return bool((gap <= 1e-5 * scores.float().abs().max()).all())


def averaged_heads(trace: Trace, scores: Tensor) -> list[str]:
    """Names of the linear layers whose mean is the scores; empty where there are none."""
    same = [name for name, (_, out) in trace.linear.items() if out.shape == scores.shape]
    if len(same) < 2:
        return []
    mean = torch.stack([trace.linear[name][1] for name in same]).mean(0)
    return same if torch.allclose(mean.float(), scores.float(), rtol=1e-3, atol=1e-5) else []


def is_returned(out: Tensor, output: Any) -> bool:
    """Whether a tensor is one of the values that the model returns in a container."""
    if hasattr(output, "values"):  # any kind of dict
        return any(out is value for value in output.values())
    return isinstance(output, (tuple, list)) and any(out is value for value in output)
