"""Bad inputs through the command line: the exit code, one line that helps, nothing written, the old
output intact.

The number in each name is the row of the table of bad inputs. Most tests call the command in this
process; where a signal, a limit or a second rank is needed, in a forked child.
"""

import errno
import hashlib
import io
import json
import multiprocessing
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import unspan
from unspan import artifact
from unspan.cli import main
from unspan.data.opening import open_data
from unspan.data.preprocess import Preprocess
from unspan.data.request import Request
from unspan.erasure.checks import data_notices
from unspan.errors import DataError, ResourceError, UsageError
from unspan.methods import ESC
from unspan.run import Run

FORGET, SECOND = "3", "5"
COUNTS = {FORGET: 70, SECOND: 25}  # images of these classes in the training split; 14 of the others

NETS = '''
import os, signal, time
from pathlib import Path
import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import Dataset, IterableDataset, get_worker_info

HERE = Path(__file__).parent


class Net(nn.Module):
    def __init__(self, num_classes=10, width=64):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.fc = nn.Linear(16 * 4 * 4, width)
        self.relu = nn.ReLU()
        self.late = nn.Identity()
        self.head = nn.Linear(width, num_classes)

    def features(self, x):
        x = self.pool(self.conv1(x).relu())
        x = self.pool(self.conv2(x).relu())
        return self.late(self.relu(self.fc(x.flatten(1))))

    def forward(self, x):
        return self.head(self.features(x))


def make(num_classes=10):
    return Net(num_classes)


def trained():
    net = Net()
    net.load_state_dict(load_file(HERE / "weights.safetensors"))
    return net


def dead():
    net = trained()
    nn.init.constant_(net.fc.bias, -1e9)
    return net


class Marked(nn.Module):
    """Give another value for images that are mostly blue."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, x):
        blue = x[:, 2].mean((1, 2)) > x[:, 0].mean((1, 2)) + 0.5
        return torch.where(blue[:, None, None, None], x * self.value, x)


def marked(value):
    class Spoiled(Net):
        def features(self, x):
            return super().features(self.first(x))

    net = Spoiled()
    net.load_state_dict(load_file(HERE / "weights.safetensors"))
    net.first = Marked(value)
    return net


def nan():
    return marked(float("nan"))


def huge():
    return marked(1e30)


class Twins(Net):
    def __init__(self):
        super().__init__()
        self.head_b = nn.Linear(64, 10)

    def forward(self, x):
        z = self.features(x)
        return (self.head(z) + self.head_b(z)) / 2


class TwoHeads(Twins):
    def forward(self, x):
        z = self.features(x)
        return {"digit": self.head(z), "parity": self.head_b(z)}


class Body(nn.Module):
    """Without a head: tokens, a map, a tuple or a dict."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.body = nn.Conv2d(3, 8, 4, stride=4)

    def forward(self, x):
        maps = self.body(x)
        tokens = maps.flatten(2).mT
        kinds = {"tuple": (tokens, maps), "dict": {"seq": tokens}, "maps": maps, "tokens": tokens}
        return kinds[self.kind]


class Cosine(Net):
    def forward(self, x):
        z = nn.functional.normalize(self.features(x), dim=1)
        return 10 * z @ nn.functional.normalize(self.head.weight, dim=1).mT


class ConvHead(Net):
    def __init__(self):
        super().__init__()
        self.head = nn.Conv2d(64, 10, 1)

    def forward(self, x):
        return self.head(self.features(x)[:, :, None, None]).flatten(1)


class BiasFree(Net):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(64, 10, bias=False)


class TiedHead(Net):
    def __init__(self):
        super().__init__()
        self.other = nn.Linear(64, 10)
        self.other.weight = self.head.weight


class Unsteady(Net):
    def features(self, x):
        return super().features(x + 0.02 * torch.randn_like(x))


def unsteady():
    net = Unsteady()
    net.load_state_dict(load_file(HERE / "weights.safetensors"))
    return net


class Regular(Net):
    def __init__(self):
        super().__init__()
        self.norm, self.drop = nn.BatchNorm1d(64), nn.Dropout(0.5)

    def features(self, x):
        return self.drop(self.norm(super().features(x)))


def regular():
    torch.manual_seed(0)
    net = Regular()
    net.load_state_dict(load_file(HERE / "weights.safetensors"), strict=False)
    return net.train()


def half():
    return trained().half()


def meta():
    with torch.device("meta"):
        return Net()


def lazy():
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(8), nn.ReLU(), nn.Linear(8, 10))


def quantised():
    net = trained()
    net.fc.weight = nn.Parameter((net.fc.weight * 10).to(torch.int8), requires_grad=False)
    return net


class Picky(Net):
    def forward(self, x, mask):
        return super().forward(x)


def _raise(kind):
    def hook(module, args, output):
        raise kind("the input must be 224 pixels")

    net = trained()
    net.fc.register_forward_hook(hook)
    return net


def raising():
    return _raise(RuntimeError)


def asserting():
    return _raise(AssertionError)


def hungry():
    net = trained()
    net.fc.register_forward_hook(lambda m, a, out: torch.empty(2**50))
    return net


class Means(nn.Module):
    """Features: the mean of each of the first channels."""

    def __init__(self, channels, classes=2):
        super().__init__()
        self.channels = channels
        self.pool, self.flat = nn.AdaptiveAvgPool2d(1), nn.Flatten()
        self.head = nn.Linear(channels, classes)

    def forward(self, x):
        return self.head(self.flat(self.pool(x[:, : self.channels])))


def means():
    torch.manual_seed(0)
    return Means(3)


def gauge():
    """One feature, brightness: above a half it is class 1."""
    net = Means(1)
    net.head.weight.data = torch.tensor([[-1.0], [1.0]])
    net.head.bias.data = torch.tensor([0.5, -0.5])
    return net


class Digits(Dataset):
    """The digits as tensors; `do` is called for every read."""

    def __init__(self, do=None):
        state = load_file(HERE / "digits.safetensors")
        self.images, self.targets, self.do = state["images"], state["labels"].tolist(), do

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, i):
        return (self.images[i] if self.do is None else self.do(self.images[i], i)), self.targets[i]


def digits():
    return Digits()


def augmented():
    return Digits(lambda image, i: torch.roll(image, int(torch.randint(0, 9, ())), -1))


def _kill_worker(image, i):
    if get_worker_info() is not None:
        os.kill(os.getpid(), signal.SIGKILL)
    return image


def worker_dies():
    return Digits(_kill_worker)


def _hang_worker(image, i):
    if get_worker_info() is not None:
        time.sleep(60)
    return image


def worker_hangs():
    return Digits(_hang_worker)


def _slow(image, i):
    Path(os.environ["MARK"]).touch()
    time.sleep(0.5)
    return image


def slow():
    return Digits(_slow)


def _dies(image, i):
    _dies.reads += 1
    if os.environ["RANK"] == "1" and _dies.reads > 10:
        os._exit(1)
    return image


_dies.reads = 0


def rank_dies():
    return Digits(_dies)


class Endless(IterableDataset):
    def __iter__(self):
        while True:
            yield torch.rand(3, 16, 16), 3


def endless():
    return Endless()
'''


