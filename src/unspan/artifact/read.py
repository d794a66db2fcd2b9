"""Load the erased model of a folder, or the whole deletion to take a further request."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unspan.artifact.inspection import inspect
from unspan.artifact.layout import WEIGHTS
from unspan.artifact.private import read_private
from unspan.artifact.record import Record, keep_record
from unspan.erasers import Eraser, from_buffers
from unspan.errors import ModelError, UsageError
from unspan.extraction import CHILD, FeatureLayer, attach, unwrap

_OF_FILES = ("files", "buffers")  # parts of a receipt that are of the files, not of the erasure


def load(
    path: str | Path, model: nn.Module | None = None, *, trust_code: bool = False
) -> nn.Module:
    """The erased model of a folder, in evaluation mode.

    Args:
        path: the folder.
        model: an instance of the architecture, for models that were given as Python objects; its
            weights are replaced.
        trust_code: build a `python:` model, which imports and runs the code that the receipt names.

    Raises:
        UsageError: the architecture is not known and no instance was given.
        ModelError: the weights do not fit.
    """
    path = Path(path)
    account = inspect(path)
    if model is None:
        if not account["model"].get("recipe"):
            raise UsageError(
                f"{path} does not say how to build {account['model']['class']}; pass an instance:"
                " unspan.load(path, model=MyModel())."
            )
        model = _rebuilt(account["model"]["recipe"], path, trust_code)
    inner = unwrap(model)
    placement = account["placement"]
    feature_layer = FeatureLayer.from_dict(placement["feature_layer"])
    state = _read(path / WEIGHTS)
    eraser = None
    if placement["kind"] == "hook":
        eraser = eraser_in(state, placement["eraser"])
        try:
            attach(inner, feature_layer, eraser)
        except AttributeError as error:
            raise ModelError(
                f"{type(inner).__name__} has no module '{feature_layer.site}', where {path}"
                f" places its"
                f" eraser. Pass an instance of {account['model']['class']}."
            ) from error
    _fill(inner, state, path)
    _cast_buffers(inner, account.get("buffers", {}))
    carried = None
    if eraser is not None:
        carried = read_private(path, placement, inner, feature_layer).eraser or eraser
    receipt = {key: value for key, value in account.items() if key not in _OF_FILES}
    keep_record(Record(feature_layer, account["form"], placement["kind"], receipt, carried), inner)
    return model.eval()


def _rebuilt(recipe: dict[str, Any], path: Path, trust_code: bool) -> nn.Module:
    from unspan.models import rebuild, runs_user_code

    if runs_user_code(recipe) and not trust_code:
        raise UsageError(
            f"{path} is built by the code {recipe['spec']!r}, which would be run. Pass an instance,"
            " unspan.load(path, model=MyModel()), or allow it with trust_code=True (--trust-code)."
        )
    return rebuild(recipe)


def _read(weights: Path) -> dict[str, Tensor]:
    from unspan.models import read_safetensors

    return read_safetensors(weights)


def eraser_in(state: Mapping[str, Tensor], kind: str) -> Eraser:
    """The eraser that weights hold as a module.

    Raises:
        ModelError: they hold none, or several.
    """
    held: dict[str, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        carrier, found, entry = name.rpartition(f"{CHILD}.")
        if found and (not carrier or carrier.endswith(".")):
            held.setdefault(carrier, {})[entry] = tensor
    if len(held) != 1:
        raise ModelError(
            f"The weights hold {len(held)} erasers where the receipt names one. Write the folder"
            " again."
        )
    return from_buffers(kind, next(iter(held.values())))


def _cast_buffers(inner: nn.Module, dtypes: Mapping[str, str]) -> None:
    """Give buffers that are not in the file, by name, the dtype that they had."""
    for module_name, module in inner.named_modules():
        prefix = f"{module_name}." if module_name else ""
        for name, buffer in module.named_buffers(recurse=False):
            dtype = getattr(torch, str(dtypes.get(prefix + name)), None)
            if isinstance(dtype, torch.dtype):
                module._buffers[name] = buffer.to(dtype)


def _fill(inner: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    """Put a stored state into a model bit for bit: every tensor takes the dtype it was saved in."""
    from unspan.models import match_dtypes

    match_dtypes(inner, state)
    try:
        inner.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise ModelError(
            f"{path / WEIGHTS} does not fit {type(inner).__name__}:"
            f" {' '.join(str(error).split())[:500]}"
        ) from error
