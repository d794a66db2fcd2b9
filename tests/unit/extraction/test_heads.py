"""Models nobody here wrote: what counts as their head, and every tensor they hand out."""

from typing import NamedTuple

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

import unspan
from unspan.erasers import FeatureMap, LinearMap, is_mapped
from unspan.erasure import evaluation as evaluate
from unspan.erasure.reading import pair_of
from unspan.errors import UsageError
from unspan.extraction import find_feature_layer
from unspan.extraction.access_outcomes import compare
from unspan.extraction.tracing import trace_calls
from unspan.methods import LEACE, Resample
from unspan.run import Run

CLASSES = 4


class Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(12, 24)
        self.fc = nn.Linear(24, CLASSES)

    def hidden(self, x):
        return torch.relu(self.body(x))

    def forward(self, x):
        return self.fc(self.hidden(x))


class Keyword(Base):
    def forward(self, x):
        return self.fc(input=self.hidden(x))


class Sigmoid(Base):
    def forward(self, x):
        return torch.sigmoid(self.fc(self.hidden(x)))


class Shifted(Base):
    def forward(self, x):
        return self.fc(self.hidden(x)) - torch.linspace(-2, 0, CLASSES)


class Stored(nn.Module):
    """A layer that stores its weight as `[in, out]`, as those of GPT-2 do."""

    def __init__(self, rows, columns):
        super().__init__()
        self.weight = nn.Parameter(0.1 * torch.randn(rows, columns))
        self.bias = nn.Parameter(torch.zeros(columns))

    def forward(self, x):
        return x @ self.weight + self.bias


class Transposed(Base):
    def __init__(self):
        super().__init__()
        self.fc = Stored(24, CLASSES)


class Square(Base):
    """Transposed and square, so that shapes do not tell."""

    def __init__(self):
        super().__init__()
        self.body, self.fc = nn.Linear(12, CLASSES), Stored(CLASSES, CLASSES)


class Pooled(Base):
    """The ending of torchvision's ResNet: pooling, then a functional flatten."""

    def __init__(self):
        super().__init__()
        self.body, self.pool = nn.Conv2d(1, 24, 3, padding=1), nn.AdaptiveAvgPool2d(1)

    def forward(self, x):
        return self.fc(torch.flatten(self.pool(torch.relu(self.body(x.view(-1, 1, 3, 4)))), 1))


class Pair(NamedTuple):
    scores: torch.Tensor
    embedding: torch.Tensor


class Handed(Base):
    kind = "tuple"

    def forward(self, x):
        h = self.hidden(x)
        scores = self.fc(h)
        return {
            "tuple": lambda: (scores, h),
            "list": lambda: [scores, h],
            "named": lambda: Pair(scores, h),
            "dict": lambda: {"logits": scores, "embedding": h},
            "nested": lambda: {"logits": scores, "more": (h, {"deep": h})},
        }[self.kind]()


class LastToken(nn.Module):
    """Scores every token and returns those of one of them."""

    def __init__(self):
        super().__init__()
        self.embed, self.score = nn.Linear(12, 24), nn.Linear(24, CLASSES)

    def forward(self, x):
        tokens = torch.stack([torch.zeros_like(x), x, 0.1 * x], 1)
        return self.score(torch.relu(self.embed(tokens)))[:, 1]


@pytest.fixture(scope="module")
def data():
    torch.manual_seed(0)
    y = torch.arange(1200) % CLASSES
    x = 0.4 * torch.randn(1200, 12)
    x[torch.arange(1200), y] += 3
    return TensorDataset(x, y)


def scores_of(output):
    if isinstance(output, dict):
        return output["logits"]
    return output if isinstance(output, torch.Tensor) else output[0]