@dataclass
class World:
    """Weights, images and an erased folder that all tests may read."""

    root: Path
    images: Path
    weights: Path
    tensors: torch.Tensor
    labels: torch.Tensor
    erased: Path


@dataclass
class Answer:
    code: int
    out: str
    err: str
    target: Path

    @property
    def receipt(self):
        return json.loads((self.target / "receipt.json").read_text())

    @property
    def weights(self):
        return load_file(self.target / "model.safetensors")


@pytest.fixture(scope="session")
def one_thread():
    """Threads would outlive no fork, and fight for the cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def world(tmp_path_factory, one_thread):
    from sklearn.datasets import load_digits

    root = tmp_path_factory.mktemp("world")
    (root / "unspan_bad_nets.py").write_text(NETS)
    pixels, labels = load_digits(return_X_y=True)
    images = (
        np.clip(pixels.reshape(-1, 8, 8) * 16, 0, 255).astype(np.uint8).repeat(2, 1).repeat(2, 2)
    )
    tensors = torch.from_numpy(images).float().div(255)[:, None].expand(-1, 3, -1, -1).contiguous()
    labels = torch.from_numpy(labels)
    sys.path.insert(0, str(root))
    nets = __import__("unspan_bad_nets")
    torch.manual_seed(0)
    net = nets.Net()
    rate = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(14):
        for index in torch.randperm(1400).split(64):
            rate.zero_grad()
            F.cross_entropy(net(tensors[index]), labels[index]).backward()
            rate.step()
    with torch.no_grad():
        assert (net(tensors[1400:]).argmax(1) == labels[1400:]).float().mean() > 0.85
    save_file(net.state_dict(), root / "weights.safetensors")
    save_file(
        {"images": tensors[:300].contiguous(), "labels": labels[:300]}, root / "digits.safetensors"
    )
    folder = root / "images"
    for digit in range(10):
        train = [i for i in range(1400) if labels[i] == digit][: COUNTS.get(str(digit), 14)]
        test = [i for i in range(1400, len(labels)) if labels[i] == digit][:5]
        for split, chosen in (("train", train), ("test", test)):
            (folder / split / str(digit)).mkdir(parents=True)
            for i in chosen:
                Image.fromarray(images[i]).convert("RGB").save(
                    folder / split / str(digit) / f"{i:04}.png"
                )
    made = World(root, folder, root / "weights.safetensors", tensors, labels, root / "erased")
    deletion = unspan.erase(
        nets.trained(),
        Request.by_class(open_data(str(folder), transform=Preprocess())["train"], FORGET),
        ESC(rank=2),
        recipe={"spec": "python:unspan_bad_nets:make", "num_classes": 10},
    )
    deletion.save(made.erased)
    yield made
    sys.path.remove(str(root))


def snapshot(folder):
    """Every file below a folder with its bytes and mode."""
    return {
        str(path.relative_to(folder)): (
            path.stat().st_mode,
            path.read_bytes() if path.is_file() else None,
        )
        for path in sorted(folder.rglob("*"), key=os.fsencode)
    }


def one_line(text):
    lines = text.strip().splitlines()
    assert len(lines) == 1, text
    assert lines[0].startswith(("Error: ", "Interrupted")), text
    assert "Traceback" not in text and not re.search(r"unexpected \w+(Error|Exception)", text), text
    return lines[0]


class Shell:
    """The command with the small model and data of `world` filled in, in an empty current
    folder.
    """

    def __init__(self, world, here, monkeypatch, capsys):
        self.world, self.here, self.monkeypatch, self.capsys = world, here, monkeypatch, capsys
        self.target = here / "out" / "erased"
        self.target.parent.mkdir()

    def cli(self, *args):
        self.monkeypatch.setattr(sys, "argv", ["unspan", *map(str, args)])
        handler = signal.getsignal(signal.SIGTERM)
        self.capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code
        finally:
            signal.signal(signal.SIGTERM, handler)
        out, err = self.capsys.readouterr()
        return code, out, err

    def arguments(self, *args, model="make", data=None, weights=None, out=None):
        found = ["erase", "--out", str(out or self.target)]
        found += [
            "--model",
            model if ":" in model or "/" in model else f"python:unspan_bad_nets:{model}",
        ]
        found += ["--data", str(data or self.world.images)]
        if model == "make":
            found += ["--weights", str(weights or self.world.weights)]
        if not {"--p", "--rank", "--energy", "--method"} & {
            str(one).partition("=")[0] for one in args
        }:
            found += ["--rank", "1"]
        return [*found, *map(str, args)]

    def works(self, *args, **more):
        code, out, err = self.cli(*self.arguments(*args, **more))
        assert code == 0, err
        assert "Traceback" not in err
        target = Path(more.get("out") or self.target)
        artifact.inspect(target)
        return Answer(code, out, err, target)

    def fails(self, code, *args, says=(), **more):
        """Refused with this code and one line, first without an output folder, then with an old
        one.
        """
        line = ""
        for old in (False, True):
            if old:
                shutil.copytree(self.world.erased, self.target)
                shutil.copytree(
                    artifact.private_folder(self.world.erased), artifact.private_folder(self.target)
                )
            before = snapshot(self.target.parent)
            got, out, err = self.cli(
                *self.arguments("--quiet", *(["--overwrite"] if old else []), *args, **more)
            )
            assert got == code, (got, err)
            assert out == ""
            line = one_line(err)
            for fact in says:
                assert re.search(fact, line), (fact, line)
            assert snapshot(self.target.parent) == before
        shutil.rmtree(self.target.parent)
        self.target.parent.mkdir()
        return line

    def classes(self, name, keep=lambda split, digit, i: True, rename=lambda digit: digit):
        """A copy of the images, chosen and renamed."""
        root = self.here / name
        for split in ("train", "test"):
            for folder in sorted((self.world.images / split).iterdir()):
                for i, file in enumerate(sorted(folder.iterdir())):
                    if keep(split, folder.name, i):
                        target = root / split / rename(folder.name)
                        target.mkdir(parents=True, exist_ok=True)
                        shutil.copy(file, target / file.name)
        return root

    def flat(self, name, images):
        root = self.here / name
        root.mkdir()
        for i, image in enumerate(images):
            image.save(root / f"{i:03}.png")
        return root


@pytest.fixture
def shell(world, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    return Shell(world, tmp_path, monkeypatch, capsys)


def solid(color, size=(16, 16)):
    return Image.new("RGB", size, color)


# ---- the request ---------------------------------------------------------------------------------


def test_row_01_empty_forget_set(shell):
    data = shell.classes("data", keep=lambda split, digit, i: split == "test" or digit != "9")
    shell.fails(
        3,
        "--forget",
        "9",
        data=data,
        says=["0 samples match class '9'", "classes present: 0, 1, 2"],
    )


def test_row_01_empty_id_file(shell):
    (shell.here / "ids.txt").write_text("# nothing\n")
    shell.fails(3, "--forget-ids", "ids.txt", says=["ids.txt", "no ids"])


def test_row_02_class_in_the_head_but_not_in_the_data(shell):
    data = shell.classes("data", keep=lambda split, digit, i: digit != "9")
    shell.fails(
        3, "--forget", "9", data=data, says=["0 samples match class '9'", "classes present: .*8"]
    )


@pytest.mark.parametrize("value", ["10", "-1", "2.5", "cat"])
def test_row_03_no_such_class(shell, value):
    shell.fails(2, f"--forget={value}", says=[re.escape(value), "0 to 9"])


def test_row_03_near_name(shell):
    data = shell.classes("data", keep=lambda *_: True, rename=lambda digit: f"{digit}-digit")
    shell.fails(2, "--forget", "3-digits", data=data, says=["3-digits", "did you mean 3-digit"])


def test_row_04_all_classes(shell):
    shell.fails(2, *[f"--forget={digit}" for digit in range(10)], says=["nothing would remain"])


def test_row_05_one_sample_needs_a_flag(shell):
    shell.fails(
        2,
        "--forget-index",
        "3",
        says=["1 samples?", "fewer than 20", "--allow-identifying-projector"],
    )
    done = shell.works("--forget-index", "3", "--allow-identifying-projector")
    assert done.receipt["method"]["fit"]["samples"] == 1 and done.receipt["removed_rank"] == 1
    retained = next(row for row in done.receipt["evaluation"] if row["split"] == "test retain")
    assert retained["after"] > retained["before"] - 0.15


def test_row_06_fewer_samples_than_dimensions(shell):
    few = shell.works(
        "--forget", FORGET, "--max-samples", 30, "--eval", "test", out=shell.here / "few"
    )
    many = shell.works("--forget", FORGET, "--eval", "test", out=shell.here / "many")
    assert few.receipt["method"]["fit"]["samples"] == 30 < few.receipt["method"]["fit"]["dim"] == 64
    assert many.receipt["method"]["fit"]["samples"] == 70
    kept = [
        next(row["after"] for row in one.receipt["evaluation"] if "retain" in row["split"])
        for one in (few, many)
    ]
    assert kept[0] >= kept[1] - 0.06  # of 274 test samples
    assert "30 samples in 64 dimensions: at most" in few.err


def test_row_07_identical_images_have_rank_1(shell):
    same = shell.flat(
        "same", [Image.open(next((shell.world.images / "train" / FORGET).iterdir()))] * 100
    )
    args = ("--forget-data", same, "--allow-identifying-projector", "--rank")
    shell.fails(3, *args, 2, says=["rank is 1", "100 samples"])
    done = shell.works(*args, 1)
    assert done.receipt["method"]["fit"]["samples"] == 100 and done.receipt["removed_rank"] == 1


def test_row_07_identical_images_identify_one_sample(shell):
    same = shell.flat(
        "same", [Image.open(next((shell.world.images / "train" / FORGET).iterdir()))] * 100
    )
    shell.fails(2, "--forget-data", same, says=["--allow-identifying-projector"])


def test_row_08_all_features_zero(shell):
    shell.fails(3, "--forget", FORGET, model="dead", says=["all zero|are zero", "wrong layer"])


@pytest.mark.parametrize("value", [0, 1.5])
def test_row_09_percent_too_small(shell, value):
    shell.fails(2, "--forget", FORGET, "--p", value, says=["k would be 0", "d=64", "1.5625"])


@pytest.mark.parametrize("setting", ["--p=100", "--rank=64", "--p=-1", "--rank=0"])
def test_row_10_rank_out_of_range(shell, setting):
    extra = ["--allow-identifying-projector"]
    shell.fails(
        2, "--forget", FORGET, setting, *extra, says=["d=64|64 directions", "1 <= (rank|k) <= 63"]
    )


def test_row_11_rank_above_the_data(shell):
    args = ("--forget", FORGET, "--max-samples", 30, "--rank", 40, "--allow-identifying-projector")
    shell.fails(3, *args, says=["k=40", r"rank is \d+", "30 samples"])


def test_row_12_equal_singular_values(shell):
    data = shell.flat("two", [solid("red")] * 20 + [solid((0, 255, 0))] * 20)
    done = shell.works(
        "--forget-data",
        data,
        "--rank",
        1,
        "--eval",
        "none",
        "--allow-identifying-projector",
        model="means",
        data=data,
    )
    assert "equal singular values" in done.err and "not unique" in done.err
    assert done.receipt["method"]["fit"]["gap"] < 1e-6
    assert done.receipt["removed_rank"] == 1


def test_row_13_mask_without_effect(shell):
    args = ("--forget", FORGET, "--method", "esc-t", "--lr", 1e-12, "--epochs", 1)
    shell.fails(7, *args, says=["no-op", "Raise lr, epochs or tau"])


def test_row_13_mask_without_anything_left(shell):
    for name, color in (("shiny", "white"), ("dark", "black")):
        (shell.here / "data" / name).mkdir(parents=True)
        for i in range(25):
            solid(color).save(shell.here / "data" / name / f"{i}.png")
    args = ("--forget", "shiny", "--method", "esc-t", "--lr", 5, "--eval", "none")
    shell.fails(
        3,
        *args,
        model="gauge",
        data=shell.here / "data",
        says=["would zero all features", "lr or tau"],
    )


def shifted(shell):
    return shell.classes("shifted", rename=lambda digit: str((int(digit) + 1) % 10))


def test_row_14_nothing_recognised_at_the_start(shell):
    data = shell.classes("data", rename=lambda digit: {"3": "4", "4": "3"}.get(digit, digit))
    args = ("--forget", "4", "--method", "esc-t", "--no-check-labels")
    shell.fails(7, *args, data=data, says=["already not recognised"])


def test_row_15_second_request_unites_the_spans(shell):
    first = shell.works("--forget", FORGET, out=shell.here / "first")
    second = shell.works(
        "--forget", SECOND, "--trust-code", model=str(first.target), out=shell.here / "second"
    )
    assert second.receipt["removed_rank"] == 2 and len(second.receipt["previous"]) == 1
    for name in ("first", "second"):
        state = load_file(shell.here / f"{name}.private" / "state.safetensors")["basis"]
        assert state.shape[1] == {"first": 1, "second": 2}[name]
    old = load_file(shell.here / "first.private" / "state.safetensors")["basis"]
    new = load_file(shell.here / "second.private" / "state.safetensors")["basis"]
    assert (old - new @ (new.mT @ old)).norm() < 1e-5


def test_row_16_same_request_twice(shell):
    first = shell.works("--forget", FORGET, out=shell.here / "first")
    again = shell.works(
        "--forget", FORGET, "--trust-code", model=str(first.target), out=shell.here / "again"
    )
    assert "already erased" in again.err.lower()
    assert (again.target / "model.safetensors").read_bytes() == (
        first.target / "model.safetensors"
    ).read_bytes()


def test_row_17_forget_and_retain_overlap(shell):
    source = open_data(str(shell.world.images), transform=Preprocess())["train"]
    again = open_data(str(shell.world.images), transform=Preprocess())["train"]
    with pytest.raises(DataError) as caught:
        Request(forget=source, retain=again)
    assert re.search(
        rf"share {len(source)} samples \(hashed ids: (\w{{12}}(, )?){{5}}\)", str(caught.value)
    )
    assert "\n" not in str(caught.value)
    pair = TensorDataset(shell.world.tensors[:9], shell.world.labels[:9])
    with pytest.raises(DataError, match="share 2 samples"):
        Request(
            forget=torch.utils.data.Subset(pair, [0, 1, 2]),
            retain=torch.utils.data.Subset(pair, [1, 2, 3]),
        )


def test_row_18_test_data_overlaps(shell):
    data = shell.classes("data")
    shutil.copy(sorted((data / "train" / FORGET).iterdir())[0], data / "test" / FORGET / "copy.png")
    shell.fails(
        3, "--forget", FORGET, data=data, says=["test split", "share 1 samples?", "--allow-overlap"]
    )
    done = shell.works("--forget", FORGET, "--allow-overlap", data=data)
    assert any("overlap" in line or "test split" in line for line in done.receipt["warnings"]), (
        done.receipt["warnings"]
    )


def test_row_19_no_retain_set(shell):
    person = shell.here / "person"
    person.mkdir()
    for file in (shell.world.images / "train" / FORGET).iterdir():
        shutil.copy(file, person / file.name)
    done = shell.works("--forget-data", person, data=person)
    assert [row["part"] for row in done.receipt["evaluation"]] == ["forget"]
    assert "not run" in done.err.lower() or "not measured" in done.err.lower(), done.err


def test_row_19_forget_data_in_a_folder_of_its_own(shell):
    """The name of the folder of a person is no class of the model."""
    shutil.copytree(shell.world.images / "train" / FORGET, shell.here / "people" / "alice")
    done = shell.works("--forget-data", shell.here / "people")
    assert done.receipt["request"]["samples_read"] == 70


def test_row_20_three_test_images(shell):
    data = shell.classes(
        "data", keep=lambda split, digit, i: split == "train" or digit != FORGET or i < 3
    )
    done = shell.works("--forget", FORGET, "--rank", 6, data=data)
    row = next(row for row in done.receipt["evaluation"] if row["split"] == "test forget")
    assert row["n"] == 3 and row["after"] == 0
    assert (row["low"], round(row["high"], 3)) == (0, 0.708)
    assert "0.0% to 70.8%" in done.err


def test_row_21_shifted_labels(shell):
    line = shell.fails(
        3, "--forget", "4", data=shifted(shell), says=["about chance", "labels or preprocessing"]
    )
    assert "--no-check-labels" in line


def test_row_21_shifted_labels_for_samples(shell):
    args = ("--forget-index", "20-44")
    shell.fails(
        3, *args, data=shifted(shell), says=["about chance", "labels or preprocessing look wrong"]
    )


def test_row_22_wrong_normalisation(shell):
    args = ("--forget", FORGET, "--mean", "0.9", "--std", "-0.5")
    shell.fails(3, *args, says=["about chance", "labels or preprocessing look wrong"])


# ---- features and models -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "row", [pytest.param((23, "nan"), id="nan"), pytest.param((24, "huge"), id="huge")]
)
def test_row_23_24_features_not_finite(shell, row):
    data = shell.classes("data")
    solid("blue").save(data / "train" / FORGET / "zz-blue.png")
    args = ("--forget", FORGET, "--batch-size", 16)
    says = ["NaN", "batch 4, row 6", "train/3/zz-blue.png", "float32"]
    shell.fails(3, *args, model=row[1], data=data, says=says)


def test_row_25_train_mode(shell):
    nets = sys.modules["unspan_bad_nets"]
    net = nets.regular()
    net.drop.eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    flags = [module.training for module in net.modules()]
    data = TensorDataset(shell.world.tensors[:40], shell.world.labels[:40])
    found = unspan.erase(net, data, ESC(rank=1))
    assert flags == [module.training for module in net.modules()]
    kept = {name: module.training for name, module in found.model.named_modules()}
    assert all(kept[name] == module.training for name, module in net.named_modules())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    args = ("--forget", FORGET, "--no-check-labels", "--eval", "none")
    done = [shell.works(*args, model="regular", out=shell.here / name) for name in "ab"]
    assert all(torch.equal(value, done[1].weights[name]) for name, value in done[0].weights.items())
    for name in ("norm.running_mean", "norm.running_var", "norm.num_batches_tracked"):
        assert torch.equal(done[0].weights[name], before[name])


def test_row_26_no_such_layer(shell):
    shell.fails(
        2,
        "--forget",
        FORGET,
        "--feature-layer",
        "haed",
        says=["no module 'haed'", "Close names: head"],
    )


def test_row_26_two_heads_match(shell):
    shell.fails(2, "--forget", FORGET, model="Twins", says=["head, head_b", "--feature-layer head"])


@pytest.mark.parametrize("kind", ["tokens", "maps", "tuple", "dict"])
def test_row_27_features_need_pooling(shell, kind):
    nets = sys.modules["unspan_bad_nets"]
    shell.monkeypatch.setattr(nets, "body", lambda: nets.Body(kind), raising=False)
    says = ["pool"] if kind != "tuple" else ["feature_layer|pool"]
    shell.fails(2, "--forget", FORGET, "--no-check-labels", model="body", says=[*says, "Body"])
    if kind != "tuple":
        feature_layer = "output:seq" if kind == "dict" else "output"
        more = ("--feature-layer", feature_layer, "--pool", "mean", "--eval", "none")
        done = shell.works("--forget", FORGET, *more, model="body")
        assert done.receipt["method"]["fit"]["dim"] == 8


def test_row_28_head_that_cannot_be_folded(shell):
    args = ("--forget", FORGET, "--form", "folded", "--no-check-labels", "--eval", "none")
    shell.fails(2, *args, model="TiedHead", says=["folded", "projected"])
    assert shell.works(*args[:2], *args[4:], model="TiedHead").receipt["form"] == "projected"


def test_row_28_scores_that_no_linear_layer_gives(shell):
    """As wide as the classes: never taken for an embedding unless the user says so."""
    args = ("--forget", FORGET, "--no-check-labels", "--eval", "none")
    shell.fails(2, *args, model="Cosine", says=["10 numbers", "--feature-layer output"])
    done = shell.works(*args, "--feature-layer", "output", model="Cosine")
    assert done.receipt["placement"]["feature_layer"]["head"] is None


@pytest.mark.parametrize("kind", ["ConvHead", "BiasFree"])
@pytest.mark.parametrize("form", ["folded", "projected"])
def test_row_28_head_that_is_supported(shell, kind, form):
    args = ("--forget", FORGET, "--form", form, "--no-check-labels", "--eval", "none")
    assert shell.works(*args, model=kind).receipt["placement"]["feature_layer"]["head"] == "head"


def test_row_29_features_shared_by_heads(shell):
    args = ("--forget", FORGET, "--no-check-labels", "--eval", "none")
    shell.fails(2, *args, model="TwoHeads", says=["head, head_b", "--feature-layer head"])
    assert "also feed head_b" in shell.works(*args, "--feature-layer", "head", model="TwoHeads").err


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod."])
def test_row_30_prefix_is_stripped_with_a_notice(shell, prefix):
    state = {prefix + name: value for name, value in load_file(shell.world.weights).items()}
    save_file(state, shell.here / "w.safetensors")
    done = shell.works("--forget", FORGET, weights=shell.here / "w.safetensors")
    assert set(done.weights) >= {"head.weight"}
    assert f"stripped prefix {prefix}" in done.err


def test_row_30_shard_of_fsdp(shell):
    save_file({"_fsdp_wrapped_module._flat_param": torch.zeros(4)}, shell.here / "w.safetensors")
    shell.fails(
        4, "--forget", FORGET, weights=shell.here / "w.safetensors", says=["FSDP", "consolidate"]
    )


@pytest.mark.parametrize("form", ["folded", "projected"])
def test_row_31_half_precision(shell, form):
    done = shell.works("--forget", FORGET, "--form", form, model="half")
    own = {name: value for name, value in done.weights.items() if "unspan" not in name}
    assert all(value.dtype == torch.float16 for value in own.values())
    assert all(
        value.dtype == torch.float32 for name, value in done.weights.items() if name not in own
    )


def test_row_31_quantised(shell):
    shell.fails(
        4, "--forget", FORGET, model="quantised", says=["fc", "quantised", "dequantise first"]
    )


@pytest.mark.parametrize("kind", ["meta", "lazy"])
def test_row_32_no_values(shell, kind):
    shell.fails(4, "--forget", FORGET, model=kind, says=["weight", "first"])


def test_row_33_forward_needs_more(shell):
    says = ["Picky.forward", r"\(self, x, mask\)", "mask", r"float32\[2, 3, 16, 16\]"]
    shell.fails(2, "--forget", FORGET, model="Picky", says=says)


@pytest.mark.parametrize("kind", ["raising", "asserting"])
def test_row_33_hook_raises(shell, kind):
    says = ["Net.forward", r"\(self, x\)", "must be 224 pixels"]
    shell.fails(2, "--forget", FORGET, model=kind, says=says)


def test_row_34_random_model(shell):
    done = shell.works("--forget", FORGET, model="unsteady")
    assert re.search(r"two passes over the same samples differ by \d.*sin theta \d", done.err)


def test_row_35_keys_that_do_not_fit(shell):
    state = load_file(shell.world.weights)
    state["head.weight"] = torch.zeros(10, 63)
    del state["fc.bias"]
    save_file(
        state | {f"more.{i}": torch.zeros(1) for i in range(12)}, shell.here / "w.safetensors"
    )
    says = [
        r"missing: fc\.bias \[64\]",
        r"12 unexpected: more\.0",
        r"head\.weight \[10, 63\], not \[10, 64\]",
    ]
    line = shell.fails(4, "--forget", FORGET, weights=shell.here / "w.safetensors", says=says)
    assert line.count("more.") == 10


# ---- images --------------------------------------------------------------------------------------


def damage(kind, path):
    image = Image.effect_noise((64, 64), 50).convert("RGB")
    buffer = io.BytesIO()
    image.save(buffer, "PNG" if kind == "crc" else "JPEG")
    content = bytearray(buffer.getvalue())
    if kind == "crc":
        content[content.index(b"IDAT") + 40] ^= 0xFF
    path.write_bytes(
        {"truncated": content[: len(content) // 2], "crc": content, "empty": b"", "text": b"hello"}[
            kind
        ]
    )


@pytest.mark.parametrize("kind", ["truncated", "crc", "empty", "text"])
def test_row_51_damaged_image(shell, kind):
    data = shell.classes("data")
    name = "broken.png" if kind == "crc" else "broken.jpg"
    damage(kind, data / "train" / FORGET / name)
    shell.fails(3, "--forget", FORGET, data=data, says=[f"train/3/{name}", "remove"])


def test_row_51_gif_named_jpg_is_counted(shell):
    data = shell.classes("data")
    solid("white").save(data / "train" / FORGET / "odd.jpg", "GIF")
    done = shell.works("--forget", FORGET, data=data)
    assert (
        sum(n for note, n in done.receipt["conversions"].items() if "GIF file named .jpg" in note)
        == 1
    )


def test_row_52_decompression_bomb(shell):
    data = shell.classes("data")
    Image.new("1", (10_000, 9_500)).save(data / "train" / FORGET / "bomb.png")
    limit = Image.MAX_IMAGE_PIXELS
    shell.fails(3, "--forget", FORGET, data=data, says=["train/3/bomb.png", "95000000", "[Ss]cale"])
    assert limit == Image.MAX_IMAGE_PIXELS == 89478485


def test_row_53_conversions_are_counted(shell):
    data = shell.classes("data")
    folder = data / "train" / FORGET
    grey = Image.open(sorted(folder.iterdir())[0]).convert("L")
    grey.save(folder / "grey.png")
    grey.convert("RGBA").save(folder / "rgba.png")
    grey.convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(np.asarray(grey).astype(np.uint16) * 257).save(folder / "deep.png")
    grey.convert("P").save(folder / "palette.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    grey.convert("RGB").save(folder / "turned.jpg", exif=exif)
    grey.save(folder / "moving.gif", save_all=True, append_images=[Image.new("L", grey.size, 9)])
    done = shell.works("--forget", FORGET, data=data)
    notes = "\n".join(note for note, n in done.receipt["conversions"].items() for _ in range(n))
    for part in (
        "L->RGB",
        "RGBA->RGB",
        "CMYK->RGB",
        "I;16->RGB",
        "P->RGB",
        "EXIF rotated",
        "first frame only",
    ):
        assert part in notes, (part, notes)
    assert sum(done.receipt["conversions"].values()) == 7


def test_row_54_corrupt_test_image(shell):
    data = shell.classes("data")
    damage("truncated", data / "test" / "7" / "broken.jpg")
    shell.fails(3, "--forget", FORGET, data=data, says=["test/7/broken.jpg", "remove"])


def test_row_55_no_images(shell):
    root = shell.here / "data"
    (root / "cat" / "empty").mkdir(parents=True)
    (root / "cat" / ".hidden.png").write_bytes(b"x")
    (root / "notes.txt").write_text("x")
    says = ["no images", "found 2 folders", "1 hidden", "1 other"]
    shell.fails(3, "--forget", "cat", data=root, says=says)


EMOJI = "\N{GRINNING FACE}.png".encode()
STRANGE = [b"a\nb.png", b'a"b.png', EMOJI, b"n" * 251 + b".png", b"\xff\xfe.png", b"[red]x.png"]


def test_row_56_strange_file_names(shell):
    data = shell.classes("data")
    folder = os.fsencode(data / "train" / FORGET)
    content = next((shell.world.images / "train" / FORGET).iterdir()).read_bytes()
    for name in STRANGE:
        Path(os.fsdecode(folder + b"/" + name)).write_bytes(content)
    assert shell.works("--forget", FORGET, data=data).receipt["request"][
        "samples_read"
    ] == 70 + len(STRANGE)
    shutil.rmtree(shell.target)
    shutil.rmtree(artifact.private_folder(shell.target))
    for name, shown in (
        (STRANGE[0], r"a\\nb\.png"),
        (STRANGE[4], r"\\xff\\xfe\.png"),
        (STRANGE[5], r"\[red\]x\.png"),
    ):
        path = Path(os.fsdecode(folder + b"/" + name))
        path.write_bytes(b"")
        line = shell.fails(3, "--forget", FORGET, data=data, says=[shown])
        assert line.isprintable()
        path.write_bytes(content)


@pytest.mark.parametrize(
    "name", ['"><img src=x onerror=alert(1)>', "{{7*7}}", "[red]x", "`a` | **b**"]
)
def test_row_57_class_name_is_shown_literally(shell, name):
    data = shell.classes("data", rename=lambda digit: name if digit == FORGET else digit)
    done = shell.works("--forget", name, "--no-check-labels", "--eval", "none", data=data)
    assert done.receipt["request"]["selector"] == [name]
    assert name in done.err
    code, out, _ = shell.cli("inspect", done.target)
    assert code == 0
    card = (done.target / "README.md").read_text()
    outside = re.sub(r"```.*?```|(`+).+?\1", "", card, flags=re.DOTALL)
    assert "<img" not in outside, card
    assert "49" not in re.sub(r"\w*[0-9a-f]{12,}\w*|\d+\.\d+|T[\d:+]+", "", outside)


# ---- loaders, workers, ranks, memory -------------------------------------------------------------


def test_row_58_data_without_a_length(shell):
    nets = sys.modules["unspan_bad_nets"]
    shell.fails(
        2,
        "--forget",
        FORGET,
        data="python:unspan_bad_nets:endless",
        says=["length", "--max-samples|Dataset"],
    )
    net = nets.trained()
    with pytest.raises(UsageError, match=r"--max-samples") as caught:
        unspan.erase(net, DataLoader(nets.Endless(), batch_size=16), ESC(rank=1))
    assert "\n" not in str(caught.value)
    endless, run = DataLoader(nets.Endless(), batch_size=16), Run(max_samples=40)
    found = unspan.erase(net, endless, ESC(rank=1), run, check_labels=False)
    assert found.receipt["request"]["samples_read"] == 40


def test_row_58_forget_data_without_a_length_stops_at_max_samples(shell):
    more = ("--max-samples", 40, "--eval", "none", "--no-check-labels")
    done = shell.works("--forget-data", "python:unspan_bad_nets:endless", *more)
    assert done.receipt["request"]["samples_read"] == 40


def test_row_58_loader_that_changes_length(shell):
    class Lying(DataLoader):
        def __len__(self):
            return 99

    data = Lying(TensorDataset(shell.world.tensors[:40]), batch_size=16)
    found = unspan.erase(sys.modules["unspan_bad_nets"].trained(), data, ESC(rank=1))
    assert found.receipt["request"]["samples_read"] == 40


def test_row_59_loader_that_drops_and_shuffles(shell):
    data = TensorDataset(shell.world.tensors[:40], shell.world.labels[:40])
    loader = DataLoader(data, batch_size=16, shuffle=True, drop_last=True)
    found = unspan.erase(sys.modules["unspan_bad_nets"].trained(), loader, ESC(rank=1))
    assert found.receipt["request"]["samples_read"] == 32
    assert any("drop_last" in line and "8 " in line for line in found.warnings)


def test_row_59_augmentation_is_named(shell):
    more = ("--no-check-labels", "--eval", "none")
    done = shell.works("--forget", FORGET, *more, data="python:unspan_bad_nets:augmented")
    assert "random augmentation" in done.err


def test_row_59_a_coin_flip_is_noticed_at_every_seed(shell):
    data = sys.modules["unspan_bad_nets"].Digits(
        lambda image, i: image.flip(-1) if torch.rand(()) < 0.5 else image
    )
    for seed in range(100):
        torch.manual_seed(seed)
        assert any("random augmentation" in line for line in data_notices(data)), seed


def test_row_60_worker_killed(shell):
    started = time.monotonic()
    args = ("--forget", FORGET, "--workers", 1, "--eval", "none")
    shell.fails(9, *args, data="python:unspan_bad_nets:worker_dies", says=["worker", "--workers 0"])
    assert time.monotonic() - started < 30


def test_row_60_worker_hangs(shell):
    assert Run().timeout == 300
    nets = sys.modules["unspan_bad_nets"]
    with pytest.raises(ResourceError, match="worker died or hung.*--workers 0") as caught:
        unspan.erase(nets.trained(), nets.worker_hangs(), ESC(rank=1), Run(workers=1, timeout=1.0))
    assert "\n" not in str(caught.value)


def forked(function, env=None):
    """Run a function in a child; `finish` gives its exit code and what it printed."""

    def child(path):
        signal.signal(
            signal.SIGINT, signal.default_int_handler
        )  # a shell starts background jobs with it ignored
        torch.set_num_threads(1)
        os.environ.update(env or {})
        with open(path, "w") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
        code = 77
        try:
            function()
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)

    path = Path(f"log-{time.monotonic_ns()}").resolve()
    process = multiprocessing.get_context("fork").Process(target=child, args=(path,), daemon=True)
    process.start()

    def finish(timeout):
        process.join(timeout)
        if process.is_alive():
            process.kill()
            process.join()
            pytest.fail(f"still running after {timeout} s: {path.read_text()[-2000:]}")
        return process.exitcode, path.read_text()

    return process, finish


def run_main(shell, *args, **more):
    argv = ["unspan", *shell.arguments(*args, **more)]

    def call():
        sys.argv = argv
        main()

    return call


def ranks(shell, *each):
    """Two ranks on the loopback; one list of arguments for each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": "2",
        "GLOO_SOCKET_IFNAME": "lo",
    }
    data = "python:unspan_bad_nets:" + each[0][0]
    calls = [run_main(shell, *args[1:], data=data) for args in each]
    started = [
        forked(call, env | {"RANK": str(i), "LOCAL_RANK": str(i)}) for i, call in enumerate(calls)
    ]
    return [finish(40) for _, finish in started]


