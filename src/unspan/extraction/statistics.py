"""What the data to keep look like to a model: moments and quantiles of its features, place by
place; no samples.

A place is a cluster of what the head calls a class (whether it is right or not), or of all where
there is no head. Written once when a model is trained (`unspan stats`), they let a later request be
answered without the training data.

They are not harmless: they say how the features of a class lie, those of a class that is forgotten
later as well, so keep the file as you keep the training data, and drop a class from it once it is
forgotten (`without`). Places of fewer than 20 samples are left out, since their mean would be close
to a sample.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from unspan import dist
from unspan.data.class_names import names_of
from unspan.data.given import as_dataset
from unspan.data.loading import batches, peek, size_of
from unspan.erasers.maps import head_rows, interpolated, score
from unspan.erasers.transport import average
from unspan.errors import DataError, ModelError, OutputError, UsageError
from unspan.extraction import Pool, eval_mode, find_feature_layer, head_parameters, unwrap
from unspan.extraction.stream import FeatureStream, example
from unspan.models.copying import copied
from unspan.run import Run
from unspan.system.digests import state_hash
from unspan.system.output_paths import check_file

SCHEMA = "unspan.statistics/2"
_SAID = ("schema", "length", "model")
_FEWEST = 20  # samples of a place
_HELD = 2**26  # numbers in the samples held
_LARGEST = 2**24  # numbers in the covariances of all places; above it they share one
_KEPT, _CHUNK = 50_000, 4096  # samples held; of them at a time
_PARTS, _CLUSTERS, _PASSES = (
    8,
    10,
    30,
)  # clusters of a class, of everything where there is no head; passes of k-means
LEVELS = torch.tensor([0.004, *(part / 20 for part in range(1, 20)), 0.996], dtype=torch.float64)
_MOMENTS = ("mean", "covariance", "correlation", "quantiles")
_FOREIGN = 0.1  # negative share of a place's scatter from which samples were never in it
_ONE_LENGTH = 1e-4  # vectors whose norms vary by less than this share lie on a sphere


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Moments of features, float64 on the CPU.

    Attributes:
        rows: `[K, d + 1]` affine scores of the places, offset last: rows of the head, or of
            clusters.
        labels: `[K]` int64 class of each place, -1 where it is a cluster.
        count: `[K]` int64 samples.
        mean: `[K, d]`.
        covariance: `[K, d, d]` of each place, or `[1, d, d]` within all of them.
        correlation: the same of normal scores, every feature by its quantiles in the place to a
            standard normal.
        quantiles: `[K, d, B]` of every feature in each place, at the shares `LEVELS`.
        length: norm of every feature vector where they have one length, else 0.
        model: hash of the weights they are of, "" where it is not known.
        class_names: name by class, empty where they are not known.
    """

    rows: Tensor
    labels: Tensor
    count: Tensor
    mean: Tensor
    covariance: Tensor
    correlation: Tensor
    quantiles: Tensor
    length: float = 0.0
    model: str = ""
    class_names: tuple[str, ...] = ()

    def without(self, classes: Sequence[int]) -> Statistics:
        """The statistics of all other classes.

        Raises:
            DataError: fewer than two places would be left.
        """
        return self._only(~torch.isin(self.labels, torch.tensor(list(classes), dtype=torch.int64)))

    def units(self, features: Tensor | None = None) -> Tensor:
        """Deviation of every feature over all places `[d]`, 1 where it is constant; what is divided
        by them does not depend on the units of the features.

        Args:
            features: `[n, d]` others, whose spread counts as much.
        """
        share = self.count.double() / self.count.sum()
        centre = share @ self.mean
        variance = average(self.covariance, self.count).diagonal()
        variance = variance + share @ (self.mean - centre).square()
        if features is not None:
            variance = variance / 2 + (features.double() - centre).square().mean(0) / 2
        return _unit(variance)

    def divided(self, unit: Tensor) -> Statistics:
        """The statistics of features divided by `unit` `[d]`; rows score those as before."""
        return replace(
            self,
            rows=torch.cat([self.rows[:, :-1] * unit, self.rows[:, -1:]], 1),
            mean=self.mean / unit,
            covariance=_divided(self.covariance, unit),
            quantiles=self.quantiles / unit[:, None],
        )

    def _only(self, kept: Tensor) -> Statistics:
        """The places of a mask."""
        if int(kept.sum()) < 2:
            raise DataError(
                f"The data to keep have {int(kept.sum())} places with at least {_FEWEST} samples;"
                " two are needed for samples to go to. Give more data to keep, or use method esc."
            )
        shared = len(self.covariance) == 1
        names = (
            "rows",
            "labels",
            "count",
            "mean",
            "quantiles",
            *(() if shared else ("covariance", "correlation")),
        )
        return replace(self, **{name: getattr(self, name)[kept] for name in names})

    def less(self, z: Tensor, head: Tensor | None) -> Statistics:
        """The statistics without samples that they are taken to hold, for a request whose samples
        were among the training data.

        Counts, means and covariances are those of the other samples; quantiles and correlations
        cannot be recomputed and stay. A place with fewer than 20 others is left out. Where a
        covariance says that the samples were not in a place, it stays as it is.

        Args:
            z: `[n, d]` float64 features.
            head: `[C, d + 1]` rows of the head, None without one.

        Raises:
            DataError: fewer than two places would be left.
        """
        home, unit = self._places_of(z, head), self.units()
        count, mean, covariance = self.count.clone(), self.mean.clone(), self.covariance.clone()
        shared = len(covariance) == 1
        held = int(self.count.sum()) - len(self.count)
        for place in home[home >= 0].unique().tolist():
            at, own = 0 if shared else place, z[home == place] - self.mean[place]
            left = int(count[place]) - len(own)
            whole = (held if shared else int(count[place]) - 1) * covariance[at]
            others = whole - own.mT @ own
            largest = float(torch.linalg.eigvalsh(_divided(whole, unit))[-1])
            if float(torch.linalg.eigvalsh(_divided(others, unit))[0]) < -_FOREIGN * largest:
                continue
            count[place] = max(left, 0)
            if left < _FEWEST:
                continue
            shift = -own.sum(0) / left
            held -= len(own) if shared else 0
            scatter = _positive(_divided(others - left * shift[:, None] * shift, unit))
            covariance[at] = _divided(scatter, 1 / unit) / (held if shared else left - 1)
            mean[place] += shift
        kept = replace(self, count=count, mean=mean, covariance=covariance)
        return kept._only(count >= _FEWEST)

    def _places_of(self, z: Tensor, head: Tensor | None) -> Tensor:
        """The place of each sample `[n]`, -1 where its class has none."""
        named = (
            self.labels[score(self.rows, z).argmax(1)] if head is None else score(head, z).argmax(1)
        )
        unit = self.units()
        apart = torch.cdist(z / unit, self.mean / unit)
        apart[named[:, None] != self.labels] = math.inf
        nearest = apart.min(1)
        return torch.where(nearest.values.isfinite(), nearest.indices, -1)

    def save(self, path: str | Path) -> Path:
        """Write one safetensors file, readable by its owner only; an earlier file of statistics is
        replaced when the new one is complete.

        Raises:
            UsageError: another file is there.
            OutputError: it cannot be written.
        """
        path = Path(path)
        check_file(path, is_file_of_statistics, what="a file of statistics", overwrite=True)
        part = path.with_name(f".{path.name}.part-{os.getpid()}")
        tensors = {"rows": self.rows, "labels": self.labels, "count": self.count} | {
            name: getattr(self, name).float() for name in _MOMENTS
        }
        said = {"schema": SCHEMA, "length": repr(self.length), "model": self.model}
        if self.class_names:
            said["classes"] = json.dumps(self.class_names)
        try:
            save_file(
                {name: tensor.contiguous() for name, tensor in tensors.items()},
                part,
                metadata=said | {"digest": _digest(tensors, said)},
            )
            os.chmod(part, 0o600)
            os.replace(part, path)
        except (OSError, SafetensorError) as error:
            part.unlink(missing_ok=True)
            raise OutputError(
                f"{path} cannot be written: {getattr(error, 'strerror', None) or error}."
            ) from error
        return path