def trained(net, data):
    torch.manual_seed(0)
    for module in net.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    x, y = data.tensors
    adam = torch.optim.Adam(net.parameters(), 0.02)
    for _ in range(120):
        adam.zero_grad()
        scores = scores_of(net(x))
        target = F.one_hot(y, CLASSES).float()
        loss = F.binary_cross_entropy if isinstance(net, Sigmoid) else F.cross_entropy
        loss(scores, target if isinstance(net, Sigmoid) else y).backward()
        adam.step()
    return net.eval()


def accuracy(net, data, label=2):
    with torch.no_grad():
        right = scores_of(net(data.tensors[0])).argmax(1) == data.tensors[1]
    mine = data.tensors[1] == label
    return float(right[mine].float().mean()), float(right[~mine].float().mean())


HEADS = [Keyword, Sigmoid, Shifted, Transposed, Square, Pooled, LastToken]


@pytest.mark.parametrize("method", [Resample(), unspan.ESC(rank=1), LEACE()], ids=repr)
@pytest.mark.parametrize("kind", HEADS, ids=lambda kind: kind.__name__)
def test_a_head_of_any_kind_is_found_and_the_class_goes(data, kind, method, tmp_path):
    net = trained(kind(), data)
    splits = unspan.Request.by_class(data, 2)
    done = unspan.erase(net, splits, method, measure=False, key=b"a key of these tests")
    feature_layer = done.receipt["placement"]["feature_layer"]
    assert feature_layer["head"] in ("fc", "score") and feature_layer["dim"] == (
        CLASSES if kind is Square else 24
    )
    mine, others = accuracy(done.model, data)
    if isinstance(method, Resample) and kind is not Square:
        assert mine < 0.1 and others > 0.95, (mine, others)
    again = unspan.load(done.save(tmp_path / "erased"), kind())
    with torch.no_grad():
        x = data.tensors[0]
        assert torch.equal(scores_of(done.model(x)), scores_of(again(x)))


def test_features_before_a_head_called_by_keyword_hide_the_class(data):
    """What is handed to the head is erased, not only what comes out of it."""
    net = trained(Keyword(), data)
    done = unspan.erase(net, unspan.Request.by_class(data, 2))
    z = unspan.features(done.model, data.tensors[0])
    weight, bias = done.model.fc.weight, done.model.fc.bias
    named = (z @ weight.T + bias).argmax(1)
    assert float((named[data.tensors[1] == 2] == 2).float().mean()) < 0.05


def test_the_gate_asks_for_the_scores_that_the_model_gives(data):
    """A shift behind the head moves the border between classes."""
    net = trained(Shifted(), data)
    feature_layer, _ = find_feature_layer(net, data.tensors[0][:2])
    assert feature_layer.shift == pytest.approx([2, 4 / 3, 2 / 3, 0], abs=1e-5)


@pytest.mark.parametrize("kind", ["tuple", "list", "named", "dict", "nested"])
def test_features_handed_out_beside_the_scores_are_erased(data, kind, tmp_path):
    net = trained(Handed(), data)
    net.kind = kind
    head = {"feature_layer": None if kind in ("dict", "nested") else "fc"}
    done = unspan.erase(net, unspan.Request.by_class(data, 2), **head)
    x = data.tensors[0]
    paths = done.receipt["access_paths"]
    handed = [name for name in paths if name.startswith("output") and "0" not in name]
    assert handed and all(paths[name] == "erased" for name in handed)
    from unspan.extraction import tensors_in

    with torch.no_grad():
        before, after = dict(tensors_in(net(x))), dict(tensors_in(done.model(x)))
    assert before.keys() == after.keys() and len(before) >= 2
    assert not any(torch.equal(before[path], after[path]) for path in before)
    fresh = Handed()
    fresh.kind = kind
    again = unspan.load(done.save(tmp_path / "erased"), fresh)
    with torch.no_grad():
        loaded = dict(tensors_in(again(x)))
    assert all(torch.equal(after[path], loaded[path]) for path in after)


