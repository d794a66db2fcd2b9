"""What a second request, a stranger's folder and impossible options must not do."""

import json
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
from typer.testing import CliRunner

import unspan
from unspan.cli import app
from unspan.erasers import LinearMap
from unspan.erasure import install
from unspan.errors import ModelError, UsageError
from unspan.extraction import find_feature_layer, read
from unspan.methods import ESC, ESCT, LEACE, EraserMethod, Fit, NegGradPlus, Resample, Situation
from unspan.zoo import DigitsCNN

MODULE = """
import torch
from torch.utils.data import Subset, TensorDataset

def data():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(400) % 10
    images = torch.rand(400, 1, 8, 8, generator=generator) * 0.1
    images[torch.arange(400), 0, labels % 8, labels // 2] = 3.0
    whole = TensorDataset(images, labels)
    return {"train": Subset(whole, list(range(300))), "test": Subset(whole, list(range(300, 400)))}

def model():
    from unspan.zoo import DigitsCNN
    torch.manual_seed(0)
    net, split = DigitsCNN(), data()["train"]
    x, y = (torch.stack(list(part)) for part in zip(*split))
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(60):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(net(x), y).backward()
        optimiser.step()
    return net
"""
OPTIONS = ["--data", "python:made_up:data", "--rank", "1"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    import sys

    (tmp_path / "made_up.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("made_up", None)


def run(*arguments):
    return CliRunner().invoke(app, list(arguments), catch_exceptions=True)


def test_a_class_erased_earlier_is_not_counted_as_kept(here):
    first = run("erase", "--model", "python:made_up:model", *OPTIONS, "--forget", "3", "--out", "a")
    assert first.exit_code == 0, first.exception
    second = run("erase", "--model", "a", "--trust-code", *OPTIONS, "--forget", "5", "--out", "b")
    assert second.exit_code == 0, second.exception
    rows = {
        row["split"]: row for row in json.loads((here / "b/receipt.json").read_text())["evaluation"]
    }
    counts = {name: row["n"] for name, row in rows.items() if name.startswith("test")}
    assert counts == {"test forget": 10, "test erased earlier": 10, "test retain": 80}
    assert 3 not in [one[0] for one in rows["checked retain"]["classes"]]
    assert [one[0] for one in rows["test erased earlier"]["classes"]] == [3]


def test_a_folder_cannot_name_code_that_looks_like_ours(here):
    torch.manual_seed(0)
    done = unspan.erase(
        DigitsCNN().eval(),
        torch.rand(40, 1, 8, 8),
        unspan.ESC(rank=1),
        recipe={"spec": "python:unspan.zoo:DigitsCNN", "num_classes": None},
    )
    done.save("erased")
    assert unspan.load("erased") is not None
    trap = here / "unspan.zoo:x"
    trap.mkdir()
    (trap / "evil.py").write_text("open('canary', 'w')\ndef f():\n    return None\n")
    account = json.loads((here / "erased/receipt.json").read_text())
    account["model"]["recipe"]["spec"] = "python:unspan.zoo:x/evil.py:f"
    (here / "erased/receipt.json").write_text(json.dumps(account))
    with pytest.raises(UsageError, match="would be run"):
        unspan.load("erased")
    assert not (here / "canary").exists()


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        (["--eval", "foo"], "--eval foo"),
        (["--rank", "64"], "rank"),
        (["--pool", "foo"], "pool"),
        (["--size", "5"], "--size does not reach"),
        (["--feature-layer", "nope"], "nope"),
    ],
)
def test_a_dry_run_refuses_what_the_run_would_refuse(here, extra, says):
    found = run(
        "erase",
        "--model",
        "python:made_up:model",
        *OPTIONS,
        "--forget",
        "3",
        "--out",
        "a",
        "--dry-run",
        *extra,
    )
    assert isinstance(found.exception, UsageError) and says in str(found.exception)


@pytest.mark.parametrize("out", [".", "/", ".."])
def test_an_output_without_a_name_is_a_usage_error(here, out):
    found = run("erase", "--model", "python:made_up:model", *OPTIONS, "--forget", "3", "--out", out)
    assert isinstance(found.exception, UsageError) and "--out" in str(found.exception)


