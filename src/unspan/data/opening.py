"""Open data by a short specification: folders of images, tables, Hugging Face ids, or the user's
own Python.
"""

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader, IterableDataset

from unspan.data.columns import Columns
from unspan.data.folders import open_image_folder
from unspan.data.images import printable
from unspan.data.protocols import MapStyle
from unspan.data.selection import read_ids, resolve_class
from unspan.data.source import Source, Transform
from unspan.data.tables import is_saved_dataset, open_hub, open_parquet, open_saved, parquet_files
from unspan.errors import UsageError
from unspan.system.user_code import called, user_object

__all__ = ["Source", "open_data", "read_ids", "resolve_class"]

_HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
_FILE = re.compile(r".*\.(parquet|csv|tsv|jsonl?|arrow|zip|tar|tgz|gz|npz|npy|pt)", re.IGNORECASE)


def open_data(
    spec: str,
    *,
    transform: Transform | None = None,
    image_column: str | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    id_column: str | None = None,
    revision: str | None = None,
) -> dict[str, Any]:
    """Open the splits of a dataset. A local path is never looked up on the hub.

    Args:
        spec: a folder of images (``class/*.jpg``, ``train/class/*.jpg`` or images only); a Parquet
            file or a folder of them; a folder written by `save_to_disk` of the datasets library;
            ``python:package.module:factory``; or a Hugging Face dataset id.
        transform: applied to every image or text, for example a `Preprocess`.
        image_column: for tables, the column of encoded images; by default the only image column.
        text_column: for tables, the column of texts; by default the first one when there is no
            image column.
        label_column: for tables; by default the only ClassLabel column, or "label".
        id_column: for tables, the column that `Source.index_of` looks up.
        revision: git revision of a hub dataset.

    Returns:
        A `Source` per split: "train", "test" and "validation" as far as present; data without named
        splits is "train". Datasets from ``python:`` are returned as the factory made them, without
        `transform`.

    Raises:
        UsageError: nothing can be opened under `spec`, or an argument does not fit it.
        DataError: it was found, but holds no readable samples.
    """
    columns = Columns(image=image_column, text=text_column, label=label_column, id=id_column)
    path = Path(spec).expanduser()
    is_local = spec != "" and os.path.exists(path)  # False for a path that is too long
    if revision is not None and (spec.startswith("python:") or is_local):
        raise UsageError(f"{printable(spec)} is not a hub id: leave out the revision")
    if spec.startswith("python:"):
        _refuse_columns(columns, spec)
        return _call_factory(spec)
    if is_local:
        sources = _open_local(path, columns)
    elif _looks_local(spec):
        raise UsageError(f"{printable(spec)}: no such file or folder{_close_names(path)}")
    else:
        sources = open_hub(spec, revision, columns)
    return {split: source.with_transform(transform) for split, source in sources.items()}


def _open_local(path: Path, columns: Columns) -> dict[str, Source]:
    if is_saved_dataset(path):
        return open_saved(path, columns)
    if files := parquet_files(path):
        return open_parquet(files, columns)
    if not path.is_dir():
        raise UsageError(
            f"{printable(str(path))}: not a Parquet file; give one, or a folder of images"
        )
    _refuse_columns(columns, str(path))
    return open_image_folder(path)


def is_table(spec: str) -> bool:
    """Say whether data are a table with named columns, and no folder of images or factory."""
    path = Path(spec)
    if path.exists():
        return is_saved_dataset(path) or bool(parquet_files(path))
    return not spec.startswith("python:")


def _refuse_columns(columns: Columns, spec: str) -> None:
    if columns != Columns():
        raise UsageError(f"{printable(spec)} is not a table: leave out the column names")


def _looks_local(spec: str) -> bool:
    """Say whether a path that does not exist was meant as one: hub ids are ``name`` or
    ``owner/name``.
    """
    in_a_folder = "/" in spec and os.path.isdir(Path(spec).parent)
    return in_a_folder or not _HUB_ID.fullmatch(spec) or _FILE.fullmatch(spec) is not None


def _close_names(path: Path) -> str:
    siblings = os.listdir(path.parent) if os.path.isdir(path.parent) else []
    close = difflib.get_close_matches(path.name, siblings, n=3)
    return (
        f"; did you mean {', '.join(printable(str(path.parent / name)) for name in close)}?"
        if close
        else ""
    )


def _call_factory(spec: str) -> dict[str, Any]:
    factory = user_object(spec, "factory")
    if not callable(factory):
        raise UsageError(f"{printable(spec)} is no function, but {type(factory).__name__}")
    made = called(spec, factory)
    splits = dict(made) if isinstance(made, Mapping) else {"train": made}
    for split, dataset in splits.items():
        streamed = isinstance(dataset, (IterableDataset, DataLoader))
        if not streamed and not isinstance(dataset, MapStyle):
            kind = type(dataset).__name__
            raise UsageError(
                f"{printable(spec)}: {split} is a {kind}; return a Dataset, a loader, or a dict of"
                " them"
            )
    return splits
