"""What a run says while it works, when it is interrupted, and of what it read and used."""

import io
import json
import time

import pytest
import torch
from rich.console import Console
from safetensors.torch import save_file
from typer.testing import CliRunner

from unspan.artifact.card import read_of, used_of
from unspan.cli import app
from unspan.cli.progress import Pace, heartbeat, line, progress
from unspan.errors import ResourceError
from unspan.training.checkpoint import kept_epochs

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_a_line_has_the_stage_the_count_and_the_time_left():
    clock = Clock()
    pace = Pace(clock)
    clock.now += 30
    assert pace.words() == "working, 30 s since the start"
    pace.note("reading", 0, 1000)
    clock.now += 20
    pace.note("reading", 250, 1000)
    left = "about 60 s left of this stage"
    assert pace.words() == f"reading: 250 of 1000 done, {left}, 50 s since the start"
    pace.note("fitting", 10, None)
    assert pace.words() == "fitting: 10 done, 50 s since the start"
    clock.now += 10
    pace.note("reading", 100, 1000)  # a stage of that name begins again
    assert "left" not in pace.words()


@pytest.mark.parametrize("show", [progress, line])
def test_a_log_file_gets_lines_and_nothing_else(monkeypatch, show):
    monkeypatch.setattr("unspan.cli.progress.EVERY", 0.02)
    log = io.StringIO()
    with show(Console(file=log, width=40, soft_wrap=True)) as report:
        report("reading [bold]forget[/] data", 3, 12)
        deadline = time.monotonic() + 5
        while log.getvalue().count("\n") < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
    lines = log.getvalue().splitlines()
    assert len(lines) >= 2 and all("\x1b" not in one for one in lines)
    assert lines[0].startswith("reading [bold]forget[/] data: 3 of 12 done")
    size = len(log.getvalue())
    time.sleep(0.06)
    assert len(log.getvalue()) == size


@pytest.mark.parametrize("show", [progress, line])
def test_a_quiet_run_and_a_short_one_say_nothing(show):
    log = io.StringIO()
    for quiet in (True, False):
        with show(Console(file=log, quiet=quiet)) as report:
            report("reading", 1, 2)
    assert log.getvalue() == ""


def test_the_heartbeat_ends_with_the_work():
    with pytest.raises(KeyError), heartbeat(Console(file=io.StringIO()), 0.01):
        raise KeyError
    import threading

    assert "heartbeat" not in {thread.name for thread in threading.enumerate()}


# ---- interrupts ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def weights(digits_net, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    save_file(digits_net.state_dict(), path)
    return path


ACCEPTED = ["--eval", "none", "--max-drop", "none"]


def command(weights, out, *more):
    given = ["erase", "--model", "python:unspan.zoo:DigitsCNN", "--weights", str(weights)]
    data = ["--data", "python:examples.digits:data", "--forget", "3", "--out", str(out)]
    return CliRunner().invoke(app, [*given, *data, *more])


@pytest.mark.parametrize("whole_epochs", [0, 2])
def test_an_interrupt_says_which_epochs_are_kept(weights, tmp_path, monkeypatch, whole_epochs):
    from unspan.training import loop as training

    plain, calls = training.followed, []

    def interrupted(work):
        calls.append(1)
        if len(calls) > whole_epochs:
            raise KeyboardInterrupt
        return plain(work)

    out = tmp_path / "out"
    more = ["--method", "boundary", "--epochs", "3", "--lr", "0.01", "--eval", "none"]
    more += ["--max-drop", "none"]
    with monkeypatch.context() as patch:
        patch.setattr(training, "followed", interrupted)
        found = command(weights, out, *more)
    assert isinstance(found.exception, ResourceError) and not out.exists()
    if whole_epochs == 0:
        assert "nothing was written" in str(found.exception)
        assert list(tmp_path.iterdir()) == []
        return
    said = str(found.exception)
    assert "The output was not written. Epochs 1 to 2 are kept in" in said and "goes on" in said
    done = command(weights, out, *more)
    assert done.exit_code == 0, (done.output, done.exception)
    receipt = json.loads((out / "receipt.json").read_text("utf-8"))
    assert any("went on after epoch 2" in line for line in receipt["warnings"])
    assert kept_epochs(tmp_path / ".out.epochs") is None


