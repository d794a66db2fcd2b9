"""Check the seal and the signature of a folder, in a moment and without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from unspan.errors import ModelError, UnsafeFileError, UsageError
from unspan.sealing.manifest import SIGNATURE, changed_files, read_manifest


@dataclass(frozen=True)
class Check:
    """One check of a folder.

    Attributes:
        name: what was checked.
        ok: None when it could not be checked.
        detail: the number or reason.
    """

    name: str
    ok: bool | None
    detail: str


def sealed(folder: Path, audit: Path | None = None, key: Path | None = None) -> list[Check]:
    """Whether a deletion, its private folder and its audit are as they were sealed and signed.

    Args:
        folder: written by `unspan erase`.
        audit: audit.json, or the folder with it.
        key: file of the public key that should have signed both.
    """
    found = seal_checks(folder, "deletion", key)
    secret = folder.with_name(folder.name + ".private")
    if secret.exists():
        found += [*seal_checks(secret, "private"), *_pair(folder, secret)]
    if audit is not None:
        home = audit if audit.is_dir() else audit.parent
        found += seal_checks(home, "audit", key)
    return found


def _pair(folder: Path, secret: Path) -> list[Check]:
    """Whether a private folder was sealed for this folder."""
    try:
        same = read_manifest(secret).get("of") == read_manifest(folder)["seal"]
    except (ModelError, UnsafeFileError):
        return []
    said = "it names its seal" if same else "it names another seal"
    return [Check(f"{secret.name} belongs to this folder", same, said)]


def seal_checks(folder: Path, kind: str, key: Path | None = None) -> list[Check]:
    """Whether every byte of a folder is as it was sealed, and who signed it.

    Args:
        folder: of a deletion, of its private state, or of an audit.
        kind: which of these: deletion, private, audit.
        key: file of the public key that should have signed it; None where nobody needs to have.
    """
    name = f"every file of {folder.name} is as it was sealed"
    try:
        manifest = read_manifest(folder)
        problems = changed_files(folder, manifest)
    except (ModelError, UnsafeFileError, OSError) as error:
        return [Check(name, False, str(error))]
    if manifest["kind"] != kind:
        problems.append(f"the seal is of a folder of another kind ({manifest['kind']})")
    detail = "; ".join(problems) or str(manifest["seal"])
    found = [Check(name, not problems, detail)]
    return found if kind == "private" else [*found, *_signature(folder, key)]


def _signature(folder: Path, key: Path | None) -> list[Check]:
    """The signature of a folder, where there is one or one is asked for."""
    there = (folder / SIGNATURE).exists() or (folder / SIGNATURE).is_symlink()
    if key is None and not there:
        return []
    name = f"{folder.name} is signed"
    if not there:
        return [Check(name, False, "there is no signature")]
    try:
        from unspan.sealing import signing
    except ModuleNotFoundError as error:
        return [Check(name, None, f"it needs {error.name}: pip install 'unspan[sign]'")]
    try:
        if key is None:
            keys = ", ".join(signing.signers(folder))
            return [Check(name, None, f"by {keys}; give the public key of the signer with --key")]
        return [Check(name, True, f"by {signing.check_signature(folder, key)}")]
    except UsageError:
        raise
    except (ModelError, UnsafeFileError) as error:
        return [Check(name, False, str(error))]


def require_sealed(folder: Path, kind: str) -> str:
    """The seal of a folder that is as it was written.

    Raises:
        ModelError: it is not.
    """
    for one in seal_checks(folder, kind):
        if one.ok is False:
            raise ModelError(f"{folder} is not as it was written: {one.detail}.")
    return str(read_manifest(folder)["seal"])
