"""Casts of an erased head: rounding as the formats define it, and classes that come back are
reported.
"""

import numpy as np
import pytest
import torch

from unspan.erasers import Projection
from unspan.erasers.linalg import Moments, spectrum
from unspan.errors import DataError, UsageError
from unspan.metrics.casts import CASTS, cast_outputs, cast_scores, cast_weight, null_ratio
from unspan.metrics.outputs import Outputs

C, D = 10, 64


def draw(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def erased(n=1500):
    """Class clusters, the weight and bias of their head, and that weight with the first direction
    of class 4 removed.
    """
    g = torch.Generator().manual_seed(0)
    means, labels = 2 * torch.rand(C, D, generator=g), torch.randint(0, C, (n,), generator=g)
    features = (means[labels] + 0.7 * torch.randn(n, D, generator=g)).relu()
    moments = Moments(D)
    moments.update(features[labels == 4])
    u = spectrum(moments).basis[:, :1].float()
    weight, bias = 4 * means, -2 * means.square().sum(1)
    out = Outputs(features=features, logits=None, labels=labels, forget=labels == 4)
    return out, weight, bias, weight @ Projection(u).matrix(), u


@pytest.mark.parametrize(("how", "levels"), [("int8", 127), ("int4", 7)])
def test_integer_casts_have_one_scale_a_row(how, levels):
    weight = draw(1, 6, 50) * torch.logspace(-3, 3, 6)[:, None]
    cast = cast_weight(weight, how)
    step = weight.abs().amax(1, keepdim=True) / levels
    whole = (cast / step).round()
    torch.testing.assert_close(cast, whole * step, rtol=1e-6, atol=0)
    assert (
        bool(((cast - weight).abs() <= 0.5001 * step).all()) and float(whole.abs().max()) == levels
    )
    assert bool((cast_weight(torch.zeros(2, 3), how) == 0).all())


def test_float_casts_and_pruning_are_those_of_the_definitions():
    weight = draw(2, 7, 31)
    assert np.array_equal(
        cast_weight(weight, "f16").numpy(), weight.numpy().astype(np.float16).astype(np.float32)
    )
    assert float(((cast_weight(weight, "bf16") - weight) / weight).abs().max()) <= 2**-8
    pruned = cast_weight(weight, "prune50")
    assert int((pruned == 0).sum()) == weight.numel() // 2
    assert float(weight[pruned == 0].abs().max()) <= float(pruned[pruned != 0].abs().min())
    with pytest.raises(UsageError, match="bf16, f16"):
        cast_weight(weight, "fp3")


def test_the_head_is_applied_as_a_linear_layer():
    out, weight, bias, *_ = erased(200)
    torch.testing.assert_close(
        cast_outputs(out, weight, bias, None).logits,
        torch.nn.functional.linear(out.features, weight, bias),
    )
    linear = torch.nn.functional.linear
    for how in ("int8", "int4", "prune50"):
        torch.testing.assert_close(
            cast_outputs(out, weight, bias, how).logits,
            linear(out.features, cast_weight(weight, how), bias),
        )
    for how, kind in (("bf16", torch.bfloat16), ("f16", torch.float16)):
        exact = (
            linear(out.features.to(kind).double(), weight.to(kind).double(), bias.to(kind).double())
            .to(kind)
            .float()
        )
        torch.testing.assert_close(
            cast_outputs(out, weight, bias, how).logits,
            exact,
            rtol=2 * torch.finfo(kind).eps,
            atol=2e-3,
        )
    with pytest.raises(DataError, match="does not fit"):
        cast_outputs(out, weight[:, 1:], bias, None)


def test_casts_of_an_erased_head_do_not_bring_the_class_back():
    out, weight, bias, edited, u = erased()
    assert cast_scores(out, weight, bias, "test")[0].value > 0.8
    found = {score.name.split(", ")[1]: score for score in cast_scores(out, edited, bias, "test")}
    assert set(found) == set(CASTS)
    for how in ("bf16", "f16", "int8"):
        assert found[how].detail["passes"] and found[how].detail["inside"], how
        assert null_ratio(weight, edited, u, how).detail["passes"], how
    assert null_ratio(weight, edited, u, None).value < 1e-5
    ratios = [null_ratio(weight, edited, u, how).value for how in ("f16", "bf16", "int8", "int4")]
    assert ratios == sorted(ratios)


def test_a_cast_that_brings_the_class_back_is_reported():
    """A class suppressed by differences smaller than the grid of int4 wins again after the cast."""
    features = torch.ones(100, 4)
    out = Outputs(
        features=features,
        logits=None,
        labels=torch.zeros(100, dtype=torch.long),
        forget=torch.ones(100, dtype=torch.bool),
    )
    weight = torch.tensor([[7.0, 2.6, 2.6, 2.6], [7.0, 3.3, 3.3, 2.4]])
    found = {
        score.name.split(", ")[1]: score
        for score in cast_scores(out, weight, torch.tensor([0.0, -0.5]), "test")
    }
    assert found["f16"].value == 0 and found["f16"].detail["passes"]
    assert (
        found["int4"].value == 1
        and not found["int4"].detail["passes"]
        and not found["int4"].detail["inside"]
    )


def test_overflow_is_not_a_forgotten_class():
    out, weight, bias, edited, _ = erased(200)
    big = Outputs(features=out.features * 1e6, logits=None, labels=out.labels, forget=out.forget)
    found = {score.name.split(", ")[1]: score for score in cast_scores(big, edited, bias, "test")}
    assert (
        found["f16"].value is None
        and "overflow f16" in found["f16"].note
        and found["bf16"].value is not None
    )


def test_inputs_are_not_written_to_and_an_unread_direction_has_no_ratio():
    out, weight, bias, edited, u = erased(200)
    kept = (out.features.clone(), edited.clone())
    cast_scores(out, edited, bias, "test")
    assert torch.equal(out.features, kept[0]) and torch.equal(edited, kept[1])
    with pytest.raises(DataError, match="no base"):
        null_ratio(torch.zeros(C, D), edited, u, "int8")
