"""Statistics of a model over data, of a stream of features, or of features in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from unspan import dist
from unspan.data.class_names import names_of
from unspan.data.given import as_dataset
from unspan.data.loading import batches, peek, size_of
from unspan.data.passes import read_batches
from unspan.erasers.quantiles import normal_scores, quantiles_of
from unspan.erasers.scores import head_rows
from unspan.errors import DataError, UsageError
from unspan.extraction import RECORD, Pool, eval_mode, find_feature_layer, head_parameters, unwrap
from unspan.extraction.model_reading import FeatureReading
from unspan.extraction.statistics import clustering
from unspan.extraction.statistics.record import MIN_SAMPLES, Statistics
from unspan.extraction.statistics.sampling import sampled
from unspan.extraction.stream import FeatureStream, ModelFeatures, example
from unspan.models.copying import copied
from unspan.run import Run

COVARIANCE_LIMIT = 2**24  # numbers in the covariances of all clusters; above it they share one
_ONE_LENGTH = 1e-4  # vectors whose norms vary by less than this share lie on a sphere


def of_model(
    model: nn.Module,
    data: Any,
    run: Run,
    *,
    feature_layer: str | None = None,
    pool: Pool | None = None,
) -> Statistics:
    """Statistics of a model's features over data, in one pass; of several processes each reads its
    part, and all get the same statistics.

    Args:
        model: not erased; unchanged.
        data: the samples the model was trained on, in any form that `erase` takes.
        run: device, batch size, seed, progress; `run.max_samples` draws a part at random.
        feature_layer: as in `erase`.
        pool: as in `erase`.
    """
    inner = unwrap(model)
    dist.refuse_sharded(inner)
    if RECORD in vars(inner):
        raise UsageError(
            "This model carries an eraser already, and statistics are of the features of an"
            " original. Pass the model as it was before."
        )
    data = as_dataset(data)
    inner = inner if run.device is None else copied(inner, run.device)
    with eval_mode(inner), dist.session(run.timeout):
        first, _ = peek(batches(data, run, shard=False))
        found, _ = find_feature_layer(inner, example(first, inner), feature_layer, pool, whole=True)
        head = head_parameters(inner, found)
        reading = FeatureReading(inner, found)
        parts = read_batches(data, run, reading, shuffle=True)
        stream = ModelFeatures(reading, parts, run, total=size_of(data, run), head=None)
        stream.says = "reading data"
        names = names_of(data) or ()
        if head is not None and len(names) != len(head[0]):
            names = ()
        made = of_stream(stream, head)
        return replace(made, model=stream.model_digest(), class_names=tuple(names))


def of_stream(stream: FeatureStream, head: tuple[Tensor, Tensor] | None) -> Statistics:
    """Statistics of the features that a stream yields, read once.

    Args:
        stream: features of the retain set.
        head: weight `[C, d]` and bias `[C]`; every class it predicts is cut into up to eight
            clusters. Without one the labels of the data name the classes, and data without labels
            make ten clusters.

    Raises:
        DataError: fewer than two clusters with 20 samples.
    """
    return of_features(*sampled(stream), head)


def of_features(z: Tensor, y: Tensor, head: tuple[Tensor, Tensor] | None) -> Statistics:
    """Statistics of features `[n, d]` with labels `[n]`; see `of_stream`.

    The order of the rows decides where clusters begin to form.
    """
    if head is None:
        found = clustering.by_label(z, y)
    else:
        allowed = COVARIANCE_LIMIT // (len(head[0]) * z.shape[1] ** 2)
        most = max(1, min(clustering.MAX_PER_CLASS, allowed))
        found = clustering.by_prediction(z, head_rows(head), most)
    groups = found.groups
    if len(groups) < 2:
        raise DataError(
            f"Of {len(z)} retained samples no two clusters have {MIN_SAMPLES}, and two are needed"
            " for samples to go to. Give more retain data; where only one class is retained, use"
            " method esc."
        )
    quantiles = torch.stack([quantiles_of(group.double()) for group in groups])
    scores = [normal_scores(group.double(), own) for group, own in zip(groups, quantiles)]
    return Statistics(
        rows=found.rows,
        labels=torch.tensor(found.labels),
        count=torch.tensor([len(group) for group in groups]),
        mean=torch.stack([group.double().mean(0) for group in groups]),
        covariance=_covariances(groups),
        correlation=_correlations(scores),
        quantiles=quantiles,
        length=_common_length(z),
    )


def _correlations(scores: Sequence[Tensor]) -> Tensor:
    """Correlations of normal scores, in the shape of `_covariances`."""
    found = _covariances(scores)
    size = found.diagonal(dim1=1, dim2=2).clamp_min(1e-12).sqrt()
    return found / size[:, :, None] / size[:, None, :]


def _covariances(groups: Sequence[Tensor]) -> Tensor:
    """Covariances `[K, d, d]` of groups; one `[1, d, d]` within all where those are too large."""
    dim = groups[0].shape[1]
    if len(groups) * dim**2 <= COVARIANCE_LIMIT:
        return torch.stack([group.double().mT.cov() for group in groups])
    found = torch.zeros(dim, dim, dtype=torch.float64)
    for group in groups:
        centred = group.double() - group.double().mean(0)
        found.addmm_(centred.mT, centred)
    return (found / (sum(map(len, groups)) - len(groups)))[None]


def _common_length(z: Tensor) -> float:
    """The norm of all rows `[n, d]` where they have one, else 0."""
    norms = z.norm(dim=1)
    one_length = float(norms.max() - norms.min()) <= _ONE_LENGTH * float(norms.max())
    return float(norms.mean()) if one_length else 0.0
