"""Nothing that was there is lost, and nothing in the working directory is run unasked."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.data import TensorDataset
from typer.testing import CliRunner

import unspan
from unspan import artifact
from unspan.artifact.layout import private_folder
from unspan.auditing.verify import verify
from unspan.cli import app
from unspan.errors import ModelError, OutputError, UnspanError, UsageError
from unspan.extraction import statistics
from unspan.system import digests
from unspan.system.output_paths import check_file, check_folder
from unspan.zoo import DigitsCNN

SOURCES = Path(unspan.__file__).parents[1]


@pytest.fixture(scope="module")
def deletion():
    torch.manual_seed(0)
    model = DigitsCNN().eval()
    x = torch.rand(60, 1, 8, 8)
    data = TensorDataset(x, torch.zeros(60, dtype=torch.long))
    return unspan.erase(model, data, unspan.ESC(rank=2), check_labels=False)


@pytest.fixture
def erased(deletion, tmp_path):
    return deletion.save(tmp_path / "erased")


def snapshot(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# ---- the guard -----------------------------------------------------------------------------------


@pytest.mark.parametrize("more", ["notes.txt", ".hidden", "photos/cat.jpg", "link"])
@pytest.mark.parametrize("where", ["erased", "erased.private"])
def test_only_a_folder_that_holds_our_files_and_no_others_is_replaced(
    deletion, erased, where, more
):
    path = erased.parent / where / more
    path.parent.mkdir(exist_ok=True)
    if more == "link":
        path.symlink_to(erased.parent)
    else:
        path.write_text("mine")
    before = snapshot(erased.parent)
    with pytest.raises(UsageError, match="never overwritten"):
        deletion.save(erased, overwrite=True)
    assert snapshot(erased.parent) == before


@pytest.mark.parametrize("missing", ["model.safetensors", "README.md", "receipt.json"])
def test_a_folder_that_lacks_one_of_our_files_is_not_replaced(deletion, erased, missing):
    (erased / missing).unlink()
    with pytest.raises(UsageError, match="never overwritten"):
        deletion.save(erased, overwrite=True)


def test_a_receipt_of_another_program_does_not_make_a_folder_ours(deletion, erased):
    (erased / "receipt.json").write_text('{"total": "12 EUR"}')
    with pytest.raises(UsageError, match="never overwritten"):
        deletion.save(erased, overwrite=True)


def test_a_link_to_a_folder_is_not_replaced(deletion, erased, tmp_path):
    (tmp_path / "link").symlink_to(erased)
    with pytest.raises(UsageError, match="symbolic link"):
        deletion.save(tmp_path / "link", overwrite=True)


@pytest.mark.parametrize("command", [["table1a", "--budget", "smoke"], ["report"]])
@pytest.mark.parametrize("kind", ["folder", "file", "file with the name of a part"])
def test_results_of_a_benchmark_are_not_mixed_with_other_files(tmp_path, command, kind):
    mine = tmp_path / ("cells" if "name" in kind else "mine")
    if kind == "folder":
        (mine / "report").mkdir(parents=True)
        (mine / "report" / "README.md").write_text("mine")
        (mine / "notes.txt").write_text("mine")
    else:
        mine.write_text("mine")
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    done = CliRunner().invoke(app, ["bench", *command, "--out", str(mine)])
    assert isinstance(done.exception, UsageError)
    assert "is not a folder of results" in str(done.exception)
    assert before == {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}


def test_the_key_of_a_folder_that_was_moved_is_kept(deletion, erased, tmp_path):
    erased.rename(tmp_path / "production")
    key = (private_folder(erased) / "key").read_bytes()
    with pytest.raises(UsageError, match="holds the key"):
        deletion.save(erased, overwrite=True)
    assert (private_folder(erased) / "key").read_bytes() == key


@pytest.mark.parametrize("spelled", ["w", "sub/../w", "link", "hard"])
def test_an_input_is_never_an_output_however_it_is_spelled(tmp_path, spelled):
    source = tmp_path / "w"
    source.write_text("weights")
    (tmp_path / "sub").mkdir()
    (tmp_path / "link").symlink_to(source)
    os.link(source, tmp_path / "hard")
    with pytest.raises(UsageError, match="input"):
        check_file(
            tmp_path / spelled, lambda path: True, what="ours", overwrite=True, inputs=[source]
        )


@pytest.mark.parametrize("name", ["a" * 250, "a" * 5000, "\u00e4" * 150])
def test_names_that_are_too_long_are_said(tmp_path, name):
    with pytest.raises(UnspanError, match="bytes|shorter"):
        check_folder(tmp_path / name, {"a"}, what="ours", overwrite=False)


def test_a_path_that_is_too_long_is_said(tmp_path):
    path = tmp_path.joinpath(*["folder" * 30] * 30, "out")
    with pytest.raises(OutputError):
        check_folder(path, {"a"}, what="ours", overwrite=False)


# ---- the commands --------------------------------------------------------------------------------


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A folder with a user's files, as the working directory."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    save_file(DigitsCNN().state_dict(), tmp_path / "w.safetensors")
    (tmp_path / "ids.txt").write_text("1\n2\n")
    (tmp_path / "thesis.onnx").write_text("mine")
    (tmp_path / "results").mkdir()
    (tmp_path / "results/audit.json").write_text("mine")
    return tmp_path


MODEL = ["--model", "python:unspan.zoo:DigitsCNN", "--weights", "w.safetensors"]
DATA = ["--data", "python:examples.digits:data"]
STATS = ["stats", *MODEL, *DATA, "--max-samples", "200"]
AUDIT = ["audit", "python:unspan.zoo:DigitsCNN", "w.safetensors", "--weights", "w.safetensors"]


@pytest.mark.parametrize(
    "command",
    [
        [*STATS, "--out", "w.safetensors"],
        [*STATS, "--out", "ids.txt"],
        [*STATS, "--out", "results"],
        ["erase", *MODEL, *DATA, "--forget", "3", "--out", "results"],
        ["erase", *MODEL, *DATA, "--forget-ids", "ids.txt", "--out", "ids.txt"],
        ["erase", *MODEL, *DATA, "--forget", "3", "--out", "w.safetensors"],
        ["erase", *MODEL, *DATA, "--forget", "3", "--out", "."],
        [*AUDIT, *DATA, "--forget", "3", "--out", "results"],
        [*AUDIT, *DATA, "--forget", "3", "--out", "w.safetensors"],
        [*AUDIT, *DATA, "--forget-ids", "ids.txt", "--out", "ids.txt"],
        ["export", "erased", "--out", "thesis.onnx"],
        ["export", "erased", "--out", "erased/m.onnx"],
    ],
    ids=lambda command: " ".join((command[0], *command[-1:])),
)
def test_no_command_touches_files_that_it_did_not_write(desk, deletion, command):
    deletion.save(desk / "erased")
    before = snapshot(desk)
    for flags in ([], ["--overwrite"]):
        found = CliRunner().invoke(app, [*command, *flags])
        assert isinstance(found.exception, UnspanError), (found.output, found.exception)
        assert found.exception.exit_code in (2, 8), str(found.exception)
        assert snapshot(desk) == before


def test_statistics_replace_statistics_only_when_asked(desk):
    assert CliRunner().invoke(app, [*STATS, "--out", "s.safetensors"]).exit_code == 0
    again = CliRunner().invoke(app, [*STATS, "--out", "s.safetensors"])
    assert "--overwrite" in str(again.exception)
    assert CliRunner().invoke(app, [*STATS, "--out", "s.safetensors", "--overwrite"]).exit_code == 0
    assert statistics.load("s.safetensors").count.sum() > 0


@pytest.mark.parametrize(
    ("options", "against"),
    [([], "features"), (["--against", "outputs"], "outputs"), (["--method", "esc"], None)],
)
def test_the_receipt_says_against_whom(desk, digits_net, options, against):
    save_file(digits_net.state_dict(), desk / "w.safetensors")
    command = ["erase", *MODEL, *DATA, "--forget", "3", "--eval", "none", "--out", "new"]
    done = CliRunner().invoke(app, [*command, *options])
    assert done.exit_code == 0, (done.output, done.exception)
    assert json.loads((desk / "new/receipt.json").read_text("utf-8"))["against"] == against


@pytest.mark.parametrize("flag", [["--dry-run"], ["--forget", "nothing"]])
def test_a_run_that_writes_nothing_cleans_nothing(desk, deletion, flag):
    deletion.save(desk / "erased")
    private_folder(desk / "erased").rename(desk / ".erased.private.tmp-0123456789abcdef")
    before = snapshot(desk)
    forget = ["--forget", "3"] if flag == ["--dry-run"] else []
    CliRunner().invoke(app, ["erase", *MODEL, *DATA, *forget, *flag, "--out", "erased"])
    CliRunner().invoke(
        app, ["erase", *MODEL, *DATA, *forget, *flag, "--out", "erased", "--overwrite"]
    )
    assert snapshot(desk) == before


def test_the_last_key_survives_the_next_run_that_writes(desk, deletion, erased):
    """Killed between the two renames: the old private folder waits under a temporary name."""
    torch.manual_seed(1)
    other = unspan.erase(
        DigitsCNN().eval(), torch.rand(60, 1, 8, 8), unspan.ESC(rank=1), check_labels=False
    )
    new = other.save(desk / "other")
    old = desk / ".erased.private.tmp-0123456789abcdef"
    private_folder(erased).rename(old)
    private_folder(new).rename(private_folder(erased))
    new.rename(desk / ".erased.tmp-0123456789abcdef")
    assert artifact.reopen(erased).key == deletion.key
    from unspan.artifact.publish import clean_orphans

    clean_orphans(erased)
    assert artifact.reopen(erased).key == deletion.key
    assert not old.exists() and not (desk / ".erased.tmp-0123456789abcdef").exists()


def other_deletion(seed):
    torch.manual_seed(seed)
    model = DigitsCNN().eval()
    return unspan.erase(model, torch.rand(60, 1, 8, 8), unspan.ESC(rank=1), check_labels=False)


def test_a_key_left_by_a_kill_is_kept_after_its_folder_was_moved(deletion, erased, tmp_path):
    """Killed between the renames; then the old folder, which is still in place, is moved away."""
    new = other_deletion(1).save(tmp_path / "new")
    old = tmp_path / ".erased.private.tmp-0123456789abcdef"
    private_folder(erased).rename(old)
    private_folder(new).rename(private_folder(erased))
    new.rename(tmp_path / ".erased.tmp-0123456789abcdef")
    erased.rename(tmp_path / "production")
    with pytest.raises(UsageError, match="--overwrite"):
        deletion.save(erased)
    other_deletion(2).save(erased, overwrite=True)
    assert (old / "key").read_bytes() == deletion.key


def test_the_private_folder_of_other_weights_is_not_replaced(deletion, erased, tmp_path):
    """The folder was moved away, and another public folder was put in its place."""
    new = other_deletion(1).save(tmp_path / "new")
    erased.rename(tmp_path / "production")
    new.rename(erased)
    before = snapshot(tmp_path)
    with pytest.raises(UsageError, match="of another folder"):
        other_deletion(2).save(erased, overwrite=True)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("what", ["result", "file"])
def test_what_comes_into_being_during_the_write_is_not_replaced(
    deletion, tmp_path, monkeypatch, what
):
    from unspan.artifact import write

    new = other_deletion(1).save(tmp_path / "new")

    def card(account):
        if what == "file":
            (tmp_path / "erased").write_text("mine")
        elif new.exists():
            private_folder(new).rename(tmp_path / "erased.private")
            new.rename(tmp_path / "erased")
        return "card"

    monkeypatch.setattr(write, "card", card)
    with pytest.raises(OutputError, match="written meanwhile"):
        deletion.save(tmp_path / "erased")
    if what == "file":
        assert (tmp_path / "erased").read_text() == "mine"
    else:
        assert artifact.reopen(tmp_path / "erased").key != deletion.key
    assert not [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".")]


# ---- imports -------------------------------------------------------------------------------------

CANARY = "open({!r}, 'a').write(__name__ + '\\n')\nraise ImportError('canary')\n"
LAZY = (
    "xml",
    "sklearn",
    "networkx",
    "numpy",
    "scipy",
    "matplotlib",
    "safetensors",
    "jinja2",
    "rich",
    "typer",
    "json",
    "torchvision",
    "timm",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "captum",
    "datasets",
    "pandas",
    "IPython",
    "tqdm",
    "sympy",
    "yaml",
    "triton",
    "tensorflow",
    "jax",
    "sentencepiece",
    "accelerate",
    "peft",
    "bitsandbytes",
    "flash_attn",
    "ot",
    "tomli",
    "html",
    "decimal",
    "secrets",
    "hmac",
    "zipfile",
    "torch_xla",
    "apex",
    "xformers",
    "psutil",
)


@pytest.mark.parametrize(
    "command",
    [
        ["--help"],
        ["inspect", "erased"],
        ["verify", "erased", "--audit", "report"],
        ["export", "erased", "--out", "m.pt2"],
        ["methods", "esc"],
        [
            *("audit", "python:unspan.zoo:DigitsCNN", "erased", "--weights", "w.safetensors"),
            *("--data", "python:made_up:data", "--forget", "3", "--out", "report"),
            *("--no-pictures", "--cache", "cache"),
        ],
        [*STATS[:-4], "--data", "python:made_up:data", "--out", "s.safetensors"],
    ],
    ids=lambda command: command[0],
)
def test_no_module_of_the_working_directory_or_the_folder_is_imported(desk, deletion, command):
    deletion.save(desk / "erased")
    canary = desk / "canary"
    for name in LAZY:
        for folder in (desk, desk / "erased"):
            (folder / f"{name}.py").write_text(CANARY.format(str(canary)))
    (desk / "made_up.py").write_text(
        "import torch\n"
        "from torch.utils.data import TensorDataset\n"
        "def data():\n"
        "    torch.manual_seed(0)\n"
        "    y = torch.arange(400) % 10\n"
        "    x = TensorDataset(torch.rand(400, 1, 8, 8), y)\n"
        "    return {'train': x, 'test': x}\n"
    )
    path = os.pathsep.join([str(SOURCES), str(SOURCES.parent)])
    found = subprocess.run(
        [sys.executable, "-m", "unspan", *command],
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert not canary.exists(), canary.read_text()
    assert "Traceback" not in found.stderr, found.stderr


def test_the_users_own_module_and_its_siblings_are_found(desk):
    (desk / "sibling_net.py").write_text("from unspan.zoo import DigitsCNN\n")
    (desk / "my_own_net.py").write_text("from sibling_net import DigitsCNN as Net\n")
    from unspan.models import build

    for spec in ("python:my_own_net:Net", f"python:{desk}/my_own_net.py:Net"):
        before = list(sys.path)
        assert isinstance(build(spec).model, DigitsCNN)
        assert sys.path == before


def test_user_code_may_import_its_siblings_later_and_libraries_may_not(desk):
    """What lies beside the user's code is for that code, whenever it asks; for nobody else."""
    (desk / "late_sibling.py").write_text("value = 7\n")
    (desk / "absent_package.py").write_text("raise SystemExit('run unasked')\n")
    (desk / "lib").mkdir()
    (desk / "lib/some_library.py").write_text(
        "def probe():\n"
        "    try:\n"
        "        import absent_package\n"
        "    except ImportError:\n"
        "        return 'absent'\n"
    )
    (desk / "lazy_user.py").write_text(
        "import sys\n"
        f"sys.path.append({str(desk / 'lib')!r})\n"
        "import some_library\n"
        "class Data:\n"
        "    def __len__(self): return 2\n"
        "    def __getitem__(self, i):\n"
        "        import late_sibling\n"
        "        return late_sibling.value, some_library.probe()\n"
        "def data(): return Data()\n"
    )
    from unspan.data.opening import open_data

    try:
        for spec in ("python:lazy_user:data", f"python:{desk}/lazy_user.py:data"):
            assert open_data(spec)["train"][0] == (7, "absent")
    finally:
        sys.path.remove(str(desk / "lib"))
        while str(desk / "lib") in sys.path:
            sys.path.remove(str(desk / "lib"))


