"""POUR-P takes the direction of the class out of the head, and leaves the features."""

import pytest
import torch
from small_network import changed_of, context_of, stacked

import unspan
from unspan.errors import UsageError
from unspan.methods.pour_p import POURP, complement

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]


def erased(net, request):
    return unspan.erase(net, request, POURP(), check_labels=False, measure=False).model


@pytest.mark.parametrize("classes", [4, 10])
def test_a_simplex_without_a_row_is_a_simplex_of_the_others(classes):
    eye = torch.eye(classes, dtype=torch.float64)
    rows = eye - 1 / classes
    kept = torch.nn.functional.normalize((rows @ complement(rows[:1]))[1:], dim=1)
    cosines = kept @ kept.mT
    apart = cosines[~torch.eye(classes - 1, dtype=torch.bool)]
    assert torch.allclose(apart, torch.full_like(apart, -1 / (classes - 2)))


def test_the_score_of_the_class_is_zero_and_the_other_rows_are_orthogonal_to_its_own(case):
    net, request, data = case
    new = erased(net, request)
    assert changed_of(net, new) == {"head.weight", "head.bias"}
    with torch.no_grad():
        assert not new(stacked(data)[0])[:, 2].any()
        inner = new.head.weight.double() @ net.head.weight[2].double()
    assert float(inner.abs().max()) < 1e-6
    assert torch.equal(new.head.bias[[0, 1, 3]], net.head.bias[[0, 1, 3]])


def test_the_length_of_the_row_does_not_matter(case):
    net, request, data = case
    first = erased(net, request)
    with torch.no_grad():
        net.head.weight[2] *= 7
    x = stacked(data)[0]
    assert torch.allclose(first(x), erased(net, request)(x), atol=1e-5)


def test_several_classes_go_together_also_where_their_rows_are_dependent(case):
    net, _, data = case
    with torch.no_grad():
        net.head.weight[3] = -2 * net.head.weight[1]
    request = unspan.Request.by_class(data, [1, 2, 3])
    done = unspan.erase(net, request, POURP(), check_labels=False, measure=False)
    assert done.receipt["method"]["fit"]["directions"] == 2
    assert not done.model.head.weight[[1, 2, 3]].any() and not done.model.head.bias[[1, 2, 3]].any()
    inner = done.model.head.weight[0].double() @ net.head.weight[[1, 2, 3]].double().mT
    assert float(inner.abs().max()) < 1e-5
    plane = torch.linalg.qr(net.head.weight[[1, 2]].double().mT)[0]
    want = net.head.weight[0].double() @ (torch.eye(6) - plane @ plane.mT)
    assert torch.allclose(done.model.head.weight[0].double(), want, atol=1e-6)


def test_no_data_count_as_used_and_none_are_given(case):
    net, request, _ = case
    done = unspan.erase(net, request, POURP(), check_labels=False, measure=False)
    assert POURP().needs == frozenset()
    assert done.receipt["method"]["fit"]["forget_used"] == 0


def test_a_request_without_a_class_is_refused(case):
    net, request, _ = case
    bare = unspan.Request(forget=request.forget, retain=request.retain)
    with pytest.raises(UsageError, match="no class"):
        unspan.erase(net, bare, POURP(), check_labels=False, measure=False)
    context = context_of(net, request)
    object.__setattr__(context, "forgotten", ())
    with pytest.raises(UsageError, match="no class"):
        POURP().unlearn(context)
