"""MLP probe (A7): what one hidden layer reads, with a control task and the usable information in
bits.

Several seeds are trained at once as one batched product, each with its own weights and order of
samples.
Control task: the same training with permuted labels (Hewitt and Liang 2019); selectivity is
accuracy minus that of the control. V-information: entropy of the labels minus cross-entropy of the
probe (Xu et al. 2020).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unspan.metrics.outputs import Outputs
from unspan.metrics.probes import classes_of, moments, share_reading, shuffled, stratified
from unspan.metrics.score import Reading

HIDDEN, RATE, BATCH, EPOCHS, PATIENCE = 256, 1e-3, 256, 60, 4
_ROWS = 2048


@dataclass(frozen=True, kw_only=True)
class Probes:
    """Networks of S seeds, each at its best epoch on the validation rows.

    Attributes:
        layers: `[S, d, 256]`, `[S, 1, 256]`, `[S, 256, K]`, `[S, 1, K]`.
        mean: `[d]` subtracted from the features.
        scale: `[d]` divides them.
        epochs: epochs trained.
        best: epoch of each seed's weights.
    """

    layers: tuple[Tensor, ...]
    mean: Tensor
    scale: Tensor
    epochs: int
    best: list[int]

    def scores(self, features: Tensor) -> Tensor:
        """Log probabilities `[S, n, K]`."""
        parts = [
            forward(self.layers, ((x - self.mean) / self.scale).expand(len(self.best), -1, -1))
            for x in features.split(_ROWS)
        ]
        return torch.cat(parts, 1).log_softmax(2)


def forward(layers: tuple[Tensor, ...], x: Tensor) -> Tensor:
    """Scores `[S, b, K]` of inputs `[S, b, d]`."""
    first, offset, second, bias = layers
    return torch.baddbmm(bias, torch.baddbmm(offset, x, first).relu_(), second)


def fit_mlp(features: Tensor, labels: Tensor, classes: int, seeds: list[int]) -> Probes:
    """Train one network a seed: Adam, rate 1e-3, batch 256, until the loss on a tenth of the rows
    stops falling.

    Memory: one standardised copy of the features.

    Args:
        features: `[n, d]` float32.
        labels: `[n]` in 0 … K-1.
        classes: K.
        seeds: of first weights and order; the validation rows depend on the first seed.
    """
    order = shuffled(len(labels), seeds[0])
    held = order[: max(len(order) // 10, 1)]
    used = order[max(len(order) // 10, 1) :]
    mean, scale = (
        part.float() for part in moments(features, torch.ones(len(labels), dtype=torch.float64))
    )
    x = (features - mean).div_(scale)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    layers = _start(x.shape[1], classes, generators)
    adam = torch.optim.Adam(layers, lr=RATE)
    lowest = torch.full((len(seeds),), math.inf)
    best = [0] * len(seeds)
    kept = [layer.detach().clone() for layer in layers]
    for epoch in range(1, EPOCHS + 1):
        passes = torch.stack(
            [used[torch.randperm(len(used), generator=generator)] for generator in generators]
        )
        for rows in passes.split(BATCH, 1):
            scores = forward(layers, x[rows])
            adam.zero_grad()
            torch.nn.functional.cross_entropy(
                scores.flatten(0, 1), labels[rows].flatten(), reduction="sum"
            ).div(rows.shape[1]).backward()
            adam.step()
        with torch.no_grad():
            losses = torch.stack(
                [
                    -_own(
                        forward(layers, x[part].expand(len(seeds), -1, -1)).log_softmax(2),
                        labels[part],
                    ).sum(1)
                    for part in held.split(_ROWS)
                ]
            ).sum(0)
            for one in (losses < lowest).nonzero()[:, 0].tolist():
                lowest[one] = losses[one]
                best[one] = epoch
                for to, layer in zip(kept, layers, strict=True):
                    to[one] = layer[one]
        if epoch - max(best) >= PATIENCE:
            break
    return Probes(layers=tuple(kept), mean=mean, scale=scale, epochs=epoch, best=best)


def _start(dim: int, classes: int, generators: list[torch.Generator]) -> tuple[Tensor, ...]:
    """He-normal weights and zero biases, one network a generator."""
    first = (
        torch.stack([torch.randn(dim, HIDDEN, generator=g) for g in generators]) * (2 / dim) ** 0.5
    )
    second = (
        torch.stack([torch.randn(HIDDEN, classes, generator=g) for g in generators])
        * (1 / HIDDEN) ** 0.5
    )
    s = len(generators)
    return tuple(
        layer.requires_grad_()
        for layer in (first, torch.zeros(s, 1, HIDDEN), second, torch.zeros(s, 1, classes))
    )


def _own(log: Tensor, labels: Tensor) -> Tensor:
    """Log probability `[S, n]` of the labels."""
    return log.gather(2, labels.expand(len(log), -1)[..., None])[..., 0]


def mlp_probe(
    fit: Outputs, test: Outputs, seed: int = 0, *, seeds: int = 3, cap: int = 20_000
) -> Reading:
    """What MLP probes read of the forget test samples: the mean hit over the seeds.

    `detail`: accuracy on all labelled test rows of probe and control, their difference
    `selectivity`, and V-information in bits over all test rows and over the forget rows (mean over
    seeds; below 0 when the probe is more surely wrong than the class shares are).

    Args:
        fit: rows the probe is trained on, at most `cap` of them, with the class shares of all.
        test: rows it is judged on.
        seed: of everything random.
        seeds: networks.
        cap: largest number of fit rows.
    """
    classes = classes_of(fit, test)
    index = stratified(fit.labels, cap, seed)
    features, labels = fit.features[index], fit.labels[index]
    probes = fit_mlp(features, labels, classes, [seed * seeds + one for one in range(seeds)])
    control = fit_mlp(features, labels[shuffled(len(labels), seed + 1)], classes, [seed])
    log = probes.scores(test.features)
    labelled = test.labels >= 0
    answer = test.labels.clamp_min(0)
    hit = (log.argmax(2) == test.labels).double().mean(0)
    chance = (control.scores(test.features).argmax(2)[0] == test.labels).double()
    counts = torch.bincount(labels, minlength=classes).double() + 1  # no class has probability 0
    bits = (_own(log, answer).double().mean(0) - (counts / counts.sum()).log()[answer]) / math.log(
        2
    )
    accuracy, random = float(hit[labelled].mean()), float(chance[labelled].mean())
    detail = {
        "hidden": HIDDEN,
        "seeds": seeds,
        "fit rows": len(index),
        "epochs": probes.epochs,
        "best epochs": probes.best,
        "accuracy": accuracy,
        "control accuracy": random,
        "selectivity": accuracy - random,
        "V-information, bits": float(bits[labelled].mean()),
        "V-information of forget rows, bits": float(bits[labelled & test.forget].mean()),
    }
    return share_reading("MLP probe", hit, test, **detail)
