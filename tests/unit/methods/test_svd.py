"""SVD removes what retained activations do not share."""

import pytest
import torch
from torch import nn

from unspan.methods import svd

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]


def test_svd_removes_what_retained_activations_do_not_share():
    torch.manual_seed(0)
    basis = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64))[0]
    own, shared = basis[:, :2], basis[:, 2:4]
    forget = own @ own.mT + shared @ shared.mT
    retain = shared @ shared.mT + basis[:, 4:] @ basis[:, 4:].mT
    keep = svd.removal(forget, retain, 1e9, 1e9)
    assert float((keep @ own).abs().max()) < 1e-6 and torch.allclose(
        keep @ basis[:, 2:], basis[:, 2:], atol=1e-6
    )
    values = torch.tensor([9.0, 1.0, 0.0], dtype=torch.float64)
    p = svd.importance(torch.diag(values), 3.0)
    r = values / 10
    assert torch.allclose(p, torch.diag(3 * r / (2 * r + 1)))


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 6, 3, 2, 1),
        nn.Conv2d(4, 6, 3, groups=2, dilation=2),
        nn.Conv2d(4, 2, (1, 3), padding=(0, 1), padding_mode="circular"),
        nn.Linear(5, 3),
    ],
    ids=["stride", "groups", "circular", "linear"],
)
def test_svd_sees_what_a_layer_multiplies(layer):
    x = torch.randn(3, 4, 9, 5) if isinstance(layer, nn.Conv2d) else torch.randn(3, 7, 5)
    with torch.no_grad():
        want = layer(x)
        rows = svd.activations(layer, x)
        weights = layer.weight.flatten(1).chunk(len(rows))
        got = (
            torch.cat([part @ weight.mT for part, weight in zip(rows, weights, strict=True)], 1)
            + layer.bias
        )
        want = (
            want.flatten(2).mT.flatten(0, 1) if isinstance(layer, nn.Conv2d) else want.flatten(0, 1)
        )
        assert torch.allclose(got, want, atol=1e-5)
