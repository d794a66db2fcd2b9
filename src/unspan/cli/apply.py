"""`unspan apply`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from unspan.cli import options as option
from unspan.errors import DataError, UsageError

if TYPE_CHECKING:
    from unspan.galleries import Applied


def apply(
    folder: option.ErasedFolder,
    gallery: option.Gallery,
    out: option.OutGallery,
    column: option.VectorColumn = None,
    id_column: option.IdsOfRows = None,
    forget_ids: option.ForgetRows = None,
    rows: option.WhatOfRows = "keep",
    table: option.TableOfStore = None,
    reclaim: option.Reclaim = False,
    overwrite: option.OverwriteGallery = False,
    as_json: option.ResultAsJson = False,
    quiet: option.Quiet = False,
    debug: option.Debug = False,
) -> None:
    """Carry a deletion into vectors that the model computed before: a search index, a gallery.

    Files are read in parts and written anew; all other columns stay, and the gallery that was read
    is never changed. A table of a database is updated in place: searches find the old vectors until
    one swap, and then the new ones. Run the same command again to go on where it was stopped.

    Vectors must be those of the layer that was erased, as the model gives them. After a method that
    changed the weights there is no map on vectors: embed the samples again.
    """
    from unspan.cli import render
    from unspan.cli.progress import progress
    from unspan.galleries import apply as run
    from unspan.galleries.row_change import Rows
    from unspan.run import Run

    known = [str(one) for one in Rows]
    if rows not in known:
        raise UsageError(f"--rows {rows}: use {', '.join(known)}.")
    console = render.console(quiet)
    with progress(console) as report:
        done = run(
            folder,
            gallery,
            out,
            column=column,
            id_column=id_column,
            forget_ids=_ids(forget_ids),
            rows=rows,
            table=table,
            reclaim=reclaim,
            run=Run(progress=report),
            overwrite=overwrite,
        )
    if as_json:
        print(json.dumps(done.receipt, indent=2))
    render.facts(console, "Done", _facts(done))
    render.bullets(console, "Not covered", done.receipt["not_covered"])


def _ids(path: Path | None) -> list[str]:
    """The ids of a file, one a line."""
    if path is None:
        return []
    try:
        return path.read_text("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"--forget-ids {path} cannot be read: {error}") from error


def _facts(done: Applied) -> list[tuple[str, str]]:
    """What was done, for people."""
    counts, named = done.counts, done.receipt["rows_of_request"]["named"]
    files = len(done.receipt["files"])
    found = [
        ("files", f"{files}" + (f" ({done.resumed} of an earlier run)" if done.resumed else "")),
        ("vectors", f"{counts.read:,} read, {counts.changed:,} changed"),
    ]
    if named:
        became = done.receipt["rows_of_request"]["become"]
        found.append(("request", f"{named:,} ids, {counts.of_request:,} rows: {became}"))
    if counts.empty:
        found.append(("empty", f"{counts.empty:,} rows without a vector stay so"))
    if counts.not_finite:
        found.append(("not finite", f"{counts.not_finite:,} vectors with NaN or infinity stay"))
    return [*found, ("written", done.out)]
