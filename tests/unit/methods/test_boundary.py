"""Boundary Shrink finds the nearest class; Expand gives its output back."""

import pytest
import torch
from small_network import context_of, stacked
from torch.nn.functional import cross_entropy

import unspan
from unspan.methods import boundary
from unspan.training.context import accuracy_on
from unspan.training.settings import Training

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]


def test_boundary_labels_are_what_the_original_says_of_the_attacked_input_and_never_true(case):
    net, request, _ = case
    context = context_of(net, request, ("forget",))
    samples = context.samples("forget")
    x, y = stacked(request.forget)
    low, high = x.amin(0), x.amax(0)
    for eps in (0.01, 0.3):
        found, crossed = boundary.nearest_labels(context, samples, eps, 16)
        point = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(cross_entropy(net(point), y, reduction="sum"), point)
        scores = net(
            (x + eps * (high.max() - low.min()) * slope.sign()).clamp(low.min(), high.max())
        )
        assert crossed == pytest.approx(float((scores.argmax(1) != y).double().mean()))
        assert (
            torch.equal(found, scores.scatter(1, y[:, None], -torch.inf).argmax(1))
            and not (found == y).any()
        )


def test_boundary_expand_gives_the_head_its_shape_back(case):
    net, request, _ = case
    done = unspan.erase(
        net,
        request,
        boundary.Boundary(kind="expand", training=Training(lr=0.01, epochs=20, batchnorm="frozen")),
        check_labels=False,
        measure=False,
    )
    assert (
        done.model.head.weight.shape == net.head.weight.shape and done.model.head.out_features == 4
    )
    assert accuracy_on(done.model, context_of(net, request).samples("forget")) < accuracy_on(
        net, context_of(net, request).samples("forget")
    )
