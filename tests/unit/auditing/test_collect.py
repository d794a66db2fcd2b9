import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Subset, TensorDataset

import unspan
from unspan.auditing.collect import collect
from unspan.auditing.reference import pixels, random_weights
from unspan.auditing.subjects import subject
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


def test_a_killed_run_leaves_nothing_that_counts_as_finished(model, tmp_path, monkeypatch):
    from unspan.auditing import partial

    one = subject("a", model, data().tensors[0])
    with monkeypatch.context() as broken:
        broken.setattr(
            partial.Partial, "publish", lambda _: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        with pytest.raises(KeyboardInterrupt):
            collect([one], *parts(data()), Run(), tmp_path, "x")
    assert [entry.name[0] for entry in tmp_path.iterdir()] == ["."]
    collect([one], *parts(data()), Run(), tmp_path, "x")
    assert [(entry / "done.json").is_file() for entry in tmp_path.iterdir()] == [True]


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


# ---- a pass that is ended early ------------------------------------------------------------------


class EndsAfter(DigitsCNN):
    """A model that counts samples, and ends the pass after some."""

    def __init__(self, samples):
        super().__init__()
        self.left, self.read = samples, 0

    def forward(self, x):
        if self.left <= 0:
            raise KeyboardInterrupt
        self.left -= len(x)
        self.read += len(x)
        return super().forward(x)


def counted(samples, seed=0):
    torch.manual_seed(seed)
    return EndsAfter(samples).eval()


@pytest.mark.parametrize("samples", [10, 40, 200, 280])
def test_a_pass_that_was_ended_goes_on_after_the_last_block(tmp_path, monkeypatch, samples):
    from unspan.auditing import partial

    monkeypatch.setattr(partial, "BLOCK", 32)
    whole = data(300)
    run = Run(batch_size=16)
    plain = collect(
        [subject("a", counted(10**6), whole.tensors[0])], *parts(whole), run, tmp_path / "1", "x"
    )[0]["a"]
    first = counted(10**6)
    one = subject("a", first, whole.tensors[0])
    first.left, first.read = samples, 0
    with pytest.raises(KeyboardInterrupt):
        collect([one], *parts(whole), run, tmp_path / "2", "x")
    again = counted(10**6)
    two = subject("a", again, whole.tensors[0])
    again.read = 0
    found = collect([two], *parts(whole), run, tmp_path / "2", "x")[0]["a"]
    for name in ("features", "logits", "labels", "forget"):
        assert torch.equal(getattr(found, name), getattr(plain, name)), name
    padded = 16 * (2 + 17)  # two batches of the request, seventeen of the others
    assert first.read + again.read <= padded + 32 + 16
    assert [entry.name for entry in (tmp_path / "2").iterdir() if entry.name.startswith(".")] == []


def test_a_model_that_joins_later_is_measured_from_its_own_first_row(tmp_path, monkeypatch):
    from unspan.auditing import partial

    monkeypatch.setattr(partial, "BLOCK", 32)
    whole, run = data(300), Run(batch_size=16)
    early = counted(10**6)
    one = subject("a", early, whole.tensors[0])
    early.left = 120
    with pytest.raises(KeyboardInterrupt):
        collect([one], *parts(whole), run, tmp_path, "x")
    early.left = 10**6
    other = subject("b", counted(10**6, seed=1), whole.tensors[0])
    found = collect([one, other], *parts(whole), run, tmp_path, "x")[0]
    for name, model in (("a", early), ("b", other.model)):
        order = [row for part in parts(whole) for row in part.indices]
        with torch.no_grad():
            torch.testing.assert_close(found[name].logits, model(whole.tensors[0][order]))


@pytest.mark.parametrize("broken", ["no json", '{"done": 10}', '{"done": 999, "arrays": {}}'])
def test_what_an_ended_pass_left_broken_is_measured_anew(model, tmp_path, broken):
    whole = data()
    one = subject("a", model, whole.tensors[0])
    plain = collect([one], *parts(whole), Run(), tmp_path / "1", "x")[0]["a"]
    (finished,) = (tmp_path / "1").iterdir()
    left = tmp_path / "2" / f".{finished.name}.part"
    left.mkdir(parents=True)
    (left / "progress.json").write_text(broken)
    (left / "features.npy").write_bytes(b"\0" * 100)
    found = collect([one], *parts(whole), Run(), tmp_path / "2", "x")[0]["a"]
    assert torch.equal(found.features, plain.features)


def test_two_processes_that_measure_the_same_do_not_share_a_folder(tmp_path):
    from unspan.auditing.partial import Partial

    one, other = Partial(tmp_path / "key", 4), Partial(tmp_path / "key", 4)
    values = torch.rand(4, 3)
    for part in (one, other):
        part.write(slice(0, 4), values, None, torch.arange(4), True)
        part.publish()
        part.close()
    assert [entry.name for entry in tmp_path.iterdir()] == ["key"]
    assert (np.load(tmp_path / "key" / "features.npy") == values.numpy()).all()