def test_row_61_rank_killed(shell):
    before = snapshot(shell.target.parent)
    args = (
        "rank_dies",
        "--forget",
        FORGET,
        "--quiet",
        "--no-check-labels",
        "--eval",
        "none",
        "--batch-size",
        4,
    )
    survivor, dead = ranks(shell, args, args)
    assert dead[0] == 1
    assert survivor[0] == 9, survivor
    assert "Traceback" not in survivor[1] and "Error: " in survivor[1]
    assert snapshot(shell.target.parent) == before


def test_row_61_rank_without_samples(shell):
    args = (
        "digits",
        "--forget-index",
        "3",
        "--quiet",
        "--eval",
        "none",
        "--allow-identifying-projector",
    )
    done = ranks(shell, args, args)
    assert [code for code, _ in done] == [0, 0], done
    assert artifact.inspect(shell.target)["method"]["fit"]["samples"] == 1


def test_row_61_ranks_that_disagree(shell):
    before = snapshot(shell.target.parent)
    done = ranks(
        shell,
        *[
            ("digits", "--forget", c, "--quiet", "--eval", "none", "--no-check-labels")
            for c in "35"
        ],
    )
    assert [code for code, _ in done] == [3, 3], done
    assert all("disagree on the settings" in text and "Traceback" not in text for _, text in done)
    assert snapshot(shell.target.parent) == before


