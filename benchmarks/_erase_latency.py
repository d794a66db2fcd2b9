"""Seconds of a call of an erased model, over those of the original."""

from __future__ import annotations

import copy
import statistics
import time

import torch
from _erase_timing import erase, seconds
from _models import BATCH, scores
from torch import nn
from torch.utils.data import Subset

from unspan import ESC
from unspan.erasers import Resampler
from unspan.extraction import attach, find_feature_layer
from unspan.extraction.statistics.computing import COVARIANCE_LIMIT


def resampled(model: nn.Module, x) -> nn.Module:
    """A copy that carries a resampler of ten classes with random numbers in it: its cost does not
    depend on them.
    """
    made = copy.deepcopy(model)
    feature_layer, _ = find_feature_layer(made, x, whole=True)
    random = torch.Generator().manual_seed(0)
    d, places = feature_layer.dim, max(9, min(72, COVARIANCE_LIMIT // feature_layer.dim**2))

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random) / d**0.5

    knots = torch.linspace(-2, 2, 21).expand(d, -1)
    attach(
        made,
        feature_layer,
        Resampler(
            forgotten=drawn(1, d + 1),
            others=drawn(9, d + 1),
            assignment=drawn(places, d + 1),
            codebooks=drawn(192, d + 1),
            noise=drawn(4096, d),
            maps=drawn(places, d, d),
            offsets=drawn(places, d),
            knots=knots,
            quantiles=knots.expand(places, -1, -1),
            covariance_correction=drawn(places, d, d),
            shifts=drawn(places, d),
        ),
    )
    return made.eval()


def latency(model: nn.Module, data, budget: float) -> dict:
    part, out = Subset(data, range(2 * BATCH)), {}
    models = {
        form: erase(model, part, ESC(), form).model.eval() for form in ("projected", "folded")
    }
    models["resampled"] = resampled(model, data.tensors[0][:2])
    models |= {
        "original": copy.deepcopy(model),
        "again": copy.deepcopy(model),
    }  # copies, so that none shares a cache
    for key in ("original", "projected", "resampled"):
        models[f"{key}, channels last"] = copy.deepcopy(models[key]).to(
            memory_format=torch.channels_last
        )
    for batch in (1, BATCH):
        x, rows, begun = data.tensors[0][:batch], [], time.perf_counter()
        calls = range(max(1, 20 // batch))  # a service calls one model again and again
        while len(rows) < 5 or (len(rows) < 400 and time.perf_counter() - begun < budget):
            order = list(models) if len(rows) % 2 else list(models)[::-1]
            rows.append(
                {
                    key: seconds(
                        lambda key=key, x=x, calls=calls: [scores(models[key], x) for _ in calls]
                    )[0]
                    for key in order
                }
            )
        middle = {key: statistics.median(row[key] for row in rows) for key in models}
        out[str(batch)] = {key: value / middle["original"] for key, value in middle.items()} | {
            "rounds": len(rows)
        }
    return out
