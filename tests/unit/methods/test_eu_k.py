"""EU-k draws the last layers anew, trains them, and touches nothing else."""

import copy
from dataclasses import replace

import pytest
import torch
from small_network import ONE, Deep, Forbidden, changed_of

import unspan
from unspan.errors import UsageError
from unspan.methods.eu_k import EUk
from unspan.methods.retrain import Retrain
from unspan.training.settings import Training

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]
SHORT = Training(lr=0.05, epochs=2, batch=32)


def erased(net, request, k, training=SHORT):
    method = EUk(k=k, training=training)
    return unspan.erase(net, request, method, check_labels=False, measure=False).model


@pytest.mark.parametrize("k", [1, 2])
def test_below_the_cut_everything_stays_to_the_bit_and_above_it_all_is_drawn(case, k):
    net = Deep()
    with torch.no_grad():
        net(torch.randn(64, 8))  # running statistics of their own, in training mode
    net.eval()
    changed = changed_of(net, erased(net, case[1], k))
    above = {"head"} if k == 1 else {"second", "after", "head"}
    mine = {name for name in net.state_dict() if name.split(".")[0] in above}
    assert changed == mine


def test_the_result_owes_nothing_to_what_the_reset_layers_were(case):
    net = Deep().eval()
    other = copy.deepcopy(net)
    with torch.no_grad():
        for module in (other.second, other.after, other.head):
            for one in module.parameters():
                one.add_(torch.randn_like(one))
        other.after.running_mean.add_(5)
        other.after.running_var.mul_(9)
        other.after.num_batches_tracked.add_(7)
    one, two = (erased(start, case[1], 2) for start in (net, other))
    assert not changed_of(one, two)


@pytest.mark.parametrize("k", [3, 99])
def test_all_layers_are_a_retraining(case, k):
    net = Deep().eval()
    retrained = unspan.erase(
        net, case[1], Retrain(training=SHORT), check_labels=False, measure=False
    ).model
    assert not changed_of(retrained, erased(net, case[1], k))
    assert changed_of(retrained, erased(net, case[1], 2))


def test_the_forget_samples_are_never_read_by_the_method(case):
    from small_network import context_of

    context = context_of(Deep().eval(), case[1], ("forget", "retain"))
    context.parts["forget"] = Forbidden(10)
    assert "forget" not in EUk().needs
    del context.parts["forget"]  # as the library does for what a method does not declare
    EUk(k=2, training=SHORT).unlearn(context)


@pytest.mark.parametrize("frozen", ["weights", "statistics"])
def test_a_frozen_layer_above_the_cut_is_refused(case, frozen):
    net = Deep().eval()
    if frozen == "weights":
        net.second.requires_grad_(False)
    else:
        net.after.requires_grad_(False)
    with pytest.raises(UsageError, match="frozen"):
        erased(net, case[1], 2, replace(ONE))
    erased(net, case[1], 1, replace(ONE))


def test_a_k_below_one_is_refused():
    with pytest.raises(UsageError, match="at least one"):
        EUk(k=0)
