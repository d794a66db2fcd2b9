"""Movement under noise: equal to its formula, blind to scale, and found where it was planted."""

import pytest
import torch
from torch import nn

from unspan.errors import DataError, UsageError
from unspan.metrics.stability import disturbed, instability, movement_gain


def draw(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_gain_is_the_moved_share_and_does_not_depend_on_scale():
    clean = torch.tensor([[3.0, 4.0], [0.0, 0.0], [0.0, 0.0]])
    noisy = torch.tensor([[3.0, 4.5], [0.0, 0.0], [1.0, 0.0]])
    assert movement_gain(clean, noisy).tolist() == [pytest.approx(0.1), 0.0, float("inf")]
    a, b = draw(1, 20, 5), draw(2, 20, 5)
    scale = 0.1 + torch.rand(20, 1)
    torch.testing.assert_close(
        movement_gain(scale * a, scale * b), movement_gain(a, b), rtol=1e-5, atol=1e-7
    )


def test_planted_instability_is_found_and_equal_movement_is_not():
    clean, forget = draw(1, 600, 16), torch.arange(600) < 200
    noise = 0.01 * draw(2, 600, 16)
    quiet, loud = (
        instability(clean, clean + noise, forget),
        instability(clean, clean + noise * torch.where(forget, 2.0, 1.0)[:, None], forget),
    )
    assert quiet.interval()[0] <= 0.5 <= quiet.interval()[1] and loud.interval()[0] > 0.8
    calm = instability(clean, clean + noise * torch.where(forget, 0.5, 1.0)[:, None], forget)
    assert calm.value < 0.2 and calm.detail["either_way"] == pytest.approx(1 - calm.value)
    assert calm.detail["median_gain"]["forget"] < calm.detail["median_gain"]["rest"]


def test_disturbance_has_the_stated_size_and_repeats_for_every_batch_size():
    inputs = 5 * draw(1, 300, 3, 8, 8)
    kept, state = inputs.clone(), torch.random.get_rng_state()
    clean, noisy = disturbed(nn.Identity().eval(), inputs, noise=0.02)
    assert torch.equal(clean, inputs.flatten(1)) and float((noisy - clean).std()) == pytest.approx(
        0.02 * float(inputs.std()), rel=0.01
    )
    again = disturbed(nn.Identity().eval(), inputs, noise=0.02, batch=256)
    assert torch.equal(noisy, again[1]) and not torch.equal(
        noisy, disturbed(nn.Identity().eval(), inputs, noise=0.02, seed=1)[1]
    )
    assert torch.equal(inputs, kept) and torch.equal(state, torch.random.get_rng_state())


def test_batch_size_does_not_change_the_noise():
    inputs = draw(1, 70, 3, 4)
    found = [disturbed(nn.Identity().eval(), inputs, batch=batch)[1] for batch in (1, 7, 32, 70)]
    assert all(torch.equal(found[0], other) for other in found[1:])


def test_noise_from_dropout_is_refused():
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout())
    with pytest.raises(UsageError, match="training mode"):
        disturbed(model, draw(1, 5, 4))
    assert torch.equal(*[disturbed(model.eval(), draw(1, 5, 4), noise=1e-30)[i] for i in (0, 1)])
    with pytest.raises(UsageError, match="noise > 0"):
        disturbed(model, draw(1, 5, 4), noise=0.0)


def test_bad_values_are_refused():
    with pytest.raises(DataError, match="same inputs"):
        movement_gain(draw(1, 4, 2), draw(1, 3, 2))
    with pytest.raises(DataError, match="NaN"):
        movement_gain(draw(1, 4, 2), draw(1, 4, 2) * torch.nan)
    with pytest.raises(DataError, match="one kind"):
        instability(draw(1, 4, 2), draw(2, 4, 2), torch.ones(4, dtype=torch.bool))
