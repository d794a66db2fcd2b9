"""An eraser meets features on another device than its own."""

import pytest
import torch

from unspan.erasers import Projection
from unspan.erasers.feature_map import FeatureMap

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


class Recorded(torch.Tensor):
    """A tensor on the processor that says it lies elsewhere until it is moved."""

    moves: list = []

    @property
    def device(self):
        return torch.device("meta")

    def to(self, *args, **kwargs):
        self.moves.append(args)
        return self.as_subclass(torch.Tensor)


class Answer(torch.Tensor):
    moves: list = []

    def to(self, *args, **kwargs):
        self.moves.append(args)
        return self


class Doubled(FeatureMap):
    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.tensor(2.0))

    def map_features(self, z):
        return (z * self.scale).as_subclass(Answer)


def test_features_go_to_the_eraser_and_come_back():
    made = Doubled()(torch.ones(3).as_subclass(Recorded))
    assert (torch.device("cpu"),) in Recorded.moves
    assert Answer.moves[-1] == (torch.device("meta"),)
    assert made.as_subclass(torch.Tensor).tolist() == [2, 2, 2]


@needs_cuda
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_stored_vectors_of_a_cuda_device_are_taken(dtype):
    basis = torch.linalg.qr(torch.randn(8, 2))[0]
    eraser, z = Projection(basis), torch.randn(5, 8).to(dtype)
    made = eraser(z.cuda())
    assert made.dtype == dtype
    assert made.is_cuda
    torch.testing.assert_close(made.cpu(), eraser(z))