def test_row_62_device_memory_halves_the_batch(shell):
    import unspan.extraction.model_reading as stream

    plain = shell.works("--forget", FORGET, "--eval", "none", out=shell.here / "plain")
    true_read, sizes = stream.read, []

    def read(model, feature_layer, inputs):
        sizes.append(len(inputs))
        if len(inputs) > 16:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return true_read(model, feature_layer, inputs)

    shell.monkeypatch.setattr(stream, "read", read)
    done = shell.works("--forget", FORGET, "--eval", "none", out=shell.here / "halved")
    assert 64 in sizes and 16 in sizes and min(sizes) == 16
    for name, value in done.weights.items():
        torch.testing.assert_close(value, plain.weights[name], atol=1e-5, rtol=0)


def test_row_62_device_memory_for_one_sample(shell):
    import unspan.extraction.model_reading as stream

    def read(model, feature_layer, inputs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    shell.monkeypatch.setattr(stream, "read", read)
    shell.fails(9, "--forget", FORGET, says=["Out of device memory", "--device cpu"])


def test_row_62_memory(shell):
    shell.fails(
        9, "--forget", FORGET, model="hungry", says=["[Oo]ut of memory", str(2**52), "--batch-size"]
    )


def test_row_62_memory_limit(shell):
    """A real limit on the address space, met while the batch is read."""

    def limited():
        nets = sys.modules["unspan_bad_nets"]
        true_features = nets.Net.features

        def features(net, x):
            if len(x) > 2:
                if resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:
                    pages = int(Path("/proc/self/statm").read_text().split()[0])
                    most = pages * resource.getpagesize() + 2**28
                    resource.setrlimit(resource.RLIMIT_AS, (most, most))
                torch.empty(2**32)  # more than the heap of earlier tests can have left
            return true_features(net, x)

        nets.Net.features = features
        run_main(shell, "--forget", FORGET, "--quiet")()

    code, text = forked(limited)[1](30)
    assert code == 9, text
    assert re.search(rf"Out of memory.*{2**34} bytes.*--batch-size", one_line(text))
    assert snapshot(shell.target.parent) == {}


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a CUDA device")
def test_row_62_no_device(shell):
    shell.fails(2, "--forget", FORGET, "--device", "cuda", says=["no cuda device", "--device cpu"])


# ---- interrupts and disks ------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_row_63_interrupted_pass(shell, number):
    mark = shell.here / "mark"
    args = ("--forget", FORGET, "--quiet", "--batch-size", 4, "--no-check-labels")
    shutil.copytree(shell.world.erased, shell.target)
    before = snapshot(shell.target.parent)
    call = run_main(shell, *args, "--overwrite", data="python:unspan_bad_nets:slow")
    process, finish = forked(call, {"MARK": str(mark)})
    while not mark.exists():
        assert process.is_alive(), finish(1)
        time.sleep(0.01)
    time.sleep(0.15)
    os.kill(process.pid, number)
    code, text = finish(20)
    assert code == 9, text
    assert "nothing was written" in one_line(text)
    assert snapshot(shell.target.parent) == before


def test_row_63_sigterm_in_a_process_of_its_own(shell):
    """The whole command as a shell starts it, with a loader worker."""
    mark = shell.here / "mark"
    args = shell.arguments(
        "--forget", FORGET, "-q", "--workers", 1, data="python:unspan_bad_nets:slow"
    )
    env = os.environ | {
        "MARK": str(mark),
        "PYTHONPATH": os.pathsep.join([str(shell.world.root), os.environ.get("PYTHONPATH", "")]),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-c", "from unspan.cli import main; main()", *args]
    process = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)
    try:
        while not mark.exists():
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.02)
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 9, err
    assert "nothing was written" in one_line(err)
    assert snapshot(shell.target.parent) == {}