def test_worker_processes_that_start_anew_find_the_users_code(desk):
    import pickle

    from unspan.data.batch import NamedSamples
    from unspan.data.opening import open_data

    (desk / "worker_sibling.py").write_text("value = 7\n")
    (desk / "worker_data.py").write_text(
        "from worker_sibling import value\n"
        "class Data:\n"
        "    def __len__(self): return 2\n"
        "    def __getitem__(self, i): return value\n"
        "def data(): return Data()\n"
    )
    held = [
        NamedSamples(open_data(spec)["train"], [0])
        for spec in ("python:worker_data:data", "python:worker_data.py:data")
    ]
    (desk / "held").write_bytes(pickle.dumps(held))
    code = (
        "import pickle, sys; sys.path.pop(0);"
        "print([one[0][0] for one in pickle.load(open('held', 'rb'))])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(SOURCES)},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert found.stdout.strip() == "[7, 7]", found.stderr


def test_the_module_switch_drops_the_working_directory_before_anything_is_imported(desk):
    for name in ("typing", "__future__", "typer", "signal", "unspan_errors"):
        (desk / f"{name}.py").write_text(CANARY.format(str(desk / "canary")))
    found = subprocess.run(
        [sys.executable, "-m", "unspan", "--help"],
        env=os.environ | {"PYTHONPATH": str(SOURCES)},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert found.returncode == 0, found.stderr
    assert not (desk / "canary").exists()


# ---- private state -------------------------------------------------------------------------------


def flipped(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 0x80
    path.write_bytes(content)


@pytest.mark.parametrize("file", ["state.safetensors", "key"])
def test_one_flipped_bit_of_the_private_folder_is_noticed(erased, file):
    flipped(private_folder(erased) / file, -1)
    with pytest.raises(ModelError, match="private"):
        artifact.reopen(erased)
    checks = {one.name: one.ok for one in verify(erased)}
    assert checks["the private folder is whole and of these weights"] is False


@pytest.mark.parametrize("method", ["esc", "leace", "folded"])
def test_a_private_state_that_does_not_describe_the_weights_is_not_believed(tmp_path, method):
    from unspan.artifact.layout import private_digest
    from unspan.methods import LEACE

    torch.manual_seed(0)
    x = torch.rand(200, 1, 8, 8)
    data = TensorDataset(x, torch.arange(200) % 10)
    splits = unspan.Request.by_class(data, 3)
    settings = {"esc": unspan.ESC(rank=2), "leace": LEACE(), "folded": unspan.ESC(rank=2)}[method]
    form = "folded" if method == "folded" else "projected"
    done = unspan.erase(DigitsCNN().eval(), splits, settings, form=form, check_labels=False)
    path = done.save(tmp_path / "erased", allow_identifying_projector=True)
    state_file = private_folder(path) / "state.safetensors"
    state = {name: one.clone() for name, one in load_file(state_file).items()}
    name = next(iter(state))
    state[name][0] += 0.3
    weights = "sha256:" + digests.file_hash(path / "model.safetensors")
    digest = private_digest(state, done.key)  # whoever edits can write a new digest
    save_file(state, state_file, metadata={"model": weights, "digest": digest})
    with pytest.raises(ModelError, match="does not describe"):
        artifact.reopen(path)


@pytest.mark.parametrize("how", ["a file", "a folder for the state", "damaged", "empty"])
def test_an_unreadable_private_folder_counts_as_absent_when_loading(erased, how):
    secret = private_folder(erased)
    state = secret / "state.safetensors"
    if how == "a folder for the state":
        state.unlink()
        state.mkdir()
    elif how == "damaged":
        state.write_bytes(b"no tensors")
    else:
        for file in list(secret.iterdir()):
            file.unlink()
        if how == "a file":
            secret.rmdir()
            secret.write_text("not a folder")
    assert isinstance(unspan.load(erased), DigitsCNN)
    with pytest.raises(ModelError, match="private"):
        artifact.reopen(erased)


def test_repr_is_six_lines_without_the_key(deletion):
    text = repr(deletion)
    assert len(text.splitlines()) == 6 and text == str(deletion)
    assert str(deletion.key) not in text and deletion.key.hex() not in text


@pytest.mark.parametrize("key", [b"", b"k", b"x" * 15, "sixteen letters!"])
def test_a_key_that_can_be_guessed_is_refused(key):
    with pytest.raises(UsageError, match="16"):
        unspan.erase(
            DigitsCNN(), torch.rand(40, 1, 8, 8), unspan.ESC(rank=1), key=key, check_labels=False
        )


# ---- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["--forget-data", "--forget-ids", "--forget"])
def test_no_public_file_names_whom_a_request_by_data_or_ids_brought_in(tmp_path, monkeypatch, how):
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    names = ["adam-ape", "jane-doe", "zoe-zed"]
    for index, name in enumerate(names):
        (tmp_path / "people" / name).mkdir(parents=True)
        for at in range(30):
            image = (torch.rand(8, 8, 3) * 60 + 70 * index).byte().numpy()
            Image.fromarray(image).save(tmp_path / "people" / name / f"{name}-{at}.png")
    (tmp_path / "nets.py").write_text(
        "import torch\n"
        "def make():\n"
        "    torch.manual_seed(0)\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 16),"
        " torch.nn.ReLU(), torch.nn.Linear(16, 3))\n"
    )
    (tmp_path / "ids.txt").write_text("\n".join(f"jane-doe/jane-doe-{i}.png" for i in range(25)))
    what = {
        "--forget-data": ["--forget-data", "people/jane-doe"],
        "--forget-ids": ["--forget-ids", "ids.txt"],
        "--forget": ["--forget", "jane-doe"],
    }[how]
    found = CliRunner().invoke(
        app,
        [
            *("erase", "--model", "python:nets.py:make", "--data", "people", *what, "--out", "out"),
            *("--method", "esc", "--rank", "3", "--no-check-labels"),
        ],
    )
    assert found.exit_code == 0, (found.output, found.exception)
    shown = [name for name, text in snapshot(tmp_path / "out").items() if b"jane" in text]
    assert shown == ([] if how != "--forget" else ["README.md", "receipt.json"])


# ---- what is saved can be loaded -----------------------------------------------------------------


class Mixed(nn.Module):
    """A body in one precision, a head in another."""

    def __init__(self, body, head, dim=16):
        super().__init__()
        self.body = nn.Linear(8, dim).to(body)
        self.norm = nn.BatchNorm1d(dim).to(head)
        self.fc = nn.Linear(dim, 4).to(head)

    def forward(self, x):
        hidden = torch.relu(self.body(x.to(self.body.weight.dtype)))
        return self.fc(self.norm(hidden.to(self.fc.weight.dtype)))


PRECISIONS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


@pytest.mark.parametrize("method", ["resample", "esc", "leace"])
@pytest.mark.parametrize("body", PRECISIONS, ids=str)
@pytest.mark.parametrize("head", PRECISIONS, ids=str)
def test_every_precision_loads_again_bit_for_bit(tmp_path, body, head, method):
    from unspan.methods import LEACE, Resample

    torch.manual_seed(0)
    x, y = torch.randn(400, 8), torch.arange(400) % 4
    x[torch.arange(400), y] += 5
    x = x.to(torch.float32)
    model = Mixed(torch.float32, torch.float32)
    adam = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(60):
        adam.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        adam.step()
    model.eval()
    model.body.to(body)
    model.norm.to(head)
    model.fc.to(head)
    settings = {"resample": Resample(), "esc": unspan.ESC(rank=1), "leace": LEACE()}[method]
    splits = unspan.Request.by_class(TensorDataset(x, y), 2)
    done = unspan.erase(model, splits, settings)
    path = done.save(tmp_path / "erased")
    again = unspan.load(path, Mixed(torch.float32, torch.float32))
    own, loaded = done.model.state_dict(), again.state_dict()
    assert own.keys() == loaded.keys()
    for name, tensor in own.items():
        assert tensor.dtype == loaded[name].dtype and torch.equal(tensor, loaded[name]), name
        assert bool(tensor.isfinite().all()), name
    with torch.no_grad():
        before, after = done.model(x), again(x)
    assert torch.equal(before, after) and before.dtype == head
    hit = before.argmax(1) == y
    assert hit[y != 2].float().mean() > 0.9
    assert hit[y == 2].float().mean() < 0.3


def test_a_map_of_many_features_does_not_overflow_in_half_precision():
    from unspan.methods import Resample

    torch.manual_seed(0)
    dim, y = 384, torch.arange(1200) % 3
    z = (torch.randn(1200, dim).relu() * 30).half()
    z[torch.arange(1200), y] += 400
    model = nn.Sequential(nn.Identity(), nn.Linear(dim, 3)).half()
    with torch.no_grad():
        model[1].weight.zero_()
        model[1].bias.zero_()
        model[1].weight[torch.arange(3), torch.arange(3)] = 0.1
    done = unspan.erase(model, unspan.Request.by_class(TensorDataset(z, y), 1), Resample())
    assert all(bool(one.isfinite().all()) for one in done.model.state_dict().values())
    with torch.no_grad():
        assert (done.model(z).argmax(1) == 1).float().mean() < 0.05
        again = done.model.half()(z)
    assert bool(again.isfinite().all()) and (again.argmax(1) == 1).float().mean() < 0.05


def test_a_transformers_object_saves_how_to_build_it(tmp_path):
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        num_labels=3,
    )
    model = BertForSequenceClassification(config).eval()
    data = [({"input_ids": torch.randint(0, 40, (6,))}, i % 3) for i in range(60)]
    done = unspan.erase(model, data, unspan.ESC(rank=1), check_labels=False)
    path = done.save(tmp_path / "erased")
    again = unspan.load(path)
    ids = {"input_ids": torch.randint(0, 40, (4, 6))}
    with torch.no_grad():
        assert torch.equal(again(**ids).logits, done.model(**ids).logits)


def test_a_model_that_only_its_owner_can_build_says_so_when_it_is_saved(tmp_path):
    torch.manual_seed(0)
    done = unspan.erase(Mixed(torch.float32, torch.float32), torch.randn(60, 8), unspan.ESC(rank=1))
    assert any("unspan.load(folder, model=Mixed" in line for line in done.receipt["notices"])
    with pytest.raises(UsageError, match="model="):
        unspan.load(done.save(tmp_path / "erased"))


class Louder(DigitsCNN):
    """As `DigitsCNN` by name and shape, with other outputs."""

    def forward(self, x):
        return 2 * super().forward(x)


@pytest.mark.parametrize("made", ["other weights", "other outputs"])
def test_a_recipe_that_gives_another_model_is_dropped_and_that_is_said(deletion, tmp_path, made):
    """The work is not lost: the folder loads into an instance."""
    from dataclasses import replace

    recipe = {"spec": "python:unspan.zoo:AllCNN", "num_classes": 10}
    model = deletion.model
    if made == "other outputs":
        recipe = {"spec": "python:unspan.zoo:DigitsCNN", "num_classes": 10}
        model = copy.deepcopy(deletion.model)
        model.__class__ = Louder
    said = deletion.receipt | {"model": deletion.receipt["model"] | {"recipe": recipe}}
    said["warnings"] = []
    wrong = replace(deletion, model=model, recipe=recipe, receipt=said)
    with pytest.warns(UserWarning, match="model="):
        path = wrong.save(tmp_path / "erased")
    found = artifact.inspect(path)
    assert found["model"]["recipe"] == {} and "unspan.load(folder, model=" in found["warnings"][0]
    again = unspan.load(path, DigitsCNN())
    assert all(torch.equal(one, again.state_dict()[n]) for n, one in model.state_dict().items())


def test_an_erased_model_given_again_keeps_how_to_build_it(deletion):
    again = unspan.erase(
        deletion.model, torch.rand(60, 1, 8, 8), unspan.ESC(rank=1), check_labels=False
    )
    assert again.recipe == deletion.recipe != {}


# ---- the guard also stands in Python -------------------------------------------------------------


@pytest.mark.parametrize("path", ["no\0name", "loop/erased", "file/erased", ".", "a" * 5000])
def test_a_path_that_cannot_be_used_is_a_typed_error(deletion, tmp_path, monkeypatch, path):
    from unspan.artifact.exporter import check_export
    from unspan.auditing import write

    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").write_text("mine")
    for asked in (
        lambda: deletion.save(path),
        lambda: write.check_target(Path(path), True, []),
        lambda: check_export(Path(path), "pt2", overwrite=True),
    ):
        with pytest.raises(UnspanError):
            asked()


def test_inputs_whose_names_cannot_be_looked_up_are_no_files():
    from unspan.cli.request import input_paths

    strange = {"model": "timm:" + "a" * 5000, "data": "no\0name", "weights": Path("b" * 5000)}
    assert input_paths(strange) == []


def test_an_audit_replaces_only_an_audit(tmp_path):
    from unspan.auditing.write import save

    class Page:
        def to_json(self):
            return "{}"

        to_html = to_markdown = to_json

    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="never overwritten"):
        save(Page(), tmp_path / "mine")
    assert (tmp_path / "mine/thesis.txt").read_text() == "mine"
    save(Page(), tmp_path / "new/audit")
    save(Page(), tmp_path / "new/audit")


@pytest.mark.parametrize("format", ["pt2", "onnx"])
def test_an_export_replaces_only_an_export(tmp_path, format):
    model, x = nn.Sequential(nn.Linear(3, 2)).eval(), torch.rand(4, 3)
    path = tmp_path / f"m.{format}"
    if format == "pt2":
        traced = torch.export.export(model, (x,), strict=False)
        torch.export.save(traced, path)
    else:
        pytest.importorskip("onnxscript")
        torch.onnx.export(model, (x,), str(path), dynamo=True, external_data=False)
    before = path.read_bytes()
    with pytest.raises(UsageError, match="never overwritten"):
        unspan.export(model, x, path, format=format)
    assert path.read_bytes() == before
    path.unlink()
    unspan.export(model, x, path, format=format)
    unspan.export(model, x, path, format=format)
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_statistics_in_python_replace_only_statistics(desk):
    assert CliRunner().invoke(app, [*STATS, "--out", "s.safetensors"]).exit_code == 0
    found, before = statistics.load("s.safetensors"), snapshot(desk)
    with pytest.raises(UsageError, match="never overwritten"):
        found.save("w.safetensors")
    assert snapshot(desk) == before
    found.save("s.safetensors")


def test_a_folder_given_for_epochs_keeps_what_was_in_it(deletion, tmp_path):
    from dataclasses import replace

    kept = tmp_path / "work"
    (kept / "stage-1-epoch-2").mkdir(parents=True)
    (kept / "notes.txt").write_text("mine")
    replace(deletion, epochs=kept).save(tmp_path / "erased")
    assert [one.name for one in kept.iterdir()] == ["notes.txt"]


# ---- half precision ------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("layout", ["last", "flat", "channels"])
@pytest.mark.parametrize("kind", ["projection", "map"])
def test_autocast_does_not_reach_into_an_eraser(kind, layout, dtype):
    from unspan.erasers import LinearMap, Projection

    torch.manual_seed(0)
    basis = torch.linalg.qr(torch.randn(64, 5))[0]
    eraser = Projection(basis) if kind == "projection" else LinearMap(torch.randn(64, 64))
    eraser.layout = layout
    z = 100 * torch.randn(7, 64, *((3, 3) if layout == "channels" else ()))
    want = eraser(z)
    with torch.autocast("cpu", dtype=dtype):
        assert torch.equal(eraser(z), want)
        assert eraser(z.to(dtype)).dtype == dtype


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("damage", [None, "basis", "undo", "shape", "sign", "key"])
def test_private_state_of_an_affine_layer_is_checked_against_it(tmp_path, dtype, damage):
    """The layer before the features lost directions; what it lost is kept in the private folder."""
    from unspan.artifact.layout import private_digest
    from unspan.system.digests import file_hash

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 4)).to(dtype).eval()
    x = torch.randn(60, 8).to(dtype)
    done = unspan.erase(model, x, unspan.ESC(rank=2), feature_layer="0:out", check_labels=False)
    assert done.receipt["placement"]["kind"] == "weights"
    path = done.save(tmp_path / "erased", allow_identifying_projector=True)
    state_file = private_folder(path) / "state.safetensors"
    state = {name: one.clone() for name, one in load_file(state_file).items()}
    if damage == "basis":
        state["basis"] = torch.linalg.qr(torch.randn(16, 2).double())[0]
    elif damage == "undo":
        state["undo"][0, 0] = float("nan")
    elif damage == "shape":
        state["undo"] = state["undo"][:1]
    elif damage == "sign":
        state["basis"][0, 0] *= -1
    weights = "sha256:" + file_hash(path / "model.safetensors")
    key = b"k" if damage == "key" else done.key
    (private_folder(path) / "key").write_bytes(key)
    said = {"model": weights, "digest": private_digest(state, key)}
    save_file({name: one.contiguous() for name, one in state.items()}, state_file, metadata=said)
    again = nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 4))
    from unspan.artifact.private import read_private
    from unspan.artifact.record import RECORD

    loaded = unspan.load(path, again)
    record = getattr(loaded, RECORD)
    found = read_private(path, record.receipt["placement"], loaded, record.feature_layer)
    assert (found.problem is None) == (damage is None), found.problem
    assert done.key.hex() not in repr(found) and str(done.key) not in repr(found)


