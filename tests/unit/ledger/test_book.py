"""The file of a ledger: nothing lost, nothing torn, nothing changed unnoticed."""

import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import pytest
from ledger_folders import deletion

from unspan.errors import ModelError, OutputError, UnsafeFileError, UnspanError, UsageError
from unspan.ledger.book import read, writing
from unspan.ledger.chain import Kind
from unspan.ledger.purge import purge
from unspan.ledger.recording import add
from unspan.ledger.who import asked_by, key_file, key_problems, read_key

ADDER = """
import sys
from pathlib import Path
from unspan.ledger.recording import add
file, name, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
for number in range(count):
    entry = add(file, note=f"{name} {number} " + "x" * 1500, who=name)
    print(entry.number, entry.hash, flush=True)
"""


def started(*arguments, code=ADDER, **settings):
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **settings,
    )


@pytest.fixture
def file(tmp_path):
    """A ledger of six entries, one of them purged."""
    path = tmp_path / "l.db"
    for number in range(4):
        add(path, note=f"note {number} " + "long " * 100, who=f"person {number}")
    add(path, deletion(tmp_path / "erased"), keep_until="2020-01-01")
    purge(path)
    return path


def shown(path):
    """Everything that a command would show of a ledger."""
    book = read(path)
    found = asked_by(book.entries, read_key(key_file(path)), "person 2")
    return [asdict(one) for one in book.entries], [one.number for one in found]


def flipped(path, ledger, places, check):
    """The places of single flipped bytes that change what is shown, and that verify misses."""
    content = path.read_bytes()
    expected = shown(ledger)
    missed = []
    for place, change in places:
        changed = bytearray(content)
        changed[place] ^= change
        path.write_bytes(changed)
        try:
            if not check():
                assert shown(ledger) == expected
        except AssertionError:
            missed.append(place)
        except UnspanError:
            pass  # refused
        for one in ("-wal", "-shm"):
            ledger.with_name(ledger.name + one).unlink(missing_ok=True)
    path.write_bytes(content)
    return missed


def test_every_flipped_byte_is_found_or_changes_nothing(file):
    def check():
        book = read(file)
        return [*book.problems(), *key_problems(file, book.entries)]

    choose = random.Random(5)
    size = file.stat().st_size
    places = [(choose.randrange(size), choose.randrange(1, 256)) for _ in range(300)]
    missed = flipped(file, file, places, check)
    assert not missed, f"{len(missed)} of {len(places)}"
    key = key_file(file)
    of_key = [(place, change) for place in range(32) for change in (1, 128)]
    assert not flipped(key, file, of_key, check)
    assert not check()


def raw(path, *statements, rules=True):
    """Edit a ledger behind the back of unspan."""
    with closing(sqlite3.connect(path)) as connection, connection:
        listing = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
        kept = [] if rules else connection.execute(listing).fetchall()
        for name, _ in kept:
            connection.execute(f"DROP TRIGGER {name}")
        for one in statements:
            connection.execute(one)
        for _, text in kept:
            connection.execute(text)


EDITS = {
    "a time": "UPDATE entry SET time = '2020-01-01T00:00:00+00:00' WHERE number = 2",
    "a kind": "UPDATE entry SET kind = 'purge' WHERE number = 2",
    "a kind that is none": "UPDATE entry SET kind = 'gone' WHERE number = 2",
    "a date": "UPDATE entry SET keep_until = '2099-01-01' WHERE number = 5",
    "content": "UPDATE entry SET content = replace(content, 'note 1', 'note 7') WHERE number = 2",
    "another type": "UPDATE entry SET content = CAST(content AS BLOB) WHERE number = 2",
    "no JSON": "UPDATE entry SET content = '{' WHERE number = 2",
    "content of another": "UPDATE entry SET content = (SELECT content FROM entry WHERE number = 1)"
    " WHERE number = 2",
    "no content": "UPDATE entry SET content = NULL WHERE number = 2",
    "content again": "UPDATE entry SET content = (SELECT content FROM entry WHERE number = 1)"
    " WHERE number = 5",
    "a purge": "UPDATE entry SET content = NULL WHERE number = 6",
    "the first": "DELETE FROM entry WHERE number = 1",
    "one between": "DELETE FROM entry WHERE number = 3",
    "one added": "INSERT INTO entry SELECT 7, time, kind, keep_until, digest, before, hash, content"
    " FROM entry WHERE number = 4",
    "a new first": "INSERT INTO entry SELECT 0, time, kind, keep_until, digest, before, hash,"
    " content FROM entry WHERE number = 4",
    "the order": "UPDATE entry SET number = CASE number WHEN 2 THEN -3 WHEN 3 THEN -2 END"
    " WHERE number IN (2, 3)",
}


