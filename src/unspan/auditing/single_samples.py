"""The sample-level attack: can samples of the request be told from samples never seen?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unspan.audit_record.results import AttackResult, ScoreRow
from unspan.audit_record.vocabulary import ScoreGroup
from unspan.auditing.case import Case
from unspan.auditing.member_rule import judge_members
from unspan.auditing.scores import UNSEEN_SPLIT, row
from unspan.metrics.identity import AttackId, AttackKind
from unspan.metrics.lira import lira_scores, log_probability, scaled_logits
from unspan.metrics.membership import membership_scores, two_sided_scores
from unspan.metrics.outputs import Outputs
from unspan.metrics.rmia import DEFAULT_A, rmia_leave_one_out
from unspan.metrics.score import Reading, auc_reading

_BOTH_SIDES = 20  # samples a side of the two-sided attack, which fits on half of them
FEWEST = 20  # unseen samples of a class: fewer are no population
_TELLS = 50  # samples of the request, and unseen ones, that tell which a is best
_GRID = sorted((step / 10 for step in range(11)), key=lambda a: abs(a - DEFAULT_A))
_TIED = 0.5  # of the scores on one value: the attack is saturated, and its AUC says nothing
Pair = tuple[Tensor, Tensor]  # scaled logits of the request, and of unseen samples, of one class
_NAMES = {
    AttackKind.MEMBERSHIP: "RMIA",
    AttackKind.MEMBERSHIP_LIKELIHOOD: "LiRA",
    AttackKind.MEMBERSHIP_LOSS: "two-sided loss",
}


@dataclass(frozen=True)
class SampleAttack:
    """What one attack says of each sample, by one model. Higher means that it was trained on.

    Attributes:
        kind: which attack.
        members: `[m]` scores of the request.
        others: `[r]` scores of samples that no model saw; the same samples for every attack.
        note: for the reader.
    """

    kind: AttackKind
    members: Tensor
    others: Tensor
    note: str = ""

    @property
    def reading(self) -> Reading:
        """The AUC; 0.5 is what a model that never saw the samples gives."""
        name = f"membership of single samples ({_NAMES[self.kind]})"
        area = auc_reading(name, self.members, self.others)
        return replace(area, identity=AttackId(self.kind))

    @property
    def is_tied(self) -> bool:
        """Whether most scores are one value."""
        scores = torch.cat([self.members, self.others])
        return int(scores.unique(return_counts=True)[1].max()) > _TIED * len(scores)

    def rows(self, model: str) -> list[ScoreRow]:
        """AUC and true positives at low false-positive rates, for the report."""
        found = membership_scores(_NAMES[self.kind], self.members, self.others, UNSEEN_SPLIT)
        noted = [one if one.note else replace(one, note=self.note) for one in found]
        return [row(ScoreGroup.MEMBERSHIP, model, one) for one in noted]


@dataclass(frozen=True)
class SingleSamples:
    """The sample-level attack of an audit.

    Attributes:
        result: how the strongest attack reads the erased model.
        untouched: how the original would be judged if it were given as the erased model.
        rows: every attack on every model.
    """

    result: AttackResult
    untouched: AttackResult
    rows: list[ScoreRow]


def single_samples(case: Case) -> SingleSamples | None:
    """The sample-level attack; an AUC of 0.5 is what a model that never saw the samples gives.

    None where it cannot be measured: no unseen samples, labels or scores, or scores that are tied.
    """
    if not case.unseen_retained:
        return None
    found = sample_attack(case.fit, case.test, case.references, case.by_class)
    if not found:
        return None
    read = {name: [one.reading for one in own] for name, own in found.items()}
    never = [read[name] for name in case.references if name in read]
    rows = [line for name, own in found.items() for one in own for line in one.rows(name)]
    return SingleSamples(
        result=judge_members(read["before"], read["after"], never),
        untouched=judge_members(read["before"], read["before"], never),
        rows=rows,
    )


def sample_attack(
    fit: Mapping[str, Outputs],
    test: Mapping[str, Outputs],
    references: Sequence[str],
    by_class: bool,
) -> dict[str, list[SampleAttack]]:
    """RMIA and LiRA with models that never saw the samples, and losses that stand out, by model.

    Each reference is attacked with the others as references, which shows what the attacks read
    where there is nothing.

    The population of RMIA is of the sample's own class: to a model that forgot a class, samples of
    other classes are all more probable, and every score would be 0. All attacks are judged on the
    same samples. Unseen are test samples of the forgotten class for a class request, else the
    retained test samples. Nothing where scores are tied in the original or the erased model, or no
    class has enough samples.
    """
    for name in ("before", "after"):
        logits = fit[name].logits
        if logits is None or logits.shape[1] < 2:
            return {}
    known, tested = fit["before"], test["before"]
    if bool((known.labels[known.forget] < 0).any()):
        return {}
    unseen = (tested.forget if by_class else ~tested.forget) & (tested.labels >= 0)
    classes = _classes(known, tested.labels, unseen)
    if not classes:
        return {}
    sure = _scaled(fit, test, classes)
    a, why = _chosen(sure["before"], [sure[one] for one in references])
    found = {}
    for name in ("before", "after", *references):
        never = [sure[one] for one in references if one != name]
        if not never:
            continue
        attacks = [
            _rmia(sure[name], never, a, why, by_class),
            _lira(sure[name], never),
            *_by_loss(sure[name]),
        ]
        is_tied = any(one.is_tied for one in attacks)
        if is_tied and name in ("before", "after"):
            return {}
        if not is_tied:
            found[name] = attacks
    return found


def _classes(known: Outputs, labels: Tensor, unseen: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Rows of the request and unseen rows, for each class that has enough of these."""
    found = []
    for label in known.labels[known.forget].unique().tolist():
        own = ((labels == label) & unseen).nonzero()[:, 0]
        if len(own) >= FEWEST:
            found.append((((known.labels == label) & known.forget).nonzero()[:, 0], own))
    return found


