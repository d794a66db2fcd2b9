"""What the tests of the methods share."""

import pytest
import torch
from small_network import Net
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

import unspan


@pytest.fixture
def case():
    """A trained network, and data of four classes of which 2 is to be forgotten."""
    g = torch.Generator().manual_seed(0)
    centres = 2 * torch.randn(4, 8, generator=g)
    y = torch.arange(240) % 4
    x = centres[y] + torch.randn(240, 8, generator=g)
    torch.manual_seed(0)
    net = Net()
    adam = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(60):
        adam.zero_grad()
        cross_entropy(net(x), y).backward()
        adam.step()
    return net.eval(), unspan.Request.by_class(TensorDataset(x, y), 2), TensorDataset(x, y)
