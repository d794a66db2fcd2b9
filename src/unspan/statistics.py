"""What the data to keep look like to a model: mean and covariance of its features, place by place; no samples.

A place is what the head calls a class (whether it is right or not), or a cluster where there is no head. Written once
when a model is trained (`unspan stats`), they let a later request be answered without the training data.

They are not harmless: a mean and a covariance say how the features of a class lie, those of a class that is forgotten
later as well, so keep the file as you keep the training data, and drop a class from it once it is forgotten (`without`).
Places of fewer than 20 samples are left out, since their mean would be close to a sample.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from unspan import dist
from unspan.erasers import score
from unspan.errors import DataError, ModelError, OutputError, UsageError
from unspan.run import Run, batches, peek, size_of
from unspan.stream import FeatureStream, example
from unspan.taps import Pool, eval_mode, find_tap, head_parameters, unwrap

SCHEMA = "unspan.statistics/1"
_FEWEST = 20  # samples of a place
_LARGEST = 2**25  # numbers in all covariances; above it they share one
_KEPT, _CLUSTERS, _PASSES = 20_000, 10, 30  # for models without a head: samples kept in memory, clusters, passes over them
_ONE_LENGTH = 1e-4  # features whose seen vary by less than this share lie on a sphere


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Moments of features, float64 on the CPU.

    Attributes:
        rows: `[K, d + 1]` affine scores of the places, offset last: rows of the head, or of clusters.
        labels: `[K]` int64 class of each place, -1 where it is a cluster.
        count: `[K]` int64 samples.
        mean: `[K, d]`.
        covariance: `[K, d, d]` of each place, or `[1, d, d]` within all of them.
        length: norm of every feature vector where they have one length, else 0.
        nonnegative: no feature is below 0, as after a ReLU.
    """

    rows: Tensor
    labels: Tensor
    count: Tensor
    mean: Tensor
    covariance: Tensor
    length: float = 0.0
    nonnegative: bool = False

    def without(self, classes: Sequence[int]) -> Statistics:
        """The statistics of all other classes.

        Raises:
            DataError: fewer than two places would be left.
        """
        kept = ~torch.isin(self.labels, torch.tensor(list(classes), dtype=torch.int64))
        if int(kept.sum()) < 2:
            raise DataError(f"The statistics hold {len(self.labels)} places with at least {_FEWEST} samples, {int(kept.sum())} of them to keep; at least two are needed.")
        covariance = self.covariance[kept] if len(self.covariance) > 1 else self.covariance
        return Statistics(rows=self.rows[kept], labels=self.labels[kept], count=self.count[kept], mean=self.mean[kept], covariance=covariance, length=self.length, nonnegative=self.nonnegative)

    def save(self, path: str | Path) -> Path:
        """Write one safetensors file, readable by its owner only; an existing file is replaced when the new one is complete.

        Raises:
            OutputError: it cannot be written.
        """
        path = Path(path)
        part = path.with_name(f".{path.name}.part")
        tensors = {"rows": self.rows, "labels": self.labels, "count": self.count, "mean": self.mean.float(), "covariance": self.covariance.float()}
        try:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, part, metadata={"schema": SCHEMA, "length": repr(self.length), "nonnegative": str(int(self.nonnegative))})
            os.chmod(part, 0o600)
            os.replace(part, path)
        except (OSError, SafetensorError) as error:
            raise OutputError(f"{path} cannot be written: {getattr(error, 'strerror', None) or error}.") from error
        return path


