"""Workers of a Ray cluster give what one process gives, also where one of them is killed."""

import copy
import json
import os
import pickle
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import DataLoader
from typer.testing import CliRunner

import unspan
from unspan import cluster
from unspan.cli import app
from unspan.data.opening import open_data
from unspan.erasers import Projection
from unspan.errors import ResourceError, UsageError
from unspan.extraction import statistics
from unspan.extraction.model_reading import FeatureReading
from unspan.galleries.applying import RECEIPT
from unspan.system.digests import state_hash

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'unspan[ray]'")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.usefixtures("one_thread"),
]
BATCH = 16
ALONE = unspan.Run(batch_size=BATCH)
TOGETHER = replace(ALONE, engine="ray", workers=2)
VOLATILE = {"created", "seconds", "seal", "written"}


class Pixels:
    """A digit as the network takes it.

    Args:
        marker: a file. Where it is missing, the first worker that has read so many images writes it
            and is killed.
        after: as many.
    """

    def __init__(self, marker=None, after=40):
        self.marker, self.left, self.here = marker, after, os.getpid()

    def __call__(self, image):
        if self.marker is not None and os.getpid() != self.here:
            self.left -= 1
            if self.left < 0:
                killed_once(self.marker)
        return torch.from_numpy(np.asarray(image.convert("L"), np.float32))[None] / 16


class Deadly(Pixels):
    """Kills every worker."""

    def __call__(self, image):
        if os.getpid() != self.here:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(image)


def killed_once(marker):
    if not marker.exists():
        marker.write_text(str(os.getpid()))
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(scope="module")
def machines():
    """A cluster of two machines with a processor each, both played by this one."""
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    found.add_node(num_cpus=1)
    yield found
    found.shutdown()


@pytest.fixture(scope="module", autouse=True)
def joined(machines):
    """This process works on that cluster; afterwards it is as it was."""
    before = signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", machines.address)
        with cluster.session(TOGETHER):
            yield
    assert not ray.is_initialized()
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.fixture(scope="module")
def images(digits, tmp_path_factory):
    """Folders of images: five digits, to learn from and to test with."""
    home = tmp_path_factory.mktemp("digits")
    for split, part in digits.items():
        for number, (pixels, label) in enumerate(part):
            if label < 5:
                folder = home / split / str(int(label))
                folder.mkdir(parents=True, exist_ok=True)
                grey = (pixels[0] * 16).to(torch.uint8).numpy()
                Image.fromarray(grey).save(folder / f"{number}.png")
    return home


@pytest.fixture(scope="module")
def net(digits_net):
    """The network for ten digits, with the outputs of the first five."""
    model = copy.deepcopy(digits_net)
    model.head = nn.Linear(64, 5)
    model.head.load_state_dict({k: v[:5] for k, v in digits_net.head.state_dict().items()})
    return model.eval()


def request_of(images, pixels=None):
    sources = open_data(str(images), transform=pixels or Pixels())
    return unspan.Request.by_class(sources["train"], 3).with_test(sources["test"])


def without_times(value):
    if isinstance(value, dict):
        return {key: without_times(one) for key, one in value.items() if key not in VOLATILE}
    return [without_times(one) for one in value] if isinstance(value, list) else value


def test_results_come_in_the_order_of_the_items_from_two_workers():
    import time

    def work(item):
        time.sleep(0.3 if item == 0 else 0.05)
        return item**2, os.getpid(), torch.get_num_threads()

    found = list(cluster.mapped(work, range(12), TOGETHER))
    assert [one for one, _, _ in found] == [item**2 for item in range(12)]
    processes = {process for _, process, _ in found}
    assert len(processes) == 2
    assert os.getpid() not in processes
    assert {threads for _, _, threads in found} == {1}


def test_a_machine_that_is_lost_changes_nothing(machines):
    def work(item):
        import time

        time.sleep(0.3)
        return item**2, ray.get_runtime_context().get_node_id()

    lost = machines.add_node(num_cpus=1)
    found = cluster.mapped(work, range(40), replace(TOGETHER, workers=3))
    answers = [next(found) for _ in range(12)]
    machines.remove_node(lost, allow_graceful=False)
    answers += found
    assert [one for one, _ in answers] == [item**2 for item in range(40)]
    assert lost.node_id in {node for _, node in answers[:12]}


