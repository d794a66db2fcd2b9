"""From the outputs of all models to what was measured: attacks, scores, self-tests, verdict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from unspan.audit_record.results import AttackResult, Control, Informative, ScoreRow
from unspan.audit_record.vocabulary import (
    INCONCLUSIVE,
    NOT_MEASURABLE,
    RETAINED,
    Verdict,
)
from unspan.auditing.case import Case
from unspan.auditing.levels import chance_bound
from unspan.auditing.returned import Returned, unchanged
from unspan.auditing.self_tests import aligned, self_tests
from unspan.auditing.single_samples import single_samples
from unspan.auditing.steps import Work, step
from unspan.auditing.suite import class_attacks, group_attacks, view_attacks
from unspan.auditing.supplementary import other_scores
from unspan.auditing.verdict_rule import overall, together
from unspan.auditing.white_box import WhiteBox, white_box
from unspan.metrics.score import Reading
from unspan.run import Run


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """What an audit measured.

    Attributes:
        verdict: the word for all attackers together.
        attacks: those that decide first; for requests of samples, the sample-level attack.
        readings: what every attack reads, by model.
        white_box: what the weights give away.
        samples: the sample-level attack, None when it was not run.
        handed_out: tensors that the erased model returns as the original did.
        scores: everything that is reported beside the attacks.
        controls: planted cases.
        informative: scores, and whether a fake passes them.
    """

    verdict: Verdict
    attacks: list[AttackResult]
    readings: dict[str, list[Reading]]
    white_box: WhiteBox
    samples: AttackResult | None
    handed_out: list[Returned]
    scores: list[ScoreRow]
    controls: list[Control]
    informative: list[Informative]


def measure(case: Case) -> Measurements:
    """Run every attack on every model, and judge."""
    readings = {name: _attacked(case, name) for name in ("before", "after", *case.references)}
    columns = aligned(readings, case)
    decision = overall(
        columns.before,
        columns.after,
        columns.references,
        retrained=case.is_compared,
        chance=chance_bound(case.test["before"].classes()),
    )
    attacks = decision.attacks
    box = white_box(case)
    scores = other_scores(case, readings)
    single = None
    if case.is_compared:
        case.run.begin(step(Work.SAMPLES))
        single = single_samples(case)
    untouched = []
    if single is not None:
        scores += single.rows
    if single is not None and not case.by_class:
        attacks = [single.result, *attacks]
        untouched = [single.untouched]
    word = together(attacks)
    models = case.models
    handed_out = []
    if models is not None:
        handed_out = unchanged(models.before, models.after, models.inputs)
    controls, informative = self_tests(case, readings, columns, scores, untouched)
    return Measurements(
        verdict=_final(word, case.usable, handed_out),
        attacks=[_ended(one, readings) for one in attacks],
        readings=readings,
        white_box=box,
        samples=None if single is None else single.result,
        handed_out=handed_out,
        scores=scores,
        controls=controls,
        informative=informative,
    )


def _attacked(case: Case, name: str) -> list[Reading]:
    """What every attack reads of one model."""
    suite = class_attacks if case.by_class else group_attacks
    seed, begins = case.run.seed, _begins(case.run, name)
    found = suite(case.fit[name], case.test[name], seed, begins)
    if name not in case.fit_views:
        return found
    begins(Work.VIEWS)
    fit, test = case.fit_views[name], case.test_views[name]
    return found + view_attacks(fit, test, seed, by_class=case.by_class)


def _begins(run: Run, name: str) -> Callable[[Work], None]:
    """Tells that an attack on a model begins."""
    return lambda work: run.begin(step(work, name))


def _final(word: Verdict, usable: bool, handed_out: Sequence[Returned]) -> Verdict:
    """The verdict of the attacks, held against the reference and what the model hands out."""
    if not usable:
        return NOT_MEASURABLE
    if not word.erased or not handed_out:
        return word
    return RETAINED if any(one.features for one in handed_out) else INCONCLUSIVE


def _ended(attack: AttackResult, readings: dict[str, list[Reading]]) -> AttackResult:
    """The result with whether the attack ran to its end in every model."""
    own = [one for found in readings.values() for one in found if one.identity == attack.identity]
    converged = all(one.detail.get("converged") is not False for one in own)
    return replace(attack, converged=converged)
