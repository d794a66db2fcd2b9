"""DAMP stops layers from reading what only the forgotten class has, and changes nothing else."""

import pytest
import torch
from small_network import Net, context_of, stacked
from torch import nn
from torch.utils.data import TensorDataset

import unspan
from unspan.errors import DataError, UsageError
from unspan.extraction import eval_mode
from unspan.methods import damp
from unspan.methods.baking.layers import pooled_inputs
from unspan.methods.damp import DAMP, directions, remove, separation, stage_layers, strength

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]
NEEDS = ("forget", "retain")


def means(net, request, layer):
    """Mean input of a layer on each class, `[C, d]` float64."""
    x, y = (torch.cat(pair) for pair in zip(*map(stacked, (request.forget, request.retain))))
    with pooled_inputs(net, [layer]) as seen, eval_mode(net):
        net(x)
    return torch.stack([seen[layer][y == one].double().mean(0) for one in range(4)])


def test_at_full_strength_retained_means_are_read_as_before_and_the_direction_not_at_all(case):
    net, request, _ = case
    context = context_of(net, request, NEEDS)
    DAMP(alpha=1.0).unlearn(context)
    found = means(net, request, "head")
    old, new = (one.head.weight.double() for one in (net, context.model))
    kept = torch.tensor([0, 1, 3])
    assert torch.allclose(found[kept] @ new.mT, found[kept] @ old.mT, atol=1e-5)
    basis, _ = directions(found[[2]], found[kept])
    assert float((new @ basis).abs().max()) < 1e-6 < 1e-2 < float((old @ basis).abs().max())
    assert torch.equal(net.head.bias, context.model.head.bias)
    assert torch.equal(net.first.weight, context.model.first.weight)  # it reads the raw input


def test_every_stage_sees_the_original_and_biases_stay(digits_net, digits_request):
    done = unspan.erase(
        digits_net, digits_request, DAMP(alpha=1.0), check_labels=False, measure=False
    )
    alone = unspan.erase(
        digits_net, digits_request, DAMP(stages=1, alpha=1.0), check_labels=False, measure=False
    )
    stages = done.receipt["method"]["fit"]["stages"]
    assert len(stages) > 1
    last = f"{stages[-1]['layer']}.weight"
    old, new, other = (one.state_dict() for one in (digits_net, done.model, alone.model))
    assert torch.equal(new[last], other[last])  # whatever was edited before it
    edited = {f"{one['layer']}.weight" for one in stages}
    assert {key for key in old if not torch.equal(old[key], new[key])} == edited


def test_a_convolution_loses_the_direction_at_every_tap():
    torch.manual_seed(0)
    layer = nn.Conv2d(6, 4, 3)
    basis = torch.linalg.qr(torch.randn(6, 2, dtype=torch.float64))[0]
    before = layer.weight.detach().clone()
    remove(layer, basis, 0.5)
    want = before.double() - 0.5 * torch.einsum("oixy,ik,jk->ojxy", before.double(), basis, basis)
    assert torch.allclose(layer.weight.double(), want, atol=1e-6)


@pytest.mark.parametrize("accuracy", [0.5, 0.3])
def test_a_probe_that_only_guesses_edits_nothing(case, monkeypatch, accuracy):
    net, request, _ = case
    context = context_of(net, request, NEEDS)
    monkeypatch.setattr(damp, "separation", lambda *_: accuracy)
    outcome = DAMP().unlearn(context)
    assert "changed no weight" in outcome.warnings[-1]
    before, after = net.state_dict(), context.model.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_the_probe_is_judged_on_samples_that_it_was_not_fitted_on(case):
    net, request, _ = case
    forget = torch.arange(80) < 40
    noise = torch.randn(80, 200, generator=torch.Generator().manual_seed(0))
    found = separation(noise, forget, context_of(net, request, NEEDS))
    assert found < 0.8  # on its own 64 samples, with 200 inputs, it is always right


def test_the_strength_is_that_of_the_probe_and_of_the_depth(digits_net, digits_request):
    done = unspan.erase(digits_net, digits_request, DAMP(), check_labels=False, measure=False)
    stages = done.receipt["method"]["fit"]["stages"]
    for place, row in enumerate(stages, 1):
        assert row["alpha"] == pytest.approx(strength(row["probe"]) * place / len(stages))
    assert stages[-1]["alpha"] > 0.9


