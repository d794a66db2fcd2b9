"""The record of an audit: JSON and back, and every damaged field is refused by name."""

import copy
import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unspan.audit_record import stored
from unspan.audit_record.circumstances import EarlierAudit, NotRun
from unspan.audit_record.record import AuditRecord
from unspan.audit_record.remarks import Quantity, Remark, RemarkCode
from unspan.audit_record.results import (
    Advantage,
    AttackResult,
    Control,
    GoalResult,
    LevelResult,
    ScoreRow,
)
from unspan.audit_record.summary import AccessResult, NextStep
from unspan.audit_record.vocabulary import Expected, Planted, Verdict
from unspan.errors import DamagedRecord, UsageError
from unspan.metrics.identity import AttackId
from unspan.system.target import Target

SAMPLE = Path(__file__).parents[2] / "data" / "audit-sample.json"
text = st.text(max_size=20)
number = st.floats(allow_nan=False, allow_infinity=False)
quantities = st.builds(Quantity, value=number, low=number | st.none(), high=st.none(), unit=text)
values = text | number | st.integers(-(2**53), 2**53) | quantities
remarks = st.builds(
    Remark, st.sampled_from(list(RemarkCode)), st.dictionaries(text, values, max_size=2)
)


@pytest.fixture(scope="module")
def form():
    return json.loads(SAMPLE.read_text("utf-8"))


@pytest.fixture(scope="module")
def record():
    return stored.read(SAMPLE)


def test_json_and_back_is_the_same_record(record):
    assert stored.from_dict(json.loads(stored.to_json(record))) == record
    sealed = stored.sealed(record)
    assert sealed.seal == stored.seal(json.loads(stored.to_json(sealed)))
    assert sealed.seal == stored.sealed(sealed).seal


@settings(max_examples=50, deadline=None)
@given(
    attacks=st.lists(
        st.builds(
            AttackResult,
            **{name: number for name in ("original", "erased", "erased_low", "erased_high")},
            **{
                name: number | st.none()
                for name in ("reference", "false_positives", "rho", "rho_low", "rho_high", "retain")
            },
            verdict=st.none() | st.sampled_from(list(Verdict)),
            advantage=st.none()
            | st.builds(
                Advantage,
                **{name: number for name in ("original", "erased")},
                **{name: number | st.none() for name in ("reference", "low", "high")},
            ),
        ),
        max_size=2,
    ),
    levels=st.lists(st.builds(LevelResult, why=st.lists(remarks, max_size=2)), max_size=2),
    goals=st.lists(
        st.builds(GoalResult, value=st.none(), low=number, high=st.none(), bound=number), max_size=2
    ),
    controls=st.lists(st.builds(Control, read=st.none() | quantities), max_size=2),
    not_run=st.lists(st.builds(NotRun), max_size=2),
    attempts=st.lists(st.builds(EarlierAudit), max_size=2),
    scores=st.lists(
        st.builds(
            ScoreRow,
            value=number,
            low=number,
            high=st.none(),
            detail=st.dictionaries(text, number | text, max_size=2),
        ),
        max_size=2,
    ),
    notes=st.lists(remarks, max_size=2),
)
def test_any_record_survives_json(record, **changes):
    changed = dataclasses.replace(record, **changes)
    assert stored.from_dict(json.loads(stored.to_json(changed))) == changed


def test_what_could_not_be_computed_is_null(record):
    rows = [dataclasses.replace(record.scores[0], value=math.nan, high=math.inf)]
    changed = dataclasses.replace(record, scores=rows)
    (row,) = stored.from_dict(json.loads(stored.to_json(changed))).scores
    assert row.value is None and row.high is None


def test_values_of_other_libraries_are_written_as_plain_ones(record):
    changed = dataclasses.replace(
        record,
        versions={"torch": torch.__version__},
        details={"after": {"probe": {"C": np.float64(0.5), "bad": np.float64("nan")}}},
    )
    found = stored.from_dict(json.loads(stored.to_json(changed)))
    assert found.versions == {"torch": str(torch.__version__)}
    assert found.details == {"after": {"probe": {"C": 0.5, "bad": None}}}


