"""What a run says while it works, when it is interrupted, and of what it read and used."""

import copy
import io
import json
import re
import time

import pytest
import torch
from rich.console import Console
from safetensors.torch import save_file
from typer.testing import CliRunner

import unspan
from unspan.artifact.card import read_of, used_of
from unspan.auditing.steps import Work
from unspan.cli import app
from unspan.cli.progress import Course, heartbeat, line, progress, shown
from unspan.erasure.steps import planned as planned_erasure
from unspan.errors import ResourceError
from unspan.system.steps import Step, StepListener
from unspan.training.checkpoint import kept_epochs
from unspan.training.settings import Training

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


A, B = Step("outputs", "known data"), Step("outputs", "test data")
ATTACKS = tuple(Step(work, on) for on in ("original", "erased model") for work in ("linear", "MLP"))


def test_a_line_has_the_step_the_time_left_and_the_part():
    clock = Clock()
    course = Course(clock)
    assert course.words() == "working"
    course.planned([A, B, *ATTACKS])
    course.begun(A)
    assert course.words() == "step 1 of 6: outputs, known data"
    course("outputs", 0, 1000)
    clock.now += 20
    course("outputs", 250, 1000)
    assert course.words() == "step 1 of 6, about 60 s for this step: outputs (250 of 1,000)"
    course("outputs", 1000, 1000)
    assert course.words() == "step 1 of 6: outputs (1,000 of 1,000)"
    course.begun(B)  # 20 s went by, and are expected of each of the 5 steps left
    assert course.words() == "step 2 of 6, about 100 s left: outputs, test data"
    clock.now += 10
    course.begun(ATTACKS[0])  # 15 s on average
    assert course.words() == "step 3 of 6, about 60 s left: linear, original"
    clock.now += 100
    course.begun(ATTACKS[1])
    clock.now += 40
    course.begun(ATTACKS[2])  # works that are known: 100 s and 40 s
    assert course.words() == "step 5 of 6, about 2 min left: linear, erased model"
    clock.now += 90
    assert course.words() == "step 5 of 6, about 50 s left: linear, erased model"
    clock.now += 90  # it takes longer than the other did
    assert course.words() == "step 5 of 6, about 40 s left: linear, erased model"
    course.begun(ATTACKS[3])
    clock.now += 60
    assert course.words() == "step 6 of 6: MLP, erased model"
    assert course.age() == "7 min since the start"


def test_a_long_first_step_does_not_stand_for_all():
    """Reading 50,000 images took ten minutes, and 51 steps were said to take hours."""
    clock = Clock()
    course = Course(clock)
    course.planned(
        [Step("outputs", "known", 200), Step("outputs", "test", 40)]
        + [Step("probe", str(place), 5) for place in range(50)]
    )
    course.begun(Step("outputs", "known", 200))
    clock.now += 600
    course.begun(Step("outputs", "test", 40))
    assert course.words() == "step 2 of 52, about 14 min left: outputs, test"


def test_a_step_with_nothing_to_do_is_left_out_and_one_known_is_counted_once():
    clock = Clock()
    course = Course(clock)
    course.planned([A, B])
    course.planned([B, *ATTACKS, *ATTACKS])
    course.begun(A)
    clock.now += 10
    course.begun(ATTACKS[2])
    assert course.words() == "step 5 of 6, about 20 s left: linear, erased model"
    course.begun(Step("not planned"))
    assert course.words() == "not planned"


def test_work_without_a_plan_has_the_pace_of_its_part():
    clock = Clock()
    course = Course(clock)
    course("reading", 64, 1064)
    clock.now += 5
    course("reading", 164, 1064)
    assert course.words() == "about 45 s left: reading (164 of 1,064)"
    course("reading", 32, 1064)  # it begins again
    assert course.words() == "reading (32 of 1,064)"
    clock.now += 5
    course("stream", 1200, None)
    assert course.words() == "stream (1,200 so far, of an unknown number)"


def test_the_epochs_of_a_training_are_one_part():
    clock = Clock()
    course = Course(clock)
    course.planned([A, B])
    course.begun(A)
    course("bake, epoch 1 of 2", 5, 20)
    clock.now += 10
    course("bake, epoch 2 of 2", 15, 20)
    assert "about 5 s for this step: bake, epoch 2 of 2 (15 of 20)" in course.words()


