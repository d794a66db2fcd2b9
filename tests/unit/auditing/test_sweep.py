import pytest
import torch
from torch.utils.data import Subset, TensorDataset

import unspan
from unspan.auditing.attack_split import parts
from unspan.auditing.collect import collect
from unspan.auditing.opening import open_case, open_models
from unspan.auditing.subjects import subject
from unspan.auditing.sweep import (
    by_layer,
    changed,
    layer_reader,
    layers,
    layers_aside,
    shared_layers,
    swept,
    without_eraser,
)
from unspan.auditing.views import some
from unspan.data.request import Request
from unspan.errors import DataError
from unspan.run import Run
from unspan.zoo import AllCNN, DigitsCNN


def digits(n=100):
    generator = torch.Generator().manual_seed(0)
    return TensorDataset(torch.rand(n, 1, 8, 8, generator=generator), torch.arange(n) % 10)


def test_layers_are_spread_and_before_the_features():
    model = AllCNN().eval()
    x = torch.rand(2, 3, 32, 32)
    names = layers(subject("a", model, x), x)
    assert len(names) == 3 and len(set(names)) == 3
    order = [name for name, _ in model.named_modules()]
    assert [order.index(name) for name in names] == sorted(order.index(name) for name in names)
    assert all(order.index(name) < order.index("head") for name in names)


def test_layer_outputs_are_pooled_activations(tmp_path):
    model, data = DigitsCNN().eval(), digits()
    one = subject("a", model, data.tensors[0])
    names = layers(one, data.tensors[0][:2])
    some = Subset(data, [3, 13]), Subset(data, [0, 1])
    read, *_ = collect([one], *some, Run(), tmp_path, "x", layer_reader(names))
    found = by_layer(read["a"], one, names, data.tensors[0])
    seen = {}
    handle = model.get_submodule(names[0]).register_forward_hook(
        lambda _m, _a, out: seen.setdefault("x", out)
    )
    with torch.no_grad():
        model(data.tensors[0][[3, 13, 0, 1]])
    handle.remove()
    want = seen["x"].mean((2, 3)) if seen["x"].ndim == 4 else seen["x"]
    torch.testing.assert_close(found[names[0]].features, want)
    assert found[names[0]].forget.tolist() == [True, True, False, False]
    assert not any(module._forward_hooks for module in model.modules())


def test_taking_the_eraser_off_brings_the_features_back():
    torch.manual_seed(0)
    model, data = (
        AllCNN().eval(),
        TensorDataset(torch.rand(8, 3, 32, 32), torch.zeros(8, dtype=torch.long)),
    )
    done = unspan.erase(model, data, unspan.ESC(rank=1), check_labels=False)
    one, original = (
        subject("after", done.model, data.tensors[0]),
        subject("before", model, data.tensors[0]),
    )
    assert without_eraser(one, original, data.tensors[0]) == 1.0
    assert without_eraser(original, original, data.tensors[0]) is None
    assert changed(model, done.model, "head") == []


def test_a_trained_weight_is_seen():
    model, other = DigitsCNN().eval(), DigitsCNN().eval()
    other.load_state_dict(model.state_dict())
    name = next(name for name, p in other.named_parameters() if p.ndim == 4)
    with torch.no_grad():
        other.get_parameter(name)[0, 0, 0, 0] += 1e-6
        other.head.weight += 1
    assert changed(model, other, "head") == [name]


def test_without_a_test_split_a_fifth_is_held_out_once_and_for_all():
    data = digits(1000)
    one = parts(Request.by_class(data, 3))
    again = parts(Request.by_class(data, 3))
    assert one.test_forget.indices == again.test_forget.indices and not one.held_out
    assert 0.1 < len(one.test_retain) / 900 < 0.3
    assert not set(one.test_retain.indices) & set(one.fit_retain.indices)


def test_forget_data_alone_cannot_be_audited():
    with pytest.raises(DataError, match="samples to keep"):
        parts(Request(forget=digits()))


class Ends(DigitsCNN):
    """A network that ends the process, as Ctrl-C does, after some samples."""

    left = 10**6

    def forward(self, x):
        if self.left <= 0:
            raise KeyboardInterrupt
        self.left -= len(x)
        return super().forward(x)


