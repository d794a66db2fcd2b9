"""The last k layers of a network, as EU-k and CF-k count them.

A layer is a `Linear` or a convolution. Layers are counted from the output, in the order in which
they finish in a forward pass. Everything else with weights or statistics that finishes after the
cut, such as a BatchNorm, lies above it as well.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from unspan.data.inputs import place
from unspan.errors import UsageError
from unspan.extraction import eval_mode, input_like
from unspan.extraction.tracing import trace_calls
from unspan.models.frozen_norms import has_statistics
from unspan.training.context import Outcome, TrainingContext


def above_cut(context: TrainingContext, k: int) -> list[str]:
    """Names of the modules that the last k layers and all after them consist of.

    Two retained samples are passed through the model for the order. A module that is not called
    itself, such as the output projection of an attention, counts where the module around it
    finishes. With k at or above the number of layers these are all modules, the first ones too.

    Args:
        context: the model and the retained samples.
        k: layers, at least one.

    Raises:
        UsageError: the model has no `Linear` and no convolution.
    """
    model = context.model
    modules = dict(model.named_modules())
    finished = _finished(context)
    places = {name: _place(name, finished) for name in modules}
    layers = layers_of(model)
    if not layers:
        raise UsageError("The last layers are Linear or convolutions, and this model has neither.")
    if k >= len(layers):
        return list(modules)
    cut = sorted(places[name] for name in layers)[-k]
    return [name for name in modules if places[name] >= cut]


def layers_of(model: nn.Module) -> list[str]:
    """Names of the layers that are counted: `Linear` and convolutions."""
    kinds = (nn.Linear, _ConvNd)
    return [name for name, one in model.named_modules() if isinstance(one, kinds)]


def with_layers(outcome: Outcome, model: nn.Module) -> Outcome:
    """The outcome whose report says how many layers there are: no larger k changes anything."""
    return replace(outcome, report=outcome.report | {"layers": len(layers_of(model))})


def own_parameters(model: nn.Module, names: Collection[str]) -> list[nn.Parameter]:
    """Parameters that these modules hold themselves, each once."""
    found = {
        id(one): one
        for name in names
        for one in model.get_submodule(name).parameters(recurse=False)
    }
    return list(found.values())


def still_below(context: TrainingContext, above: Collection[str]) -> TrainingContext:
    """The same context; normalisation layers below the cut keep their running statistics."""
    below = {
        name
        for name, module in context.model.named_modules()
        if has_statistics(module) and name not in set(above)
    }
    return replace(context, frozen={*context.frozen, *below})


def _finished(context: TrainingContext) -> dict[str, int]:
    """When each called module finished for the last time; the model itself is not among them."""
    samples = context.samples("retain")
    batch = samples.take(torch.arange(min(2, len(samples))))
    with eval_mode(context.model):
        inputs = place(batch.x, input_like(context.model, batch.x))
        order = trace_calls(context.model, inputs).finished
    return {name: place_ for place_, name in enumerate(order) if name}


def _place(name: str, finished: dict[str, int]) -> int:
    """When a module, or the nearest one around it that was called, finished; -1 for neither."""
    while name:
        if name in finished:
            return finished[name]
        name = name.rpartition(".")[0]
    return -1
