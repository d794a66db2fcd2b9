"""Views of a benchmark: which columns each table has, and which figures there are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from unspan.benchmark.table_values import Column, Filled, Table, lines

CLASS = (
    Column("D_f", "D_f", "lower", "output"),
    Column("D_r", "D_r", "higher", "output"),
    Column("D_ft", "D_ft", "lower", "output"),
    Column("D_rt", "D_rt", "higher", "output"),
    Column("HM", "HM", "higher", "output"),
    Column("HM_t", "HM_t", "higher", "output"),
    Column("MIA", "MIA", "none", "output"),
    Column("KR D_f", "D_f", "lower", "KR (published probe)"),
    Column("KR D_r", "D_r", "higher", "KR (published probe)"),
    Column("KR D_ft", "D_ft", "lower", "KR (published probe)"),
    Column("KR D_rt", "D_rt", "higher", "KR (published probe)"),
    Column("KR HM", "HM", "higher", "KR (published probe)"),
    Column("KR HM_t", "HM_t", "higher", "KR (published probe)"),
    Column("probe", "linear", "lower", "converged attack on D_ft"),
    Column("strongest", "strongest", "lower", "converged attack on D_ft"),
    Column("seconds", "seconds", "lower", "cost"),
)
SETTINGS = tuple(
    one for one in CLASS if one.key in ("HM", "HM_t", "KR HM", "KR HM_t", "probe", "strongest")
)
SAMPLES = (
    Column("D_f", "D_f"),
    Column("D_r", "D_r", "higher"),
    Column("D_t", "D_t", "higher"),
    Column("member rate", "MIA (member rate)"),
    Column("Avg Gap", "Avg Gap", "lower", digits=2),
    Column("MIA (balanced)", "MIA (balanced)"),
    Column("seconds", "RTE (s)", "lower"),
)
FACES = (
    Column("D_t", "test accuracy", "higher"),
    Column("|MIA − 50|", "|MIA − 50|", "lower"),
    Column("NoMUS", "NoMUS", "higher"),
    Column("D_f", "D_f"),
    Column("seconds", "seconds", "lower"),
)
ZRF = (
    Column("ZRF", "ZRF", "none", digits=3),
    Column("ZRF (legacy)", "ZRF as released", "none", digits=3, optional=True),  # of older cells
    Column("D_ft", "D_ft", "lower"),
    Column("strongest", "strongest attack", "lower"),
)
STEP = (
    Column("D_ft", "D_ft so far", "lower"),
    Column("D_rt", "D_rt", "higher"),
    Column("HM_t", "HM_t", "higher"),
    Column("KR HM_t", "HM_t", "higher"),
    Column("strongest", "strongest attack", "lower"),
    Column("seconds", "seconds", "lower"),
)


def by_pair(
    make: Callable[[str, str, Sequence[Filled]], list[Table]],
) -> Callable[[str, str, Sequence[Filled]], list[Table]]:
    """One table for each pair of data and model."""

    def tables(name: str, title: str, rows: Sequence[Filled]) -> list[Table]:
        pairs = list(dict.fromkeys(one.row["pair"] for one in rows))
        if len(pairs) == 1:
            return make(name, title, rows)
        return [
            table
            for number, pair in enumerate(pairs, 1)
            for table in make(
                f"{name}-{number}",
                f"{title}: {pair}",
                [one for one in rows if one.row["pair"] == pair],
            )
        ]

    return tables


def plain(
    view: str, columns: Sequence[Column], note: str = ""
) -> Callable[[str, str, Sequence[Filled]], list[Table]]:
    """A view that is one table of columns for each pair."""

    def table(name: str, title: str, rows: Sequence[Filled]) -> list[Table]:
        found = lines(rows, columns)
        known = {key for line in found for key in line.numbers}
        shown = tuple(one for one in columns if not one.optional or one.key in known)
        return [Table(f"{name}-{view}", title, shown, found, note)]

    return by_pair(table)


def incremental(name: str, title: str, rows: Sequence[Filled]) -> list[Table]:
    """One table for each request, everything measured on what was forgotten so far."""
    steps = max((len(result["steps"]) for one in rows for result in one.results), default=0)
    return [
        Table(
            f"{name}-request-{step + 1}",
            f"{title}, after request {step + 1} of {steps}",
            STEP,
            lines(rows, STEP, step),
        )
        for step in range(steps)
    ]


_CLASS_NOTE = (
    "Accuracy in percent: D_f, D_r on forget and retained training samples, D_ft, D_rt on test"
    " samples. KR: the published probe, which is not trained to convergence. linear, strongest: the"
    " converged linear probe, and the strongest of it, an MLP and kNN (k = 1, 5, 20), on test"
    " samples of the forgotten classes. MIA: the published loss attack, 50 is chance."
)
_SAMPLE_NOTE = (
    "MIA (member rate): share of forget samples that an attack fitted on retained against test"
    " samples calls members; nearer to Retrain is better. Avg Gap: mean difference to Retrain over"
    " D_f, D_r, D_t and it."
)

TABLES: dict[str, Callable[[str, str, Sequence[Filled]], list[Table]]] = {
    "methods": plain("methods", CLASS, _CLASS_NOTE),
    "settings": plain("settings", SETTINGS, _CLASS_NOTE),
    "samples": plain("samples", SAMPLES, _SAMPLE_NOTE),
    "faces": plain(
        "faces",
        FACES,
        "MIA: accuracy of the published loss attack, forget against unseen samples; NoMUS as the"
        " release computes it, in percent.",
    ),
    "zrf": plain(
        "zrf",
        ZRF,
        "ZRF in [0, 1] against three untrained networks; higher: the outputs look more like theirs."
        " Read it beside the Retrain row.",
    ),
    "incremental": by_pair(incremental),
}
FIGURES = ("recovery", "weights", "cosines", "runtime", "gradcam", "tsne", "pareto", "steps")
VIEWS = (*TABLES, *FIGURES)
