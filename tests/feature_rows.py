"""Rows of features for tests of spans."""

import torch


def draw(seed, *shape, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def gapped(seed, n, d, base=0.6, dtype=torch.float64):
    """Rows whose singular values fall by a factor `base` each, and the singular values."""
    generator = torch.Generator().manual_seed(seed)
    r = min(n, d)
    left = torch.linalg.qr(torch.randn(n, r, generator=generator, dtype=torch.float64))[0]
    right = torch.linalg.qr(torch.randn(d, r, generator=generator, dtype=torch.float64))[0]
    sigma = 10 * base ** torch.arange(r, dtype=torch.float64)
    return ((left * sigma) @ right.mT).to(dtype)
