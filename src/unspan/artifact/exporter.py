"""Export a model to ONNX or `torch.export`, and check on real inputs that the file computes the
same.
"""

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import nn

from unspan.artifact.example_inputs import Inputs, batch_size, first_output, resized
from unspan.artifact.export_formats import Program, format_named
from unspan.errors import ModelError, OutputError, UsageError
from unspan.extraction import eval_mode
from unspan.models import quiet
from unspan.system.output_paths import check_file


def export(
    model: nn.Module,
    example_inputs: Inputs,
    path: Path,
    *,
    format: str,
    atol: float = 1e-4,
) -> float:
    """Write `model` as one file with a dynamic batch size, and compare the file with the model.

    The comparison runs on `example_inputs`, on one sample and on one sample more than given.
    Forward hooks, such as the erasers of this library, become part of the program. Axes other than
    the batch keep the size of the example.

    Args:
        model: Exported in evaluation mode; its own mode is restored.
        example_inputs: A tensor `[n, ...]`, or keyword arguments of such tensors for transformers
            models.
        path: The file to write; an earlier export is replaced, after the comparison.
        format: "onnx" (runs on onnxruntime) or "pt2" (runs on `torch.export.load`).
        atol: Largest difference allowed, as a share of the largest absolute output.

    Returns:
        Largest absolute difference of the first output (the logits of a classifier).

    Raises:
        UsageError: An unknown format, a package is missing, the model is too large for one ONNX
            file, or another file is there.
        ModelError: The model cannot be traced, or the file computes something else.
        OutputError: The file cannot be written.
    """
    writer = format_named(format)
    path = Path(path)
    check_export(path, format, overwrite=True)
    try:
        with (
            tempfile.TemporaryDirectory(dir=path.parent, prefix=".unspan-") as folder,
            eval_mode(model),
        ):
            file = Path(folder) / path.name
            with _exporting(model, format):
                run = writer.write(model, example_inputs, file)
                difference = _compare(model, run, example_inputs, atol)
            check_export(path, format, overwrite=True)  # it may have come meanwhile
            os.replace(file, path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error
    return difference


def check_export(path: Path, format: str, *, overwrite: bool, inputs: Iterable[Path] = ()) -> None:
    """Refuse a file that this module did not write (UsageError, OutputError)."""
    check_file(
        path,
        format_named(format).is_marked,
        what=f"an export of unspan (.{format})",
        overwrite=overwrite,
        inputs=inputs,
    )


@contextmanager
def _exporting(model: nn.Module, format: str) -> Iterator[None]:
    """Turn what exporters and runtimes raise into one error that names the model."""
    try:
        with quiet():
            yield
    except (ModelError, UsageError, OSError):
        raise
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"{type(model).__name__} cannot be exported as {format}: {reason}"
        ) from error


def _compare(model: nn.Module, run: Program, inputs: Inputs, atol: float) -> float:
    given = batch_size(inputs)
    worst = 0.0
    for size in (given, 1, given + 1):
        batch = resized(inputs, size)
        expected = first_output(model, batch).cpu().double()
        actual = run(batch).cpu().double()
        if actual.shape != expected.shape:
            raise ModelError(
                f"the exported file returns {list(actual.shape)}, the model {list(expected.shape)}"
            )
        difference = (actual - expected).abs().max().item()
        allowed = atol * expected.abs().max().item()
        if not difference <= allowed:
            raise ModelError(
                f"the exported file differs from the model by {difference:.3g}; {allowed:.3g} is"
                " allowed"
            )
        worst = max(worst, difference)
    return worst
