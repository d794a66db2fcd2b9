"""Which samples are meant: class selectors, files of ids, and ids matched to samples."""

import csv
import io
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from numbers import Integral, Number
from pathlib import Path, PurePosixPath
from typing import Any

from unspan.data.class_names import composed, find_name
from unspan.data.images import IMAGE_SUFFIXES, printable
from unspan.data.protocols import ArrayLike
from unspan.errors import DataError, UsageError
from unspan.system.closest import closest


def listed(selectors: Any) -> list[Any]:
    """Selectors one by one, as plain Python values: from a single one, a list, set or range, or an
    array or tensor of them.

    Raises:
        UsageError: something that names nothing, such as a fraction or None.
    """
    plain = selectors.tolist() if isinstance(selectors, ArrayLike) else selectors
    if isinstance(plain, (str, bytes, Number)) or plain is None:
        plain = [plain]
    if isinstance(plain, Mapping) or not isinstance(plain, Iterable):
        raise UsageError(
            f"{type(selectors).__name__} selects nothing: give names or whole numbers."
        )
    found = [one.tolist() if isinstance(one, ArrayLike) else one for one in plain]
    for one in found:
        if not isinstance(one, (str, Integral)):
            raise UsageError(
                f"{printable(repr(one))[:80]} selects nothing: give names or whole numbers."
            )
    return [one if isinstance(one, (str, bool)) else int(one) for one in found]


def positions(selectors: Any, total: int) -> list[int]:
    """Sample positions in the order given, each once.

    Args:
        selectors: whole numbers in any form that `listed` takes, or a mask of `total` booleans.
        total: samples of the data.

    Raises:
        UsageError: a position outside the data, or a mask of another length.
    """
    given = listed(selectors)
    if given and all(isinstance(one, bool) for one in given):
        if len(given) != total:
            raise UsageError(
                f"The mask has {len(given)} entries and the data {total} samples; give one for each"
                " sample, or sample positions."
            )
        return [at for at, one in enumerate(given) if one]
    given = list(dict.fromkeys(given))
    bad = [one for one in given if isinstance(one, (bool, str)) or not 0 <= one < total]
    if bad:
        raise UsageError(
            f"{len(bad)} sample positions are not in the data, first: {bad[:5]}; use 0 to"
            f" {total - 1}."
        )
    return given


_ID_COLUMNS = ("id", "index", "file", "path")
_SHOWN = 5


def resolve_class(
    selector: str | int,
    class_names: Sequence[str] | None,
    num_classes: int,
    present_labels: Collection[int],
) -> int:
    """Return the class index that a name or an index stands for; a class named "3" wins over index
    3.

    Args:
        selector: class name or index.
        class_names: names by class index, or None.
        num_classes: number of classes of the model.
        present_labels: labels that occur in the data.

    Raises:
        UsageError: no such class.
        DataError: the class has no samples.
    """
    names = list(class_names or [])
    shown = printable(str(selector))
    named = find_name(selector, names) if isinstance(selector, str) else None
    if named is not None:
        index = named
    elif isinstance(selector, bool) or not re.fullmatch(r"[+-]?[0-9]+", str(selector)):
        raise UsageError(
            f"unknown class {shown!r}: {_class_hint(str(selector), names, num_classes)}"
        )
    else:
        index = int(selector)
    if not 0 <= index < num_classes:
        raise UsageError(
            f"class {shown!r} is outside the model's classes: the valid range is 0 to"
            f" {num_classes - 1}"
        )
    if index not in present_labels:
        present = _listed(_class_label(i, names) for i in sorted(set(present_labels)) if i >= 0)
        raise DataError(f"0 samples match class {shown!r}; classes present: {present or 'none'}")
    return index


def _class_label(index: int, names: Sequence[str]) -> str:
    return printable(names[index]) if index < len(names) else str(index)


def _class_hint(selector: str, names: list[str], num_classes: int) -> str:
    if not names:
        return f"the data has no class names, give an index from 0 to {num_classes - 1}"
    if close := closest(selector, names):
        return f"did you mean {_listed(map(printable, close))}?"
    return f"classes are {_listed(map(printable, names))} (0 to {num_classes - 1})"