def swept_beside(folder, one, whole, run):
    """Outputs of a pass that reads earlier layers of some samples along, and those of the layers
    without a further forward pass.
    """
    forget, retain = (Subset(whole, range(first, 100)) for first in (90, 0))
    chosen = some(forget, 4), some(retain, 21)
    names = layers(one, whole.tensors[0][:2])
    aside = layers_aside(names, *chosen)
    outputs, *_ = collect([one], forget, retain, run, folder, "x", aside=aside)

    def refuse(*_):
        raise AssertionError("forward pass")

    with one.model.register_forward_pre_hook(refuse):
        found, *_ = collect([one], *chosen, run, folder, "x", layer_reader(names))
    return outputs["a"], found["a"]


def test_layers_are_read_in_the_pass_that_reads_features(tmp_path):
    model, whole, run = DigitsCNN().eval(), digits(), Run(batch_size=16)
    one = subject("a", model, whole.tensors[0])
    outputs, found = swept_beside(tmp_path / "1", one, whole, run)
    forget, retain = (Subset(whole, range(first, 100)) for first in (90, 0))
    alone, *_ = collect([one], forget, retain, run, tmp_path / "2", "x")
    names = layers(one, whole.tensors[0][:2])
    chosen = some(forget, 4), some(retain, 21)
    apart, *_ = collect([one], *chosen, run, tmp_path / "2", "x", layer_reader(names))
    for name in ("features", "labels", "forget"):
        assert torch.equal(getattr(outputs, name), getattr(alone["a"], name)), name
        assert torch.equal(getattr(found, name), getattr(apart["a"], name)), name
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("samples", [20, 70, 100])
def test_layers_are_whole_after_a_pass_that_was_ended(tmp_path, monkeypatch, samples):
    from unspan.auditing import partial

    monkeypatch.setattr(partial, "BLOCK", 8)
    torch.manual_seed(0)
    whole, run = digits(), Run(batch_size=16)
    one = subject("a", Ends().eval(), whole.tensors[0])
    want = swept_beside(tmp_path / "1", one, whole, run)[1].features.clone()
    names = layers(one, whole.tensors[0][:2])
    forget, retain = (Subset(whole, range(first, 100)) for first in (90, 0))
    chosen = some(forget, 4), some(retain, 21)
    aside = layers_aside(names, *chosen)
    one.model.left = samples
    with pytest.raises(KeyboardInterrupt):
        collect([one], forget, retain, run, tmp_path / "2", "x", aside=aside)
    one.model.left = 10**6
    collect([one], forget, retain, run, tmp_path / "2", "x", aside=aside)
    again, *_ = collect([one], *chosen, run, tmp_path / "2", "x", layer_reader(names))
    assert torch.equal(again["a"].features, want)
    assert [entry.name for entry in (tmp_path / "2").iterdir() if entry.name.startswith(".")] == []


def test_without_layers_or_positions_nothing_is_read_beside():
    data = Subset(digits(), range(5))
    assert layers_aside([], data, data) is None
    assert layers_aside(["conv1"], data, [data]) is None


def test_an_audit_opens_with_the_layers_read(tmp_path):
    whole, run = digits(), Run(batch_size=16)
    gone = range(3, 100, 10)
    kept = [place for place in range(100) if place % 10 != 3]
    request = Request(forget=Subset(whole, gone), retain=Subset(whole, kept))
    before, after = DigitsCNN().eval(), DigitsCNN().eval()
    models = open_models(before, after, [DigitsCNN().eval()], request, run, None, None)
    everyone = [models.before, models.after, *models.others]
    open_case(models, request, run, tmp_path, None, allow_overlap=True)
    names = shared_layers(everyone, models.inputs)
    for one in everyone:
        one.model.register_forward_pre_hook(lambda *_: pytest.fail("forward pass"))
    for chosen in swept(models.parts):
        found, *_ = collect(everyone, *chosen, run, tmp_path, "x", layer_reader(names))
        assert {len(own) for own in found.values()} == {sum(map(len, chosen))}


def test_no_layers_where_a_model_lacks_one():
    x = torch.rand(2, 1, 8, 8)
    other = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)).eval()
    one, two = subject("a", DigitsCNN().eval(), x), subject("b", other, x)
    assert shared_layers([one, one], x)
    assert shared_layers([one, two], x) == []