def screen(text):
    """What stands on a terminal after every piece of output, by a few control sequences."""
    lines, row, column = [""], 0, 0
    heights = []
    for piece in re.findall(r"\x1b\[\??\d*[A-Za-z]|[^\x1b]", text):
        if piece == "\r":
            column = 0
        elif piece == "\n":
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        elif piece == "\x1b[2K":
            lines[row] = ""
        elif re.fullmatch(r"\x1b\[\d*A", piece):
            row -= int(piece[2:-1] or 1)
        elif piece[0] != "\x1b":
            lines[row] = lines[row][:column].ljust(column) + piece + lines[row][column + 1 :]
            column += 1
        heights.append(sum(bool(one.strip()) for one in lines))
    return [one for one in lines if one.strip()], max(heights)


@pytest.mark.parametrize("width", [40, 80])
def test_a_terminal_has_one_line_that_changes_and_none_at_the_end(width):
    out = Console(file=io.StringIO(), force_terminal=True, width=width, soft_wrap=True)
    with progress(out) as course:
        course.planned(ATTACKS)
        for step in ATTACKS:
            course.begun(step)
            for part in ("reading [bold]forget[/] data", "a part with a name that is long" * 4):
                course(part, 3, 12)
                text = shown(course)
                assert len("".join(one.text for one in out.render(text))) <= width
    said = out.file.getvalue()
    left, height = screen(said)
    assert left == [] and height == 1
    assert "step 4 of 4" in said


def test_a_dumb_terminal_is_a_log_file(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    out = Console(file=io.StringIO(), force_terminal=True, width=80)
    with progress(out) as course:
        course("reading", 3, 12)
    assert out.file.getvalue() == ""


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
    assert lines[0] == "reading [bold]forget[/] data (3 of 12); 0 s since the start"
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
    with pytest.raises(KeyError), heartbeat(Console(file=io.StringIO()), Course(), 0.01):
        raise KeyError
    import threading

    assert "heartbeat" not in {thread.name for thread in threading.enumerate()}


class Heard(StepListener):
    """Takes down what a run plans and begins."""

    def __init__(self):
        self.plan, self.began = [], []

    def planned(self, steps):
        self.plan += [one for one in steps if one not in self.plan]

    def begun(self, step):
        self.began.append(step)

    def __call__(self, stage, done, total):
        pass


@pytest.mark.parametrize(
    ("name", "measure"), [("resample", True), ("esc", False), ("boundary", True)]
)
def test_an_erasure_begins_the_steps_that_it_planned(digits_net, digits_request, name, measure):
    from unspan.methods import by_name

    heard = Heard()
    settings = {"training": Training(lr=0.01, epochs=1)} if name == "boundary" else {}
    method = by_name(name)(**settings)
    unspan.erase(
        digits_net,
        digits_request,
        method,
        unspan.Run(progress=heard),
        measure=measure,
        max_drop=None,
    )
    assert heard.began == heard.plan == list(planned_erasure(method, measure=measure))


@pytest.mark.slow
@pytest.mark.parametrize("retrained", [False, True])
def test_an_audit_begins_the_steps_that_it_planned(digits_net, digits_request, tmp_path, retrained):
    heard = Heard()
    done = unspan.erase(digits_net, digits_request, unspan.ESC(rank=1), max_drop=None)
    torch.manual_seed(3)
    other = copy.deepcopy(digits_net)
    with torch.no_grad():
        for one in other.parameters():
            one.add_(0.01 * torch.randn_like(one))
    unspan.audit(
        digits_net,
        done,
        digits_request,
        unspan.Run(progress=heard),
        references=[other] if retrained else [],
        cache=tmp_path,
    )
    assert [one for one in heard.plan if one not in heard.began] == [
        one for one in heard.plan if one.work == Work.SAMPLES
    ]
    assert heard.began == [one for one in heard.plan if one.work != Work.SAMPLES]
    assert len({str(one) for one in heard.plan}) == len(heard.plan)


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

    def interrupted(*args, **named):
        plain(*args, **named)
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
        assert fit["retained_used"] <= fit["retained_read"] - fit["held_out"]
