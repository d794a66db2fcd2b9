"""Parquet files, saved datasets and Hugging Face ids as labelled splits, read as Arrow so that
nothing is decoded.
"""

import glob
import itertools
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from unspan.data.columns import Columns, names_of_feature, pick_columns
from unspan.data.images import printable
from unspan.data.source import SPLIT_NAMES, Source
from unspan.data.table_rows import ImageRows, Parts, TextRows, column_values, datasets_library
from unspan.errors import DataError, UsageError

_SHARD = re.compile(r"-\d{5}-of-\d{5}$")
_SPLIT_PREFIX = re.compile(rf"({'|'.join(SPLIT_NAMES)})(?![a-z])", re.IGNORECASE)


@contextmanager
def _without_bars(datasets: ModuleType) -> Iterator[None]:
    """No progress bars for local files, which open in a second; the setting is put back."""
    disabled = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if not disabled:
            datasets.enable_progress_bars()


def is_saved_dataset(folder: Path) -> bool:
    """Say whether `save_to_disk` of the datasets library wrote this folder."""
    return any((folder / name).is_file() for name in ("dataset_dict.json", "state.json"))


def parquet_files(path: Path) -> list[Path]:
    """Return the Parquet files that `path` is or holds, directly or in its ``data`` subfolder as on
    the hub, sorted.
    """
    if path.is_file():
        return [path] if path.suffix.lower() == ".parquet" else []
    return sorted(path.glob("*.parquet")) or sorted(path.glob("data/*.parquet"))


def open_parquet(files: Sequence[Path], columns: Columns) -> dict[str, Source]:
    """Open Parquet files; ``train*``, ``test*`` and ``validation*`` are splits, without any such
    file all is "train".

    Raises:
        DataError: a damaged file, or files whose columns differ.
        UsageError: the columns do not say what the samples are.
    """
    datasets = datasets_library()
    import pyarrow.parquet as pq

    grouped = _group_by_split(files)
    try:
        counts = {file: pq.read_metadata(file).num_rows for file in files}
        patterns = {
            split: [glob.escape(str(file)) for file in members]
            for split, members in grouped.items()
        }
        with _without_bars(datasets):
            splits = datasets.load_dataset("parquet", data_files=patterns)
    except Exception as error:  # noqa: BLE001 - each layer below has exception types of its own
        raise DataError(
            f"{printable(str(files[0].parent))}: cannot read the Parquet files ({_reason(error)})"
        ) from None
    return _sources(
        splits, {split: _parts(members, counts) for split, members in grouped.items()}, columns
    )


def _group_by_split(files: Sequence[Path]) -> dict[str, list[Path]]:
    grouped = defaultdict(list)
    for file in files:
        prefix = _SPLIT_PREFIX.match(file.stem)
        grouped[SPLIT_NAMES[prefix[1].lower()] if prefix else _SHARD.sub("", file.stem)].append(
            file
        )
    return dict(grouped) if set(grouped) & set(SPLIT_NAMES) else {"train": list(files)}


def _parts(files: Sequence[Path], counts: Mapping[Path, int]) -> Parts:
    ends = itertools.accumulate(counts[file] for file in files)
    return [(end - counts[file], file.name) for end, file in zip(ends, files, strict=True)]


def open_saved(folder: Path, columns: Columns) -> dict[str, Source]:
    """Open a folder that `save_to_disk` of the datasets library wrote.

    Raises:
        DataError: a damaged folder.
        UsageError: the columns do not say what the samples are.
    """
    datasets = datasets_library()
    try:
        loaded = datasets.load_from_disk(str(folder))
    except Exception as error:  # noqa: BLE001 - as above
        raise DataError(
            f"{printable(str(folder))}: cannot read the saved dataset ({_reason(error)})"
        ) from None
    splits = loaded if isinstance(loaded, Mapping) else {str(loaded.split or "train"): loaded}
    return _sources(splits, {split: [(0, split)] for split in splits}, columns)


def open_hub(name: str, revision: str | None, columns: Columns) -> dict[str, Source]:
    """Open a Hugging Face dataset id, downloading it when it is not cached.

    Raises:
        UsageError: an unknown id, no network, or the columns do not say what the samples are.
    """
    datasets = datasets_library()
    try:
        splits = datasets.load_dataset(name, revision=revision)
    except Exception as error:  # noqa: BLE001 - as above
        raise UsageError(
            f"{printable(name)!r} is no file or folder here, and cannot be loaded from the Hugging"
            f" Face hub ({_reason(error)}); check the name and the network"
        ) from None
    return _sources(splits, {split: [(0, split)] for split in splits}, columns)


def _reason(error: Exception) -> str:
    return printable(" ".join(f"{type(error).__name__}: {error}".split())[:300])


def _sources(
    splits: Mapping[str, Any], parts: Mapping[str, Parts], given: Columns
) -> dict[str, Source]:
    chosen = {split: pick_columns(dataset.features, given) for split, dataset in splits.items()}
    labels: dict[str, list[Any]] = {}
    for split, dataset in splits.items():
        column = chosen[split].label
        if column:
            labels[split] = column_values(dataset, column)
    stored = set(itertools.chain(*labels.values()))
    words = sorted(value for value in stored if isinstance(value, str))
    index: dict[Any, int] = {None: -1} | {word: i for i, word in enumerate(words)}
    sources = {}
    for split, dataset in splits.items():
        columns = chosen[split]
        kept = dataset.select_columns(
            [name for name in (columns.sample, columns.id) if name]
        ).with_format("arrow")
        rows = (ImageRows if columns.image else TextRows)(
            kept, columns.sample, columns.id, parts[split]
        )
        if split in labels:
            names = names_of_feature(dataset.features[columns.label]) or words or None
            sources[split] = Source(
                rows, [int(index.get(value, value)) for value in labels[split]], names
            )
        else:
            sources[split] = Source(rows)
    return sources
