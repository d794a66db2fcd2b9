"""Tables as Markdown, CSV and LaTeX: mean ± standard deviation, printed values beside.

The best is bold, the second best underlined. The best of the methods that read no retained data is
marked too, as the papers do: with a dagger, in LaTeX in blue.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

from unspan.benchmark.table_ranks import ALONE, best_alone, notes, ranks
from unspan.benchmark.table_values import Choice, Column, Fold, Line, Number, Table

_READ = (Fold.OPEN, Fold.MORE)  # columns that a reader sees without opening anything
_LATEX_NOTE = (
    "% Bold: the best method, underlined: the second best. Blue: the best of the methods that read"
    " no retained data; needs the package xcolor."
)
ARROWS = {"lower": " ↓", "higher": " ↑", "retrained": " ≈", "none": ""}
_LATEX_ARROWS = {
    "lower": r" $\downarrow$",
    "higher": r" $\uparrow$",
    "retrained": r" $\approx$",
    "none": "",
}


def markdown(table: Table) -> str:
    """A table, its columns of the published probe folded, and below it the printed values with our
    difference to them, where there are any.
    """
    parts = [f"### {escaped(table.title)}", "", *_measured(table, table.columns_of(*_READ))]
    if known := notes([table]):
        parts += ["", " ".join(["Bold: the best method, underlined: the second best.", *known])]
    if table.note:
        parts += ["", escaped(table.note)]
    failed = [escaped(f"{line.label}: {line.failed}") for line in table.lines if line.failed]
    parts += ["", "Failed cells: " + "; ".join(failed)] if failed else []
    if table.choices:
        parts += ["", *_folded("Settings and trials", _chosen(table.choices))]
    published = table.columns_of(Fold.KR)
    if published:
        body = _measured(table, published)
        parts += ["", *_folded("KR, the published probe, not trained to convergence", body)]
    compared = [
        column
        for column in table.columns
        if any(_printed(line, column) is not None for line in table.lines)
    ]
    if compared:
        said = f"Printed in the paper ({escaped(table.meant)}), and ours minus printed"
        parts += ["", *_folded(f"{said} (`?`: the print is doubtful)", _compared(table, compared))]
    return "\n".join(parts) + "\n"


def _measured(table: Table, columns: Sequence[Column]) -> list[str]:
    """Lines of Markdown: what was measured, best bold, second best underlined."""
    places, alone = ranks(table), best_alone(table)
    body = []
    for number, line in enumerate(table.lines):
        row = [_label(line), _marks(line), _seeds(line)]
        for column in columns:
            text = _text(line.numbers.get(column.key), column)
            place = places.get((number, column.key))
            text = _marked(text, place, "**", "<u>", "</u>")
            row.append(text + ALONE if (number, column.key) in alone else text)
        body.append(row)
    return _pipes(["method", "reads D_r", "seeds", *map(_head, columns)], body)


def _chosen(choices: Sequence[Choice]) -> list[str]:
    """Lines of Markdown: settings of every method, and the validation score of every trial."""
    rows = []
    for one in choices:
        tried = "; ".join(
            f"{settings}: {'failed' if score is None else f'{score:.1f}'}"
            for settings, score in one.scores
        )
        row = [one.label, str(len(one.scores)), one.settings, tried or "–", one.rule or "–"]
        rows.append([escaped(text) for text in row])
    head = ["method", "trials", "settings beside the defaults", "score of each trial, %"]
    return _pipes([*head, "rule of validation"], rows)


def _compared(table: Table, columns: Sequence[Column]) -> list[str]:
    """Lines of Markdown: what is printed, and how far ours is from it."""
    rows = []
    for line in table.lines:
        if any(_printed(line, column) is not None for column in columns):
            gaps = (_difference(line.numbers.get(column.key), column) for column in columns)
            rows.append([escaped(line.label), *gaps])
    return _pipes(["method", *map(_head, columns)], rows)


def _folded(title: str, lines: Sequence[str]) -> list[str]:
    """Lines that a reader opens."""
    return ["<details>", f"<summary>{title}</summary>", "", *lines, "", "</details>"]


def comma_separated(table: Table) -> str:
    """One line for every method and column: means, deviations, seeds, printed value, difference."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        [
            "pair",
            "method",
            "label",
            "needs_retain",
            "column",
            "mean",
            "std",
            "seeds",
            "printed",
            "doubtful",
            "difference",
        ]
    )
    for line in table.lines:
        for column in table.columns:
            one = line.numbers.get(column.key)
            if one is not None:
                gap = "" if one.printed is None else round(one.mean - one.printed, 6)
                writer.writerow(
                    [
                        line.pair,
                        line.method,
                        line.label,
                        line.needs_retain,
                        column.key,
                        round(one.mean, 6),
                        "" if one.std is None else round(one.std, 6),
                        one.n,
                        "" if one.printed is None else one.printed,
                        int(one.doubtful),
                        gap,
                    ]
                )
    return out.getvalue()


