"""Pages of audits for tests: from the form of audit.json, with whatever it leaves out."""

import html5lib

from unspan import report
from unspan.audit_record import stored
from unspan.audit_record.vocabulary import NOT_MEASURABLE

EMPTY = {  # an audit that measured nothing
    "schema": stored.SCHEMA,
    "created": "",
    "identity": {
        **dict.fromkeys(("deletion", "model", "original", "valid_until")),
        "references": [],
        "by": "",
        "given": "models",
    },
    "evidence": {"strength": "weak", "weaknesses": [], "deciding": [], "undecided": []},
    "accesses": [],
    "cost": None,
    "not_to_say": [],
    "verdict": NOT_MEASURABLE.value,
    "request": {
        "kind": "class",
        "selector": [],
        "samples": 0,
        "test_samples": 0,
        "test": "held_out",
    },
    "method": None,
    **{key: [] for key in ("levels", "goals", "can_still", "next_steps", "limits", "attacks")},
    **{key: [] for key in ("scores", "controls", "informative", "notes", "not_run", "attempts")},
    "reference": {"kind": "random weights", "count": 1, "usable": True},
    "details": {},
    "figures": {},
    "settings": {
        "seed": 0,
        "batch_size": 64,
        "attacks": "default",
        "feature_layer": None,
        "pool": None,
        "rule": {"retained_above": 0.25, "room": 0.1, "guessing": 0.1},
    },
    "hashes": {
        **{key: "" for key in ("before", "after", "fit_data", "test_data", "config")},
        "reference": [],
    },
    "versions": {},
    "seconds": {},
}


def html(form):
    """The page of an audit; what the form does not name was not measured."""
    return report.html(stored.from_dict(EMPTY | form))


def markdown(form):
    return report.markdown(stored.from_dict(EMPTY | form))


def parsed(text):
    return html5lib.parse(text, namespaceHTMLElements=False)


def words(text):
    """Visible text, with spaces as people read them."""
    tree = parsed(text)
    for parent in tree.iter():
        for child in [
            one for one in parent if one.tag in ("style", "{http://www.w3.org/2000/svg}svg")
        ]:
            child.text = ""
            for inner in list(child):
                child.remove(inner)
    return " ".join(" ".join(tree.itertext()).replace("\u00a0", " ").split())


def first_screen(text):
    return words(text[: text.index('<section id="attacks"')])
