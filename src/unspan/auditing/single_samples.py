"""The sample-level attack: can samples of the request be told from samples never seen?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from unspan.audit_record.record import AttackResult
from unspan.auditing.case import Case
from unspan.auditing.verdict_rule import judge_members
from unspan.metrics.identity import AttackId, AttackKind
from unspan.metrics.outputs import Outputs
from unspan.metrics.rmia import rmia_scores
from unspan.metrics.score import Reading, auc_reading


def single_samples(case: Case) -> AttackResult | None:
    """The sample-level attack; an AUC of 0.5 is what a model that never saw the samples gives."""
    if not case.parts.unseen:
        return None
    found = sample_attack(case.fit, case.test, case.references, case.by_class)
    return judge_members(found["before"], found["after"]) if found else None


def sample_attack(
    fit: Mapping[str, Outputs],
    test: Mapping[str, Outputs],
    references: Sequence[str],
    by_class: bool,
) -> dict[str, Reading]:
    """RMIA with models that never saw the samples: AUC of the request against unseen samples, in
    the original and the erased model.

    Unseen samples are test samples of the forgotten class for a class request, so that the class
    itself tells nothing, else half of the other test samples; the population is the (other half of
    the) retained test samples.
    """
    found = {}
    for name in ("before", "after"):
        known, tested = fit[name], test[name]
        if known.logits is None or bool((known.labels[known.forget] < 0).any()):
            return {}
        population, outside = _unseen(tested.forget, by_class)
        # by the model itself, and by every reference
        in_population = _log_probabilities(test, name, references, population)
        members = rmia_scores(
            *_log_probabilities(fit, name, references, known.forget), *in_population
        )
        others = rmia_scores(*_log_probabilities(test, name, references, outside), *in_population)
        area = auc_reading("membership of single samples (RMIA)", members, others)
        found[name] = replace(area, identity=AttackId(AttackKind.MEMBERSHIP))
    return found


def _unseen(forget: Tensor, by_class: bool) -> tuple[Tensor, Tensor]:
    """Test rows of the population, and those that members are held against."""
    if by_class:
        return ~forget, forget
    half = torch.arange(len(forget)) % 2 == 0
    return ~forget & half, ~forget & ~half


def _log_probabilities(
    outputs: Mapping[str, Outputs], name: str, references: Sequence[str], rows: Tensor
) -> tuple[Tensor, Tensor]:
    """`[n]` log-probabilities of the true class by a model, and `[references, n]` by each
    reference.
    """
    own = _log_probability(outputs[name], rows)
    theirs = torch.stack([_log_probability(outputs[one], rows) for one in references])
    return own, theirs


def _log_probability(one: Outputs, rows: Tensor) -> Tensor:
    assert one.logits is not None
    every = one.logits[rows].double().log_softmax(1)
    return every.gather(1, one.labels[rows][:, None]).squeeze(1)
