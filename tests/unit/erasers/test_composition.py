"""Erasers of several requests, and erasers from stored buffers."""

import pytest
import torch

from unspan.erasers import (
    Chain,
    LinearMap,
    LogitMarginEraser,
    Projection,
    compose,
    from_buffers,
    kind_of,
    placed,
)
from unspan.errors import ModelError


def test_chains_and_affine_erasers_compose():
    line, plane = LinearMap(2 * torch.eye(3)), Projection(torch.eye(3)[:, :1])
    margins = LogitMarginEraser(
        forgotten=torch.zeros(1, 4),
        others=torch.eye(4)[:2],
        assignment=torch.eye(4)[:2],
        class_features=torch.ones(2, 3),
        base=torch.zeros(3),
    )
    assert isinstance(compose(line, plane), LinearMap)
    chain = compose(compose(line, margins), compose(plane, margins))
    assert kind_of(chain) == "map+logit-margin+projection+logit-margin"
    z = torch.randn(5, 3)
    assert torch.allclose(placed(chain, "last", z)(z), margins(plane(margins(line(z)))))
    with pytest.raises(ModelError, match="feature map"):
        placed(margins, "channels", z)(torch.zeros(2, 3, 4, 4))


def test_an_eraser_of_unknown_kind_or_with_other_buffers_is_refused():
    for kind, buffers in (
        ("narrow", {"decode": torch.eye(3)}),
        ("logit-margin", {"decode": torch.eye(3)}),
        ("resampler", {"books": torch.eye(3)}),
        ("map+map", {"0.map": torch.eye(3)}),
    ):
        with pytest.raises(ModelError, match="Erase again from the original"):
            from_buffers(kind, buffers)


@pytest.mark.parametrize("first", [None, torch.ones(3)])
@pytest.mark.parametrize("then", [None, torch.arange(3.0)])
def test_offsets_of_affine_maps_compose(first, then):
    generator = torch.Generator().manual_seed(0)
    one = LinearMap(torch.randn(3, 3, generator=generator), offset=first)
    two = LinearMap(torch.randn(3, 3, generator=generator), offset=then)
    z = torch.randn(5, 3, generator=generator)
    both = compose(one, two)
    assert torch.allclose(both.float()(z), two(one(z)), atol=1e-5)
    assert (both.offset is None) == (first is None and then is None)
    assert isinstance(compose(Chain(one), two), Chain)
