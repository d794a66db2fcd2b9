"""The files that unspan writes, and the version of each format.

Every artefact is one entry of `ARTEFACTS`; `docs/artefacts.md` is made from it. A format whose
meaning changes gets the next number in `schema`; a reader refuses numbers that it does not know.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Artefact:
    """A folder or a file that unspan writes.

    Attributes:
        title: what people call it.
        files: names in it; `*` stands for a part that varies.
        schema: name and version of the format, empty where no reader asks for one.
        where: the text that holds `schema`, empty where there is none.
        written_by: the command or function.
        about: what it holds, in one or two sentences.
        private: it helps an attacker, and must not be published.
    """

    title: str
    files: tuple[str, ...]
    schema: str = ""
    where: str = ""
    written_by: str
    about: str
    private: bool = False


RECEIPT = Artefact(
    title="Erased model",
    files=("model.safetensors", "receipt.json", "README.md", "manifest.json"),
    schema="unspan.receipt/2",
    where="`schema` in receipt.json",
    written_by="`unspan erase`, `Deletion.save`",
    about="The weights, the receipt of what was asked and done, and a model card.",
)
PRIVATE_STATE = Artefact(
    title="Private state",
    files=("state.safetensors", "key", "manifest.json"),
    written_by="`unspan erase`, `Deletion.save`",
    about=(
        "What a further request needs, and the key of the sample hashes. It lies in"
        " `FOLDER.private`, beside the folder of the model."
    ),
    private=True,
)
MANIFEST = Artefact(
    title="Sealed manifest",
    files=("manifest.json",),
    schema="unspan.manifest/1",
    where="`schema` in the file",
    written_by="`unspan erase`, `unspan audit`",
    about="SHA-256 of every file of its folder, and the seal over them.",
)
SIGNATURE = Artefact(
    title="Signature",
    files=("signature.json",),
    written_by="`unspan sign`",
    about="A DSSE envelope with an Ed25519 signature around an in-toto statement of the seal.",
)
STATISTICS = Artefact(
    title="Statistics file",
    files=("*.safetensors",),
    schema="unspan.statistics/3",
    where="`schema` in the metadata of the file",
    written_by="`unspan stats`",
    about="Feature moments of the retain set, which a later erasure reads instead of samples.",
    private=True,
)
AUDIT = Artefact(
    title="Audit",
    files=("audit.json", "report.html", "report.md", "manifest.json"),
    schema="unspan.audit/5",
    where="`schema` in audit.json",
    written_by="`unspan audit`, `Audit.save`",
    about="Every measurement with its verdict. Both reports are drawn from audit.json.",
)
COMPARISON = Artefact(
    title="Comparison of audits",
    files=("compare.json", "compare.html", "compare.md"),
    schema="unspan.comparison/1",
    where="`schema` in compare.json",
    written_by="`unspan compare`",
    about="Audits side by side: what they agree in, what each found, and their order.",
)
APPLIED = Artefact(
    title="Receipt of stored vectors",
    files=("unspan-apply.json", "*.unspan-apply.json"),
    schema="unspan.apply/1",
    where="`schema` in the file",
    written_by="`unspan apply`, `unspan.apply`",
    about=(
        "Which deletion was carried into which files of vectors, their digests, and counts of rows."
        " It lies in the folder that was written, or beside a single file."
    ),
)
ATTEMPTS = Artefact(
    title="Attempts log",
    files=("attempts.jsonl",),
    written_by="`unspan audit`, `unspan.audit`",
    about=(
        "One line when an audit begins and one when it ends, in the cache folder. Lines of other"
        " formats are skipped."
    ),
)
CHECKPOINT = Artefact(
    title="Training checkpoint",
    files=("state.safetensors", "history.json"),
    written_by="methods that train",
    about="The last whole epoch, beside the output; removed when the output is complete.",
    private=True,
)
BENCH_CELL = Artefact(
    title="Benchmark cell",
    files=("cells/*.json",),
    schema="unspan.bench-cell/1",
    where="`schema` in the file; files without it are of version 1",
    written_by="`unspan bench run`",
    about=(
        "One measurement while a benchmark runs: its settings, scores, versions and time. Cells of"
        " another version of the measurement (`measurement`; 0 where it is missing) are never mixed"
        " with others."
    ),
)
BENCH_PICTURE = Artefact(
    title="Benchmark picture",
    files=("pictures/*.json",),
    schema="unspan.bench-picture/1",
    where="`schema` in the file",
    written_by="`unspan bench run`",
    about=(
        "What a figure shows of one cell, Grad-CAM or t-SNE, apart from its scores. Files of an"
        " older version hold it in the cell."
    ),
)
BENCH_SPEC = Artefact(
    title="Benchmark rows",
    files=("specs/*.json",),
    schema="unspan.bench-spec/1",
    where="`schema` in the file; files without it are of version 1",
    written_by="`unspan bench run`",
    about="Title, views and rows of a table while a benchmark runs; rows name their cells.",
)
BENCH_TABLE = Artefact(
    title="Benchmark table",
    files=("tables/*.jsonl", "tables/pictures/*.jsonl"),
    schema="unspan.bench-table/1",
    where="`schema` in the first line",
    written_by="`unspan bench pack`",
    about=(
        "The rows of a table, then one line for each cell. A cell that several tables show stands"
        " in the first of them. Pictures stand in files of their own."
    ),
)
BENCH_REPORT = Artefact(
    title="Benchmark report",
    files=("report/README.md", "report/leaderboard.html", "report/*.{md,csv,tex,svg,pdf}"),
    written_by="`unspan bench report`",
    about="Tables and figures, drawn from the cells; nothing reads them again.",
)

BENCH_EXPORT = Artefact(
    title="Benchmark export",
    files=("*/about.json", "*/split.npz", "*/outputs/*.npz", "*/signals/*.npz"),
    schema="unspan.bench-export/1",
    where="`schema` in about.json",
    written_by="`unspan bench export`",
    about=(
        "Split, outputs and membership signals of the models of a table, and the same in the forms"
        " of Privacy Meter (`privacy-meter/`) and LeakPro (`leakpro/`)."
    ),
)
LEDGER = Artefact(
    title="Ledger",
    files=("*.db", "*.db-wal", "*.db-shm"),
    schema="unspan.ledger/1",
    where="`user_version` in the header of the SQLite file; the name is in the hash of each entry",
    written_by="`unspan ledger`",
    about=(
        "Entries of deletions, audits, notes and purges, each with the hash of the one before it."
        " The name of the file is yours. The other two lie beside it while a command runs."
    ),
    private=True,
)
LEDGER_KEY = Artefact(
    title="Key of a ledger",
    files=("*.db.key",),
    written_by="`unspan ledger add --who`",
    about=(
        "32 random bytes beside the ledger. With them a name can be tested against the entries,"
        " without them nobody can."
    ),
    private=True,
)
LEDGER_EXPORT = Artefact(
    title="Export of a ledger",
    files=("*.csv", "*.json"),
    schema="unspan.ledger-export/1",
    where="`schema` in the JSON file",
    written_by="`unspan ledger export`",
    about="All entries with their hashes, as a table or as JSON. It names nobody who asked.",
)
INDEX = Artefact(
    title="Index",
    files=("*.html",),
    written_by="`unspan index`",
    about="Deletions, their audits and the entries of a ledger as one static page.",
)
ARTEFACTS = (
    RECEIPT,
    PRIVATE_STATE,
    MANIFEST,
    SIGNATURE,
    STATISTICS,
    AUDIT,
    COMPARISON,
    APPLIED,
    ATTEMPTS,
    CHECKPOINT,
    BENCH_CELL,
    BENCH_PICTURE,
    BENCH_SPEC,
    BENCH_TABLE,
    BENCH_REPORT,
    BENCH_EXPORT,
    LEDGER,
    LEDGER_KEY,
    LEDGER_EXPORT,
    INDEX,
)


def page() -> str:
    """Return the text of `docs/artefacts.md`: every artefact, its files and its version."""
    lines = [
        "# Files that unspan writes",
        "",
        "This page is made from `src/unspan/system/schemas.py`:"
        ' `python -c "from unspan.system.schemas import page; print(page(), end=str())"'
        " > docs/artefacts.md`.",
        "",
        "| artefact | files | format | publish? |",
        "|---|---|---|---|",
    ]
    for one in ARTEFACTS:
        files = ", ".join(f"`{name}`" for name in one.files)
        schema = f"`{one.schema}`" if one.schema else "–"
        lines.append(f"| {one.title} | {files} | {schema} | {'no' if one.private else 'yes'} |")
    for one in ARTEFACTS:
        lines += ["", f"## {one.title}", "", one.about, "", f"Written by {one.written_by}."]
        if one.where:
            lines[-1] += f" The version stands in {one.where}."
    return "\n".join(lines) + "\n"