def test_an_error_of_a_worker_is_the_error_of_the_call():
    def work(item):
        if item == 3:
            raise KeyError("three")
        return item

    found = cluster.mapped(work, range(6), TOGETHER)
    assert [next(found) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(KeyError, match="three"):
        next(found)


def test_statistics_of_images_are_those_of_one_process(net, images, tmp_path):
    def made(run, pixels):
        source = open_data(str(images), transform=pixels)["train"]
        return statistics.of_model(net, source, run).save(tmp_path / str(run.engine))

    marker = tmp_path / "killed"
    alone, together = made(ALONE, Pixels()), made(TOGETHER, Pixels(marker))
    assert marker.exists()
    assert tensors_in(alone) == tensors_in(together)


def tensors_in(path):
    """The bytes behind the header, whose metadata safetensors writes in any order."""
    content = path.read_bytes()
    return content[8 + int.from_bytes(content[:8], "little") :]


def test_a_worker_that_is_killed_changes_nothing_of_an_erasure(net, images, tmp_path):
    """By the default method, which reads the samples to forget and those to keep."""

    def erased(run, pixels):
        asked = request_of(images, pixels)
        return unspan.erase(net, asked, None, run, key=b"k" * 32, max_drop=None)

    marker = tmp_path / "killed"
    alone, together = erased(ALONE, Pixels()), erased(TOGETHER, Pixels(marker))
    assert marker.exists()
    assert state_hash(alone.model.state_dict()) == state_hash(together.model.state_dict())
    assert without_times(alone.receipt) == without_times(together.receipt)


def test_an_audit_is_that_of_one_process(net, images, deletion, tmp_path):
    def audited(run, pixels, cache):
        asked = request_of(images, pixels)
        found = unspan.audit(net, deletion, asked, run, cache=tmp_path / cache, pictures=False)
        return without_times(json.loads(found.to_json()))

    marker = tmp_path / "killed"
    alone = audited(ALONE, Pixels(), "alone")
    together = audited(TOGETHER, Pixels(marker), "together")
    assert marker.exists()
    assert alone == together


def test_a_part_that_kills_every_worker_ends_the_run(net, images):
    source = open_data(str(images), transform=Deadly())["train"]
    with pytest.raises(ResourceError, match="3 workers of the cluster died on part 1 of the work"):
        statistics.of_model(net, source, TOGETHER)


def test_what_cannot_be_sent_is_named(net, images):
    closed = copy.deepcopy(net)
    closed.handle = sys.stdout  # an open file
    with pytest.raises(UsageError, match=r"cannot be sent to other processes: .*leave out"):
        statistics.of_model(closed, open_data(str(images), transform=Pixels())["train"], TOGETHER)
    with pytest.raises(UsageError, match=r"the model is on meta\. Pass --device cpu"):
        pickle.dumps(FeatureReading(copy.deepcopy(net).to("meta"), None))
    source = open_data(str(images), transform=Pixels())["train"]
    with pytest.raises(UsageError, match="a DataLoader has none"):
        statistics.of_model(net, DataLoader(source, batch_size=8), TOGETHER)


def test_what_a_worker_lacks_is_named():
    found = cluster.mapped(OnlyHere(), range(4), TOGETHER)
    with pytest.raises(UsageError, match=r"cannot open .*No module named 'only_here'.* same pack"):
        next(found)


class OnlyHere:
    def __reduce__(self):
        return __import__, ("only_here",)


class KillingProjection(Projection):
    """Kills the first worker that maps a vector once a file of the gallery is there."""

    def forward(self, x):
        if os.getpid() != self.here and any(self.out.glob("*.parquet")):
            killed_once(self.marker)
        return super().forward(x)


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    """Six Parquet files of 64 numbers a vector."""
    home = tmp_path_factory.mktemp("gallery")
    draw = np.random.default_rng(0)
    for number in range(6):
        vectors = draw.normal(size=50 * 64).astype(np.float32)
        columns = {
            "id": pa.array([f"{number}-{row}" for row in range(50)]),
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors), 64),
        }
        pq.write_table(pa.table(columns), home / f"{number}.parquet")
    return home


