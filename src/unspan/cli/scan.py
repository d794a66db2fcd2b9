"""`unspan scan`."""

from __future__ import annotations

import json
from dataclasses import asdict

import typer

from unspan.cli import options as option
from unspan.errors import DataError

_FOUND = 6


def scan(
    folder: option.ScannedFolder,
    names: option.NamesToFind,
    as_json: option.ResultAsJson = False,
    debug: option.Debug = False,
) -> None:
    """Look for names of people, ids or paths in files before you publish them.

    Every file below FOLDER is searched, for each name as it is and as it may be escaped, encoded or
    hashed without a key. Pictures are not looked at.

    Exit codes: 0 nothing found, 6 something found.
    """
    from unspan.cli import render
    from unspan.sealing.scanning import scan as run

    try:
        lines = names.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"--names {names} cannot be read: {error}") from error
    found = run(folder, [one.strip() for one in lines if one.strip()])
    if as_json:
        print(json.dumps([asdict(one) for one in found], indent=2))
    else:
        out = render.console(quiet=False)
        for one in found:
            render.hanging(out, "found  ", f"{one.file}: {one.name} ({one.form})")
        if not found:
            out.print("None of the names is in these files.")
    if found:
        raise typer.Exit(_FOUND)
