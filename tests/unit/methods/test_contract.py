"""What every method of the catalogue promises, checked for all of them alike."""

import json
from dataclasses import fields, replace

import pytest
import torch
from small_network import Forbidden
from torch import nn
from torch.utils.data import Dataset

import unspan
from unspan.erasure import checks
from unspan.errors import UsageError
from unspan.methods import (
    LEACE,
    METHODS,
    EraserMethod,
    FitContext,
    TrainedMethod,
    by_name,
    registered,
)
from unspan.methods.boundary import Boundary
from unspan.methods.dlfd import DLFD
from unspan.methods.esc import ESC
from unspan.methods.esc_t import ESCT
from unspan.methods.random_labels import RandomLabels
from unspan.methods.scrub import Scrub
from unspan.training.settings import Training

pytestmark = pytest.mark.filterwarnings("ignore")

VARIANTS = {method.name: method() for method in registered()} | {
    "resample, head only": by_name("resample")(statistics="head"),
    "esc": ESC(rank=1),
    "esc-t": ESCT(lr=0.05, epochs=20),
    "retrain": by_name("retrain")(training=Training(lr=0.05, epochs=2)),
    "random-labels, retain": RandomLabels(use_retain=True),
    "boundary, expand": Boundary(kind="expand"),
    "scrub, rewind": Scrub(rewind=True),
    "dlfd": DLFD(save=1.0, steps=3),
    "l1-sparse, proximal": by_name("l1-sparse")(proximal=True),
    "fisher": by_name("fisher")(samples=200),
    "eu-k": by_name("eu-k")(k=1, training=Training(lr=0.05, epochs=2)),
    "redraw": by_name("redraw")(false_positives=0.1),
    "pour-d, means": by_name("pour-d")(direction="means"),
}


KEY = b"the same for all"


def erased(net, request, name, **options):
    """The deletion of a variant; one for embeddings is told that the scores are some."""
    method = VARIANTS[name]
    if isinstance(method, EraserMethod) and method.embeddings_only:
        options["feature_layer"] = "output"
    return unspan.erase(net, request, method, check_labels=False, **options)


class BatchNet(nn.Module):
    """A small network with BatchNorm and dropout, so that running statistics and the global stream
    are at stake.
    """

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.relu = nn.ReLU()
        self.drop = nn.Dropout(0.2)
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.flatten = nn.Flatten()
        self.head = nn.Linear(32, 10)

    def forward(self, x):
        return self.head(self.flatten(self.pool(self.drop(self.relu(self.norm(self.conv(x)))))))