POINTS = ("fsync", "rename", "chmod", "mkdir")


def dying(deletion, target, point):
    """Save, and be killed before the given call on the way (None: count the calls)."""
    count = 0

    def wrap(name):
        true_call = getattr(os, name)

        def call(*args, **more):
            nonlocal count
            if count == point:
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1
            return true_call(*args, **more)

        return call

    for name in POINTS:
        setattr(os, name, wrap(name))
    deletion.save(target, overwrite=True)
    print("calls", count)


def pair(target):
    """What stands at the target, as (public, private) hashes; None where nothing does."""
    files = target / "model.safetensors", artifact.private_folder(target) / "state.safetensors"
    return tuple(hashlib.sha256(f.read_bytes()).hexdigest() if f.is_file() else None for f in files)


@pytest.fixture
def killed(shell):
    """Outcomes of a save over an old folder that is killed before each of its file operations."""
    nets = sys.modules["unspan_bad_nets"]
    source = open_data(str(shell.world.images), transform=Preprocess())["train"]
    recipe = {"spec": "python:unspan_bad_nets:make", "num_classes": 10}
    new = unspan.erase(nets.trained(), Request.by_class(source, SECOND), ESC(rank=1), recipe=recipe)
    new.save(shell.here / "new")
    outcomes = []
    code, text = forked(lambda: dying(new, shell.here / "first", None))[1](20)
    assert code == 0, text
    for point in range(100):
        target = shell.here / f"at-{point}" / "erased"
        target.parent.mkdir()
        shutil.copytree(shell.world.erased, target)
        shutil.copytree(
            artifact.private_folder(shell.world.erased), artifact.private_folder(target)
        )
        code, text = forked(lambda: dying(new, target, point))[1](20)
        if code == 0:
            break
        assert code == -signal.SIGKILL, text
        outcomes.append(target)
    assert 10 < len(outcomes) < 100
    return new, outcomes, pair(shell.world.erased), pair(shell.here / "new")


