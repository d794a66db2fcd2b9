"""Where unspan runs, and what it says elsewhere."""

import subprocess
import sys


def test_windows_is_refused_by_name():
    code = "import sys; sys.platform = 'win32'; import unspan"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "does not run on Windows" in done.stderr
    assert "Windows Subsystem for Linux" in done.stderr
