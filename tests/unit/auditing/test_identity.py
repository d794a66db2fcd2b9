"""Which file an audit is about: its hash is what `sha256sum` prints."""

import hashlib
from datetime import date

from torch import nn

from unspan.artifact import receipt as receipts
from unspan.auditing.identity import Files, identity
from unspan.sealing.canonical import canonical


def test_files_are_named_with_the_hash_of_their_bytes(tmp_path):
    folder = tmp_path / "erased"
    folder.mkdir()
    for path in (
        folder / "model.safetensors",
        folder / "receipt.json",
        tmp_path / "a.safetensors",
        tmp_path / "b",
    ):
        path.write_bytes(path.name.encode())
    files = Files(erased=folder, original=tmp_path / "a.safetensors", references=[tmp_path / "b"])
    found = identity(nn.Linear(2, 2), files, "somebody", date(2027, 5, 25))
    assert found.model.name == "erased/model.safetensors"
    assert found.model.sha256 == hashlib.sha256(b"model.safetensors").hexdigest()
    assert (found.original.name, found.references[0].name) == ("a.safetensors", "b")
    assert found.references[0].sha256 == hashlib.sha256(b"b").hexdigest()
    assert (found.by, found.valid_until) == ("somebody", "2027-05-25")
    assert found.deletion == hashlib.sha256(b"receipt.json").hexdigest()[:8]


def test_a_model_in_memory_has_no_file():
    found = identity(nn.Linear(2, 2), Files(), "", None)
    assert found.model is None and found.original is None and found.references == []
    assert found.deletion is None


def test_the_number_of_a_deletion_is_that_of_its_receipt_file(tmp_path):
    receipt = {"method": {"name": "esc"}, "request": {"classes": [3]}, "ä": 1.5}
    path = tmp_path / "receipt.json"
    path.write_text(canonical(receipt), "utf-8")
    assert receipts.number(receipt) == hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    assert receipts.number(receipt | {"ä": 1.6}) != receipts.number(receipt)
