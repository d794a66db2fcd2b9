import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Subset, TensorDataset

import unspan
from unspan.auditing.collect import collect, subject
from unspan.auditing.reference import pixels, random_weights
from unspan.errors import DataError
from unspan.run import Run
from unspan.zoo import DigitsCNN


def data(n=60, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return TensorDataset(torch.rand(n, 1, 8, 8, generator=generator), torch.arange(n) % 10)


def parts(whole):
    forget = [i for i in range(len(whole)) if i % 10 == 3]
    return Subset(whole, forget), Subset(whole, [i for i in range(len(whole)) if i % 10 != 3])


@pytest.fixture
def model():
    torch.manual_seed(0)
    return DigitsCNN().eval()


def test_outputs_are_those_of_a_plain_pass(model, tmp_path):
    whole = data()
    forget, retain = parts(whole)
    one = subject("before", model, whole.tensors[0])
    found, *_ = collect([one], forget, retain, Run(batch_size=16), tmp_path, "x")
    got = found["before"]
    order = [*forget.indices, *retain.indices]
    x, y = whole.tensors[0][order], whole.tensors[1][order]
    with torch.no_grad():
        torch.testing.assert_close(got.logits, model(x))
    torch.testing.assert_close(got.features, unspan.features(model, x))
    assert torch.equal(got.labels, y) and torch.equal(got.forget, y == 3)


def test_a_second_audit_runs_no_forward_pass(model, tmp_path):
    forget, retain = parts(data())
    one = subject("before", model, data().tensors[0])
    first, digest, _ = collect([one], forget, retain, Run(), tmp_path, "x")

    def refuse(*_):
        raise AssertionError("forward pass")

    model.register_forward_pre_hook(refuse)
    second, again, *_ = collect([one], forget, retain, Run(), tmp_path, "x")
    assert digest == again and torch.equal(first["before"].features, second["before"].features)


@pytest.mark.parametrize("change", ["weights", "data", "eraser"])
def test_other_content_is_measured_anew(model, tmp_path, change):
    whole = data()
    collect([subject("a", model, whole.tensors[0])], *parts(whole), Run(), tmp_path, "x")
    if change == "weights":
        with torch.no_grad():
            model.head.weight[0, 0] += 1e-3
    elif change == "data":
        whole.tensors[0][5, 0, 0, 0] += 1e-3
    else:
        model = unspan.erase(model, parts(whole)[0], unspan.ESC(rank=1), check_labels=False).model
    collect([subject("a", model, whole.tensors[0])], *parts(whole), Run(), tmp_path, "x")
    assert len([entry for entry in tmp_path.iterdir() if not entry.name.startswith(".")]) == 2


def test_the_cache_is_private_and_copy_on_write(model, tmp_path):
    folder = tmp_path / "cache"
    one = subject("a", model, data().tensors[0])
    found, *_ = collect([one], *parts(data()), Run(), folder, "x")
    before = found["a"].features.clone()
    found["a"].features.zero_()
    again, *_ = collect([one], *parts(data()), Run(), folder, "x")
    assert torch.equal(again["a"].features, before)
    assert folder.stat().st_mode & 0o077 == 0


def test_a_killed_run_leaves_nothing_that_counts(model, tmp_path, monkeypatch):
    one = subject("a", model, data().tensors[0])
    monkeypatch.setattr(np, "save", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        collect([one], *parts(data()), Run(), tmp_path, "x")
    assert list(tmp_path.iterdir()) == []


def test_a_bad_sample_is_named(model, tmp_path):
    whole = data()
    whole.tensors[0][7] = float("nan")
    with pytest.raises(DataError, match="before.*sample 7"):
        collect([subject("before", model, data().tensors[0])], *parts(whole), Run(), tmp_path, "x")


def test_random_weights_are_new_and_the_model_is_left_alone(model):
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    seed = torch.random.get_rng_state()
    erased = unspan.erase(model, parts(data())[0], unspan.ESC(rank=1), check_labels=False).model
    fresh = random_weights(erased, 5)
    assert torch.equal(torch.random.get_rng_state(), seed)
    assert fresh.state_dict().keys() == state.keys()
    for name, parameter in fresh.named_parameters():
        if parameter.ndim > 1:
            assert not torch.equal(parameter, state[name])
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())
    assert not torch.equal(random_weights(model, 1).head.weight, fresh.head.weight)


def test_parameters_outside_of_any_layer_are_drawn_too():
    class Token(nn.Module):
        def __init__(self):
            super().__init__()
            self.token, self.fc = (
                nn.Parameter(torch.full((1, 1, 4), 2.0) + torch.arange(4.0)),
                nn.Linear(4, 3),
            )

    model = Token()
    assert not torch.allclose(random_weights(model, 0).token, model.token)


def test_pixels_are_block_means():
    x = torch.arange(2 * 3 * 16 * 16, dtype=torch.float32).view(2, 3, 16, 16)
    got = pixels(TensorDataset(x, torch.zeros(2, dtype=torch.long)), Run())
    assert got.shape == (2, 192) and got[0, 0] == x[0, 0, :2, :2].mean()
    assert pixels(TensorDataset(torch.rand(4, 5), torch.zeros(4, dtype=torch.long)), Run()) is None
