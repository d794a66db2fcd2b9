"""Reading batches of image folders: what a person is told of images that cannot be read."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unspan.data import folders
from unspan.data.loading import batches
from unspan.data.opening import open_data
from unspan.data.preprocess import Preprocess
from unspan.data.request import Request
from unspan.errors import DataError
from unspan.run import Run

HEADER = bytes.fromhex("89504e470d0a1a0a")


def _folder(root: Path, count: int) -> Path:
    for name in ("cat", "dog"):
        (root / name).mkdir()
        for at in range(count):
            pixels = np.full((4, 4, 3), at, np.uint8)
            Image.fromarray(pixels).save(root / name / f"{at:02d}.png")
    return root


def _zeros(image):
    return torch.zeros(3)


def _opened(root: Path):
    return open_data(str(root), transform=_zeros)["train"]


def _message(data, run=None) -> str:
    with pytest.raises(DataError) as caught:
        list(batches(data, run or Run()))
    return str(caught.value)


def test_one_damaged_image_alone_is_named_alone(tmp_path):
    root = _folder(tmp_path, 5)
    (root / "dog" / "03.png").write_bytes(b"")
    text = _message(_opened(root))
    assert text == "dog/03.png: the image is empty (0 bytes); replace or remove it"


def test_up_to_ten_damaged_images_are_named_with_their_number(tmp_path):
    root = _folder(tmp_path, 20)
    for at in range(13):
        (root / "dog" / f"{at:02d}.png").write_bytes(b"no image" * (at % 2))
    text = _message(_opened(root))
    assert text.startswith("dog/00.png: the image is empty (0 bytes); replace or remove it. ")
    assert ". 13 of the 40 images cannot be read" in text
    assert "dog/01.png" in text
    assert "dog/09.png and 3 more" in text
    assert "dog/10.png" not in text


def test_damage_after_the_header_is_found_in_small_folders(tmp_path, monkeypatch):
    root = _folder(tmp_path, 5)
    whole = (root / "cat" / "01.png").read_bytes()
    for name in ("cat/01.png", "dog/02.png"):
        (root / name).write_bytes(whole[:-20])
    assert "dog/02.png" in _message(_opened(root))
    (root / "dog" / "04.png").write_bytes(b"")
    monkeypatch.setattr(folders, "_DECODED", 0)
    text = _message(_opened(root))
    assert "At least 2 of the 10 images" in text
    assert "dog/02.png" not in text


def test_images_of_a_request_are_named_by_the_whole_folder(tmp_path):
    root = _folder(tmp_path, 5)
    for name in ("cat/01.png", "dog/02.png"):
        (root / name).write_bytes(HEADER)
    splits = Request.by_class(_opened(root), "dog")
    text = _message(splits.forget)
    assert text.startswith("dog/02.png: ")
    assert ". 2 of the 10 images cannot be read; the others are cat/01.png" in text


def test_a_file_that_is_gone_is_counted_as_damaged(tmp_path):
    root = _folder(tmp_path, 3)
    data = _opened(root)
    (root / "cat" / "00.png").unlink()
    (root / "dog" / "00.png").unlink()
    text = _message(data)
    assert "cannot read the file" in text
    assert text.endswith(". 2 of the 6 images cannot be read; the others are dog/00.png")


def test_a_loader_worker_gives_the_same_message(tmp_path):
    root = _folder(tmp_path, 5)
    (root / "dog" / "03.png").write_bytes(b"")
    text = _message(_opened(root), Run(workers=1))
    assert text == "dog/03.png: the image is empty (0 bytes); replace or remove it"


def test_images_of_different_sizes_are_said_by_a_loader_worker_too(tmp_path):
    root = _folder(tmp_path, 2)
    Image.new("RGB", (7, 5)).save(root / "dog" / "01.png")
    data = open_data(str(root), transform=Preprocess())["train"]
    assert _message(data, Run(workers=1)) == _message(data)
    assert "dog/01.png has size 3 x 5 x 7" in _message(data)
