"""Seals find every changed byte, and signatures every changed story."""

import copy
import json
import os
import random
import shutil
import subprocess
import sys

import pytest
from typer.testing import CliRunner

import unspan
from unspan.auditing.verify import verify
from unspan.cli import app
from unspan.errors import ModelError, OutputError, UnsafeFileError, UsageError
from unspan.sealing import signing
from unspan.sealing.canonical import canonical
from unspan.sealing.checking import sealed
from unspan.sealing.manifest import MANIFEST, SIGNATURE, read_manifest, write_manifest

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]


@pytest.fixture(scope="module")
def made(digits_net, digits_request, tmp_path_factory):
    """A folder with its private one."""
    deletion = unspan.erase(digits_net, digits_request, unspan.ESC(rank=4), key=b"k" * 32)
    return deletion.save(tmp_path_factory.mktemp("of") / "erased")


@pytest.fixture
def folder(made, tmp_path):
    for name in ("erased", "erased.private"):
        shutil.copytree(made.parent / name, tmp_path / name)
    return tmp_path / "erased"


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    home = tmp_path_factory.mktemp("keys")
    public = signing.new_key(home / "me.pem")
    return home / "me.pem", public


def failed(folder, **given):
    return [one for one in sealed(folder, **given) if one.ok is False]


def test_a_folder_is_sealed_with_its_private_state(folder):
    checks = sealed(folder)
    assert len(checks) == 3 and all(one.ok for one in checks)
    manifest = read_manifest(folder)
    assert set(manifest["files"]) == {"model.safetensors", "receipt.json", "README.md"}
    assert {one.name for one in folder.iterdir()} == {*manifest["files"], MANIFEST}


def flips(path, count, seed):
    """Places and values of single bytes to change; all bytes of a small file."""
    size = path.stat().st_size
    choose = random.Random(seed)
    places = range(size) if size <= count else sorted(choose.sample(range(size), count))
    return [(place, choose.randrange(1, 256)) for place in places]


@pytest.mark.parametrize(
    "name",
    [
        "erased/model.safetensors",
        "erased/receipt.json",
        "erased/README.md",
        "erased/manifest.json",
        "erased.private/state.safetensors",
        "erased.private/key",
        "erased.private/manifest.json",
    ],
)
def test_every_changed_byte_is_found(folder, name):
    path = folder.parent / name
    content = path.read_bytes()
    missed = []
    tried = flips(path, 300, seed=1)
    for place, change in tried:
        changed = bytearray(content)
        changed[place] ^= change
        path.write_bytes(changed)
        if not failed(folder):
            missed.append(place)
    assert not missed, f"{len(missed)} of {len(tried)}"
    path.write_bytes(content)
    assert not failed(folder)


def edited(path, change):
    content = json.loads(path.read_text("utf-8"))
    change(content)
    path.write_text(canonical(content), "utf-8")


EDITS = {
    "class": lambda r: r["request"].update(classes=[4], selector=["4"]),
    "method": lambda r: r["method"].update(name="retrain"),
    "date": lambda r: r.update(created="2020-01-01T00:00:00+00:00"),
    "accuracy": lambda r: r.update(forget_accuracy_before=0.1),
    "samples": lambda r: r["request"].update(samples_read=9999),
    "form": lambda r: r.update(form="trained"),
    "warnings": lambda r: r.update(warnings=[]),
    "device": lambda r: r["run"].update(device="cuda"),
    "an earlier request": lambda r: r["previous"].append({**r, "previous": [], "manifest": None}),
    "versions": lambda r: r["versions"].update(torch="9.9"),
}


@pytest.mark.parametrize("what", EDITS)
def test_an_edit_of_the_story_is_found(folder, what):
    edited(folder / "receipt.json", EDITS[what])
    assert failed(folder)


@pytest.mark.parametrize("what", EDITS)
def test_an_edit_that_is_sealed_again_is_found_by_the_signature(folder, keys, what):
    signing.sign(folder, keys[0])
    edited(folder / "receipt.json", EDITS[what])
    manifest = read_manifest(folder)
    about = {key: manifest[key] for key in ("private", "key")}
    write_manifest(folder, "deletion", list(manifest["files"]), about)
    assert [one.name for one in failed(folder, key=keys[1])] != []
    assert any("signed" in one.name for one in failed(folder, key=keys[1]))


@pytest.mark.parametrize("name", ["model.safetensors", "receipt.json", "README.md", MANIFEST])
def test_files_that_are_missing_are_found(folder, name):
    (folder / name).unlink()
    assert failed(folder)


def test_files_that_were_added_are_found(folder):
    (folder / "more.txt").write_text("x")
    assert "more.txt is not sealed" in failed(folder)[0].detail