@pytest.mark.parametrize("flags", [["--p", "20"], ["--rank", "12"], ["--key-file", "short.key"]])
@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_what_saving_would_refuse_is_refused_before_the_work(desk, monkeypatch, flags, dry):
    (desk / "short.key").write_bytes(b"guess me")
    monkeypatch.setattr(
        "unspan.erasure.pipeline.erase", lambda *_, **__: pytest.fail("the work began")
    )
    index = ["--forget-index", "0-39"]
    method = ["--rank", "1"] if flags[0] == "--key-file" else []
    found = CliRunner().invoke(
        app, ["erase", *MODEL, *DATA, *index, *flags, *method, *dry, "--out", "erased"]
    )
    assert isinstance(found.exception, UsageError), found.exception
    assert "samples that differ" in str(found.exception) or "16" in str(found.exception)


@pytest.mark.parametrize(
    "value",
    [
        torch.tensor([float("nan")]),
        torch.tensor([float("-inf")], dtype=torch.float16),
        torch.zeros(2, dtype=torch.complex64),
        torch.zeros(2, dtype=torch.float8_e4m3fn),
    ],
    ids=["nan", "inf", "complex", "float8"],
)
def test_what_cannot_be_read_again_is_refused_before_it_is_written(tmp_path, value):
    torch.manual_seed(0)
    model = DigitsCNN().eval()
    model.register_buffer("extra", value)
    done = unspan.erase(model, torch.rand(60, 1, 8, 8), unspan.ESC(rank=1), check_labels=False)
    with pytest.raises(ModelError, match="extra"):
        done.save(tmp_path / "erased")
    assert not list(tmp_path.iterdir())


