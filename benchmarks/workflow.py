"""The workflow itself: what a dry run of many cells costs, and what of a run is not science."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from harness import Row

ROOT = Path(__file__).resolve().parents[1]
CELLS = 10_000
#: The workflow's own environment: the peers bring packages that its jobs should not find.
PYTHON = ROOT / ".venv/bin/python"


def rows() -> Iterator[Row]:
    """All rows of this benchmark."""
    yield _dry_run()
    yield _share_of_overhead()


def _dry_run() -> Row:
    """Seconds of ``snakemake -n`` for one study of so many cells; the second of two runs."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "many.yaml"
        config.write_text(_many_cells())
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            done = _snakemake(folder, "-n", "--cores", "2", "--configfile", str(config))
            seconds.append(time.perf_counter() - start)
        manifests = [json.loads(p.read_text()) for p in Path(folder).glob("results/manifests/*")]
        cells = sum(len(m["cells"]) for m in manifests if m["rule"] == "probe")
        jobs = next(line.split()[1] for line in done.splitlines() if line.startswith("total"))
    best = sorted(seconds)[1]
    note = f"{cells} cells in {jobs} jobs; all runs {', '.join(f'{s:.1f}' for s in seconds)} s"
    return Row(
        f"dry run of a study of {cells:,} cells",
        "5 seconds",
        best,
        5.0,
        best / 5.0,
        1.0,
        "at_most",
        "s",
        note,
    )


def _many_cells() -> str:
    """The first consumer price series of the BLS, asked of five models."""
    from palimpsest.data.cpi_bls import with_numbers

    models = ("pythia-160m", "pythia-1b", "pythia-6.9b", "llama-3.1-8b-instruct", "tiny")
    series = [name.lower() for name in sorted(with_numbers())][: CELLS // (4 * len(models))]
    config = {
        "models_file": str(ROOT / "config/models.yaml"),
        "studies": {
            "many": {
                "probe": "economic_recall",
                "states": {model: {"model": model} for model in models},
                "settings": {"series": series},
            }
        },
    }
    return json.dumps(config)


def _share_of_overhead() -> Row:
    """Of the wall time of all model jobs of the default run, the part that is not science.

    Science is the time inside training and measuring, as each job records it; the whole is what
    Snakemake's own benchmark saw of the job, from its start to its end. A default run that is
    already there is read where RUN names its folder.
    """
    if finished := os.environ.get("RUN"):
        return _of_results(Path(finished) / "results", "read from a finished run")
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        _snakemake(
            folder, "--cores", "2", "--configfile", str(ROOT / "config/config.yaml"), "--config",
            f"models_file={ROOT / 'config/models.yaml'}",
        )  # fmt: skip
        wall = time.perf_counter() - start
        return _of_results(Path(folder) / "results", f"the whole run took {wall:.0f} s on 2 cores")


def _of_results(results: Path, remark: str) -> Row:
    jobs = [json.loads(p.read_text()) for p in results.rglob("*provenance.json")]
    science = sum(job["work_seconds"] or 0.0 for job in jobs)
    whole = sum(
        _benchmarked(path)
        for kind in ("states", "observations")
        for path in (results / "benchmarks" / kind).rglob("*.tsv")
    )
    note = (
        f"{science:.0f} s of {whole:.0f} s in {sum(j['work_seconds'] is not None for j in jobs)} "
        f"jobs that train or measure; {remark}"
    )
    return Row(
        "share of the jobs' wall time that is not science, default run",
        "the whole wall time of these jobs",
        whole - science,
        whole,
        1 - science / whole,
        0.1,
        "at_most",
        "s",
        note,
    )


def _benchmarked(path: Path) -> float:
    names, values = (line.split("\t") for line in path.read_text().splitlines()[:2])
    return float(values[names.index("s")])


def _snakemake(folder: str, *arguments: str) -> str:
    done = subprocess.run(
        [
            str(PYTHON), "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"),
            "--workflow-profile", str(ROOT / "profiles/default"), *arguments,
        ],
        cwd=folder,
        env=os.environ | {"PATH": f"{PYTHON.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    return done.stdout
