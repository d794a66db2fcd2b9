"""Everything that an audit reports beside its attacks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from unspan.artifact.record import Record, record_of
from unspan.audit_record.results import ScoreRow
from unspan.audit_record.vocabulary import ReferenceKind, ScoreGroup
from unspan.auditing import feature_scores, published, scores
from unspan.auditing.case import Case, Models
from unspan.auditing.collect import collect
from unspan.auditing.reference import random_weights
from unspan.auditing.steps import Work, step
from unspan.auditing.subjects import Subject, subject
from unspan.data.inputs import first_rows
from unspan.data.loading import batches
from unspan.erasers import Projection
from unspan.errors import UnspanError
from unspan.extraction import head_parameters
from unspan.metrics.identity import ScoreKind
from unspan.metrics.leakage import null_directions
from unspan.metrics.outputs import Outputs
from unspan.metrics.score import Reading
from unspan.metrics.stability import NOISE, instability, noise_for
from unspan.run import Run

_NOISY = 500  # samples of each kind for the instability attack


def other_scores(case: Case, readings: dict[str, list[Reading]]) -> list[ScoreRow]:
    """Everything that is reported beside the attacks, in the order of the report."""
    return [
        *_of_outputs(case),
        *scores.relearning(readings),
        *_of_features(case, readings),
        *([] if case.models is None else _of_models(case, case.models)),
    ]


def _of_outputs(case: Case) -> list[ScoreRow]:
    """Utility, membership, and the scores that papers print, for every model with outputs."""
    rows: list[ScoreRow] = []
    for name in ("before", "after", *_networks(case)):
        case.run.begin(step(Work.SCORES, name))
        fit, test = case.fit[name], case.test[name]
        original = case.test["before"] if name == "after" else None
        unseen = case.unseen & (test.forget == case.by_class)
        rows += scores.utility(name, fit, test, original)
        rows += scores.membership(name, fit, test, unseen, case.run.seed)
        if case.by_class and bool((fit.labels >= 0).all()):
            rows += _retention(case, name, rows)
            rows += [] if original is None else published.aus_rows(original, test)
    if bool((case.unseen & ~case.test["before"].forget).any()):
        rows += _table_five(case, rows)
    record = None if case.models is None else record_of(case.models.after.model)
    return rows if record is None else rows + published.run_time(record.receipt)


def _networks(case: Case) -> list[str]:
    """Names of the references that are networks."""
    return [] if case.kind is ReferenceKind.PIXELS else case.references


def _retrained(case: Case) -> list[str]:
    """Names of the references that were trained without the forgotten data."""
    return case.references if case.kind is ReferenceKind.RETRAINED else []


def _retention(case: Case, name: str, before_it: list[ScoreRow]) -> list[ScoreRow]:
    """KR of a model; for the erased one also over the original's accuracy."""
    rows, reading = published.retention(name, case.fit[name], case.test[name], case.run.seed)
    own = scores.described(before_it, ScoreKind.FORGET_ACCURACY, "before", "test forget")
    if name == "after" and own is not None and own.value:
        rows.append(published.recovery(own.value, reading))
    return rows


def _table_five(case: Case, before_it: list[ScoreRow]) -> list[ScoreRow]:
    retrained = _retrained(case)
    names = ("before", "after", *retrained)
    fit = {name: case.fit[name] for name in names}
    test = {name: case.test[name] for name in names}
    rows = published.table_five(fit, test, case.unseen, retrained, case.run.seed)
    return rows + published.nomus_rows(test, case.unseen, [*before_it, *rows])


def _of_features(case: Case, readings: dict[str, list[Reading]]) -> list[ScoreRow]:
    """How far features moved, and whether answers part from those of the references."""
    rows = feature_scores.representation(case.fit["after"], case.test, _networks(case))
    compared = {name: case.fit[name] for name in ("before", "after", *_networks(case))}
    rows += feature_scores.ranks(compared, case.run.seed)
    rows += published.rus_rows(case.test, _retrained(case), readings["after"])
    if _retrained(case):
        rows += feature_scores.against_reference(case.fit, case.test, _retrained(case))
    return rows


def _of_models(case: Case, models: Models) -> list[ScoreRow]:
    """What needs the models themselves, not their outputs alone."""
    return [*_of_files(case, models), *_zrf(case, models), *_stability(case, models)]


