"""What each rule of the workflow does: from a manifest to its outputs.

The scripts parse paths and call these functions; nothing here reads the configuration.
"""

from __future__ import annotations

import gc
import shutil
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palimpsest import discovery, mending
from palimpsest import threads as cpu
from palimpsest.collector import paused
from palimpsest.context import InterventionContext, ProbeContext, Progress
from palimpsest.files import read_json, write_json
from palimpsest.manifests import RESULTS

if TYPE_CHECKING:
    from palimpsest.evidence.provenance import Provenance

#: Beginning of the reason of a cell whose training, or its state's, diverged: the error's name.
DIVERGED = "NonFiniteLossError: "
#: And of one that a spending cap has left out.
CAPPED = "SpendingCapError: "


def prepare_model(manifest_path: str, output: str) -> None:
    """Rule prepare_model: convert, fetch or check a model once."""
    cpu.limit(1)
    from palimpsest.evidence.provenance import Provenance
    from palimpsest.files import write_sealed
    from palimpsest.models.endpoint.model import prepared
    from palimpsest.models.loading import prepare

    manifest = read_json(manifest_path)
    record = Provenance(job=f"model/{manifest['id']}", rule="prepare_model")
    record.settings = manifest["entry"]
    if manifest["entry"]["source"] == "endpoint":
        written = prepared(manifest["model"], manifest["entry"])
        write_sealed(output, written)
    else:
        written = prepare(manifest["model"], manifest["entry"], output)
    record.notes = {"parameters": written["parameters"]}
    record.write(Path(output).with_name("provenance.json"))


def intervene(manifest_path: str, output: str, threads: int, gpu: int) -> None:
    """Rule intervene: apply one intervention to the parent state and save its checkpoints.

    With several devices the layers are spread over them, or one process a device holds a share of
    every weight, as the intervention says. Training that diverges is a result: it is written down
    in place of a state, and what would read the state fails with that reason.

    Raises:
        LostProcessError: one of several processes has failed.
    """
    cpu.limit(threads)
    from palimpsest.engine import devices

    manifest = read_json(manifest_path)
    module = discovery.intervention(manifest["intervention"])
    settings = module.Settings(**manifest["settings"])
    shares = getattr(module, "shares_devices", lambda settings: False)
    scratch = RESULTS / "scratch" / manifest["state"]
    mending.drop_interrupted(Path(output).parent, scratch)
    with devices.device(gpu, threads) as device:
        names = devices.names(device)
        if len(names) > 1 and shares(settings):
            from palimpsest.engine.processes import together

            together(_apply, names, threads, (manifest, output, threads, device))
        else:
            _apply(device, manifest, output, threads, device)
    shutil.rmtree(scratch, ignore_errors=True)


def _apply(
    device: str, manifest: dict[str, Any], output: str, threads: int, all_devices: str
) -> None:
    """Apply an intervention in this process; of several the first alone writes files."""
    from palimpsest.engine import devices, sharded
    from palimpsest.engine.training import NonFiniteLossError
    from palimpsest.evidence.provenance import Provenance
    from palimpsest.models.states import DivergedStateError, StateReader, save_step, write_state

    team = sharded.team()
    module = discovery.intervention(manifest["intervention"])
    settings = module.Settings(**manifest["settings"])
    folder = Path(output).parent
    scratch = RESULTS / "scratch" / manifest["state"]
    record = Provenance(
        job=f"state/{manifest['state']}",
        rule="intervene",
        state=manifest["state"],
        device=devices.describe(all_devices),
        threads=threads,
        code=manifest["code"],
        settings=manifest["settings"],
    )
    parent = StateReader(Path(manifest["parent"]), team.loads_on(device), verify=team.first)
    hashes = mending.kept(scratch)

    def save(step: int, changes: dict) -> None:
        if team.first:
            hashes[step] = save_step(folder, step, changes)
            write_json(scratch / mending.CHECKPOINTS, hashes)

    context = InterventionContext(
        seed=manifest["seed"],
        data_block=manifest["data_block"],
        folder=folder if team.first else scratch / f"process-{team.rank}",
        scratch=scratch,
        save=save,
        progress=lambda total: Progress(
            total,
            scratch / "progress.json" if team.first else None,
            f"{manifest['intervention']} s{manifest['seed']}",
            shown=team.first,
        ),
        device=device,
        parent=Path(manifest["parent"]).parent,
    )
    facts = {k: manifest[k] for k in ("state", "intervention", "settings", "seed", "model")}
    try:
        model = parent.at(parent.steps[-1])
        began = time.monotonic()
        module.apply(model, settings, context)
        record.work_seconds = time.monotonic() - began
        record.tokens, record.notes = int(team.total(model.tokens)), context.notes
        record.costs = context.costs
        missing = sorted({step for step in manifest["steps"] if step} - set(hashes))
        if team.first and missing:
            raise RuntimeError(f"{folder}: no checkpoint was saved for the steps {missing}")
    except (NonFiniteLossError, DivergedStateError) as error:
        traceback.print_exception(error)
        where = "" if isinstance(error, DivergedStateError) else f", in {manifest['state']}"
        record.notes = {"diverged": f"{error}{where}"}
        facts |= record.notes
        hashes.clear()
    if team.first:
        write_state(output, manifest["parent"], hashes, facts)
        record.write(folder / "provenance.json")


