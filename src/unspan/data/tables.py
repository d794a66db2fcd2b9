"""Parquet files, saved datasets and Hugging Face ids as labelled splits, read as Arrow so that
nothing is decoded.
"""

import bisect
import glob
import itertools
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from PIL import Image

from unspan.data.columns import Columns, names_of_feature, pick_columns
from unspan.data.images import decode_image, printable
from unspan.data.source import MOST_READ, SPLIT_NAMES, Source
from unspan.errors import DataError, UsageError

_SHARD = re.compile(r"-\d{5}-of-\d{5}$")
_SPLIT_PREFIX = re.compile(rf"({'|'.join(SPLIT_NAMES)})(?![a-z])", re.IGNORECASE)

Parts = list[tuple[int, str]]
"""First row and name of each stored piece of a split, in order."""


@dataclass(frozen=True)
class _TableRows:
    dataset: Any  # datasets.Dataset with the "arrow" format; it pickles as the paths of its files
    column: str
    id_column: str | None
    parts: Parts
    # the sample that was read last: its content and its digest are asked for one after the other
    _last: list[tuple[int, Any]] = field(default_factory=list, compare=False, repr=False)

    def __len__(self) -> int:
        return len(self.dataset)

    def name(self, i: int) -> str:
        first, part = self.parts[bisect.bisect_right(self.parts, i, key=lambda part: part[0]) - 1]
        return f"{printable(part)} row {i - first}"

    def ids(self) -> list[str] | None:
        return (
            None
            if self.id_column is None
            else [str(value) for value in _values(self.dataset, self.id_column)]
        )

    def contents(self) -> list[Any] | None:
        column = self.dataset.select_columns([self.column]).with_format("arrow")[:][self.column]
        column = column.combine_chunks()
        if column.nbytes > MOST_READ:
            return None
        if "bytes" in {field.name for field in _fields(column.type)}:
            column = column.field("bytes")
        codes: list[Any] = column.dictionary_encode().indices.to_pylist()
        return [f"empty {i}" if code is None else code for i, code in enumerate(codes)]

    def _stored(self, i: int) -> Any:
        last = self._last[-1:]
        if not last or last[0][0] != i:
            last = [(i, self.dataset[i][self.column][0].as_py())]
            self._last[:] = last
        return last[0][1]


class _ImageRows(_TableRows):
    def raw(self, i: int) -> bytes:
        stored = self._stored(i)
        data, path = (
            (stored["bytes"], stored["path"]) if isinstance(stored, Mapping) else (stored, None)
        )
        if data is None and path is not None and _in_hub_cache(path):
            data = Path(path).read_bytes()
        if data is None:
            raise DataError(
                f"{self.name(i)}: no image bytes in column {self.column!r}; store the images in the"
                " table"
            )
        return bytes(data)

    def load(self, i: int) -> tuple[Image.Image, str | None]:
        return decode_image(self.raw(i), self.name(i))

    def paths(self) -> list[str | None]:
        return [
            value["path"] if isinstance(value, Mapping) else None
            for value in _values(self.dataset, self.column)
        ]


class _TextRows(_TableRows):
    def raw(self, i: int) -> bytes:
        return self.load(i)[0].encode()

    def load(self, i: int) -> tuple[str, None]:
        text = self._stored(i)
        if text is None:
            raise DataError(f"{self.name(i)}: no text in column {self.column!r}; remove the row")
        return text, None

    def paths(self) -> list[str | None]:
        return [None] * len(self)


def _fields(kind: Any) -> list[Any]:
    """Parts of an Arrow struct type, none of any other type."""
    return [kind.field(at) for at in range(kind.num_fields)]


def _values(dataset: Any, column: str) -> list[Any]:
    values: list[Any] = dataset.select_columns([column]).with_format("arrow")[:][column].to_pylist()
    return values


def _in_hub_cache(path: str) -> bool:
    """Say whether `path` is an existing file of the hub's cache: a table must not make us read any
    other file.
    """
    from huggingface_hub.constants import HF_HUB_CACHE

    caches = (HF_HUB_CACHE, _datasets().config.HF_DATASETS_CACHE)
    inside = any(
        os.path.realpath(path).startswith(os.path.realpath(cache) + os.sep) for cache in caches
    )
    return inside and os.path.isfile(path)


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


def _datasets() -> ModuleType:
    try:
        import datasets
    except ImportError:
        raise UsageError(
            "tables and hub ids need the datasets library: pip install 'unspan[data]'"
        ) from None
    module: ModuleType = datasets
    return module


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
    datasets = _datasets()
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
    datasets = _datasets()
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
    datasets = _datasets()
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
    labels = {
        split: _values(dataset, label)
        for split, dataset in splits.items()
        if (label := chosen[split].label)
    }
    words = sorted(
        {value for values in labels.values() for value in values if isinstance(value, str)}
    )
    index: dict[Any, int] = {None: -1} | {word: i for i, word in enumerate(words)}
    sources = {}
    for split, dataset in splits.items():
        columns = chosen[split]
        kept = dataset.select_columns(
            [name for name in (columns.sample, columns.id) if name]
        ).with_format("arrow")
        rows = (_ImageRows if columns.image else _TextRows)(
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
