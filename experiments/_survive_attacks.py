"""Every attack of `experiments/survive.py` on one eraser, as JSON values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from _attacks import area, as_row, by_place, equal, logarithms, mahalanobis, trees
from torch import Tensor

from unspan.erasers import Eraser, placed
from unspan.metrics.fewshot import fewshot
from unspan.metrics.guardedness import affine_auc
from unspan.metrics.linear import linear_auc, linear_probe
from unspan.metrics.mlp import mlp_probe
from unspan.metrics.neighbours import nearest
from unspan.metrics.outputs import Outputs
from unspan.metrics.score import Reading, auc_reading
from unspan.metrics.signature import log_probabilities, signature
from unspan.metrics.stability import instability
from unspan.metrics.whitening import whitened_probe

Map = Callable[[Tensor], Tensor]


def measured(eraser: Eraser | None, found: dict[str, Any], seed: int) -> dict[str, Any]:
    """Accuracies and every attack, on what `_survive_features.features` found."""
    through = _through(eraser)
    fit, test = (_outputs(found[split], through, found["head"]) for split in ("train", "test"))
    hit = test.logits.argmax(1) == found.get("answers", torch.arange(10))[test.labels]
    probes, areas = _of_features(fit, test, seed)
    return {
        "own forget": float(hit[test.forget].double().mean()),
        "remaining": float(hit[~test.forget].double().mean()),
        "probes": _named(probes),
        "AUC, features": _named(areas),
        "AUC, log-probabilities": _named(_of_scores(fit, test, seed)),
        "instability": _of_altered_images(found, through),
        "few-shot": _named(fewshot(fit, test, seed, shots=(10, 50))),
    }


def _through(eraser: Eraser | None) -> Map:
    """The map of features, in double precision; nothing without an eraser."""
    if eraser is None:
        return lambda z: z
    double = placed(eraser, "last", torch.zeros(1, dtype=torch.float64))
    return lambda z: double(z.double()).float()


def _outputs(one: Outputs, through: Map, head: tuple[Tensor, Tensor]) -> Outputs:
    weight, bias = head
    z = through(one.features)
    return Outputs(
        features=z,
        logits=(z.double() @ weight.mT + bias).float(),
        labels=one.labels,
        forget=one.forget,
    )


def _named(readings: list[Reading]) -> dict[str, Any]:
    return {one.attack: as_row(one) for one in readings}


def _of_features(fit: Outputs, test: Outputs, seed: int) -> tuple[list[Reading], list[Reading]]:
    """What is read of the class in features, and AUC of the forget samples against the others."""
    neighbours = nearest(fit, test, seed=seed)
    both = [attack(fit, test, seed) for attack in (logarithms, trees)]
    probes = [
        linear_probe(fit, test, seed),
        whitened_probe(fit, test, seed),
        mlp_probe(fit, test, seed),
        *(one for one in neighbours if one.unit != "AUC"),
        *(probe for probe, _ in both),
    ]
    areas = [
        linear_auc(fit, test, seed),
        affine_auc(fit, test),
        *(one for one in neighbours if one.unit == "AUC"),
        area("MLP", fit.features, fit.forget, test.features, test.forget, seed),
        by_place(fit, test, seed),
        mahalanobis(fit, test),
        *(sees for _, sees in both),
    ]
    return probes, areas


def _of_scores(fit: Outputs, test: Outputs, seed: int) -> list[Reading]:
    """AUC of the forget samples against the others, from class scores alone."""
    own, asked = (log_probabilities(one).float() for one in (fit, test))
    return [signature(fit, test), area("MLP", own, fit.forget, asked, test.forget, seed)]


def _of_altered_images(found: dict[str, Any], through: Map) -> dict[str, Any]:
    """AUC of who moves more when the image is disturbed."""
    clean, noisy, mark = found["moved"]
    before, after = through(clean), through(noisy)

    def moved(one: Tensor) -> Tensor:
        return (through(one) - before).norm(dim=1) / before.norm(dim=1)

    most = torch.stack([moved(one) for one in found["moved 20"]]).amax(0)
    return {
        "equal values": as_row(equal(before, after, mark)),
        "one query": as_row(instability(before, after, mark)),
        "most of 20 queries": as_row(auc_reading("", most[mark], most[~mark])),
        "one query, 5 %": as_row(instability(before, through(found["moved, 5 %"]), mark)),
    }
