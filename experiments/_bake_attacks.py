"""Every attack of `experiments/bake.py` and `experiments/every_layer.py` on one network, layer by
layer, as JSON values.
"""

from __future__ import annotations

from typing import Any

import torch
from _cifar10 import DEER, share
from torch import nn
from torch.utils.data import TensorDataset

from unspan.extraction import eval_mode, forward
from unspan.methods.baking.layers import layers_with_weights, pooled_inputs
from unspan.metrics.fewshot import fewshot
from unspan.metrics.linear import fit_linear
from unspan.metrics.mlp import fit_mlp
from unspan.metrics.neighbours import neighbours, vote
from unspan.metrics.outputs import Outputs
from unspan.metrics.probes import stratified
from unspan.training.context import image_layout

VIEWS = ("one answer", "two views", "half contrast, one answer")
ATTACKS = ("linear", "kNN-1", "kNN-5", "kNN-20", "MLP")


def measured(model: nn.Module, fit: TensorDataset, test: TensorDataset) -> dict[str, Any]:
    """Accuracies, every attack at every layer, relearning at the features."""
    seen, tested = layers(model, *fit.tensors), layers(model, *test.tensors)
    last = list(tested)[-1]
    hit, y = tested[last].logits.argmax(1) == test.tensors[1], test.tensors[1]
    found: dict[str, Any] = {
        "remaining": share(hit[(y != DEER) & ~validation(y)]),
        "remaining, all": share(hit[y != DEER]),
        "forget": share(hit[y == DEER]),
    }
    found["layers"] = {name: attacks(seen[name], tested[name]) for name in seen}
    found["few-shot"] = {
        one.attack: one.value for one in fewshot(seen[last], tested[last], 0, shots=(10, 50))
    }
    found["fresh images"] = attacks(*half(tested[last]))
    return found


def asked_twice(model: nn.Module, fit: TensorDataset, test: TensorDataset) -> dict[str, Any]:
    """What an MLP reads of the features of an image alone, of an image and its mirror image, and of
    an image at half contrast (20,000 training images).
    """
    some = torch.randperm(len(fit), generator=torch.Generator().manual_seed(0))[:20_000]
    inputs = []
    for x, y in ([part[some] for part in fit.tensors], test.tensors):
        one, two, pale = (
            list(layers(model, view, y).values())[-1].features for view in (x, x.flip(3), 0.5 * x)
        )
        inputs.append((one, torch.cat([one, two, (one - two).abs()], 1), pale))
    y, found = test.tensors[1], {}
    for name, x, asked in zip(VIEWS, *inputs):
        hit = fit_mlp(x, fit.tensors[1][some], 10, [0]).scores(asked)[0].argmax(1) == y
        found[name] = {"forget": share(hit[y == DEER]), "remaining": share(hit[y != DEER])}
    return found


def validation(y: torch.Tensor) -> torch.Tensor:
    """The 1,000 other test images that helped to choose, as a mask."""
    others = (y != DEER).nonzero()[:, 0]
    mask = torch.zeros(len(y), dtype=torch.bool)
    mask[
        others[torch.randperm(len(others), generator=torch.Generator().manual_seed(99))][:1000]
    ] = True
    return mask


def layers(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> dict[str, Outputs]:
    """Pooled outputs of every ReLU: what the next layer is given, the head the last."""
    names = layers_with_weights(model, x[:2])[1:]
    rows: dict[str, list[torch.Tensor]] = {name: [] for name in names}
    scores = []
    device = next(model.parameters()).device
    with (
        eval_mode(model),
        image_layout(model),
        pooled_inputs(model, names) as seen,
        torch.autocast(device.type, torch.bfloat16),
    ):
        for part in x.split(500):
            part = part.to(device, memory_format=torch.channels_last)
            scores.append(forward(model, part).float().cpu())
            for name in names:
                rows[name].append(seen[name].cpu())
    logits = torch.cat(scores)
    return {
        f"relu{number}": Outputs(
            features=torch.cat(rows[name]), logits=logits, labels=y, forget=y == DEER
        )
        for number, name in enumerate(names, start=1)
    }


def attacks(fit: Outputs, test: Outputs, seeds: int = 3) -> dict[str, Any]:
    """What every attack reads of the forget test samples.

    A linear probe at C = 1 run to a gradient of 1e-4, neighbours, MLPs on 20,000 rows (their mean).

    Args:
        fit: rows that the attackers learn from, with the true labels.
        test: rows among which those of the request are read.
        seeds: MLPs.
    """
    classes = int(fit.labels.max()) + 1
    asked = test.rows(test.forget)
    linear = fit_linear(fit.features, fit.labels, classes, c=(1.0,), tolerance=1e-4)
    found = {"linear": linear.predict(asked.features)}
    everything = torch.arange(len(fit))
    near = fit.labels[neighbours(fit.features, everything, asked.features, 20, cosine=False)]
    found |= {f"kNN-{k}": vote(near[:, :k], classes) for k in (1, 5, 20)}
    rows = stratified(fit.labels, 20_000, 0)
    probes = fit_mlp(fit.features[rows], fit.labels[rows], classes, list(range(seeds)))
    read = probes.scores(asked.features).argmax(2)
    hits = {name: answer == asked.labels for name, answer in found.items()} | {
        "MLP": (read == asked.labels).double().mean(0)
    }
    return {name: share(hit) for name, hit in hits.items()} | {"converged": linear.converged}


def half(test: Outputs) -> tuple[Outputs, Outputs]:
    """The test images cut in two: what an attacker reads who has fresh images of deer instead of
    the training images.
    """
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(0))
    return test.rows(order[: len(test) // 2]), test.rows(order[len(test) // 2 :])
