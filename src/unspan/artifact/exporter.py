"""Export a model to ONNX or `torch.export`, and check on real inputs that the file computes the
same.
"""

import os
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from unspan.errors import ModelError, OutputError, UsageError
from unspan.extraction import eval_mode
from unspan.models import quiet
from unspan.system.output_paths import check_file

Inputs = Tensor | Mapping[str, Tensor]
Program = Callable[[Inputs], Tensor]
Format = Literal["onnx", "pt2"]

_MARK = "unspan.export"  # says in a file that it was written here
_ONNX_LIMIT = 2_000_000_000  # bytes: one protobuf file holds less than 2 GiB


def export(
    model: nn.Module,
    example_inputs: Inputs,
    path: Path,
    *,
    format: Format,
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
    if format not in _WRITERS:
        raise UsageError(f"format {format!r}: choose from {', '.join(_WRITERS)}")
    path = Path(path)
    check_export(path, format, overwrite=True)
    try:
        with (
            tempfile.TemporaryDirectory(dir=path.parent, prefix=".unspan-") as folder,
            eval_mode(model),
        ):
            file = Path(folder) / path.name
            with _exporting(model, format):
                run = _WRITERS[format](model, example_inputs, file)
                difference = _compare(model, run, example_inputs, atol)
            check_export(path, format, overwrite=True)  # it may have come meanwhile
            os.replace(file, path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error
    return difference


def check_export(
    path: Path, format: Format, *, overwrite: bool, inputs: Iterable[Path] = ()
) -> None:
    """Refuse a file that this module did not write (UsageError, OutputError)."""
    check_file(
        path,
        lambda file: is_exported(file, format),
        what=f"an export of unspan (.{format})",
        overwrite=overwrite,
        inputs=inputs,
    )


def is_exported(path: Path, format: Format) -> bool:
    """Whether a file was written by `export`, which leaves its mark in it."""
    if format == "pt2":
        try:
            with zipfile.ZipFile(path) as archive:
                return any(name.endswith(f"/{_MARK}") for name in archive.namelist())
        except (OSError, zipfile.BadZipFile):
            return False
    import onnx

    try:
        said = onnx.load(str(path), load_external_data=False).metadata_props
    except Exception:  # whatever the parser raises on a file of another kind
        return False
    return any(one.key == _MARK for one in said)


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
    given = _batch_size(inputs)
    worst = 0.0
    for size in (given, 1, given + 1):
        batch = _resized(inputs, size)
        expected = _first(_call(model, batch)).cpu().double()
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


def _write_onnx(model: nn.Module, inputs: Inputs, file: Path) -> Program:
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UsageError(f"{error.name} is not installed: pip install 'unspan[onnx]'") from error
    if sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()]) >= _ONNX_LIMIT:
        raise UsageError("one ONNX file holds less than 2 GB: export this model as pt2")
    # traced here: torch 2.7 would fall back to a trace that keeps one branch of the model
    traced = torch.export.export(model, strict=False, **_traced(inputs))
    program = torch.onnx.export(traced, dynamo=True)
    assert program is not None  # it is where no file is given
    program.model.metadata_props[_MARK] = "1"
    program.save(str(file), external_data=False)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_inputs()]

    def run(batch: Inputs) -> Tensor:
        feed = (
            {name: batch[name] for name in names}
            if isinstance(batch, Mapping)
            else {names[0]: batch}
        )
        outputs = session.run(None, {name: tensor.cpu().numpy() for name, tensor in feed.items()})
        return torch.from_numpy(outputs[0])

    return run


def _write_pt2(model: nn.Module, inputs: Inputs, file: Path) -> Program:
    traced = torch.export.export(model, strict=False, **_traced(inputs))
    torch.export.save(traced, file, extra_files={_MARK: "1"})
    program = torch.export.load(file).module()
    return lambda batch: _first(_call(program, batch))


_WRITERS: dict[str, Callable[[nn.Module, Inputs, Path], Program]] = {
    "onnx": _write_onnx,
    "pt2": _write_pt2,
}


def _traced(inputs: Inputs) -> dict[str, Any]:
    """Arguments of an exporter: at least two samples, as a batch of one would be taken for a
    constant.
    """
    batch = _resized(inputs, max(2, _batch_size(inputs)))
    batch_axis = {0: torch.export.Dim.DYNAMIC}
    if isinstance(batch, Mapping):
        return {
            "args": (),
            "kwargs": dict(batch),
            "dynamic_shapes": dict.fromkeys(batch, batch_axis),
        }
    return {"args": (batch,), "dynamic_shapes": (batch_axis,)}


def _batch_size(inputs: Inputs) -> int:
    return len(next(iter(inputs.values())) if isinstance(inputs, Mapping) else inputs)


def _resized(inputs: Inputs, size: int) -> Inputs:
    """Return `size` samples, repeated in order."""
    rows = torch.arange(size) % _batch_size(inputs)
    if isinstance(inputs, Mapping):
        return {name: tensor[rows.to(tensor.device)] for name, tensor in inputs.items()}
    return inputs[rows.to(inputs.device)]


def _call(model: Callable[..., Any], inputs: Inputs) -> Any:
    return model(**inputs) if isinstance(inputs, Mapping) else model(inputs)


def _first(output: Any) -> Tensor:
    """Return the tensor itself, the logits of a transformers output, or the first tensor."""
    if isinstance(output, Tensor):
        return output
    values = output.values() if isinstance(output, Mapping) else output
    return next(value for value in values if isinstance(value, Tensor))