def _of_files(case: Case, models: Models) -> list[ScoreRow]:
    """What the delivered weights give away, as they are and after casts."""
    before, after = models.before, models.after
    original = head_parameters(before.model, before.feature_layer)
    head = head_parameters(after.model, after.feature_layer)
    directions = _directions(record_of(after.model), original, head)
    read_alone = None if _in_score_path(after) else head
    return [
        *feature_scores.leakage(directions, head, case.fit["before"]),
        *feature_scores.casts(case.test["after"], read_alone, original, directions),
    ]


def _in_score_path(one: Subject) -> bool:
    """The head's features are not what it is given (an eraser on its input), so casting the head
    alone says nothing.
    """
    return one.feature_layer.before


def _directions(
    record: Record | None, original: feature_scores.Head | None, head: feature_scores.Head | None
) -> Tensor | None:
    """Removed directions as an artifact holder gets them: stored in the model, else from the
    difference of both heads.
    """
    if record is not None and isinstance(record.eraser, Projection):
        return record.eraser.basis
    if (
        original is None
        or head is None
        or original[0].shape != head[0].shape
        or torch.equal(original[0], head[0])
    ):
        return None
    return null_directions(original[0], head[0])


def _zrf(case: Case, models: Models) -> list[ScoreRow]:
    """ZRF against three networks with random weights."""
    before = case.test["before"]
    if before.logits is None:
        return []
    case.run.begin(step(Work.UNTRAINED))
    random = _answers_of_random_networks(case, models)
    if not random:
        return []
    forgotten = {
        name: case.test[name].rows(before.forget).logits
        for name in ("before", "after", *case.references)
        if name != "pixels"
    }
    return published.forgetting_zrf(
        {
            name: one
            for name, one in forgotten.items()
            if one is not None and one.shape == random[0].shape
        },
        random,
    )


def _answers_of_random_networks(case: Case, models: Models) -> list[Tensor]:
    """Scores `[n, C]` of three networks with random weights; none where such networks give none."""
    example = first_rows(models.inputs, 2)
    try:
        networks = [
            subject(f"random {seed}", random_weights(models.before.model, 1000 + seed), example)
            for seed in range(3)
        ]
        found = _collected(case, networks, models.parts.test_forget, None, Work.UNTRAINED)
    except UnspanError:  # features that are not finite with random weights
        return []
    scores = [found[one.name].logits for one in networks]
    return [one for one in scores if one is not None]


def _stability(case: Case, models: Models) -> list[ScoreRow]:
    """Do features of forgotten samples move more than others under tiny noise on the input?"""
    if not (isinstance(models.inputs, Tensor) and models.inputs.is_floating_point()):
        return []
    parts, everyone = models.parts, [models.before, models.after, *models.others]
    forget, retain = _first(case, parts.test_forget), _first(case, parts.test_retain)
    x = torch.cat([forget, retain])
    marks = case.test["before"].forget
    rows = torch.cat([marks.nonzero()[: len(forget), 0], (~marks).nonzero()[: len(retain), 0]])
    noisy = x + noise_for(x, seed=case.run.seed)
    asked, others = TensorDataset(noisy[: len(forget)]), TensorDataset(noisy[len(forget) :])
    case.run.begin(step(Work.STABILITY))
    moved = _collected(case, everyone, asked, others, Work.STABILITY)
    found = []
    for one in everyone:
        clean = case.test[one.name].features[rows]
        score = instability(clean, moved[one.name].features, marks[rows], NOISE).score("test")
        found.append(scores.row(ScoreGroup.STABILITY, one.name, score, ScoreKind.NOISE))
    return found


def _first(case: Case, data: Any) -> Tensor:
    """Inputs of the first samples."""
    some = batches(data, _limited(case.run), shard=False)
    return torch.cat([batch.inputs[: len(batch)] for batch in some])


def _collected(
    case: Case, networks: Sequence[Subject], forget: Any, retain: Any, work: Work
) -> dict[str, Outputs]:
    """Outputs of networks by name, kept in the cache."""
    assert case.cache is not None
    return collect(networks, forget, retain, case.run, case.cache, str(work))[0]


def _limited(run: Run) -> Run:
    return replace(run, max_samples=_NOISY, progress=None)
