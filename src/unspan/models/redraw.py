"""Fresh random weights for a model of any kind."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import nn


@runtime_checkable
class _DrawsItself(Protocol):
    """A module that can draw its own weights, as those of torch can."""

    def reset_parameters(self) -> None: ...


@runtime_checkable
class _DrawsModules(Protocol):
    """A model that can draw the weights of one of its modules, as those of transformers can."""

    def _init_weights(self, module: nn.Module) -> None: ...


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
            if isinstance(module, _DrawsItself):
                module.reset_parameters()
            elif own and isinstance(model, _DrawsModules):
                model._init_weights(module)
            else:
                continue
            drawn |= {id(tensor) for tensor in own}
        for parameter in model.parameters():
            if id(parameter) not in drawn and parameter.ndim > 1:
                parameter.normal_(0, max(float(parameter.std()), 1e-3))
