"""Deleting what can be made again, and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

from palimpsest.files import read_json
from palimpsest.manifests import DATABASE, RESULTS, Plan

#: Not made again for nothing: replies of endpoints have been paid for.
KEPT = (".gitkeep", "requests")


def clean(
    plan: Plan, *, states: bool, failed: bool, orphans: bool, everything: bool, dry_run: bool
) -> str:
    """Delete the chosen kinds of results; returns what was deleted, in words."""
    doomed: list[Path] = []
    if everything:
        doomed += [p for p in RESULTS.glob("*") if p.name not in KEPT]
        doomed += [p for p in Path("reports").glob("*") if p.name != ".gitkeep"]
    if states:
        doomed += list(RESULTS.glob("states/*"))
    if failed:
        records = RESULTS.glob("states/*/state.json")
        again = [path.parent for path in records if "diverged" in read_json(path)]
        for path in RESULTS.glob("observations/*/*/*.json"):
            if path.name.endswith(".provenance.json"):
                continue
            if any(cell["reason"] for cell in read_json(path)["cells"]):
                again += [path, path.with_suffix(".parquet")]
        # Snakemake makes nothing again that lies between inputs and a database that stands.
        doomed += [*again, DATABASE] if again else []
    if orphans:
        doomed += _orphans(plan)
    doomed = [path for path in dict.fromkeys(doomed) if path.exists() or path.is_symlink()]
    size = sum(_size(path) for path in doomed)
    if not dry_run:
        for path in doomed:
            # Of a link only the link: what it points to lies outside of the results.
            inside = path.is_dir() and not path.is_symlink()
            shutil.rmtree(path) if inside else path.unlink()
    verb = "would free" if dry_run else "freed"
    listed = "\n".join(f"  {path}" for path in doomed[:20])
    more = f"\n  ... and {len(doomed) - 20} more" if len(doomed) > 20 else ""
    return f"{verb} {size / 1e6:,.1f} MB in {len(doomed)} places\n{listed}{more}".strip()


def _orphans(plan: Plan) -> list[Path]:
    """States, models, shards, cells and manifests that no run needs, and damaged files."""
    used_states = {s.id for s in plan.states.values()}
    used_models = {m.id for m in plan.models.values()}
    used_cells = {c.id for study in plan.studies.values() for c in study.cells}
    used_shards = {str(job.output) for job in plan.jobs}
    used_manifests = {str(plan.manifest_path(m)) for m in plan.manifests()}
    found = [p for p in RESULTS.glob("states/*") if p.name not in used_states]
    found += [p for p in RESULTS.glob("models/*") if p.name not in used_models]
    found += [p for p in RESULTS.glob("cells/*/*") if p.name.split(".")[0] not in used_cells]
    found += [
        p
        for p in RESULTS.glob("observations/*/*/*")
        if str(p.parent / (p.name.split(".")[0] + ".parquet")) not in used_shards
    ]
    found += [p for p in RESULTS.glob("manifests/*") if str(p) not in used_manifests]
    found += RESULTS.glob("damaged")
    # What a killed job was writing; see files.atomic.
    found += RESULTS.rglob(".*.tmp*")
    return found


def _size(path: Path) -> int:
    if path.is_symlink():
        return 0
    if path.is_file():
        return path.stat().st_size
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
