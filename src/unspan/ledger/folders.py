"""The deletions and audits in folders: what each says, and whether it is as it was sealed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from unspan.errors import ModelError, UnsafeFileError, UsageError
from unspan.ledger.facts import AuditFacts, DeletionFacts, audit_facts, deletion_facts
from unspan.sealing.checking import Check, seal_checks
from unspan.sealing.manifest import MANIFEST, read_manifest

_TELLING = {"receipt.json": "deletion", "audit.json": "audit"}  # by the file that a folder holds


@dataclass(frozen=True, kw_only=True)
class Found:
    """A folder of a deletion or of an audit.

    Attributes:
        path: of the folder; a page shows its name alone.
        seal: of its manifest, empty where it has none that can be believed.
        sealed: whether every file is as it was sealed.
        signature: whether it is signed by the key that was asked for, None where it is not signed.
    """

    path: Path
    seal: str
    sealed: Check
    signature: Check | None

    @property
    def name(self) -> str:
        """The name of the folder."""
        return self.path.name


@dataclass(frozen=True, kw_only=True)
class FoundDeletion(Found):
    """A folder of a deletion; `facts` is None where its receipt cannot be read."""

    facts: DeletionFacts | None


@dataclass(frozen=True, kw_only=True)
class FoundAudit(Found):
    """A folder of an audit; `facts` is None where audit.json cannot be read."""

    facts: AuditFacts | None


def found_in(
    folders: Sequence[Path], key: Path | None = None
) -> tuple[list[FoundDeletion], list[FoundAudit]]:
    """The deletions and audits in folders, the oldest first.

    Args:
        folders: each is a deletion or an audit, or holds such folders.
        key: file of the public key that should have signed them.

    Raises:
        UsageError: a folder does not exist, or holds neither.
    """
    deletions, audits = [], []
    for folder in _distinct(one for given in folders for one in _candidates(given)):
        if _kind(folder) == "deletion":
            deletions.append(_deletion(folder, key))
        else:
            audits.append(_audit(folder, key))
    return sorted(deletions, key=_age), sorted(audits, key=_age)


def _candidates(given: Path) -> list[Path]:
    if not given.is_dir():
        raise UsageError(f"{given} is no folder.")
    if _kind(given):
        return [given]
    inside = [one for one in sorted(given.iterdir()) if not one.name.startswith(".")]
    found = [one for one in inside if one.is_dir() and _kind(one)]
    if not found:
        raise UsageError(f"{given} holds no deletion and no audit of unspan.")
    return found


def _kind(folder: Path) -> str | None:
    """What a folder is, by the names of its files."""
    for name, kind in _TELLING.items():
        if (folder / name).exists() or (folder / name).is_symlink():
            return kind
    return None


def _distinct(folders: Iterable[Path]) -> list[Path]:
    return list({one.resolve(): one.resolve() for one in folders})


def _deletion(folder: Path, key: Path | None) -> FoundDeletion:
    try:
        facts = deletion_facts(folder)
    except (ModelError, UnsafeFileError):
        facts = None
    sealed, signature = _checks(folder, "deletion", key)
    return FoundDeletion(
        path=folder, seal=_seal(folder), sealed=sealed, signature=signature, facts=facts
    )


def _audit(folder: Path, key: Path | None) -> FoundAudit:
    try:
        facts = audit_facts(folder)
    except (ModelError, UnsafeFileError):
        facts = None
    sealed, signature = _checks(folder, "audit", key)
    return FoundAudit(
        path=folder, seal=_seal(folder), sealed=sealed, signature=signature, facts=facts
    )


def _checks(folder: Path, kind: str, key: Path | None) -> tuple[Check, Check | None]:
    """The check of the seal, and that of the signature where there is one or one is asked for.

    What they say names no path.
    """
    if not (folder / MANIFEST).exists():
        return Check("seal", None, "there is no seal"), None
    seal, *signature = (_placeless(one, folder) for one in seal_checks(folder, kind, key))
    return seal, signature[0] if signature else None


def _placeless(check: Check, folder: Path) -> Check:
    said = check.detail.replace(f"{folder}/", "").replace(str(folder), folder.name)
    return replace(check, detail=said)


def _seal(folder: Path) -> str:
    try:
        return str(read_manifest(folder)["seal"])
    except (ModelError, UnsafeFileError):
        return ""


def _age(one: FoundDeletion | FoundAudit) -> tuple[str, str]:
    return ("" if one.facts is None else one.facts.created, one.name)
