"""Write a deletion as a folder: the checks before any work, and what goes into its files."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from unspan.artifact.card import card
from unspan.artifact.identifying import check_identifying, check_telling
from unspan.artifact.layout import (
    CARD,
    KEY,
    PRIVATE,
    PUBLIC,
    RECEIPT,
    SEALED,
    STATE,
    WEIGHTS,
    private_digest,
    private_folder,
)
from unspan.artifact.publish import (
    belongs,
    beside,
    clean_orphans,
    left_private,
    left_public,
    publish,
)
from unspan.artifact.read import load
from unspan.data.inputs import place
from unspan.errors import OutputError, UnspanError, UsageError
from unspan.extraction import (
    eval_mode,
    forward,
    input_like,
    relative_difference,
    tensors_in,
    unwrap,
)
from unspan.models import check_state, runs_user_code
from unspan.sealing.canonical import canonical
from unspan.sealing.manifest import SIGNATURE, read_manifest, write_manifest
from unspan.system.digests import file_hash, state_hash
from unspan.system.locks import writing
from unspan.system.output_paths import check_folder
from unspan.training.checkpoint import Checkpoint

if TYPE_CHECKING:
    from unspan.artifact.deletion import Deletion

# largest relative difference of outputs that the order of a sum can make, by dtype
_SAME = {torch.float64: 1e-6, torch.float32: 1e-4, torch.float16: 3e-2, torch.bfloat16: 1e-1}


def check_target(path: Path, *, overwrite: bool, inputs: Iterable[Path] = ()) -> None:
    """Refuse an output folder that exists, is an input, or lies inside one. Changes nothing.

    Raises:
        UsageError: with what to do instead.
        OutputError: the parent folder is missing or cannot be written.
    """
    inputs = tuple(inputs)
    check_folder(
        path,
        PUBLIC,
        what="an unspan folder",
        overwrite=overwrite,
        inputs=inputs,
        optional=(SIGNATURE,),
    )
    secret = private_folder(path)
    check_folder(
        secret, PRIVATE, what="the private part of one", overwrite=overwrite, inputs=inputs
    )
    aside = None if path.exists() else left_public(path)
    if aside is not None and not overwrite:
        raise UsageError(
            f"A run that was killed left the folder as {aside}. Rename it to {path.name}, or pass"
            " --overwrite to replace it."
        )
    if path.exists() and not _is_receipt(path / RECEIPT):
        raise UsageError(
            f"{path} exists and its {RECEIPT} is not one of unspan: it is never overwritten. Choose"
            " another --out."
        )
    if secret.exists() and aside is None and not _is_pair(secret, path):
        raise UsageError(
            f"{secret} holds the key of another folder than {path}, which may have been moved. Move"
            " it beside that folder, or delete it if it is not needed; then run again."
        )


def _check_again(path: Path, *, overwrite: bool) -> None:
    """Refuse what somebody else wrote since the target was checked (OutputError)."""
    try:
        check_target(path, overwrite=overwrite)
    except UsageError as error:
        raise OutputError(f"Something was written meanwhile. {error}") from error


def _is_pair(secret: Path, path: Path) -> bool:
    """The private folder is of the public one, or a killed run left the one that is."""
    if not any(secret.iterdir()):
        return True
    return any(belongs(one, path) for one in (secret, *left_private(path)))


def _is_receipt(path: Path) -> bool:
    try:
        return str(json.loads(path.read_text("utf-8"))["schema"]).startswith("unspan.receipt/")
    except (OSError, ValueError, KeyError, TypeError):
        return False


def check_savable(model: nn.Module) -> None:
    """Refuse a model whose tensors could be written, but not be read again (ModelError)."""
    check_state(_state(model), type(unwrap(model)).__name__)


def _state(model: nn.Module) -> dict[str, Tensor]:
    """The tensors of a model that go into its file."""
    found = unwrap(model).state_dict()
    return {name: one.detach() for name, one in found.items() if isinstance(one, Tensor)}


def _unsaved_buffers(model: nn.Module) -> dict[str, str]:
    """Dtypes of floating buffers that are not in the file, since they are made by the constructor.

    A model that was cast has them in another dtype than a new one.
    """
    inner = unwrap(model)
    saved = inner.state_dict().keys()
    return {
        name: str(one.dtype).removeprefix("torch.")
        for name, one in inner.named_buffers(remove_duplicate=False)
        if name not in saved and one.is_floating_point()
    }


def save(
    deletion: Deletion,
    path: Path,
    *,
    overwrite: bool = False,
    allow_identifying_projector: bool = False,
) -> Path:
    """Write a deletion as a folder; what was there before stays intact until the new one is
    complete.

    Raises:
        UsageError: the target exists, or the request is too small to publish.
        InconclusiveError: the result must not be used, see `Deletion.check`.
        ModelError: the model holds values that could not be read again.
        OutputError: disk full, read-only, or any other failure to write.
    """
    deletion.check()
    check_target(path, overwrite=overwrite)
    if deletion.eraser is not None and deletion.receipt["form"] != "trained":
        check_identifying(
            deletion.receipt["request"]["distinct_samples"],
            deletion.receipt["method"]["fit"].get("rank"),
            allow_identifying_projector,
        )
        check_telling(
            deletion.receipt["method"]["fit"].get("told", 0.5), allow_identifying_projector
        )
    check_savable(deletion.model)
    state = {name: one.cpu().contiguous() for name, one in _state(deletion.model).items()}
    with writing(path):
        clean_orphans(path)
        publish(
            {
                path: partial(_fill_public, deletion, _unshared(state), path),
                private_folder(path): partial(_fill_private, deletion, beside(path, "tmp")),
            },
            partial(_check_again, path, overwrite=overwrite),
        )
    if deletion.epochs is not None:
        Checkpoint.remove(deletion.epochs)
    if not deletion.recipe:
        name = type(unwrap(deletion.model)).__name__
        warnings.warn(
            f"{path} does not say how to build {name}: load it with"
            f" unspan.load({str(path)!r}, model={name}(...)).",
            UserWarning,
            stacklevel=3,
        )
    return path


def _fill_public(deletion: Deletion, state: dict[str, Tensor], path: Path, folder: Path) -> None:
    """Write the weights, receipt and card of `path` into `folder`, and read the weights back."""
    save_file(state, folder / WEIGHTS)
    os.chmod(folder / WEIGHTS, 0o666 & ~_umask())  # safetensors writes 0600
    _describe(deletion, folder)
    if state_hash(load_file(folder / WEIGHTS)) != state_hash(state):
        raise OutputError(
            f"{path}: the written weights do not read back as they were; check the disk."
        )
    why = _difference(deletion, folder)
    if why is not None:
        _without_recipe(deletion, why)
        _describe(deletion, folder)
    write_manifest(folder, "deletion", SEALED, _about(deletion))


def _about(deletion: Deletion) -> dict[str, Any]:
    """What the seal of a folder covers beside its files: the private state, the key, and the
    receipt as a further request carries it along.
    """
    return {
        "private": private_digest(_secret(deletion), deletion.key),
        "key": hashlib.sha256(deletion.key).hexdigest(),
        "account": hashlib.sha256(canonical(deletion.receipt).encode()).hexdigest(),
    }


def _secret(deletion: Deletion) -> dict[str, Tensor]:
    """The private state: the eraser in float64, and what weights lost."""
    secret: dict[str, Tensor] = {}
    if deletion.eraser is not None:
        for name, tensor in deletion.eraser.named_buffers():
            secret[name] = tensor.double().contiguous()
    if deletion.undo is not None:
        secret["undo"] = deletion.undo.contiguous()
    return secret


def _describe(deletion: Deletion, folder: Path) -> None:
    """Write the receipt and the card of the weights that are in the folder."""
    account = deletion.receipt | {"files": {WEIGHTS: "sha256:" + file_hash(folder / WEIGHTS)}}
    account["buffers"] = _unsaved_buffers(deletion.model)
    (folder / RECEIPT).write_text(canonical(account), "utf-8")
    (folder / CARD).write_text(card(account), "utf-8")


def _fill_private(deletion: Deletion, public: Path, folder: Path) -> None:
    """Write the eraser in float64 and the key, with hashes of the public files they belong to."""
    os.chmod(folder, 0o700)
    secret = _secret(deletion)
    hashes = {
        "model": "sha256:" + file_hash(public / WEIGHTS),
        "receipt": "sha256:" + file_hash(public / RECEIPT),
        "digest": private_digest(secret, deletion.key),
    }
    save_file(secret, folder / STATE, metadata=hashes)
    (folder / KEY).write_bytes(deletion.key)
    write_manifest(folder, "private", (STATE, KEY), {"of": read_manifest(public)["seal"]})
    for name in PRIVATE:
        os.chmod(folder / name, 0o600)


def _difference(deletion: Deletion, folder: Path) -> str | None:
    """Build the model from the written folder and compare: its state bit for bit, and its outputs.

    Only where no user code is run for it.

    Returns:
        In what the built model differs, None where it is the same or was not built.
    """
    if not deletion.recipe or runs_user_code(deletion.recipe):
        return None
    try:
        again = load(folder)
    except UnspanError as error:
        return f"cannot be built again ({error})"
    own = unwrap(deletion.model)
    if state_hash(again.state_dict()) != state_hash(own.state_dict()):
        return "has other weights when it is built again"
    if deletion.example is None:
        return None
    parameter = next(own.parameters(), torch.zeros(()))
    with eval_mode(own), eval_mode(again.to(parameter.device)):
        example = place(deletion.example, input_like(own, deletion.example))
        ours = tensors_in(forward(own, example))
        theirs = tensors_in(forward(again, example))
    same = len(ours) == len(theirs) and all(
        _is_close(one, other, _SAME[parameter.dtype])
        for (_, one), (_, other) in zip(ours, theirs, strict=True)
    )
    return None if same else "gives other outputs when it is built again"


def _is_close(one: Tensor, other: Tensor, share: float) -> bool:
    if one.shape != other.shape or not torch.equal(one.isfinite(), other.isfinite()):
        return False
    known = one.isfinite()
    return relative_difference(one[known], other[known]) <= share


def _without_recipe(deletion: Deletion, why: str) -> None:
    """The folder will not say how to build the model; whoever loads it is told what to pass."""
    name = type(unwrap(deletion.model)).__name__
    deletion.receipt["warnings"].append(
        f"{name} {why}: load the folder with unspan.load(folder, model={name}(...))"
    )
    deletion.receipt["model"]["recipe"] = {}
    deletion.recipe = {}


def _umask() -> int:
    current = os.umask(0o022)
    os.umask(current)
    return current


def _unshared(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors that share memory (tied weights) are written once for every name."""
    seen: set[int] = set()
    out = {}
    for name, tensor in state.items():
        pointer = tensor.data_ptr()
        out[name] = tensor.clone() if pointer in seen else tensor
        seen.add(pointer)
    return out
