import pytest
import torch
from torch.utils.data import Subset, TensorDataset

import unspan
from unspan.auditing.attack_split import parts
from unspan.auditing.collect import collect
from unspan.auditing.subjects import subject
from unspan.auditing.sweep import by_layer, changed, layer_reader, layers, without_eraser
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
