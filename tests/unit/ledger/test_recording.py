"""What an entry says, who asked, and what a purge leaves."""

import pytest
from ledger_folders import audit, deletion

from unspan.errors import ModelError, OutputError, UnsafeFileError, UsageError
from unspan.ledger import database
from unspan.ledger import purge as purging
from unspan.ledger.book import read
from unspan.ledger.chain import Kind
from unspan.ledger.database import opened
from unspan.ledger.export import as_csv, as_json
from unspan.ledger.purge import purge
from unspan.ledger.recording import add
from unspan.ledger.who import asked_by, key_file, key_problems, read_key
from unspan.sealing.manifest import read_manifest
from unspan.sealing.signing import new_key, sign


@pytest.fixture
def file(tmp_path):
    return tmp_path / "l.db"


def content(file, number=1):
    return read(file).entries[number - 1].content


def everything(folder):
    """All bytes of the ledger, its key aside, and of both exports."""
    entries = read(folder / "l.db").entries
    files = [one.read_bytes() for one in folder.glob("l.db*") if one.suffix != ".key"]
    return b"".join(files) + as_csv(entries).encode() + as_json(entries).encode()


def test_a_deletion_and_its_audit_are_recorded_with_their_seals(file, tmp_path):
    folder, report = deletion(tmp_path / "erased"), audit(tmp_path / "audit")
    add(file, folder)
    add(file, report, keep_until="2031-05-01")
    said = content(file)
    assert said["seal"] == read_manifest(folder)["seal"]
    told = {name: said[name] for name in ("request", "classes", "samples", "method", "form")}
    assert told == {
        "request": "class",
        "classes": ["deer"],
        "samples": 1200,
        "method": "resample",
        "form": "projected",
    }
    entry = read(file).entries[1]
    assert entry.kind is Kind.AUDIT and entry.keep_until == "2031-05-01"
    assert entry.content["verdict"] == "LIKE RETRAINED" and entry.content["attacks"] == 2


@pytest.mark.filterwarnings("ignore")
def test_a_real_deletion_is_recorded(digits_net, digits_request, file, tmp_path):
    import unspan

    done = unspan.erase(digits_net, digits_request, unspan.ESC(rank=4), key=b"k" * 32)
    folder = done.save(tmp_path / "erased")
    add(file, folder)
    assert content(file)["method"] == "esc" and content(file)["samples"] > 100
    assert content(file)["weights"] == done.receipt["model"]["sha256_after"]
    purge(file, private=[folder])
    assert not (tmp_path / "erased.private").exists()
    assert not read(file).problems()


@pytest.mark.parametrize("kind", ["samples", "data"])
def test_names_of_a_request_by_ids_or_data_appear_nowhere(file, tmp_path, kind):
    folder = deletion(tmp_path / "erased", kind=kind, selector=["Ida-Secret", "/srv/ida.csv"])
    add(file, folder, who="Ida Lovelace, ida@example.org")
    held = everything(tmp_path)
    for name in (b"Ida", b"ida@", b"secret-path", b"/srv", str(tmp_path).encode()):
        assert name not in held


def test_a_folder_that_was_changed_is_not_recorded(file, tmp_path):
    folder = deletion(tmp_path / "erased")
    (folder / "README.md").write_text("all is gone")
    with pytest.raises(ModelError, match="not as it was written"):
        add(file, folder)
    with pytest.raises(UsageError, match="its seal says private"):
        add(file, tmp_path / "erased.private")
    (folder / "manifest.json").unlink()
    with pytest.raises(ModelError, match="not sealed"):
        add(file, folder)
    assert not file.exists()


def test_a_signed_folder_is_recorded(file, tmp_path):
    folder = deletion(tmp_path / "erased")
    new_key(tmp_path / "me.pem")
    sign(folder, tmp_path / "me.pem")
    assert add(file, folder).number == 1


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"note": " "},
        {"note": "x" * 2001},
        {"note": "a\udcff"},
        {"note": "x", "who": ""},
        {"note": "x", "keep_until": "1.1.2030"},
        {"note": "x", "keep_until": "20300101"},
        {"note": "x", "keep_until": "2030-02-30"},
    ],
    ids=str,
)
def test_arguments_that_cannot_be_used_are_refused(file, given):
    with pytest.raises(UsageError):
        add(file, **given)
    assert not file.exists()


def test_who_asked_is_found_with_the_key_alone(file):
    add(file, note="one", who="Ada@example.org ")
    add(file, note="two", who="somebody else")
    add(file, note="three", who="ada@EXAMPLE.org")
    add(file, note="four")
    entries, key = read(file).entries, read_key(key_file(file))
    assert [one.number for one in asked_by(entries, key, "ada@example.org")] == [1, 3]
    assert asked_by(entries, b"x" * 32, "ada@example.org") == []
    # the same person twice cannot be seen
    assert content(file, 1)["who"] != content(file, 3)["who"]
    assert len(key) == 32 and key.hex().encode() not in everything(file.parent)


def test_a_key_that_is_wrong_lost_short_or_open_is_refused(file):
    add(file, note="one", who="ada")
    path = key_file(file)
    key = path.read_bytes()

    def refused(error, match):
        with pytest.raises(error, match=match):
            add(file, note="two", who="ada")
        assert len(read(file).entries) == 1

    path.write_bytes(b"x" * 32)
    assert key_problems(file, read(file).entries)
    refused(ModelError, "not the key")
    path.write_bytes(b"short")
    assert key_problems(file, read(file).entries)
    refused(UsageError, "5 bytes")
    path.write_bytes(key)
    path.chmod(0o640)
    assert key_problems(file, read(file).entries)
    refused(UnsafeFileError, "chmod 600")
    path.chmod(0o600)
    path.rename(path.with_name("aside"))
    assert not key_problems(file, read(file).entries)  # a copy without the key verifies
    refused(ModelError, "missing")
    path.symlink_to("aside")
    refused(UnsafeFileError, "regular")
    path.unlink()
    path.with_name("aside").rename(path)
    assert add(file, note="two", who="ada").number == 2


