"""Options of `unspan erase` alone: what it reads and writes, when it stops, and the method."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unspan.cli.catalogue import NAMES, complete_method
from unspan.cli.options import DATA, METHOD, REQUEST, RUN, SAFEGUARDS

Data = Annotated[
    str | None,
    typer.Option(
        help=(
            "Folder of images (class/*.jpg), Parquet file or folder, Hugging Face id, or"
            " python:pkg.mod:factory. Not needed beside --forget-data."
        ),
        rich_help_panel=DATA,
    ),
]
ForgetData = Annotated[
    str | None,
    typer.Option(
        help=(
            "Data (like --data) that as a whole must go, for example a folder of one person's"
            " images; with --forget CLASS, the samples of that class."
        ),
        rich_help_panel=REQUEST,
    ),
]
Holdout = Annotated[
    str | None,
    typer.Option(
        help=(
            "SPLIT or SPLIT:SHARE with samples that no model was trained on, for methods that"
            " choose by them (bake, dlfd, scrub with rewind); they are not measured."
        ),
        rich_help_panel=DATA,
    ),
]
Out = Annotated[
    Path, typer.Option(help="Folder to write: model.safetensors, receipt.json, README.md.")
]
Overwrite = Annotated[
    bool,
    typer.Option("--overwrite", help="Replace an unspan folder.", rich_help_panel=RUN),
]
MaxSamples = Annotated[
    int | None,
    typer.Option(help="Read at most this many forget samples.", rich_help_panel=RUN),
]
Evaluate = Annotated[
    str,
    typer.Option(
        "--eval",
        help=(
            "Splits to measure before and after, comma separated; 'auto' is test if there is"
            " one, else the data; 'none'."
        ),
        rich_help_panel=RUN,
    ),
]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        help="Secret for the request commitment; a new one by default.",
        rich_help_panel=RUN,
    ),
]
MaxDrop = Annotated[
    str | None,
    typer.Option(
        metavar="POINTS|none",
        help=(
            "Points of accuracy that the samples to keep may lose, or none to accept any loss. The"
            " output is refused (exit 7) when the loss is shown to be above the limit: the near end"
            " of its 95 % interval on the checked samples. A measured loss above it that is not"
            " shown is a warning. By default 3 on average for a class, and 2 in any class for other"
            " requests."
        ),
        rich_help_panel=SAFEGUARDS,
    ),
]
AllowOverlap = Annotated[
    bool,
    typer.Option(
        "--allow-overlap",
        help="Go on when forget samples stand in the test split too.",
        rich_help_panel=SAFEGUARDS,
    ),
]
AllowIdentifyingProjector = Annotated[
    bool,
    typer.Option(
        "--allow-identifying-projector",
        help="Write an eraser from very few samples, which can identify them.",
        rich_help_panel=RUN,
    ),
]
CheckLabels = Annotated[
    bool,
    typer.Option(
        help="Stop when the model does not recognise the labels to begin with.",
        rich_help_panel=SAFEGUARDS,
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print the receipt as JSON on standard output.")
]

Against = Annotated[
    str | None,
    typer.Option(
        metavar="outputs|features|queries|weights",
        help=(
            "Whom the deletion is to hold against; it chooses the method. outputs: one answer to"
            " each unaltered input. features: those too. queries: any number of altered copies of"
            " an input. weights: who holds the model. By default the cheapest method for the"
            " request; the plan says what it leaves open."
        ),
        rich_help_panel=METHOD,
    ),
]
Method = Annotated[
    str | None,
    typer.Option(
        help=(
            "By default chosen by the request and --against. One of:"
            f" {', '.join(NAMES)}; see unspan methods."
        ),
        autocompletion=complete_method,
        rich_help_panel=METHOD,
    ),
]
P = Annotated[
    float | None,
    typer.Option(
        help="ESC: percent of the directions to remove (1.5 by default).",
        rich_help_panel=METHOD,
    ),
]
Rank = Annotated[
    int | None,
    typer.Option(help="ESC: number of directions instead.", rich_help_panel=METHOD),
]
Energy = Annotated[
    float | None,
    typer.Option(
        help="ESC: fewest directions with this share of the energy instead.",
        rich_help_panel=METHOD,
    ),
]
Adaptive = Annotated[
    bool,
    typer.Option(
        "--adaptive",
        help="ESC: stop reading when the directions have converged.",
        rich_help_panel=METHOD,
    ),
]
Tau = Annotated[
    float | None,
    typer.Option(help="ESC-T: mask threshold (0.7).", rich_help_panel=METHOD),
]
Lr = Annotated[
    float | None,
    typer.Option(help="Step size of a method that trains.", rich_help_panel=METHOD),
]
Epochs = Annotated[
    int | None,
    typer.Option(help="Epochs of a method that trains.", rich_help_panel=METHOD),
]
Tune = Annotated[
    int | None,
    typer.Option(
        min=1,
        help=(
            "Try so many settings first and take the best, by validation samples from the data"
            " (never the test split)."
        ),
        rich_help_panel=METHOD,
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Any setting of the method, NAME=VALUE; repeat. unspan methods NAME lists them.",
        rich_help_panel=METHOD,
    ),
]
Target = Annotated[
    str | None,
    typer.Option(
        help=(
            "What an audit is to find: suppress (nobody reads more than in a model that never saw"
            " the samples) or like-retrained (no less either). The method's own by default."
        ),
        rich_help_panel=METHOD,
    ),
]
Form = Annotated[
    str,
    typer.Option(
        help="projected: features and scores; folded: scores only, unchanged architecture.",
        rich_help_panel=METHOD,
    ),
]
