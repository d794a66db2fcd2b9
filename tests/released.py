"""Methods of experiments/released, for tests."""

from pathlib import Path

from unspan.system.user_code import import_user_module

FOLDER = Path(__file__).resolve().parents[1] / "experiments" / "released"


def released(file):
    """The module of a file in that folder."""
    return import_user_module(str(FOLDER / f"{file}.py"))


def spec(file, name):
    """What the command line takes for a method in that folder."""
    return f"python:{FOLDER / file}.py:{name}"
