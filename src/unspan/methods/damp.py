"""DAMP: in some layers, stop reading the direction in which a forgotten class differs from all
retained ones.

Idea: the mean input of a layer on a forgotten class has a part that no mean of a retained class
has. The layer's weights are projected away from it.
Formula: at stage l of L, R holds the mean inputs of the retained classes as columns. `d_f = mu_f -
R R^+ mu_f`, and Q is an orthonormal basis of the d_f. `W <- W (I - alpha Q Q')`, the bias stays.
`alpha = min(1, max(0, 2 a - 1)) l / L`. Here a is the accuracy of a logistic regression that tells
forget from retained samples by these inputs.
Needs: forget and retain samples with labels. Cost: one forward pass over both, and a logistic
regression a stage.
Typical: 5 stages, each sample once, nothing trained.
Fails: a class mean is one direction, and a probe trained to the end reads the class in all others.
The features of the last stage stay as they are; only the head reads less of them. A skip connection
goes past the edit. Where the retained means span all channels, nothing is left to remove, and the
stage is skipped with a warning.
Source: "DAMP", CVPR 2026 workshop, arXiv 2604.15166. No code was found; settings that summaries
leave open are chosen here.
Deviates: a stage is an operator with weights (Linear or convolution, in running order). The first
reads the raw input and is none. The others are cut into L equal parts, and the last operator of
each is edited. Inputs are averaged over positions or tokens, and every tap of a kernel loses the
same channels' direction. Grouped and transposed convolutions and frozen layers are left out. The
probe has as many retained as forget samples, and a is read on a fifth held out. All numbers are of
the original, so the order of edits does not matter. Directions that depend on each other are
removed once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from unspan.errors import DataError, UsageError
from unspan.extraction import eval_mode
from unspan.methods.baking.layers import layers_with_weights, pooled_inputs
from unspan.methods.base import TrainedMethod
from unspan.metrics.binary_logistic import fit_logistic
from unspan.training.context import Outcome, TrainingContext
from unspan.training.samples import Samples

SMALLEST = 1e-6  # of a direction, as a share of the class mean: below it is rounding
_HELD = 0.2  # share of the samples on which the probe is judged
_FEWEST = 2  # samples of either kind: one to fit on, one to be judged on


@dataclass(frozen=True, kw_only=True)
class DAMP(TrainedMethod):
    """Settings of DAMP.

    Attributes:
        stages: L, layers that are edited; all where there are fewer.
        alpha: strength at every stage, in [0, 1]; None takes what the probe and the depth say.
        batch: samples a forward pass.
    """

    stages: int = 5
    alpha: float | None = None
    batch: int = 64
    name: ClassVar[str] = "damp"
    paper: ClassVar[str] = "DAMP, CVPR 2026 workshop, arXiv 2604.15166"
    search: ClassVar[dict[str, tuple[Any, ...]]] = {"stages": (5, 3, 1), "alpha": (None, 1.0)}
    needs: ClassVar[frozenset[str]] = frozenset({"forget", "forget_labels", "retain"})
    stronger: ClassVar[tuple[str, ...]] = ("alpha", "stages")

    def limits(self, figures: Mapping[str, Any]) -> dict[str, float]:
        """A strength of 1 removes all; there are no more stages than layers."""
        found = len(figures.get("stages", ()))
        return {"alpha": 1.0} | ({"stages": found} if 0 < found < self.stages else {})

    def __post_init__(self) -> None:
        if self.stages < 1 or self.batch < 1:
            raise UsageError(f"stages={self.stages}, batch={self.batch}: both must be positive.")
        if self.alpha is not None and not 0 <= self.alpha <= 1:
            raise UsageError(f"alpha={self.alpha}: use a number from 0 to 1, or None.")

    def unlearn(self, context: TrainingContext) -> Outcome:
        """Read the inputs of all stages, then edit their weights."""
        samples = context.samples("forget", "retain")
        names = stage_layers(context.model, samples.take(torch.arange(2)).x, self.stages)
        probed = _probed(context, samples)
        means, inputs = _read(context, samples, names, probed, self.batch)
        present = torch.stack([_counts(samples, gone) > 0 for gone in (True, False)])
        report, warnings = [], []
        for place, name in enumerate(names, 1):
            basis, residual = directions(*(means[name][i][present[i]] for i in (0, 1)))
            accuracy = separation(inputs[name], samples.forget[probed], context)
            alpha = strength(accuracy) * place / len(names) if self.alpha is None else self.alpha
            if not basis.shape[1]:
                warnings.append(_skipped(name))
                alpha = 0.0
            if alpha > 0:
                remove(context.model.get_submodule(name), basis, alpha)
            rank = basis.shape[1]
            row = {"layer": name, "alpha": alpha, "probe": accuracy}
            report.append(row | {"directions": rank, "relative_residual": residual})
        if not any(row["alpha"] for row in report):
            warnings.append("damp changed no weight: no stage had anything to remove.")
        return Outcome({"stages": report}, tuple(warnings))


def _skipped(name: str) -> str:
    return (
        f"damp left '{name}' as it is: the class means of what is kept span all that its input has"
        " of the forgotten class."
    )


def stage_layers(model: nn.Module, inputs: Any, stages: int) -> list[str]:
    """Names of the layers that are edited, in the order in which they run.

    Args:
        model: any module.
        inputs: a few samples of it.
        stages: into how many parts the layers after the first are cut.

    Raises:
        UsageError: there is no layer that can be edited.
    """
    found = [
        name
        for name in layers_with_weights(model, inputs)[1:]
        if _can_be_edited(model.get_submodule(name))
    ]
    if not found:
        raise UsageError(
            "damp edits Linear layers and plain convolutions after the first, and this model has"
            " none that may change."
        )
    parts = min(stages, len(found))
    return [found[place * len(found) // parts - 1] for place in range(1, parts + 1)]


def _can_be_edited(module: nn.Module) -> bool:
    if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        return module.groups == 1 and module.weight.requires_grad
    return isinstance(module, nn.Linear) and module.weight.requires_grad


def _probed(context: TrainingContext, samples: Samples) -> Tensor:
    """Positions of the probe's samples: as many retained as forget ones, drawn at random.

    Raises:
        DataError: fewer than two of either.
    """
    parts = [mask.nonzero()[:, 0] for mask in (samples.forget, ~samples.forget)]
    count = min(map(len, parts))
    if count < _FEWEST:
        raise DataError(
            f"damp needs {_FEWEST} samples or more to forget and to keep; got {len(parts[0])} and"
            f" {len(parts[1])}."
        )
    drawn = [
        rows[torch.randperm(len(rows), generator=context.stream("damp", place))[:count]]
        for place, rows in enumerate(parts)
    ]
    return torch.cat(drawn)


def _counts(samples: Samples, gone: bool) -> Tensor:
    """`[C]` samples of each label among those that go, or among the others."""
    return torch.bincount(samples.y[samples.forget == gone], minlength=int(samples.y.max()) + 1)


def _read(
    context: TrainingContext, samples: Samples, names: list[str], probed: Tensor, batch: int
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Class means `[2, C, d]` float64 of what goes and what stays, and inputs `[m, d]` of the
    probe's samples, by layer.
    """
    classes = int(samples.y.max()) + 1
    sums: dict[str, Tensor] = {}
    kept: dict[str, Tensor] = {}
    row = torch.full((len(samples),), -1)
    row[probed] = torch.arange(len(probed))
    with pooled_inputs(context.model, names) as seen, eval_mode(context.model):
        for part in samples.minibatches(batch):
            context.scores(context.model, part)
            group = torch.where(part.forget, part.y, classes + part.y)
            mine = row[part.index]
            for name in names:
                z = seen[name].cpu()
                if name not in sums:
                    sums[name] = torch.zeros(2 * classes, z.shape[1], dtype=torch.float64)
                    kept[name] = torch.zeros(len(probed), z.shape[1])
                sums[name].index_add_(0, group, z.double())
                kept[name][mine[mine >= 0]] = z[mine >= 0]
    counts = torch.cat([_counts(samples, gone) for gone in (True, False)])
    means = {name: one / counts.clamp_min(1)[:, None] for name, one in sums.items()}
    return {name: one.view(2, classes, -1) for name, one in means.items()}, kept


