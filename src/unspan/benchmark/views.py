"""Views of a benchmark: which columns each table has, and which figures there are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from unspan.benchmark.table_values import Column, Filled, Fold, Table, lines

_ATTACK, _OWN, _COST = "converged attack on D_ft", "output", "cost"
_KR = "KR (published probe)"
CLASS = (
    Column("strongest", "strongest attack", "retrained", _ATTACK),
    Column("false positives", "its false positives", "none", _ATTACK),
    Column("D_ft", "D_ft", "lower", _OWN),
    Column("D_rt", "D_rt", "higher", _OWN),
    Column("seconds", "seconds", "lower", _COST),
    Column("probe, ten views", "ten views", "retrained", _ATTACK, optional=True, fold=Fold.MORE),
    Column("probe", "linear", "retrained", _ATTACK, fold=Fold.MORE),
    Column("RUS", "RUS(o)", "none", _ATTACK, digits=2, optional=True, fold=Fold.MORE),
    Column("nearest rank", "M4", "none", _ATTACK, digits=2, optional=True, fold=Fold.MORE),
    Column("D_f", "D_f", "lower", _OWN, fold=Fold.MORE),
    Column("D_r", "D_r", "higher", _OWN, fold=Fold.MORE),
    Column("HM", "HM", "higher", _OWN, fold=Fold.MORE),
    Column("HM_t", "HM_t", "higher", _OWN, fold=Fold.MORE),
    Column("MIA", "MIA", "none", _OWN, fold=Fold.MORE),
    Column("AUS", "AUS", "higher", _OWN, digits=2, optional=True, fold=Fold.MORE),
    Column("KR D_f", "D_f", "lower", _KR, fold=Fold.KR),
    Column("KR D_r", "D_r", "higher", _KR, fold=Fold.KR),
    Column("KR D_ft", "D_ft", "lower", _KR, fold=Fold.KR),
    Column("KR D_rt", "D_rt", "higher", _KR, fold=Fold.KR),
    Column("KR HM", "HM", "higher", _KR, fold=Fold.KR),
    Column("KR HM_t", "HM_t", "higher", _KR, fold=Fold.KR),
)
SETTINGS = tuple(
    replace(one, fold=Fold.OPEN if one.fold is Fold.MORE else one.fold)
    for one in CLASS
    if one.key in ("strongest", "false positives", "HM", "HM_t", "KR HM", "KR HM_t", "probe")
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
    Column("forgetting score", "forgetting score", "lower"),
    Column("D_f", "D_f"),
    Column("distance_retained", "distance, retained", digits=3, optional=True),
    Column("distance_synthesised", "distance, synthesised", digits=3, optional=True),
    Column("epochs", "epochs", "none", digits=0, optional=True),
    Column("seconds", "seconds", "lower"),
)
ZRF = (
    Column("ZRF", "ZRF", "none", digits=3),
    Column("ZRF (legacy)", "ZRF as released", "none", digits=3, optional=True),  # of older cells
    Column("D_ft", "D_ft", "lower"),
    Column("strongest", "strongest attack", "retrained"),
)
STEP = (
    Column("strongest", "strongest attack", "retrained"),
    Column("false positives", "its false positives"),
    Column("D_ft", "D_ft so far", "lower"),
    Column("D_rt", "D_rt", "higher"),
    Column("HM_t", "HM_t", "higher"),
    Column("seconds", "seconds", "lower"),
    Column("KR HM_t", "HM_t", "higher", _KR, fold=Fold.KR),
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
    "strongest attack: the best of the converged linear probe, an MLP, kNN (k = 1, 5, 20) and, for"
    " images, means over ten views, at naming test samples of the forgotten classes. Below the"
    " retrained row more is hidden than by never having learned them, which is a trace. Its false"
    " positives: retained test samples that it takes for a forgotten class; – where a cell was"
    " measured before they were kept. D_ft, D_rt: accuracy in percent on forgotten and retained"
    " test samples, D_f, D_r on training samples. HM, HM_t: harmonic mean of the accuracy lost on"
    " the forgotten and kept on the others. MIA: the published loss attack, 50 is chance. RUS(o),"
    " M4, AUS: see the glossary. KR: the published probe. It is not trained to convergence, so"
    " nothing is marked as best there."
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
        " release computes it, in percent. Forgetting score: 2 |MIA − 50| of the balanced attack."
        " Distance: transport cost of retained, and of DLFD's synthesised, to forget images in the"
        " last epoch that moved any.",
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