def is_file_of_statistics(path: Path) -> bool:
    """Whether a file was written by `Statistics.save`, of this version or another."""
    try:
        with safe_open(path, "pt") as file:
            return str((file.metadata() or {}).get("schema")).startswith("unspan.statistics/")
    except (SafetensorError, OSError):
        return False


def _unit(variance: Tensor) -> Tensor:
    """Deviations `[d]`, 1 where the variance is 0."""
    return variance.sqrt().where(variance > 0, torch.ones_like(variance))


def _divided(covariance: Tensor, unit: Tensor) -> Tensor:
    """Covariances `[..., d, d]` of features divided by `unit` `[d]`."""
    return covariance / unit[:, None] / unit


def _positive(scatter: Tensor) -> Tensor:
    """The nearest matrix without negative eigenvalues, which rounding of a stored file leaves."""
    values, vectors = torch.linalg.eigh(scatter)
    return (vectors * values.clamp_min(0)) @ vectors.mT


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
            raise ModelError(
                f"{path} has schema {said.get('schema')!r}; this version reads {SCHEMA}. Write it"
                " again with unspan stats."
            )
        if said.get("digest") != _digest(held, said):
            raise ModelError(
                f"{path} was changed after it was written: its content does not match its digest."
                " Write it again with unspan stats."
            )
        found = Statistics(
            rows=held["rows"].double(),
            labels=held["labels"].long(),
            count=held["count"].long(),
            **{name: held[name].double() for name in _MOMENTS},
            length=float(said["length"]),
            model=said["model"],
            class_names=tuple(map(str, json.loads(said.get("classes", "[]")))),
        )
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise ModelError(
            f"{path} is damaged or no file of statistics ({error}). Write it again with unspan"
            " stats."
        ) from error
    places, dim = found.mean.shape if found.mean.ndim == 2 else (-1, -1)
    square = (1 if len(found.covariance) == 1 else places, dim, dim)
    shapes = {
        "rows": (places, dim + 1),
        "labels": (places,),
        "count": (places,),
        "covariance": square,
        "correlation": square,
        "quantiles": (places, dim, len(LEVELS)),
    }
    fits = all(
        tuple(getattr(found, name).shape) == shape for name, shape in shapes.items()
    ) and all(bool(getattr(found, name).isfinite().all()) for name in ("rows", *_MOMENTS))
    if not (
        fits
        and bool((found.count > 0).all())
        and bool((found.labels >= -1).all())
        and bool((found.quantiles.diff(dim=2) >= 0).all())
        and bool((found.covariance.diagonal(dim1=1, dim2=2) >= 0).all())
        and 0 <= found.length < math.inf
    ):
        raise ModelError(
            f"{path}: shapes or values do not fit together. Write it again with unspan stats."
        )
    return found