@pytest.fixture(scope="module")
def deletion(net, images):
    return unspan.erase(net, request_of(images), unspan.ESC(rank=4), max_drop=None)


def test_files_of_a_gallery_are_those_of_one_process(deletion, gallery, tmp_path):
    marker = tmp_path / "killed"
    eraser = copy.deepcopy(deletion.eraser)
    eraser.__class__ = KillingProjection
    eraser.here, eraser.marker, eraser.out = os.getpid(), marker, tmp_path / "together"
    options = {"id_column": "id", "forget_ids": ["0-3", "5-49"], "rows": "drop"}
    alone = unspan.apply(deletion, gallery, tmp_path / "alone", **options)
    killing = replace(deletion, eraser=eraser)
    together = unspan.apply(killing, gallery, tmp_path / "together", run=TOGETHER, **options)
    assert marker.exists()
    assert (alone.counts.read, alone.counts.dropped) == (300, 2)
    assert without_times(alone.receipt) == without_times(together.receipt)
    for number in range(6):
        one, other = (tmp_path / name / f"{number}.parquet" for name in ("alone", "together"))
        assert one.read_bytes() == other.read_bytes()
    again = unspan.apply(deletion, gallery, tmp_path / "together", run=TOGETHER, **options)
    assert again.resumed == 6


def test_a_gallery_goes_on_after_an_error_in_its_first_file(deletion, gallery, tmp_path):
    """The others may have been written before the error is known."""
    broken = tmp_path / "gallery"
    broken.mkdir()
    for file in gallery.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    (broken / "0.parquet").write_bytes(b"no table")
    with pytest.raises(unspan.UnspanError, match=r"0\.parquet"):
        unspan.apply(deletion, broken, tmp_path / "out", run=TOGETHER)
    assert not json.loads((tmp_path / "out" / RECEIPT).read_text("utf-8"))["complete"]
    (broken / "0.parquet").write_bytes((gallery / "0.parquet").read_bytes())
    assert unspan.apply(deletion, broken, tmp_path / "out", run=TOGETHER).counts.read == 300


MINE = """
from torch import nn
from unspan.zoo import DigitsCNN

class Head(nn.Linear):
    "Of the user's own code."

class Net(DigitsCNN):
    def __init__(self, num_classes=5):
        super().__init__(num_classes)
        self.head = Head(64, num_classes)
"""


def test_the_command_starts_a_cluster_of_its_own(net, images, tmp_path):
    """The model is of a file beside it, which the workers find."""
    (tmp_path / "mine.py").write_text(MINE, "utf-8")
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    model = ["--model", "python:mine.py:Net", "--weights", "net.safetensors"]
    command = [sys.executable, "-m", "unspan", "stats", *model, "--data", str(images)]
    said = {}
    for engine in ("local", "ray"):
        options = ["--out", f"{engine}.safetensors", "--engine", engine, "--workers", "2"]
        done = subprocess.run(
            [*command, *options, "--batch-size", "32"],
            cwd=tmp_path,
            env={key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        said[engine] = (done.stdout + done.stderr).replace(f"{engine}.", "FILE.")
    local, together = (tmp_path / f"{engine}.safetensors" for engine in ("local", "ray"))
    assert tensors_in(local) == tensors_in(together)
    assert said["local"] == said["ray"]  # Ray itself says nothing


def test_the_command_says_what_to_install(deletion, gallery, tmp_path, monkeypatch):
    folder = deletion.save(tmp_path / "erased")
    monkeypatch.setitem(sys.modules, "ray", None)
    command = ["apply", str(folder), str(gallery), "--out", str(tmp_path / "out")]
    told = CliRunner().invoke(app, [*command, "--engine", "ray"])
    assert isinstance(told.exception, UsageError), told.output
    assert "pip install 'unspan[ray]'" in str(told.exception)
    told = CliRunner().invoke(app, [*command, "--engine", "rai"])
    assert "use local, ray" in str(told.exception)