def test_an_audit_does_not_pass_a_model_that_hands_out_the_original_features(data):
    class Cleaned(Handed):
        """Scores of another network beside the embedding of the original."""

        def __init__(self, original, erased):
            super().__init__()
            self.body, self.fc = original.body, original.fc
            self.erased = erased

        def forward(self, x):
            return self.erased(x)[0], self.hidden(x)

    net = trained(Handed(), data)
    splits = unspan.Request.by_class(data, 2)
    done = unspan.erase(net, splits, feature_layer="fc")
    from unspan.auditing.returned import unchanged
    from unspan.auditing.subjects import subject

    example = data.tensors[0][:16]
    subjects = [
        subject("before", net, example, feature_layer="fc"),
        subject("after", done.model, example),
    ]
    assert unchanged(*subjects, example) == []
    leaky = subject("after", Cleaned(net, done.model).eval(), example, feature_layer="erased.fc")
    places = unchanged(subjects[0], leaky, example)
    assert [(one.where, one.features) for one in places] == [("output[1]", True)]


class Changed(Base):
    """A layer behind the head that mixes classes sample by sample."""

    def forward(self, x):
        scores = self.fc(self.hidden(x))
        return scores * scores.abs().sum(1, keepdim=True).sin() + scores.flip(1).square()


class Functional(Base):
    def forward(self, x):
        return F.linear(self.hidden(x), self.fc.weight, self.fc.bias)


@pytest.mark.parametrize("kind", [Changed, Functional], ids=lambda kind: kind.__name__)
def test_scores_without_a_head_are_never_taken_for_an_embedding(data, kind):
    splits = unspan.Request.by_class(data, 2)
    with pytest.raises(UsageError, match="feature_layer="):
        unspan.erase(kind().eval(), splits, unspan.ESC(rank=1), check_labels=False)
    asked = unspan.erase(
        kind().eval(),
        splits,
        unspan.ESC(rank=1),
        feature_layer="output",
        check_labels=False,
        measure=False,
    )
    assert asked.receipt["placement"]["feature_layer"]["head"] is None


@pytest.mark.parametrize("squeezed", [True, False])
def test_one_score_for_two_classes_is_refused_by_name(squeezed):
    class One(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(6, 1)

        def forward(self, x):
            z = self.fc(x)
            return z[:, 0] if squeezed else z

    x = TensorDataset(torch.randn(80, 6), torch.arange(80) % 2)
    with pytest.raises(UsageError, match="one score|score for each class"):
        unspan.erase(One().eval(), unspan.Request.by_class(x, 1))


def test_a_wrong_pooling_for_scores_of_one_token_is_refused(data):
    net = trained(LastToken(), data)
    splits = unspan.Request.by_class(data, 2)
    for pool in ("mean", "cls"):
        with pytest.raises(UsageError, match="last"):
            unspan.erase(net, splits, feature_layer="score", pool=pool)
    done = unspan.erase(net, splits, feature_layer="score")
    assert done.receipt["placement"]["feature_layer"]["pool"] == "last"


def test_a_comparison_that_fails_is_said_and_ends_nothing(data, monkeypatch):
    old = {"way": torch.randn(2, 24)}
    new = {"way": torch.randn(2, 24)}
    assert compare(old, new, object(), 24)["way"].startswith("not checked: ")
    from unspan.erasure import locating

    def broken(*_arguments, **_more):
        raise ZeroDivisionError("in a step that only describes")

    for name in ("data_notices", "unsteady", "split_notices"):
        monkeypatch.setattr(locating, name, broken)
    net = trained(Pooled(), data)
    done = unspan.erase(net, unspan.Request.by_class(data, 2))
    assert sum("was not checked: ZeroDivisionError" in line for line in done.warnings) == 3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("method", [Resample(), unspan.ESC(rank=1), LEACE()], ids=repr)
def test_the_eraser_takes_stored_vectors_of_any_precision(data, dtype, method):
    net = trained(Base(), data)
    done = unspan.erase(net, unspan.Request.by_class(data, 2), method, measure=False)
    z = unspan.features(net, data.tensors[0]).to(dtype)
    out = done.eraser(z)
    assert out.dtype == dtype and out.shape == z.shape
    assert torch.equal(done.eraser(z[0]), out[0]) or torch.allclose(
        done.eraser(z[0]).double(), out[0].double(), rtol=1e-2, atol=1e-3
    )


class FirstIsHead(nn.Module):
    """The first parameter is not of the dtype that the inputs meet."""

    def __init__(self, body, head):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1, dtype=torch.float64))
        self.fc = nn.Linear(24, CLASSES).to(head)
        self.body = nn.Linear(12, 24).to(body)

    def forward(self, x):
        return self.fc(torch.relu(self.body(x)).to(self.fc.weight.dtype))


