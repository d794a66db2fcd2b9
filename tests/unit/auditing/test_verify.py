"""What `unspan verify` says of results that carry no eraser module."""

import shutil

import pytest
import torch
from torch import nn

import unspan
from unspan.artifact import damage_of, private_folder
from unspan.auditing.verify import verify
from unspan.errors import OtherVersionError
from unspan.methods import NegGrad
from unspan.system import schemas
from unspan.system.digests import file_hash
from unspan.training.settings import Training


def absorbing() -> nn.Module:
    """The layer before the head is affine, so that it takes the projection in."""
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 12), nn.Linear(12, 3))


def saved(method, tmp_path):
    torch.manual_seed(0)
    model = absorbing().eval()
    inputs = torch.randn(60, 6)
    data = unspan.Request.by_class(
        torch.utils.data.TensorDataset(inputs, model(inputs).argmax(1)), 1, num_classes=3
    )
    return unspan.erase(model, data, method).save(
        tmp_path / "erased", allow_identifying_projector=True
    )


@pytest.mark.parametrize(
    "method",
    [NegGrad(training=Training(lr=0.01, epochs=1)), unspan.ESC(rank=1)],
    ids=["trained", "absorbed"],
)
def test_every_check_that_applies_holds(method, tmp_path):
    folder = saved(method, tmp_path)
    checks = {one.name: one.ok for one in verify(folder, model=absorbing())}
    assert all(checks.values()), checks


def test_directions_that_nothing_holds_are_not_checked(tmp_path):
    folder = saved(unspan.ESC(rank=1), tmp_path)
    shutil.rmtree(private_folder(folder))
    checks = {one.name: one.ok for one in verify(folder, model=absorbing())}
    assert checks["removed directions"] is None


def edited(folder, old, new):
    receipt = folder / "receipt.json"
    text = receipt.read_text("utf-8")
    assert old in text
    receipt.write_text(text.replace(old, new), "utf-8")


def test_a_folder_of_another_version_is_not_called_damaged(tmp_path):
    folder = saved(unspan.ESC(rank=1), tmp_path)
    edited(folder, schemas.RECEIPT.schema, "unspan.receipt/99")
    (check,) = verify(folder, model=absorbing())
    assert (check.name, check.ok) == ("folder", None) and "this version reads" in check.detail
    with pytest.raises(OtherVersionError):
        damage_of(folder)


def test_it_is_said_which_file_is_damaged(tmp_path):
    folder = saved(unspan.ESC(rank=1), tmp_path)
    right = (folder / "receipt.json").read_text("utf-8")
    edited(folder, file_hash(folder / "model.safetensors"), "0" * 64)
    (check,) = verify(folder, model=absorbing())
    assert (check.name, check.ok) == ("receipt is as it was written", False)
    (folder / "receipt.json").write_text(right, "utf-8")
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(bytes(weights))
    (check,) = verify(folder, model=absorbing())
    assert check.ok is False and check.name == "weights file is the one the receipt describes"
