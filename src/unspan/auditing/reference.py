"""What the erased model is compared with: retrained models if given, else the same architecture with random weights, else raw pixels."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from unspan.deletion import RECORD
from unspan.run import Run, batches
from unspan.taps import detach, unwrap


def random_weights(model: nn.Module, seed: int) -> nn.Module:
    """A copy with freshly drawn weights, without any eraser; the global random state is left as it was.

    Modules draw their own weights (`reset_parameters`; transformers models have `_init_weights`), BatchNorm
    statistics start anew; what belongs to no such module (tokens, position embeddings) is drawn from a normal
    distribution of the same spread.
    """
    fresh = copy.deepcopy(unwrap(model))
    record = getattr(fresh, RECORD, None)
    if record is not None:
        if record.placement == "hook":
            detach(fresh, record.tap)
        delattr(fresh, RECORD)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        drawn: set[int] = set()
        for module in fresh.modules():
            own = list(module.parameters(recurse=False))
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
            elif own and hasattr(fresh, "_init_weights"):
                fresh._init_weights(module)
            else:
                continue
            drawn |= {id(tensor) for tensor in own}
        for parameter in fresh.parameters():
            if id(parameter) not in drawn and parameter.ndim > 1:
                parameter.normal_(0, max(float(parameter.std()), 1e-3))
    return fresh.eval()


def pixels(data: Any, run: Run, side: int = 8) -> Tensor | None:
    """`[n, channels * 64]` inputs averaged to 8 x 8, the floor that needs no network; None when they are not images."""
    rows = []
    for batch in batches(data, run, shard=False):
        if not isinstance(batch.inputs, Tensor) or batch.inputs.ndim != 4:
            return None
        small = nn.functional.adaptive_avg_pool2d(batch.inputs[: len(batch)].float(), (side, side))
        rows.append(small.flatten(1))
    return torch.cat(rows) if rows else None
