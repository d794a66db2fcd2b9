"""MLP probe: what a small non-linear attacker reads, and how much of it is more than memory."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from unspan.metrics.outputs import Outputs
from unspan.metrics.score import Reading

_HIDDEN, _BATCH, _RATE, _EPOCHS, _PATIENCE = 256, 256, 2e-3, 40, 4
_ROWS = 20_000


def mlp_probe(fit: Outputs, test: Outputs, seed: int = 0, *, seeds: int = 3, limit: int = _ROWS) -> Reading:
    """One hidden layer of 256 on standardised features, Adam, early stop on a tenth of the fit rows; mean of three seeds.

    A fourth network is trained on permuted labels at the same cost (control task of Hewitt & Liang, 2019): selectivity is the
    accuracy above that one's. V-information is `H(Y) - CE` on test rows, in bits (Xu et al., 2020).

    Args:
        fit: labelled outputs the attacker has; at most `limit` rows are used, chosen at random.
        test: outputs he is judged on.
        seed: of starts, order and the choice of rows.
        seeds: networks.
        limit: fit rows.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(fit), generator=generator)[:limit]
    held = max(1, len(order) // 10)
    x, y, classes = fit.features[order], fit.labels[order], fit.classes()
    mean, scale = x.mean(0), x.std(0).clamp_min(1e-6)
    x = (x - mean) / scale
    targets = torch.stack([y] * seeds + [y[torch.randperm(len(y), generator=generator)]])
    nets, epochs = _train(x[held:], targets[:, held:], x[:held], targets[:, :held], classes, generator)
    scores = torch.cat([_scores(nets, (part - mean) / scale) for part in test.features.split(4096)], 1)
    hit = (scores.argmax(2) == test.labels).double()
    real, control = hit[:seeds].mean(0), hit[seeds]
    share = torch.bincount(test.labels.clamp_min(0), minlength=classes).double() / len(test)
    entropy = -float((share * share.clamp_min(1e-300).log2()).sum())
    loss = float(torch.stack([cross_entropy(one, test.labels) for one in scores[:seeds]]).mean()) / math.log(2)
    detail = {"hidden": _HIDDEN, "seeds": [float(one[test.forget].mean()) for one in hit[:seeds]], "epochs": epochs, "fit_rows": len(order) - held, "selectivity": float((real - control)[test.forget].mean()), "v_information_bits": entropy - loss}
    retain = float(real[~test.forget].mean()) if bool((~test.forget).any()) else None
    return Reading(attack="MLP probe", unit="share", forget=real[test.forget], retain=retain, detail=detail)


def _train(x: Tensor, y: Tensor, held_x: Tensor, held_y: Tensor, classes: int, generator: torch.Generator) -> tuple[list[Tensor], int]:
    """Networks trained side by side; each keeps the weights of its own best validation loss.

    Args:
        x: `[n, d]`.
        y: `[s, n]`, a row for each network.
        held_x: validation rows.
        held_y: their labels.
        classes: C.
        generator: of starts and order.
    """
    count, d = len(y), x.shape[1]
    shapes = ((count, d, _HIDDEN), (count, 1, _HIDDEN), (count, _HIDDEN, classes), (count, 1, classes))
    nets = [(torch.randn(shape, generator=generator) * math.sqrt(2 / shape[1]) if shape[1] > 1 else torch.zeros(shape)).requires_grad_() for shape in shapes]
    optimiser = torch.optim.Adam(nets, lr=_RATE)
    best, kept, since, epochs = torch.full((count,), math.inf), [one.detach().clone() for one in nets], 0, 0
    while epochs < _EPOCHS and since < _PATIENCE:
        for rows in torch.randperm(len(x), generator=generator).split(_BATCH):
            loss = cross_entropy(_scores(nets, x[rows]).flatten(0, 1), y[:, rows].flatten()) * count
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        epochs += 1
        with torch.no_grad():
            now = torch.stack([cross_entropy(one, target) for one, target in zip(_scores(nets, held_x), held_y, strict=True)])
            better = now < best
            best = torch.where(better, now, best)
            for old, new in zip(kept, nets, strict=True):
                old[better] = new[better]
        since = 0 if bool(better[:-1].any()) else since + 1
    return kept, epochs


def _scores(nets: list[Tensor], x: Tensor) -> Tensor:
    """`[s, n, C]`."""
    first, first_bias, second, second_bias = nets
    hidden = torch.baddbmm(first_bias, x.expand(len(first), -1, -1), first).relu()
    return torch.baddbmm(second_bias, hidden, second)