def test_a_dry_run_refuses_a_model_that_cannot_be_saved(desk):
    (desk / "odd_net.py").write_text(
        "import torch\n"
        "from unspan.zoo import DigitsCNN\n"
        "def make():\n"
        "    net = DigitsCNN()\n"
        "    net.register_buffer('extra', torch.tensor([float('inf')]))\n"
        "    return net\n"
    )
    command = ["erase", "--model", "python:odd_net.py:make", *DATA, "--forget", "3", "--rank", "1"]
    found = CliRunner().invoke(app, [*command, "--out", "o", "--dry-run"])
    assert isinstance(found.exception, ModelError) and "extra" in str(found.exception)


class Scaled(nn.Module):
    """A network with a buffer that is not saved, as tables of positions are."""

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(8, 16)
        self.register_buffer("scale", torch.full((16,), 0.5), persistent=False)
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        return self.head(torch.relu(self.body(x) * self.scale))


@pytest.mark.parametrize("dtype", PRECISIONS, ids=str)
def test_buffers_that_are_not_saved_come_back_in_their_dtype(tmp_path, dtype):
    torch.manual_seed(0)
    x = torch.randn(60, 8).to(dtype)
    done = unspan.erase(Scaled().to(dtype).eval(), x, unspan.ESC(rank=1))
    again = unspan.load(done.save(tmp_path / "erased"), Scaled())
    assert again.scale.dtype == dtype
    with torch.no_grad():
        assert torch.equal(again(x), done.model(x))


