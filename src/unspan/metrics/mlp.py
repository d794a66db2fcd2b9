"""MLP probe (A7): what one hidden layer reads, with a control task and the usable information in
bits.

Several seeds are trained at once as one batched product, each with its own weights and order of
samples. Weights decay a little: without that, a network of few rows learns their noise first and
reads too little. Training runs on one thread: its products are small, and a sum that is split
otherwise would lead to other networks. The gradient is written out, since recording it costs more
than computing it (`benchmarks/mlp.py`).
Control task: the same training with permuted labels (Hewitt and Liang 2019); selectivity is
accuracy minus that of the control. V-information: entropy of the labels minus cross-entropy of the
probe (Xu et al. 2020).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unspan.erasers.linalg import one_thread
from unspan.metrics.outputs import Outputs
from unspan.metrics.probes import (
    classes_of,
    moments,
    names_forgotten,
    share_reading,
    shuffled,
    stratified,
)
from unspan.metrics.score import Reading

HIDDEN, RATE, BATCH = 128, 2e-3, 128
DECAY = 2e-3  # of the weights: half of it times their squares is added to the loss
STEPS = 4000  # at most
LOWER = 1e-3  # nats by which a loss must fall to count as lower
PATIENCE = 600  # steps without a lower validation loss, and at least four passes over the rows
_ROWS = 2048

Layers = tuple[Tensor, ...]


@dataclass(frozen=True, kw_only=True)
class Probes:
    """Networks of S seeds, at their best or at their last step: what reads more validation rows.

    Attributes:
        layers: `[S, d, 128]`, `[S, 1, 128]`, `[S, 128, K]`, `[S, 1, K]`.
        mean: `[d]` subtracted from the features.
        scale: `[d]` divides them.
        steps: trained.
        best: step of each seed with the lowest validation loss.
        stopped: accuracy on validation rows at those steps.
        ended: at the last step.
        converged: no seed found a lower validation loss for long.
    """

    layers: Layers
    mean: Tensor
    scale: Tensor
    steps: int
    best: list[int]
    stopped: float
    ended: float
    converged: bool

    def scores(self, features: Tensor) -> Tensor:
        """Log probabilities `[S, n, K]`."""
        parts = [
            forward(self.layers, ((x - self.mean) / self.scale).expand(len(self.best), -1, -1))
            for x in features.split(_ROWS)
        ]
        return torch.cat(parts, 1).log_softmax(2)


def forward(layers: Layers, x: Tensor) -> Tensor:
    """Scores `[S, b, K]` of inputs `[S, b, d]`."""
    first, offset, second, bias = layers
    return torch.baddbmm(bias, torch.baddbmm(offset, x, first).relu_(), second)


@dataclass(frozen=True)
class _Run:
    """Networks after training, one for each seed.

    Attributes:
        best: layers at the lowest validation loss.
        last: layers at the end.
        at: `[S]` step with the lowest validation loss.
        steps: trained.
        converged: stopped before the largest number of steps.
    """

    best: Layers
    last: Layers
    at: Tensor
    steps: int
    converged: bool


def fit_mlp(features: Tensor, labels: Tensor, classes: int, seeds: list[int]) -> Probes:
    """Train one network a seed: Adam, rate 2e-3, batch 128, until the loss on a tenth of the rows
    has stopped falling.

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
    with one_thread():
        x = (features - mean).div_(scale)
        run = _trained(x, labels, classes, used, held, seeds)
        stopped, ended = (_accuracy(layers, x, labels, held) for layers in (run.best, run.last))
    return Probes(
        layers=run.last if ended >= stopped else run.best,
        mean=mean,
        scale=scale,
        steps=run.steps,
        best=run.at.tolist(),
        stopped=stopped,
        ended=ended,
        converged=run.converged,
    )


def _trained(
    x: Tensor,
    labels: Tensor,
    classes: int,
    used: Tensor,
    held: Tensor,
    seeds: list[int],
) -> _Run:
    """Train a network for each seed on standardised features `[n, d]`.

    Args:
        x: `[n, d]`.
        labels: `[n]`.
        classes: K.
        used: rows to train on.
        held: rows whose loss stops the training.
        seeds: of weights and order.
    """
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    pack, layers = _start(x.shape[1], classes, generators)
    pack.grad = torch.zeros_like(pack)
    slopes = _parts(pack.grad, len(seeds), x.shape[1], classes)
    adam = torch.optim.Adam([pack], lr=RATE, fused=True)
    losses = torch.full((len(generators),), math.inf)
    at = torch.zeros(len(generators), dtype=torch.int64)
    best = [layer.clone() for layer in layers]
    patience = max(PATIENCE, 4 * math.ceil(len(used) / BATCH))
    step = 0
    while step < STEPS and step - int(at.max()) < patience:
        passes = torch.stack([used[torch.randperm(len(used), generator=g)] for g in generators])
        for rows in passes.split(BATCH, 1):
            chosen = x.index_select(0, rows.flatten()).view(*rows.shape, -1)
            _descent(layers, slopes, chosen, labels[rows])
            adam.step()
            step += 1
        found = _validated(layers, x, labels, held)
        lower = found < losses - LOWER
        losses = losses.where(~lower, found)
        at = at.where(~lower, torch.tensor(step))
        for kept, layer in zip(best, layers, strict=True):
            kept[lower] = layer[lower]
    return _Run(tuple(best), layers, at, step, step - int(at.max()) >= patience)