@pytest.mark.parametrize("body", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_inputs_are_of_the_dtype_of_the_layer_that_they_meet(data, body):
    torch.manual_seed(0)
    net = FirstIsHead(torch.float32, torch.float32)
    adam = torch.optim.Adam([*net.fc.parameters(), *net.body.parameters()], 0.02)
    for _ in range(120):
        adam.zero_grad()
        F.cross_entropy(net(data.tensors[0]), data.tensors[1]).backward()
        adam.step()
    net.eval().body.to(body)
    done = unspan.erase(net, unspan.Request.by_class(data, 2))
    with torch.no_grad():
        named = done.model(data.tensors[0].to(body)).argmax(1)
    assert float((named[data.tensors[1] == 2] == 2).float().mean()) < 0.05


def test_a_trace_of_transposed_layers_calls_each_once():
    """Telling a transposed weight apart calls the layer, whose hooks must not ask again."""
    from transformers import GPT2Config, GPT2ForSequenceClassification

    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    config = GPT2Config(vocab_size=8, n_embd=8, n_layer=2, n_head=2, n_positions=8, **special)
    model = GPT2ForSequenceClassification(config).eval()
    trace = trace_calls(model, {"input_ids": torch.randint(1, 8, (3, 5))})
    layers = [name for name, one in model.named_modules() if type(one).__name__ == "Conv1D"]
    assert layers and all(trace.calls[name] == 1 for name in layers)
    assert layers[-1] in trace.linear


# ---- rounding at the jumps of a map --------------------------------------------------------------


class Jump(FeatureMap):
    """Turns features round where the first one is positive."""

    def __init__(self):
        super().__init__()
        self.register_buffer("one", torch.ones(1))

    def map_features(self, z):
        return torch.where(z[..., :1] > 0, -z, z)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 3e-2)])
@pytest.mark.parametrize("shape", [(6, 4), (3, 2, 4)])
def test_a_sample_at_a_jump_may_land_on_either_side(dtype, tolerance, shape):
    torch.manual_seed(0)
    old = torch.randn(shape)
    at_jump = old.view(-1, 4)[0]
    at_jump[0] = 1e-8
    old = old.to(dtype)
    other = Jump()(old)
    other.view(-1, 4)[0] *= -1
    assert is_mapped(Jump(), "last", old, Jump()(old), tolerance)
    assert is_mapped(Jump(), "last", old, other, tolerance)
    old.view(-1, 4)[0, 0] = 0.5
    assert not is_mapped(Jump(), "last", old, other, tolerance)
    assert not is_mapped(LinearMap(torch.eye(4)), "last", old, other, tolerance)


@pytest.mark.parametrize("kind", ["tuple", "list", "named", "dict", "nested"])
def test_accuracy_is_measured_of_a_model_that_returns_more_than_scores(data, kind):
    net = trained(Handed(), data)
    net.kind = kind
    head = {"feature_layer": None if kind in ("dict", "nested") else "fc"}
    done = unspan.erase(net, unspan.Request.by_class(data, 2), unspan.ESC(rank=2), **head)
    found = evaluate.accuracy(pair_of(net, done.model), data, "test", Run())
    assert found.n == len(data) and found.before > 0.9 > found.after
