"""SSD damps what matters to the forget samples, by gradients of single samples."""

import pytest
import torch
from released import spec
from small_network import changed_of, context_of, stacked
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

import unspan
from unspan.errors import InconclusiveError, UsageError
from unspan.methods import LFSSD, SSD, by_name
from unspan.methods.ssd import damping

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]


def slow(net, data, value, size):
    """The mean over samples of `size(gradient)`, one sample after the other."""
    x, y = stacked(data)
    total = {name: torch.zeros_like(one) for name, one in net.named_parameters()}
    for row in range(len(x)):
        slopes = torch.autograd.grad(
            value(net(x[row : row + 1]), y[row : row + 1]), list(net.parameters())
        )
        for name, slope in zip(total, slopes, strict=True):
            total[name] += size(slope) / len(x)
    return total


@pytest.mark.parametrize(
    ("method", "value", "size"),
    [
        (SSD, cross_entropy, torch.square),
        (LFSSD, lambda scores, _: scores.square().sum(), torch.abs),
    ],
    ids=["ssd", "lfssd"],
)
@pytest.mark.parametrize("batch", [1, 7, 64])
def test_importance_is_that_of_single_samples_whatever_the_batch(case, method, value, size, batch):
    net, request, _ = case
    found = method(batch=batch).importance(context_of(net, request), "forget")
    want = slow(net, request.forget, value, size)
    assert found.keys() == want.keys()
    for name, one in found.items():
        assert torch.allclose(one, want[name], rtol=1e-4, atol=1e-9), name


class Named(torch.nn.Module):
    """The same network, with inputs in a dict."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, values):
        return self.net(values)


def test_inputs_that_are_no_single_tensor_are_taken_one_by_one(case):
    net, request, _ = case
    x, y = stacked(request.forget)
    rows = [({"values": one}, label) for one, label in zip(x, y, strict=True)]
    named = context_of(net, request)
    object.__setattr__(named, "model", Named(net))
    named.parts["forget"] = rows
    found = SSD(batch=7).importance(named, "forget")
    want = SSD().importance(context_of(net, request), "forget")
    assert all(torch.allclose(found[f"net.{name}"], one, rtol=1e-4) for name, one in want.items())


def test_weights_are_damped_by_the_formula_and_the_others_stay_to_the_bit(case):
    net, request, _ = case
    method = SSD(alpha=1.5, dampening=0.5)
    done = unspan.erase(net, request, method, check_labels=False, measure=False)
    context = context_of(net, request)
    forget, retain = (method.importance(context, part) for part in ("forget", "retain"))
    sizes = len(request.forget), len(request.retain)
    new = dict(done.model.named_parameters())
    damped = total = 0
    for name, old in net.named_parameters():
        whole = (sizes[0] * forget[name] + sizes[1] * retain[name]) / sum(sizes)
        chosen = forget[name] > 1.5 * whole
        want = old * (0.5 * whole / forget[name]).clamp_max(1)
        assert torch.equal(new[name][~chosen], old[~chosen])
        assert torch.allclose(new[name][chosen], want[chosen], rtol=1e-4)
        assert bool((new[name].abs() <= old.abs()).all())
        assert bool((new[name] * old >= 0).all())
        damped, total = damped + int(chosen.sum()), total + chosen.numel()
    assert 0 < damped < total
    assert done.receipt["method"]["fit"]["share_damped"] == pytest.approx(damped / total)
    assert all(
        torch.equal(one, other)
        for one, other in zip(net.buffers(), done.model.buffers(), strict=True)
    )


def test_the_boundary_cases_of_damping():
    draw = torch.Generator().manual_seed(0)
    forget, whole = torch.rand(2, 1000, generator=draw)
    forget[:10] = 0
    whole[5:15] = 0
    for alpha in (1e30, float("inf")):
        assert not damping(forget, torch.rand(1000, generator=draw) + 0.1, alpha, 1.0)[1].any()
    assert not damping(whole, whole, 1.0, 1.0)[1].any()  # strictly more
    factor, selected = damping(forget, whole, 2.0, 10.0)
    assert bool(((factor >= 0) & (factor <= 1)).all())
    assert bool((factor[~selected] == 1).all()) and not selected[:10].any()
    assert bool(selected[10:15].all()) and bool((factor[10:15] == 0).all())


@pytest.mark.parametrize("method", [SSD, LFSSD])
def test_where_the_forget_samples_are_all_data_nothing_is_damped(case, method):
    net, request, _ = case
    same = context_of(net, request)
    same.parts["retain"] = request.forget
    with pytest.raises(InconclusiveError, match="no weight was damped"):
        method(alpha=1.0).unlearn(same)
    assert not changed_of(net, same.model)


@pytest.mark.parametrize("method", [SSD, LFSSD])
def test_an_alpha_that_no_weight_can_reach_is_named_with_its_bound(case, method):
    net, request, _ = case
    with pytest.raises(InconclusiveError, match=r"25.0% of the data 4 times"):
        unspan.erase(net, request, method(alpha=4.5), check_labels=False, measure=False)


def test_lfssd_knows_no_labels(case):
    net, request, _ = case
    x, y = stacked(request.forget)
    kept, labels = stacked(request.retain)
    bare = unspan.Request(forget=Rows(x), retain=Rows(kept))
    wrong = unspan.Request(
        forget=TensorDataset(x, (y + 1) % 4), retain=TensorDataset(kept, labels.flip(0))
    )
    models = [
        unspan.erase(net, one, LFSSD(alpha=1.5), check_labels=False, measure=False).model
        for one in (request, bare, wrong)
    ]
    for name, one in models[0].state_dict().items():
        assert all(torch.equal(one, other.state_dict()[name]) for other in models[1:])
    with pytest.raises(unspan.UnspanError, match="label"):
        unspan.erase(net, bare, SSD(alpha=1.5), check_labels=False, measure=False)


class Rows(torch.utils.data.Dataset):
    """Inputs without labels."""

    def __init__(self, x):
        self.x = x

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return self.x[index]


def test_the_release_squares_means_of_batches_which_shrink_with_the_batch(case):
    net, request, _ = case
    kind = by_name(spec("ssd", "ReleasedSSD"))
    assert kind.name == "ssd-released"
    context = context_of(net, request)
    one, many = (
        sum(float(part.sum()) for part in kind(batch=size).importance(context, "retain").values())
        for size in (1, 45)
    )
    single = SSD().importance(context, "retain")
    assert one == pytest.approx(sum(float(part.sum()) for part in single.values()), rel=1e-4)
    assert many < one / 5


@pytest.mark.parametrize("wrong", [{"alpha": 0}, {"dampening": -1}, {"batch": 0}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(UsageError, match="positive"):
        SSD(**wrong)