def latex(table: Table) -> str:
    r"""A `tabular` with booktabs rules; `\\checkmark` marks methods that read retained data.

    Blue needs the package xcolor.
    """
    places, alone = ranks(table), best_alone(table)
    blocks: list[tuple[str, int]] = []
    for column in table.columns:
        if blocks and blocks[-1][0] == column.block:
            blocks[-1] = (column.block, blocks[-1][1] + 1)
        else:
            blocks.append((column.block, 1))
    rows = [f"\\begin{{tabular}}{{lc{'r' * len(table.columns)}}}", "\\toprule"]
    if any(name for name, _ in blocks):
        rows.append(
            " & & "
            + " & ".join(
                f"\\multicolumn{{{count}}}{{c}}{{{_escaped(name)}}}" for name, count in blocks
            )
            + r" \\"
        )
    rows += [
        "Method & $D_r$ & "
        + " & ".join(_math(column.title) + _LATEX_ARROWS[column.better] for column in table.columns)
        + r" \\",
        "\\midrule",
    ]
    for number, line in enumerate(table.lines):
        mark = {True: r"\checkmark", False: r"$\times$", None: ""}[line.needs_retain]
        cells = []
        for column in table.columns:
            text = _text(line.numbers.get(column.key), column, r"{\scriptsize$\pm$", "}")
            place = places.get((number, column.key))
            text = _marked(text, place, "", r"\underline{", "}", r"\textbf{", "}")
            blue = (number, column.key) in alone
            cells.append(rf"\textcolor{{blue}}{{{text}}}" if blue else text)
        rows.append(" & ".join([_escaped(line.label), mark, *cells]) + r" \\")
    said = [_LATEX_NOTE] if alone else []
    return "\n".join([*said, *rows, "\\bottomrule", "\\end{tabular}"]) + "\n"


def _text(one: Number | None, column: Column, between: str = " ± ", after: str = "") -> str:
    if one is None:
        return "–"
    return f"{one.mean:.{column.digits}f}" + (
        "" if one.std is None else f"{between}{one.std:.{column.digits}f}{after}"
    )


def _marked(
    text: str, rank: int | None, both: str, under: str, ends: str, bold: str = "", closes: str = ""
) -> str:
    if rank is None:
        return text
    return f"{under}{text}{ends}" if rank else f"{both or bold}{text}{both or closes}"


def _difference(one: Number | None, column: Column) -> str:
    if one is None or one.printed is None:
        return "–"
    return (
        f"{one.printed:.{column.digits + (column.digits > 0)}f}{'?' if one.doubtful else ''}"
        f" ({one.mean - one.printed:+.{column.digits}f})"
    )


def _printed(line: Line, column: Column) -> float | None:
    one = line.numbers.get(column.key)
    return None if one is None else one.printed


def _head(column: Column) -> str:
    kind = "KR " if column.key.startswith("KR") else ""
    return f"{kind}{column.title}{ARROWS[column.better]}".replace("|", "\\|")


def _label(line: Line) -> str:
    return escaped(line.label) + (
        "" if line.seeds else " (failed)" if line.failed else " (not run)"
    )


def _seeds(line: Line) -> str:
    return str(line.seeds) if line.seeds == line.wanted else f"{line.seeds} of {line.wanted}"


def _marks(line: Line) -> str:
    return {True: "✓", False: "✗", None: ""}[line.needs_retain]


def _pipes(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    return [
        "| " + " | ".join(head) + " |",
        "|" + "---|" * len(head),
        *("| " + " | ".join(row) + " |" for row in body),
    ]


def escaped(text: str) -> str:
    """A text of a user as plain Markdown in one line."""
    return re.sub(r"([\\`*\[\]<>|])", r"\\\1", " ".join(text.split()))


def _escaped(text: str) -> str:
    """A text of a user as plain LaTeX in one line."""
    special = {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        **{one: f"\\{one}" for one in "&%$#_{}"},
    }
    return "".join(special.get(character, character) for character in " ".join(text.split()))


def _math(title: str) -> str:
    letter, _, index = title.partition("_")
    return (
        f"${letter}_{{{index}}}$"
        if index and letter in ("D", "HM")
        else _escaped(title).replace("−", "$-$").replace("|", "$|$")
    )
