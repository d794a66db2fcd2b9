"""The command line on folders of images: classes joined by name, and statistics once, then only the
samples to forget.
"""

import json
import sys
import unicodedata

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from typer.testing import CliRunner

from unspan.cli import app
from unspan.errors import DataError, UnspanError, UsageError

OUTPUTS = ["dog", "bird", "deer", "cat"]  # not in the order of their names
MODULE = '''
from torch import nn


class Net(nn.Module):
    """A hidden layer over 8 x 8 images."""

    def __init__(self, num_classes=4):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(192, 16), nn.ReLU())
        self.head = nn.Linear(16, num_classes)

    def forward(self, x):
        return self.head(self.body(x))


def embedding():
    return Net().body
'''
COLOURS = {
    "dog": (220, 40, 40),
    "bird": (40, 220, 40),
    "deer": (40, 40, 220),
    "cat": (220, 220, 40),
}


def picture(rng, name, mark=False):
    pixels = np.clip(np.array(COLOURS[name]) + rng.normal(0, 40, (8, 8, 3)), 0, 255)
    if mark:  # one person: a pattern that the others lack
        pixels[::2, ::2] = 255
    return pixels.astype(np.uint8)


class World:
    """Images on disk and a network that knows them."""

    def __init__(self, root):
        self.root = root
        rng = np.random.default_rng(0)
        pixels, labels = [], []
        for name in OUTPUTS:
            for i in range(60):
                mine = picture(rng, name, mark=name == "cat" and i < 30)
                self.write("all", name, f"{name}{i}.png", mine)
                if name == "deer":
                    self.write("only", name, f"{name}{i}.png", mine)
                if name == "cat" and i < 30:
                    self.write("anna", "", f"{name}{i}.png", mine)
                pixels.append(mine)
                labels.append(OUTPUTS.index(name))
        x = torch.tensor(np.stack(pixels)).permute(0, 3, 1, 2) / 255
        self.weights = root / "w.safetensors"
        save_file(self._trained(x, torch.tensor(labels)).state_dict(), self.weights)
        self.classes = root / "classes.txt"
        self.classes.write_text("\n".join(OUTPUTS))
        self.ids = root / "ids.txt"
        self.ids.write_text("\n".join(f"cat{i}.png" for i in range(30)))
        self.statistics = root / "statistics.safetensors"
        done = self.run(
            "stats", "--data", root / "all", "--classes", self.classes, "--out", self.statistics
        )
        assert done.exit_code == 0, (done.output, done.exception)

    def write(self, *path_and_pixels):
        *parts, pixels = path_and_pixels
        path = self.root.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)

    def _trained(self, x, y):
        (self.root / "unspan_request_net.py").write_text(MODULE)
        sys.path.insert(0, str(self.root))
        import unspan_request_net

        torch.manual_seed(0)
        net = unspan_request_net.Net()
        optimiser = torch.optim.Adam(net.parameters(), lr=5e-3)
        for _ in range(80):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(x), y).backward()
            optimiser.step()
        assert (net(x).argmax(1) == y).float().mean() > 0.97
        return net

    def run(self, command, *args):
        base = [command, "--model", "python:unspan_request_net:Net", "--weights", self.weights]
        base += ["--size", 8, "--mean", 0, "--std", 1]
        return CliRunner().invoke(app, [str(one) for one in [*base, *args]])

    def erase(self, out, *args):
        """The receipt of an erasure that works."""
        done = self.run("erase", "--out", out, "--eval", "none", *args)
        assert done.exit_code == 0, (done.output, done.exception)
        return json.loads((out / "receipt.json").read_text())

    def refused(self, out, *args, command="erase"):
        """The error of a request that is refused before anything is written."""
        done = self.run(command, "--out", out, *args)
        assert isinstance(done.exception, UnspanError), (done.output, done.exception)
        assert not out.exists()
        return done.exception


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("request"))


@pytest.fixture
def out(tmp_path):
    return tmp_path / "erased"


# ---- classes are joined by name ------------------------------------------------------------------


@pytest.mark.parametrize("selector", ["deer", "Deer", "2"])
def test_classes_file_says_which_output_a_folder_is(world, out, selector):
    receipt = world.erase(
        out, "--data", world.root / "all", "--forget", selector, "--classes", world.classes
    )
    assert receipt["request"]["classes"] == [OUTPUTS.index("deer")]
    assert receipt["request"]["selector"] == ["deer"]


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(OUTPUTS) + "\n\n",
        "\ufeff" + "\r\n".join(OUTPUTS),
        json.dumps(OUTPUTS),
        json.dumps({str(at): name for at, name in enumerate(OUTPUTS)}),
        json.dumps({name: at for at, name in enumerate(OUTPUTS)}),
    ],
)
def test_forms_of_a_classes_file(world, out, tmp_path, text):
    file = tmp_path / "names"
    file.write_bytes(text.encode())
    done = world.run(
        "erase", "--out", out, "--data", world.root / "all", "--forget", "deer", "--classes", file,
        "--dry-run",
    )  # fmt: skip
    assert done.exit_code == 0, (done.output, done.exception)