def _digest(tensors: dict[str, Tensor], said: dict[str, str]) -> str:
    """Hash of all that a file holds; it catches damage, not whoever writes a new one."""
    keys = [key for key in (*_SAID, "classes") if key in _SAID or key in said]
    return state_hash(tensors | {f"{key}={said.get(key)}": torch.empty(0) for key in keys})


def of_model(
    model: nn.Module,
    data: Any,
    run: Run,
    *,
    feature_layer: str | None = None,
    pool: Pool | None = None,
) -> Statistics:
    """Statistics of a model's features over data, in one pass; `run.max_samples` draws a part at
    random.

    Args:
        model: not erased; unchanged.
        data: the samples the model was trained on, in any form that `erase` takes.
        run: device, batch size, seed, progress.
        feature_layer: as in `erase`.
        pool: as in `erase`.
    """
    inner = unwrap(model)
    if hasattr(inner, "_unspan"):
        raise UsageError(
            "This model carries an eraser already; statistics are of the features of an original."
        )
    data = as_dataset(data)
    inner = inner if run.device is None else copied(inner, run.device)
    with eval_mode(inner):
        first, _ = peek(batches(data, run))
        found, _ = find_feature_layer(inner, example(first, inner), feature_layer, pool, whole=True)
        head = head_parameters(inner, found)
        stream = FeatureStream(
            inner, found, batches(data, run, shuffle=True), run, total=size_of(data, run), head=None
        )
        stream.says = "reading data"
        names = names_of(data) or ()
        if head is not None and len(names) != len(head[0]):
            names = ()
        return replace(gather(stream, head), model=stream.model_digest(), class_names=tuple(names))


def gather(stream: FeatureStream, head: tuple[Tensor, Tensor] | None) -> Statistics:
    """Read a stream once.

    Args:
        stream: features of data to keep.
        head: weight `[C, d]` and bias `[C]`; every class it names is cut into up to eight clusters.
            Without one the labels of the data name the classes, and data without labels make ten
            clusters.

    Raises:
        UsageError: several processes.
        DataError: fewer than two places with 20 samples.
    """
    return summed_up(*sampled(stream), head)


