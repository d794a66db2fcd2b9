"""`unspan verify`."""

from __future__ import annotations

import json
from dataclasses import asdict

import typer

from unspan.cli import options as option


def verify(
    folder: option.ErasedFolder,
    audit: option.AuditOfFolder = None,
    trust_code: option.TrustCodeOfReceipt = False,
    as_json: option.ChecksAsJson = False,
    debug: option.Debug = False,
) -> None:
    """Check an erased folder offline: hashes, the eraser, and that an audit belongs to it.

    Exit codes: 0 all checks hold, 1 one does not, 2 something could not be checked.
    """
    from unspan.auditing.verify import verify as run
    from unspan.cli import render

    checks = run(folder, audit, trust_code=trust_code)
    if as_json:
        print(json.dumps([asdict(one) for one in checks], indent=2))
    else:
        out = render.console(quiet=False)
        for one in checks:
            word = {True: "holds", False: "FAILS", None: "not checked"}[one.ok]
            render.hanging(out, f"{word:<12} ", f"{one.name}: {one.detail}")
    if any(one.ok is False for one in checks):
        raise typer.Exit(1)
    if any(one.ok is None for one in checks):
        raise typer.Exit(2)
