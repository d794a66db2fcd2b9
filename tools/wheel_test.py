"""Check an installed unspan: all package data is there, and erase, save, load and the command work.

    build/wheel-env/bin/python tools/wheel_test.py

Runs in a temporary folder, so that the checkout is not imported by accident.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "src" / "unspan"

USE = """
import torch, unspan
def network():
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
deletion = unspan.erase(network(), torch.randn(30, 4), unspan.ESC(rank=1))
deletion.save("erased")
inputs = torch.randn(5, 4)
assert torch.equal(unspan.load("erased", model=network())(inputs), deletion.model(inputs))
print(unspan.__file__)
"""


def missing_data(installed: Path) -> list[str]:
    """Files that are no Python code and that the installed package lacks."""
    missing = []
    for path in sorted(SOURCE.rglob("*")):
        name = path.relative_to(SOURCE)
        skipped = path.suffix in (".py", ".pyc") or "__pycache__" in name.parts
        if path.is_file() and not skipped and not (installed / name).is_file():
            missing.append(str(name))
    return missing


def run(*command: str, folder: str) -> str:
    """Output of a command in `folder`; its failure ends the check."""
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)[:60]} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def main() -> None:
    """Use the package that this interpreter has installed."""
    command = str(Path(sys.executable).with_name("unspan"))
    with tempfile.TemporaryDirectory() as folder:
        printed = run(sys.executable, "-W", "ignore", "-c", USE, folder=folder)
        installed = Path(printed.splitlines()[-1]).parent
        if SOURCE in (installed, *installed.parents):
            raise SystemExit(f"{installed} is the checkout, not an installed package.")
        missing = missing_data(installed)
        if missing:
            raise SystemExit(f"The wheel lacks package data: {', '.join(missing)}")
        run(command, "methods", folder=folder)
    print(f"{installed}: complete, and it works.")


if __name__ == "__main__":
    main()
