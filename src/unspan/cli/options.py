"""Options of commands, each declared once: `weights: option.Weights = None`.

First those that several commands share. Commands with many of their own have a file for them:
`erase_options`, `audit_options`, `bench_options`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

MODEL, DATA, REQUEST, METHOD, RUN = "Model", "Data", "Request", "Method", "Run"
SAFEGUARDS = "Safeguards"

Model = Annotated[
    str,
    typer.Option(
        help=(
            "timm:NAME, torchvision:NAME, transformers:FOLDER_OR_ID,"
            " sentence-transformers:FOLDER_OR_ID, python:pkg.mod:factory, or an unspan folder (a"
            " further request)."
        ),
        rich_help_panel=MODEL,
    ),
]
Weights = Annotated[
    Path | None, typer.Option(help="Weights of the model, .safetensors.", rich_help_panel=MODEL)
]
NumClasses = Annotated[
    int | None,
    typer.Option(
        help="Outputs of the model; read from the weights by default.", rich_help_panel=MODEL
    ),
]
TrustCode = Annotated[
    bool,
    typer.Option(
        "--trust-code",
        help="Run the code that an unspan folder names to build its python: model.",
        rich_help_panel=MODEL,
    ),
]
FeatureLayer = Annotated[
    str | None,
    typer.Option(
        help="Where the features are: HEAD, NAME:out, output, output:KEY. Found by default.",
        rich_help_panel=MODEL,
    ),
]
Pool = Annotated[
    str | None,
    typer.Option(
        help="cls, mean, gap or last, when the features are tokens or maps.", rich_help_panel=MODEL
    ),
]

DATA_FORMS = (
    "Folder of images (class/*.jpg), Parquet file or folder, Hugging Face id, or"
    " python:pkg.mod:factory"
)
Split = Annotated[
    str, typer.Option(help="Split that holds the samples to forget.", rich_help_panel=DATA)
]
ImageColumn = Annotated[
    str | None, typer.Option(help="Column of the images in a table.", rich_help_panel=DATA)
]
TextColumn = Annotated[
    str | None, typer.Option(help="Column of the texts in a table.", rich_help_panel=DATA)
]
LabelColumn = Annotated[
    str | None, typer.Option(help="Column of the labels in a table.", rich_help_panel=DATA)
]
IdColumn = Annotated[
    str | None, typer.Option(help="Column that --forget-ids refers to.", rich_help_panel=DATA)
]
Classes = Annotated[
    Path | None,
    typer.Option(
        help=(
            "Names of the model's outputs, one a line in order (or JSON); the classes of the"
            " data are joined to them by name."
        ),
        rich_help_panel=DATA,
    ),
]
Size = Annotated[
    int | None,
    typer.Option(
        help="Resize the shorter side and crop the centre to this size.", rich_help_panel=DATA
    ),
]
Mean = Annotated[
    str | None,
    typer.Option(
        help="Normalisation mean, one number or one a channel: 0.5 or 0.48,0.46,0.41.",
        rich_help_panel=DATA,
    ),
]
Std = Annotated[
    str | None,
    typer.Option(
        help="Normalisation deviation, one number or one a channel.", rich_help_panel=DATA
    ),
]

Forget = Annotated[
    list[str] | None,
    typer.Option(help="Class name or index; repeat for several.", rich_help_panel=REQUEST),
]
ForgetOfReceipt = Annotated[
    list[str] | None,
    typer.Option(
        help="Class name or index; read from the receipt of an unspan folder by default.",
        rich_help_panel=REQUEST,
    ),
]
ForgetIndex = Annotated[
    str | None, typer.Option(help="Sample positions: 3,17,20-29.", rich_help_panel=REQUEST)
]
ForgetIds = Annotated[
    Path | None,
    typer.Option(help="CSV or text file of ids, file names or positions.", rich_help_panel=REQUEST),
]
ForgottenData = Annotated[
    str | None,
    typer.Option(help="Data that as a whole was forgotten.", rich_help_panel=REQUEST),
]

Device = Annotated[str | None, typer.Option(help="cpu, cuda, mps.", rich_help_panel=RUN)]
BatchSize = Annotated[int, typer.Option(help="Samples a forward pass.", rich_help_panel=RUN)]
EngineName = Annotated[
    str,
    typer.Option(
        "--engine",
        help="local, or ray: divide passes over data, or files, among the workers of a cluster"
        " ($RAY_ADDRESS, or this machine).",
        rich_help_panel=RUN,
    ),
]
Workers = Annotated[
    int,
    typer.Option(
        help="Loader processes; with --engine ray workers of the cluster, 0 for as many as fit.",
        rich_help_panel=RUN,
    ),
]
Seed = Annotated[int, typer.Option(help="Of every random choice.", rich_help_panel=RUN)]

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Errors only.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]
ErasedFolder = Annotated[Path, typer.Argument(help="Folder written by unspan erase.")]

# unspan stats
OutStatistics = Annotated[Path, typer.Option(help="File to write: statistics.safetensors.")]
OverwriteStatistics = Annotated[
    bool, typer.Option("--overwrite", help="Replace a file of statistics.")
]
ModelOfStatistics = Annotated[
    str | None, typer.Option(help="As for unspan erase.", rich_help_panel=MODEL)
]
DataOfStatistics = Annotated[
    str | None,
    typer.Option(
        help="The data the model was trained on, as for unspan erase.",
        rich_help_panel=DATA,
    ),
]
SplitToRead = Annotated[str, typer.Option(help="Split to read.", rich_help_panel=DATA)]
MaxDrawn = Annotated[
    int,
    typer.Option(min=40, help="Samples to read, drawn at random.", rich_help_panel=RUN),
]
SeedOfDraw = Annotated[int, typer.Option(help="Of the draw of samples.", rich_help_panel=RUN)]
Drop = Annotated[
    list[str] | None,
    typer.Option(help="With --from: leave out this class (its index); repeat for several."),
]
DropFrom = Annotated[
    Path | None,
    typer.Option(
        "--from", help="A file of statistics to drop classes from, instead of a model and data."
    ),
]

# unspan recheck
NewModel = Annotated[
    str,
    typer.Argument(
        help=(
            "The new model: timm:NAME, torchvision:NAME, transformers:FOLDER_OR_ID,"
            " sentence-transformers:FOLDER_OR_ID, python:pkg.mod:factory, or an unspan folder."
        )
    ),
]
DeletionFolder = Annotated[Path, typer.Option(help="Folder written by unspan erase.")]
DataOfRequest = Annotated[str, typer.Option(help="Labelled data with samples of the request.")]
ResultAsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]

# unspan verify
AuditOfFolder = Annotated[
    Path | None,
    typer.Option(help="audit.json, or the folder of an audit, that should be of this model."),
]
PublicKey = Annotated[
    Path | None,
    typer.Option(
        "--key", help="Public key (PEM) that should have signed the folder and the audit."
    ),
]
SealOnly = Annotated[
    bool,
    typer.Option("--seal-only", help="Seals and signatures alone: no model is built, in a moment."),
]
TrustCodeOfReceipt = Annotated[
    bool,
    typer.Option(
        "--trust-code", help="Run the code that the receipt names to build a python: model."
    ),
]
ChecksAsJson = Annotated[bool, typer.Option("--json", help="Print the checks as JSON.")]

# unspan inspect
PrintReceiptAsJson = Annotated[bool, typer.Option("--json", help="Print the receipt as JSON.")]

# unspan export
OutExport = Annotated[
    Path, typer.Option(help="File to write: NAME.onnx or NAME.pt2 (torch.export).")
]
OverwriteExport = Annotated[bool, typer.Option("--overwrite", help="Replace an exported file.")]
Shape = Annotated[
    str | None,
    typer.Option(help="Shape of one input, for example 3,224,224; by default as it was erased."),
]
TrustCodeOfFolder = Annotated[
    bool,
    typer.Option(
        "--trust-code", help="Run the code that the folder names to build its python: model."
    ),
]

# unspan sign
SignedFolder = Annotated[
    Path, typer.Argument(help="Folder written by unspan erase or unspan audit; or the new key.")
]
PrivateKey = Annotated[
    Path | None, typer.Option("--key", help="Private key: Ed25519, PEM, without a password.")
]
NewKey = Annotated[
    bool,
    typer.Option("--new-key", help="Make a key instead: FOLDER is the file, FOLDER.pub the other."),
]

# unspan scan
ScannedFolder = Annotated[Path, typer.Argument(help="Folder or file that is to be published.")]
NamesToFind = Annotated[
    Path, typer.Option("--names", help="File with names, ids or paths to look for, one a line.")
]
