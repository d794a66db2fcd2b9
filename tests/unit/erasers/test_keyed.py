"""The key of a request: another key or method makes other choices, and 32 bits of it count."""

import torch

from unspan.erasers import keyed
from unspan.erasers.keyed import keyed_generator


def test_the_key_and_the_method_decide_the_choices():
    draws = {
        torch.rand(4, generator=keyed_generator(key, method))
        for key, method in ((b"a", "redraw"), (b"b", "redraw"), (b"a", "resample"))
    }
    drawn = torch.stack(list(draws))
    again = torch.rand(4, generator=keyed_generator(b"a", "redraw"))
    assert len(drawn.unique(dim=0)) == 3 and bool((drawn == again).all(1).any())


def test_who_tries_32_bits_finds_the_choices_and_the_module_says_so():
    """Left open: seeds that agree in 32 bits draw the same."""
    seeds = 12345, 12345 + 7 * 2**32
    one, other = (torch.rand(4, generator=torch.Generator().manual_seed(seed)) for seed in seeds)
    assert torch.equal(one, other)
    assert "takes 32 bits of it" in keyed.__doc__
