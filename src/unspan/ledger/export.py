"""A ledger as CSV, for people and spreadsheets, or as JSON, which anybody can verify again."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from unspan.errors import UsageError
from unspan.ledger.book import Book, read, whole
from unspan.ledger.chain import Entry, head_of
from unspan.ledger.files import publish
from unspan.ledger.rows import entry_from
from unspan.ledger.words import sentence, shown, who
from unspan.sealing.canonical import canonical
from unspan.sealing.files import content_of
from unspan.system.output_paths import check_file
from unspan.system.schemas import LEDGER_EXPORT

_MOST = 1 << 30  # bytes of an earlier export
_COLUMNS = (
    "number",
    "time",
    "kind",
    "says",
    "seal",
    "who",
    "keep until",
    "digest",
    "before",
    "hash",
)
# signs with which a spreadsheet begins a formula, at the start of a cell or where it may split one
_FORMULA = re.compile(r"(^|[;,|\"'])(\s*)([=+\-@\uff1d\uff0b\uff0d\uff20])")


def export(ledger: Path, out: Path, *, overwrite: bool = False) -> int:
    """Write all entries to a file that its owner may read.

    Args:
        ledger: file of the ledger.
        out: file that ends in .csv or .json.
        overwrite: replace an earlier export.

    Returns:
        How many entries there are.

    Raises:
        UsageError: the file has another ending, or exists and is no export.
        ModelError: the ledger does not hold.
        OutputError: the file cannot be written.
    """
    if out.suffix not in _FORMS:
        raise UsageError(f"--out {out}: the name must end in .csv or .json.")
    what = "an export of a ledger"
    check_file(out, _is_export, what=what, overwrite=overwrite, inputs=[ledger])
    entries = whole(read(ledger), ledger)
    publish(out, _FORMS[out.suffix](entries).encode())
    return len(entries)


def as_csv(entries: Sequence[Entry]) -> str:
    """A table, in which no cell is taken for a formula.

    Args:
        entries: of a ledger.
    """
    text = io.StringIO()
    table = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    table.writerow(_COLUMNS)
    for one in entries:
        cells = (
            str(one.number),
            one.time,
            one.kind.value,
            sentence(one),
            "" if one.content is None else str(one.content.get("seal", "")),
            who(one),
            one.keep_until,
            one.digest,
            one.before,
            one.hash,
        )
        table.writerow([harmless(cell) for cell in cells])
    return text.getvalue()


def as_json(entries: Sequence[Entry]) -> str:
    """Everything that the chain is computed from, in canonical form.

    Args:
        entries: of a ledger.
    """
    content = {
        "schema": LEDGER_EXPORT.schema,
        "head": head_of(entries),
        "entries": [_entry(one) for one in entries],
    }
    return canonical(content)


def read_export(path: Path) -> Book:
    """The entries of a JSON export, to be verified where the ledger is not.

    Raises:
        UsageError: the file is no export.
        UnsafeFileError: it is no regular file.
    """
    if not path.is_file() or not _is_export(path):
        raise UsageError(f"{path} is no JSON export of a ledger.")
    content = json.loads(content_of(path, _MOST))
    try:
        entries = tuple(entry_from(one) for one in content["entries"])
    except (ValueError, TypeError, KeyError) as error:
        return Book((), (f"the file is damaged: {type(error).__name__}: {error}",))
    same = content.get("head") == head_of(entries)
    return Book(entries, () if same else ("its head is not that of its entries",))


def harmless(text: str) -> str:
    """Text of a cell that no spreadsheet runs: an apostrophe before what would begin a formula.

    >>> harmless("=HYPERLINK(1)"), harmless("deer; @SUM(1)")
    ("'=HYPERLINK(1)", "deer; '@SUM(1)")
    """
    return _FORMULA.sub(r"\1\2'\3", shown(text))


def _entry(entry: Entry) -> dict[str, Any]:
    return asdict(entry) | {"kind": entry.kind.value}


def _is_export(path: Path) -> bool:
    start = content_of(path, _MOST)
    if path.suffix == ".csv":
        return start.startswith(",".join(f'"{name}"' for name in _COLUMNS).encode())
    try:
        return bool(json.loads(start)["schema"] == LEDGER_EXPORT.schema)
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


_FORMS = {".csv": as_csv, ".json": as_json}
