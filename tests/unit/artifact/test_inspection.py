"""Whether a damaged folder is told to have a damaged receipt or damaged weights."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import unspan
from unspan.artifact import Damage, damage_of, inspect, private_folder
from unspan.errors import ModelError, OtherVersionError, UsageError


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 3)).eval()
    done = unspan.erase(model, torch.randn(60, 6), unspan.ESC(rank=1))
    return done.save(tmp_path_factory.mktemp("written") / "erased")


@pytest.fixture(params=["with the private folder", "without it"])
def folder(written, tmp_path, request):
    path = tmp_path / "erased"
    shutil.copytree(written, path)
    if request.param == "with the private folder":
        shutil.copytree(private_folder(written), private_folder(path))
    return path


def _edit(folder, *keys, value="sha256:0"):
    account = json.loads((folder / "receipt.json").read_text("utf-8"))
    part = account
    for key in keys[:-1]:
        part = part[key]
    part[keys[-1]] = value
    (folder / "receipt.json").write_text(json.dumps(account), "utf-8")


def test_a_folder_as_it_was_written_has_no_damage(folder):
    assert damage_of(folder) is None


@pytest.mark.parametrize("keys", [("files", "model.safetensors"), ("model", "sha256_after")])
def test_a_wrong_hash_in_the_receipt_is_damage_of_the_receipt(folder, keys):
    _edit(folder, *keys)
    assert damage_of(folder) is Damage.RECEIPT


def test_inspect_blames_the_receipt_where_its_hash_is_wrong(folder):
    _edit(folder, "files", "model.safetensors")
    with pytest.raises(ModelError, match=r"receipt\.json is damaged: its hash"):
        inspect(folder)


def test_another_edit_of_the_receipt_is_known_from_the_private_folder(folder):
    _edit(folder, "request", "kind", value="samples")
    known = private_folder(folder).exists()
    assert damage_of(folder) is (Damage.RECEIPT if known else None)


def test_both_hashes_wrong_is_damage_of_the_receipt_where_the_weights_are_known(folder):
    _edit(folder, "files", "model.safetensors")
    _edit(folder, "model", "sha256_after")
    known = private_folder(folder).exists()
    assert damage_of(folder) is (Damage.RECEIPT if known else Damage.WEIGHTS)


def test_other_weights_are_damage_of_the_weights(folder):
    state = load_file(folder / "model.safetensors")
    name = next(iter(state))
    save_file(state | {name: state[name] + 1}, folder / "model.safetensors")
    assert damage_of(folder) is Damage.WEIGHTS
    with pytest.raises(ModelError, match="is not the file this receipt describes"):
        inspect(folder)


@pytest.mark.parametrize("content", [b"", b"{}", b"no file of weights"])
def test_weights_that_cannot_be_read_are_damage_of_the_weights(folder, content):
    (folder / "model.safetensors").write_bytes(content)
    assert damage_of(folder) is Damage.WEIGHTS


def test_missing_weights_are_damage_of_the_weights(folder):
    (folder / "model.safetensors").unlink()
    assert damage_of(folder) is Damage.WEIGHTS
    with pytest.raises(ModelError, match="is missing"):
        inspect(folder)


@pytest.mark.parametrize("text", ["", "[]", "{}"])
def test_a_receipt_that_cannot_be_read_is_damage_of_the_receipt(folder, text):
    (folder / "receipt.json").write_text(text)
    assert damage_of(folder) is Damage.RECEIPT


def test_a_receipt_of_another_version_is_not_called_damaged(folder):
    (folder / "receipt.json").write_text('{"schema": "unspan.receipt/1"}')
    for read in (damage_of, inspect):
        with pytest.raises(OtherVersionError, match="this version reads"):
            read(folder)


def test_another_folder_has_no_receipt(tmp_path):
    with pytest.raises(UsageError, match="not an unspan folder"):
        damage_of(tmp_path)
