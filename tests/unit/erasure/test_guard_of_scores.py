"""A classifier whose scores come from no linear layer, under methods that change weights."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, normalize
from torch.utils.data import TensorDataset
from typer.testing import CliRunner

import unspan
from unspan.artifact.card import how
from unspan.cli import app
from unspan.errors import UsageError
from unspan.methods import POURD, POURP, Finetune
from unspan.models import build
from unspan.training.settings import Training

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]

CODE = """
import torch
from torch import nn
from torch.nn.functional import normalize
from torch.utils.data import TensorDataset

class Cosine(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(8, 16)
        self.rows = nn.Parameter(torch.randn(4, 16, generator=torch.Generator().manual_seed(0)))

    def forward(self, x):
        return 10 * normalize(torch.relu(self.body(x)), dim=1) @ normalize(self.rows, dim=1).mT

def data(split="train"):
    g = torch.Generator().manual_seed(0)
    centres = 3 * torch.randn(4, 8, generator=g)
    y = torch.arange(240) % 4
    return TensorDataset(centres[y] + torch.randn(240, 8, generator=g), y)
"""


@pytest.fixture(scope="module")
def cosine():
    made: dict = {}
    exec(CODE, made)
    torch.manual_seed(0)
    net, (x, y) = made["Cosine"](), made["data"]().tensors
    adam = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(100):
        adam.zero_grad()
        cross_entropy(net(x), y).backward()
        adam.step()
    return net.eval(), TensorDataset(x, y)


IDLE = Finetune(training=Training(lr=1e-9, epochs=1))


@pytest.mark.parametrize("leaves_out", [None, 3])
def test_a_class_that_is_named_as_before_is_refused_as_with_a_linear_head(cosine, leaves_out):
    net, data = cosine
    if leaves_out is not None:  # the labels count fewer classes than there are outputs
        x, y = data.tensors
        data = TensorDataset(x[y != leaves_out], y[y != leaves_out])
    done = unspan.erase(net, unspan.Request.by_class(data, 2), IDLE)
    assert done.receipt["status"] == "inconclusive"
    assert "class 2 is still named" in done.receipt["warnings"][0]
    assert "chance is 25.0%" in done.receipt["warnings"][0]
    told = [line for line in done.receipt["warnings"] if "taken for class scores" in line]
    assert len(told) == 1 and "--feature-layer output" in told[0]


def test_single_samples_are_compared_by_the_answers(cosine):
    net, data = cosine
    done = unspan.erase(net, unspan.Request.by_index(data, range(24)), IDLE)
    assert {row["measure"] for row in done.receipt["evaluation"]} == {"accuracy"}


def test_the_output_stays_an_embedding_where_the_user_says_so(cosine):
    net, data = cosine
    request = unspan.Request.by_class(data, 2)
    done = unspan.erase(net, request, IDLE, feature_layer="output")
    assert {row["measure"] for row in done.receipt["evaluation"]} == {"rank-1"}


def test_an_embedding_is_not_taken_for_scores(cosine):
    class Embedding(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Linear(8, 12)

        def forward(self, x):
            return normalize(torch.tanh(self.body(x)), dim=1)

    done = unspan.erase(
        Embedding(),
        unspan.Request.by_class(cosine[1], 2),
        POURD(direction="means", training=IDLE.training),
    )
    assert {row["measure"] for row in done.receipt["evaluation"]} == {"rank-1"}


def test_a_map_on_features_is_refused_with_what_to_do(cosine):
    net, data = cosine
    with pytest.raises(UsageError, match="method that changes weights"):
        unspan.erase(net, unspan.Request.by_class(data, 2), unspan.ESC(rank=1))


def test_the_command_does_not_take_the_last_layer_for_the_classes(cosine, tmp_path, monkeypatch):
    from safetensors.torch import save_file

    (tmp_path / "cosine_net.py").write_text(CODE)
    save_file(cosine[0].state_dict(), tmp_path / "w.safetensors")
    monkeypatch.chdir(tmp_path)
    words = "erase --model python:cosine_net.py:Cosine --weights w.safetensors --forget 2 --out out"
    words += " --data python:cosine_net.py:data --method ssd"
    refused = CliRunner().invoke(app, [*words.split(), "--set", "alpha=3.9"])
    assert getattr(refused.exception, "exit_code", 0) == 7, refused.output
    built = build("python:cosine_net.py:Cosine", weights=tmp_path / "w.safetensors")
    assert built.notices == []


def test_weights_that_are_edited_are_no_affine_map(digits_net, digits_request):
    done = unspan.erase(digits_net, digits_request, POURP(), measure=False)
    assert how(done.receipt) == "weights edited in place"
