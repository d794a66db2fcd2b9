"""Sentences of a record: drawn from tables by typed codes, which a decision never reads."""

import copy
import dataclasses
import json
import string
from pathlib import Path

import pytest
from report_pages import html, markdown, words

from unspan.audit_record import circumstances, record, results, stored, summary
from unspan.audit_record.remarks import Quantity, Remark, RemarkCode, remark
from unspan.audit_record.vocabulary import (
    FooledScore,
    Goal,
    LeftOut,
    Level,
    Limit,
    Planted,
    ReferenceKind,
    TestData,
)
from unspan.report import statements
from unspan.report.words import codes
from unspan.report.words import remarks as tables

SAMPLE = Path(__file__).parents[2] / "data" / "audit-sample.json"


@pytest.fixture(scope="module")
def form():
    return json.loads(SAMPLE.read_text("utf-8"))


def names_in(words):
    return {name for _, name, _, _ in string.Formatter().parse(words) if name}


@pytest.mark.parametrize(
    ("table", "members"),
    [
        (tables.REMARK, RemarkCode),
        (codes.LEVEL_TITLE, Level),
        (codes.GOAL_NAME, Goal),
        (codes.GOAL_RULE, Goal),
        (codes.TEST_DATA, TestData),
        (codes.LIMIT, Limit),
        (codes.LEFT_OUT, LeftOut),
        (codes.LEFT_OUT_WHY, LeftOut),
        (codes.PLANTED, Planted),
        (codes.FOOLED_SCORE, FooledScore),
    ],
)
def test_every_code_has_words(table, members):
    assert set(table) == set(members) and all(table.values())


def remarks_of(form):
    """Every remark in a JSON form."""
    if isinstance(form, dict):
        if set(form) == {"code", "values"}:
            yield form
        form = list(form.values())
    if isinstance(form, list):
        for one in form:
            yield from remarks_of(one)


def test_words_name_exactly_the_values_that_a_remark_carries(form):
    found = list(remarks_of(form))
    assert len(found) > 8
    for one in found:
        assert names_in(tables.REMARK[RemarkCode(one["code"])]) == set(one["values"])


@pytest.mark.parametrize("code", list(RemarkCode))
@pytest.mark.parametrize("value", [None, "x", 3, 2.5, Quantity(value=None), Quantity(value=0.5)])
def test_any_remark_of_an_edited_record_can_be_read(code, value):
    """A value may be missing, or of another kind than the words expect."""
    names = names_in(tables.REMARK[code])
    values = {} if value is None else dict.fromkeys(names, value)
    assert "{" not in statements.sentence(Remark(code, values))


def test_numbers_are_written_as_everywhere():
    read = Quantity(value=0.5, low=0.25, high=0.75, n=1200)
    one = remark(RemarkCode.OWN_SCORES, read=read, bound=0.15)
    assert statements.sentence(one).replace("\u00a0", " ") == (
        "its own scores are right for 50.0 % [25.0, 75.0], n = 1,200 of the forgotten samples;"
        " the bound is 15 %"
    )
    assert statements.sentence(remark(RemarkCode.NONE_READS_MORE, tried=1)).startswith(
        "none of 1 kind of attackers"
    )


def test_strange_characters_of_a_name_are_made_visible():
    told = statements.sentence(remark(RemarkCode.OTHER_REQUEST, names="a\u202eb"))
    assert "a\\u202eb" in told


def test_another_language_is_another_table(form, monkeypatch):
    german = {code: f"DE {code.value}" for code in RemarkCode}
    monkeypatch.setattr(statements, "REMARK", german)
    seen = words(html(form))
    assert "DE own_scores; DE largest_after_cast" in seen and "its own scores" not in seen


def test_the_reference_says_how_many_there_are(form):
    told = [
        statements.reference_note(
            stored.from_dict(form | {"reference": form["reference"] | {"kind": kind, "count": n}})
        )
        for kind, n in [(ReferenceKind.RETRAINED.value, n) for n in (1, 2, 3)]
    ]
    assert "one seed does not show it" in told[0] and "three or more seeds" in told[1]
    assert told[2] == "3 models given as trained without the forgotten data"


def test_a_record_holds_no_field_of_prose():
    """A text is a name, a hash, a date or a code. Notes of scores are the one exception."""
    prose = {"headline", "claims", "explain", "title", "goal", "why", "found"}
    for module in (circumstances, record, results, summary):
        for kind in vars(module).values():
            if not dataclasses.is_dataclass(kind) or kind.__module__ != module.__name__:
                continue
            texts = {
                one.name
                for one in dataclasses.fields(kind)
                if str(one.type) in ("str", "str | None", "list[str]")
            }
            assert not texts & prose, kind.__name__


def test_other_audits_of_the_request_are_counted_by_verdict(form):
    tried = copy.deepcopy(form)
    tried["attempts"] = [
        {"after": "", "config": "", "verdict": word} for word in ("RETAINED", None, "RETAINED")
    ]
    told = "This request was audited before with other models or settings, 3 times: 2 RETAINED"
    assert any(
        one.startswith(told) and "1 not finished" in one
        for one in statements.notes(stored.from_dict(tried))
    )
    assert told in markdown(tried)
