"""`unspan verify`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from unspan.cli import options as option
from unspan.errors import UsageError

if TYPE_CHECKING:
    from unspan.sealing.checking import Check


_INVALID, _UNKNOWN = 1, 10


def verify(
    folder: option.ErasedFolder,
    audit: option.AuditOfFolder = None,
    key: option.PublicKey = None,
    seal_only: option.SealOnly = False,
    trust_code: option.TrustCodeOfReceipt = False,
    as_json: option.ChecksAsJson = False,
    debug: option.Debug = False,
) -> None:
    """Check an erased folder offline: seals, signatures, the eraser, and that an audit belongs to
    it.

    A changed byte in any file is found, in the private folder too. Whoever changes all files can
    seal them again, but not sign them: --key names the public key that should have signed.

    Exit codes: 0 all checks hold, 1 one does not, 10 something could not be checked, 2 usage.
    """
    from unspan.cli import render

    checks = _checks(folder, audit, key, seal_only=seal_only, trust_code=trust_code)
    if as_json:
        print(json.dumps([asdict(one) for one in checks], indent=2))
    else:
        out = render.console(quiet=False)
        for one in checks:
            word = {True: "holds", False: "FAILS", None: "not checked"}[one.ok]
            render.hanging(out, f"{word:<12} ", f"{one.name}: {one.detail}")
    if any(one.ok is False for one in checks):
        raise typer.Exit(_INVALID)
    if any(one.ok is None for one in checks):
        raise typer.Exit(_UNKNOWN)


def _checks(
    folder: Path, audit: Path | None, key: Path | None, *, seal_only: bool, trust_code: bool
) -> list[Check]:
    """All checks, or those that need no model."""
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder.")
    if seal_only:
        from unspan.sealing.checking import sealed

        return sealed(folder, audit, key)
    from unspan.auditing.verify import verify as run

    return run(folder, audit, key=key, trust_code=trust_code)
