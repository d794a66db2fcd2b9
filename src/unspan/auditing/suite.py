"""The attacks of a default audit, in one place: each reads one model's outputs and is judged on the
same test samples.
"""

from __future__ import annotations

from collections.abc import Callable

from unspan.metrics.fewshot import fewshot
from unspan.metrics.guardedness import affine_auc
from unspan.metrics.linear import linear_auc, linear_probe
from unspan.metrics.mlp import mlp_probe
from unspan.metrics.neighbours import nearest
from unspan.metrics.outputs import Outputs
from unspan.metrics.score import Reading
from unspan.metrics.signature import signature
from unspan.metrics.whitening import whitened_probe

Report = Callable[[str], None]

EXPLAIN = {
    "linear probe (converged)": (
        "somebody who sees features trains a linear classifier on labelled examples, to convergence"
    ),
    "linear probe, whitened": (
        "somebody who sees features takes their scale and correlation away, then trains a linear"
        " classifier to convergence"
    ),
    "affine predictor": (
        "somebody who sees features solves for the best affine guess of what was forgotten"
    ),
    "linear probe, forget against rest": (
        "somebody who sees features learns to tell forgotten samples from all others"
    ),
    "MLP probe": "somebody who sees features trains a small neural network on labelled examples",
    "kNN": "somebody who sees features compares them with labelled examples",
    "output signature": (
        "somebody who sees only the scores of the model learns how they look for forgotten samples"
    ),
    "few-shot": (
        "somebody with a few examples of the forgotten class adds it to a classifier of the other"
        " classes"
    ),
}


def explain(attack: str) -> str:
    """What a person without training in the field should know about an attack."""
    return next((text for name, text in EXPLAIN.items() if attack.startswith(name)), "")


def class_attacks(fit: Outputs, test: Outputs, seed: int, report: Report) -> list[Reading]:
    """Attacks on a class: the attacker has labelled examples of all classes."""
    found = []
    report("linear probe")
    found += [
        linear_probe(fit, test, seed),
        whitened_probe(fit, test, seed),
        linear_auc(fit, test, seed),
        affine_auc(fit, test),
    ]
    report("nearest neighbours")
    found += nearest(fit, test, seed=seed)
    report("MLP probe")
    found.append(mlp_probe(fit, test, seed))
    report("few-shot relearning")
    found += fewshot(fit, test, seed)
    if fit.logits is not None:
        report("output signature")
        found.append(signature(fit, test))
    return found


def group_attacks(fit: Outputs, test: Outputs, seed: int, report: Report) -> list[Reading]:
    """Attacks on a group of samples (a person, a folder): told apart from the rest, by features and
    by scores.
    """
    report("linear probe")
    found = [linear_auc(fit, test, seed), affine_auc(fit, test)]
    if fit.logits is not None:
        report("output signature")
        found.append(signature(fit, test))
    return found
