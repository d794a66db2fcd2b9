"""A chain holds exactly as long as nobody touches it."""

import hashlib
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unspan.ledger import chain
from unspan.ledger.book import read
from unspan.ledger.chain import Kind, following, problems
from unspan.ledger.purge import purge
from unspan.ledger.recording import add

NOTES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40).filter(str.strip)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("note"), NOTES),
        st.tuples(st.just("who"), NOTES),
        st.tuples(st.just("short"), NOTES),  # its time is over when it is added
        st.tuples(st.just("purge"), st.none()),
        st.tuples(st.just("purge one"), st.integers(1, 8)),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=25, deadline=None)
@given(STEPS)
def test_random_histories_are_kept_and_verify(steps):
    """A list of what was added, without any file, says the same as the ledger."""
    expected = []  # notes; None where purged; "" for an entry of a purge
    over = set()
    with tempfile.TemporaryDirectory() as home:
        file = Path(home) / "l.db"
        add(file, note="first")
        expected.append("first")
        for step, value in steps:
            if step in ("note", "who", "short"):
                add(
                    file,
                    note=value,
                    who=value if step == "who" else None,
                    keep_until="2020-01-01" if step == "short" else "",
                )
                expected.append(value)
                if step == "short":
                    over.add(len(expected))
            else:
                named = {value} if step == "purge one" else set()
                if any(one > len(expected) or expected[one - 1] == "" for one in named):
                    continue
                goes = {one for one in over | named if expected[one - 1] is not None}
                purge(file, entries=sorted(named))
                for one in goes:
                    expected[one - 1] = None
                if goes:
                    expected.append("")
            book = read(file)
            assert not book.problems()
            said = [one.content and one.content.get("note", "") for one in book.entries]
            assert said == expected
            assert [one.number for one in book.entries] == list(range(1, len(expected) + 1))


def test_the_hash_of_an_entry_as_anybody_computes_it():
    entry = following(None, Kind.NOTE, {"note": "é", "salt": "00"}, "2030-01-01")

    def sha256(content):
        text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()

    assert entry.digest == sha256({"note": "é", "salt": "00"})
    assert entry.hash == sha256(
        {
            "schema": "unspan.ledger/1",
            "number": 1,
            "time": entry.time,
            "kind": "note",
            "keep_until": "2030-01-01",
            "digest": entry.digest,
            "before": "sha256:" + 64 * "0",
        }
    )


def three():
    entries = []
    for note in ("one", "two", "three"):
        last = entries[-1] if entries else None
        entries.append(following(last, Kind.NOTE, chain.salted({"note": note})))
    return entries


def test_three_entries_hold():
    assert problems(three()) == []
    assert problems([]) == []


@pytest.mark.parametrize(
    "change",
    [
        {"number": 7},
        {"time": "2020-01-01T00:00:00+00:00"},
        {"kind": Kind.DELETION},
        {"keep_until": "2020-01-01"},
        {"digest": "sha256:" + 64 * "1"},
        {"before": "sha256:" + 64 * "1"},
        {"hash": "sha256:" + 64 * "1"},
        {"content": {"note": "another"}},
        {"content": None},
    ],
    ids=lambda change: next(iter(change)),
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_every_changed_field_is_found(change, place):
    entries = three()
    entries[place] = replace(entries[place], **change)
    assert problems(entries)


def test_entries_that_are_missing_or_in_another_order_are_found():
    one, two, last = three()
    assert problems([two, last]) and problems([one, last]) and problems([one, last, two])


def test_an_entry_that_was_replaced_by_another_is_found():
    one, _, last = three()
    other = following(one, Kind.NOTE, chain.salted({"note": "another"}))
    assert problems([one, other]) == []
    assert problems([one, other, last]) == ["entry 3 does not follow the entry before it"]


def test_a_missing_tail_is_found_by_a_head_alone():
    entries = three()
    assert problems(entries[:2]) == []
    assert problems(entries[:2], entries[2].hash)
    assert problems(entries, entries[1].hash) == []  # noted earlier, and more was added since


def test_content_that_comes_back_after_a_purge_is_found():
    entries = three()
    entries.append(following(entries[-1], Kind.PURGE, {"entries": [2], "private": []}))
    assert problems(entries)
    entries[1] = replace(entries[1], content=None)
    assert problems(entries) == []
    entries[0] = replace(entries[0], content=None)
    assert problems(entries)  # no purge names it