def test_what_retained_classes_share_does_not_move_the_direction():
    g = torch.Generator().manual_seed(0)
    forget, retain = (torch.randn(n, 12, generator=g, dtype=torch.float64) for n in (1, 5))
    basis, _ = directions(forget, retain)
    moved, _ = directions(forget + torch.randn(1, 5, generator=g).double() @ retain, retain)
    assert torch.allclose(basis @ basis.mT, moved @ moved.mT, atol=1e-9)
    assert basis.shape == (12, 1) and float((retain @ basis).abs().max()) < 1e-9


def test_directions_that_depend_on_each_other_are_removed_once():
    g = torch.Generator().manual_seed(1)
    retain, one = (torch.randn(n, 9, generator=g, dtype=torch.float64) for n in (3, 1))
    basis, _ = directions(torch.cat([one, 2 * one + retain[:1]]), retain)
    assert basis.shape[1] == 1
    assert directions(torch.randn(2, 9, generator=g).double(), retain)[0].shape[1] == 2


def test_a_stage_whose_channels_are_spanned_is_left_alone_with_a_warning():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 3), nn.ReLU(), nn.Linear(3, 4)).eval()
    x, y = torch.randn(80, 8), torch.arange(80) % 4  # 3 retained means, 3 channels
    request = unspan.Request.by_class(TensorDataset(x, y), 2)
    context = context_of(net, request, NEEDS)
    outcome = DAMP(alpha=1.0).unlearn(context)
    row = outcome.report["stages"][0]
    assert row["alpha"] == 0 and row["relative_residual"] < 1e-6
    assert any("'2'" in line and "span" in line for line in outcome.warnings)
    assert torch.equal(context.model[2].weight, net[2].weight)


def test_stages_are_the_last_layers_of_equal_parts():
    plain = nn.Sequential(*[nn.Linear(4, 4) for _ in range(8)])
    x = torch.randn(2, 4)
    assert stage_layers(plain, x, 3) == ["2", "4", "7"]
    assert stage_layers(plain, x, 1) == ["7"]
    assert stage_layers(plain, x, 50) == [str(place) for place in range(1, 8)]


def test_grouped_and_frozen_layers_are_left_out():
    net = nn.Sequential(
        nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1, groups=2), nn.Conv2d(4, 4, 1), nn.Flatten()
    ).append(nn.Linear(4, 3))
    assert stage_layers(net, torch.randn(2, 4, 1, 1), 5) == ["2", "4"]
    net[4].requires_grad_(False)
    assert stage_layers(net, torch.randn(2, 4, 1, 1), 5) == ["2"]
    with pytest.raises(UsageError, match="none that may change"):
        stage_layers(net[:2], torch.randn(2, 4, 1, 1), 5)


@pytest.mark.parametrize(
    ("layer", "shape", "axis"),
    [
        (nn.Conv1d(5, 2, 1), (3, 5, 7), 1),
        (nn.Conv2d(5, 2, 1), (3, 5, 7, 4), 1),
        (nn.Linear(5, 2), (3, 7, 5), 2),
        (nn.Linear(5, 2), (3, 7, 4, 5), 3),
        (nn.Linear(5, 2), (3, 5), 1),
    ],
    ids=["conv1d", "conv2d", "tokens", "windows", "vector"],
)
def test_inputs_are_averaged_over_all_but_samples_and_channels(layer, shape, axis):
    x = torch.randn(shape)
    net = nn.Sequential(layer)
    with pooled_inputs(net, ["0"]) as seen:
        net(x)
    others = [place for place in range(1, x.ndim) if place != axis]
    assert torch.allclose(seen["0"], x.mean(others) if others else x, atol=1e-6)


def test_one_sample_of_a_kind_is_too_few_to_probe(case):
    net, _, data = case
    with pytest.raises(DataError, match="2 samples or more"):
        DAMP().unlearn(context_of(net, unspan.Request.by_index(data, [3]), NEEDS))


@pytest.mark.parametrize("wrong", [{"stages": 0}, {"alpha": 1.5}, {"alpha": -0.1}, {"batch": 0}])
def test_settings_that_are_impossible_are_refused(wrong):
    with pytest.raises(UsageError):
        DAMP(**wrong)


def test_the_network_of_the_tests_has_one_stage():
    assert stage_layers(Net().eval(), torch.randn(2, 8), 5) == ["head"]