def probe(manifest_path: str, output: str, threads: int, gpu: int) -> None:
    """Rule probe: measure cells of one state, or of several replicates one after another; finished
    cells are taken from earlier runs.

    A cell that raises is recorded as failed with its reason and the others go on. When all have
    failed so does the job, unless a spending cap has ended it or training diverged in all of them.

    Raises:
        RuntimeError: no cell could be measured.
    """
    cpu.limit(threads)
    import polars as pl

    from palimpsest.engine import devices
    from palimpsest.evidence.provenance import Provenance
    from palimpsest.evidence.shards import (
        POLARS,
        is_finished,
        read_shard,
        status_of,
        write_shard,
    )

    manifest = read_json(manifest_path)
    cells = manifest["cells"]
    job = f"{manifest['study']}/{manifest['state']}/{manifest['batch']}"
    pending = [cell for cell in cells if not is_finished(cell_file(cell["id"]))]
    failures: dict[str, str] = {}
    record = Provenance(
        job=job,
        rule="probe",
        study=manifest["study"],
        state=manifest["state"],
        device="none, all cells were finished",
        threads=threads,
        code=manifest["code"],
        settings=manifest["settings"],
        cells_computed=len(pending),
        cells_reused=len(cells) - len(pending),
    )
    if pending:
        record.work_seconds = 0.0
        with devices.device(gpu, threads) as device:
            record.device = devices.describe(device)
            scratch = RESULTS / "scratch" / job.replace("/", ".")
            progress = Progress(len(pending), scratch / "progress.json", job)
            for state in manifest["states"]:
                own = [cell for cell in pending if cell["state"] == state["state"]]
                if own:
                    _measure(manifest, state, own, device, failures, progress, record, scratch)
                    # One model at a time; what refers to itself would stay for a while.
                    gc.collect()
            progress.close()
            shutil.rmtree(scratch, ignore_errors=True)
        record.cells_computed -= len(failures)
    if len(failures) == len(cells) and not _explained(failures):
        raise RuntimeError(f"no cell of {job} could be measured: {next(iter(failures.values()))}")
    parts = [read_shard(cell_file(c["id"])) for c in cells if c["id"] not in failures]
    status = [status_of(c["id"], cell_file(c["id"]), failures.get(c["id"])) for c in cells]
    record.notes |= {"cells": status}
    written = record.write(Path(output).with_suffix(".provenance.json"))
    frame = pl.concat(parts) if parts else pl.DataFrame(schema=POLARS)
    write_shard(output, frame, {"cells": status, "provenance": written})


def _explained(failures: dict[str, str]) -> bool:
    """Whether all cells failed by training that diverged, or by a spending cap."""
    return all(reason.startswith((DIVERGED, CAPPED)) for reason in failures.values())


def cell_file(cell: str) -> Path:
    """Where the finished observations of a cell lie."""
    return RESULTS / "cells" / cell[:2] / f"{cell}.parquet"


def _measure(
    manifest: dict[str, Any],
    state: dict[str, Any],
    pending: list[dict[str, Any]],
    device: str,
    failures: dict[str, str],
    progress: Progress,
    record: Provenance,
    scratch: Path,
) -> None:
    from palimpsest.evidence.shards import observations, write_shard
    from palimpsest.models.states import DivergedStateError, StateReader

    settings = discovery.probe(manifest["probe"]).Settings(**manifest["settings"])
    module = discovery.probe(manifest["probe"], "measure")
    path = Path(state["path"])
    reader = StateReader(path, device, access=manifest.get("access", {}))
    context = ProbeContext(
        study=manifest["study"],
        state=state["state"],
        seed=state["seed"],
        state_folder=path.parent,
        data_block=manifest["data_block"],
        entry=manifest["entry"],
        scratch=scratch / state["state"],
    )
    wanted = {cell["id"] for cell in pending}
    for step in sorted({cell["step"] for cell in pending}):
        try:
            model = reader.at(step)
        except DivergedStateError as error:
            failures |= {cell["id"]: f"{DIVERGED}{error}" for cell in pending}
            return
        before, began = model.tokens, time.monotonic()
        cells = [
            cell
            for cell in manifest["cells"]
            if cell["state"] == state["state"] and cell["step"] == step
        ]
        for group in _groups(module, settings, cells):
            if wanted.isdisjoint(cell["id"] for cell in group):
                continue
            for cell, rows in _outcomes(module, model, settings, group, context):
                costs, context.costs = context.costs, {}
                if cell["id"] not in wanted:
                    continue
                try:
                    if isinstance(rows, Exception):
                        raise rows
                    frame = observations(rows, study=cell["study"], cell=cell["id"], step=step)
                    write_shard(cell_file(cell["id"]), frame, {"cell": cell, "costs": costs})
                except OSError:
                    raise
                except Exception as error:
                    traceback.print_exception(error)
                    failures[cell["id"]] = f"{type(error).__name__}: {error}"
                progress.advance()
        record.tokens += model.tokens - before
        record.work_seconds += time.monotonic() - began
        if hasattr(model, "usage"):
            record.device, record.usage = f"cpu; {model.name} behind an endpoint", model.usage()


