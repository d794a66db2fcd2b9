"""Exports: nobody's spreadsheet runs a cell, and anybody verifies the JSON."""

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger_folders import audit, deletion

from unspan.errors import ModelError, UsageError
from unspan.ledger.book import read
from unspan.ledger.export import as_csv, as_json, export, harmless, read_export
from unspan.ledger.purge import purge
from unspan.ledger.recording import add

HOSTILE = [
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "  =1",
    "=cmd|' /C calc'!A0",
    'a";=1',
    'a";"=1',
    "a\r\n=1",
    "a;=1",
    "a,@x",
    "\uff1d1",
    "<script>alert(1)</script>",
    "\u202eevil",
    "\x00=1",
]
SIGNS = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"


def cells(text, delimiter):
    return [cell for row in csv.reader(io.StringIO(text), delimiter=delimiter) for cell in row]


@given(st.text(st.sampled_from("=+-@\t\r\n ;,|\"'a1\uff1d\u200b"), max_size=12))
def test_no_cell_of_any_text_begins_a_formula(note):
    """Whatever sign a spreadsheet takes as the border of cells."""
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL).writerow(["1", harmless(note), "x"])
    for delimiter in (",", ";", "\t", "|"):
        for cell in cells(out.getvalue(), delimiter):
            assert not cell.lstrip(' "').startswith(tuple(SIGNS)), cell


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_hostile_names_of_classes_and_notes(tmp_path, name):
    file = tmp_path / "l.db"
    add(file, deletion(tmp_path / "erased", selector=[name], method=name), note=f"x{name}")
    add(file, note=f".{name}")
    rows = list(csv.reader(io.StringIO(as_csv(read(file).entries), newline="")))
    assert [len(row) for row in rows] == [10, 10, 10]
    assert not any(cell.startswith(tuple(SIGNS)) for row in rows for cell in row)
    assert json.loads(as_json(read(file).entries))["entries"][0]["content"]["classes"] == [name]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "l.db"
    add(path, deletion(tmp_path / "erased"), who="ada", keep_until="2020-01-01")
    add(path, audit(tmp_path / "audit"))
    purge(path)
    return path


def test_an_export_is_verified_without_the_ledger(file, tmp_path):
    out = tmp_path / "e.json"
    assert export(file, out) == 3
    book = read_export(out)
    assert book.entries == read(file).entries and not book.problems()
    assert not book.problems(book.entries[-1].hash)
    text = out.read_text()
    missed = []
    for place in range(0, len(text), 3):
        changed = text[:place] + chr(ord(text[place]) ^ 1) + text[place + 1 :]
        out.write_text(changed)
        try:
            again = read_export(out)
        except UsageError:
            continue
        if not again.problems() and again.entries != book.entries:
            missed.append(place)
    assert not missed


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["entries"].pop(),
        lambda c: c.update(entries=3),
        lambda c: c["entries"][1].update(content=[]),
        lambda c: c["entries"][1].update(more=1),
        lambda c: c["entries"][1].pop("time"),
        lambda c: c["entries"][1]["content"].update(attacks=9),
        lambda c: c["entries"][2]["content"].update(private=[1]),
        lambda c: c["entries"][2]["content"].update(entries=[True]),
    ],
)
def test_an_export_of_another_form_is_no_crash(file, tmp_path, change):
    out = tmp_path / "e.json"
    export(file, out)
    content = json.loads(out.read_text())
    change(content)
    out.write_text(json.dumps(content))
    assert read_export(out).problems()


def test_an_export_replaces_an_export_alone(file, tmp_path):
    for name in ("e.csv", "e.json"):
        out = tmp_path / name
        out.write_text("mine")
        with pytest.raises(UsageError, match="never overwritten"):
            export(file, out, overwrite=True)
        assert out.read_text() == "mine"
        out.unlink()
        export(file, out)
        with pytest.raises(UsageError, match="--overwrite"):
            export(file, out)
        export(file, out, overwrite=True)
    with pytest.raises(UsageError, match=".csv or .json"):
        export(file, tmp_path / "e.xlsx")
    with pytest.raises(UsageError):
        export(file, file, overwrite=True)


def test_a_ledger_that_does_not_hold_is_not_exported(file, tmp_path):
    content = file.read_bytes()
    file.write_bytes(content.replace(b"LIKE RETRAINED", b"LIKE RETRAINEd"))
    with pytest.raises(ModelError, match="content of entry 2 was changed"):
        export(file, tmp_path / "e.csv")
    assert not (tmp_path / "e.csv").exists()
