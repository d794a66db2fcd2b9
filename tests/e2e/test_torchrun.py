"""Commands under torchrun write what one process writes, or say why not and write nothing."""

import os
import subprocess
import sys

import pytest
import torch
from process_group import free_port
from safetensors.torch import load_file, save_file

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]

DESK = '''
import os, signal
import torch
from torch import nn
from torch.utils.data import Dataset

CLASSES = 4


class Samples(Dataset):
    """201 samples of four classes; where it is asked, reading one kills the process of rank 1."""

    def __init__(self):
        draw = torch.Generator().manual_seed(0)
        self.y = torch.arange(201) % CLASSES
        self.x = 3 * torch.randn(CLASSES, 8, generator=draw)[self.y]
        self.x = self.x + torch.randn(201, 8, generator=draw)
        self.targets = self.y.tolist()

    def __len__(self):
        return 201

    def __getitem__(self, index):
        wanted = os.environ.get("KILLED") == os.environ.get("RANK", "0")
        if wanted and torch.distributed.is_initialized() and index > 120:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.x[index], int(self.y[index])


def data():
    return {"train": Samples()}


def model():
    net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, CLASSES))
    torch.manual_seed(0)
    adam, samples = torch.optim.Adam(net.parameters(), 0.02), Samples()
    for _ in range(100):
        adam.zero_grad()
        nn.functional.cross_entropy(net(samples.x), samples.y).backward()
        adam.step()
    return net.eval()
'''


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder with a model, data, weights and a key."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / "desk.py").write_text(DESK, "utf-8")
    (folder / "key").write_bytes(b"k" * 32)
    names = {}
    exec(DESK, names)
    save_file(names["model"]().state_dict(), folder / "model.safetensors")
    return folder


def unspan(desk, processes, *arguments, **environment):
    """The ended command, in so many processes."""
    start = [sys.executable, "-m", "unspan"]
    if processes > 1:
        address = ["--master-addr", "127.0.0.1", "--master-port", str(free_port())]
        launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node"]
        start = [*launcher, str(processes), *address, "-m", "unspan"]
    return subprocess.run(
        [*start, *arguments],
        cwd=desk,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


MODEL = ("--model", "python:desk.py:model", "--weights", "model.safetensors")
DATA = ("--data", "python:desk.py:data", "--no-check-labels")
ERASE = ("erase", *MODEL, *DATA, "--forget", "2", "--key-file", "key", "--max-drop", "100")


def test_erase_and_stats_write_the_weights_of_one_process(desk):
    for processes in (1, 2):
        out = f"resampled-{processes}"
        done = unspan(desk, processes, *ERASE, "--method", "resample", "--out", out)
        assert done.returncode == 0, done.stderr[-2000:]
        data = ("--data", "python:desk.py:data", "--out", f"{processes}.safetensors")
        done = unspan(desk, processes, "stats", *MODEL, *data)
        assert done.returncode == 0, done.stderr[-2000:]
        assert done.stderr.count("written") == 1
    model = "model.safetensors"
    assert same(desk / "resampled-1" / model, desk / "resampled-2" / model)
    assert same(desk / "1.safetensors", desk / "2.safetensors")


def same(one, other):
    first, second = load_file(one), load_file(other)
    assert first.keys() == second.keys() and first
    return all(torch.equal(first[name], second[name]) for name in first)


def test_a_command_of_one_process_says_so(desk):
    before = sorted(desk.rglob("*"))
    done = unspan(desk, 2, "audit", "python:desk.py:model", "nowhere", *DATA[:2], "--out", "audit")
    assert done.returncode != 0
    assert done.stderr.count("unspan audit works in one process, and torchrun starts 2") >= 1
    assert sorted(desk.rglob("*")) == before


@pytest.mark.parametrize(("method", "killed"), [("resample", "1"), ("finetune", "0")])
def test_where_a_process_is_killed_nothing_is_written(desk, method, killed):
    before = listed(desk)
    done = unspan(desk, 2, *ERASE, "--method", method, "--out", "killed", KILLED=killed)
    assert done.returncode != 0 and "SIGKILL" in done.stderr, done.stderr[-2000:]
    assert listed(desk) == before


def listed(folder):
    """All files of a folder, hidden ones too, without compiled modules, and without the lock of a
    process that was killed: nobody holds it.
    """
    kept = (path for path in folder.rglob("*") if path.suffix != ".lock")
    return sorted(path for path in kept if "__pycache__" not in path.parts)
