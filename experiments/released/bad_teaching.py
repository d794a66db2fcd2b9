"""Bad teaching as released: the divergence is also divided by the number of classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from unspan.methods import BadTeaching


@dataclass(frozen=True, kw_only=True)
class ReleasedBadTeaching(BadTeaching):
    """Settings of BadT."""

    name: ClassVar[str] = "bad-teaching-released"

    def divergence(self, student: Tensor, teacher: Tensor) -> Tensor:
        return super().divergence(student, teacher) / student.shape[1]
