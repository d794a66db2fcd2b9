"""Fresh random weights for a model of any kind."""

from __future__ import annotations

import torch
from torch import nn


def redraw(model: nn.Module, seed: int) -> None:
    """Draw all weights anew, in place; the global random state is left as it was.

    Modules draw their own weights (`reset_parameters`; transformers models have `_init_weights`),
    BatchNorm statistics start anew; what belongs to no such module (tokens, position embeddings) is
    drawn from a normal distribution of the same spread.
    """
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        drawn: set[int] = set()
        for module in model.modules():
            own = list(module.parameters(recurse=False))
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
            elif own and hasattr(model, "_init_weights"):
                model._init_weights(module)
            else:
                continue
            drawn |= {id(tensor) for tensor in own}
        for parameter in model.parameters():
            if id(parameter) not in drawn and parameter.ndim > 1:
                parameter.normal_(0, max(float(parameter.std()), 1e-3))
