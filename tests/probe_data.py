"""Planted data for the tests of the probes: Gaussian classes whose separation is known."""

import torch

from unspan.metrics.outputs import Outputs


def planted(seed=0, n=1200, d=12, classes=5, gap=4.0, forget=1, shrink=1.0, permute=False):
    """Fit and test outputs; the features of the forget class are multiplied by `shrink` after a
    common offset.
    """
    generator = torch.Generator().manual_seed(seed)
    centres = gap * torch.linalg.qr(torch.randn(d, d, generator=generator))[0][:classes] + 1.0
    found = []
    for size in (n, n // 2):
        labels = torch.randint(classes, (size,), generator=generator)
        x = centres[labels] + torch.randn(size, d, generator=generator)
        x[labels == forget] *= shrink
        if permute:
            labels = labels[torch.randperm(size, generator=generator)]
        found.append(Outputs(features=x, logits=None, labels=labels, forget=labels == forget))
    return found


def small(outputs, factor):
    """The same outputs with all features multiplied by a factor."""
    return Outputs(
        features=outputs.features * factor,
        logits=None,
        labels=outputs.labels,
        forget=outputs.forget,
    )