@pytest.fixture(scope="module", autouse=True)
def one_thread_for_all():
    """Sums depend on the number of threads, and the models compared are made by fixtures and by
    tests.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def net(digits, one_thread_for_all):
    torch.manual_seed(0)
    net = BatchNet()
    x, y = (torch.stack(list(part)) for part in zip(*digits["train"], strict=True))
    adam = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(6):
        for rows in torch.randperm(len(x)).split(64):
            adam.zero_grad()
            nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
            adam.step()
    return net.eval()


@pytest.fixture(scope="module")
def request_(digits_request):
    return replace(digits_request, holdout=digits_request.test_forget)


@pytest.fixture(scope="module")
def results(net, request_):
    """Every variant run once, with what was there before and after."""
    found = {}
    for name in VARIANTS:
        before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
        flags = [module.training for module in net.modules()]
        stream = torch.random.get_rng_state()
        done = erased(net, request_, name, key=KEY, measure=False)
        same = all(torch.equal(tensor, before[key]) for key, tensor in net.state_dict().items())
        found[name] = (
            done,
            same and flags == [module.training for module in net.modules()],
            torch.equal(stream, torch.random.get_rng_state()),
        )
    return found


@pytest.mark.parametrize("name", VARIANTS)
def test_the_input_model_and_the_global_random_state_are_left_alone(results, name):
    _, untouched, stream = results[name]
    assert untouched and stream


@pytest.mark.parametrize("name", VARIANTS)
def test_the_same_kind_of_model_comes_out(results, net, name):
    done = results[name][0]
    old, new = net.state_dict(), done.model.state_dict()
    extra = {key.rpartition(".")[2] for key in set(new) - set(old)}
    assert set(old) <= set(new) and (
        not extra or extra == {buffer for buffer, _ in done.eraser.named_buffers()}
    )
    assert all(old[key].shape == new[key].shape and old[key].dtype == new[key].dtype for key in old)
    assert all(bool(tensor.isfinite().all()) for tensor in new.values())
    assert type(done.model) is type(net) and not any(
        module.training for module in done.model.modules()
    )
    assert any(not torch.equal(old[key], new[key]) for key in old) or extra  # something happened
    assert all(one.grad is None and one.requires_grad for one in done.model.parameters())


@pytest.mark.parametrize("name", VARIANTS)
def test_the_same_seed_and_key_give_the_same_weights(results, net, request_, name):
    torch.rand(7)  # what ran before does not matter
    again = erased(net, request_, name, key=KEY, measure=False)
    assert (
        again.receipt["model"]["sha256_after"] == results[name][0].receipt["model"]["sha256_after"]
    )


@pytest.mark.parametrize("name", VARIANTS)
def test_the_receipt_is_json_and_the_folder_opens_again(results, name, tmp_path):
    done = results[name][0]
    assert json.loads(json.dumps(done.receipt))["method"]["name"] == VARIANTS[name].name
    assert done.receipt["request"]["samples_read"] == done.receipt["request"]["samples_requested"]
    done.save(tmp_path / "out", allow_identifying_projector=True)
    loaded = unspan.load(tmp_path / "out", model=BatchNet())
    x = torch.rand(5, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(loaded(x), done.model(x))


@pytest.mark.parametrize(
    "name", [name for name, method in VARIANTS.items() if "retain" not in method.needs]
)
def test_a_method_that_needs_no_retained_data_never_reads_them(results, net, request_, name):
    blind = replace(
        request_, retain=Forbidden(100), holdout=Forbidden(10), test_forget=None, test_retain=None
    )
    done = erased(net, blind, name, key=KEY, measure=False)
    assert (
        done.receipt["model"]["sha256_after"] == results[name][0].receipt["model"]["sha256_after"]
    )


@pytest.mark.parametrize(
    "name", [name for name, method in VARIANTS.items() if "retain" in method.needs]
)
def test_a_method_that_needs_retained_data_reads_them_and_says_when_they_are_missing(
    net, request_, name
):
    with pytest.raises(Exception, match="was read although"):
        erased(net, replace(request_, retain=Forbidden(100)), name)
    with pytest.raises(UsageError, match=f"{VARIANTS[name].name} needs data to keep"):
        erased(net, replace(request_, retain=None), name)


@pytest.mark.parametrize(
    "name", [name for name, method in VARIANTS.items() if "holdout" in method.needs]
)
def test_a_method_that_chooses_by_held_out_samples_says_when_they_are_missing(net, request_, name):
    with pytest.raises(UsageError, match="--holdout"):
        unspan.erase(net, replace(request_, holdout=None), VARIANTS[name], check_labels=False)


class Unlabelled(Dataset):
    """The same images without labels."""

    def __init__(self, data):
        self.data = data

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        return self.data[index][0]


@pytest.mark.parametrize(
    "name", [name for name, method in VARIANTS.items() if "forget_labels" in method.needs]
)
def test_a_method_that_needs_labels_says_when_they_are_missing(net, request_, name):
    with pytest.raises(unspan.UnspanError, match="label"):
        unspan.erase(
            net,
            replace(request_, forget=Unlabelled(request_.forget), kind="data", classes=()),
            VARIANTS[name],
            check_labels=False,
        )


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_every_method_has_a_card(method):
    card = method.card()
    for part in (
        "Idea",
        "Formula",
        "Needs:",
        "Cost:",
        "Typical:",
        "Fails:",
        "Source:",
        "Deviates:",
    ):
        assert part in card.text, part
    assert card.summary and card.paper
    assert card.needs <= {"forget", "forget_labels", "retain", "holdout"}
    assert card.trains == issubclass(method, TrainedMethod)
    assert by_name(method.name) is method


ALONE = ["esc-t"]


@pytest.mark.parametrize("name", [*VARIANTS, "adaptive"])
def test_several_processes_are_refused_before_data_are_read_where_one_is_declared(
    net, request_, name, monkeypatch
):
    method = ESC(rank=1, adaptive=True) if name == "adaptive" else VARIANTS[name]
    assert method.one_process or name not in [*ALONE, "adaptive"]
    if not method.one_process:
        return
    monkeypatch.setattr(checks.dist, "world", lambda: 2)
    unread = replace(request_, forget=Forbidden(10))
    with pytest.raises(UsageError, match=f"{method.name} .* one process.*without torchrun"):
        unspan.erase(net, unread, method, check_labels=False, measure=False)


def test_a_context_without_a_retain_set_says_what_to_give():
    with pytest.raises(UsageError, match="retain="):
        LEACE().fit(FitContext.from_tensors(torch.randn(30, 4)))


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_the_first_value_that_tuning_tries_is_the_default(method):
    usual = method()
    own = {field.name for field in fields(usual)}
    for setting, values in method.search.items():
        default = getattr(usual if setting in own else usual.training, setting)
        assert default == values[0] or default not in values, setting
