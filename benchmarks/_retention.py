"""The published probe of knowledge retention, which reads features anew in every epoch, beside the
same training on cached features.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from unspan.data.loading import batches
from unspan.data.opening import open_data
from unspan.data.preprocess import Preprocess
from unspan.metrics.outputs import Outputs
from unspan.metrics.retention import BATCH, EPOCHS, RATE, published_head, published_probe
from unspan.models import build
from unspan.run import Run
from unspan.zoo import AllCNN

DEER, CLASSES = 4, 10
SHARED = Path(os.environ.get("UNSPAN_SHARED", Path(__file__).resolve().parents[2] / "shared"))


def cifar(train: int, test: int) -> tuple[nn.Module, dict[str, tuple[torch.Tensor, torch.Tensor]]]:
    """The trained network, and the first images of both splits in memory, so that decoding is not
    timed.
    """
    model = build(
        "python:unspan.zoo:AllCNN",
        weights=SHARED / "checkpoints/allcnn-cifar10-original.safetensors",
    ).model
    data, out = (
        open_data(str(SHARED / "data/cifar10"), transform=Preprocess.from_dict(AllCNN.preprocess)),
        {},
    )
    for split, n in (("train", train), ("test", test)):
        parts, seen = [], 0
        for batch in batches(data[split], Run(batch_size=250)):
            parts.append((batch.inputs, batch.labels))
            seen += len(batch)
            if seen >= n:
                break
        out[split] = tuple(torch.cat(part)[:n] for part in zip(*parts, strict=True))
    return model.eval(), out


def body(model: nn.Module, basis: torch.Tensor | None):
    """The frozen feature extractor, with the projection of ESC when there is one: one bare forward
    pass a call.
    """
    kept: list[torch.Tensor] = []
    head = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    head.register_forward_pre_hook(lambda _m, args: kept.append(args[0]))

    def run(x: torch.Tensor) -> torch.Tensor:
        kept.clear()
        with torch.no_grad():
            model(x)
            z = kept[0]
            return z if basis is None else z - z @ basis @ basis.mT

    return run


def read(run, x: torch.Tensor, size: int = 250) -> torch.Tensor:
    return torch.cat([run(part) for part in x.split(size)])


def published(run, train, test, seed: int, epochs: int) -> tuple[torch.Tensor, dict[str, float]]:
    """As released: autograd on a fresh head, features anew in every batch; then one pass for each
    accuracy.
    """
    head, seconds = nn.Linear(run(train[0][:1]).shape[1], CLASSES), {}
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        head.weight.copy_(
            torch.randn(head.weight.shape, generator=generator)
            * (2 / sum(head.weight.shape)) ** 0.5
        )
        head.bias.zero_()
    sgd, begun = torch.optim.SGD(head.parameters(), lr=RATE), time.perf_counter()
    for _ in range(epochs):
        for rows in torch.randperm(len(train[1]), generator=generator).split(BATCH):
            sgd.zero_grad()
            nn.functional.cross_entropy(head(run(train[0][rows])), train[1][rows]).backward()
            sgd.step()
    seconds["train"] = time.perf_counter() - begun
    with torch.no_grad():
        head(read(run, train[0], BATCH))
        hit = head(read(run, test[0], BATCH)).argmax(1) == test[1]
    seconds["all"] = time.perf_counter() - begun
    return hit, seconds


def cached(run, train, test, seed: int) -> tuple[torch.Tensor, dict[str, float]]:
    """One pass over both splits, then the probe and its accuracies on the cached features."""
    begun = time.perf_counter()
    fit, held = (
        Outputs(features=read(run, x, BATCH), logits=None, labels=y, forget=y == DEER)
        for x, y in (train, test)
    )
    middle = time.perf_counter()
    published_probe(fit, held, seed)
    seconds = {"all": time.perf_counter() - begun, "probe": time.perf_counter() - middle}
    weight, bias = published_head(fit.features, fit.labels, CLASSES, seed)
    return (held.features @ weight.mT + bias).argmax(1) == held.labels, seconds


def kr(args: argparse.Namespace, before: dict) -> dict:
    """Rows of the models asked for, beside those of another model measured before with the same
    numbers of images.
    """
    model, data = cifar(args.n, args.test)
    x, y = data["train"]
    z = read(body(model, None), x[y == DEER])
    basis = torch.linalg.svd(z.double(), full_matrices=False)[2][:1].mT.float()
    same = (before.get("train"), before.get("test")) == (args.n, args.test)
    rows = [row for row in before.get("rows", []) if same and row["model"] not in args.models]
    for name, directions in (("original", None), ("ESC", basis)):
        if name not in args.models:
            continue
        run = body(model, directions)
        for seed in range(args.seeds):
            ours, ours_s = cached(run, data["train"], data["test"], seed)
            theirs, theirs_s = published(run, data["train"], data["test"], seed, EPOCHS)
            deer = data["test"][1] == DEER
            row = {
                "model": name,
                "seed": seed,
                "published_seconds": theirs_s,
                "cached_seconds": ours_s,
            }
            row |= {
                "ratio": theirs_s["all"] / ours_s["all"],
                "ratio_features_shared": theirs_s["all"] / ours_s["probe"],
            }
            for key, mask in (("forget", deer), ("retain", ~deer)):
                row[key] = {
                    "cached": float(ours[mask].double().mean()),
                    "published": float(theirs[mask].double().mean()),
                }
            row["points"] = 100 * max(
                abs(row[key]["cached"] - row[key]["published"]) for key in ("forget", "retain")
            )
            rows.append(row)
            print(json.dumps(row), flush=True)
    means = {}
    for name in sorted({row["model"] for row in rows}):
        mine = [row for row in rows if row["model"] == name]
        means[name] = {
            key: 100 * abs(float(np.mean([r[key]["cached"] - r[key]["published"] for r in mine])))
            for key in ("forget", "retain")
        }
    return {
        "train": args.n,
        "test": args.test,
        "rows": rows,
        "ratio": float(np.median([r["ratio"] for r in rows])),
        "ratio_features_shared": float(np.median([r["ratio_features_shared"] for r in rows])),
        "points_worst": max(row["points"] for row in rows),
        "points_of_means": means,
        "augmentation": (
            "none on either side: evaluation transforms, so that only the caching differs"
        ),
    }
