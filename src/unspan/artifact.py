"""Folders of erased models: safetensors and JSON, never pickle; published by one rename.

erased/           model.safetensors   receipt.json   README.md (model card)
erased.private/   state.safetensors   key            (mode 0700; needed for further requests, never ship it)
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from unspan import receipt as receipts
from unspan.card import card
from unspan.deletion import RECORD, Deletion, Record
from unspan.erasers import Eraser, LinearMap, Projection
from unspan.errors import ModelError, OutputError, UsageError
from unspan.taps import Tap, attach, unwrap

WEIGHTS, RECEIPT, CARD = "model.safetensors", "receipt.json", "README.md"
_FEWEST = 20  # an eraser fitted on fewer samples is close to the embedding of one of them


def private_folder(path: Path) -> Path:
    """Where the secrets of a folder are kept: beside it, not in it."""
    return path.with_name(path.name + ".private")


def check_target(path: Path, *, overwrite: bool, inputs: tuple[Path, ...] = ()) -> None:
    """Refuse an output that exists, is an input, or lies inside one; called before any work.

    What a killed process left beside the target is put right first.

    Raises:
        UsageError: with what to do instead.
        OutputError: the parent folder is missing or cannot be written.
    """
    if not path.parent.is_dir():
        raise OutputError(f"The folder {path.parent} does not exist; create it first.")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise OutputError(f"No permission to write in {path.parent}.")
    _clean_orphans(path)
    for target, ours in ((path, {RECEIPT}), (private_folder(path), {"state.safetensors", "key"})):
        _refuse_inputs(target, inputs)
        if target.exists() or target.is_symlink():
            found = {entry.name for entry in target.iterdir()} if target.is_dir() else set()
            if not (ours <= found if target == path else found <= ours and target.is_dir()):
                raise UsageError(f"{target} exists and is not an unspan folder; it is never overwritten. Choose another --out.")
            if not overwrite:
                raise UsageError(f"{target} exists; pass --overwrite to replace it, or choose another folder.")


def _refuse_inputs(path: Path, inputs: tuple[Path, ...]) -> None:
    target = path.resolve()
    for source in inputs:
        if target == source.resolve():
            raise UsageError(f"The output {path} is also an input; choose another folder with --out.")
        if source.is_dir() and source.resolve() in target.parents:
            raise UsageError(f"The output {path} lies inside the input {source}; choose a folder outside of it.")
        if target in source.resolve().parents:
            raise UsageError(f"The input {source} lies inside the output {path}; choose another folder with --out.")


def check_identifying(request_samples: int, rank: int | None, allow: bool) -> None:
    """An eraser from very few samples nearly is their embedding: refuse to publish it unless asked.

    Raises:
        UsageError: fewer than max(20, 5 k) samples and not allowed.
    """
    fewest = max(_FEWEST, 5 * (rank or 0))
    if request_samples < fewest and not allow:
        raise UsageError(f"The request has {request_samples} samples that differ; an eraser from fewer than {fewest} can identify them to whoever reads the file. Pass --allow-identifying-projector (allow_identifying_projector=True) to write it all the same.")


def save(deletion: Deletion, path: Path, *, overwrite: bool = False, allow_identifying_projector: bool = False) -> Path:
    """Write a deletion as a folder; what was there before stays intact until the new one is complete.

    Raises:
        UsageError: the target exists, or the request is too small to publish.
        OutputError: disk full, read-only, or any other failure to write.
    """
    check_target(path, overwrite=overwrite)
    fit = deletion.receipt["method"]["fit"]
    check_identifying(deletion.receipt["request"]["distinct_samples"], fit.get("rank"), allow_identifying_projector)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in unwrap(deletion.model).state_dict().items() if isinstance(tensor, Tensor)}

    def fill_public(folder: Path) -> None:
        save_file(_unshared(state), folder / WEIGHTS)
        os.chmod(folder / WEIGHTS, 0o666 & ~_umask())  # safetensors writes 0600
        account = deletion.receipt | {"files": {WEIGHTS: "sha256:" + _file_hash(folder / WEIGHTS)}}
        (folder / RECEIPT).write_text(receipts.canonical(account), "utf-8")
        (folder / CARD).write_text(card(account), "utf-8")
        if receipts.state_hash(load_file(folder / WEIGHTS)) != receipts.state_hash(_unshared(state)):
            raise OutputError(f"{path}: the written weights do not read back as they were; check the disk.")

    def fill_private(folder: Path) -> None:
        os.chmod(folder, 0o700)
        eraser = deletion.eraser
        secret = {"basis" if isinstance(eraser, Projection) else "map": next(iter(eraser.buffers())).double().contiguous()}
        secret |= {"undo": deletion.undo.contiguous()} if deletion.undo is not None else {}
        belongs = {"model": "sha256:" + _file_hash(_beside(path, "tmp") / WEIGHTS)}
        save_file(secret, folder / "state.safetensors", metadata=belongs)
        (folder / "key").write_bytes(deletion.key)
        for name in ("state.safetensors", "key"):
            os.chmod(folder / name, 0o600)

    _publish({path: fill_public, private_folder(path): fill_private})
    return path


def _beside(path: Path, kind: str) -> Path:
    return path.with_name(f".{path.name}.{kind}-{os.getpid()}")


def _publish(folders: dict[Path, Callable[[Path], None]]) -> None:
    """Fill a sibling of every folder and flush it to disk; then swap them in, or none of them."""
    swapped: list[Path] = []
    try:
        for path, fill in folders.items():
            fresh = _beside(path, "tmp")
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir()
            fill(fresh)
            for file in [*fresh.iterdir(), fresh]:
                _flush(file)
        for path in reversed(folders):  # the private folder first: a public one without its state cannot go on
            _swap(path)
            swapped.append(path)
        _flush(path.parent)
    except BaseException as error:
        for path in swapped:
            _swap_back(path)
        for path in folders:
            shutil.rmtree(_beside(path, "tmp"), ignore_errors=True)
        if isinstance(error, OSError) or type(error).__name__ == "SafetensorError":
            full = getattr(error, "errno", 0) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
            reason = "the disk or quota is full" if full else " ".join(str(error).split())
            raise OutputError(f"{next(iter(folders))} could not be written: {reason}. What was there before is unchanged.") from error
        raise
    for path in folders:
        shutil.rmtree(_beside(path, "tmp"), ignore_errors=True)
        shutil.rmtree(_beside(path, "old"), ignore_errors=True)


def _swap(path: Path) -> None:
    """Put the fresh sibling in place of `path`; what was there takes the sibling's name."""
    fresh, old = _beside(path, "tmp"), _beside(path, "old")
    if not path.exists():
        os.rename(fresh, path)
    elif not _exchange(fresh, path):
        os.rename(path, old)
        try:
            os.rename(fresh, path)
        except OSError:
            os.rename(old, path)
            raise


