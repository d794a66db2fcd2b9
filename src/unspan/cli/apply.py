"""`unspan apply`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from unspan.cli import apply_options as own
from unspan.cli import options as option
from unspan.errors import DataError, UsageError

if TYPE_CHECKING:
    from unspan.artifact.deletion import Deletion
    from unspan.galleries import Applied


def apply(
    folder: option.ErasedFolder,
    gallery: own.Gallery,
    out: own.OutGallery,
    column: own.VectorColumn = None,
    id_column: own.IdsOfRows = None,
    forget_ids: own.ForgetRows = None,
    rows: own.WhatOfRows = "keep",
    table: own.TableOfStore = None,
    reclaim: own.Reclaim = False,
    list_ids: own.ListIds = False,
    check: own.CheckData = None,
    check_split: own.CheckSplit = "train",
    check_samples: own.CheckSamples = 1_000,
    fit_map: own.FitMap = None,
    trust_code: option.TrustCode = False,
    device: option.Device = None,
    engine: option.EngineName = "local",
    workers: own.WorkersOfApply = 0,
    overwrite: own.OverwriteGallery = False,
    as_json: option.ResultAsJson = False,
    quiet: option.Quiet = False,
    debug: option.Debug = False,
) -> None:
    """Carry a deletion into vectors that the model computed before: a search index, a gallery.

    Files are read in parts and written anew; all other columns stay, and the gallery that was read
    is never changed. A table of a database is updated in place: searches find the old vectors until
    one swap, and then the new ones. Run the same command again to go on where it was stopped.

    Vectors must be those of the layer that was erased, as the model gives them: --check tells.
    After a method that changed the weights there is no map on vectors: --list-ids says what to
    embed again, or --fit-map makes one.
    """
    from unspan.cli import render
    from unspan.cli.progress import progress
    from unspan.galleries import Check
    from unspan.galleries import apply as run
    from unspan.galleries.row_change import Rows
    from unspan.run import Run

    known = [str(one) for one in Rows]
    if rows not in known:
        raise UsageError(f"--rows {rows}: use {', '.join(known)}.")
    console = render.console(quiet)
    if list_ids:
        count = _listed(folder, gallery, out, column, id_column, _ids(forget_ids), overwrite)
        render.facts(console, "Done", [("ids", f"{count:,}"), ("written", out)])
        return
    if fit_map is not None and check is None:
        raise UsageError("--fit-map needs samples: name them with --check.")
    erased: Path | Deletion = folder
    wanted = None
    if check is not None:
        erased, samples = _opened(folder, check, check_split, id_column, trust_code)
        wanted = Check(samples, check_samples, fit_map)
    with progress(console) as report:
        done = run(
            erased,
            gallery,
            out,
            column=column,
            id_column=id_column,
            forget_ids=_ids(forget_ids),
            rows=rows,
            table=table,
            reclaim=reclaim,
            check=wanted,
            run=Run(progress=report, device=device, engine=engine, workers=workers),
            overwrite=overwrite,
        )
    if as_json:
        print(json.dumps(done.receipt, indent=2))
    render.facts(console, "Done", _facts(done))
    render.bullets(console, "Not covered", done.receipt["not_covered"])


def _listed(
    folder: Path,
    gallery: str,
    out: str,
    column: str | None,
    id_column: str | None,
    forget_ids: list[str],
    overwrite: bool,
) -> int:
    """Write the ids of a gallery."""
    from unspan.galleries import list_ids

    return list_ids(
        folder,
        gallery,
        out,
        column=column,
        id_column=id_column,
        forget_ids=forget_ids,
        overwrite=overwrite,
    )


def _opened(
    folder: Path, data: str, split: str, id_column: str | None, trust_code: bool
) -> tuple[Deletion, Any]:
    """The deletion with its model, and the samples of a check as the model takes them."""
    from unspan.cli.opening import open_model
    from unspan.data.opening import is_table, open_data

    kept = ("weights", "num_classes", "classes", "size", "mean", "std")
    opened = open_model(dict.fromkeys(kept) | {"model": str(folder), "trust_code": trust_code})
    named = {"id_column": id_column} if is_table(data) else {}
    splits = open_data(data, transform=opened.preprocess, **named)
    if split not in splits:
        raise UsageError(f"--check-split {split}: the data has {', '.join(splits)}.")
    return cast("Deletion", opened.start), splits[split]


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
    for one in done.receipt["files"]:
        if "old_vectors" in one:
            found.append(("old vectors", _looked(one["old_vectors"])))
    about = done.receipt["map"]
    if "check" in about:
        found.append(("check", f"{about['check']['samples']:,} samples embedded again: the same"))
    if "fit" in about:
        found.append(("fitted map", _fit(about["fit"])))
    if counts.empty:
        found.append(("empty", f"{counts.empty:,} rows without a vector stay so"))
    if counts.not_finite:
        found.append(("not finite", f"{counts.not_finite:,} vectors with NaN or infinity stay"))
    return [*found, ("written", done.out)]


def _fit(held: dict[str, Any]) -> str:
    """How well a fitted map holds, for people."""
    return (
        f"misses {held['variance_missed']:.2%} of the variance, finds"
        f" {held['recall_of_10_neighbours']:.1%} of 10 neighbours"
        f" (tested on {held['tested_on']:,} samples)"
    )


def _looked(held: dict[str, Any]) -> str:
    """Whether old vectors are in the files of a table, for people."""
    if "not_looked_for" in held:
        return f"not looked for: {held['not_looked_for']}"
    return (
        f"{held['found']:,} of {held['looked_for']:,} found in the files of the table"
        f" ({held['bytes'] / 1e6:,.1f} MB read)"
    )
