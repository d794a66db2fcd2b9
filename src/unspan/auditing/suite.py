"""The attacks of a default audit, in one place: each reads one model's outputs and is judged on the
same test samples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from unspan.auditing.steps import Work
from unspan.metrics.fewshot import PROTOTYPE, REFIT, STANDARDISED, fewshot
from unspan.metrics.guardedness import affine_auc
from unspan.metrics.identification import identification
from unspan.metrics.identity import AttackId, AttackKind
from unspan.metrics.linear import linear_auc, linear_probe
from unspan.metrics.mlp import mlp_probe
from unspan.metrics.neighbours import nearest
from unspan.metrics.outputs import Outputs
from unspan.metrics.probes import names_forgotten, share_reading
from unspan.metrics.score import Reading
from unspan.metrics.signature import signature
from unspan.metrics.whitening import whitened_probe

Report = Callable[[Work], None]

_FEW_SHOT_KINDS = {
    PROTOTYPE: AttackKind.FEW_SHOT_PROTOTYPE,
    STANDARDISED: AttackKind.FEW_SHOT_STANDARDISED,
    REFIT: AttackKind.FEW_SHOT_REFIT,
}


def class_attacks(fit: Outputs, test: Outputs, seed: int, report: Report) -> list[Reading]:
    """Attacks on a class: the attacker has labelled examples of all classes."""
    report(Work.LINEAR)
    found = [
        _as(AttackKind.LINEAR, linear_probe(fit, test, seed)),
        _as(AttackKind.LINEAR_WHITENED, whitened_probe(fit, test, seed)),
        *_against_rest(fit, test, seed),
    ]
    report(Work.NEIGHBOURS)
    found += [_neighbours(one) for one in nearest(fit, test, seed=seed)]
    report(Work.MLP)
    found.append(_as(AttackKind.MLP, mlp_probe(fit, test, seed)))
    report(Work.FEW_SHOT)
    found += [_few_shot(one) for one in fewshot(fit, test, seed)]
    found += _signature(fit, test, report) + own_answer(test)
    if test.logits is None:
        by_mean, by_sample = identification(fit, test)
        found.append(_as(AttackKind.IDENTIFICATION, by_mean))
        found.append(_as(AttackKind.IDENTIFICATION_BY_SAMPLE, by_sample))
    return found


def group_attacks(fit: Outputs, test: Outputs, seed: int, report: Report) -> list[Reading]:
    """Attacks on a group of samples (a person, a folder): told apart from the rest, by features and
    by scores.
    """
    report(Work.LINEAR)
    return _against_rest(fit, test, seed) + _signature(fit, test, report)


def _against_rest(fit: Outputs, test: Outputs, seed: int) -> list[Reading]:
    return [
        _as(AttackKind.LINEAR_AGAINST_REST, linear_auc(fit, test, seed)),
        _as(AttackKind.AFFINE_AGAINST_REST, affine_auc(fit, test)),
    ]


def _signature(fit: Outputs, test: Outputs, report: Report) -> list[Reading]:
    if fit.logits is None:
        return []
    report(Work.SIGNATURE)
    return [_as(AttackKind.SIGNATURE, signature(fit, test))]


def view_attacks(fit: Outputs, test: Outputs, seed: int, *, by_class: bool) -> list[Reading]:
    """Attacks with ten views of each image.

    Args:
        fit: outputs of samples that the attacker knows, averaged over the views.
        test: of those that he is judged on.
        seed: of the probe.
        by_class: the request is a class; otherwise samples are told apart from the rest.
    """
    read = linear_probe(fit, test, seed) if by_class else linear_auc(fit, test, seed)
    probe = replace(read, attack="linear probe, ten views of an image")
    found = [_as(AttackKind.LINEAR_OF_VIEWS, probe)]
    return found + answer_of_views(test) if by_class else found


def own_answer(test: Outputs) -> list[Reading]:
    """What the model itself names; nothing where it has no scores."""
    return _answer(test, AttackKind.OWN_ANSWER, "the model's own answer")


def answer_of_views(test: Outputs) -> list[Reading]:
    """What the model names over ten views of an image; nothing where it has no scores."""
    name = "the model's own answer, ten views of an image"
    return _answer(test, AttackKind.ANSWER_OF_VIEWS, name)


def _answer(test: Outputs, kind: AttackKind, name: str) -> list[Reading]:
    if test.logits is None:
        return []
    read = test.logits.argmax(1)
    named = names_forgotten(read, test)
    return [_as(kind, share_reading(name, read == test.labels, test, named))]


def _as(kind: AttackKind, reading: Reading) -> Reading:
    return replace(reading, identity=AttackId(kind))


def _neighbours(reading: Reading) -> Reading:
    kind = AttackKind.NEIGHBOURS if reading.unit == "share" else AttackKind.NEIGHBOURS_AGAINST_REST
    detail = reading.detail
    identity = AttackId(kind, neighbours=detail["k"], metric=detail["metric"])
    return replace(reading, identity=identity)


def _few_shot(reading: Reading) -> Reading:
    kind = _FEW_SHOT_KINDS[reading.detail["variant"]]
    return replace(reading, identity=AttackId(kind, shots=reading.detail["m"]))
