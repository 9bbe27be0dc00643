"""A report of what there is: missing cells are marked and never averaged over in silence."""

from __future__ import annotations

from pathlib import Path

from palimpsest.jobs import analyse, gather
from palimpsest.manifests import DATABASE, RESULTS, Plan


def build(plan: Plan, *, allow_missing: bool) -> Path:
    """Analyse, gather and build all pages; returns the index.

    A partial report lies apart from the complete one (``results/partial``, ``reports/partial``).

    Raises:
        ShardError: something is missing and ``allow_missing`` is False.
        ValueError: nothing has been measured yet.
    """
    from palimpsest.files import write_json
    from palimpsest.reports.build import build_index, build_study

    if not any(Path(job.output).exists() for job in plan.jobs):
        raise ValueError("nothing has been measured yet; run snakemake first")
    place, pages = (
        (RESULTS / "partial", Path("reports/partial"))
        if allow_missing
        else (RESULTS, Path("reports"))
    )
    manifest = dict(plan.manifest)
    studies = []
    for study in manifest["studies"]:
        statistics = place / "statistics" / f"{study['study']}.parquet"
        written = plan.manifest_path(plan.studies[study["study"]].manifest)
        write_json(written, plan.studies[study["study"]].manifest)
        analyse(str(written), str(statistics), allow_missing=allow_missing)
        studies.append(study | {"statistics": str(statistics)})
    manifest["studies"] = studies
    path = place / "gather.json"
    write_json(path, manifest)
    database = place / DATABASE.name
    gather(str(path), str(database), allow_missing=allow_missing)
    for study in studies:
        build_study(database, study["study"], pages / study["page"])
    build_index(database, pages / "index.html")
    return pages / "index.html"