def test_epochs_of_several_stages_are_told_apart(tmp_path):
    assert kept_epochs(tmp_path / "none") is None
    for name in ("stage-1-epoch-4", "stage-2-epoch-9", "stage-2-epoch-10"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "history.json").write_text("{}")
    (tmp_path / "stage-3-epoch-1").mkdir()
    assert kept_epochs(tmp_path) == "Epochs 1 to 4 of stage 1, epochs 1 to 10 of stage 2"


def test_an_interrupt_after_the_output_was_written_says_so(weights, tmp_path, monkeypatch):
    from unspan.cli import render

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(render, "route_table", interrupted)
    found = command(weights, tmp_path / "out", "--method", "esc", "--rank", "6", *ACCEPTED)
    assert "was written already" in str(found.exception) and (tmp_path / "out").is_dir()


def test_an_interrupted_audit_says_that_outputs_are_kept(weights, tmp_path, monkeypatch):
    from unspan.auditing import opening

    done = command(weights, tmp_path / "out", "--method", "esc", "--rank", "6", *ACCEPTED)
    assert done.exit_code == 0, (done.output, done.exception)
    plain = opening.collect

    def interrupted(*args):
        plain(*args)
        raise KeyboardInterrupt

    monkeypatch.setattr(opening, "collect", interrupted)
    given = ["audit", "python:unspan.zoo:DigitsCNN", str(tmp_path / "out")]
    given += ["--weights", str(weights), "--data", "python:examples.digits:data"]
    given += ["--out", str(tmp_path / "audit"), "--cache", str(tmp_path / "cache")]
    found = CliRunner().invoke(app, given)
    said = str(found.exception)
    assert isinstance(found.exception, ResourceError), found.exception
    assert "report was not written" in said and str(tmp_path / "cache") in said
    assert not (tmp_path / "audit").exists()


# ---- read and used -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fit", "read", "used"),
    [
        ({"samples": 50}, "50 samples to forget", "50 samples to forget"),
        (
            {
                "samples": 5000,
                "retained_read": 45000,
                "forget_used": 4900,
                "retained_used": 44626,
                "gated": 0.98,
            },
            "5000 samples to forget, 45000 to keep",
            "4900 samples to forget (held by the gate), 44626 to keep",
        ),
        (
            {"samples": 60, "retained_read": 900, "forget_used": 0, "retained_used": 900},
            "60 samples to forget, 900 to keep",
            "900 to keep",
        ),
        (
            {
                "samples": 60,
                "forget_used": 55,
                "retained_used": 800,
                "gated": 1,
                "statistics": "file",
            },
            "60 samples to forget",
            "55 samples to forget (held by the gate), 800 to keep of a file of statistics",
        ),
    ],
)
def test_read_and_used_are_said_apart(fit, read, used):
    assert (read_of(fit), used_of(fit)) == (read, used)


@pytest.mark.parametrize("name", ["resample", "leace", "svd", "fisher", "bake", "finetune"])
def test_no_more_is_used_than_read(digits_net, digits_request, name):
    import unspan
    from unspan.methods import by_name

    method = by_name(name)(**({"samples": 50} if name in ("svd", "fisher") else {}))
    if name == "finetune":
        method = by_name(name)(training=unspan.methods.finetune.Training(lr=0.01, epochs=1))
    torch.manual_seed(0)
    done = unspan.erase(digits_net, digits_request, method, measure=False)
    fit = done.receipt["method"]["fit"]
    assert fit["samples"] == len(digits_request.forget)
    assert fit["retained_read"] == len(digits_request.retain)
    assert 0 < fit["retained_used"] <= fit["retained_read"]
    assert 0 <= fit.get("forget_used", 0) <= fit["samples"]
    if name in ("svd", "fisher"):
        assert fit["retained_used"] == 50
    if name == "bake":
        assert fit["retained_used"] < 0.8 * fit["retained_read"]
