"""Models of transformers: a folder with config.json, or a hub id."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from unspan.errors import ModelError, UsageError
from unspan.models.libraries import require
from unspan.models.loaded import Loaded
from unspan.models.safetensors_files import unsafe
from unspan.models.weights import load_weights

if TYPE_CHECKING:
    from unspan.data.preprocess import Preprocess, TextPreprocess

_AUTO = {
    "ForImageClassification": "AutoModelForImageClassification",
    "ForSequenceClassification": "AutoModelForSequenceClassification",
    "": "AutoModel",
}


def from_folder(name: str, weights: Path | None, num_classes: int | None) -> Loaded:
    """Build the model that a folder or a hub id describes, with the weights in it or the file given
    instead.
    """
    package = require("transformers")
    folder = _folder(name)
    try:
        config = package.AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(
            f"transformers:{name} has no usable config.json: {str(error).splitlines()[0]}. Give a"
            " folder that save_pretrained wrote, or the id of a model on the hub."
        ) from error
    if num_classes is not None:
        config.num_labels = num_classes
    auto = auto_class(" ".join(config.architectures or []))
    if auto == "AutoModel" and num_classes is not None:
        auto = _classifier_class(package, config)
    settings = json.loads(config.to_json_string(use_diff=False))
    settings.pop("_name_or_path", None)
    recipe = {
        "spec": f"transformers:{Path(name).name}",
        "auto_class": auto,
        "config": settings,
    }
    model = rebuild(recipe)
    notices = load_weights(model, weights or _folder_weights(folder))
    labels = [config.id2label[index] for index in sorted(config.id2label)]
    class_names = None if auto == "AutoModel" or labels[0] == "LABEL_0" else labels
    preprocess = _folder_preprocess(folder)
    return Loaded(
        model=model, recipe=recipe, preprocess=preprocess, class_names=class_names, notices=notices
    )


def auto_class(architecture: str) -> str:
    """The automatic class of transformers for the name of an architecture."""
    return next(auto for suffix, auto in _AUTO.items() if suffix in architecture)


def with_classifier(loaded: Loaded, classes: int, seed: int) -> nn.Module:
    """Return the classifier whose body is a model without one, with a head drawn by the seed.

    Checkpoints of pretraining alone are of this kind, as `google/vit-base-patch16-224-in21k`.
    What a classifier of this architecture does not use, as the pooler of a ViT, is left out.

    Args:
        loaded: what `from_folder` made of an `AutoModel`.
        classes: outputs of the head.
        seed: of the head's weights.

    Raises:
        UsageError: transformers has no classifier of images or texts with this body.
        ModelError: the classifier's body needs weights that the model has not.
    """
    package = require("transformers")
    config = package.AutoConfig.for_model(**loaded.recipe["config"])
    config.num_labels = classes
    recipe = loaded.recipe | {
        "auto_class": _classifier_class(package, config),
        "config": json.loads(config.to_json_string(use_diff=False)),
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = rebuild(recipe)
    body = model.get_submodule(cast(Any, model).base_model_prefix)
    missing = body.load_state_dict(loaded.model.state_dict(), strict=False).missing_keys
    if missing:
        raise ModelError(
            f"{recipe['spec']} has no weights for {', '.join(missing[:5])} of"
            f" {type(model).__name__}. Give the folder of a model saved with its classifier."
        )
    return model


def _classifier_class(package: ModuleType, config: Any) -> str:
    """The automatic class that puts a classifier on the body of a config."""
    for mapping, auto in (
        (package.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING, "AutoModelForImageClassification"),
        (package.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, "AutoModelForSequenceClassification"),
    ):
        if type(config) in mapping:
            return auto
    raise UsageError(
        f"The model is a {config.model_type} without a classifier, and transformers has none for"
        " it. Give a model that was saved with its classifier."
    )


def rebuild(recipe: Mapping[str, Any]) -> nn.Module:
    """Build the architecture of a recipe with random weights, in evaluation mode; ModelError when
    it is malformed.
    """
    kind = str(recipe.get("spec")).partition(":")[0]
    if kind != "transformers" or recipe.get("auto_class") not in _AUTO.values():
        raise ModelError(
            f"The recipe has spec {recipe.get('spec')!r} and auto_class"
            f" {recipe.get('auto_class')!r}, which builds no model. Pass an instance of the"
            " architecture."
        )
    package = require("transformers")
    try:
        config = package.AutoConfig.for_model(**recipe["config"])
        return (
            getattr(package, recipe["auto_class"])
            .from_config(config, trust_remote_code=False)
            .eval()
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"The transformers config in the recipe cannot be built: {error}. Pass an instance of"
            " the architecture, or install the transformers release that wrote it."
        ) from error


def _folder(name: str) -> Path:
    if Path(name).is_dir():
        return Path(name)
    if not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", name):
        raise UsageError(
            f"transformers:{name}: there is no such folder. Give a folder, or an id of the hub such"
            " as owner/name."
        )
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(
                name, allow_patterns=["*.json", "model*.safetensors", "*.txt", "*.model"]
            )
        )
    except (OSError, ValueError) as error:
        raise UsageError(
            f"transformers:{name}: no such folder, and the hub was not reached or has no such id."
            " Check the name and the network."
        ) from error


def _folder_weights(folder: Path) -> Path:
    for name in ("model.safetensors", "model.safetensors.index.json"):
        if (folder / name).exists():
            return folder / name
    if old := sorted(folder.glob("*.bin")):
        raise unsafe(old[0], "is a pickle, which can run code when it is read")
    raise UsageError(
        f"no weights: {folder.name} has no model.safetensors; pass --weights FILE.safetensors"
    )


def _folder_preprocess(folder: Path) -> Preprocess | TextPreprocess | None:
    from unspan.data.preprocess import Preprocess, TextPreprocess

    image = folder / "preprocessor_config.json"
    if image.is_file():
        return Preprocess.from_transformers(json.loads(image.read_text("utf-8")))
    if any(
        (folder / name).is_file()
        for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt")
    ):
        return TextPreprocess(
            require("transformers").AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        )
    return None
