"""How to build the architecture of a model object again, read from the object itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn

from unspan.models import hf, sentences
from unspan.models.libraries import quiet, require
from unspan.models.sources import SOURCES

Recipe = dict[str, Any]


# the only python: models that are built without being asked
_OWN = tuple(
    f"python:unspan.zoo:{name}"
    for name in (
        "AllCNN",
        "DigitsCNN",
        "EfficientNetLite0",
        "FaceIdentities",
        "FaceNet",
        "NarrowViT",
        "StridedCNN",
        "resnet20",
        "resnet32",
        "resnet44",
        "resnet56",
        "wide_digits",
    )
)


def runs_user_code(recipe: Mapping[str, Any]) -> bool:
    """Whether building from a recipe imports code that is not of a known library."""
    spec = str(recipe.get("spec"))
    return spec.startswith("python:") and spec not in _OWN


def rebuild(recipe: Mapping[str, Any]) -> nn.Module:
    """Build the architecture of a recipe with random weights, in evaluation mode.

    A `python:` recipe imports and runs the code it names: rebuild only recipes you trust.

    Raises:
        UsageError: The package or the name is not there any more.
        ModelError: The recipe is malformed.
    """
    kind, _, name = str(recipe.get("spec")).partition(":")
    if kind in SOURCES:
        return SOURCES[kind](name)[0](recipe.get("num_classes"), False).eval()
    if kind == sentences.KIND:
        return sentences.rebuild(recipe)
    return hf.rebuild(recipe)


def recipe_of(model: nn.Module) -> Recipe | None:
    """The recipe that builds this architecture without user code, or None where there is none.

    Read from `pretrained_cfg` (timm), `config` (transformers), or the module and shapes
    (torchvision, this library's own networks). A recipe counts when it gives the same tensors by
    name and shape.
    """
    home = type(model).__module__
    reader = next((read for prefix, read in _READERS.items() if home.startswith(prefix)), None)
    if reader is None:
        return None
    for recipe in reader(model):
        if _same_tensors(model, recipe):
            return recipe
    return None


def _from_timm(model: Any) -> Iterator[Recipe]:
    described = getattr(model, "pretrained_cfg", None) or {}
    if described.get("architecture"):
        yield {"spec": f"timm:{described['architecture']}", "num_classes": model.num_classes}


def _from_transformers(model: Any) -> Iterator[Recipe]:
    settings = json.loads(model.config.to_json_string(use_diff=False))
    settings.pop("_name_or_path", None)
    yield {
        "spec": f"transformers:{model.config.model_type}",
        "auto_class": hf.auto_class(type(model).__name__),
        "config": settings,
    }


def _from_torchvision(model: nn.Module) -> Iterator[Recipe]:
    models = require("torchvision").models
    layers = [one for one in model.modules() if isinstance(one, nn.Linear)]
    classes = layers[-1].out_features if layers else None
    for name in models.list_models(module=models):
        if models.get_model_builder(name).__module__ == type(model).__module__:
            yield {"spec": f"torchvision:{name}", "num_classes": classes}


def _from_zoo(model: nn.Module) -> Iterator[Recipe]:
    layers = [one for one in model.modules() if isinstance(one, nn.Linear)]
    for spec in _OWN:
        yield {"spec": spec, "num_classes": layers[-1].out_features if layers else None}


_READERS: dict[str, Callable[[nn.Module], Iterator[Recipe]]] = {
    "timm.models": _from_timm,
    "transformers.models": _from_transformers,
    "torchvision.models": _from_torchvision,
    "unspan.zoo": _from_zoo,
}


def _same_tensors(model: nn.Module, recipe: Recipe) -> bool:
    """The built architecture has the same tensors; built without memory for values."""
    own = {name: one.shape for name, one in model.state_dict().items()}
    try:
        with quiet(), torch.device("meta"):
            made = rebuild(recipe)
    except Exception:  # what a library raises on its own configuration is not for us to sort
        return False
    return {name: one.shape for name, one in made.state_dict().items()} == own
