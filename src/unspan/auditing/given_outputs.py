"""Outputs of models that are not here: behind an API, in ONNX, in another framework.

One `.npz` file a model, with one row a sample, the same samples in the same order in every file:

- `fit_features` `[n, d]`, `fit_scores` `[n, C]`, `fit_labels` `[n]`, `fit_forget` `[n]`: what the
  attacker learns from, best the training data;
- `test_features`, `test_scores`, `test_labels`, `test_forget`: what he is judged on, which no model
  was trained on.

Scores are logits or log-probabilities. Of features and scores one is enough: without features the
attacker trains on the scores. Labels and forget marks are needed in the first file only, and marks
nowhere where classes are to be forgotten.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from unspan.audit_record.circumstances import Hashes
from unspan.audit_record.remarks import Remark, RemarkCode
from unspan.audit_record.vocabulary import ReferenceKind
from unspan.auditing.case import Asked, Case, check_distinct, comparable
from unspan.errors import DataError, UsageError
from unspan.metrics.outputs import Outputs
from unspan.run import Run
from unspan.system.digests import file_hash

_PARTS = ("fit", "test")
_NAMES = ("features", "scores", "labels", "forget")
_Arrays = Mapping[str, Tensor]


@dataclass(frozen=True)
class GivenOutputs:
    """Outputs of one model.

    Attributes:
        fit: on what the attacker learns from.
        test: on what he is judged on.
        digest: sha256 of the file.
    """

    fit: Outputs
    test: Outputs
    digest: str


def case_of_outputs(
    before: Path,
    after: Path,
    references: Sequence[Path],
    run: Run,
    classes: Sequence[int],
    class_names: Sequence[str] | None,
) -> Case:
    """The case of an audit without models.

    Args:
        before: outputs of the original.
        after: of the erased model.
        references: of models trained without the forgotten data.
        run: seed and progress.
        classes: labels to be forgotten; none where the files mark the forgotten samples.
        class_names: for the report.

    Raises:
        UsageError: a file that cannot be read, or lacks an array.
        DataError: files that do not hold the same samples, or nothing to forget or to keep.
    """
    first = _arrays(before)
    shared = {name: first[name] for name in first if name.split("_")[1] in ("labels", "forget")}
    paths = {"before": before, "after": after}
    paths |= {f"reference {number + 1}": path for number, path in enumerate(references)}
    given = {name: _given(path, shared, classes) for name, path in paths.items()}
    names = [name for name in paths if name not in ("before", "after")]
    check_distinct([(name, given[name].digest) for name in names])
    fit = {name: one.fit for name, one in given.items()}
    test = {name: one.test for name, one in given.items()}
    seen = comparable(test, names, bool(classes)) if names else []
    named = [str(class_names[label] if class_names else label) for label in classes]
    return Case(
        request=Asked("class" if classes else "samples", tuple(named), tuple(classes)),
        run=run,
        cache=None,
        models=None,
        held_out=True,
        unseen_retained=True,
        references=names,
        kind=ReferenceKind.RETRAINED if names else ReferenceKind.NONE,
        fit=fit,
        test=test,
        fit_views={},
        test_views={},
        class_names=class_names,
        notes=[Remark(RemarkCode.OUTPUTS_ONLY), *seen],
        usable=not seen,
        hashes=Hashes(
            before=given["before"].digest,
            after=given["after"].digest,
            reference=[given[name].digest for name in names],
            fit_data="",
            test_data="",
            config="",
        ),
    )


def _arrays(path: Path) -> dict[str, Tensor]:
    """The arrays of a file by name, none of them of Python objects."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            known = [f"{part}_{name}" for part in _PARTS for name in _NAMES]
            return {name: torch.from_numpy(stored[name]) for name in known if name in stored}
    except (OSError, ValueError, TypeError, EOFError, BadZipFile) as error:
        raise UsageError(
            f"{path} cannot be read as outputs: {error}. Write it with numpy.savez, one array for"
            " each name; see the page 'Outputs alone' of the documentation."
        ) from error


def _given(path: Path, shared: _Arrays, classes: Sequence[int]) -> GivenOutputs:
    found = {**shared, **_arrays(path)}
    for name, kept in shared.items():
        if not torch.equal(found[name], kept):
            raise DataError(
                f"{path}: {name} differs from that of the first file. All files must hold the same"
                " samples in the same order."
            )
    fit, test = (_Part(path, part, found).outputs(classes) for part in _PARTS)
    return GivenOutputs(fit, test, "sha256:" + file_hash(path))


@dataclass(frozen=True)
class _Part:
    """The arrays of one part of a file.

    Attributes:
        path: of the file.
        name: of the part.
        arrays: by full name.
    """

    path: Path
    name: str
    arrays: _Arrays

    def outputs(self, classes: Sequence[int]) -> Outputs:
        """Checked, the forgotten samples first."""
        features, scores = self._numbers("features"), self._numbers("scores")
        told = scores if features is None else features
        if told is None:
            raise UsageError(
                f"{self.path}: give {self.name}_features, {self.name}_scores, or both."
            )
        known = self._rows("labels", len(told))
        if known is None and (classes or f"{self.name}_forget" not in self.arrays):
            raise UsageError(
                f"{self.path}: give {self.name}_labels, which say the class of each sample."
            )
        labels = torch.full((len(told),), -1) if known is None else known.long()
        marks = self._marks(labels, classes)
        whole = Outputs(features=told, logits=scores, labels=labels, forget=marks)
        return whole.rows(torch.argsort((~marks).int(), stable=True))

    def _marks(self, labels: Tensor, classes: Sequence[int]) -> Tensor:
        """`[n]` bool: the samples that were to be forgotten."""
        given = self._rows("forget", len(labels))
        if not classes and given is None:
            raise UsageError(
                f"{self.path}: give {self.name}_forget, true for each sample that was to be"
                " forgotten, or name classes (--forget)."
            )
        marks = torch.isin(labels, torch.tensor(list(classes))) if classes else given
        assert marks is not None
        marks = marks.bool()
        if not bool(marks.any()) or bool(marks.all()):
            raise DataError(
                f"{self.path}: {int(marks.sum())} of {len(marks)} samples in {self.name} were to be"
                " forgotten. An audit needs some to forget and some to keep."
            )
        return marks

    def _rows(self, what: str, n: int) -> Tensor | None:
        """An array `[n]`; None where there is none."""
        found = self.arrays.get(f"{self.name}_{what}")
        if found is not None and found.shape != (n,):
            raise self._misshapen(what, found, f"[{n}], one row a sample")
        return found

    def _numbers(self, what: str) -> Tensor | None:
        """An array `[n, d]` of finite numbers; None where there is none."""
        found = self.arrays.get(f"{self.name}_{what}")
        if found is None:
            return None
        n = max(len(one) for one in self._both())
        if found.ndim != 2 or len(found) != n:
            raise self._misshapen(what, found, f"[{n}, d], one row a sample")
        values = found.float()
        if not bool(torch.isfinite(values).all()):
            raise DataError(
                f"{self.path}: {self.name}_{what} holds NaN or infinity. Give finite numbers."
            )
        return values

    def _both(self) -> list[Tensor]:
        named = (f"{self.name}_{what}" for what in ("features", "scores"))
        return [self.arrays[name] for name in named if name in self.arrays]

    def _misshapen(self, what: str, found: Tensor, wanted: str) -> DataError:
        return DataError(
            f"{self.path}: {self.name}_{what} has shape {list(found.shape)}; give {wanted}."
        )
