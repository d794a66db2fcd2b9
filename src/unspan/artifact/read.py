"""Read a folder again: its receipt, its erased model, or the deletion to take a further request."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from unspan import receipt as receipts
from unspan.artifact.layout import RECEIPT, WEIGHTS, file_hash, private_folder
from unspan.deletion import RECORD, Deletion, Record
from unspan.erasers import Eraser, from_buffers
from unspan.errors import ModelError, UsageError
from unspan.taps import CHILD, Tap, attach, unwrap

_OWN = (
    "python:unspan.zoo:AllCNN",
    "python:unspan.zoo:DigitsCNN",
)  # the only python: models built without being asked


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
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{path / RECEIPT} is damaged ({error}). Write the folder again."
        ) from error
    if schema != receipts.SCHEMA:
        raise ModelError(
            f"{path / RECEIPT} has schema {schema!r}; this version reads {receipts.SCHEMA}. Update"
            " unspan."
        )
    weights = path / WEIGHTS
    if not weights.is_file() or "sha256:" + file_hash(weights) != files.get(WEIGHTS):
        raise ModelError(
            f"{weights} is missing or not the file this receipt describes. Take the folder from its"
            " source again."
        )
    return account


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
    tap = Tap(**placement["tap"])
    state = _read(path / WEIGHTS)
    eraser = None
    if placement["kind"] == "hook":
        eraser = _eraser_in(state, placement["eraser"])
        try:
            attach(inner, tap, eraser)
        except AttributeError as error:
            raise ModelError(
                f"{type(inner).__name__} has no module '{tap.site}', where {path} places its"
                f" eraser. Pass an instance of {account['model']['class']}."
            ) from error
    _fill(inner, state, path)
    setattr(
        inner,
        RECORD,
        Record(
            tap,
            account["form"],
            placement["kind"],
            {k: v for k, v in account.items() if k != "files"},
            _private(path, placement["eraser"])[0] or eraser if eraser is not None else None,
        ),
    )
    return model.eval()


def _rebuilt(recipe: dict[str, Any], path: Path, trust_code: bool) -> nn.Module:
    from unspan.models import rebuild

    spec = str(recipe.get("spec"))
    if spec.startswith("python:") and spec not in _OWN and not trust_code:
        raise UsageError(
            f"{path} is built by the code {spec!r}, which would be run. Pass an instance,"
            " unspan.load(path, model=MyModel()), or allow it with trust_code=True (--trust-code)."
        )
    return rebuild(recipe)


def reopen(path: Path, *, trust_code: bool = False) -> Deletion:
    """The deletion of a folder, with its private state when that is still there, to take a further
    request.
    """
    model = load(path, trust_code=trust_code)
    record: Record = getattr(unwrap(model), RECORD)
    stored, key, undo = _private(path, record.receipt["placement"]["eraser"])
    if record.placement == "trained":
        return Deletion(
            model,
            record.receipt,
            None,
            key or receipts.new_key(),
            None,
            record.receipt["model"]["recipe"],
        )
    if stored is None and (private_folder(path) / "state.safetensors").is_file():
        raise ModelError(
            f"{private_folder(path)} belongs to other weights than {path} (an interrupted write, or"
            " a copy). Take both from the same run, or erase again from the original."
        )
    eraser = stored or record.eraser
    if eraser is None:
        raise UsageError(
            f"{private_folder(path)} is missing: the directions of the earlier request are not"
            " known, and a further request could bring it back. Erase both requests from the"
            " original model."
        )
    return Deletion(
        model,
        record.receipt,
        eraser,
        key or receipts.new_key(),
        undo,
        record.receipt["model"]["recipe"],
    )


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


def _fill(inner: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    floating = next(
        (tensor.dtype for tensor in state.values() if tensor.is_floating_point()), torch.float32
    )
    if floating != torch.float32:
        inner.to(floating)
    try:
        inner.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise ModelError(
            f"{path / WEIGHTS} does not fit {type(inner).__name__}:"
            f" {' '.join(str(error).split())[:500]}"
        ) from error


def _private(path: Path, kind: str | None) -> tuple[Eraser | None, bytes | None, Tensor | None]:
    folder = private_folder(path)
    if not (folder / "state.safetensors").is_file():
        return None, None, None
    with safe_open(folder / "state.safetensors", "pt") as file:
        if (file.metadata() or {}).get("model") != "sha256:" + file_hash(path / WEIGHTS):
            return None, None, None
    state = load_file(folder / "state.safetensors")
    key, undo = (
        (folder / "key").read_bytes() if (folder / "key").is_file() else None,
        state.pop("undo", None),
    )
    return (from_buffers(kind, state) if kind is not None and state else None), key, undo