def _scaled(
    fit: Mapping[str, Outputs],
    test: Mapping[str, Outputs],
    classes: Sequence[tuple[Tensor, Tensor]],
) -> dict[str, list[Pair]]:
    """Scaled logits of the request and of unseen samples, for each class, by model."""

    def sure(one: Outputs, rows: Tensor) -> Tensor:
        assert one.logits is not None
        return scaled_logits(one.logits[rows], one.labels[rows])

    return {
        name: [(sure(fit[name], mine), sure(test[name], own)) for mine, own in classes]
        for name in fit
    }


def _chosen(original: Sequence[Pair], references: Sequence[Sequence[Pair]]) -> tuple[float, str]:
    """The a of RMIA that tells most in the original, and a note.

    Its authors choose a by an attack on another model of which they know what it saw. References
    saw nothing of the request and all of the rest, so the original is the one such model here. The
    erased model has no part in the choice.
    """
    members, others = (sum(len(pair[place]) for pair in original) for place in (0, 1))
    if min(members, others) < _TELLS:
        return DEFAULT_A, f"a = {DEFAULT_A:g}, not chosen: fewer than {_TELLS} samples a side"
    areas = {}
    for a in _GRID:
        scores = _rmia_scores(original, references, [a] * len(original))
        areas[a] = auc_reading("", *scores).value
    best = max(areas, key=areas.__getitem__)
    return best, f"a = {best:g}, chosen on the original"


def _rmia(
    audited: Sequence[Pair],
    references: Sequence[Sequence[Pair]],
    a: float,
    why: str,
    by_class: bool,
) -> SampleAttack:
    """RMIA with a = 1 for a class that the model forgot as the references never knew it: all
    probabilities are small then, and only their ratio tells.
    """
    forgotten = [by_class and float(others.median()) < 0 for _, others in audited]
    each = [1.0 if gone else a for gone in forgotten]
    note = "a = 1, where the class was forgotten" if any(forgotten) else why
    return SampleAttack(AttackKind.MEMBERSHIP, *_rmia_scores(audited, references, each), note)


def _rmia_scores(
    audited: Sequence[Pair], references: Sequence[Sequence[Pair]], a: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """Scores of members and of unseen samples, each class with an a of its own."""
    scores = []
    for place, own in enumerate(audited):
        members, others = (
            (log_probability(own[side]), log_probability(_stacked(references, place, side)))
            for side in (0, 1)
        )
        scores.append(rmia_leave_one_out(members, others, a=a[place]))
    return torch.cat([one[0] for one in scores]), torch.cat([one[1] for one in scores])


def _lira(audited: Sequence[Pair], references: Sequence[Sequence[Pair]]) -> SampleAttack:
    """LiRA, with one variance for members and unseen samples of all classes."""
    own = [part for pair in audited for part in pair]
    theirs = [_stacked(references, place, side) for place in range(len(audited)) for side in (0, 1)]
    scores = lira_scores(torch.cat(own), torch.cat(theirs, 1)).split([len(part) for part in own])
    members, others = torch.cat(scores[::2]), torch.cat(scores[1::2])
    return SampleAttack(AttackKind.MEMBERSHIP_LIKELIHOOD, members, others)


def _by_loss(audited: Sequence[Pair]) -> list[SampleAttack]:
    """Losses that stand out either way, without any reference; nothing for a few samples."""
    members, others = (
        -log_probability(torch.cat([one[side] for one in audited])) for side in (0, 1)
    )
    if min(len(members), len(others)) < _BOTH_SIDES:
        return []
    scores = two_sided_scores(members, others)
    return [SampleAttack(AttackKind.MEMBERSHIP_LOSS, *scores)]


def _stacked(references: Sequence[Sequence[Pair]], place: int, side: int) -> Tensor:
    """Scaled logits `[references, n]` of one class, of the request (0) or of unseen samples (1)."""
    return torch.stack([one[place][side] for one in references])