def _groups(module: Any, settings: Any, cells: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Cells that are measured together; a group is measured whole, so that its bits stay equal."""
    return module.groups(settings, cells) if hasattr(module, "groups") else [[c] for c in cells]


def _outcomes(
    module: Any, model: Any, settings: Any, group: list[dict[str, Any]], context: ProbeContext
) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]] | Exception]]:
    """Rows of every cell of a group, or what went wrong with it."""
    waiting = {cell["id"]: cell for cell in group}
    try:
        if hasattr(module, "measure_together"):
            for cell, rows in module.measure_together(model, settings, group, context):
                yield waiting.pop(cell["id"]), rows
        else:
            (cell,) = group
            rows = list(module.measure(model, settings, cell, context))
            yield waiting.pop(cell["id"]), rows
    except OSError:
        raise
    except Exception as error:
        for cell in waiting.values():
            yield cell, error


def analyse(manifest_path: str, output: str, *, allow_missing: bool = False) -> None:
    """Rule analyse: from the shards of one study to its statistics and verdicts.

    The claims of a study form one family: Holm's method corrects their p-values here.

    Raises:
        ShardError: a shard is missing or damaged; the message names it.
    """
    cpu.limit(1)
    manifest = read_json(manifest_path)
    study, probe_name = manifest["study"], manifest["probe"]
    with paused():
        import polars as pl

        from palimpsest.evidence.gather import connect, frame_of, load
        from palimpsest.evidence.provenance import Provenance
        from palimpsest.evidence.shards import sidecar
        from palimpsest.files import atomic, write_sealed
        from palimpsest.identity import file_sha256
        from palimpsest.statistics.claims import corrected
        from palimpsest.statistics.headlines import headlines

        module = discovery.probe(probe_name, "claims")
    record = Provenance(
        job=f"{study}/analyse",
        rule="analyse",
        study=study,
        code=manifest["code"],
        settings=manifest["settings"],
    )
    loaded = load(manifest, allow_missing=allow_missing)
    tables = {name: [loaded[name]] for name in ("observations", "cells")}
    settings = discovery.probe(probe_name).Settings(**manifest["settings"])
    with connect(tables, _views([probe_name])) as connection:
        statistics, claims = module.analyse(connection, settings, study)
    statistics += headlines(statistics, module.HEADLINES, settings)
    claims = [claim | {"study": study} for claim in corrected(claims)]
    with atomic(output) as temporary:
        frame_of("statistics", [row | {"study": study} for row in statistics]).write_parquet(
            temporary
        )
        hashed = file_sha256(temporary)
    done = loaded["cells"].filter(pl.col("status") == "done").height
    record.notes = {"cells_done": done, "cells": loaded["cells"].height}
    provenance = record.write(Path(output).with_suffix(".provenance.json"))
    facts = {"claims": claims, "provenance": provenance, "sha256": hashed}
    write_sealed(sidecar(output), facts)


def gather(manifest_path: str, output: str, *, allow_missing: bool = False) -> None:
    """Rule gather: all evidence into one database.

    Raises:
        ShardError: a shard is missing or damaged; the message names it.
    """
    cpu.limit(1)
    from palimpsest.evidence.gather import build

    manifest = read_json(manifest_path)
    probes = {study["probe"] for study in manifest["studies"]}
    build(manifest, output, _views(sorted(probes)), allow_missing=allow_missing)


def _views(probes: list[str]) -> dict[str, str]:
    return {name: discovery.probe(name, "claims").VIEW for name in probes}


def report_study(database: str, study: str, output: str) -> None:
    """Rule report_study: the page of one study."""
    cpu.limit(1)
    with paused():
        from palimpsest.reports.build import build_study

    build_study(database, study, output)


def report_index(database: str, output: str) -> None:
    """Rule report_index: the overview of all studies."""
    cpu.limit(1)
    from palimpsest.reports.build import build_index

    build_index(database, output)
