"""What attackers read of a network at many of its layers, from one answer and from ten, and what
one gets back who trains all of its weights on.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

import torch
from _bake_attacks import attacks
from _cifar10 import share
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from unspan.auditing.views import VIEWS, are_images
from unspan.data.inputs import place
from unspan.data.loading import batches
from unspan.extraction import eval_mode, forward, input_like
from unspan.methods.baking.layers import layers_with_weights, pooled_inputs
from unspan.metrics.outputs import Outputs
from unspan.metrics.probes import stratified
from unspan.run import Run

KNOWN = 20_000  # training samples that attackers learn from
TUNINGS = (("sgd", 0.01), ("sgd", 0.05), ("adam", 3e-4), ("adam", 1e-3))
STEPS = (50, 150)
BATCH = 64
VALIDATION = 400


@dataclass(frozen=True)
class Samples:
    """Inputs `[n, ...]`, labels `[n]`, and which are of the request `[n]`."""

    x: Tensor
    y: Tensor
    gone: Tensor

    def rows(self, index: Tensor) -> Samples:
        """Some of them."""
        return Samples(self.x[index], self.y[index], self.gone[index])


def samples(forget: Sequence[Any], retain: Any, run: Run) -> Samples:
    """The samples of requests and the others, in memory."""
    inputs, labels, marks = [], [], []
    for gone, part in [(True, one) for one in forget] + [(False, retain)]:
        for batch in batches(part, run, shard=False):
            assert batch.labels is not None
            inputs.append(batch.inputs[: len(batch)])
            labels.append(batch.labels)
            marks.append(torch.full((len(batch),), gone))
    return Samples(torch.cat(inputs), torch.cat(labels), torch.cat(marks))


def read_at_layers(model: nn.Module, fit: Samples, test: Samples, count: int) -> dict[str, Any]:
    """Accuracies, and what every attack reads at each layer.

    Args:
        model: under attack.
        fit: training samples; attackers learn from at most 20,000, in proportion to the classes.
        test: test samples.
        count: most layers, spread evenly over the network; the input of the head is the last.
    """
    known = fit.rows(stratified(fit.y, KNOWN, 0))
    asked = test.rows(test.gone)
    names = spread(layers_with_weights(model, fit.x[:2])[1:], count)
    hit = scores(model, test.x).argmax(1) == test.y
    found: dict[str, Any] = {
        "others": share(hit[~test.gone]),
        "forget": share(hit[test.gone]),
        "layers": _read(model, names, known, asked, VIEWS[:1]),
    }
    if are_images(fit.x) and fit.x.shape[1] in (1, 3):  # not what frozen layers give
        found["ten views"] = _read(model, names, known, asked, VIEWS)
    return found


def spread(names: list[str], count: int) -> list[str]:
    """At most `count` of the names, evenly spread, the first and the last among them."""
    if len(names) <= count:
        return names
    return [names[round(i * (len(names) - 1) / (count - 1))] for i in range(count)]


def _read(
    model: nn.Module,
    names: list[str],
    known: Samples,
    asked: Samples,
    views: Sequence[Callable[[Tensor], Tensor]],
) -> dict[str, Any]:
    """Attacks on the mean features over some views, by layer."""
    learned, read = (features(model, names, one, views) for one in (known, asked))
    return {name: attacks(learned[name], read[name], seeds=1) for name in names}


def features(
    model: nn.Module,
    names: list[str],
    data: Samples,
    views: Sequence[Callable[[Tensor], Tensor]],
) -> dict[str, Outputs]:
    """Pooled inputs of layers `[n, d]`, means over views, on the processor."""
    rows: dict[str, list[Tensor]] = {name: [] for name in names}
    with eval_mode(model), pooled_inputs(model, names) as seen:
        for part in data.x.split(500):
            means: dict[str, Tensor] = {}
            for view in views:
                forward(model, place(view(part), input_like(model, part)))
                for name in names:
                    means[name] = means.get(name, 0) + seen[name] / len(views)
            for name in names:
                rows[name].append(means[name].cpu())
    return {
        name: Outputs(features=torch.cat(parts), logits=None, labels=data.y, forget=data.gone)
        for name, parts in rows.items()
    }


def scores(model: nn.Module, x: Tensor) -> Tensor:
    """Class scores `[n, K]`, on the processor."""
    with eval_mode(model):
        like = input_like(model, x[:2])
        return torch.cat([forward(model, place(part, like)).cpu() for part in x.split(500)])


def relearned(
    model: nn.Module,
    fit: Samples,
    test: Samples,
    m: int,
    draw: int,
    tunings: Sequence[tuple[str, float]] = TUNINGS,
) -> dict[str, Any]:
    """What is named after training on: all weights, on m training samples of each class.

    Optimiser, step size and number of steps (50 or 150) are the best on 400 further training
    samples, by the mean of what is named of the request and of the others.

    Args:
        model: under attack; unchanged.
        fit: training samples.
        test: test samples.
        m: samples of each class that the attacker has.
        draw: which ones.
        tunings: optimisers and step sizes to choose from.
    """
    order = torch.randperm(len(fit.y), generator=torch.Generator().manual_seed(draw))
    own = torch.cat([order[fit.y[order] == label][:m] for label in fit.y.unique()])
    rest = order[~torch.isin(order, own)]
    gone = fit.gone[rest]
    half = VALIDATION // 2
    judged = [fit.rows(rest[mask][:half]) for mask in (gone, ~gone)]
    best: tuple[float, str, float, int, nn.Module] | None = None
    for optimiser, lr in tunings:
        for steps, tried in trained_on(model, fit.rows(own), optimiser, lr, draw):
            value = mean(float(named(tried, one).double().mean()) for one in judged)
            if best is None or value > best[0]:
                best = value, optimiser, lr, steps, tried
    assert best is not None
    hit = named(best[-1], test)
    return {
        "m": m,
        "draw": draw,
        "optimiser": best[1],
        "lr": best[2],
        "steps": best[3],
        "forget": share(hit[test.gone]),
        "others": share(hit[~test.gone]),
    }


def trained_on(
    model: nn.Module, own: Samples, optimiser: str, lr: float, seed: int
) -> list[tuple[int, nn.Module]]:
    """Copies of the network after so many steps on the attacker's samples."""
    net = copy.deepcopy(model).train()
    like = input_like(model, own.x[:2])
    descent: torch.optim.Optimizer = (
        torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9)
        if optimiser == "sgd"
        else torch.optim.Adam(net.parameters(), lr=lr)
    )
    stream = torch.Generator().manual_seed(seed)
    found = []
    for step in range(1, max(STEPS) + 1):
        index = torch.randint(len(own.y), (BATCH,), generator=stream)
        x = own.x[index]
        if are_images(x):
            flipped = torch.rand(len(x), generator=stream) < 0.5
            x = torch.where(flipped[:, None, None, None], x.flip(3), x)
        x = place(x, like)
        descent.zero_grad()
        cross_entropy(net(x), own.y[index].to(x.device)).backward()
        descent.step()
        if step in STEPS:
            found.append((step, copy.deepcopy(net).eval()))
    return found


def named(model: nn.Module, data: Samples) -> Tensor:
    """Which samples the network names by their label, `[n]` bool."""
    return scores(model, data.x).argmax(1) == data.y
