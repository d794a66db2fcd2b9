"""Options of `unspan apply`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_CHECK = "Samples"

Gallery = Annotated[
    str,
    typer.Argument(
        help=(
            "File or folder of stored vectors, or an address such as s3://bucket/vectors. Formats:"
            " .npy, .safetensors, .parquet, .arrow, .feather, .faiss. Or a database with pgvector:"
            " postgresql://user@host/name."
        )
    ),
]
OutGallery = Annotated[
    str,
    typer.Option(
        "--out",
        help="File or folder to write, of the same kind as GALLERY; for a database RECEIPT.json.",
    ),
]
TableOfStore = Annotated[
    str | None, typer.Option("--table", help="Table of the database that holds the vectors.")
]
Reclaim = Annotated[
    bool,
    typer.Option(
        "--reclaim",
        help="Rewrite the table after the swap (VACUUM FULL), so that its files hold no old"
        " vector; it is locked meanwhile.",
    ),
]
VectorColumn = Annotated[
    str | None,
    typer.Option(
        "--column", help="Column, or tensor, of the vectors; needed where several can be."
    ),
]
IdsOfRows = Annotated[
    str | None,
    typer.Option(
        "--id-column",
        help="Column that --forget-ids names rows by; without it, positions in each file from 0.",
    ),
]
ForgetRows = Annotated[
    Path | None,
    typer.Option(
        "--forget-ids", help="File with the ids of rows that are themselves to go, one a line."
    ),
]
WhatOfRows = Annotated[
    str, typer.Option("--rows", help="What becomes of these rows: keep, drop or flag.")
]
OverwriteGallery = Annotated[
    bool,
    typer.Option("--overwrite", help="Replace what unspan apply wrote of another deletion."),
]
WorkersOfApply = Annotated[
    int,
    typer.Option(
        "--workers", help="With --engine ray: workers of the cluster, 0 for as many as fit."
    ),
]
ListIds = Annotated[
    bool,
    typer.Option(
        "--list-ids",
        help="Change nothing: write the ids of all vectors to --out, one a line, to embed them"
        " again; ids of --forget-ids are left out.",
    ),
]
CheckData = Annotated[
    str | None,
    typer.Option(
        "--check",
        help="Data with samples of the gallery (as --data of unspan erase). Some are embedded again"
        " first, and nothing is written unless their stored vectors become the same.",
        rich_help_panel=_CHECK,
    ),
]
CheckSplit = Annotated[
    str, typer.Option("--check-split", help="Split of these data.", rich_help_panel=_CHECK)
]
CheckSamples = Annotated[
    int,
    typer.Option("--check-samples", help="How many are drawn.", rich_help_panel=_CHECK, min=1),
]
FitMap = Annotated[
    float | None,
    typer.Option(
        "--fit-map",
        help="For methods that changed the weights, and vectors that were normalised: fit a map to"
        " old and new vectors of these samples. The number is the largest share of the variance of"
        " new vectors that it may miss on samples left out, for example 0.01.",
        rich_help_panel=_CHECK,
    ),
]
