"""A job uses the threads that it was granted, in every library that makes its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from palimpsest import threads

ROOT = Path(__file__).parents[1]

#: What a job does first, then every library at work, then what each says and how many there are.
JOB = """
import glob, json, os, re, time
from palimpsest import jobs
from palimpsest.threads import limit
{first}
from palimpsest.engine import devices
with devices.device(0, {threads}):
    import numpy, polars, pyarrow, torch
    from palimpsest.evidence.gather import connect
    from threadpoolctl import threadpool_info
    numpy.ones((600, 600)) @ numpy.ones((600, 600))
    torch.ones(600, 600) @ torch.ones(600, 600)
    torch.jit.wait(torch.jit.fork(lambda x: x + 1, torch.ones(3)))
    polars.DataFrame({{"a": range(100_000)}}).lazy().group_by("a").len().collect()
    # A thread has its maker's name until it first runs, which it need not have done to be made.
    for _ in range(500):
        tasks = [open(path).read().strip() for path in glob.glob("/proc/self/task/*/comm")]
        counted = sum(bool(re.fullmatch(r"polars-\\d+", name)) for name in tasks)
        if counted >= {threads}:
            break
        time.sleep(0.01)
    database = connect({{}}, {{}})
    print(json.dumps({{
        "torch": torch.get_num_threads(),
        "torch between operators": torch.get_num_interop_threads(),
        "polars": polars.thread_pool_size(),
        "polars, counted": counted,
        "pyarrow": pyarrow.cpu_count(),
        "duckdb": database.execute("SELECT current_setting('threads')").fetchone()[0],
        "algebra": max(pool["num_threads"] for pool in threadpool_info()),
        "children": int(os.environ["OMP_NUM_THREADS"]),
        "tokenizers": int(os.environ["RAYON_NUM_THREADS"]),
    }}))
"""


def _said(first: str, number: int) -> dict[str, int]:
    clean = {k: v for k, v in os.environ.items() if k not in threads.VARIABLES}
    done = subprocess.run(
        [sys.executable, "-c", JOB.format(first=first, threads=number)],
        capture_output=True,
        text=True,
        env=clean | {"PYTHONPATH": str(ROOT / "src")},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("number", [1, 3])
def test_every_pool_has_the_threads_granted(number):
    """Three is more than many a machine has: the number is the grant, not the machine's."""
    pytest.importorskip("threadpoolctl")
    said = _said(f"limit({number})", number)
    above = {name: n for name, n in said.items() if n > number}
    assert not above
    asked = ("torch", "polars", "polars, counted", "duckdb", "children", "tokenizers")
    assert {name: said[name] for name in asked} == dict.fromkeys(asked, number)


@pytest.mark.parametrize(
    ("rule", "arguments"),
    [
        ("prepare_model", ("m", "o")),
        ("intervene", ("m", "o", 2, 0)),
        ("probe", ("m", "o", 2, 0)),
        ("analyse", ("m", "o")),
        ("gather", ("m", "o")),
        ("report_study", ("d", "s", "o")),
        ("report_index", ("d", "o")),
    ],
)
def test_every_job_says_its_threads_before_it_imports_a_library(rule, arguments):
    """The limit is in force although the job then stops: its manifest is not there."""
    code = (
        "import os, sys\nfrom palimpsest import jobs, threads\n"
        "heavy = [m for m in ('numpy', 'torch', 'polars', 'duckdb') if m in sys.modules]\n"
        "assert not heavy, heavy\nreal = threads.limit\n"
        "def limit(n):\n"
        "    assert not [m for m in ('numpy', 'torch', 'polars', 'duckdb') if m in sys.modules]\n"
        "    real(n)\n    print(n, flush=True)\n    os._exit(0)\n"
        f"threads.limit = limit\njobs.{rule}(*{arguments!r})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(2 if 2 in arguments else 1)]


def test_what_was_granted_is_known(monkeypatch):
    for text, number in {"3": 3, "": None, "0": None, "2,1": None}.items():
        monkeypatch.setenv("OMP_NUM_THREADS", text)
        assert threads.granted() == number