def test_row_63_kill_during_write_leaves_old_or_new(shell, killed):
    _, outcomes, old, new = killed
    bad = [target.parent.name for target in outcomes if pair(target)[0] not in (old[0], new[0])]
    assert not bad, f"the target is neither old nor new after a kill at {bad}"
    for target in outcomes:
        artifact.inspect(target)


def test_row_63_kill_during_write_keeps_the_private_folder_in_step(shell, killed):
    """An old model beside the new private state would restore the wrong rows in a further
    request.
    """
    deletion, outcomes, old, new = killed
    old_key = (artifact.private_folder(shell.world.erased) / "key").read_bytes()
    keys = {old[0]: old_key, new[0]: deletion.key}
    assert old_key != deletion.key
    for target in outcomes:
        opened = artifact.reopen(target, trust_code=True)
        assert opened.key == keys[pair(target)[0]], target.parent.name


def test_row_63_next_run_cleans_up(shell, killed):
    deletion, outcomes, _, new = killed
    for target in outcomes:
        left = [path.name for path in target.parent.iterdir() if path.name.startswith(".")]
        assert all(
            re.fullmatch(r"\.erased(\.lock|(\.private)?\.(tmp|old)-[0-9a-f]{16})", name)
            for name in left
        )
        deletion.save(target, overwrite=True)
        assert sorted(path.name for path in target.parent.iterdir()) == ["erased", "erased.private"]
        assert pair(target)[0] == new[0]