@pytest.mark.parametrize("what", EDITS)
def test_an_edit_by_another_program_is_found(file, what):
    then = ["UPDATE entry SET number = -number WHERE number < 0"] if what == "the order" else []
    raw(file, EDITS[what], *then, rules=False)
    assert read(file).problems()


def test_the_rules_of_the_file_hold_for_other_programs(file):
    for what, edit in EDITS.items():
        if what in ("no content", "a purge", "one added"):  # an allowed change, found by verify
            continue
        with pytest.raises(sqlite3.IntegrityError):
            raw(file, edit)
    assert not read(file).problems()
    raw(file, "DROP TRIGGER entries_stay")
    assert "rules" in read(file).problems()[0]
    with pytest.raises(ModelError, match="rules"):
        add(file, note="more")


def test_a_removed_tail_is_found_by_the_head(file):
    head = read(file).entries[-1].hash
    raw(file, "DELETE FROM entry WHERE number = 6", rules=False)
    raw(file, "DELETE FROM entry WHERE number = 5", rules=False)
    assert not read(file).problems()
    assert "removed" in read(file).problems(head)[0]


def test_nothing_is_added_after_a_last_entry_that_was_changed(file):
    raw(file, "UPDATE entry SET keep_until = '2099-01-01' WHERE number = 6", rules=False)
    with pytest.raises(ModelError, match="last entry"):
        add(file, note="more")


def test_two_writers_lose_nothing(tmp_path):
    file = tmp_path / "l.db"
    both = [started(file, name, 100) for name in ("left", "right")]
    printed = []
    for one in both:
        out, err = one.communicate(timeout=120)
        assert one.returncode == 0, err
        printed += out.split("\n")[:-1]
    book = read(file)
    assert not book.problems() and len(book.entries) == 200
    assert set(printed) == {f"{one.number} {one.hash}" for one in book.entries}
    key = read_key(key_file(file))
    assert [len(asked_by(book.entries, key, name)) for name in ("left", "right")] == [100, 100]


def test_two_threads_beside_another_process_lose_nothing(tmp_path):
    file = tmp_path / "l.db"
    other = started(file, "other", 40)
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda number: add(file, note=f"{number}").hash, range(40)))
    out, err = other.communicate(timeout=120)
    assert other.returncode == 0, err
    book = read(file)
    assert not book.problems() and len(book.entries) == 80
    assert {*done, *(line.split()[1] for line in out.splitlines())} == {
        one.hash for one in book.entries
    }


PURGER = (
    ADDER
    + """
    if number % 3 == 2:
        from unspan.ledger.purge import purge
        print(purge(file, entries=[entry.number]).entry.number, "purge", flush=True)
"""
)


@pytest.mark.slow
def test_a_kill_at_any_moment_loses_nothing_that_was_said(tmp_path):
    choose = random.Random(3)
    file = tmp_path / "l.db"
    said = []
    for attempt in range(20):
        process = started(file, attempt, 10_000, code=PURGER)
        first = process.stdout.readline()
        time.sleep(choose.uniform(0, 0.15))
        process.kill()
        out, _ = process.communicate()
        said += [line.split() for line in (first + out).split("\n") if line.count(" ") == 1]
        book = read(file)
        assert not book.problems()
        hashes = {one.number: one.hash for one in book.entries}
        for number, what in said:
            one = book.entries[int(number) - 1]
            assert one.kind is Kind.PURGE if what == "purge" else hashes[int(number)] == what
    assert len(said) > 20
    left = {one.name for one in tmp_path.iterdir()} - {"l.db-wal", "l.db-shm"}
    assert left <= {"l.db", "l.db.key"}


FULL = """
import resource, sys
from pathlib import Path
from unspan.errors import OutputError
from unspan.ledger.recording import add
from unspan.ledger.purge import purge
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    for number in range(1000):
        print(add(Path(sys.argv[1]), note="x" * 1900).hash, flush=True)
except OutputError as error:
    print(error)
    sys.exit(error.exit_code)
"""


