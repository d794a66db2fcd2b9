"""One explicit loop for every method that trains: passes, steps, history, guards, resume, several
processes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from unspan import dist
from unspan.data.inputs import cut_rows
from unspan.errors import InconclusiveError, UsageError
from unspan.models.frozen_norms import has_statistics, training_mode
from unspan.training.augment import augmented
from unspan.training.checkpoint import Checkpoint
from unspan.training.context import TrainingContext, accuracy_on
from unspan.training.samples import NO_LABEL, Minibatch
from unspan.training.settings import Training

_MEASURED = 2000  # samples of each kind whose accuracy is followed from epoch to epoch


@dataclass(frozen=True)
class Pass:
    """One pass of an epoch.

    Attributes:
        minibatches: what is read.
        loss: of a minibatch, a scalar that is minimised.
        steps: how many minibatches there are, for the progress display.
    """

    minibatches: Iterable[Minibatch]
    loss: Callable[[Minibatch], Tensor]
    steps: int


def train(
    context: TrainingContext,
    settings: Training,
    plan: Callable[[int], Sequence[Pass]],
    *,
    parameters: Sequence[nn.Parameter] | None = None,
    after_step: Callable[[], None] | None = None,
    after_epoch: Callable[[int, dict[str, Any]], bool] | None = None,
    name: str = "training",
    resumable: bool = True,
) -> list[dict[str, Any]]:
    """Train `context.model` in place and return its history, a row for each epoch.

    Rows have `epoch`, `loss` (mean over samples), `lr`, `seconds`, `forget_accuracy` and
    `retain_accuracy` (on at most 2,000 samples; None where the method does not read them). A run
    that was killed goes on after the last whole epoch.

    Args:
        context: model, data, seed, checkpoint.
        settings: of the loop.
        plan: passes of an epoch (from 1), one after the other.
        parameters: what is trained, everything that requires gradients by default; the rest is
            frozen meanwhile.
        after_step: called after every step of the optimiser.
        after_epoch: called with the epoch and its row; True ends the training.
        name: for the progress display.
        resumable: keep epochs; not where the method remembers something of its own from epoch to
            epoch.

    Raises:
        InconclusiveError: the loss or a weight is not finite any more.
    """
    model = context.model
    _check_processes(context, settings)
    chosen = [one for one in model.parameters() if one.requires_grad]
    if parameters is not None:
        chosen = list(parameters)
    optimiser = _optimiser(chosen, settings)
    checkpoint = context.checkpoint if resumable else Checkpoint(None, "")
    history = checkpoint.load(model, optimiser, context.fingerprint())
    loop = _Loop(
        context=context,
        settings=settings,
        optimiser=optimiser,
        chosen=chosen,
        after_step=after_step,
        name=name,
    )
    with _nothing_else_trains(model, chosen):
        for epoch in range(len(history) + 1, settings.epochs + 1):
            if history and history[-1].get("stopped"):
                break
            row = loop.row(plan, epoch)
            ends = after_epoch(epoch, row) if after_epoch is not None else False
            row["stopped"] = bool(ends or _is_forgotten(settings, row))
            history.append(row)
            checkpoint.save(model, optimiser, history)
    return history


def _check_processes(context: TrainingContext, settings: Training) -> None:
    """Refuse several processes where a minibatch is more than the sum of its samples (UsageError).

    Dropout draws other numbers in every process; all else gives the weights of one process, up to
    rounding.
    """
    if dist.world() == 1 or settings.batchnorm == "frozen":
        return
    modules = context.model.named_modules()
    moving = [name for name, module in modules if has_statistics(module)]
    moving = [name for name in moving if name not in context.frozen]
    if moving:
        raise UsageError(
            f"'{moving[0]}' normalises by its minibatch, of which each of {dist.world()} processes"
            " sees a part, so the weights would depend on their number. Set batchnorm='frozen'"
            " (--set batchnorm=frozen), or start without torchrun."
        )


@contextmanager
def _nothing_else_trains(model: nn.Module, chosen: Sequence[nn.Parameter]) -> Iterator[None]:
    """Freeze all other parameters, and undo that and the modes of modules afterwards."""
    flags = [(module, module.training) for module in model.modules()]
    others = [
        one
        for one in model.parameters()
        if one.requires_grad and not any(one is mine for mine in chosen)
    ]
    for one in others:
        one.requires_grad_(False)
    try:
        yield
    finally:
        for module, flag in flags:
            module.training = flag
        for one in others:
            one.requires_grad_(True)
        for one in chosen:
            one.grad = None


def _is_forgotten(settings: Training, row: Mapping[str, Any]) -> bool:
    """Whether at most the share `stop_at` of the forget samples is recognised."""
    found = row["forget_accuracy"]
    return settings.stop_at is not None and found is not None and found <= settings.stop_at


def followed(context: TrainingContext) -> dict[str, float | None]:
    """Accuracy on some forget and retain samples.

    None for a part that the method does not read, and for one with samples that have no label.
    """
    found: dict[str, float | None] = {}
    for name in ("forget", "retain"):
        if context.parts.get(name) is None:
            found[f"{name}_accuracy"] = None
            continue
        samples = context.samples(name)
        if bool((samples.y == NO_LABEL).any()):
            found[f"{name}_accuracy"] = None
            continue
        found[f"{name}_accuracy"] = round(
            accuracy_on(
                context.model, samples, samples.some(_MEASURED, context.stream("followed", name))
            ),
            6,
        )
    return found


def _optimiser(parameters: Sequence[nn.Parameter], settings: Training) -> torch.optim.Optimizer:
    if not parameters:
        raise UsageError(
            "Nothing to train: no parameter of this model requires gradients. Call requires_grad_()"
            " on those that may change."
        )
    if settings.optimiser == "adafactor":
        return torch.optim.Adafactor(parameters, lr=settings.lr, weight_decay=settings.weight_decay)
    if settings.optimiser == "adam":
        return torch.optim.Adam(parameters, lr=settings.lr, weight_decay=settings.weight_decay)
    return torch.optim.SGD(
        parameters,
        lr=settings.lr,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        nesterov=settings.optimiser == "nesterov",
    )


@dataclass(frozen=True, kw_only=True)
class _Loop:
    """The passes of one epoch after the other; the attributes are those of `train`."""

    context: TrainingContext
    settings: Training
    optimiser: torch.optim.Optimizer
    chosen: Sequence[nn.Parameter]
    after_step: Callable[[], None] | None
    name: str

    def row(self, plan: Callable[[int], Sequence[Pass]], epoch: int) -> dict[str, Any]:
        """Train for one epoch; its row of the history."""
        begun = time.perf_counter()
        lr = self.settings.step_size(epoch)
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        loss = self._epoch(plan(epoch), epoch)
        if not all(bool(torch.isfinite(one).all()) for one in self.chosen):
            raise InconclusiveError(
                f"{self.name}: a weight is infinite or NaN after epoch {epoch}. Lower lr"
                f" (now {self.settings.lr:g}), or limit the gradient (clip=1)."
            )
        return {
            "epoch": epoch,
            "loss": loss,
            "lr": lr,
            **followed(self.context),
            "seconds": round(time.perf_counter() - begun, 3),
        }

    def _epoch(self, passes: Sequence[Pass], epoch: int) -> float:
        """All passes of one epoch; the mean loss over samples."""
        context = self.context
        frozen = context.frozen
        if self.settings.batchnorm == "frozen":
            modules = context.model.named_modules()
            frozen = [name for name, module in modules if has_statistics(module)]
        training_mode(context.model, frozen)
        device = next(context.model.parameters()).device
        changes = context.stream("augment", epoch)
        steps = sum(one.steps for one in passes)
        total = 0.0
        count = 0
        done = 0
        # dropout draws from the global stream
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            drawn = context.stream("dropout", epoch, dist.rank())
            torch.manual_seed(int(torch.randint(2**31, (1,), generator=drawn)))
            for one in passes:
                for batch in one.minibatches:
                    for loss, size in self._step(
                        one.loss, batch, epoch, changes, stepped=epoch > 1 or done > 0
                    ):
                        total += loss * size
                        count += size
                    done += 1
                    self._report(epoch, done, steps)
        dist.same_buffers(context.model)
        return dist.mean(total, count)

    def _report(self, epoch: int, done: int, steps: int) -> None:
        """How much of all epochs is done, in minibatches; a method may end before the last."""
        epochs = self.settings.epochs
        self.context.run.report(
            f"{self.name}, epoch {epoch} of {epochs}", (epoch - 1) * steps + done, epochs * steps
        )

    def _remedy(self) -> str:
        """What to do where a step led to numbers that are not finite."""
        if any(one.dtype is torch.float16 for one in self.chosen):
            return (
                "The weights are float16, whose range is too small for such steps: train the model"
                " in float32 (model.float()), and cast what comes out."
            )
        return f"Lower lr (now {self.settings.lr:g}), or limit the gradient (clip=1)."

    def _step(
        self,
        loss_of: Callable[[Minibatch], Tensor],
        batch: Minibatch,
        epoch: int,
        changes: torch.Generator,
        stepped: bool,
    ) -> list[tuple[float, int]]:
        """One step of the optimiser; the loss and the size of each part of the minibatch.

        Args:
            loss_of: of a part.
            batch: the minibatch.
            epoch: from 1.
            changes: stream of the augmentation.
            stepped: whether there was a step before.
        """
        settings = self.settings
        found = []
        self.optimiser.zero_grad(set_to_none=True)
        images = replace(batch, x=augmented(batch.x, settings.augment, changes))
        for part in _cut(images, settings.accumulate):
            with self._precision():
                loss = loss_of(part)
            if not bool(torch.isfinite(loss)):
                raise InconclusiveError(
                    f"{self.name}: the loss is {float(loss)} in epoch {epoch}. {self._remedy()}"
                    if stepped
                    else f"{self.name}: the loss is {float(loss)} before the first step, so no"
                    " setting of the steps is to blame: check the data for numbers that are NaN or"
                    " very large, and use float32 (model.float())."
                )
            (loss * (len(part) / len(batch))).backward()
            found.append((float(loss.detach()), len(part)))
        dist.add_gradients(self.chosen)
        if settings.clip is not None:
            nn.utils.clip_grad_norm_(self.chosen, settings.clip)
        self.optimiser.step()
        if self.after_step is not None:
            self.after_step()
        return found

    def _precision(self) -> AbstractContextManager[Any]:
        if self.settings.precision != "bf16":
            return nullcontext()
        device = next(self.context.model.parameters()).device
        return torch.autocast(device.type, torch.bfloat16)


def _cut(batch: Minibatch, parts: int) -> list[Minibatch]:
    """This process's share of a minibatch, in as many parts."""
    own = range(dist.rank(), len(batch), dist.world())
    if dist.world() == 1 and parts == 1:
        return [batch]
    found = []
    for index in torch.tensor(list(own)).tensor_split(parts):
        if len(index):
            found.append(
                Minibatch(
                    cut_rows(batch.x, index),
                    batch.y[index],
                    batch.index[index],
                    batch.forget[index],
                )
            )
    return found
