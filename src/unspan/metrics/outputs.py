"""What every score works on: features, class scores and labels of one model on one set of
samples.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """Outputs of one model, one row a sample. Rows of different models on the same data correspond.

    Attributes:
        features: `[n, d]` float32; may be memory-mapped, so never written to.
        logits: `[n, C]` float32, None for embedding models.
        labels: `[n]` int64, -1 where there is none.
        forget: `[n]` bool, the samples of the request (or of the erased class, in test data).
    """

    features: Tensor
    logits: Tensor | None
    labels: Tensor
    forget: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def rows(self, index: Tensor) -> Outputs:
        """The rows of an index or mask."""
        logits = None if self.logits is None else self.logits[index]
        return Outputs(
            features=self.features[index],
            logits=logits,
            labels=self.labels[index],
            forget=self.forget[index],
        )

    def classes(self) -> int:
        """Number of classes: the width of the scores, else the largest label plus one."""
        return self.logits.shape[1] if self.logits is not None else int(self.labels.max()) + 1
