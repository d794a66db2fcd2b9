"""CIFAR-10 as experiments read it, and what they measure of a model of it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Subset, TensorDataset

import unspan
from unspan.auditing.subjects import subject
from unspan.data.loading import batches
from unspan.data.opening import open_data
from unspan.data.preprocess import Preprocess
from unspan.extraction import eval_mode, read
from unspan.metrics.linear import linear_probe
from unspan.metrics.membership import loss_attack, losses
from unspan.metrics.neighbours import nearest
from unspan.metrics.outputs import Outputs
from unspan.metrics.retention import harmonic_mean, published_probe
from unspan.metrics.score import share_interval
from unspan.run import Run

SHARED = Path(os.environ.get("UNSPAN_SHARED", Path(__file__).resolve().parents[2] / "shared"))


DEER, RETAINED, TUNED_ON = 4, 10_000, 0.25


def tensors(name: str, transform: Preprocess) -> TensorDataset:
    """A split of CIFAR-10 in memory, prepared as the model takes it."""
    found = list(
        batches(
            open_data(str(SHARED / "data/cifar10"), transform=transform)[name], Run(batch_size=500)
        )
    )
    return TensorDataset(
        torch.cat([one.inputs[: len(one)] for one in found]),
        torch.cat([one.labels for one in found]),
    )


def request(fit: TensorDataset, test: TensorDataset, share: float = 1.0) -> unspan.Request:
    """Deer, and so many of the others; a share of both for tuning."""
    stream = torch.Generator().manual_seed(0)
    y = fit.tensors[1]
    parts = []
    for mask, most in ((y == DEER, 5000), (y != DEER, RETAINED)):
        index = mask.nonzero()[:, 0]
        parts.append(
            index[torch.randperm(len(index), generator=stream)[: round(share * most)]]
            .sort()
            .values.tolist()
        )
    splits = unspan.Request(
        forget=Subset(fit, parts[0]),
        retain=Subset(fit, parts[1]),
        kind="class",
        selector=("deer",),
        classes=(DEER,),
    )
    deer = (test.tensors[1] == DEER).nonzero()[:, 0]
    return replace(splits, holdout=Subset(test, deer[: len(deer) // 5].tolist()))


def outputs(model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> Outputs:
    """Features and scores in one pass, a slice at a time."""
    found = subject("model", model, x[:2])
    with eval_mode(model):
        features, scores = (
            torch.cat(part).float()
            for part in zip(
                *(read(found.model, found.feature_layer, part) for part in x.split(500)),
                strict=True,
            )
        )
    return Outputs(features=features, logits=scores, labels=y, forget=y == DEER)


def share(hit: torch.Tensor) -> dict[str, Any]:
    low, high = share_interval(float(hit.sum()), len(hit))
    return {"value": float(hit.double().mean()), "low": low, "high": high, "n": len(hit)}


def measured(model: torch.nn.Module, splits: unspan.Request, test: TensorDataset) -> dict[str, Any]:
    """Accuracies of the own head and of probes, and the loss attack; held-out deer are left out of
    the test set.
    """
    held = set(splits.holdout.indices)
    kept = torch.tensor([i for i in range(len(test)) if i not in held])
    seen = outputs(
        model,
        *(torch.stack(list(part)) for part in zip(*[*splits.forget, *splits.retain], strict=True)),
    )
    tested = outputs(model, *(part[kept] for part in test.tensors))
    found: dict[str, Any] = {}
    for name, part in (("train", seen), ("test", tested)):
        right = part.logits.argmax(1) == part.labels
        found |= {
            f"{name} forget": share(right[part.forget]),
            f"{name} retain": share(right[~part.forget]),
        }
        found[f"HM {name}"] = harmonic_mean(
            100 * found[f"{name} forget"]["value"], 100 * found[f"{name} retain"]["value"]
        )
    deer = seen.forget.nonzero()[:, 0]
    fair = seen.rows(
        torch.cat([deer[: int((~seen.forget).sum()) // 9], (~seen.forget).nonzero()[:, 0]])
    )  # as many deer as of any other class
    for name, reading in (
        ("KR (published)", published_probe(fair, tested, 0)),
        ("converged probe", linear_probe(fair, tested, 0)),
        (
            "kNN-20",
            next(one for one in nearest(fair, tested, seed=0) if one.attack == "kNN k=20, L2"),
        ),
    ):
        found[name] = {
            "value": reading.value,
            "low": reading.interval()[0],
            "high": reading.interval()[1],
            "n": len(reading.forget),
        }
    attack = loss_attack(
        losses(seen.rows(seen.forget)), losses(tested.rows(tested.forget)), "deer", seed=0
    )[0]
    found["MIA (balanced)"] = {
        "value": attack.value,
        "low": attack.low,
        "high": attack.high,
        "n": attack.n,
    }
    return found