def _listed(items: Iterable[str], limit: int = 20) -> str:
    shown = list(items)
    return ", ".join(shown[:limit]) + (
        f" and {len(shown) - limit} more" if len(shown) > limit else ""
    )


def read_ids(path: str | Path) -> list[str]:
    """Read sample ids from a file.

    A ``.csv`` file has a header; its column ``id``, ``index``, ``file`` or ``path`` is read,
    otherwise the first one. A first line that starts with a number or an image file name is taken
    as data. Any other file has one id per line, and lines that start with ``#`` are comments. Blank
    lines and space around ids are ignored.

    Args:
        path: UTF-8 text, with or without a byte order mark.

    Returns:
        At least one id, in file order.

    Raises:
        UsageError: no such file.
        DataError: no id in it, or not UTF-8 text.
    """
    shown = printable(str(path))
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UsageError(
            f"{shown}: cannot read the ids ({error.strerror}); give a text or CSV file"
        ) from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{shown}: not UTF-8 text; save it as UTF-8 with one id per line") from None
    if "\0" in text:
        raise DataError(f"{shown}: a binary file; give UTF-8 text with one id per line")
    try:
        ids = _csv_ids(text) if Path(path).suffix.lower() == ".csv" else _text_ids(text)
    except csv.Error as error:
        raise DataError(
            f"{shown}: {error}; give a CSV file with a header and one id per row"
        ) from None
    if not ids:
        raise DataError(f"{shown}: no ids in the file; write one per line")
    return ids


def _text_ids(text: str) -> list[str]:
    lines = (line.strip() for line in re.split(r"\r\n|\r|\n", text))
    return [line for line in lines if line and not line.startswith("#")]


def _csv_ids(text: str) -> list[str]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    table = [row for row in reader if any(cell.strip() for cell in row)]
    if not table:
        return []
    header = [cell.strip().lower() for cell in table[0]]
    column = next((header.index(name) for name in _ID_COLUMNS if name in header), None)
    if column is None and not _is_id(header[0]):
        column = 0
    rows = table if column is None else table[1:]
    ids = [row[column or 0].strip() if len(row) > (column or 0) else "" for row in rows]
    if "" in ids:
        raise csv.Error(f"row {ids.index('') + 1} of the data has no id")
    return ids


def _is_id(cell: str) -> bool:
    return cell.isdecimal() or PurePosixPath(cell).suffix.lower() in IMAGE_SUFFIXES


def match_ids(
    ids: Sequence[str],
    *,
    names: Sequence[str],
    paths: Sequence[str | None],
    column: Sequence[str] | None,
) -> list[int]:
    """Return one row per id, in the order of `ids`.

    Args:
        ids: what to look for.
        names: printable name per row.
        paths: stored path per row.
        column: value of the id column per row; when given, nothing else is looked at.

    Names are compared as they stand, else in one Unicode form.

    Raises:
        DataError: ids that match no row, or more than one.
    """
    exact: dict[str, set[int]] = defaultdict(set)
    loose: dict[str, set[int]] = defaultdict(set)
    for row, (name, path) in enumerate(zip(names, paths, strict=True)):
        if column is not None:
            exact[column[row]].add(row)
            loose[composed(column[row])].add(row)
            continue
        exact[name].add(row)
        loose[str(row)].add(row)
        if path is not None:
            exact[path].add(row)
            for form in (path, PurePosixPath(path).name, PurePosixPath(path).stem):
                loose[composed(form)].add(row)
    found = [exact.get(str(wanted)) or loose.get(composed(str(wanted)), set()) for wanted in ids]
    _refuse(
        [wanted for wanted, rows in zip(ids, found, strict=True) if not rows],
        len(ids),
        "match no sample",
    )
    _refuse(
        [wanted for wanted, rows in zip(ids, found, strict=True) if len(rows) > 1],
        len(ids),
        "match several samples",
    )
    return [next(iter(rows)) for rows in found]


def _refuse(ids: list[str], total: int, problem: str) -> None:
    if ids:
        first = ", ".join(repr(printable(str(wanted))[:80]) for wanted in ids[:_SHOWN])
        raise DataError(
            f"{len(ids)} of {total} ids {problem}, the first being {first}; use an index from 0, a"
            " stored path, or a value of the id column"
        )
