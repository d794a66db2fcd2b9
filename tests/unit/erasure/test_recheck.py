"""Whether later work brought back what was erased: said from data, with an exit code."""

import copy
import json
import sys
import warnings

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import Subset

import unspan
from unspan.cli import main
from unspan.extraction import detach
from unspan.methods import LEACE

METHODS = {"resample": None, "esc": unspan.ESC(rank=1), "leace": LEACE()}


@pytest.fixture(scope="module", params=METHODS)
def erased(request, digits_net, digits_request):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return unspan.erase(digits_net, digits_request, METHODS[request.param], max_drop=None)


@pytest.fixture(scope="module")
def asked(digits):
    """The request on samples that nothing was trained on."""
    return unspan.Request.by_class(digits["test"], 3)


def trained_again(model, data, part=None, steps=40):
    model.train()
    x, y = (torch.stack(list(one)) for one in zip(*data, strict=True))
    optimiser = torch.optim.Adam((part or model).parameters(), lr=1e-2)
    for _ in range(steps):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimiser.step()
    return model.eval()


def without_eraser(deletion, digits):
    bare = copy.deepcopy(deletion.model)
    detach(bare, bare._unspan.feature_layer)
    return bare


def fine_tuned(deletion, digits):
    return trained_again(copy.deepcopy(deletion.model), digits["train"])


def new_head(deletion, digits):
    model = without_eraser(deletion, digits)
    model.head = nn.Linear(64, 10)
    return trained_again(model, digits["train"], model.head)


def test_an_untouched_model_is_suppressed(erased, asked):
    found = unspan.recheck(copy.deepcopy(erased.model), erased, asked)
    assert found.state == "suppressed", found.reasons
    assert "unchanged" in found.reasons[-1]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("change", ["half", "dynamic"])
def test_casts_and_quantisation_are_suppressed(erased, asked, change):
    model = copy.deepcopy(erased.model)
    if change == "half":
        model = model.to(torch.bfloat16)
    else:
        model = torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, torch.qint8)
    found = unspan.recheck(model, erased, asked)
    assert found.state == "suppressed", found.reasons


@pytest.mark.parametrize("change", [without_eraser, fine_tuned, new_head])
def test_what_brings_the_class_back_is_found(erased, asked, digits, change):
    torch.manual_seed(0)
    found = unspan.recheck(change(erased, digits), erased, asked)
    assert found.state == "back", found.reasons


def test_too_few_samples_say_nothing(erased, asked):
    few = unspan.Request(forget=Subset(asked.forget, range(8)), kind="class", classes=(3,))
    found = unspan.recheck(erased.model, erased, few)
    assert found.state == "cannot tell" and "20 forget samples" in found.reasons[-2]


def test_the_command_says_it_with_an_exit_code(
    digits_net, digits_request, digits, tmp_path, monkeypatch, capsys
):
    deletion = unspan.erase(
        digits_net, digits_request, recipe={"kind": "python", "spec": "python:unspan.zoo:DigitsCNN"}
    )
    deletion.save(tmp_path / "erased")
    save_file(digits_net.state_dict(), tmp_path / "before.safetensors")
    new = ("python:unspan.zoo:DigitsCNN", "--weights", tmp_path / "before.safetensors")
    for model, code, state in ((new, 6, "back"), ((tmp_path / "erased",), 0, "suppressed")):
        rest = ("--deletion", tmp_path / "erased", "--data", "python:examples.digits:data")
        line = ["unspan", "recheck", *model, *rest, "--json", "--trust-code"]
        monkeypatch.setattr(sys, "argv", [str(one) for one in line])
        with pytest.raises(SystemExit) as stopped:
            main()
        said = json.loads(capsys.readouterr().out)
        assert (int(stopped.value.code or 0), said["state"]) == (code, state)