def places(value, at=()):
    """The path of every field below a JSON value; of a list its first entry."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield (*at, name)
            yield from places(inner, (*at, name))
    elif isinstance(value, list) and value:
        yield from places(value[0], (*at, 0))


FREE = ("details", "versions", "seconds", "detail", "curves", "values")  # their names are not fixed
HAS_A_DEFAULT = {
    field.name
    for kind in (
        AuditRecord,
        AttackResult,
        AttackId,
        ScoreRow,
        AccessResult,
        NextStep,
        Control,
        Quantity,
        Remark,
    )
    for field in dataclasses.fields(kind)
    if field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
}


def changed_at(form, place, change):
    damaged = copy.deepcopy(form)
    spot = damaged
    for step in place[:-1]:
        spot = spot[step]
    change(spot, place[-1])
    return damaged


def test_every_missing_field_is_named(form):
    found = [
        place
        for place in places(form)
        if not set(place[:-1]) & set(FREE)
        and not {place[-1], place[0]} & {"schema", "figures"}
        and place[-1] not in HAS_A_DEFAULT
    ]
    assert len(found) > 70
    for place in found:
        with pytest.raises(DamagedRecord, match=f"damaged: .*`{place[-1]}`"):
            stored.from_dict(changed_at(form, place, lambda spot, key: spot.pop(key)))


def test_every_field_of_another_type_is_refused_with_its_place(form):
    """A list of lists is the type of no field but a matrix."""
    found = [place for place in places(form) if not set(place) & {*FREE, "schema"}]
    assert len(found) > 80
    for place in found:
        if place[-1] in ("before", "after") and place[-2] in ("cosine", "embedding"):
            continue

        def change(spot, key):
            spot[key] = [[[]]]

        with pytest.raises(DamagedRecord, match=rf"`\$\.{place[0]}"):
            stored.from_dict(changed_at(form, place, change))


@pytest.mark.parametrize(
    ("field", "value"),
    [("verdict", "DELETED"), ("seconds", {"total": "long"}), ("request", None), ("notes", "x")],
)
def test_words_that_no_audit_says_are_refused(form, field, value):
    with pytest.raises(DamagedRecord, match=field):
        stored.from_dict(form | {field: value})


@pytest.mark.parametrize(
    "value", [None, [], "x", {}, {"verdict": "RETAINED"}, {"schema": "unspan.audit/99"}]
)
def test_what_is_no_audit_or_of_another_version_is_refused(value):
    with pytest.raises(UsageError, match="no audit|this version reads") as caught:
        stored.from_dict(value)
    assert not isinstance(caught.value, DamagedRecord)


def test_a_file_that_is_no_json_is_refused(tmp_path):
    for content in (b"", b"\xff", b'{"schema": NaN}', b"[" * 100_000):
        (tmp_path / "audit.json").write_bytes(content)
        with pytest.raises(UsageError, match="cannot be read"):
            stored.read(tmp_path / "audit.json")
    with pytest.raises(UsageError, match="cannot be read"):
        stored.read(tmp_path)


def test_a_control_is_in_order_when_it_said_what_it_should():
    for expect, caught, ok in (
        (Expected.CAUGHT, True, True),
        (Expected.CAUGHT, False, False),
        (Expected.PASSED, True, False),
        (Expected.PASSED, False, True),
    ):
        assert Control(Planted.PERMUTED, expect, caught).ok is ok


def test_a_record_is_trusted_when_all_controls_are_in_order_and_the_reference_can_serve(record):
    assert record.trusted
    unusable = dataclasses.replace(record.reference, usable=False)
    assert not dataclasses.replace(record, reference=unusable).trusted
    missed = [Control(Planted.HEAD_EDIT, Expected.CAUGHT, False)]
    assert not dataclasses.replace(record, controls=missed).trusted


@pytest.mark.parametrize(
    ("target", "verdict", "met"),
    [
        (Target.SUPPRESS, Verdict.BELOW_RETRAINED, True),
        (Target.SUPPRESS, Verdict.LIKE_RETRAINED, True),
        (Target.SUPPRESS, Verdict.RETAINED, False),
        (Target.SUPPRESS, Verdict.INCONCLUSIVE, None),
        (Target.LIKE_RETRAINED, Verdict.LIKE_RETRAINED, True),
        (Target.LIKE_RETRAINED, Verdict.BELOW_RETRAINED, False),
        (Target.LIKE_RETRAINED, Verdict.NOT_MEASURABLE, None),
        (None, Verdict.LIKE_RETRAINED, None),
    ],
)
def test_whether_the_target_is_met_follows_from_the_verdict(record, target, verdict, met):
    method = dataclasses.replace(record.method, target=target)
    assert dataclasses.replace(record, method=method, verdict=verdict).target_met is met


def test_without_a_method_no_target_is_met(record):
    assert dataclasses.replace(record, method=None).target_met is None