def _swap_back(path: Path) -> None:
    fresh, old = _beside(path, "tmp"), _beside(path, "old")
    if old.exists():
        shutil.rmtree(path)
        os.rename(old, path)
    elif fresh.exists():
        _exchange(fresh, path)
    else:
        shutil.rmtree(path)


def _exchange(a: Path, b: Path) -> bool:
    """Swap two folders in one step (Linux renameat2); False where the system cannot."""
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return bool(call(here, os.fsencode(a), here, os.fsencode(b), exchange) == 0)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _clean_orphans(path: Path) -> None:
    """Remove what a killed process left; bring back a folder it had moved aside."""
    pattern = re.compile(rf"\.{re.escape(path.name)}(\.private)?\.(tmp|old)-(\d+)")
    for entry in path.parent.iterdir():
        match = pattern.fullmatch(entry.name)
        if match is None or _alive(int(match[3])):
            continue
        target = path if match[1] is None else private_folder(path)
        if match[2] == "old" and not target.exists():
            os.rename(entry, target)
        else:
            shutil.rmtree(entry, ignore_errors=True)


def _alive(pid: int) -> bool:
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


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


def _file_hash(path: Path) -> str:
    total = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            total.update(block)
    return total.hexdigest()


# ---- reading -------------------------------------------------------------------------------------------------


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
        raise ModelError(f"{path / RECEIPT} is damaged ({error}). Write the folder again.") from error
    if schema != receipts.SCHEMA:
        raise ModelError(f"{path / RECEIPT} has schema {schema!r}; this version reads {receipts.SCHEMA}. Update unspan.")
    weights = path / WEIGHTS
    if not weights.is_file() or "sha256:" + _file_hash(weights) != files.get(WEIGHTS):
        raise ModelError(f"{weights} is missing or not the file this receipt describes. Take the folder from its source again.")
    return account


