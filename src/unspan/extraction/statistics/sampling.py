"""Features of a stream in memory, the same ones in the same order however the data came.

Samples are ordered by their digests. So neither the order of the data nor the number of processes
that read them decides anything that is computed from them.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from unspan import dist
from unspan.extraction.stream import DIGEST, FeatureStream

MAX_SAMPLES = 50_000  # in memory
_MAX_NUMBERS = 2**26  # in the samples in memory


def sampled(stream: FeatureStream) -> tuple[Tensor, Tensor]:
    """As many features `[n, d]` of a stream as statistics are made of, and their labels `[n]`.

    See `reservoir`.
    """
    return reservoir(stream, min(MAX_SAMPLES, _MAX_NUMBERS // stream.dim))


def reservoir(stream: FeatureStream, most: int) -> tuple[Tensor, Tensor]:
    """A uniform sample of at most `most` features `[n, d]` of a stream, and their labels `[n]`.

    They come in the order of the digests of their samples. Where there are more, those of the
    smallest digests stay. Of several processes each reads its part, and all get the same sample. A
    label is -1 where there is none.

    Raises:
        UnspanError: what stopped this process, or a DataError that quotes another's.
        ResourceError: another process died or does not answer.
    """
    with dist.stopping_together():
        features, order = _read(stream, most)
    if dist.world() == 1:
        chosen = _smallest(order, most)
        return features[chosen], order[chosen, 1]
    first = sum(dist.gather(len(order))[: dist.rank()])
    everyone = dist.all_rows(order)
    chosen = _smallest(everyone, most)
    own = chosen[(chosen >= first) & (chosen < first + len(order))].sort().values - first
    rows = dist.all_rows(features[own])  # in the order of their positions in `everyone`
    return rows[chosen.argsort().argsort()], everyone[chosen, 1]


def _read(stream: FeatureStream, most: int) -> tuple[Tensor, Tensor]:
    """Features `[n, d]` of this process, and what they are ordered by `[n, 2]`.

    That is the first eight bytes of their digests, then their labels.
    """
    features = [torch.empty(0, stream.dim)]
    order = [torch.empty(0, 2, dtype=torch.int64)]
    done = 0
    for z, y in stream:
        labels = torch.full((len(z),), -1) if y is None else y.long()
        digests = np.frombuffer(bytes(stream.digests[done:]), ">i8").reshape(len(z), -1)
        done += DIGEST * len(z)
        features.append(z)
        order.append(torch.stack([torch.from_numpy(digests[:, 0].astype("=i8")), labels], 1))
        if sum(map(len, features)) > 2 * most:
            kept = _smallest(torch.cat(order), most)
            features = [torch.cat(features)[kept]]
            order = [torch.cat(order)[kept]]
    return torch.cat(features), torch.cat(order)


def _smallest(order: Tensor, most: int) -> Tensor:
    """Positions of the `most` smallest rows of `order` `[n, 2]`, in ascending order of the rows."""
    by_second = order[:, 1].argsort(stable=True)
    return by_second[order[by_second, 0].argsort(stable=True)][:most]
