"""Memory that one batch freed serves the next one."""

import platform
import subprocess
import sys

import pytest

# as a pass does: the outputs of many layers are held together, then freed
CHILD = """
import ctypes
import resource
import torch
from unspan.system.memory import keep_freed_memory

torch.set_num_threads(1)
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: pages of one size can be counted
KEEP and keep_freed_memory()
def batch():
    held = [torch.ones(2**20) for _ in range(20)]
batch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    batch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(keep):
    """Pages that were mapped anew in five batches."""
    code = CHILD.replace("KEEP", str(keep))
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return int(run.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_a_batch_takes_the_pages_of_the_one_before_it():
    assert faults(True) < faults(False) / 2
