"""Networks of which only the last part is trained, and the first part run once for each image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


class FrozenFront(nn.Module):
    """A published network that is fine-tuned behind layers which stay as they are.

    The front is in evaluation mode always and requires no gradients.

    Attributes:
        front: from the input to what the tail takes.
        tail: the rest, which is trained.
        head: name of the last layer inside the tail, which is drawn anew for other classes.
    """

    def __init__(self, front: nn.Module, tail: nn.Module, head: str) -> None:
        super().__init__()
        self.front = front.requires_grad_(False).eval()
        self.tail = tail
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.front(x))

    def train(self, mode: bool = True) -> FrozenFront:
        super().train(mode)
        self.front.eval()
        return self


@dataclass(frozen=True)
class ThroughFront:
    """Prepares an image and runs the frozen layers on it; the result is the input of the tail.

    Images go through one by one, so that the result does not depend on a batch size.

    Attributes:
        prepare: image to a tensor `[C, H, W]`.
        front: the frozen layers, in evaluation mode.
    """

    prepare: Callable[[Any], Tensor]
    front: nn.Module

    def __call__(self, image: Any) -> Tensor:
        """The output of the frozen layers for one image, without its batch dimension."""
        with torch.no_grad():
            return self.front(self.prepare(image)[None])[0]
