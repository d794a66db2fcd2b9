"""Sources of models that are called by name: timm, torchvision, and factories in Python code."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor, nn

from unspan.errors import UsageError
from unspan.models.libraries import require
from unspan.models.loaded import Loaded, check_usable
from unspan.models.weights import assign, read_state
from unspan.system.user_code import PREFIX, called, user_object

if TYPE_CHECKING:
    from unspan.data.preprocess import Preprocess

    Make = Callable[
        [int | None, bool], nn.Module
    ]  # (number of classes or None for the default, published weights?)
    Description = tuple[Preprocess | None, list[str] | None]  # input and class names
    Describe = Callable[[nn.Module, bool], Description]  # (model, published weights?)

FORMS = """give a model as one of
  timm:NAME             timm:resnet18
  torchvision:NAME      torchvision:resnet18
  transformers:FOLDER   transformers:./my-vit (a folder with config.json) or a hub id
  sentence-transformers:FOLDER  a folder that SentenceTransformer.save wrote, or a hub id
  python:MODULE:FACTORY python:my_package.nets:make_net or python:nets.py:make_net
                        (this code is run)"""


def from_source(spec: str, weights: Path | None, num_classes: int | None) -> Loaded:
    """Build the model of a spec with published or given weights; the number of classes follows the
    weights.
    """
    kind, _, name = spec.partition(":")
    make, describe = SOURCES[kind](name)
    notices: list[str] = []
    if weights is None:
        model = _published(spec, make, num_classes)
    else:
        state, notices = read_state(weights)
        model = make(num_classes, False)
        check_usable(model)
        rows = _classes_in(state, model)
        if num_classes is None and rows is not None:
            other = rows != _classes_in(model.state_dict(), model)
            if other or kind != "python":  # the last layer of a factory may be no classifier
                notices.append(f"{rows} classes, from the weights")
            if other:
                model = make(rows, False)
            num_classes = rows
        assign(model, state)
    check_usable(model)
    outputs = _classes_in(model.state_dict(), model)
    if num_classes is not None and outputs not in (None, num_classes):
        notices.append(f"built with {outputs} classes, not {num_classes}")
    preprocess, class_names = describe(model, weights is None)
    recipe = {"spec": spec, "num_classes": num_classes}
    return Loaded(
        model=model, recipe=recipe, preprocess=preprocess, class_names=class_names, notices=notices
    )


def _published(spec: str, make: Make, num_classes: int | None) -> nn.Module:
    if num_classes is not None and not spec.startswith("python:"):
        raise UsageError(
            "published weights have their own classes: pass --weights FILE.safetensors or no"
            " --num-classes"
        )
    try:
        return make(num_classes, True)
    except (OSError, RuntimeError) as error:
        reason = "the hub could not be reached" if isinstance(error, OSError) else error
        raise UsageError(f"no weights: pass --weights FILE.safetensors ({reason})") from error


def _classes_in(state: Mapping[str, Tensor], model: nn.Module) -> int | None:
    """Rows that `state` has for the classifier: the last layer of `model` with its default number
    of classes.
    """
    default = getattr(model, "num_classes", None)
    layers = [
        (name, layer)
        for name, layer in model.named_modules()
        if isinstance(layer, (nn.Linear, nn.Conv2d))
    ]
    heads = [
        f"{name}.weight".lstrip(".")
        for name, layer in layers
        if default in (None, layer.weight.shape[0])
    ]
    return state[heads[-1]].shape[0] if heads and heads[-1] in state else None


def _timm(name: str) -> tuple[Make, Describe]:
    timm = require("timm")
    if not timm.is_model(name):
        raise _unknown("timm", name, timm.list_models())

    def make(num_classes: int | None, published: bool) -> nn.Module:
        return timm.create_model(name, pretrained=published, **_given(num_classes))

    def describe(model: nn.Module, published: bool) -> Description:
        from unspan.data.preprocess import Preprocess

        names = _imagenet_names(timm, model) if published else None
        return Preprocess.from_timm(cast(Any, model).pretrained_cfg), names

    return make, describe


def _imagenet_names(timm: ModuleType, model: nn.Module) -> list[str] | None:
    """Class names of a published timm model of one of the ImageNet sets."""
    from timm.data import ImageNetInfo, infer_imagenet_subset

    subset = infer_imagenet_subset(model)
    if not subset:
        return None
    info = ImageNetInfo(subset)
    return [info.index_to_description(index) for index in range(info.num_classes())]


def _torchvision(name: str) -> tuple[Make, Describe]:
    models = require("torchvision").models
    # googlenet and inception_v3 change their input and branches with the published weights, which
    # no recipe carries
    known = set(models.list_models(module=models)) - {"googlenet", "inception_v3"}
    if name not in known:
        raise _unknown("torchvision", name, known)
    weights = models.get_model_weights(name).DEFAULT

    def make(num_classes: int | None, published: bool) -> nn.Module:
        return models.get_model(name, weights=weights if published else None, **_given(num_classes))

    def describe(model: nn.Module, published: bool) -> Description:
        from unspan.data.preprocess import Preprocess

        return Preprocess.from_torchvision(weights.transforms()), (
            weights.meta["categories"] if published else None
        )

    return make, describe


def _given(num_classes: int | None) -> dict[str, int]:
    return {} if num_classes is None else {"num_classes": num_classes}


def _unknown(package: str, name: str, known: Iterable[str]) -> UsageError:
    close = ", ".join(difflib.get_close_matches(name, list(known), n=5, cutoff=0.4)) or "none"
    return UsageError(f"{package} has no usable model {name!r}; close names: {close}.")


def _python(name: str) -> tuple[Make, Describe]:
    module_name, _, attribute = name.rpartition(":")
    if not module_name or not attribute:
        raise UsageError(f"'python:{name}' has no factory; {FORMS}")

    def make(num_classes: int | None, published: bool) -> nn.Module:
        factory = user_object(f"{PREFIX}{name}", "factory")
        accepted = _given(num_classes) if _accepts_num_classes(factory) else {}
        hint = " It must make the model without arguments, or with num_classes alone."
        model = called(f"{PREFIX}{name}", lambda: factory(**accepted), hint)
        if not isinstance(model, nn.Module):
            raise UsageError(
                f"python:{name} returned {type(model).__name__}, not a torch.nn.Module. Return the"
                " model itself."
            )
        return model

    def describe(model: nn.Module, published: bool) -> Description:
        from unspan.data.preprocess import Preprocess

        documented = getattr(model, "preprocess", None)
        return Preprocess.from_dict(documented) if isinstance(documented, Mapping) else None, None

    return make, describe


def _accepts_num_classes(factory: Callable[..., Any]) -> bool:
    try:
        inspect.signature(factory).bind(num_classes=2)
    except (TypeError, ValueError):
        return False
    return True


SOURCES: dict[str, Callable[[str], tuple[Make, Describe]]] = {
    "timm": _timm,
    "torchvision": _torchvision,
    "python": _python,
}
