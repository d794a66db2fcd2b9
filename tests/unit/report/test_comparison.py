"""Audits side by side: what they agree in, when they are ranked, and what the page says."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from typer.testing import CliRunner

from unspan.audit_record import stored
from unspan.audit_record.vocabulary import ReferenceKind, Verdict
from unspan.cli import app
from unspan.errors import UsageError
from unspan.metrics.identity import AttackId, AttackKind
from unspan.report.agreement import Aspect
from unspan.report.comparison import Given, compared
from unspan.report.comparison_files import of_files, to_json
from unspan.report.comparison_page import html, lead, markdown, tables

SAMPLE = stored.read(Path(__file__).parents[2] / "data" / "audit-sample.json")


def audit(now=0.833, *, half=0.02, unit="share", method="esc", **changes):
    """The sample with another strongest attack, which alone decides."""
    first = SAMPLE.attacks[0]
    assert first.advantage is not None
    kind = AttackKind.LINEAR if unit == "share" else AttackKind.LINEAR_AGAINST_REST
    value = now if unit == "share" else 0.5 + now / 2
    width = half if unit == "share" else half / 2
    attack = replace(
        first,
        identity=AttackId(kind),
        unit=unit,
        erased=value,
        erased_low=value - width,
        erased_high=value + width,
        advantage=replace(first.advantage, erased=now),
    )
    others = [replace(one, verdict=None, advantage=None) for one in SAMPLE.attacks[1:]]
    assert SAMPLE.method is not None
    made = replace(SAMPLE, attacks=[attack, *others], method=replace(SAMPLE.method, name=method))
    return replace(made, **changes)


def given(*records, intact=True):
    return [
        Given(name=f"audit-{place}", record=one, intact=intact) for place, one in enumerate(records)
    ]


def places(*records):
    return [one.place for one in compared(given(*records)).audits]


# ---- the same question ---------------------------------------------------------------------------


def other(**hashes):
    return audit(hashes=replace(SAMPLE.hashes, **hashes))


@pytest.mark.parametrize(
    ("aspect", "record"),
    [
        (Aspect.REQUEST, audit(request=replace(SAMPLE.request, selector=["cat"]))),
        (Aspect.REQUEST, audit(request=replace(SAMPLE.request, samples=4999))),
        (Aspect.DATA, other(fit_data="0" * 64)),
        (Aspect.DATA, other(test_data="0" * 64)),
        (Aspect.ORIGINAL, other(before="sha256:" + "0" * 64)),
        (Aspect.REFERENCES, other(reference=["sha256:" + "0" * 64])),
        (Aspect.SETTINGS, audit(settings=replace(SAMPLE.settings, seed=1))),
        (Aspect.SETTINGS, audit(settings=replace(SAMPLE.settings, pool="mean"))),
        (
            Aspect.SETTINGS,
            audit(settings=replace(SAMPLE.settings, rule=replace(SAMPLE.settings.rule, room=0.2))),
        ),
    ],
    ids=lambda one: str(one) if isinstance(one, Aspect) else "",
)
def test_audits_of_different_questions_are_not_ranked_and_it_is_said_which(aspect, record):
    found = compared(given(audit(), record, audit()))
    differing = {one.aspect for one in found.shared if not one.same}
    assert differing == {aspect}
    assert found.refused == [f"not the same {aspect}"] and not found.ranked
    assert {one.place for one in found.audits} == {None}
    page, text = html(found), markdown(found)
    for said in (page, text):
        assert f"not the same {aspect}" in said.replace("Not the same", "not the same")
        assert "A, C | B" in said.replace("\\|", "|")
    row = next(row for row in tables(found)[2].rows if str(aspect) in row[0].text)
    assert row[1].text == "no" and row[1].mark == "no"


@pytest.mark.parametrize(
    "record",
    [
        audit(settings=replace(SAMPLE.settings, batch_size=7)),
        audit(versions={"torch": "9"}),
        audit(created="2030-01-01T00:00:00+00:00"),
        other(after="sha256:" + "1" * 64),
        other(config="sha256:" + "1" * 64),
    ],
)
def test_what_does_not_change_the_question_does_not_forbid_a_rank(record):
    found = compared(given(audit(), record))
    assert found.ranked, found.refused


def test_references_in_another_order_are_the_same():
    one = other(reference=["sha256:a", "sha256:b"])
    two = other(reference=["sha256:b", "sha256:a"])
    assert compared(given(one, two)).ranked


def test_hashes_that_begin_alike_are_not_the_same():
    one, two = (other(before="sha256:" + 60 * "0" + end) for end in ("0000", "0001"))
    assert not compared(given(one, two)).ranked


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (audit(reference=replace(SAMPLE.reference, kind=ReferenceKind.RANDOM)), "no retrained"),
        (audit(reference=replace(SAMPLE.reference, usable=False)), "no retrained"),
        (audit(verdict=Verdict.NOT_MEASURABLE), "nothing could be measured"),
        (audit(controls=[replace(SAMPLE.controls[0], caught=False)]), "cannot be relied on"),
    ],
)
def test_an_audit_that_decides_nothing_is_not_ranked(record, why):
    found = compared(given(audit(), record))
    assert any(one.startswith("B: ") and why in one for one in found.refused), found.refused
    assert [one.place for one in found.audits] == [None, None]


def test_a_file_that_was_edited_is_not_ranked():
    first, second = given(audit(), audit())
    found = compared([first, replace(second, intact=False)])
    assert found.refused == ["B: the file was changed after it was written"]
    assert lead(found)[0] == ("The audits are not ranked, though they answer the same question.")


@pytest.mark.parametrize("changes", [{"intact": False}, {"trusted": False}])
def test_a_verdict_that_cannot_be_relied_on_is_marked_and_has_no_colour(changes):
    sound = compared(given(audit(), audit()))
    doubted = replace(sound, audits=[sound.audits[0], replace(sound.audits[1], **changes)])
    first, second = (row[2] for row in tables(doubted)[0].rows)
    assert (first.text, first.sub) == (second.text, "") and first.mark != "open"
    assert second.mark == "open" and second.sub in (
        "the file was changed afterwards",
        "a self-test failed",
    )


# ---- the order -----------------------------------------------------------------------------------


def test_less_beyond_retrained_networks_comes_first_and_overlaps_share_a_place():
    assert places(audit(0.833), audit(0.65)) == [2, 1]
    assert places(audit(0.66, half=0.02), audit(0.65, half=0.02)) == [1, 1]
    assert places(audit(0.70), audit(0.69), audit(0.833)) == [1, 1, 3]


def test_an_area_is_ranked_by_the_same_scale():
    assert places(audit(0.833, unit="AUC"), audit(0.65, unit="AUC")) == [2, 1]
    low, high = (audit(now, unit="AUC", half=0.1) for now in (0.6, 0.75))
    assert places(low, high) == [1, 1]


def test_an_area_below_one_half_has_its_interval_on_the_right_side():
    first = SAMPLE.attacks[0]
    attack = replace(
        first,
        unit="AUC",
        erased=0.4,
        erased_low=0.3,
        erased_high=0.45,
        advantage=replace(first.advantage, erased=0.2),
    )
    found = compared(given(audit(), replace(audit(), attacks=[attack])))
    gain = found.audits[1].decides
    assert (gain.low, gain.now, gain.high) == pytest.approx((0.1, 0.2, 0.4))


def test_the_attacker_who_decides_comes_first_and_false_positives_are_of_one_who_has_them():
    area = replace(audit(0.9, unit="AUC").attacks[0], false_positives=None)
    share = replace(audit(0.3).attacks[0], false_positives=0.07)
    found = compared(given(audit(), replace(audit(), attacks=[area, share])))
    one = found.audits[1]
    assert one.decides.attacker == "tells forgotten from others by features"
    assert one.false_positives.false_positives == 0.07
    assert len(one.gains) == 2


def test_the_cost_is_that_of_the_record():
    found = compared(given(audit(), audit(cost=None))).audits
    assert found[0].cost == SAMPLE.cost
    assert found[1].cost is None


# ---- the page ------------------------------------------------------------------------------------


class Seen(HTMLParser):
    def __init__(self):
        super().__init__()
        self.addresses, self.scripts = [], 0

    def handle_starttag(self, tag, attrs):
        self.scripts += tag == "script"
        self.addresses += [value for name, value in attrs if name in ("src", "href")]


def test_the_page_loads_nothing_and_shows_every_text_literally():
    evil = "<script>alert(1)</script>"
    found = compared(given(audit(method=evil), audit()))
    page = html(found)
    seen = Seen()
    seen.feed(page)
    assert seen.scripts == 0
    assert [one for one in seen.addresses if not one.startswith("#")] == []
    assert evil not in page and "&lt;script&gt;" in page
    assert evil not in markdown(found)


def test_page_and_markdown_say_what_was_found():
    found = compared(given(audit(0.833), audit(0.65, method="bake")))
    for said in (html(found), markdown(found)):
        for text in ("2 audits compared", "RETAINED", "0.83", "0.64", "trains on features", "bake"):
            assert text in said
        assert "place" in said and SAMPLE.hashes.after in said
    assert "<svg" in html(found) and "83.3" in html(found)  # in the words of the drawing


def test_no_audit_with_an_attack_that_decides_still_makes_a_page():
    bare = replace(audit(), attacks=[])
    found = compared(given(bare, bare))
    assert "2 audits compared" in html(found) and markdown(found)
    assert found.refused == ["A, B: no attack decides"]
    assert [one.place for one in found.audits] == [None, None]


# ---- files and the command -----------------------------------------------------------------------


@pytest.fixture
def folders(tmp_path):
    made = []
    for name, record in (("one", audit(0.833)), ("two", audit(0.65, method="bake"))):
        (tmp_path / name).mkdir()
        text = stored.to_json(stored.sealed(record))
        (tmp_path / name / "audit.json").write_text(text, "utf-8")
        made.append(tmp_path / name)
    return made


def run(*words):
    return CliRunner().invoke(app, ["compare", *map(str, words)])


def test_the_command_writes_a_folder_and_shows_a_table_in_80_columns(
    folders, tmp_path, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "80")
    done = run(folders[0], folders[1] / "audit.json", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.exception
    files = {one.name for one in (tmp_path / "out").iterdir()}
    assert files == {"compare.html", "compare.md", "compare.json"}
    lines = done.stderr.splitlines()
    rows = [one for one in lines if one.startswith(("A esc", "B bake", "audit", "──"))]
    assert len(rows) == 4 and max(map(len, rows)) <= 80
    form = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert form["schema"] == "unspan.comparison/1"
    assert [one["place"] for one in form["audits"]] == [2, 1]
    assert [one["name"] for one in form["audits"]] == ["one", "two"]
    assert form["audits"][0]["gains"][0]["now"] == 0.833 and form["refused"] == []


def test_json_goes_to_standard_output_and_no_folder_is_needed(folders):
    done = run(*folders, "--json")
    assert json.loads(done.stdout) == json.loads(to_json(of_files(folders)))


def test_a_comparison_is_replaced_only_when_asked_and_nothing_else_is(folders, tmp_path):
    out = tmp_path / "out"
    assert run(*folders, "--out", out).exit_code == 0
    assert isinstance(run(*folders, "--out", out).exception, UsageError)
    assert run(*folders, "--out", out, "--overwrite").exit_code == 0
    (out / "mine.txt").write_text("x")
    assert isinstance(run(*folders, "--out", out, "--overwrite").exception, UsageError)
    assert (out / "mine.txt").read_text() == "x"
    for place in (folders[0], folders[0] / "inside"):
        assert isinstance(run(*folders, "--out", place, "--overwrite").exception, UsageError)
    assert (folders[0] / "audit.json").is_file()


@pytest.mark.parametrize("fault", ["one", "twice", "none", "json"])
def test_what_is_no_comparison_is_refused(folders, tmp_path, fault):
    words = {
        "one": folders[:1],
        "twice": [folders[0], folders[0] / "audit.json"],
        "none": [folders[0], tmp_path / "nowhere"],
        "json": [folders[0], tmp_path / "broken.json"],
    }[fault]
    (tmp_path / "broken.json").write_text("{")
    done = run(*words, "--out", tmp_path / "out")
    assert isinstance(done.exception, UsageError) and not (tmp_path / "out").exists()


def test_an_edited_file_is_found_by_its_seal(folders):
    file = folders[1] / "audit.json"
    file.write_text(file.read_text().replace('"RETAINED"', '"LIKE RETRAINED"', 1))
    found = of_files(folders)
    assert found.refused == ["B: the file was changed after it was written"]