@torch.no_grad()
def _descent(layers: Layers, slopes: Layers, x: Tensor, labels: Tensor) -> None:
    """Write into `slopes` the gradient of the sum, over networks, of the mean loss and half the
    decayed squares of the weights.

    Args:
        layers: weights and biases of the networks.
        slopes: of the same shapes, overwritten.
        x: `[S, b, d]` inputs.
        labels: `[S, b]`.
    """
    first, offset, second, bias = layers
    hidden = torch.baddbmm(offset, x, first).relu_()
    excess = torch.baddbmm(bias.mT, second.mT, hidden.mT).softmax(1)  # [S, K, b], faster so
    excess.scatter_add_(1, labels[:, None], torch.full_like(excess[:, :1], -1.0))
    excess /= x.shape[1]
    torch.baddbmm(second.mT, excess, hidden, beta=DECAY, out=slopes[2].mT)
    torch.sum(excess, 2, keepdim=True, out=slopes[3].mT)
    back = torch.bmm(excess.mT, second.mT).mul_(hidden.sign_())
    torch.baddbmm(first, x.mT, back, beta=DECAY, out=slopes[0])
    torch.sum(back, 1, keepdim=True, out=slopes[1])


@torch.no_grad()
def _validated(layers: Layers, x: Tensor, labels: Tensor, held: Tensor) -> Tensor:
    """Mean loss `[N]` of each network on the held rows."""
    parts = [
        _own(forward(layers, x[rows].expand(len(layers[0]), -1, -1)).log_softmax(2), labels[rows])
        for rows in held.split(_ROWS)
    ]
    return -torch.cat(parts, 1).mean(1)


@torch.no_grad()
def _accuracy(layers: Layers, x: Tensor, labels: Tensor, held: Tensor) -> float:
    """Mean accuracy of the networks on the held rows."""
    hits = [
        forward(layers, x[rows].expand(len(layers[0]), -1, -1)).argmax(2) == labels[rows]
        for rows in held.split(_ROWS)
    ]
    return float(torch.cat(hits, 1).double().mean())


def _start(dim: int, classes: int, generators: list[torch.Generator]) -> tuple[Tensor, Layers]:
    """Glorot-normal weights and zero biases, one network a generator: all in one vector, and as
    layers that share its memory.
    """
    n = len(generators)
    pack = torch.zeros(n * (dim * HIDDEN + HIDDEN + HIDDEN * classes + classes))
    layers = _parts(pack, n, dim, classes)
    first = torch.stack([torch.randn(dim, HIDDEN, generator=g) for g in generators])
    second = torch.stack([torch.randn(HIDDEN, classes, generator=g) for g in generators])
    layers[0].copy_(first * (2 / (dim + HIDDEN)) ** 0.5)
    layers[2].copy_(second * (2 / (HIDDEN + classes)) ** 0.5)
    return pack, layers


def _parts(pack: Tensor, n: int, dim: int, classes: int) -> Layers:
    """The layers of n networks that lie in one vector, one kind of layer after another.

    The second layer lies there as `[n, K, 128]`, the form in which its products are fast.
    """
    first, offset, second, bias = pack.split(
        [n * dim * HIDDEN, n * HIDDEN, n * classes * HIDDEN, n * classes]
    )
    return (
        first.view(n, dim, HIDDEN),
        offset.view(n, 1, HIDDEN),
        second.view(n, classes, HIDDEN).mT,
        bias.view(n, 1, classes),
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
    permuted = labels[shuffled(len(labels), seed + 1)]
    control = fit_mlp(features, permuted, classes, [seed])
    log = probes.scores(test.features)
    labelled = test.labels >= 0
    answer = test.labels.clamp_min(0)
    read = log.argmax(2)
    hit = (read == test.labels).double().mean(0)
    named = names_forgotten(read, test).double().mean(0)
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
        "weight decay": DECAY,
        "steps": probes.steps,
        "best steps": probes.best,
        "converged": probes.converged,
        "validation accuracy, stopped": probes.stopped,
        "validation accuracy, at the end": probes.ended,
        "accuracy": accuracy,
        "control accuracy": random,
        "selectivity": accuracy - random,
        "V-information, bits": float(bits[labelled].mean()),
        "V-information of forget rows, bits": float(bits[labelled & test.forget].mean()),
    }
    return share_reading("MLP probe", hit, test, named, **detail)
