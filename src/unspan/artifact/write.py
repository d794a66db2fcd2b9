"""Write a deletion as a folder: the checks before any work, and what goes into its files."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from unspan import receipt as receipts
from unspan.artifact.layout import CARD, RECEIPT, WEIGHTS, file_hash, private_folder
from unspan.artifact.publish import beside, clean_orphans, publish
from unspan.card import card
from unspan.deletion import Deletion
from unspan.errors import OutputError, UsageError
from unspan.taps import unwrap

_FEWEST = 20  # an eraser fitted on fewer samples is close to the embedding of one of them


def check_target(path: Path, *, overwrite: bool, inputs: tuple[Path, ...] = ()) -> None:
    """Refuse an output that exists, is an input, or lies inside one; called before any work.

    What a killed process left beside the target is put right first.

    Raises:
        UsageError: with what to do instead.
        OutputError: the parent folder is missing or cannot be written.
    """
    if not path.name or path.name == "..":
        raise UsageError(
            f"The output {str(path)!r} is no name for a new folder; choose one, for example --out"
            " erased."
        )
    if not path.parent.is_dir():
        raise OutputError(f"The folder {path.parent} does not exist; create it first.")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise OutputError(f"No permission to write in {path.parent}.")
    clean_orphans(path)
    for target, ours in ((path, {RECEIPT}), (private_folder(path), {"state.safetensors", "key"})):
        refuse_inputs(target, inputs)
        if target.exists() or target.is_symlink():
            found = {entry.name for entry in target.iterdir()} if target.is_dir() else set()
            if not (ours <= found if target == path else found <= ours and target.is_dir()):
                raise UsageError(
                    f"{target} exists and is not an unspan folder; it is never overwritten. Choose"
                    " another --out."
                )
            if not overwrite:
                raise UsageError(
                    f"{target} exists; pass --overwrite to replace it, or choose another folder."
                )


def refuse_inputs(path: Path, inputs: tuple[Path, ...]) -> None:
    """Refuse an output that is an input, lies in one or holds one (UsageError)."""
    target = path.resolve()
    for source in inputs:
        if target == source.resolve():
            raise UsageError(
                f"The output {path} is also an input; choose another folder with --out."
            )
        if source.is_dir() and source.resolve() in target.parents:
            raise UsageError(
                f"The output {path} lies inside the input {source}; choose a folder outside of it."
            )
        if target in source.resolve().parents:
            raise UsageError(
                f"The input {source} lies inside the output {path}; choose another folder with"
                " --out."
            )


def check_identifying(request_samples: int, rank: int | None, allow: bool) -> None:
    """An eraser from very few samples nearly is their embedding: refuse to publish it unless asked.

    Raises:
        UsageError: fewer than max(20, 5 k) samples and not allowed.
    """
    fewest = max(_FEWEST, 5 * (rank or 0))
    if request_samples < fewest and not allow:
        raise UsageError(
            f"The request has {request_samples} samples that differ; an eraser from fewer than"
            f" {fewest} can identify them to whoever reads the file. Pass"
            " --allow-identifying-projector (allow_identifying_projector=True) to write it all the"
            " same."
        )


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
        OutputError: disk full, read-only, or any other failure to write.
    """
    check_target(path, overwrite=overwrite)
    if deletion.eraser is not None:
        check_identifying(
            deletion.receipt["request"]["distinct_samples"],
            deletion.receipt["method"]["fit"].get("rank"),
            allow_identifying_projector,
        )
    state = {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in unwrap(deletion.model).state_dict().items()
        if isinstance(tensor, Tensor)
    }

    def fill_public(folder: Path) -> None:
        save_file(_unshared(state), folder / WEIGHTS)
        os.chmod(folder / WEIGHTS, 0o666 & ~_umask())  # safetensors writes 0600
        account = deletion.receipt | {"files": {WEIGHTS: "sha256:" + file_hash(folder / WEIGHTS)}}
        (folder / RECEIPT).write_text(receipts.canonical(account), "utf-8")
        (folder / CARD).write_text(card(account), "utf-8")
        if receipts.state_hash(load_file(folder / WEIGHTS)) != receipts.state_hash(
            _unshared(state)
        ):
            raise OutputError(
                f"{path}: the written weights do not read back as they were; check the disk."
            )

    def fill_private(folder: Path) -> None:
        os.chmod(folder, 0o700)
        eraser = deletion.eraser
        secret = (
            {}
            if eraser is None
            else {name: tensor.double().contiguous() for name, tensor in eraser.named_buffers()}
        )
        secret |= {"undo": deletion.undo.contiguous()} if deletion.undo is not None else {}
        belongs = {"model": "sha256:" + file_hash(beside(path, "tmp") / WEIGHTS)}
        save_file(secret, folder / "state.safetensors", metadata=belongs)
        (folder / "key").write_bytes(deletion.key)
        for name in ("state.safetensors", "key"):
            os.chmod(folder / name, 0o600)

    publish({path: fill_public, private_folder(path): fill_private})
    if deletion.epochs is not None:
        shutil.rmtree(deletion.epochs, ignore_errors=True)
    return path


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
