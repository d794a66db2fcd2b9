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

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from unspan.audit_record.circumstances import Hashes
from unspan.audit_record.remarks import Remark, RemarkCode
from unspan.audit_record.vocabulary import ReferenceKind
from unspan.auditing.case import Asked, Case, check_distinct, check_enough, comparable
from unspan.auditing.given_arrays import PARTS, Arrays, read_arrays, refuse_probabilities
from unspan.errors import DataError, UsageError
from unspan.metrics.outputs import Outputs
from unspan.run import Run
from unspan.system.digests import file_hash, state_hash


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
    first = read_arrays(before)
    paths = {"before": before, "after": after}
    paths |= {f"reference {number + 1}": path for number, path in enumerate(references)}
    given = {name: _given(path, before, first, classes) for name, path in paths.items()}
    names = [name for name in paths if name not in ("before", "after")]
    check_distinct(
        [(str(paths[name]), given[name].digest) for name in names],
        {str(after): given["after"].digest, str(before): given["before"].digest},
    )
    fit = {name: one.fit for name, one in given.items()}
    test = {name: one.test for name, one in given.items()}
    check_enough(fit["before"], str(before))
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
            fit_data=_told(fit["before"]),
            test_data=_told(test["before"]),
            config="",
        ),
    )


def _told(known: Outputs) -> str:
    """sha256 over labels and marks: all that files of outputs tell of the samples."""
    digest = state_hash({"labels": known.labels, "forget": known.forget})
    return digest.removeprefix("sha256:")


def _given(path: Path, before: Path, first: Arrays, classes: Sequence[int]) -> GivenOutputs:
    """The outputs in one file, which must be of the samples and scores of the first."""
    own = read_arrays(path)
    told = {name: first[name] for name in first if name.endswith(("labels", "forget"))}
    for name, kept in told.items():
        if name in own and not torch.equal(own[name], kept):
            raise DataError(
                f"{path}: {name} differs from that of {before}. All files must hold the same"
                " samples in the same order."
            )
    for name in (one for one in first if one not in told):
        _check_like_the_first(path, before, name, own.get(name), first[name])
    odd = sorted(own.keys() - first.keys())
    if odd:
        raise UsageError(
            f"{path} has the array {odd[0]}, which {before} lacks. Give it in every file or in"
            " none; labels and marks belong into the first file."
        )
    whole = {**told, **own}
    _check_parts_alike(path, whole)
    fit, test = (_Part(path, part, whole).outputs(classes) for part in PARTS)
    return GivenOutputs(fit, test, "sha256:" + file_hash(path))


def _check_like_the_first(
    path: Path, before: Path, name: str, found: Tensor | None, first: Tensor
) -> None:
    """The same rows, and of scores the same columns (UsageError or DataError)."""
    if found is None:
        raise UsageError(
            f"{path} lacks {name}, which {before} has. Give it in every file or in none."
        )
    alike = found.shape == first.shape if name.endswith("scores") else len(found) == len(first)
    if not alike:
        raise DataError(
            f"{path}: {name} has shape {list(found.shape)}, and {list(first.shape)} in {before}."
            " All files must hold the same samples in the same order, with a score for each class."
        )


def _check_parts_alike(path: Path, arrays: Arrays) -> None:
    """Features and scores are in both parts, with the same columns (UsageError or DataError)."""
    for what in ("features", "scores"):
        fit, test = (arrays.get(f"{part}_{what}") for part in PARTS)
        if (fit is None) != (test is None):
            given, lacks = PARTS if test is None else PARTS[::-1]
            raise UsageError(
                f"{path} has {given}_{what}, but no {lacks}_{what}. Give both or neither."
            )
        if fit is not None and test is not None and fit.shape[1:] != test.shape[1:]:
            raise DataError(
                f"{path}: fit_{what} has shape {list(fit.shape)}, test_{what}"
                f" {list(test.shape)}. Both need the same columns, from the same layer."
            )


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
    arrays: Arrays

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
        labels = torch.full((len(told),), -1) if known is None else known
        if scores is not None:
            self._check_scores(scores, labels)
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
        if not bool(marks.any()) or bool(marks.all()):
            stand = ", ".join(map(str, labels.unique().tolist()[:20]))
            there = f" Labels in {self.name}: {stand}." if classes else ""
            raise DataError(
                f"{self.path}: {int(marks.sum())} of {len(marks)} samples in {self.name} were to be"
                f" forgotten. An audit needs some to forget and some to keep.{there}"
            )
        return marks

    def _check_scores(self, scores: Tensor, labels: Tensor) -> None:
        """One column for each label, and no probabilities (DataError)."""
        name = f"{self.name}_scores"
        most, columns = int(labels.max()), scores.shape[1]
        if most >= columns:
            raise DataError(
                f"{self.path}: {self.name}_labels holds {most}, but {name} has {columns} columns,"
                f" for the labels 0 to {columns - 1}. Count labels from 0, in the order of the"
                " scores."
            )
        refuse_probabilities(self.path, name, scores)

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
        return found

    def _both(self) -> list[Tensor]:
        named = (f"{self.name}_{what}" for what in ("features", "scores"))
        return [self.arrays[name] for name in named if name in self.arrays]

    def _misshapen(self, what: str, found: Tensor, wanted: str) -> DataError:
        return DataError(
            f"{self.path}: {self.name}_{what} has shape {list(found.shape)}; give {wanted}."
        )
