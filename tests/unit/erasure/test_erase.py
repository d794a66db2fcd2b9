"""The contract of erase(): a drop-in copy, features without the erased span on every route,
requests that unite.
"""

import copy
import io
import pickle
import warnings

import pytest
import torch
from released import released
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional
from torch.utils.data import TensorDataset
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    ResNetConfig,
    ResNetForImageClassification,
    ViTConfig,
    ViTForImageClassification,
)

import unspan
from unspan.erasers import LinearMap
from unspan.erasers.linalg import Moments, sin_theta, spectrum, union
from unspan.errors import DataError, UnspanError, UsageError
from unspan.extraction import unwrap
from unspan.methods import ESCT, Finetune
from unspan.training.settings import Training

pytestmark = pytest.mark.filterwarnings("ignore")


class Handmade(nn.Module):
    """Functional ReLU and mean, so that no module gives the pooled features."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 10, 3)
        self.fc = nn.Linear(10, 5)

    def forward(self, x):
        return self.fc(functional.relu(self.conv(x)).mean((2, 3)))


def mlp():
    return nn.Sequential(
        nn.Linear(8, 16),
        nn.BatchNorm1d(16),
        nn.ReLU(),
        nn.Linear(16, 12),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(12, 5),
    )


def conv():
    return nn.Sequential(
        nn.Conv2d(3, 10, 3),
        nn.BatchNorm2d(10),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(10, 5),
    )


def resnet():
    return ResNetForImageClassification(
        ResNetConfig(
            num_channels=3,
            embedding_size=8,
            hidden_sizes=[8, 12],
            depths=[1, 1],
            layer_type="basic",
            num_labels=5,
        )
    )


def vit():
    return ViTForImageClassification(
        ViTConfig(
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            image_size=8,
            patch_size=4,
            num_labels=5,
        )
    )


def bert():
    return BertForSequenceClassification(
        BertConfig(
            vocab_size=40,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            num_labels=5,
        )
    )


def compiled():
    return torch.compile(mlp(), backend="eager")


# name -> builder, input shape ("ids" for text), module whose output a user hooks for features, None
# if there is none
KINDS = {
    "mlp": (mlp, (8,), "5"),
    "conv": (conv, (3, 8, 8), "4"),
    "handmade": (Handmade, (3, 8, 8), None),
    "affine": (
        lambda: nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 12), nn.Linear(12, 5)),
        (8,),
        "2",
    ),
    "embedding": (
        lambda: nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 12), nn.LayerNorm(12)),
        (8,),
        "3",
    ),
    "resnet": (resnet, (3, 16, 16), "resnet.pooler"),
    "vit": (vit, (3, 8, 8), None),
    "bert": (bert, "ids", "dropout"),
    "bf16": (lambda: mlp().bfloat16(), (8,), "5"),
    "half": (lambda: mlp().half(), (8,), "5"),
    "parallel": (lambda: nn.DataParallel(mlp()), (8,), "5"),
    "compiled": (compiled, (8,), "5"),
}
HEADED = [name for name in KINDS if name != "embedding"]


def inputs_of(name, n=40, seed=1):
    generator = torch.Generator().manual_seed(seed)
    shape = KINDS[name][1]
    if shape == "ids":
        return {
            "input_ids": torch.randint(40, (n, 6), generator=generator),
            "attention_mask": torch.ones(n, 6, dtype=torch.long),
        }
    return torch.randn(n, *shape, generator=generator) + seed % 7 * 0.3


def build(name):
    torch.manual_seed(0)
    model = KINDS[name][0]()
    with (
        torch.no_grad()
    ):  # away from near-zero initial weights, so that features differ between samples
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(2)
    return model.train()


def rows(inputs):
    """As a data set of samples."""
    if isinstance(inputs, dict):
        return [
            {key: value[i] for key, value in inputs.items()}
            for i in range(len(inputs["input_ids"]))
        ]
    return list(inputs)


def like(model, inputs):
    dtype = next(model.parameters()).dtype
    return inputs if isinstance(inputs, dict) else inputs.to(dtype)


def scores(model, inputs):
    model, mode = copy.deepcopy(model).eval(), torch.no_grad()
    with mode:
        out = model(**inputs) if isinstance(inputs, dict) else model(like(model, inputs))
    return out if isinstance(out, torch.Tensor) else out.logits


def labelled(model, inputs):
    y = scores(model, inputs).argmax(1)
    samples = rows(inputs)
    if isinstance(inputs, dict):
        return [sample | {"labels": int(label)} for sample, label in zip(samples, y, strict=True)]
    return list(zip(samples, y.tolist(), strict=True))


def features_by_identity(model, head, inputs):
    model = copy.deepcopy(unwrap(model)).eval()
    parent, _, child = head.rpartition(".")
    setattr(model.get_submodule(parent), child, nn.Identity())
    return scores(model, inputs).flatten(1)


def features_by_hook(model, name, inputs):
    model, seen = copy.deepcopy(unwrap(model)).eval(), []
    model.get_submodule(name).register_forward_hook(lambda _m, _a, out: seen.append(out))
    with torch.no_grad():
        model(**inputs) if isinstance(inputs, dict) else model(like(model, inputs))
    return seen[0].flatten(1)


def energy(features, basis):
    features = features.double()
    return float((features @ basis).norm() / features.norm())


def limit(model):
    return {torch.float32: 2e-6, torch.bfloat16: 3e-2, torch.float16: 4e-3, torch.float64: 1e-12}[
        next(model.parameters()).dtype
    ]


# ---- contract ------------------------------------------------------------------------------------


CONTRACT = [(name, "esc") for name in KINDS] + [
    (name, "esc-t") for name in HEADED if name not in ("bf16", "half")
]


@pytest.mark.parametrize("form", ["projected", "folded"])
@pytest.mark.parametrize(("name", "method"), CONTRACT)
def test_the_result_is_a_drop_in_copy(name, method, form):
    model, forget, other = build(name), inputs_of(name), inputs_of(name, 16, seed=2)
    settings = unspan.ESC(rank=2) if method == "esc" else ESCT(lr=20.0, epochs=10, tau=0.9)
    data = rows(forget) if method == "esc" else labelled(model, forget)
    before = copy.deepcopy(model.state_dict())
    flags = [module.training for module in model.modules()]
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()]
    if name == "embedding" and form == "folded":
        with pytest.raises(UsageError, match="folded"):
            unspan.erase(model, data, settings, form=form)
        return
    clean = {"forget": unspan.features(model, forget), "other": unspan.features(model, other)}
    original = scores(model, other)
    done = unspan.erase(model, data, settings, form=form, check_labels=False)

    # the input is as it was
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert model.state_dict().keys() == before.keys()
    assert [module.training for module in model.modules()] == flags
    assert [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()] == hooks
    assert torch.equal(scores(model, other), original)

    # the result is of the same kind
    assert type(done.model) is type(model)
    after = done.model.state_dict()
    assert {key: (value.shape, value.dtype) for key, value in after.items() if key in before} == {
        key: (value.shape, value.dtype) for key, value in before.items()
    }
    added = [key for key in after if key not in before]
    assert all(key.endswith("unspan.basis" if method == "esc" else "unspan.map") for key in added)
    assert len(added) <= (form == "projected")
    assert all(
        torch.equal(after[key], before[key])
        for key in before
        if "running" in key or "num_batches" in key
    )
    erased = scores(done.model, other)
    assert erased.shape == original.shape
    assert not torch.allclose(erased, original, atol=1e-4)
    assert torch.equal(scores(copy.deepcopy(done.model), other), erased)

    # scores and features are those of the mapped features
    exact = next(model.parameters()).dtype == torch.float32
    matrix, head = done.eraser.matrix(), done.receipt["placement"]["feature_layer"]["head"]
    if head is not None and exact:
        layer = unwrap(model).get_submodule(head)
        mapped = clean["other"].double() @ matrix.mT
        want = functional.linear(mapped, layer.weight.double().flatten(1), layer.bias.double())
        torch.testing.assert_close(
            erased.double(), want, rtol=0, atol=1e-5 * float(1 + want.abs().max())
        )
    if form == "folded":
        assert torch.equal(unspan.features(done.model, forget), clean["forget"])
        assert torch.equal(unspan.features(done.model, other), clean["other"])
        return
    if exact:
        want = clean["other"] @ matrix.float().mT
        got = unspan.features(done.model, other)
        torch.testing.assert_close(got, want, rtol=0, atol=1e-5 * float(1 + want.abs().max()))
    if method == "esc":
        basis = done.eraser.basis
        assert energy(clean["forget"], basis) > 0.2
        assert energy(unspan.features(done.model, forget), basis) <= limit(model)
        assert energy(unspan.features(done.model, other), basis) <= limit(model)
        if head is not None:
            assert energy(features_by_identity(done.model, head, forget), basis) <= limit(model)
        if KINDS[name][2] is not None:
            assert energy(features_by_hook(done.model, KINDS[name][2], forget), basis) <= limit(
                model
            )


@pytest.mark.parametrize("name", [name for name in KINDS if name != "compiled"])
def test_the_result_pickles_and_moves(name):
    model, forget = build(name), inputs_of(name)
    done = unspan.erase(model, rows(forget), unspan.ESC(rank=2))
    erased = scores(done.model, forget)
    again = pickle.loads(pickle.dumps(done.model))
    assert torch.equal(scores(again, forget), erased)
    file = io.BytesIO()
    torch.save(done.model, file)
    file.seek(0)
    assert torch.equal(scores(torch.load(file, weights_only=False), forget), erased)
    if name in ("bf16", "half"):
        return
    double = copy.deepcopy(done.model).double()
    assert {value.dtype for value in double.state_dict().values() if value.is_floating_point()} == {
        torch.float64
    }
    torch.testing.assert_close(scores(double, forget).float(), erased, rtol=1e-4, atol=1e-4)
    half = copy.deepcopy(done.model).half()
    assert energy(unspan.features(half, like(half, forget)), done.eraser.basis) <= 1e-2


@pytest.mark.parametrize("method", ["esc", "esc-t"])
def test_a_compiled_model_that_already_ran_is_erased(method):
    model, forget = build("compiled").eval(), inputs_of("compiled")
    with torch.no_grad():
        original = model(forget)
        settings = unspan.ESC(rank=2) if method == "esc" else ESCT(lr=1.0, epochs=10, tau=0.9)
        done = unspan.erase(model, labelled(unwrap(model), forget), settings)
        plain = unwrap(copy.deepcopy(done.model))(forget)
        torch.testing.assert_close(done.model(forget), plain)
        assert torch.equal(model(forget), original)
    assert not torch.allclose(plain, original, atol=1e-4)


def test_esc_t_needs_a_head():
    with pytest.raises(UsageError, match="head"):
        unspan.erase(build("embedding"), [(row, 0) for row in rows(inputs_of("embedding"))], ESCT())


@pytest.mark.parametrize("name", ["mlp", "affine", "vit"])
def test_an_error_leaves_the_model_as_it_was(name):
    model = build(name)
    before = copy.deepcopy(model.state_dict())
    flags = [module.training for module in model.modules()]
    with pytest.raises(UnspanError):
        unspan.erase(model, rows(inputs_of(name, 3)), unspan.ESC(rank=7))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert [module.training for module in model.modules()] == flags
    assert not hasattr(unwrap(model), "_unspan")


# ---- several requests ----------------------------------------------------------------------------

PLACES = {
    "hook": ("mlp", "projected"),
    "before": ("handmade", "projected"),
    "weights": ("affine", "projected"),
    "head": ("mlp", "folded"),
    "tokens": ("vit", "projected"),
}


def span(model, inputs, k):
    found = Moments(unspan.features(model, inputs[:2]).shape[1])
    found.update(unspan.features(model, inputs))
    return spectrum(found).basis[:, :k]


@pytest.mark.parametrize("place", PLACES)
def test_two_requests_are_one_in_any_order(place):
    name, form = PLACES[place]
    model, other = build(name), inputs_of(name, 16, seed=3)
    a, b = inputs_of(name, 64, seed=4), inputs_of(name, 64, seed=5)
    results = []
    for first, second in ((a, b), (b, a)):
        one = unspan.erase(model, rows(first), unspan.ESC(rank=2), form=form)
        results.append(unspan.erase(one, rows(second), unspan.ESC(rank=2), form=form))
    kinds = {result.receipt["placement"]["kind"] for result in results}
    assert kinds == {place if place in ("weights", "head") else "hook"}
    ab, ba = (result.eraser.basis for result in results)
    assert ab.shape[1] == 4
    # absorbed weights are float32, and the second request reads features restored from them
    assert sin_theta(ab, ba) <= (1e-5 if place == "weights" else 1e-8)
    assert sin_theta(ab, union([span(model, a, 2), span(model, b, 2)])) <= (
        1e-5 if place == "weights" else 1e-8
    )
    feature_layer = results[0].receipt["placement"]["feature_layer"]
    head, clean = (
        unwrap(model).get_submodule(feature_layer["head"]),
        unspan.features(model, other).double(),
    )
    want = functional.linear(clean - clean @ ab @ ab.mT, head.weight.double(), head.bias.double())
    for result in results:
        torch.testing.assert_close(
            scores(result.model, other).double(),
            want,
            rtol=0,
            atol=2e-5 * float(1 + want.abs().max()),
        )
        if form == "projected":
            assert energy(unspan.features(result.model, other), ab) <= 5e-6
        assert len(result.receipt["previous"]) == 1
        assert result.receipt["removed_rank"] == 4


@pytest.mark.parametrize("place", PLACES)
def test_the_same_request_twice_changes_nothing(place):
    name, form = PLACES[place]
    model, forget = build(name), inputs_of(name)
    one = unspan.erase(model, rows(forget), unspan.ESC(rank=2), form=form)
    before = copy.deepcopy(one.model.state_dict())
    two = unspan.erase(one, rows(forget), unspan.ESC(rank=2), form=form)
    assert two.receipt["status"] == "already erased"
    assert two.model.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[key]) for key, value in two.model.state_dict().items())
    assert torch.equal(two.eraser.basis, one.eraser.basis)
    assert one.receipt["status"] == "erased"


@pytest.mark.parametrize("name", ["mlp", "handmade"])
def test_a_hooked_model_object_takes_a_further_request(name):
    model = build(name)
    one = unspan.erase(model, rows(inputs_of(name, seed=4)), unspan.ESC(rank=2))
    two = unspan.erase(one.model, rows(inputs_of(name, seed=5)), unspan.ESC(rank=2))
    via = unspan.erase(one, rows(inputs_of(name, seed=5)), unspan.ESC(rank=2))
    assert torch.equal(two.eraser.basis, via.eraser.basis)
    assert two.eraser.basis.shape[1] == 4


@pytest.mark.parametrize(("name", "form"), [("affine", "projected"), ("mlp", "folded")])
def test_an_absorbed_eraser_needs_the_deletion(name, form):
    one = unspan.erase(build(name), rows(inputs_of(name)), unspan.ESC(rank=2), form=form)
    with pytest.raises(UsageError, match="erased before"):
        unspan.erase(one.model, rows(inputs_of(name, seed=5)), unspan.ESC(rank=2), form=form)


def test_forms_do_not_mix():
    one = unspan.erase(build("mlp"), rows(inputs_of("mlp")), unspan.ESC(rank=2))
    with pytest.raises(UsageError, match="projected"):
        unspan.erase(one, rows(inputs_of("mlp", seed=5)), unspan.ESC(rank=2), form="folded")


@pytest.mark.parametrize("name", ["mlp", "affine", "conv"])
@pytest.mark.parametrize("esc_first", [True, False])
def test_esc_and_esc_t_chain(name, esc_first):
    model, a, b, other = (
        build(name),
        inputs_of(name, seed=4),
        inputs_of(name, seed=5),
        inputs_of(name, 16, seed=3),
    )
    esc, trained = unspan.ESC(rank=2), ESCT(lr=1.0, epochs=10, tau=0.9)
    methods = (esc, trained) if esc_first else (trained, esc)
    one = unspan.erase(model, labelled(model, a), methods[0], check_labels=False)
    two = unspan.erase(one, labelled(one.model, b), methods[1], check_labels=False)
    clean = unspan.features(model, other)
    want = clean.double() @ two.eraser.matrix().mT
    torch.testing.assert_close(
        unspan.features(two.model, other).double(),
        want,
        rtol=0,
        atol=1e-5 * float(1 + want.abs().max()),
    )
    if not esc_first:
        head = unwrap(model).get_submodule(two.receipt["placement"]["feature_layer"]["head"])
        expected = functional.linear(want, head.weight.double().flatten(1), head.bias.double())
        torch.testing.assert_close(
            scores(two.model, other).double(),
            expected,
            rtol=0,
            atol=1e-5 * float(1 + expected.abs().max()),
        )


def test_running_out_of_rank_is_an_error():
    model = build("mlp")  # d = 12
    done = unspan.erase(model, rows(inputs_of("mlp", seed=4)), unspan.ESC(rank=6))
    done = unspan.erase(done, rows(inputs_of("mlp", seed=5)), unspan.ESC(rank=1))
    with pytest.raises(UsageError, match="12 directions"):
        for seed in range(6, 20):
            done = unspan.erase(done, rows(inputs_of("mlp", seed=seed)), unspan.ESC(rank=5))
    with pytest.raises(UsageError, match="1 <= rank <= 11"):
        unspan.erase(model, rows(inputs_of("mlp")), unspan.ESC(rank=12))
    with pytest.raises(DataError, match="the rank is 1 "):
        unspan.erase(model, rows(inputs_of("mlp", 1)), unspan.ESC(rank=2))


# ---- few samples ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits():
    data = load_digits()
    x, y = torch.tensor(data.data, dtype=torch.float32) / 16, torch.tensor(data.target)
    torch.manual_seed(0)
    order = torch.randperm(len(x))
    x, y = x[order], y[order]
    model = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 64), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        functional.cross_entropy(model(x[:1200]), y[:1200]).backward()
        optimizer.step()
    assert float((model(x[1200:]).argmax(1) == y[1200:]).float().mean()) > 0.93
    return model, x, y


def accuracy(model, x, y):
    with torch.no_grad():
        return float((model(x).argmax(1) == y).double().mean())


@pytest.mark.parametrize("n", [1, 2, 5, 20, 64])
def test_few_samples_keep_the_rest(digits, n):
    model, x, y = digits
    forget, keep = x[:1200][y[:1200] == 3], y[1200:] != 3
    full = unspan.erase(model, forget, unspan.ESC(rank=1))
    few = unspan.erase(model, forget[:n], unspan.ESC(rank=1))
    assert len(forget) >= 64
    whole, part = (accuracy(one.model, x[1200:][keep], y[1200:][keep]) for one in (full, few))
    assert whole > 0.8
    assert part >= whole - 0.03  # one sample can also do less harm than all of them


def test_released_code_runs_and_differs(digits):
    model, x, y = digits
    forget = x[:1200][y[:1200] == 3][:20]
    fixed = unspan.erase(model, forget, unspan.ESC(rank=1))
    broken = unspan.erase(model, forget, released("esc").ReleasedESC(rank=1))
    assert isinstance(broken.eraser, LinearMap)
    keep = y[1200:] != 3
    assert accuracy(broken.model, x[1200:][keep], y[1200:][keep]) < accuracy(
        fixed.model, x[1200:][keep], y[1200:][keep]
    )


def test_released_code_leaves_batch_norm_of_the_input_alone():
    model = build("mlp")
    before = copy.deepcopy(model.state_dict())
    done = unspan.erase(
        model,
        rows(inputs_of("mlp")),
        released("esc").ReleasedESC(rank=1),
        unspan.Run(batch_size=8),
    )
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not torch.equal(
        done.eraser.matrix(),
        unspan.erase(model, rows(inputs_of("mlp")), unspan.ESC(rank=1)).eraser.matrix(),
    )


def test_a_notebook_shows_the_summary_with_its_names_escaped():
    done = unspan.erase(build("mlp"), rows(inputs_of("mlp")), unspan.ESC(rank=1), measure=False)
    done.receipt["request"] |= {"kind": "class", "selector": ["<script>"]}
    page = done._repr_html_()
    assert "class: &lt;script&gt;" in page and "<script>" not in page
    assert all(name in page for name in ("model", "request", "method", "where", "warnings"))
    assert "class: <script>" in repr(done) and len(repr(done).splitlines()) == 6


# ---- the run -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mlp", "conv", "vit"])
def test_order_and_loader_do_not_change_the_model(name):
    model, forget = build(name), inputs_of(name)
    hashes = set()
    for data in (rows(forget), rows(forget)[::-1], TensorDataset(forget)):
        hashes.add(
            unspan.erase(model, data, unspan.ESC(rank=2), unspan.Run(batch_size=16)).receipt[
                "model"
            ]["sha256_after"]
        )
    assert len(hashes) == 1


def test_erasing_emits_its_warnings_once():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        done = unspan.erase(build("mlp"), rows(inputs_of("mlp", 5)), unspan.ESC(rank=2))
    assert [
        str(one.message) for one in caught if "samples in 12 dimensions" in str(one.message)
    ] == [line for line in done.warnings if "12 dimensions" in line]
    assert len(done.warnings) >= 1


@pytest.mark.parametrize("data", [[], torch.zeros(0, 8)])
def test_no_samples_is_an_error(data):
    with pytest.raises(DataError, match="empty"):
        unspan.erase(build("mlp"), data, unspan.ESC(rank=1))


def test_a_sample_that_is_not_finite_is_named():
    forget = inputs_of("mlp")
    forget[17, 0] = float("nan")
    with pytest.raises(DataError, match="sample 17"):
        unspan.erase(build("mlp"), rows(forget), unspan.ESC(rank=1), unspan.Run(batch_size=8))


def test_labels_that_the_model_does_not_know_are_an_error(digits):
    model, x, y = digits
    wrong = TensorDataset(x[y == 3], torch.full((int((y == 3).sum()),), 4))
    with pytest.raises(DataError, match="labels or preprocessing"):
        unspan.erase(model, unspan.Request(forget=wrong, kind="class"), unspan.ESC(rank=1))
    assert (
        unspan.erase(
            model,
            unspan.Request(forget=wrong, kind="class"),
            unspan.ESC(rank=1),
            check_labels=False,
        ).receipt["status"]
        == "erased"
    )


@pytest.mark.parametrize(
    ("asked", "method", "expected"),
    [
        (None, unspan.ESC(rank=1), "suppress"),
        (None, Finetune(training=Training(lr=0.01, epochs=1)), "like-retrained"),
        ("like-retrained", unspan.ESC(rank=1), "like-retrained"),
        ("suppress", Finetune(training=Training(lr=0.01, epochs=1)), "suppress"),
    ],
)
def test_the_receipt_says_what_was_aimed_at(asked, method, expected):
    model, data = mlp().eval(), TensorDataset(torch.randn(60, 8), torch.arange(60) % 5)
    request = unspan.Request.by_class(data, 2)
    found = unspan.erase(
        model, request, method, target=asked, check_labels=False, measure=False, max_drop=None
    )
    assert found.receipt["target"] == expected


def test_an_unknown_target_is_refused_with_those_there_are():
    with pytest.raises(UsageError, match="suppress, like-retrained"):
        unspan.erase(mlp(), torch.randn(9, 8), unspan.ESC(rank=1), target="gone")
