"""A model whose weights are shared out over processes is refused, and gathered weights are not."""

import pytest
import torch
import torch.distributed
from process_group import results
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.utils.data import TensorDataset

import unspan
from unspan.extraction import statistics

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

KINDS = ("fully_shard", "fully_shard, after a pass", "fully_shard of a part", "FSDP")
USES = ("erase", "erase by default", "audit", "statistics")
SCENARIOS = {kind: {"world": 2, "kind": kind} for kind in KINDS}


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)).eval()


def sharded(kind):
    """A network of which every process holds a part."""
    net = network()
    if kind == "FSDP":
        return FullyShardedDataParallel(net, device_id=torch.device("cpu"))
    mesh = init_device_mesh("cpu", (torch.distributed.get_world_size(),))
    if kind == "fully_shard of a part":
        fully_shard(net[0], mesh=mesh)
        return net
    fully_shard(net, mesh=mesh)
    if kind == "fully_shard, after a pass":  # then the weights are whole, until they are not
        net(torch.randn(2, 8))
    return net


def used(use, model, data):
    request = unspan.Request.by_class(data, 1)
    if use == "erase":
        return unspan.erase(model, request, unspan.ESC(rank=1), check_labels=False)
    if use == "erase by default":
        return unspan.erase(model, request, check_labels=False)
    if use == "audit":
        return unspan.audit(network(), model, request)
    return statistics.of_model(model, data, unspan.Run())


def work(settings, rank):
    """How every use of a sharded model ends, and what its gathered weights give."""
    torch.distributed.init_process_group("gloo")
    data = TensorDataset(torch.randn(60, 8), torch.arange(60) % 4)
    said = {}
    model = sharded(settings["kind"])
    for use in USES:
        try:
            used(use, model, data)
            said[use] = "passed"
        except unspan.UnspanError as error:
            said[use] = f"{type(error).__name__}: {error}"
    gathered = network()
    with torch.no_grad():
        for weight in gathered.parameters():
            weight.zero_()
    whole = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True))
    gathered.load_state_dict(whole)
    done = used("erase", gathered, data)
    alone = used("erase", network(), data)
    hashes = [one.receipt["model"]["sha256_after"] for one in (done, alone)]
    torch.distributed.destroy_process_group()
    return {"said": said, "same": hashes[0] == hashes[1]}


@pytest.fixture(scope="module")
def said():
    return results(__file__, SCENARIOS)


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_sharded_model_is_refused_with_what_to_do(said, kind, use):
    for process in said[kind]:
        assert "crash" not in process, process
        text = process["said"][use]
        assert text.startswith("ModelError") and "Gather the full state dict" in text, text


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_message_says_works(said, kind):
    assert [process["same"] for process in said[kind]] == [True, True]
