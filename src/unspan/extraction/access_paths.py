"""Access paths: the ways people take features from a model, each tried before and after an erasure.

`ACCESS_PATHS` lists them. To add one, write a function that takes the features, and list it with
its name and what a model must have for it. A path that fails on a model is left out there.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from unspan.extraction import CHILD, FeatureLayer, forward, logits_of

Model = Any  # a module, whose library gives it methods of its own


@dataclass(frozen=True)
class AccessPath:
    """One way to take features.

    Attributes:
        name: what a user would call it; `{head}` and `{before}` stand for the names of the head
            and of the module before it.
        take: the features that it gives, of (model, feature layer, inputs).
        offered: whether a model has what the path needs.
    """

    name: str
    take: Callable[[Model, FeatureLayer, Any], Any]
    offered: Callable[[Model, FeatureLayer], bool]

    def named(self, model: nn.Module, layer: FeatureLayer) -> str:
        """The name of the path in this model."""
        return self.name.format(head=layer.head, before=_before_head(model, layer))


def without_head(model: Model, layer: FeatureLayer, inputs: Any) -> Any:
    """The output of the model after its head was taken away."""
    assert layer.head is not None
    headless = _sharing_copy(model)
    parent, _, child = layer.head.rpartition(".")
    setattr(headless.get_submodule(parent), child, nn.Identity())
    return logits_of(forward(headless, inputs))


def hooked_before_head(model: Model, layer: FeatureLayer, inputs: Any) -> Any:
    """What a forward hook on the module before the head sees."""
    seen: list[Any] = []
    before = model.get_submodule(_before_head(model, layer))
    handle = before.register_forward_hook(lambda _m, _a, out: seen.append(out))
    try:
        forward(model, inputs)
    finally:
        handle.remove()
    return seen[-1]


def model_output(model: Model, layer: FeatureLayer, inputs: Any) -> Any:
    """The output of a model that has no head."""
    output = forward(model, inputs)
    return output if layer.key is None else output[layer.key]


def forward_features(model: Model, _layer: FeatureLayer, inputs: Any) -> Any:
    """The features of a timm model, not yet pooled."""
    return model.forward_features(inputs)


def pre_logits(model: Model, _layer: FeatureLayer, inputs: Any) -> Any:
    """The pooled features of a timm model."""
    return model.forward_head(model.forward_features(inputs), pre_logits=True)


def reset_classifier(model: Model, _layer: FeatureLayer, inputs: Any) -> Any:
    """The output of a timm model after its head was reset."""
    headless: Any = _sharing_copy(model)
    headless.reset_classifier(0)
    return forward(headless, inputs)


def last_hidden_states(model: Model, _layer: FeatureLayer, inputs: Any) -> Any:
    """The last hidden states that a transformers model returns where they are asked for."""
    inputs = inputs if isinstance(inputs, dict) else {model.main_input_name: inputs}
    return _sharing_copy(model)(**inputs, output_hidden_states=True).hidden_states[-1]


def last_hidden_state_of_base(model: Model, _layer: FeatureLayer, inputs: Any) -> Any:
    """The last hidden state of the network under the head of a transformers model."""
    return forward(model.base_model, inputs).last_hidden_state


def pooler_output_of_base(model: Model, _layer: FeatureLayer, inputs: Any) -> Any:
    """The pooled output of the network under the head of a transformers model."""
    return forward(model.base_model, inputs).pooler_output


def _has_head(_model: Model, layer: FeatureLayer) -> bool:
    return layer.head is not None


def _has_no_head(_model: Model, layer: FeatureLayer) -> bool:
    return layer.head is None


def _has_module_before_head(model: Model, layer: FeatureLayer) -> bool:
    return _before_head(model, layer) != ""


def _has_forward_features(model: Model, _layer: FeatureLayer) -> bool:
    return hasattr(model, "forward_features")


def _has_pre_logits(model: Model, _layer: FeatureLayer) -> bool:
    function = getattr(model, "forward_head", None)
    return callable(function) and "pre_logits" in inspect.signature(function).parameters


def _has_reset_classifier(model: Model, _layer: FeatureLayer) -> bool:
    return hasattr(model, "reset_classifier")


def _is_of_transformers(model: Model, _layer: FeatureLayer) -> bool:
    return hasattr(model, "base_model") and hasattr(model, "config")


ACCESS_PATHS = (
    AccessPath("replace the head ({head}) by nn.Identity()", without_head, _has_head),
    AccessPath(
        "forward hook on the layer before the head ({before})",
        hooked_before_head,
        _has_module_before_head,
    ),
    AccessPath("model output", model_output, _has_no_head),
    AccessPath("forward_features(x)", forward_features, _has_forward_features),
    AccessPath("forward_head(forward_features(x), pre_logits=True)", pre_logits, _has_pre_logits),
    AccessPath("reset_classifier(0)", reset_classifier, _has_reset_classifier),
    AccessPath(
        "output_hidden_states=True, hidden_states[-1]", last_hidden_states, _is_of_transformers
    ),
    AccessPath("base_model(...).last_hidden_state", last_hidden_state_of_base, _is_of_transformers),
    AccessPath("base_model(...).pooler_output", pooler_output_of_base, _is_of_transformers),
)


def access_paths(model: nn.Module, layer: FeatureLayer) -> dict[str, AccessPath]:
    """The access paths that a model offers, by their names in it."""
    return {path.named(model, layer): path for path in ACCESS_PATHS if path.offered(model, layer)}


def _sharing_copy(model: nn.Module) -> nn.Module:
    """A copy of the modules that shares all tensors, so that it can be rewired for free."""
    tensors = [*model.parameters(), *model.buffers()]
    return copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})


def _before_head(model: nn.Module, layer: FeatureLayer) -> str:
    """Name of the module registered just before the head, leaf modules only; empty without one."""
    names = [
        name
        for name, module in model.named_modules()
        if name.rpartition(".")[2] != CHILD
        and all(child == CHILD for child, _ in module.named_children())
    ]
    position = names.index(layer.head) if layer.head in names else 0
    return names[position - 1] if position else ""