@pytest.mark.parametrize("name", ["receipt.json", MANIFEST])
def test_links_and_pipes_are_refused(folder, name):
    path = folder / name
    elsewhere = path.rename(folder.parent / "elsewhere")
    path.symlink_to(elsewhere)
    assert "regular file" in failed(folder)[0].detail
    path.unlink()
    os.mkfifo(path)
    assert "regular file" in failed(folder)[0].detail


def test_a_private_folder_of_another_deletion_is_found(folder, digits_net, digits_request):
    other = unspan.erase(digits_net, digits_request, unspan.ESC(rank=5), key=b"q" * 32)
    other.save(folder.parent / "other")
    shutil.rmtree(folder.parent / "erased.private")
    (folder.parent / "other.private").rename(folder.parent / "erased.private")
    assert [one.name for one in failed(folder)] == ["erased.private belongs to this folder"]


def test_a_further_request_refuses_a_folder_that_was_edited(folder, digits_request):
    edited(folder / "receipt.json", EDITS["date"])
    from unspan.artifact import reopen

    with pytest.raises(ModelError, match="not as it was written"):
        reopen(folder)


def test_signatures_hold_for_their_key_and_what_was_signed(folder, keys, tmp_path):
    assert signing.sign(folder, keys[0]) == signing.check_signature(folder, keys[1])
    assert all(one.ok for one in sealed(folder, key=keys[1]))
    unknown = [one for one in sealed(folder) if one.ok is None]
    assert len(unknown) == 1 and "--key" in unknown[0].detail
    other = signing.new_key(tmp_path / "other.pem")
    assert failed(folder, key=other)


def test_every_changed_byte_of_a_signature_is_found(folder, keys):
    signing.sign(folder, keys[0])
    path = folder / SIGNATURE
    content = path.read_bytes()
    for place, change in flips(path, 300, seed=2):
        changed = bytearray(content)
        changed[place] ^= change
        path.write_bytes(changed)
        assert failed(folder, key=keys[1]), place


def test_nothing_is_signed_that_was_changed(folder, keys):
    (folder / "README.md").write_text("It is deleted.")
    with pytest.raises(ModelError, match="README.md was changed"):
        signing.sign(folder, keys[0])


def test_a_key_is_private_and_never_replaced(tmp_path):
    public = signing.new_key(tmp_path / "me.pem")
    assert (tmp_path / "me.pem").stat().st_mode & 0o777 == 0o600
    with pytest.raises(OutputError):
        signing.new_key(tmp_path / "me.pem")
    with pytest.raises(UsageError, match="no private key"):
        signing.sign(tmp_path, public)
    (tmp_path / "link").symlink_to(public)
    with pytest.raises(UnsafeFileError):
        signing.check_signature(tmp_path, tmp_path / "link")


def test_earlier_receipts_are_held_to_the_seals_of_their_folders(
    made, digits, digits_net, tmp_path
):
    from unspan.artifact import reopen

    second = unspan.erase(
        reopen(made), unspan.Request.by_class(digits["train"], 4), unspan.ESC(rank=4)
    )
    folder = second.save(tmp_path / "twice")

    def chain():
        checks = verify(folder, model=copy.deepcopy(digits_net))
        return [one.ok for one in checks if "earlier request" in one.name]

    assert chain() == [True]
    edited(folder / "receipt.json", lambda r: r["previous"][0].update(created="2020"))
    assert chain() == [False]


def test_the_command_tells_valid_invalid_and_unknown_apart(folder, keys, tmp_path):
    call = CliRunner().invoke
    assert call(app, ["verify", str(folder), "--seal-only"]).exit_code == 0
    assert call(app, ["verify", str(tmp_path / "nothing"), "--seal-only"]).exit_code != 0
    done = call(app, ["sign", str(folder), "--key", str(keys[0])])
    assert done.exit_code == 0, done.output
    assert call(app, ["verify", str(folder), "--seal-only"]).exit_code == 10
    signed = ["verify", str(folder), "--seal-only", "--key", str(keys[1])]
    assert call(app, signed).exit_code == 0
    (folder / "README.md").write_text("no")
    assert call(app, signed).exit_code == 1


def test_seal_and_signature_are_checked_without_torch(folder, keys):
    signing.sign(folder, keys[0])
    code = (
        "import sys; from pathlib import Path; from unspan.sealing.checking import sealed;"
        "checks = sealed(Path(sys.argv[1]), key=Path(sys.argv[2]));"
        "assert all(one.ok for one in checks); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, folder, keys[1]], check=True)


def test_the_folder_as_it_was_written_passes_all_checks(folder, digits_net):
    checks = verify(folder, model=copy.deepcopy(digits_net))
    assert len(checks) > 8
    assert not [one for one in checks if one.ok is False]
