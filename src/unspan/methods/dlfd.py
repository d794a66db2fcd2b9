"""DLFD (distribution-level feature distancing): train on retained images whose features were moved
away from the forget set.

Idea: raising the loss on the forget samples breaks the tie between useful features and labels
("correlation collapse"). So retained images are perturbed instead, and the network is trained on
those. Their features then lie far from those of the forget images in optimal transport, and the
classifier still names them.
Formula: `C_ij = 1 - cos(phi(x_i + d_i), phi(x_j^f))`, `T` the entropic optimal plan, `l_OT = <T,
C>`. `d <- d + a sign(grad (w l_OT - lambda CE(f(x + d), y)))` for S steps within `|d| <= radius`.
Then a step on `CE(f(x + d), y)`. lambda grows linearly over the epoch. While the forgetting score
`2 |MIA - 0.5|` is below `stop`, training is on clean images.
Needs: forget, retain and held-out samples with labels (unseen in training, not those that are
reported). Cost: S + 1 forward and backward passes a step.
Tells: the transport distance of the retained images to the forget images, and that of the
perturbed ones. Both are means over the first of every `every` minibatches.
Typical: for age: batch 32, SGD 8e-3, w 3, lambda 0 to 1, S 15, stop 0.15, save 0.09. For emotion:
batch 64, SGD 6e-3, w 7, lambda 0.5 to 1, S 20, stop 0.23, save 0.23.
Fails: when no epoch part reaches `save` there is nothing to return, which is an error here. A run
that was killed starts again.
Source: Choi and Na, AAAI 2025 (arXiv 2409.14747); its release.
Deviates: in the release the transport term is computed on unperturbed images, so it has no gradient
(experiments/released does the same). Features there are the logits. Images are clamped to [0, 1]
after normalisation, and the membership attack is unbalanced.
Here: the perturbed images, penultimate features, each channel's own range of values, a balanced
attack. The plan is held fixed in the gradient (envelope theorem).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from unspan.data.inputs import place
from unspan.errors import UsageError
from unspan.extraction import eval_mode, logits_of, read
from unspan.methods.base import TrainedMethod
from unspan.methods.boundary import value_range
from unspan.methods.descent import own_loss
from unspan.methods.distancing.distances import Distances
from unspan.methods.distancing.states import States
from unspan.methods.distancing.transport import transport_cost
from unspan.training.context import Outcome, TrainingContext
from unspan.training.loop import Pass, train
from unspan.training.samples import Minibatch
from unspan.training.settings import Training


@dataclass(frozen=True, kw_only=True)
class DLFD(TrainedMethod):
    """Settings of DLFD.

    Attributes:
        weight: w of the transport term.
        keep: lambda at the start and at the end of an epoch.
        steps: S.
        step: a, as a share of each channel's range of values.
        radius: largest change of a value, as a share of the range.
        epsilon: of the entropic transport.
        stop: forgetting score below which images are not perturbed.
        save: forgetting score at or below which a state may be returned.
        every: minibatches between two looks at the score.
        training: of the loop.
    """

    weight: float = 3.0
    keep: tuple[float, float] = (0.0, 1.0)
    steps: int = 15
    step: float = 2 / 255
    radius: float = 8 / 255
    epsilon: float = 0.01
    stop: float = 0.15
    save: float = 0.09
    every: int = 20
    training: Training = Training(lr=8e-3, epochs=1, batch=32)
    name: ClassVar[str] = "dlfd"
    paper: ClassVar[str] = "Choi and Na, AAAI 2025, arXiv 2409.14747"
    search: ClassVar[dict[str, tuple[Any, ...]]] = {
        "lr": (8e-3, 2e-3, 2e-2),
        "radius": (8 / 255, 16 / 255),
    }
    needs: ClassVar[frozenset[str]] = frozenset({"forget", "forget_labels", "retain", "holdout"})
    stronger: ClassVar[tuple[str, ...]] = ("lr", "epochs")

    def __post_init__(self) -> None:
        if (
            min(self.steps, self.every) < 1
            or min(self.step, self.radius, self.epsilon) <= 0
            or self.weight < 0
        ):
            raise UsageError(
                f"{self}: steps, every, step, radius and epsilon must be positive, weight not"
                " negative."
            )

    def unlearn(self, context: TrainingContext) -> Outcome:
        """Train on perturbed images; return the best admissible state.

        Raises:
            InconclusiveError: the forgetting score never fell to `save`.
        """
        _require_pot()
        retain = context.samples("retain")
        low, high = value_range(retain, 256)
        steps = -(-len(retain) // self.training.batch)
        states = States(context, self.save)
        distances = Distances(context, self.epsilon)

        def plan(epoch: int) -> list[Pass]:
            images = self._images(context, epoch, steps, states, distances, low, high)
            return [Pass(images, lambda batch: own_loss(context, batch), steps)]

        def after_epoch(epoch: int, row: dict[str, Any]) -> bool:
            states.look(epoch, -1)
            row |= distances.means(epoch)
            return False

        history = train(
            context,
            self.training,
            plan,
            after_epoch=after_epoch,
            name=self.name,
            resumable=False,
        )
        chosen = states.restore_best()
        report = {"looks": states.looks, "chosen": chosen, "distances": distances.looks}
        return Outcome(report, history=history)

    def _images(
        self,
        context: TrainingContext,
        epoch: int,
        steps: int,
        states: States,
        distances: Distances,
        low: Tensor,
        high: Tensor,
    ) -> Iterator[Minibatch]:
        """Retained minibatches, perturbed while the forgetting score is at or above `stop`."""
        size = self.training.batch
        forget = context.samples("forget").endless(size, context.stream("order", "forget", epoch))
        score = 1.0
        for number, batch in enumerate(
            context.samples("retain").shuffled(size, context.stream("order", "retain", epoch))
        ):
            if number and number % self.every == 0:
                score = states.look(epoch, number)
            if score < self.stop:
                yield batch
                continue
            share = number / max(steps - 1, 1)
            keep = self.keep[0] + (self.keep[1] - self.keep[0]) * share
            unwanted = next(forget)
            moved = self.perturbed(context, batch, unwanted, keep, low, high)
            if number % self.every == 0:
                distances.look(epoch, number, batch, moved, unwanted)
            yield moved

    def perturbed(
        self,
        context: TrainingContext,
        batch: Minibatch,
        forget: Minibatch,
        keep: float,
        low: Tensor,
        high: Tensor,
    ) -> Minibatch:
        """The minibatch moved away from the forget features within the radius, by signed gradient
        steps.
        """
        like = next(context.model.parameters())
        x, y = place(batch.x, like), batch.y.to(like.device)
        bottom, top = low.to(x), high.to(x)
        span = top - bottom
        moved = x.clone()
        with eval_mode(context.model):
            there = read(context.model, context.feature_layer, place(forget.x, like))[0].float()
            with torch.enable_grad():
                for _ in range(self.steps):
                    moved.requires_grad_()
                    slope = torch.autograd.grad(
                        self.gain(context, moved, x, y, there, keep), moved
                    )[0]
                    step = moved.detach() + self.step * span * slope.sign()
                    step = torch.minimum(
                        torch.maximum(step, x - self.radius * span), x + self.radius * span
                    )
                    moved = torch.minimum(torch.maximum(step, bottom), top)
        return Minibatch(moved, batch.y, batch.index, batch.forget)

    def gain(
        self,
        context: TrainingContext,
        moved: Tensor,
        clean: Tensor,
        y: Tensor,
        there: Tensor,
        keep: float,
    ) -> Tensor:
        """`w l_OT - lambda CE` of perturbed images, a scalar that is raised.

        Args:
            context: the model and where its features are.
            moved: perturbed images.
            clean: the same images as they were.
            y: `[m]` their labels.
            there: `[n, d]` features of forget samples.
            keep: lambda.
        """
        features, output = read(context.model, context.feature_layer, moved)
        scores = logits_of(output)
        assert scores is not None
        return self.weight * transport_cost(
            features.float(), there, self.epsilon
        ) - keep * cross_entropy(scores.flatten(1).float(), y)


def _require_pot() -> None:
    from importlib.util import find_spec

    if find_spec("ot") is None:
        raise UsageError("DLFD needs POT for optimal transport: pip install 'unspan[dlfd]'.")
