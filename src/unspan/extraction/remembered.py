"""The feature layer of a model that was searched already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary, ref

from torch import Tensor, nn

from unspan.data.inputs import first_rows
from unspan.extraction.feature_layer import FeatureLayer, Pool
from unspan.extraction.finding import find_feature_layer

_PLAIN = (bool, int, float, str, type(None))
_KNOWN: WeakKeyDictionary[nn.Module, tuple[list[Any], dict[Any, FeatureLayer]]] = (
    WeakKeyDictionary()
)


def remembered_feature_layer(
    model: nn.Module, inputs: Any, feature_layer: str | None = None, pool: Pool | None = None
) -> FeatureLayer:
    """As `find_feature_layer`, searched once for a model as it is.

    It is searched again when a module, a hook, a `forward` or a plain attribute of a module is
    another one, or inputs have another form. Weights do not matter.

    Args:
        model: unwrapped, in evaluation mode; not kept alive.
        inputs: a batch on the model's device, of which two samples are looked at.
        feature_layer: as in `find_feature_layer`.
        pool: as in `find_feature_layer`.
    """
    state = _state(model)
    known = _KNOWN.get(model)
    if known is None or known[0] != state:
        known = _KNOWN[model] = (state, {})
    asked = (feature_layer, pool, _form(inputs))
    if asked not in known[1]:
        known[1][asked] = find_feature_layer(model, first_rows(inputs, 2), feature_layer, pool)[0]
    return known[1][asked]


def _state(model: nn.Module) -> list[Any]:
    """What decides where features are: every module, its hooks and its settings.

    Modules are held weakly, so that a new one never passes for an old one at the same address.
    """
    found: list[Any] = []
    for name, module in model.named_modules():
        held = vars(module)
        found += [name, ref(module), id(held.get("forward")), id(type(module).forward)]
        found += [tuple(module._forward_hooks), tuple(module._forward_pre_hooks)]
        found += [
            (key, value)
            for key, value in held.items()
            if type(value) in _PLAIN and key != "training"
        ]
    return found


def _form(inputs: Any) -> Any:
    if isinstance(inputs, Tensor):
        return inputs.dtype, inputs.ndim
    if isinstance(inputs, Mapping):
        return tuple((key, _form(value)) for key, value in inputs.items())
    if isinstance(inputs, (tuple, list)):
        return tuple(map(_form, inputs))
    return type(inputs)
