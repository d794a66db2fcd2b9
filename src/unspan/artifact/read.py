"""Read a folder again: its receipt, its erased model, or the deletion to take a further request."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from unspan.artifact import receipt as receipts
from unspan.artifact.deletion import RECORD, Deletion, Record
from unspan.artifact.layout import (
    KEY,
    RECEIPT,
    STATE,
    WEIGHTS,
    private_digest,
    private_folder,
)
from unspan.artifact.publish import belongs, left_private
from unspan.erasers import Eraser, Projection, from_buffers
from unspan.errors import ModelError, UsageError
from unspan.extraction import CHILD, FeatureLayer, attach, head_parameters, unwrap
from unspan.system.digests import file_hash

# share of the head that may lie in removed directions, by what its dtype rounds to
ROUNDING = {
    torch.float64: 1e-5,
    torch.float32: 1e-5,
    torch.float16: 1e-3,
    torch.bfloat16: 1e-2,
}

_OF_FILES = ("files", "buffers")  # parts of a receipt that are of the files, not of the erasure
# what every receipt has, and reading a folder needs
_PARTS = {
    "files": (WEIGHTS,),
    "model": ("class", "sha256_after"),
    "placement": ("kind", "eraser", "feature_layer", "where"),
    "request": ("kind", "selector", "classes"),
    "method": ("name", "fit"),
}


def inspect(path: str | Path) -> dict[str, Any]:
    """The receipt of a folder, after checking that the weights are the ones it describes.

    Raises:
        UsageError: not an unspan folder.
        ModelError: the receipt is damaged, newer than this version, or of other weights.
    """
    path = Path(path)
    if not (path / RECEIPT).is_file():
        raise UsageError(f"{path} is not an unspan folder: no {RECEIPT} in it.")
    try:
        account = json.loads((path / RECEIPT).read_text("utf-8"))
        schema, files = account["schema"], account["files"]
    except OSError as error:
        raise ModelError(f"{path / RECEIPT} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{path / RECEIPT} is damaged ({error}). Write the folder again."
        ) from error
    if schema != receipts.SCHEMA:
        raise ModelError(
            f"{path / RECEIPT} has schema {schema!r}; this version reads {receipts.SCHEMA}."
            " Update unspan for a newer folder; for an older one, erase again from the original"
            " model."
        )
    missing = _missing(account)
    if missing:
        raise ModelError(
            f"{path / RECEIPT} is damaged (it has no {missing}). Write the folder again."
        )
    weights = path / WEIGHTS
    if not weights.is_file() or "sha256:" + file_hash(weights) != files.get(WEIGHTS):
        raise ModelError(
            f"{weights} is missing or not the file this receipt describes. Take the folder from its"
            " source again."
        )
    return account


def _missing(account: dict[str, Any]) -> str | None:
    """The first part of a receipt that is not there."""
    for part, names in _PARTS.items():
        held = account.get(part)
        for name in names:
            if not isinstance(held, dict) or name not in held:
                return f"{part}.{name}"
    return None if isinstance(account.get("form"), str) else "form"


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
        eraser = _eraser_in(state, placement["eraser"])
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
    setattr(
        inner, RECORD, Record(feature_layer, account["form"], placement["kind"], receipt, carried)
    )
    return model.eval()


def _rebuilt(recipe: dict[str, Any], path: Path, trust_code: bool) -> nn.Module:
    from unspan.models import rebuild, runs_user_code

    if runs_user_code(recipe) and not trust_code:
        raise UsageError(
            f"{path} is built by the code {recipe['spec']!r}, which would be run. Pass an instance,"
            " unspan.load(path, model=MyModel()), or allow it with trust_code=True (--trust-code)."
        )
    return rebuild(recipe)


def reopen(path: Path, *, trust_code: bool = False) -> Deletion:
    """The deletion of a folder, with its private state when that is still there, to take a further
    request.
    """
    model = load(path, trust_code=trust_code)
    inner = unwrap(model)
    record: Record = getattr(inner, RECORD)
    recipe = record.receipt["model"]["recipe"]
    private = read_private(path, record.receipt["placement"], inner, record.feature_layer)
    if private.problem is not None:
        raise ModelError(
            f"{private.problem}. Take both folders from the same run, or erase again from the"
            " original."
        )
    key = private.key or receipts.new_key()
    if record.placement == "trained":
        return Deletion(model, record.receipt, None, key, None, recipe)
    eraser = private.eraser or record.eraser
    if eraser is None:
        raise UsageError(
            f"{private_folder(path)} is missing: the directions of the earlier request are not"
            " known, and a further request could bring it back. Erase both requests from the"
            " original model."
        )
    return Deletion(model, record.receipt, eraser, key, private.undo, recipe)


def _read(weights: Path) -> dict[str, Tensor]:
    from unspan.models import read_safetensors

    return read_safetensors(weights)


def _eraser_in(state: dict[str, Tensor], kind: str) -> Eraser:
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


@dataclass(frozen=True)
class Private:
    """What the private folder of an erased model holds, as far as it can be believed.

    Attributes:
        eraser: float64 eraser of all requests, None where there is none.
        key: secret of the request commitment.
        undo: rows that an affine layer lost, `[k, in + 1]`.
        problem: why nothing of it is used, None when all is well.
        there: the folder exists.
    """

    eraser: Eraser | None = None
    key: bytes | None = field(default=None, repr=False)
    undo: Tensor | None = None
    problem: str | None = None
    there: bool = True


def read_private(
    path: Path, placement: Mapping[str, Any], inner: nn.Module, feature_layer: FeatureLayer
) -> Private:
    """The private state of a folder, checked against the weights that are loaded.

    Args:
        path: the public folder.
        placement: of the receipt: the kind of the eraser, and where it is.
        inner: the model with the public weights.
        feature_layer: where its features and head are.
    """
    secret = private_folder(path)
    found = [one for one in (secret, *left_private(path)) if belongs(one, path)]
    if not found:
        if not os.path.lexists(secret):
            return Private(there=False)
        return Private(
            problem=f"{secret} cannot be read, or belongs to other weights than {path} (an"
            " interrupted write, or a copy)"
        )
    folder, kind = found[0], placement["eraser"]
    try:
        with safe_open(folder / STATE, "pt") as file:
            said = (file.metadata() or {}).get("digest")
        state = load_file(folder / STATE)
        key = (folder / KEY).read_bytes()
        if said != private_digest(state, key):
            return Private(problem=f"{folder} was changed after it was written, or is damaged")
        undo = state.pop("undo", None)
        eraser = from_buffers(kind, state) if kind is not None and state else None
    except (OSError, SafetensorError, ModelError, ValueError) as error:
        return Private(problem=f"{folder} cannot be read ({error})")
    if len(key) < receipts.SHORTEST_KEY:
        return Private(problem=f"the key in {folder} has {len(key)} bytes")
    if eraser is not None and not _agrees(eraser, undo, placement["kind"], inner, feature_layer):
        return Private(problem=f"{folder} does not describe the eraser that is in {path / WEIGHTS}")
    return Private(eraser, key, undo)


def _agrees(
    eraser: Eraser,
    undo: Tensor | None,
    placement: str,
    inner: nn.Module,
    feature_layer: FeatureLayer,
) -> bool:
    """The stored eraser is whole, and the weights are mapped by it."""
    if not all(bool(one.isfinite().all()) for one in eraser.buffers()):
        return False
    if isinstance(eraser, Projection) and not _orthonormal(eraser.basis):
        return False
    if placement == "hook":
        return _same_buffers(eraser, inner)
    if not isinstance(eraser, Projection):
        return True  # what the weights were before is not kept
    if placement == "weights":
        return _took(eraser.basis, undo, inner.get_submodule(feature_layer.site))
    head = head_parameters(inner, feature_layer)
    return head is None or _is_nothing(
        head[0] @ eraser.basis, head[0], inner.get_parameter(f"{feature_layer.head}.weight").dtype
    )


def _orthonormal(basis: Tensor) -> bool:
    eye = torch.eye(basis.shape[1], dtype=torch.float64)
    return torch.allclose(basis.double().mT @ basis.double(), eye, atol=1e-6)


def _same_buffers(eraser: Eraser, inner: nn.Module) -> bool:
    """The eraser in the model has the stored buffers, as far as float32 tells."""
    carried = [one for name, one in inner.named_modules() if name.rpartition(".")[2] == CHILD]
    ours, theirs = dict(eraser.named_buffers()), dict(carried[0].named_buffers())
    return ours.keys() == theirs.keys() and all(
        ours[name].shape == theirs[name].shape
        and torch.equal(ours[name].float(), theirs[name].float().cpu())
        for name in ours
    )


def _took(basis: Tensor, undo: Tensor | None, site: nn.Module) -> bool:
    """An affine layer lost the span of `basis`, and `undo` has the rows that it lost."""
    weight = site.weight.detach().double().cpu().flatten(1)
    if undo is None or undo.shape != (basis.shape[1], weight.shape[1] + 1):
        return False
    whole = bool(undo.isfinite().all())
    return whole and _is_nothing(basis.mT @ weight, weight, site.weight.dtype)


def _is_nothing(left: Tensor, of: Tensor, dtype: torch.dtype) -> bool:
    """What is left of a weight is no more than its dtype rounds to."""
    share = torch.linalg.matrix_norm(left.double()) / torch.linalg.matrix_norm(of.double())
    return float(share) <= ROUNDING[dtype]