def load(path: str | Path) -> Statistics:
    """Statistics from a file.

    Raises:
        UsageError: no such file.
        ModelError: not a file of statistics, or damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"{path} is no file of statistics; write one with unspan stats.")
    try:
        with safe_open(path, "pt") as file:
            said = file.metadata() or {}
            held = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if said.get("schema") != SCHEMA:
            raise ModelError(f"{path} has schema {said.get('schema')!r}; this version reads {SCHEMA}. Write it again with unspan stats.")
        found = Statistics(
            rows=held["rows"].double(), labels=held["labels"].long(), count=held["count"].long(),
            mean=held["mean"].double(), covariance=held["covariance"].double(), length=float(said["length"]), nonnegative=said["nonnegative"] == "1",
        )  # fmt: skip
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise ModelError(f"{path} is damaged or no file of statistics ({error}). Write it again with unspan stats.") from error
    places, dim = found.mean.shape if found.mean.ndim == 2 else (-1, -1)
    shapes = [tuple(one.shape) for one in (found.rows, found.labels, found.count)]
    if shapes != [(places, dim + 1), (places,), (places,)] or tuple(found.covariance.shape) not in ((places, dim, dim), (1, dim, dim)) or not all(bool(one.isfinite().all()) for one in (found.rows, found.mean, found.covariance)):
        raise ModelError(f"{path}: shapes or values do not fit together. Write it again with unspan stats.")
    return found


def of_model(model: nn.Module, data: Any, run: Run, *, tap: str | None = None, pool: Pool | None = None) -> Statistics:
    """Statistics of a model's features over data, in one pass; `run.max_samples` draws a part at random.

    Args:
        model: not erased; unchanged.
        data: a Dataset of the samples the model was trained on.
        run: device, batch size, seed, progress.
        tap: as in `erase`.
        pool: as in `erase`.
    """
    inner = unwrap(model)
    if hasattr(inner, "_unspan"):
        raise UsageError("This model carries an eraser already; statistics are of the features of an original.")
    inner = inner if run.device is None else copy.deepcopy(inner).to(run.device)
    with eval_mode(inner):
        first, _ = peek(batches(data, run))
        found, _ = find_tap(inner, example(first, next(inner.parameters(), None)), tap, pool, whole=True)
        head = head_parameters(inner, found)
        stream = FeatureStream(inner, found, batches(data, run, shuffle=True), run, total=size_of(data, run), head=None)
        stream.says = "reading data"
        return gather(stream, head)


def gather(stream: FeatureStream, head: tuple[Tensor, Tensor] | None) -> Statistics:
    """Read a stream once.

    Args:
        stream: features of data to keep.
        head: weight `[C, d]` and bias `[C]`; None makes ten clusters of at most 20,000 samples instead.

    Raises:
        UsageError: several processes.
        DataError: no samples, or no two places with 20 of them.
    """
    if dist.world() > 1:
        raise UsageError("Statistics are read in one process; start without torchrun.")
    return _by_head(stream, torch.cat([head[0], head[1][:, None]], 1)) if head is not None else _by_cluster(stream)


def _by_head(stream: FeatureStream, rows: Tensor) -> Statistics:
    places, dim = len(rows), stream.dim
    shared = places * dim**2 > _LARGEST
    count, total = torch.zeros(places, dtype=torch.int64), torch.zeros(places, dim, dtype=torch.float64)
    second = torch.zeros(1 if shared else places, dim, dim, dtype=torch.float64)
    shift: Tensor | None = None
    seen = _Range()
    for features, _ in stream:
        z = features.double()
        shift = z.mean(0) if shift is None else shift
        seen.see(z)
        place, z = score(rows, z).argmax(1), z - shift
        count += torch.bincount(place, minlength=places)
        total.index_add_(0, place, z)
        for one in [0] if shared else place.unique().tolist():
            mine = z if shared else z[place == one]
            second[one].addmm_(mine.mT, mine)
    if shift is None:
        raise DataError("Statistics: no sample was read.")
    mean = total / count.clamp_min(1)[:, None]
    weight = count.double()[:, None, None]
    if shared:
        within = second[0] - (count.double()[:, None] * mean).mT @ mean
        covariance = (within / (count.sum() - (count > 0).sum()).clamp_min(1))[None]
    else:
        covariance = (second - weight * mean[:, :, None] * mean[:, None, :]) / (weight - 1).clamp_min(1)
    found = Statistics(rows=rows, labels=torch.arange(places), count=count, mean=mean + shift, covariance=covariance, length=seen.one_length(), nonnegative=seen.least >= 0)
    return found.without(torch.nonzero(count < _FEWEST)[:, 0].tolist())


class _Range:
    """Whether all feature vectors have one length, and the least feature."""

    def __init__(self) -> None:
        self.low, self.high, self.least = float("inf"), 0.0, float("inf")

    def see(self, z: Tensor) -> None:
        norms, self.least = z.norm(dim=1), min(self.least, float(z.min()))
        self.low, self.high = min(self.low, float(norms.min())), max(self.high, float(norms.max()))

    def one_length(self) -> float:
        return (self.low + self.high) / 2 if self.high - self.low <= _ONE_LENGTH * self.high else 0.0


def _by_cluster(stream: FeatureStream) -> Statistics:
    z = reservoir(stream, _KEPT).double()
    if len(z) < 2 * _FEWEST:
        raise DataError(f"Statistics: {len(z)} samples were read; at least {2 * _FEWEST} are needed.")
    generator = torch.Generator().manual_seed(0)
    centres = z[torch.randperm(len(z), generator=generator)[: min(_CLUSTERS, len(z) // _FEWEST)]]
    for _ in range(_PASSES):
        place = torch.cdist(z, centres).argmin(1)
        centres = torch.stack([z[place == one].mean(0) if bool((place == one).any()) else centres[one] for one in range(len(centres))])
    rows = torch.cat([2 * centres, -centres.square().sum(1, keepdim=True)], 1)  # nearest centre = largest affine score
    place = score(rows, z).argmax(1)
    kept = [one for one in range(len(rows)) if int((place == one).sum()) >= _FEWEST]
    groups = [z[place == one] for one in kept]
    seen = _Range()
    seen.see(z)
    return Statistics(
        rows=rows[kept], labels=torch.full((len(kept),), -1), count=torch.tensor([len(one) for one in groups]),
        mean=torch.stack([one.mean(0) for one in groups]), covariance=torch.stack([one.mT.cov() for one in groups]), length=seen.one_length(), nonnegative=seen.least >= 0,
    )  # fmt: skip


def reservoir(stream: FeatureStream, most: int) -> Tensor:
    """A uniform sample of at most `most` features `[n, d]` of a stream, in the order they came."""
    generator = torch.Generator().manual_seed(0)
    kept, keys = torch.empty(0, stream.dim), torch.empty(0, dtype=torch.float64)
    for features, _ in stream:
        kept = torch.cat([kept, features])
        keys = torch.cat([keys, torch.rand(len(features), generator=generator, dtype=torch.float64)])
        if len(kept) > most:
            chosen = keys.topk(most, largest=False).indices.sort().values
            kept, keys = kept[chosen], keys[chosen]
    return kept