def test_row_63_next_run_does_not_replace_what_it_brings_back(shell):
    """Killed between the two renames, the old folder waits under another name; it is still there to
    be kept.
    """
    target = shell.here / "out" / "erased"
    aside = target.with_name(".erased.old-0123456789abcdef")
    shutil.copytree(shell.world.erased, aside)
    code, _, err = shell.cli(*shell.arguments("--forget", SECOND, "--quiet"))
    assert code == 2 and "--overwrite" in one_line(err) and aside.name in one_line(err)
    assert pair(aside)[0] == pair(shell.world.erased)[0], "a refused run changed something"
    assert not target.exists()


def test_row_64_disk_full(shell):
    """Files may not grow: what is written first fails as on a full disk."""
    shutil.copytree(shell.world.erased, shell.target)
    shutil.copytree(
        artifact.private_folder(shell.world.erased), artifact.private_folder(shell.target)
    )
    before = snapshot(shell.target.parent)
    for limit in (16, 3_000, 20_000):  # in the private state, in its middle, in the weights

        def limited(limit=limit):
            true_save = artifact.write.save

            def save(*args, **more):
                soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
                try:
                    return true_save(*args, **more)
                finally:
                    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

            artifact.write.save = save
            run_main(shell, "--forget", SECOND, "--quiet", "--overwrite", "--eval", "none")()

        code, text = forked(limited)[1](30)
        assert code == 8, (limit, code, text)
        line = one_line(text)
        assert str(shell.target) in line and "is unchanged" in line and "full" in line, line
        assert snapshot(shell.target.parent) == before, limit