def load(path: str | Path, model: nn.Module | None = None, *, trust_code: bool = False) -> nn.Module:
    """The erased model of a folder, in evaluation mode.

    Args:
        path: the folder.
        model: an instance of the architecture, for models that were given as Python objects; its weights are
            replaced.
        trust_code: build a `python:` model, which imports and runs the code that the receipt names.

    Raises:
        UsageError: the architecture is not known and no instance was given.
        ModelError: the weights do not fit.
    """
    path = Path(path)
    account = inspect(path)
    if model is None:
        if not account["model"].get("recipe"):
            raise UsageError(f"{path} does not say how to build {account['model']['class']}; pass an instance: unspan.load(path, model=MyModel()).")
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
            raise ModelError(f"{type(inner).__name__} has no module '{tap.site}', where {path} places its eraser. Pass an instance of {account['model']['class']}.") from error
    _fill(inner, state, path)
    setattr(inner, RECORD, Record(tap, account["form"], placement["kind"], {k: v for k, v in account.items() if k != "files"}, _private(path)[0] or eraser if eraser is not None else None))
    return model.eval()


def _rebuilt(recipe: dict[str, Any], path: Path, trust_code: bool) -> nn.Module:
    from unspan.models import rebuild

    spec = str(recipe.get("spec"))
    if spec.startswith("python:") and not spec.startswith("python:unspan.zoo:") and not trust_code:
        raise UsageError(f"{path} is built by the code {spec!r}, which would be run. Pass an instance, unspan.load(path, model=MyModel()), or allow it with trust_code=True (--trust-code).")
    return rebuild(recipe)


def reopen(path: Path, *, trust_code: bool = False) -> Deletion:
    """The deletion of a folder, with its private state when that is still there, to take a further request."""
    model = load(path, trust_code=trust_code)
    record: Record = getattr(unwrap(model), RECORD)
    eraser, key, undo = _private(path)
    if eraser is None and (private_folder(path) / "state.safetensors").is_file():
        raise ModelError(f"{private_folder(path)} belongs to other weights than {path} (an interrupted write, or a copy). Take both from the same run, or erase again from the original.")
    if eraser is None and record.eraser is None:
        raise UsageError(f"{private_folder(path)} is missing: the directions of the earlier request are not known, and a further request could bring it back. Erase both requests from the original model.")
    return Deletion(model, record.receipt, eraser or record.eraser, key or receipts.new_key(), undo, record.receipt["model"]["recipe"])  # type: ignore[arg-type]


def _read(weights: Path) -> dict[str, Tensor]:
    from unspan.models import read_safetensors

    return read_safetensors(weights)


def _eraser_in(state: dict[str, Tensor], kind: str) -> Eraser:
    suffix = "unspan.basis" if kind == "projection" else "unspan.map"
    found = [tensor for name, tensor in state.items() if name == suffix or name.endswith("." + suffix)]
    if len(found) != 1:
        raise ModelError(f"The weights hold {len(found)} erasers where the receipt names one. Write the folder again.")
    return Projection(found[0]) if kind == "projection" else LinearMap(found[0])


def _fill(inner: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    floating = next((tensor.dtype for tensor in state.values() if tensor.is_floating_point()), torch.float32)
    if floating != torch.float32:
        inner.to(floating)
    try:
        inner.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise ModelError(f"{path / WEIGHTS} does not fit {type(inner).__name__}: {' '.join(str(error).split())[:500]}") from error


def _private(path: Path) -> tuple[Eraser | None, bytes | None, Tensor | None]:
    folder = private_folder(path)
    if not (folder / "state.safetensors").is_file():
        return None, None, None
    with safe_open(folder / "state.safetensors", "pt") as file:
        if (file.metadata() or {}).get("model") != "sha256:" + _file_hash(path / WEIGHTS):
            return None, None, None
    state = load_file(folder / "state.safetensors")
    eraser: Eraser = Projection(state["basis"]) if "basis" in state else LinearMap(state["map"])
    return eraser, (folder / "key").read_bytes() if (folder / "key").is_file() else None, state.get("undo")


