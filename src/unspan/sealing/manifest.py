"""The sealed manifest of a folder: hashes of all its files, in one canonical form.

A seal finds every changed byte. It is no signature: whoever rewrites all files can seal again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from unspan.errors import ModelError, UnsafeFileError
from unspan.sealing.canonical import canonical
from unspan.sealing.files import content_of, sha256_of
from unspan.system import schemas

MANIFEST, SIGNATURE = "manifest.json", "signature.json"
_LARGEST = 1 << 20  # bytes of a manifest


def write_manifest(
    folder: Path, kind: str, names: Collection[str], about: Mapping[str, Any]
) -> str:
    """Seal files of a folder.

    Args:
        folder: which holds them.
        kind: of the folder: deletion, audit, private.
        names: of the files.
        about: what else the seal covers, JSON-ready.

    Returns:
        The seal.
    """
    content = {
        "schema": schemas.MANIFEST.schema,
        "kind": kind,
        "files": _hashes(folder, names),
        **about,
    }
    seal = _seal(content)
    (folder / MANIFEST).write_text(canonical(content | {"seal": seal}), "utf-8")
    return seal


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a folder, its seal checked; not the files.

    Raises:
        ModelError: it is missing, damaged, or was edited.
        UnsafeFileError: it is no regular file.
    """
    path = folder / MANIFEST
    if not path.exists() and not path.is_symlink():
        raise ModelError(f"{path} is missing: the folder is not sealed. Take it from its source.")
    raw = content_of(path, _LARGEST)
    try:
        content = json.loads(raw)
        files = content["files"]
        kept = {key: value for key, value in content.items() if key != "seal"}
        right = (
            content["schema"] == schemas.MANIFEST.schema
            and content["seal"] == _seal(kept)
            and raw == canonical(content).encode()
            and all(
                isinstance(one["sha256"], str) and isinstance(one["bytes"], int)
                for one in files.values()
            )
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(
            f"{path} is damaged ({error}). Take the folder from its source."
        ) from error
    if not right:
        raise ModelError(f"{path} was edited: its seal is not that of its content.")
    return dict(content)


def is_sealed(manifest: Mapping[str, Any]) -> bool:
    """Whether the seal of a manifest that is kept elsewhere is that of its content."""
    kept = {key: value for key, value in manifest.items() if key != "seal"}
    return bool(manifest.get("seal") == _seal(kept))


def changed_files(folder: Path, manifest: Mapping[str, Any]) -> list[str]:
    """What is not as the manifest says: files that differ, are missing, or are more than it names.

    Args:
        folder: which holds them.
        manifest: as `read_manifest` gives it.
    """
    found = []
    for name, held in manifest["files"].items():
        try:
            same = sha256_of(folder / name) == (held["sha256"], held["bytes"])
        except UnsafeFileError as error:
            found.append(str(error))
            continue
        if not same:
            found.append(f"{name} was changed after it was sealed")
    known = {*manifest["files"], MANIFEST, SIGNATURE}
    found += [f"{one} is not sealed" for one in sorted(_names(folder) - known)]
    return found


def _names(folder: Path) -> set[str]:
    return {one.name for one in folder.iterdir()}


def _hashes(folder: Path, names: Collection[str]) -> dict[str, dict[str, Any]]:
    found = {}
    for name in names:
        digest, size = sha256_of(folder / name)
        found[name] = {"sha256": digest, "bytes": size}
    return found


def _seal(content: Mapping[str, Any]) -> str:
    return "sha256:" + hashlib.sha256(canonical(content).encode()).hexdigest()