def test_row_64_no_permission(shell):
    true_access = os.access
    parent = shell.target.parent
    fake = lambda path, mode: Path(path) != parent and true_access(path, mode)  # noqa: E731
    shell.monkeypatch.setattr(os, "access", fake)
    shell.fails(8, "--forget", FORGET, says=["No permission", re.escape(str(parent))])


def test_row_64_parent_is_a_file(shell):
    (shell.here / "file").write_text("x")
    code, _, err = shell.cli(
        *shell.arguments("--forget", FORGET, "--quiet", out=shell.here / "file" / "erased")
    )
    assert code == 8 and str(shell.here / "file") in one_line(err)
    assert (shell.here / "file").read_text() == "x"


def test_row_64_no_parent(shell):
    code, _, err = shell.cli(
        *shell.arguments("--forget", FORGET, "--quiet", out=shell.here / "no" / "erased")
    )
    assert code == 8 and "does not exist" in one_line(err)
    assert not (shell.here / "no").exists()


@pytest.mark.parametrize("failing", ["rename", "fsync", "chmod"])
def test_row_64_failing_system_call(shell, failing):
    """Disks that give up at any call: old or new, and 8."""
    true_call = getattr(os, failing)

    def call(path, *args, **more):
        if isinstance(path, int) or ".tmp-" in str(path):
            raise OSError(errno.EIO, "Input/output error")
        return true_call(path, *args, **more)

    shell.monkeypatch.setattr(os, failing, call)
    shell.monkeypatch.setattr(artifact.publish, "_exchange", lambda a, b: False)
    shell.fails(8, "--forget", FORGET, says=[re.escape(str(shell.target)), "unchanged"])


def test_row_64_second_rename_fails(shell):
    """Without the swap the old folder comes back, and its private folder too."""
    true_rename = os.rename

    def rename(a, b):
        if Path(b) == shell.target and ".tmp-" in str(a):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return true_rename(a, b)

    shell.monkeypatch.setattr(os, "rename", rename)
    shell.monkeypatch.setattr(artifact.publish, "_exchange", lambda a, b: False)
    shell.fails(8, "--forget", FORGET, says=["cross-device", "unchanged"])


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_row_64_modes_follow_the_umask(shell, mask):
    old = os.umask(mask)
    try:
        done = shell.works("--forget", FORGET)
    finally:
        os.umask(old)
    for name in ("model.safetensors", "receipt.json", "README.md"):
        assert (done.target / name).stat().st_mode & 0o777 == 0o666 & ~mask
    private = artifact.private_folder(done.target)
    assert private.stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in private.iterdir())


def test_row_65_output_exists(shell):
    shutil.copytree(shell.world.erased, shell.target)
    before = snapshot(shell.target.parent)
    code, _, err = shell.cli(*shell.arguments("--forget", FORGET, "--quiet"))
    assert code == 2 and "--overwrite" in one_line(err) and str(shell.target) in err
    assert snapshot(shell.target.parent) == before


def test_row_65_output_is_another_folder(shell):
    shell.target.mkdir()
    (shell.target / "thesis.txt").write_text("x")
    before = snapshot(shell.target.parent)
    code, _, err = shell.cli(*shell.arguments("--forget", FORGET, "--quiet", "--overwrite"))
    assert code == 2 and "never overwritten" in one_line(err)
    assert snapshot(shell.target.parent) == before


def test_row_65_output_is_the_input(shell):
    shutil.copytree(shell.world.erased, shell.target)
    shutil.copytree(
        artifact.private_folder(shell.world.erased), artifact.private_folder(shell.target)
    )
    before = snapshot(shell.target.parent)
    args = shell.arguments("--forget", SECOND, "--quiet", "--overwrite", model=str(shell.target))
    code, _, err = shell.cli(*args)
    assert code == 2 and "also an input" in one_line(err)
    assert snapshot(shell.target.parent) == before


def test_row_65_private_output_is_the_input(shell):
    """The folder beside the output is written too, so it must not be an input either."""
    data = shell.classes("out/erased.private")
    before = snapshot(shell.target.parent)
    code, _, err = shell.cli(*shell.arguments("--forget", FORGET, "--quiet", data=data))
    assert code == 2, err
    assert "erased.private" in one_line(err)
    assert snapshot(shell.target.parent) == before


def test_row_65_output_inside_the_input(shell):
    data = shell.classes("data")
    before = snapshot(shell.here)
    code, _, err = shell.cli(
        *shell.arguments("--forget", FORGET, "--quiet", data=data, out=data / "erased")
    )
    assert code == 2 and "inside the input" in one_line(err)
    assert snapshot(shell.here) == before


def test_row_65_input_inside_the_output(shell):
    shutil.copytree(shell.world.erased, shell.target)
    shutil.copy(shell.world.weights, shell.target / "weights.safetensors")
    before = snapshot(shell.target.parent)
    args = shell.arguments(
        "--forget", FORGET, "--quiet", "--overwrite", weights=shell.target / "weights.safetensors"
    )
    code, _, err = shell.cli(*args)
    assert code == 2 and "lies inside the output" in one_line(err)
    assert snapshot(shell.target.parent) == before
