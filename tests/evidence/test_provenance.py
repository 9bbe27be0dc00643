"""What a job says about itself."""

from __future__ import annotations

import subprocess
import sys

import pytest

SAY = "from palimpsest.evidence.provenance import peak_memory_mb; print(peak_memory_mb())"
LARGE = f"""
import subprocess, sys
held = bytearray(600 * 2**20)
held[::4096] = b"x" * len(held[::4096])
{SAY}
print(subprocess.check_output([sys.executable, "-c", {SAY!r}], text=True))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps the two apart")
def test_memory_is_that_of_the_program_and_not_of_the_one_that_started_it():
    said = subprocess.check_output([sys.executable, "-c", LARGE], text=True).split()
    large, small = map(float, said)
    assert 600 < large < 900
    assert 10 < small < 300