@pytest.mark.parametrize(
    "text, says",
    [
        ("dog\nbird\ndeer", "3 class names for the 4 outputs"),
        ("dog\nbird\ndeer\nhorse", "not among"),
        ("dog\nbird\ndeer\ndeer", "twice"),
        ("", "no names"),
        ('["dog", "bird"', "damaged"),
        ('{"0": "dog", "2": "deer"}', "indices"),
        ('["dog", 3]', "text"),
    ],
)
def test_classes_file_that_does_not_fit(world, out, tmp_path, text, says):
    file = tmp_path / "names"
    file.write_text(text)
    error = world.refused(out, "--data", world.root / "all", "--forget", "deer", "--classes", file)
    assert says in str(error)


@pytest.mark.parametrize("command", ["erase", "stats"])
def test_fewer_folders_than_outputs_without_names_are_refused(world, out, command):
    args = ["--forget", "deer"] if command == "erase" else []
    error = world.refused(out, "--data", world.root / "only", *args, command=command)
    assert isinstance(error, UsageError)
    assert all(said in str(error) for said in ("1 class name", "4 outputs", "--classes FILE"))


def test_names_in_two_unicode_forms_are_one(world, out, tmp_path):
    file = tmp_path / "names"
    file.write_text("dog\nbird\nbébé\ncat", encoding="utf-8")
    name = unicodedata.normalize("NFD", "bébé")
    for image in sorted((world.root / "only" / "deer").iterdir()):
        copy = tmp_path / "data" / name / image.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(image.read_bytes())
    statistics = f"statistics={world.statistics}"
    receipt = world.erase(
        out, "--data", tmp_path / "data", "--forget", "bébé", "--classes", file, "--set", statistics
    )
    assert receipt["request"]["classes"] == [2]


# ---- statistics once, then only the samples to forget --------------------------------------------


@pytest.mark.parametrize(
    "args",
    [
        ["--data", "only", "--forget", "deer"],
        ["--data", "only/deer", "--forget", "deer"],
        ["--forget-data", "only/deer", "--forget", "deer"],
        ["--forget-data", "only", "--forget", "deer"],
    ],
    ids=" ".join,
)
def test_a_class_from_its_samples_alone(world, out, monkeypatch, args):
    monkeypatch.chdir(world.root)
    receipt = world.erase(
        out, *args, "--classes", world.classes, "--set", f"statistics={world.statistics}"
    )
    assert receipt["method"]["name"] == "resample"
    assert receipt["request"]["classes"] == [OUTPUTS.index("deer")]
    assert receipt["method"]["fit"]["samples"] == 60


@pytest.mark.parametrize(
    "args, count",
    [
        (["--forget-data", "only/deer"], 60),
        (["--forget-data", "only"], 60),
        (["--forget-data", "anna"], 30),
        (["--data", "anna", "--forget-ids", "ids.txt"], 30),
        (["--data", "all", "--forget-ids", "ids.txt"], 30),
        (["--data", "anna", "--forget-index", "0-29"], 30),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_group_from_its_samples_alone(world, out, monkeypatch, args, count):
    monkeypatch.chdir(world.root)
    receipt = world.erase(
        out, *args, "--classes", world.classes, "--set", f"statistics={world.statistics}"
    )
    assert receipt["request"]["classes"] == []
    assert receipt["method"]["fit"]["samples"] == count


def test_too_few_samples_beside_statistics(world, out, tmp_path):
    few = tmp_path / "few"
    few.mkdir()
    for image in sorted((world.root / "anna").iterdir())[:5]:
        (few / image.name).write_bytes(image.read_bytes())
    error = world.refused(
        out, "--forget-data", few, "--classes", world.classes,
        "--set", f"statistics={world.statistics}", "--allow-identifying-projector",
    )  # fmt: skip
    assert "at least 20 forget samples" in str(error)


# ---- what cannot be a request --------------------------------------------------------------------


def test_no_data_at_all(world, out):
    assert "--forget-data" in str(world.refused(out, "--forget", "deer"))


def test_seed_beyond_the_generator(world, out):
    error = world.refused(
        out, "--data", world.root / "all", "--forget", "deer", "--classes", world.classes,
        "--seed", 2**63,
    )  # fmt: skip
    assert isinstance(error, UsageError) and "2**63" in str(error)


def test_empty_folder(world, out, tmp_path):
    (tmp_path / "nothing").mkdir()
    error = world.refused(out, "--data", tmp_path / "nothing", "--forget", "deer")
    assert isinstance(error, DataError) and "0 images" in str(error)


def test_current_folder_as_data(world, out, monkeypatch):
    monkeypatch.chdir(world.root / "all")
    receipt = world.erase(out, "--data", ".", "--forget", "deer", "--classes", world.classes)
    assert receipt["request"]["classes"] == [OUTPUTS.index("deer")]
    monkeypatch.chdir(world.root / "only" / "deer")
    receipt = world.erase(
        out.with_name("again"), "--data", ".", "--forget", "deer", "--classes", world.classes,
        "--set", f"statistics={world.statistics}",
    )  # fmt: skip
    assert receipt["request"]["classes"] == [OUTPUTS.index("deer")]


@pytest.mark.parametrize("option", ["--data", "--forget-data", "--classes", "--forget-ids"])
def test_path_that_is_too_long(world, out, option):
    given = {"--data": world.root / "all", "--classes": world.classes, option: "x/" + "y" * 5000}
    if option not in ("--forget-data", "--forget-ids"):
        given["--forget"] = "deer"
    error = world.refused(out, *[part for pair in given.items() for part in pair])
    assert isinstance(error, (UsageError, DataError)) and len(str(error)) < 6000
