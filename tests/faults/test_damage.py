"""Single flipped bits and cut files: our own SHA-256 finds each, names it, and little is redone."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from palimpsest.engine.resuming import Resume, read
from palimpsest.evidence.shards import ShardError, is_whole, read_facts, read_shard, sidecar
from palimpsest.jobs import cell_file, probe
from palimpsest.mending import asked_again, put_aside
from palimpsest.models.loading import ModelError, load
from palimpsest.models.states import StateReader
from tests.faults.figures import FILE, record, times
from tests.faults.runs import NOTHING, TARGET, Run
from tests.workflow.conftest import jobs

pytestmark = [pytest.mark.workflow, pytest.mark.timeout(1800)]


@contextmanager
def damaged(path: Path, dice: random.Random) -> Iterator[None]:
    """The file with one bit flipped, or in one case of four cut somewhere."""
    whole = path.read_bytes()
    place = dice.randrange(len(whole))
    if dice.random() < 0.25:
        path.write_bytes(whole[:place])
    else:
        content = bytearray(whole)
        content[place] ^= 1 << dice.randrange(8)
        path.write_bytes(content)
    yield
    path.write_bytes(whole)


def every_damage_is_named(
    paths: list[Path], reading: Callable[[Path], object], kind: type[Exception], tries: int
) -> None:
    """Reading raises our error with the name of the file, whatever bit it was."""
    dice = random.Random(len(paths))
    for _ in range(tries):
        path = dice.choice(paths)
        with damaged(path, dice), pytest.raises(kind) as caught:
            reading(path)
        assert str(path) in str(caught.value)
        assert "differs from its recorded SHA-256" in str(caught.value)
    for path in paths:
        reading(path)


def test_shards(copied):
    tries = times(10, 100)
    shards = sorted(Path("results").glob("observations/*/*/*.parquet"))
    every_damage_is_named(shards, read_shard, ShardError, tries)
    record("a bit or the end of a shard", tried=tries, lost=0)


def test_cells_and_only_the_damaged_one_is_pending(copied):
    dice, tries = random.Random(3), times(10, 100)
    (study,) = copied.plan().studies.values()
    files = [cell_file(cell.id) for cell in study.cells]
    for _ in range(tries):
        one = dice.choice(files)
        with damaged(one, dice):
            assert [path for path in files if not is_whole(path)] == [one]
    assert all(is_whole(path) for path in files)
    record("a bit or the end of a finished cell", tried=tries, lost=0)


def test_records_of_shards_cells_states_and_models(copied):
    """A flipped bit in the record beside a file is found, or changes nothing that is in it."""
    dice, tries = random.Random(4), times(10, 100)

    def facts(path: Path) -> object:
        if path.name == "model.json":
            model = load(path, "meta", verify=False)
            return model.name, model.format, model.dtype
        if path.name == "state.json":
            return StateReader(path).facts
        return read_facts(path.with_suffix(".parquet"))

    files = [*Path("results").glob("cells/*/*.json"), *Path("results").glob("states/*/state.json")]
    files += Path("results").glob("observations/*/*/000.json")
    files += Path("results").glob("models/*/model.json")
    for _ in range(tries):
        path = dice.choice(sorted(files))
        right = facts(path)
        with damaged(path, dice):
            try:
                found = facts(path)
            except (ShardError, ModelError) as error:
                said = str(error)
                assert str(path) in said
            else:
                assert found == right
    record("a record beside a file", tried=tries, lost=0)


def test_only_the_damaged_cell_is_measured_again(copied, undisturbed, capsys):
    dice, tries = random.Random(5), times(1, 10)
    plan = copied.plan()
    for _ in range(tries):
        job = dice.choice(plan.jobs)
        lost = cell_file(dice.choice(job.cells).id)
        whole = lost.read_bytes()
        lost.write_bytes(whole[: dice.randrange(len(whole))])
        before = copied.files("results/cells/*/*")
        job.output.unlink()
        capsys.readouterr()
        probe(str(plan.manifest_path(job.manifest)), str(job.output), 1, 0)
        (said,) = [x for x in capsys.readouterr().err.splitlines() if "SHA-256" in x]
        assert said.startswith(f"{lost}: content differs from its recorded SHA-256")
        after = copied.files("results/cells/*/*")
        changed = {Path(path) for path in after if after[path][0] != before[path][0]}
        assert changed == {lost, sidecar(lost)}
        assert lost.read_bytes() == whole
        name = str(job.output)
        theirs = undisturbed.files("results/observations/**/*.parquet")
        assert job.output.read_bytes() == theirs[name][1]
    record("measuring again after damage", tried=tries, lost=0)


def pending(run: Run) -> None:
    """Take a cell from the changed model, so that the state and its model are read again."""
    (job,) = (job for job in run.plan().jobs if job.state.intervention)
    cell = cell_file(job.cells[-1].id)
    for path in (cell, sidecar(cell), job.output):
        path.unlink()
    Path(TARGET).unlink()


#: kind -> its files, and what a plain run does again besides measuring the missing cells.
KINDS = {
    "shards": ("observations/*/*/*.parquet", "probe"),
    "checkpoints": ("states/*/step-*.safetensors", "intervene"),
    "what a state was taught": ("states/*/items.json", "intervene"),
    "weights": ("models/*/model.safetensors", "prepare_model"),
    "statistics": ("statistics/*.parquet", "analyse"),
    "records of models": ("models/*/model.json", "prepare_model"),
}


#: One after another for the figures of the README. A damaged record hides the weights beside it.
TOGETHER = {"files of all kinds": list(KINDS)[:-1]} | {
    kind: [kind] for kind in KINDS if FILE or kind == "weights"
}


@pytest.mark.parametrize("kinds", TOGETHER)
def test_one_plain_run_finds_names_and_mends(copied, undisturbed, kinds):
    dice, kinds, lost = random.Random(7), TOGETHER[kinds], []
    right = products(copied)
    if not {"shards", "statistics"}.issuperset(kinds):  # which are always looked at
        pending(copied)
    for kind in kinds:
        lost.append(dice.choice(sorted(Path("results").glob(KINDS[kind][0]))))
        spoil(lost[-1], dice)
    before = copied.files("results/cells/*/*.json")
    said = copied.snakemake(TARGET)
    for path in lost:
        assert f"{path}: content differs from its recorded SHA-256; put aside" in said
        assert Path("results/damaged", *path.parts[1:]).is_file()
    made, few = jobs(said), {"prepare_model", "intervene"}
    assert {rule for rule in few if made[rule]} == few & {KINDS[kind][1] for kind in kinds}
    after = copied.files("results/cells/*/*.json")
    assert {path: after[path] for path in before} == before, "a finished cell was measured again"
    assert products(copied) == right
    assert copied.content() == undisturbed.content()
    assert NOTHING in copied.snakemake(TARGET, "-n")
    record(f"mended by a plain run: {', '.join(kinds)}", tried=len(kinds), lost=0)


def products(run: Run) -> dict[str, bytes]:
    """Tables and weights, without what was put aside."""
    found = run.files("results/**/*.parquet") | run.files("results/**/*.safetensors")
    return {path: content for path, (_, content) in found.items() if "/damaged/" not in path}


def spoil(path: Path, dice: random.Random) -> None:
    """One bit flipped."""
    content = bytearray(path.read_bytes())
    content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    path.write_bytes(content)


def test_what_nobody_reads_and_what_is_the_users_own_is_left_alone(copied):
    from palimpsest.files import read_json, write_sealed

    (weights,) = Path("results/models").glob("*/model.safetensors")
    spoil(weights, random.Random(8))
    assert put_aside(copied.plan()) == [], "no job will read it"
    pending(copied)
    assert put_aside(copied.plan(), most=0) == [], "too large to be looked at"
    record_of, own = weights.with_name("model.json"), Path("mine").resolve()
    facts = read_json(record_of)
    shutil.copytree(weights.parent, own)
    write_sealed(record_of, facts | {"folder": str(own)})
    assert put_aside(copied.plan()) == [], "a folder of the user's own"
    write_sealed(record_of, facts)
    aside = Path("results/damaged", *weights.parts[1:])
    assert put_aside(copied.plan()) == [record_of]
    assert not weights.exists()
    assert aside.with_name("model.json").read_bytes() == record_of.read_bytes()
    assert put_aside(copied.plan()) == [record_of], "it was asked for, and nothing has come of it"
    assert not record_of.exists()
    assert aside.exists()
    assert put_aside(copied.plan()) == []


@pytest.mark.parametrize("model", ["whole", "missing", "damaged"])
def test_the_record_of_a_damaged_state_stays_where_its_model_is_whole(copied, model):
    pending(copied)
    (state,) = Path("results/states").glob("*/state.json")
    spoil(next(state.parent.glob("step-*.safetensors")), random.Random(10))
    (weights,) = Path("results/models").glob("*/model.safetensors")
    if model == "missing":
        weights.with_name("model.json").unlink()
    elif model == "damaged":
        spoil(weights, random.Random(11))
    put_aside(copied.plan())
    assert state.is_file() == (model == "whole")
    assert len(asked_again(state)) == (model == "whole")


def test_a_damaged_shard_is_asked_for_where_all_that_follows_is_whole(copied):
    job = next(job for job in copied.plan().jobs if job.state.intervention)
    spoil(job.output, random.Random(9))
    damaged = job.output.read_bytes()
    assert f"{job.output}: content differs from its recorded SHA-256; a run" in copied.snakemake(
        TARGET, "-n"
    )
    assert job.output.read_bytes() == damaged, "a dry run changes nothing"
    put_aside(copied.plan())
    made = jobs(copied.snakemake(TARGET, "-n"))
    assert (made["probe"], made["analyse"], made["gather"]) == (1, 1, 1)
    assert (made["prepare_model"], made["intervene"]) == (0, 0)


def test_checkpoints(copied):
    tries = times(10, 100)
    (state,) = Path("results/states").glob("*/state.json")

    def reading(path: Path) -> object:
        return StateReader(state).at(int(path.stem.split("-")[1]))

    steps = sorted(state.parent.glob("step-*.safetensors"))
    every_damage_is_named(steps, reading, ModelError, tries)
    record("a bit or the end of a checkpoint", tried=tries, lost=0)


def test_what_a_state_was_taught(copied):
    (state,) = Path("results/states").glob("*/state.json")
    beside = [state.with_name("facts.json"), state.with_name("items.json")]
    every_damage_is_named(beside, lambda _: StateReader(state).at(0), ModelError, times(4, 20))


def test_weights_of_a_model(copied):
    tries = times(10, 200)
    (model,) = Path("results/models").glob("*/model.json")
    weights = model.with_name("model.safetensors")
    every_damage_is_named([weights], lambda _: load(model), ModelError, tries)
    record("a bit or the end of a weight file", tried=tries, lost=0)


class Counter:
    """Something that trains: a few numbers."""

    def __init__(self) -> None:
        self.values = torch.arange(500.0)

    def state_dict(self) -> dict:
        return {"values": self.values}

    def load_state_dict(self, saved: dict) -> None:
        self.values = saved["values"]


def test_a_file_to_go_on_from(tmp_path, capsys):
    """It is named and not used; training begins again, which gives the same bits."""
    path, tries, dice = tmp_path / "resume.pt", times(50, 100), random.Random(6)
    Resume(Counter(), path).save({"epochs": 3}, now=True)
    for _ in range(tries):
        with damaged(path, dice):
            assert read(path) == {}
        said = capsys.readouterr().err
        assert str(path) in said
        assert "differs from its recorded SHA-256" in said
    assert read(path)["epochs"] == 3
    assert Resume(Counter(), path).load() == {"epochs": 3}
    record("a bit or the end of a file to go on from", tried=tries, lost=0)


@pytest.mark.parametrize("what", ["checkpoint", "list of checkpoints", "file to go on from"])
def test_an_interrupted_state_begins_again_when_its_checkpoint_is_damaged(
    copied, monkeypatch, capsys, what
):
    """The job is cut off after its second checkpoint, the file is damaged, the job runs again."""
    from palimpsest import jobs
    from palimpsest.engine.training import Trainer

    (state,) = [s for s in copied.plan().states.values() if s.intervention]
    plan, right = copied.plan(), copied.files(f"{state.output.parent}/*.safetensors")
    for path in state.output.parent.iterdir():
        path.unlink()
    manifest, steps = str(plan.manifest_path(state.manifest)), []
    whole = Trainer.run

    def cut_off(trainer, batches):
        if len(steps) == 3:
            raise KeyboardInterrupt
        steps.append(trainer.step)
        whole(trainer, batches)

    monkeypatch.setattr(Trainer, "run", cut_off)
    with pytest.raises(KeyboardInterrupt):
        jobs.intervene(manifest, str(state.output), 1, 0)
    scratch = Path("results/scratch") / state.id
    path = {
        "checkpoint": state.output.parent / "step-000001.safetensors",
        "list of checkpoints": scratch / "checkpoints.json",
        "file to go on from": scratch / "resume.pt",
    }[what]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    steps.clear()
    monkeypatch.setattr(Trainer, "run", lambda t, b: (steps.append(t.step), whole(t, b))[1])
    jobs.intervene(manifest, str(state.output), 1, 0)
    assert steps[0] == 0, "it went on from what was damaged"
    assert str(path) in capsys.readouterr().err or what == "list of checkpoints"
    again = copied.files(f"{state.output.parent}/*.safetensors")
    assert {k: v for k, (_, v) in again.items()} == {k: v for k, (_, v) in right.items()}
    StateReader(state.output).at(4)