def test_a_full_disk_is_an_error_that_changes_nothing(tmp_path):
    file = tmp_path / "l.db"
    process = started(file, code=FULL)
    out, err = process.communicate(timeout=120)
    assert process.returncode == OutputError.exit_code, err
    *hashes, message = out.split("\n")[:-1]
    assert "could not be written" in message and len(hashes) > 5
    book = read(file)
    assert not book.problems() and [one.hash for one in book.entries] == hashes
    assert add(file, note="there is room again").number == len(hashes) + 1


@pytest.mark.parametrize("limit", [0, 1000, 5000, 20_000])
def test_no_room_for_a_new_ledger_leaves_nothing(tmp_path, limit):
    process = started(tmp_path / "l.db", code=FULL.replace("100_000", str(limit)))
    out, err = process.communicate(timeout=120)
    assert process.returncode == OutputError.exit_code, err
    assert not any(one.name != "l.db" for one in tmp_path.iterdir()), list(tmp_path.iterdir())
    assert not (tmp_path / "l.db").exists() or not read(tmp_path / "l.db").entries


@pytest.mark.parametrize("mask", [0, 0o022, 0o777])
def test_only_the_owner_may_read_under_any_umask(tmp_path, mask):
    from unspan.ledger import export, page
    from unspan.ledger.index import index

    earlier = os.umask(mask)
    try:
        file = tmp_path / "l.db"
        add(file, note="one", who="somebody")
        with writing(file) as book:
            book.add(Kind.NOTE, {"note": "open", "salt": "0"})
            modes = {one.name: one.stat().st_mode & 0o777 for one in tmp_path.iterdir()}
        assert modes == dict.fromkeys(("l.db", "l.db-wal", "l.db-shm", "l.db.key"), 0o600)
        for name in ("e.csv", "e.json"):
            export.export(file, tmp_path / name)
        page.write(index([], file), tmp_path / "index.html")
    finally:
        os.umask(earlier)
    assert {one.stat().st_mode & 0o777 for one in tmp_path.iterdir()} == {0o600}


def test_what_is_no_ledger_is_left_alone(tmp_path):
    text = tmp_path / "notes.db"
    text.write_text("my notes " * 100)
    other = tmp_path / "other.db"
    raw(other, "CREATE TABLE mine (a)", "INSERT INTO mine VALUES (1)")
    (tmp_path / "empty.db").touch()
    before = {one: one.read_bytes() for one in tmp_path.iterdir()}
    for one in before:
        for call in (lambda one=one: read(one), lambda one=one: add(one, note="x")):
            with pytest.raises(UsageError, match="no ledger"):
                call()
    assert {one: one.read_bytes() for one in tmp_path.iterdir()} == before
    with pytest.raises(UsageError, match="does not exist"):
        read(tmp_path / "nothing.db")
    with pytest.raises(OutputError, match="does not exist"):
        add(tmp_path / "nowhere" / "l.db", note="x")


def test_links_and_pipes_are_refused(file):
    aside = file.rename(file.parent / "aside.db")
    file.symlink_to(aside)
    for call in (lambda: read(file), lambda: add(file, note="x"), lambda: purge(file)):
        with pytest.raises(UnsafeFileError):
            call()
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(UnsafeFileError):
        read(file)
    file.unlink()
    shutil.copy(aside, file)
    (file.parent / "l.db-wal").symlink_to(aside)
    with pytest.raises(UnsafeFileError):
        read(file)


READER = """
import os, sys
from pathlib import Path
from unspan.errors import OutputError
from unspan.ledger.book import read
from unspan.ledger.recording import add
nobody = 65534
os.chown(sys.argv[1], nobody, nobody)
os.setuid(nobody)
book = read(Path(sys.argv[1]))
print(len(book.entries), book.problems())
try:
    add(Path(sys.argv[1]), note="more")
except OutputError:
    print("refused")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only the superuser can become somebody else")
def test_a_ledger_in_a_folder_that_cannot_be_written_is_read(file):
    with tempfile.TemporaryDirectory() as home:
        copy = Path(shutil.copy(file, home))
        Path(home).chmod(0o755)
        process = started(copy, code=READER)
        out, err = process.communicate(timeout=60)
        assert out.splitlines() == ["6 []", "refused"], err
        assert list(Path(home).iterdir()) == [copy]
