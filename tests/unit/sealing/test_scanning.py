"""Names that would be published are found in every form, and none is where unspan wrote."""

import base64
import hashlib
import html
import json
import os

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from unspan.cli import app
from unspan.errors import UnsafeFileError, UsageError
from unspan.sealing.scanning import scan

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]
NAME = 'Zoë "Z" O\'Hara & <Sons>'


@pytest.mark.parametrize(
    "content",
    [
        NAME.encode(),
        NAME.upper().encode(),
        json.dumps({"name": NAME}).encode(),
        html.escape(NAME).encode(),
        b"x" * 100 + NAME.encode("utf-16-le"),
        base64.b64encode(NAME.encode()),
        hashlib.sha256(NAME.encode()).hexdigest().encode(),
        b"a" * ((8 << 20) - 5) + NAME.encode(),
    ],
)
def test_a_name_is_found_in_every_form(tmp_path, content):
    (tmp_path / "a.bin").write_bytes(content)
    assert scan(tmp_path, [NAME, "nobody else"])
    assert not scan(tmp_path, ["nobody else"])


def test_a_path_stands_for_its_last_part_and_names_of_files_count(tmp_path):
    (tmp_path / "note.txt").write_text("see 0017.jpg")
    assert scan(tmp_path, ["photos/people/0017.jpg"])
    (tmp_path / "note.txt").rename(tmp_path / "Ada.txt")
    assert scan(tmp_path, ["Ada.txt"])[0].form == "in its path"


def test_what_cannot_be_meant_or_read_is_refused(tmp_path):
    with pytest.raises(UsageError):
        scan(tmp_path, ["ab"])
    with pytest.raises(UsageError):
        scan(tmp_path / "nothing", ["abc"])
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UnsafeFileError):
        scan(tmp_path, ["abc"])


PERSON, OTHERS = "jane-q-doe-771", ("ann", "bob", "cid")


@pytest.fixture
def photos(tmp_path):
    """A folder of photos of people; one of them asks."""
    g = torch.Generator().manual_seed(0)
    for label, name in enumerate((*OTHERS, PERSON)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for one in range(30):
            pixels = (torch.rand(8, 8, 3, generator=g) * 90).byte()
            pixels[:, :, label % 3] += 90 + 60 * (label == 3)
            place = tmp_path / "photos" / name / f"{name}-{one}.png"
            Image.fromarray(pixels.numpy()).save(place)
    (tmp_path / "asked-for-771").mkdir()
    for one in (tmp_path / "photos" / PERSON).iterdir():
        (tmp_path / "asked-for-771" / one.name).write_bytes(one.read_bytes())
    (tmp_path / "net_of_people.py").write_text(
        "import torch\nfrom torch import nn\n"
        "def net():\n"
        "    torch.manual_seed(0)\n"
        "    return nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1),\n"
        "                         nn.Flatten(), nn.Linear(16, 4))\n"
    )
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("how", ["data", "ids"])
def test_no_published_file_names_who_asked(photos, monkeypatch, how):
    monkeypatch.syspath_prepend(str(photos))
    monkeypatch.setenv("UNSPAN_CACHE", str(photos / "cache"))
    ids = [f"{PERSON}-{one}.png" for one in range(30)]
    (photos / "ids-of-771.txt").write_text("\n".join(ids))
    asked = {
        "data": ["--forget-data", str(photos / "asked-for-771")],
        "ids": ["--forget-ids", str(photos / "ids-of-771.txt")],
    }[how]
    call = CliRunner().invoke
    common = ["--model", "python:net_of_people:net", "--data", str(photos / "photos")]
    common += ["--size", "8", *asked]
    done = call(
        app,
        ["erase", *common, "--method", "esc", "--set", "rank=2", "--max-drop", "none"]
        + ["--no-check-labels", "--out", str(photos / "erased")],
    )
    assert done.exit_code == 0, done.output
    names = [PERSON, *ids[:5], str(photos / "asked-for-771"), str(photos / "ids-of-771.txt")]
    assert scan(photos / "erased", names) == []
    if how == "data":
        return  # whose test samples have no label, as an audit of a class needs them
    done = call(
        app,
        ["audit", "python:net_of_people:net", str(photos / "erased")]
        + ["--data", str(photos / "photos"), "--size", "8", *asked, "--split", "train"]
        + ["--out", str(photos / "audit")],
    )
    assert (photos / "audit").exists(), (done.output, done.exception)
    assert scan(photos / "audit", names) == []


def test_the_command_says_where(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.txt").write_text("for Ada Lovelace")
    (tmp_path / "names.txt").write_text("Ada Lovelace\n")
    call = CliRunner().invoke
    arguments = ["scan", str(tmp_path / "out"), "--names", str(tmp_path / "names.txt")]
    done = call(app, arguments)
    assert done.exit_code == 6 and "a.txt" in done.output
    (tmp_path / "out" / "a.txt").write_text("for nobody")
    assert call(app, arguments).exit_code == 0
