"""How far the images that DLFD trains on lie from the forget images."""

from __future__ import annotations

import statistics

from unspan.data.inputs import place
from unspan.extraction import eval_mode, read
from unspan.methods.distancing.transport import transport_cost
from unspan.training.context import TrainingContext
from unspan.training.samples import Minibatch


class Distances:
    """Transport costs of minibatches to forget minibatches, as training passes them.

    A cost is the mean cosine distance under the entropic plan, between 0 and 2; features are those
    of the model at that time.

    Attributes:
        looks: what was measured, in order.
    """

    def __init__(self, context: TrainingContext, epsilon: float):
        """Begin with nothing measured.

        Args:
            context: with the model.
            epsilon: of the entropic transport.
        """
        self.looks: list[dict[str, float]] = []
        self._context = context
        self._epsilon = epsilon

    def look(
        self, epoch: int, step: int, clean: Minibatch, moved: Minibatch, forget: Minibatch
    ) -> None:
        """Measure retained images as they were and as they were moved."""
        model, layer = self._context.model, self._context.feature_layer
        like = next(model.parameters())
        with eval_mode(model):
            features = [
                read(model, layer, place(one.x, like))[0].float() for one in (clean, moved, forget)
            ]
        retained, synthesised = (
            float(transport_cost(one, features[2], self._epsilon)) for one in features[:2]
        )
        self.looks.append(
            {"epoch": epoch, "step": step, "retained": retained, "synthesised": synthesised}
        )

    def means(self, epoch: int) -> dict[str, float]:
        """Mean distances of an epoch for its row; none where no image was moved in it."""
        own = [one for one in self.looks if one["epoch"] == epoch]
        if not own:
            return {}
        return {
            f"distance_{name}": round(statistics.fmean(one[name] for one in own), 6)
            for name in ("retained", "synthesised")
        }