def test_what_is_purged_lies_in_no_file(file, tmp_path):
    add(file, note="kept " + "a" * 900)
    for number in range(30):
        add(file, note=f"Secret{number} " + "long " * 300, who="ida", keep_until="2021-01-01")
    add(file, deletion(tmp_path / "erased", selector=["Secret-class"]), keep_until="2021-01-01")
    salts = [content(file, number)["salt"].encode() for number in range(2, 33)]
    assert all(one in everything(tmp_path) for one in (b"Secret1 ", b"Secret-class", *salts))
    done = purge(file)
    assert done.entries == tuple(range(2, 33)) and done.entry.number == 33
    held = everything(tmp_path)
    assert b"Secret" not in held and not any(one in held for one in salts)
    assert b"kept" in held
    assert not read(file).problems()


def test_time_that_is_not_over_keeps_an_entry(file):
    add(file, note="for ever")
    add(file, note="long", keep_until="2999-12-31")
    assert purge(file).entry is None and len(read(file).entries) == 2
    assert purge(file, entries=[2]).entries == (2,)
    assert [one.content is None for one in read(file).entries] == [False, True, False]
    assert purge(file, entries=[2]).entry is None  # nothing is left to do
    with pytest.raises(UsageError, match="records a purge"):
        purge(file, entries=[3])
    with pytest.raises(UsageError, match="no entry 9"):
        purge(file, entries=[9])


def test_a_key_goes_and_another_one_comes(file):
    add(file, note="one", who="ada")
    old = read_key(key_file(file))
    assert purge(file, key=True, dry_run=True).entry is None and key_file(file).exists()
    purge(file, key=True)
    assert not key_file(file).exists() and not read(file).problems()
    with pytest.raises(UsageError, match="purged already"):
        purge(file, key=True)
    add(file, note="two", who="ada")
    new = read_key(key_file(file))
    entries = read(file).entries
    assert new != old and [one.number for one in asked_by(entries, new, "ada")] == [3]


def test_a_private_folder_goes_with_its_key(file, tmp_path, monkeypatch):
    folder, other = deletion(tmp_path / "erased"), deletion(tmp_path / "other", method="bake")
    add(file, folder)
    overwritten = []
    unlink = type(file).unlink
    monkeypatch.setattr(
        type(file),
        "unlink",
        lambda path, **given: (overwritten.append(path.read_bytes()), unlink(path, **given)),
    )
    done = purge(file, private=[folder])
    assert len(overwritten) >= 3 and not any(any(one) for one in overwritten[:3])
    assert done.private == ((read_manifest(folder)["seal"], 3),)
    assert not (tmp_path / "erased.private").exists() and (tmp_path / "other.private").exists()
    assert purge(file, private=[folder]).private[0][1] == 0  # it was gone, and the entry says so
    (tmp_path / "other.private").rename(tmp_path / "erased.private")
    with pytest.raises(ModelError, match="another deletion"):
        purge(file, private=[folder])
    assert len(list((tmp_path / "erased.private").iterdir())) == 3
    assert other.exists()


@pytest.mark.parametrize("what", ["a file of others", "a link", "a folder", "a link to it"])
def test_nothing_else_in_a_private_folder_is_removed(file, tmp_path, what):
    folder = deletion(tmp_path / "erased")
    secret, precious = tmp_path / "erased.private", tmp_path / "precious"
    precious.write_text("keep me")
    if what == "a file of others":
        (secret / "diary.txt").write_text("keep me")
    elif what == "a link":
        (secret / "key").unlink()
        (secret / "key").symlink_to(precious)
    elif what == "a folder":
        (secret / "key").unlink()
        (secret / "key").mkdir()
    else:
        secret.rename(tmp_path / "aside")
        secret.symlink_to(tmp_path / "aside")
    before = sorted(tmp_path.rglob("*"))
    add(file, folder)
    with pytest.raises((UsageError, UnsafeFileError)):
        purge(file, private=[folder])
    assert sorted(one for one in tmp_path.rglob("*") if one != file) == before
    assert precious.read_text() == "keep me"


def test_a_kill_between_removing_and_recording_is_made_good(file, tmp_path, monkeypatch):
    folder = deletion(tmp_path / "erased")
    add(file, folder, who="ada")

    def killed(*_):
        raise OutputError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(purging, "_recorded", killed)
        with pytest.raises(OutputError):
            purge(file, private=[folder], key=True)
    assert not key_file(file).exists() and len(read(file).entries) == 1
    done = purge(file, private=[folder], key=True)
    assert done.entry is not None and done.key and done.private[0][1] == 0


def test_a_reader_that_stays_is_named(file, monkeypatch):
    add(file, note="one", keep_until="2020-01-01")
    with opened(file) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM entry").fetchall()
        monkeypatch.setattr(database, "_WAIT", 0.1)
        with pytest.raises(OutputError, match="another process"):
            purge(file)
        reader.execute("ROLLBACK")
    assert read(file).entries[0].content is None
    purge(file)
    assert not file.with_name("l.db-wal").exists()
