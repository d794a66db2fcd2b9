"""Formats that a model is exported to: one class for each, and the list of all at the end.

`unspan.export` and `unspan export` take their choices from `FORMATS`.
"""

import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from unspan.artifact.example_inputs import Inputs, batch_size, first_output, resized
from unspan.errors import UsageError

Program = Callable[[Inputs], Tensor]

MARK = "unspan.export"  # says in a file that it was written here
ONNX_LIMIT = 2_000_000_000  # bytes: one protobuf file holds less than 2 GiB


class ExportFormat(ABC):
    """A kind of file that holds a model as a program.

    Attributes:
        name: as `format=` says it; a file name with this ending is taken for the format.
    """

    name: ClassVar[str]

    @abstractmethod
    def write(self, model: nn.Module, inputs: Inputs, file: Path) -> Program:
        """Write the model with `MARK`, and return a function that runs what was written.

        Args:
            model: In evaluation mode.
            inputs: An example of any number of samples; the program takes any other number.
            file: Not there yet, in a folder of its own.

        Raises:
            UsageError: A package is missing, or the format cannot hold the model.
        """

    @abstractmethod
    def is_marked(self, file: Path) -> bool:
        """Whether a file, perhaps of another kind, has `MARK`; only such a file is replaced."""


class Onnx(ExportFormat):
    """ONNX; runs on onnxruntime."""

    name = "onnx"

    def write(self, model: nn.Module, inputs: Inputs, file: Path) -> Program:
        try:
            import onnx  # noqa: F401
            import onnxruntime  # noqa: F401
            import onnxscript  # noqa: F401
        except ImportError as error:
            raise UsageError(
                f"{error.name} is not installed: pip install 'unspan[onnx]'"
            ) from error
        if sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()]) >= ONNX_LIMIT:
            raise UsageError("one ONNX file holds less than 2 GB: export this model as pt2")
        # traced here: torch 2.7 would fall back to a trace that keeps one branch of the model
        traced = torch.export.export(model, strict=False, **_traced(inputs))
        program = torch.onnx.export(traced, dynamo=True)
        assert program is not None  # it is where no file is given
        program.model.metadata_props[MARK] = "1"
        program.save(str(file), external_data=False)
        return _on_onnxruntime(file)

    def is_marked(self, file: Path) -> bool:
        import onnx

        try:
            said = onnx.load(str(file), load_external_data=False).metadata_props
        except Exception:  # whatever the parser raises on a file of another kind
            return False
        return any(one.key == MARK for one in said)


class Pt2(ExportFormat):
    """A program of `torch.export`; runs on `torch.export.load`."""

    name = "pt2"

    def write(self, model: nn.Module, inputs: Inputs, file: Path) -> Program:
        traced = torch.export.export(model, strict=False, **_traced(inputs))
        torch.export.save(traced, file, extra_files={MARK: "1"})
        program = torch.export.load(file).module()
        return lambda batch: first_output(program, batch)

    def is_marked(self, file: Path) -> bool:
        try:
            with zipfile.ZipFile(file) as archive:
                return any(name.endswith(f"/{MARK}") for name in archive.namelist())
        except (OSError, zipfile.BadZipFile):
            return False


FORMATS: dict[str, ExportFormat] = {one.name: one for one in (Onnx(), Pt2())}


def format_named(name: str) -> ExportFormat:
    """The format of this name; UsageError where there is none."""
    if name not in FORMATS:
        raise UsageError(f"format {name!r}: choose from {', '.join(FORMATS)}")
    return FORMATS[name]


def _traced(inputs: Inputs) -> dict[str, Any]:
    """Arguments of an exporter: at least two samples, as a batch of one would be taken for a
    constant.
    """
    batch = resized(inputs, max(2, batch_size(inputs)))
    batch_axis = {0: torch.export.Dim.DYNAMIC}
    if isinstance(batch, Mapping):
        return {
            "args": (),
            "kwargs": dict(batch),
            "dynamic_shapes": dict.fromkeys(batch, batch_axis),
        }
    return {"args": (batch,), "dynamic_shapes": (batch_axis,)}


def _on_onnxruntime(file: Path) -> Program:
    import onnxruntime

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