def sampled(stream: FeatureStream) -> tuple[Tensor, Tensor]:
    """As many features `[n, d]` of a stream as statistics are made of, drawn at random where there
    are more, and their labels `[n]`.
    """
    if dist.world() > 1:
        raise UsageError("Statistics are read in one process; start without torchrun.")
    return reservoir(stream, min(_KEPT, _HELD // stream.dim))


def summed_up(z: Tensor, y: Tensor, head: tuple[Tensor, Tensor] | None) -> Statistics:
    """Statistics of features `[n, d]` with labels `[n]`, as `gather` makes them of a stream."""
    if head is None:
        parts = [
            (label, group)
            for label in y.unique().tolist()
            for group in clusters(z[y == label], _PARTS if label >= 0 else _CLUSTERS)
        ]
        labels, groups = [label for label, _ in parts], [group for _, group in parts]
        centres = (
            torch.stack([group.double().mean(0) for group in groups]) if groups else z[:0].double()
        )
        unit = _unit(z.double().var(0)) if len(z) > 1 else z.new_ones(z.shape[1]).double()
        near = centres / unit  # the nearest centre has the largest affine score
        rows = torch.cat([2 * near / unit, -near.square().sum(1, keepdim=True)], 1)
    else:
        weights = head_rows(head)
        named = torch.cat([score(weights, part.double()).argmax(1) for part in z.split(_CHUNK)])
        most = max(1, min(_PARTS, _LARGEST // (len(weights) * z.shape[1] ** 2)))
        parts = [
            (label, group)
            for label in range(len(weights))
            for group in clusters(z[named == label], most)
        ]
        labels, groups = [label for label, _ in parts], [group for _, group in parts]
        rows = weights[labels]
    if len(groups) < 2:
        raise DataError(
            f"Of {len(z)} samples to keep no two places have {_FEWEST}, and two are needed for"
            " samples to go to. Give more data to keep; where only one class is left to keep, use"
            " method esc."
        )
    count, mean = (
        torch.tensor([len(group) for group in groups]),
        torch.stack([group.double().mean(0) for group in groups]),
    )
    quantiles = torch.stack([torch.quantile(group.double(), LEVELS, dim=0).mT for group in groups])
    normal = _within([normal_scores(group.double(), own) for group, own in zip(groups, quantiles)])
    size = normal.diagonal(dim1=1, dim2=2).clamp_min(1e-12).sqrt()
    norms = z.norm(dim=1)
    one_length = float(norms.max() - norms.min()) <= _ONE_LENGTH * float(norms.max())
    return Statistics(
        rows=rows,
        labels=torch.tensor(labels),
        count=count,
        mean=mean,
        covariance=_within(groups),
        correlation=normal / size[:, :, None] / size[:, None, :],
        quantiles=quantiles,
        length=float(norms.mean()) if one_length else 0.0,
    )


def normal_scores(z: Tensor, quantiles: Tensor) -> Tensor:
    """Features `[n, d]` by their quantiles `[d, B]` to standard normals, feature by feature."""
    width = quantiles[:, -1] - quantiles[:, 0]
    width = width.where(width > 0, torch.ones_like(width))  # else units would decide what is a tie
    normal = torch.special.ndtri(LEVELS).expand(len(z), z.shape[1], -1)
    return interpolated(z / width, quantiles / width[:, None], normal).clamp(-3, 3)


def clusters(z: Tensor, most: int) -> list[Tensor]:
    """Rows `[n, d]` in up to `most` groups around nearest centres (Lloyd's k-means, in units of
    each column's deviation), those of fewer than 20 left out.

    So many that a group has at least 2 d samples on average, so that a covariance means something.
    """
    count = min(most, len(z) // max(_FEWEST, 2 * z.shape[1]), len(z))
    if count < 2:
        return [z] if len(z) >= _FEWEST else []
    x = z / _unit(z.double().var(0)).to(z)
    centres = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:count]]
    for _ in range(_PASSES):
        near = torch.cdist(x, centres).argmin(1)
        centres = torch.stack(
            [
                x[near == one].mean(0) if bool((near == one).any()) else centres[one]
                for one in range(count)
            ]
        )
    near = torch.cdist(x, centres).argmin(1)
    return [z[near == one] for one in range(count) if int((near == one).sum()) >= _FEWEST]


def _within(groups: Sequence[Tensor]) -> Tensor:
    """Covariances `[K, d, d]` of groups, or the one `[1, d, d]` within all of them where those
    would be too large.
    """
    dim = groups[0].shape[1]
    if len(groups) * dim**2 <= _LARGEST:
        return torch.stack([group.double().mT.cov() for group in groups])
    found = torch.zeros(dim, dim, dtype=torch.float64)
    for group in groups:
        centred = group.double() - group.double().mean(0)
        found.addmm_(centred.mT, centred)
    return (found / (sum(map(len, groups)) - len(groups)))[None]


def reservoir(stream: FeatureStream, most: int) -> tuple[Tensor, Tensor]:
    """A uniform sample of at most `most` features `[n, d]` of a stream in the order they came, and
    their labels `[n]`, -1 where there is none.
    """
    generator = torch.Generator().manual_seed(0)
    held = [
        (
            torch.empty(0, stream.dim),
            torch.empty(0, dtype=torch.int64),
            torch.empty(0, dtype=torch.float64),
        )
    ]
    for features, labels in stream:
        known = torch.full((len(features),), -1) if labels is None else labels.long()
        held.append(
            (features, known, torch.rand(len(features), generator=generator, dtype=torch.float64))
        )
        if sum(len(part[0]) for part in held) > 2 * most:
            held = [_least(held, most)]
    return _least(held, most)[:2]


def _least(
    held: Sequence[tuple[Tensor, Tensor, Tensor]], most: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The rows with the smallest keys, in their order."""
    rows, labels, keys = (torch.cat(part) for part in zip(*held))
    chosen = keys.topk(min(most, len(keys)), largest=False).indices.sort().values
    return rows[chosen], labels[chosen], keys[chosen]