def test_the_receipt_says_how_much_of_the_request_was_read():
    done = unspan.erase(
        DigitsCNN().eval(), torch.rand(90, 1, 8, 8), unspan.ESC(rank=1), unspan.Run(max_samples=30)
    )
    assert (
        done.receipt["request"]["samples_requested"],
        done.receipt["request"]["samples_read"],
    ) == (90, 30)
    assert any("30 of the 90" in line for line in done.warnings)


def test_samples_and_unlabelled_heads_are_commented_on():
    from torch.utils.data import TensorDataset

    data = TensorDataset(torch.rand(60, 1, 8, 8), torch.arange(60) % 10)
    done = unspan.erase(
        DigitsCNN().eval(), unspan.Request.by_index(data, range(30)), unspan.ESC(rank=1)
    )
    assert any("not unlearned" in line for line in done.warnings)
    done = unspan.erase(DigitsCNN().eval(), torch.rand(40, 1, 8, 8), unspan.ESC(rank=1))
    assert any("feature_layer='output'" in line for line in done.warnings)


@dataclass(frozen=True, kw_only=True)
class Halved(EraserMethod):
    """A map that does more when it is applied twice."""

    name: ClassVar[str] = "halved"
    paper: ClassVar[str] = "these tests"

    @property
    def needs(self):
        return frozenset({"forget"})

    def fit(self, context):
        for _ in context.forget:
            pass
        matrix = 0.5 * torch.eye(context.dim, dtype=torch.float64)
        offset = torch.linspace(-1, 1, context.dim, dtype=torch.float64)
        return Fit(LinearMap(matrix, offset=offset))


@pytest.mark.parametrize("form", ["folded", "projected"])
@pytest.mark.parametrize("stored", [False, True], ids=["in memory", "from a folder"])
@pytest.mark.parametrize(
    "methods",
    [
        (Halved(), Halved()),
        (ESCT(lr=0.5), ESCT(lr=0.5)),
        (LEACE(), LEACE()),
        (ESC(rank=1), LEACE()),
    ],
    ids=lambda methods: "+".join(method.name for method in methods),
)
def test_a_further_request_maps_the_original_scores_once(
    digits_net, digits, tmp_path, methods, stored, form
):
    """However many requests there were, scores are the head's on the features after all maps."""
    found = digits_net
    for number, (label, method) in enumerate(zip((3, 5), methods, strict=True)):
        request = unspan.Request.by_class(digits["train"], label)
        deletion = unspan.erase(found, request, method, form=form, measure=False)
        found = deletion
        if stored:
            found = deletion.save(tmp_path / str(number), allow_identifying_projector=True)
    x = digits["test"][0][0][None].repeat(8, 1, 1, 1)
    x = x + torch.rand(x.shape, generator=torch.Generator().manual_seed(0))
    layer = find_feature_layer(digits_net, x)[0]
    with torch.no_grad():
        features, _ = read(digits_net, layer, x)
        want = digits_net.get_submodule(layer.head)(deletion.eraser(features))
        got = (unspan.load(found, model=DigitsCNN()) if stored else deletion.model)(x)
    assert torch.allclose(got, want, atol=1e-4 * float(want.abs().max()))


def test_a_method_that_returns_a_map_of_its_own_is_refused_by_name(digits_net, digits_request):
    @dataclass(frozen=True, kw_only=True)
    class Own(Halved):
        def fit(self, context):
            for _ in context.forget:
                pass
            return Fit(torch.nn.Identity())

    with pytest.raises(UsageError, match="Identity.*Projection, LinearMap"):
        unspan.erase(digits_net, digits_request, Own(), measure=False)


def test_a_head_that_was_not_folded_right_is_noticed(digits_net, digits_request, monkeypatch):
    def wrong(module, eraser, offset=None):
        with torch.no_grad():
            module.weight.mul_(-3)

    monkeypatch.setattr(install, "fold_input", wrong)
    with pytest.raises(ModelError):
        unspan.erase(digits_net, digits_request, LEACE(), form="folded", measure=False)


def test_the_default_under_torchrun_is_a_method_that_works_there(digits_request, monkeypatch):
    samples = replace(digits_request, kind="data", classes=(), selector=())
    asked = (digits_request, samples)
    alone = [Situation.of(one, labelled=True).recommended() for one in asked]
    assert alone == [Resample, NegGradPlus]
    monkeypatch.setenv("WORLD_SIZE", "2")
    several = [Situation.of(one, labelled=True).recommended() for one in asked]
    assert several == [Resample, ESC]
