"""CF-k trains the last layers."""

from dataclasses import replace

import pytest
from small_network import ONE, Deep, changed_of

import unspan
from unspan.methods.cf_k import CFk

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]


@pytest.mark.parametrize("batchnorm", ["frozen", "train"])
def test_cf_k_trains_the_last_layers_only(case, batchnorm):
    request = case[1]
    net = Deep()
    training = replace(ONE, momentum=0.9, batchnorm=batchnorm)
    done = unspan.erase(net, request, CFk(k=2, training=training), check_labels=False)
    changed = changed_of(net, done.model)
    assert {name.split(".")[0] for name in changed} == {"second", "after", "head"}
    assert ("after.running_mean" in changed) == (batchnorm == "train")
    assert all(one.grad is None and one.requires_grad for one in done.model.parameters())