@pytest.mark.parametrize("method", ["esc", "leace"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_model_that_was_cast_is_saved_and_takes_a_further_request(tmp_path, method, dtype, when):
    from unspan.methods import LEACE

    torch.manual_seed(0)
    model = DigitsCNN().eval()
    model = model.to(dtype) if when == "before" else model
    data = TensorDataset(torch.rand(200, 1, 8, 8), torch.arange(200) % 10)
    settings = unspan.ESC(rank=2) if method == "esc" else LEACE()
    splits = unspan.Request.by_class(data, 3)
    done = unspan.erase(model, splits, settings, check_labels=False, measure=False)
    done.model.to(dtype)
    path = done.save(tmp_path / "erased")
    assert artifact.reopen(path).key == done.key
    failed = [one.name for one in verify(path) if one.ok is False]
    assert when == "after" or failed == []


@pytest.mark.parametrize("part", ["placement", "model", "form", "request", "method", "files"])
@pytest.mark.parametrize("value", [None, [], {}, 7])
def test_a_garbled_receipt_is_said(erased, part, value):
    import json

    account = json.loads((erased / "receipt.json").read_text())
    account[part] = value
    (erased / "receipt.json").write_text(json.dumps(account))
    with pytest.raises(ModelError, match="damaged|missing"):
        unspan.load(erased)
