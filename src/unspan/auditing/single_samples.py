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
from unspan.metrics.lira import lira_scores, scaled_logits
from unspan.metrics.outputs import Outputs
from unspan.metrics.rmia import rmia_scores
from unspan.metrics.score import Reading, auc_reading

_FEWEST = 10  # samples of a class in the population
_TIED = 0.5  # of the scores on one value: the attack is saturated, and its AUC says nothing


def single_samples(case: Case) -> AttackResult | None:
    """The sample-level attack; an AUC of 0.5 is what a model that never saw the samples gives.

    None where it cannot be measured: no unseen samples, labels or scores, or scores that are tied.
    """
    if not case.unseen_retained:
        return None
    found = sample_attack(case.fit, case.test, case.references, case.by_class)
    return judge_members(found["before"], found["after"]) if found else None


def sample_attack(
    fit: Mapping[str, Outputs],
    test: Mapping[str, Outputs],
    references: Sequence[str],
    by_class: bool,
) -> dict[str, list[Reading]]:
    """RMIA and LiRA with models that never saw the samples: AUC of the request against unseen
    samples, in the original and the erased model.

    The population of RMIA is of the sample's own class: to a model that forgot a class, samples of
    other classes are all more probable, and every score would be 0. Half of the unseen samples of a
    class are its population, and members are held against the other half. Unseen are test samples
    of the forgotten class for a class request, else the retained test samples. Nothing where scores
    are tied in either model, or no class has enough samples.
    """
    found = {}
    for name in ("before", "after"):
        known, tested = fit[name], test[name]
        if known.logits is None or known.logits.shape[1] < 2:
            return {}
        if bool((known.labels[known.forget] < 0).any()):
            return {}
        unseen = (tested.forget if by_class else ~tested.forget) & (tested.labels >= 0)
        members, others = _scores(fit, test, name, references, unseen, by_class)
        if not len(members) or not len(others) or _is_tied(torch.cat([members, others])):
            return {}
        area = auc_reading("membership of single samples (RMIA)", members, others)
        surer = [
            _likelihoods(outputs, name, references, rows)
            for outputs, rows in ((fit, known.forget), (test, unseen))
        ]
        ratio = auc_reading("membership of single samples (LiRA)", *surer)
        found[name] = [
            replace(area, identity=AttackId(AttackKind.MEMBERSHIP)),
            replace(ratio, identity=AttackId(AttackKind.MEMBERSHIP_LIKELIHOOD)),
        ]
    return found


def _likelihoods(
    outputs: Mapping[str, Outputs], name: str, references: Sequence[str], rows: Tensor
) -> Tensor:
    """Scores `[n]` of LiRA for some rows."""

    def sure(one: Outputs) -> Tensor:
        assert one.logits is not None
        return scaled_logits(one.logits[rows], one.labels[rows])

    return lira_scores(sure(outputs[name]), torch.stack([sure(outputs[one]) for one in references]))


def _scores(
    fit: Mapping[str, Outputs],
    test: Mapping[str, Outputs],
    name: str,
    references: Sequence[str],
    unseen: Tensor,
    by_class: bool,
) -> tuple[Tensor, Tensor]:
    """Scores of the members and of unseen samples, class by class."""
    known, labels = fit[name], test[name].labels
    members, others = [torch.empty(0).double()], [torch.empty(0).double()]
    for label in known.labels[known.forget].unique().tolist():
        own = ((labels == label) & unseen).nonzero()[:, 0]
        population, outside = own[::2], own[1::2]
        if len(population) < _FEWEST:
            continue
        mine = ((known.labels == label) & known.forget).nonzero()[:, 0]
        among = _log_probabilities(test, name, references, population)
        a = _trust(among[0], by_class)
        of_members = _log_probabilities(fit, name, references, mine)
        of_others = _log_probabilities(test, name, references, outside)
        members.append(rmia_scores(*of_members, *among, a=a))
        others.append(rmia_scores(*of_others, *among, a=a))
    return torch.cat(members), torch.cat(others)


def _trust(population: Tensor, by_class: bool) -> float:
    """How far the references' probabilities count as they are: a of RMIA.

    Where the model forgot the class as the references never knew it, all of them are small, and
    only their ratio tells (a = 1). Otherwise a is that of the authors.

    Args:
        population: log-probabilities of the class by the audited model.
        by_class: the references never saw the class.
    """
    is_forgotten = float(population.median().exp()) < 0.5
    return 1.0 if by_class and is_forgotten else 0.3


def _is_tied(scores: Tensor) -> bool:
    """Whether most scores are one value."""
    counts = scores.unique(return_counts=True)[1]
    return int(counts.max()) > _TIED * len(scores)


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
