"""Fisher forgetting: the information of the definition, and noise by it."""

import pytest
import torch
from small_network import context_of

import unspan
from unspan.methods import fisher

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]


def test_fisher_information_is_that_of_the_definition(case):
    net, request, _ = case
    context = context_of(net, request, ("retain",))
    found = fisher.fisher_information(context, torch.arange(10), None)
    want = {name: torch.zeros_like(one) for name, one in net.named_parameters()}
    for i in range(10):
        logs = net(request.retain[i][0][None]).log_softmax(1)[0]
        for log in logs:
            for (name, _), grad in zip(
                net.named_parameters(),
                torch.autograd.grad(log, list(net.parameters()), retain_graph=True),
                strict=True,
            ):
                want[name] += log.exp().detach() * grad.square() / 10
    assert all(torch.allclose(found[name], want[name], rtol=1e-4, atol=1e-8) for name in want)


def test_fisher_noise_is_larger_where_the_information_is_small_and_resets_the_forgotten_row(case):
    net, request, _ = case
    little, much = (
        fisher.noise_variance(torch.full((3, 4), value), 1e-3, False) for value in (0.1, 10.0)
    )
    assert (little > much).all()
    assert torch.equal(
        fisher.noise_variance(torch.zeros(2, 2), 1.0, False), torch.full((2, 2), 1e3)
    )
    assert torch.equal(
        fisher.noise_variance(torch.zeros(2, 2), 1.0, True), torch.full((2, 2), 1e3)
    )  # cap 1e2, times 10
    rows = torch.stack(
        [
            unspan.erase(
                net,
                request,
                fisher.Fisher(alpha=1e-12),
                unspan.Run(seed=seed),
                check_labels=False,
                measure=False,
            ).model.head.weight.detach()[2]
            for seed in range(40)
        ]
    )
    assert float(rows.mean().abs()) < 0.006 and 0.028 < float(rows.std()) < 0.036  # variance 1e-3
    kept = unspan.erase(
        net, request, fisher.Fisher(alpha=1e-12), check_labels=False, measure=False
    ).model.head.weight[[0, 1, 3]]
    assert torch.allclose(kept, net.head.weight[[0, 1, 3]], atol=1e-3)
