"""Which files an audit is about, and who made it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from torch import nn

from unspan.artifact import receipt as receipts
from unspan.artifact.layout import RECEIPT, WEIGHTS
from unspan.artifact.record import record_of
from unspan.audit_record.summary import AuditedFile, Identity
from unspan.audit_record.vocabulary import Given
from unspan.system.digests import file_hash


@dataclass(frozen=True, kw_only=True)
class Files:
    """Where the models of an audit were read from, as far as they were.

    Attributes:
        erased: an unspan folder, or a file of weights or of outputs.
        original: a file of weights or of outputs.
        references: the same.
    """

    erased: Path | None = None
    original: Path | None = None
    references: Sequence[Path] = field(default_factory=tuple)


def identity(erased: nn.Module | None, files: Files, by: str, valid_until: date | None) -> Identity:
    """What an audit is about.

    Args:
        erased: the audited model, whose receipt gives the number of the deletion; None where only
            outputs are here.
        files: the models came from.
        by: who makes the audit.
        valid_until: last day.
    """
    return Identity(
        deletion=_number(erased, files.erased),
        given=Given.OUTPUTS if erased is None else Given.MODELS,
        model=_file(files.erased),
        original=_file(files.original),
        references=[AuditedFile(one.name, file_hash(one)) for one in files.references],
        by=by,
        valid_until=None if valid_until is None else valid_until.isoformat(),
    )


def _number(erased: nn.Module | None, path: Path | None) -> str | None:
    """By the receipt in the folder, else by the one that travels with the model."""
    if path is not None and path.is_dir():
        return file_hash(path / RECEIPT)[:8]
    record = None if erased is None else record_of(erased)
    return None if record is None else receipts.number(record.receipt)


def _file(path: Path | None) -> AuditedFile | None:
    """A file with its hash; of a folder its weights, named with the folder."""
    if path is None:
        return None
    if path.is_dir():
        folder = path.resolve().name
        return AuditedFile(f"{folder}/{WEIGHTS}", file_hash(path / WEIGHTS))
    return AuditedFile(path.name, file_hash(path))
