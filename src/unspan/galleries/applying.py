"""`apply`: carry a deletion into vectors that the model computed before."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath
from typing import Any

from unspan.artifact.deletion import Deletion
from unspan.artifact.receipt import versions
from unspan.artifact.reopening import reopen
from unspan.cluster import mapped
from unspan.errors import DataError, InconclusiveError, UsageError
from unspan.galleries.columns import Columns
from unspan.galleries.formats import rewriter
from unspan.galleries.mapping import Map, fitted_map, map_of, receipt_of
from unspan.galleries.pairs import read_pairs
from unspan.galleries.places import Place
from unspan.galleries.reading import gallery_files, parts_of
from unspan.galleries.row_change import Counts, RowChange, Rows, text_ids
from unspan.galleries.stores import Update, store_of
from unspan.run import Run
from unspan.system.output_paths import check_file, check_place, refuse_inputs
from unspan.system.schemas import APPLIED

RECEIPT = "unspan-apply.json"
_ENDING = ".unspan-apply.json"  # of the receipt beside a single file
_UNCHANGED = "The gallery that was read is unchanged: delete it, and its old versions."
_COPIES = "Replicas, caches, backups and indexes built from the old vectors hold them still."
_OTHERS = "Other columns of vectors stay as they are: {names}. Apply it to each (--column)."
_NONE = (
    "None of the {named} ids names a row, so no row was dropped or flagged. All else was written."
    " Rows are named by {how}."
)
_DEAD = "Dead rows of the table hold old vectors until VACUUM FULL (--reclaim), and the log longer."
_KEPT = (
    "Old vectors are still in the files of the table: something holds old rows. End what is open,"
    " and run VACUUM FULL again."
)
_LOG = "The write-ahead log holds old vectors until it is recycled, and archives of it longer."


@dataclass(frozen=True)
class Applied:
    """What `apply` did.

    Attributes:
        out: the file or folder that was written.
        receipt: JSON-ready account: map, files with digests, counts.
        resumed: files that an earlier run had written.
    """

    out: str
    receipt: dict[str, Any]
    resumed: int

    @property
    def counts(self) -> Counts:
        """What was done to rows, in all files."""
        return Counts(**self.receipt["rows"])


@dataclass(frozen=True)
class Check:
    """Samples that are embedded again, and what for.

    Attributes:
        data: samples of the gallery as the model takes them; ids of rows name them.
        samples: how many are drawn.
        fit_map: None to check the map of the deletion. A number fits a map to the old and new
            vectors instead: the largest share of the variance of new vectors that it may miss.
    """

    data: Any
    samples: int = 1_000
    fit_map: float | None = None


def apply(
    erased: Deletion | str | Path,
    gallery: str | Path,
    out: str | Path,
    *,
    column: str | None = None,
    id_column: str | None = None,
    forget_ids: Collection[Any] = (),
    rows: Rows | str = Rows.KEEP,
    table: str | None = None,
    reclaim: bool = False,
    check: Check | None = None,
    run: Run | None = None,
    overwrite: bool = False,
) -> Applied:
    """Carry a deletion into stored vectors: every vector is mapped.

    Files are written anew. A table of a database is updated in place, and `out` is the receipt.

    Vectors are those of the layer that was erased. What the erased model would give for an input is
    what its stored vector becomes. Files are read in parts.
    The same call again goes on where one was stopped.

    Args:
        erased: a deletion, or its folder.
        gallery: a file or folder of vectors, or an address that fsspec knows. Formats: `.npy`,
            `.safetensors`, `.parquet`, `.arrow`, `.feather`, `.faiss`. Or a database:
            `postgresql://user@host/name`.
        out: what to write, of the same kind; for a database the receipt, a JSON file.
        column: of the vectors; needed where several can be.
        id_column: what `forget_ids` name rows by; None for positions in each file.
        forget_ids: ids of the request, for rows that are themselves to go.
        rows: whether these rows are kept, dropped or flagged.
        table: of a database.
        reclaim: rewrite the table, so that its files hold no old vector; it is locked meanwhile.
        check: samples to embed again before anything is written; for files.
        run: progress; of a check also the batch size and the seed.; with the engine `ray` its
            workers map files side by side.
        overwrite: replace what an earlier `apply` of another deletion wrote.

    Raises:
        UsageError: the deletion has no map on features, or the output is an input or something
            else.
        DataError: a file is damaged, its vectors have another length, or they do not become what
            the erased model gives for the samples of the check.
        InconclusiveError: a fitted map misses too much; no row is named by the ids of the request,
            or old vectors are left in the files of a table (the receipt is written then).
        OutputError: a file cannot be written.
    """
    run = run or Run()
    columns = Columns(column, id_column)
    map_ = _map(erased, gallery, columns, check, run)
    change = _Change(map_, columns, text_ids(forget_ids), Rows(rows))
    store = store_of(str(gallery))
    if store is not None:
        return _in_place(
            store, change, str(gallery), table, Path(out), run, reclaim=reclaim, overwrite=overwrite
        )
    if table is not None or reclaim:
        raise UsageError("table and reclaim (--table, --reclaim) are for databases.")
    source, target = Place.named(gallery), Place.named(out)
    _check(erased, source, target)
    _refuse_mapped(source, columns)
    files = gallery_files(source)
    written = target / RECEIPT if source.is_folder() else target.beside(_ENDING)
    earlier = _earlier(written, target, change.account, overwrite)
    begun = time.perf_counter()
    done: list[dict[str, Any]] = []
    resumed = 0
    if not earlier:  # a file appears before its entry does
        written.write_json(_receipt(change, done, 0.0, complete=False))
    run.report("files of the gallery", 0, len(files))
    outputs = [target / name if name else target for name in files]
    entries = mapped(_FileChange(change, source, target, earlier), files, run)
    for entry, is_new in _unless_nothing(written, outputs, entries):
        resumed += not is_new
        done.append(entry)
        seconds = round(time.perf_counter() - begun, 3)
        written.write_json(_receipt(change, done, seconds, complete=len(done) == len(files)))
        run.report("files of the gallery", len(done), len(files))
    _remove_left(earlier, files, target)
    return _told(Applied(str(out), written.read_json(), resumed))


def _unless_nothing(
    written: Place, outputs: Sequence[Place], entries: Iterable[tuple[dict[str, Any], bool]]
) -> Iterator[tuple[dict[str, Any], bool]]:
    """Entries as they come; where there was none and no file, the receipt goes again."""
    try:
        yield from entries
    except BaseException:
        if not any(one.exists() for one in outputs):
            written.system.rm_file(written.path)
        raise


def _told(applied: Applied) -> Applied:
    """What was applied, unless something of it did not come about.

    Raises:
        InconclusiveError: no row is of the request, or old vectors are still in files.
    """
    asked = applied.receipt["rows_of_request"]
    if asked["named"] and not applied.counts.of_request:
        column = applied.receipt["id_column"]
        how = "their positions" if column is None else f"the column {column}"
        raise InconclusiveError(_NONE.format(named=asked["named"], how=how))
    if _KEPT in applied.receipt["not_covered"]:
        raise InconclusiveError(_KEPT)
    return applied


def _refuse_mapped(source: Place, columns: Columns) -> None:
    """Refuse a gallery whose vectors `apply` wrote (UsageError)."""
    receipt = source / RECEIPT if source.is_folder() else source.beside(_ENDING)
    held = receipt.read_json()
    if isinstance(held, dict) and held.get("column") == columns.vector:
        raise UsageError(
            f"{source.path} was written by unspan apply already. A deletion holds all requests so"
            " far, and is of the vectors before any of them: give the gallery as it was first."
        )


def _remove_left(earlier: dict[str, dict[str, Any]], files: list[str], target: Place) -> None:
    """Remove files that an earlier run wrote for files which have left the gallery."""
    for name in earlier.keys() - set(files):
        place = target / name
        if _is(place, earlier[name]["sha256_after"]):
            place.system.rm_file(place.path)


class _Change:
    """One deletion for all files of a gallery, and what decides their content."""

    def __init__(self, map_: Map, columns: Columns, forget: frozenset[str], rows: Rows) -> None:
        if rows is not Rows.KEEP and not forget:
            raise UsageError(f"rows={rows}: say which, with forget_ids (--forget-ids).")
        if forget and rows is Rows.KEEP:
            raise UsageError("forget_ids: say whether these rows are to be dropped or flagged.")
        self.map, self.columns, self.forget, self.rows = map_, columns, forget, rows
        self.account: dict[str, Any] = {
            "deletion": {
                "model": map_.receipt["model"]["sha256_after"],
                "request": map_.receipt["request"]["kind"],
                "method": map_.receipt["method"]["name"],
                "layer": map_.receipt["placement"]["feature_layer"],
            },
            "map": map_.account,
            "column": columns.vector,
            "id_column": columns.ids,
            "rows_of_request": {"named": len(forget), "become": str(rows)},
        }

    def rows_of(self) -> RowChange:
        """The change of rows, which counts anew."""
        return RowChange(self.map.eraser, self.map.dim, self.forget, self.rows)

    def file(self, read: Place, write: Place) -> dict[str, Any]:
        """Write one file anew.

        Returns:
            Its counts, and the hash of what was written.
        """
        change = self.rows_of()
        rewrite = rewriter(read.name)
        with read.open() as source:
            try:
                digest = write.write(lambda file: rewrite(source, file, change, self.columns))
            except (DataError, UsageError) as error:
                raise type(error)(f"{read.path}: {error}") from error
        about = {"rows": asdict(change.counts), "sha256_after": digest}
        return about | ({"other_vectors": sorted(change.others)} if change.others else {})


@dataclass(frozen=True)
class _FileChange:
    """The work on one file of a gallery, the same when it is done twice.

    Attributes:
        change: what becomes of it.
        source: the gallery; a folder, or the file itself.
        target: what is written.
        earlier: entries of an earlier run, by name.
    """

    change: _Change
    source: Place
    target: Place
    earlier: dict[str, dict[str, Any]]

    def __call__(self, name: str) -> tuple[dict[str, Any], bool]:
        """Write a file anew, unless that was done.

        Returns:
            Its entry in the receipt, and whether it was written now.
        """
        read, wrote = self.source, self.target
        if name:
            read, wrote = read / name, wrote / name
        digest = read.digest()
        entry = self.earlier.get(name)
        if entry and entry["sha256_before"] == digest and _is(wrote, entry["sha256_after"]):
            return entry, False
        return self.change.file(read, wrote) | {"file": name, "sha256_before": digest}, True


def _map(
    erased: Deletion | str | Path,
    gallery: str | Path,
    columns: Columns,
    check: Check | None,
    run: Run,
) -> Map:
    """The map of a deletion, as the samples of a check want it."""
    if check is None:
        return map_of(erased, None)
    if store_of(str(gallery)) is not None:
        raise UsageError("check is for files: export some rows of the table to Parquet first.")
    model = (erased if isinstance(erased, Deletion) else reopen(Path(erased))).model
    dim = receipt_of(erased)["placement"]["feature_layer"]["dim"]
    parts = parts_of(Place.named(gallery), dim, columns)
    pairs = read_pairs(model, check.data, parts, check.samples, run)
    if check.fit_map is None:
        return map_of(erased, pairs)
    return fitted_map(erased, pairs, check.fit_map)


def _in_place(
    store: Update,
    change: _Change,
    address: str,
    table: str | None,
    out: Path,
    run: Run,
    *,
    reclaim: bool,
    overwrite: bool,
) -> Applied:
    """Update a table, and write the receipt."""
    if table is None:
        raise UsageError("Say which table of the database: table= (--table).")
    check_file(out, _is_receipt, what="a receipt of unspan apply", overwrite=overwrite)
    begun = time.perf_counter()
    rows = change.rows_of()
    mark = f"unspan {change.account['map']['sha256']}"
    about = store(address, table, rows, change.columns, run, mark=mark, reclaim=reclaim)
    entry = {"table": table, **about, "rows": asdict(rows.counts)}
    seconds = round(time.perf_counter() - begun, 3)
    place = Place.named(out)
    place.write_json(_receipt(change, [entry], seconds, complete=True))
    return _told(Applied(str(out), place.read_json(), 0))


def _is_receipt(path: Path) -> bool:
    held = Place.named(path).read_json()
    return isinstance(held, dict) and held.get("schema") == APPLIED.schema


def _check(erased: Deletion | str | Path, source: Place, target: Place) -> None:
    """Refuse places that cannot be meant, before anything is read."""
    if not source.exists():
        raise UsageError(f"{source.path} does not exist.")
    if target.local is not None:
        check_place(target.local)
        inputs: Iterable[Path | None] = [source.local]
        if not isinstance(erased, Deletion):
            inputs = [source.local, Path(erased)]
        refuse_inputs(target.local, [one for one in inputs if one is not None])
    elif (target.system, target.path) == (source.system, source.path):
        raise UsageError(f"The output {target.path} is also the input; choose another --out.")
    endings = [PurePosixPath(one.name).suffix.lower() for one in (source, target)]
    if not source.is_folder() and len(set(endings)) > 1:
        raise UsageError(f"{target.path}: the output is of the kind of the gallery, {endings[0]}.")


def _earlier(
    written: Place, target: Place, account: dict[str, Any], overwrite: bool
) -> dict[str, dict[str, Any]]:
    """Files that an earlier run of the same deletion wrote, by name."""
    held = written.read_json()
    ours = isinstance(held, dict) and held.get("schema") == APPLIED.schema
    if target.exists() and not ours:
        raise UsageError(
            f"{target.path} exists and unspan apply did not write it: it is never overwritten."
            " Choose another --out."
        )
    if not ours or not held["files"]:
        return {}
    asked = json.loads(json.dumps(account))  # the receipt of a deletion in memory holds tuples
    if all(held.get(key) == value for key, value in asked.items()):
        return {one["file"]: one for one in held["files"]}
    if not overwrite:
        raise UsageError(
            f"{target.path} holds vectors of another deletion or with other options; pass"
            " --overwrite to replace them."
        )
    return {}


def _is(place: Place, digest: str) -> bool:
    return place.exists() and place.digest() == digest


def _receipt(
    change: _Change, files: list[dict[str, Any]], seconds: float, *, complete: bool
) -> dict[str, Any]:
    """The account so far."""
    total = Counter(asdict(Counts()))
    for one in files:
        total.update(one["rows"])
    return {
        "schema": APPLIED.schema,
        **change.account,
        "complete": complete,
        "files": files,
        "rows": dict(total),
        "not_covered": _not_covered(files),
        "seconds": seconds,
        "written": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": versions(),
    }


def _not_covered(files: list[dict[str, Any]]) -> list[str]:
    """Where old vectors still are."""
    tables = [one for one in files if "table" in one]
    others = sorted({name for one in files for name in one.get("other_vectors", [])})
    more = [_OTHERS.format(names=", ".join(others))] if others else []
    if not tables:
        return [*more, _UNCHANGED, _COPIES]
    left = [_KEPT for one in tables if one.get("old_vectors", {}).get("found")]
    return [*more, *left, _LOG if all(one["reclaimed"] for one in tables) else _DEAD, _COPIES]