def directions(forget: Tensor, retain: Tensor) -> tuple[Tensor, float]:
    """Orthonormal directions `[d, k]` of forgotten means outside the span of retained ones.

    Args:
        forget: `[F, d]` float64 means of the forgotten classes.
        retain: `[R, d]` of the retained classes.

    Returns:
        The directions, k at most F, and the largest residual as a share of its mean. A residual
        below 1e-6 counts as none, so k may be 0.
    """
    # twice, since one projection of a mean that is nearly in the span leaves rounding
    inside = torch.linalg.pinv(retain) @ retain
    residual = forget - forget @ inside
    residual = residual - residual @ inside
    length = residual.norm(dim=1)
    share = length / forget.norm(dim=1).clamp_min(1e-300)
    clear = share >= SMALLEST
    largest = float(share.max())
    if not bool(clear.any()):
        return forget.new_zeros(forget.shape[1], 0), largest
    unit = residual[clear] / length[clear, None]
    _, sizes, rows = torch.linalg.svd(unit, full_matrices=False)
    return rows[sizes > SMALLEST * sizes[0]].mT, largest


def separation(inputs: Tensor, forget: Tensor, context: TrainingContext) -> float:
    """Accuracy on held-out samples of a logistic regression that tells forget from retained ones.

    Args:
        inputs: `[m, d]`, as many of either kind.
        forget: `[m]` bool.
        context: whose stream draws the fifth that is held out, of each kind.
    """
    held = torch.zeros(len(inputs), dtype=torch.bool)
    for gone in (True, False):
        rows = (forget == gone).nonzero()[:, 0]
        order = torch.randperm(len(rows), generator=context.stream("damp", "held", gone))
        held[rows[order[: max(1, round(_HELD * len(rows)))]]] = True
    fitted = fit_logistic(inputs[~held], forget[~held])
    return float(((fitted(inputs[held]) > 0) == forget[held]).double().mean())


def strength(accuracy: float) -> float:
    """`min(1, max(0, 2 a - 1))`: 0 for a probe that guesses, 1 for one that is always right.

    >>> strength(0.75), strength(0.4)
    (0.5, 0.0)
    """
    return min(1.0, max(0.0, 2 * accuracy - 1))


def remove(module: nn.Module, basis: Tensor, alpha: float) -> None:
    """`W <- W (I - alpha Q Q')` on the input channels of a layer, in place, at every tap.

    Args:
        module: a Linear layer or a plain convolution.
        basis: Q, `[d, k]` float64.
        alpha: strength.
    """
    weight = module.get_parameter("weight")
    with torch.no_grad():
        taps = weight.detach().double().cpu().movedim(1, -1)
        left = taps - alpha * (taps @ basis) @ basis.mT
        weight.copy_(left.movedim(-1, 1))
