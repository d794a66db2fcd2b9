"""Which normalisation layers keep their running statistics while the rest of a model trains."""

from __future__ import annotations

from collections.abc import Collection

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase


def frozen_norms(model: nn.Module) -> frozenset[str]:
    """Names of the normalisation layers whose running statistics must stay as they are.

    A layer is frozen when it, or a module around it, has parameters and none of them requires
    gradients. It is frozen too when its owner put it in evaluation mode in a model that is in
    training mode. Call this before the mode of the model is changed.
    """
    still = _without_gradients(model)
    found = set()
    for name, module in model.named_modules():
        if not has_statistics(module):
            continue
        around = ["", *(name[:end] for end in range(len(name) + 1) if name[end : end + 1] == ".")]
        by_weights = any(one in still for one in (*around, name))
        if by_weights or (model.training and not module.training):
            found.add(name)
    return frozenset(found)


def has_statistics(module: nn.Module) -> bool:
    """Whether a module follows its inputs with running statistics."""
    return isinstance(module, _NormBase) or "running_mean" in dict(
        module.named_buffers(recurse=False)
    )


def follows_batch(model: nn.Module) -> bool:
    """Whether an output of the model depends on the other samples of a batch.

    So it is where a module is in training mode, or where a batch norm has no statistics of its own.
    """
    return any(
        module.training or (isinstance(module, _BatchNorm) and module.running_mean is None)
        for module in model.modules()
    )


def training_mode(model: nn.Module, frozen: Collection[str] = ()) -> None:
    """Training mode, but for the named layers, which normalise by their running statistics."""
    model.train()
    for name in frozen:
        model.get_submodule(name).eval()


def _without_gradients(model: nn.Module) -> set[str]:
    """Names of the modules that have parameters, of which none requires gradients."""
    found = set()
    for name, module in model.named_modules():
        flags = [one.requires_grad for one in module.parameters()]
        if flags and not any(flags):
            found.add(name)
    return found
