"""The workflow itself: a dry run of many cells, what of a run is not science, and its pages."""

from __future__ import annotations

import contextlib
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
    with _default_run() as (folder, remark):
        yield _of_results(folder / "results", remark)
        yield from _of_pages(folder / "results/palimpsest.duckdb", remark)


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


@contextlib.contextmanager
def _default_run() -> Iterator[tuple[Path, str]]:
    """Folder of a finished default run, and how it came; RUN may name one that is there."""
    if finished := os.environ.get("RUN"):
        yield Path(finished), "read from a finished run"
        return
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        _snakemake(
            folder, "--cores", "2", "--configfile", str(ROOT / "config/config.yaml"), "--config",
            f"models_file={ROOT / 'config/models.yaml'}",
        )  # fmt: skip
        wall = time.perf_counter() - start
        yield Path(folder), f"the whole run took {wall:.0f} s on 2 cores"


def _of_results(results: Path, remark: str) -> Row:
    """Of the wall time of all model jobs of the default run, the part that is not science.

    Science is the time inside training and measuring, as each job records it; the whole is what
    Snakemake's own benchmark saw of the job, from its start to its end.
    """
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


def _of_pages(database: Path, remark: str) -> Iterator[Row]:
    """What all pages of a run cost to build, how large they are, how fast the browser has them."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [str(PYTHON), str(Path(__file__).with_name("opening.py")), str(database), folder],
            env=os.environ | {"PATH": f"{PYTHON.parent}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
        )
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    found = json.loads(done.stdout.splitlines()[-1])
    pages = found["pages"]
    note = f"{len(pages)} pages, {found['observations']:,} observations; {remark}"
    largest = max(pages, key=lambda page: page["bytes"])
    slowest = max(pages, key=lambda page: page["built"])
    whole = f"{slowest['page']}; all together {sum(page['built'] for page in pages):.1f} s"
    yield _below("building a page of the default run, the slowest", slowest["built"], 20.0, "s",
                 whole)  # fmt: skip
    yield _below("memory of building all pages of the default run", found["mib"], 2000.0, "MiB",
                 note)  # fmt: skip
    yield _below("size of a page of the default run, the largest", largest["bytes"] / 1e6, 3.0,
                 "MB", largest["page"])  # fmt: skip
    if all(page["opened"] for page in pages):
        slowest = max(pages, key=lambda page: page["opened"])
        yield _below(
            "opening a page of the default run, the slowest",
            slowest["opened"],
            1.0,
            "s",
            f"{slowest['page']}, to the end of the load event in headless Chromium, median of 5",
        )


def _below(work: str, ours: float, limit: float, unit: str, note: str) -> Row:
    return Row(
        work, f"at most {limit:g} {unit}", ours, limit, ours / limit, 1.0, "at_most", unit, note
    )


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
