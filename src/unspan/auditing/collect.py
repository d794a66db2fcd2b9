"""One forward pass for each model and split; features and scores stay on disk, memory-mapped, under
their content's hash. A pass that was killed goes on after its last whole block.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Subset

from unspan.auditing.beside import Aside, Beside
from unspan.auditing.output_reading import Found, OutputReading
from unspan.auditing.partial import Partial
from unspan.auditing.readers import OUTPUTS, Reader
from unspan.auditing.subjects import Subject
from unspan.data.loading import batches, size_of
from unspan.data.passes import Part, read_batches
from unspan.data.preprocess import Preprocess
from unspan.data.request import digests_of
from unspan.errors import DataError, OutputError
from unspan.metrics.outputs import Outputs
from unspan.run import Run

_VERSION = 2  # of the files in the cache


def default_cache() -> Path:
    """`$UNSPAN_CACHE`, or `unspan` in the user's cache folder."""
    home = os.environ.get("UNSPAN_CACHE")
    return (
        Path(home)
        if home
        else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "unspan"
    )


def collect(
    subjects: Sequence[Subject],
    forget: Any,
    retain: Any,
    run: Run,
    cache: Path,
    stage: str,
    reader: Reader = OUTPUTS,
    aside: Aside | None = None,
) -> tuple[dict[str, Outputs], str, set[bytes]]:
    """Outputs of every subject on the forget rows, then the retain rows, of one split.

    Samples are read once for all subjects whose outputs are not in the cache yet.

    Args:
        subjects: models; names must differ.
        forget: samples of the request in this split.
        retain: the others.
        run: device, batch size.
        cache: folder of the cache; created, readable by its owner only.
        stage: name for the progress display.
        reader: what is read of a model.
        aside: what else is kept of some samples, where a pass over all of them is made. A later
            call with these samples and its reader finds it.

    Returns:
        Outputs by subject name, the digest of the data, and the digests of its samples.

    Raises:
        DataError: a sample that cannot be read.
        OutputError: the cache cannot be written.
    """
    data, samples = _data_digest([forget, retain], run)
    folders = {one.name: cache / _key(one, data, run, reader.name) for one in subjects}
    missing = _missing(subjects, folders)
    if missing:
        try:
            cache.mkdir(parents=True, exist_ok=True, mode=0o700)
            beside = _beside(aside, missing, forget, run, cache)
            _measure(missing, [forget, retain], run, folders, stage, reader, beside)
        except OSError as error:
            raise OutputError(
                f"The cache {cache} cannot be written: {error.strerror or error}. Set UNSPAN_CACHE"
                " or --cache to a folder with room."
            ) from error
    return {one.name: _open(folders[one.name]) for one in subjects}, data, samples


def _missing(subjects: Sequence[Subject], folders: Mapping[str, Path]) -> list[Subject]:
    """Models without finished outputs; equal models share a folder and are measured once."""
    absent = {
        folders[one.name]: one
        for one in subjects
        if not (folders[one.name] / "done.json").is_file()
    }
    return list(absent.values())


def _beside(
    aside: Aside | None, subjects: Sequence[Subject], forget: Any, run: Run, cache: Path
) -> Beside:
    """Where the outputs of an aside go: nowhere where none is asked for or a pass may end early."""
    if aside is None or run.max_samples is not None:
        return Beside(None, {}, 0)
    data, _ = _data_digest([aside.forget, aside.retain], run)
    folders = {one.name: cache / _key(one, data, run, aside.reader.name) for one in subjects}
    absent = {one.name: folders[one.name] for one in _missing(subjects, folders)}
    return Beside(aside, absent, len(forget))


def _key(one: Subject, data: str, run: Run, what: str) -> str:
    parts = [
        _VERSION,
        type(one.model).__qualname__,
        one.digest,
        one.feature_layer.to_dict(),
        data,
        run.batch_size,
        torch.__version__,
    ]
    content = json.dumps([*parts, what] if what else parts, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def _data_digest(parts: Sequence[Any], run: Run) -> tuple[str, set[bytes]]:
    """sha256 over every sample and its preparation, part by part, and those of the samples; of
    stored bytes where the data keeps them.
    """
    total, samples = hashlib.sha256(), set[bytes]()
    for part in parts:
        total.update(b"part")
        if part is None:
            continue
        stored = digests_of(part)
        root = part
        while hasattr(root, "dataset") and hasattr(root, "indices"):
            root = root.dataset
        transform = getattr(root, "transform", None)
        if stored is not None and (transform is None or isinstance(transform, Preprocess)):
            total.update(
                repr(None if transform is None else sorted(transform.to_dict().items())).encode()
            )
            total.update(b"".join(stored))
            samples.update(stored)
        else:
            for batch in batches(part, run, shard=False):
                total.update(b"".join(batch.digests))
                samples.update(batch.digests)
    return total.hexdigest(), samples


def _measure(
    subjects: Sequence[Subject],
    parts: Sequence[Any],
    run: Run,
    folders: Mapping[str, Path],
    stage: str,
    reader: Reader,
    beside: Beside,
) -> None:
    """Outputs of all subjects in one pass, from the first row that one of them lacks."""
    sizes = [0 if part is None else size_of(part, run) for part in parts]
    if any(size is None for size in sizes):
        raise DataError("An audit needs data of known length; give a dataset, not a stream.")
    n = sum(size or 0 for size in sizes)
    partial: dict[str, Partial] = {}
    keep = True
    try:
        for one in subjects:
            partial[one.name] = Partial(folders[one.name], n)
        watch = beside.begin([one for one in subjects if not partial[one.name].done])
        done = {one.name: partial[one.name].done for one in subjects}
        start = min(done.values())
        reading = OutputReading(subjects, done, reader, watch)
        for gone, part in _parts(parts, [size or 0 for size in sizes], start, run, reading):
            labels = part.batch.labels
            for name, (features, scores) in part.found.outputs.items():
                partial[name].write(part.rows, features, scores, labels, gone)
            beside.write(part.rows, part.found.beside, labels, gone)
            run.report(stage, part.rows.stop, n)
        for finished in partial.values():
            finished.publish()
        beside.publish()
    except OSError:  # a full disk is not filled further by what is left
        keep = False
        raise
    finally:
        for finished in partial.values():
            finished.close(keep=keep)
        beside.close(keep=keep)


def _parts(
    parts: Sequence[Any], sizes: Sequence[int], start: int, run: Run, reading: OutputReading
) -> Iterator[tuple[bool, Part[Found]]]:
    """What is read from row `start` on, and whether it is of the request.

    A start lies between two batches, so that every batch is what it is in a pass from the first
    row.
    """
    first = 0
    for is_forget, part, size in zip((True, False), parts, sizes, strict=True):
        done = first
        first += size
        if part is None or start >= first:
            continue
        if start > done and hasattr(part, "__getitem__"):
            part, done = Subset(part, range(start - done, size)), start
        for read in read_batches(part, run, reading, shard=False, start=done):
            yield is_forget, read


def _open(folder: Path) -> Outputs:
    logits = folder / "logits.npy"
    return Outputs(
        features=_mapped(folder / "features.npy"),
        logits=_mapped(logits) if logits.is_file() else None,
        labels=torch.from_numpy(np.load(folder / "labels.npy")),
        forget=torch.from_numpy(np.load(folder / "forget.npy")),
    )


def _mapped(path: Path) -> Tensor:
    """A tensor over the file; copy-on-write, so that the cache cannot be changed by accident."""
    return torch.from_numpy(np.load(path, mmap_mode="c"))
