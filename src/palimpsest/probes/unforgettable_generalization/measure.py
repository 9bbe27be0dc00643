"""Measuring what random labels erase: before, after, and after learning again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from palimpsest.engine.choices import Answer, answers
from palimpsest.engine.examples import Example, batches, example
from palimpsest.engine.learners import still_learning
from palimpsest.identity import digest, seed_of
from palimpsest.interventions._tasks import Tasks, taught_tasks
from palimpsest.probes.unforgettable_generalization import reading
from palimpsest.probes.unforgettable_generalization.runs import Run, forgotten, made
from palimpsest.probes.unforgettable_generalization.settings import FIRST, UNTRAINED
from palimpsest.probes.unforgettable_generalization.similarity import similarities

if TYPE_CHECKING:
    from pathlib import Path

    from palimpsest.context import ProbeContext
    from palimpsest.data.choice_tasks.items import ChoiceItem
    from palimpsest.engine.learners import Learners
    from palimpsest.models.language_model import LanguageModel
    from palimpsest.probes.unforgettable_generalization.settings import Settings

Cell = dict[str, Any]
Row = dict[str, Any]

ENGINE = (
    "engine.choices",
    "engine.learners",
    "engine.scoring",
    "models.states",
    "data.choice_tasks.items",
    "interventions._tasks",
    "interventions.task_teaching",
    "metrics.linear_probe",
)


def groups(settings: Settings, cells: Sequence[Cell]) -> list[list[Cell]]:
    """Cells that are measured together: tasks of one replicate, all arms of a task in one group."""
    tasks: dict[tuple[int, str], list[Cell]] = {}
    for cell in sorted(cells, key=lambda cell: cell["id"]):
        tasks.setdefault((cell["parameters"]["replicate"], cell["experiment"]), []).append(cell)
    found: list[list[Cell]] = []
    last = None
    for (replicate, _), members in sorted(tasks.items()):
        trained = sum(_trains(cell) for cell in members)
        fits = found and trained + sum(_trains(c) for c in found[-1]) <= settings.together
        if replicate == last and fits:
            found[-1] += members
        else:
            found.append(list(members))
        last = replicate
    return found


def _trains(cell: Cell) -> bool:
    return cell["parameters"]["arm"] not in UNTRAINED


def measure_together(
    model: LanguageModel, settings: Settings, cells: list[Cell], context: ProbeContext
) -> Iterator[tuple[Cell, list[Row] | Exception]]:
    """Measure a group of cells; each with its rows, or with what stopped its training.

    Yields:
        Rows whose group is the split of an item (``data.choice_tasks.items``), ``course`` (pass by
        pass), ``relearned``, ``similarity``, ``states`` or, of items of other tasks than the one
        that is forgotten, ``other``.
    """
    replicate = cells[0]["parameters"]["replicate"]
    tasks = taught_tasks(context.state_folder) or settings.items(replicate)
    untrained = [cell for cell in cells if not _trains(cell)]
    alike = _alike(model, settings, tasks) if untrained else {}
    answered = {
        task: answers(model, tasks[task]) for task in {cell["experiment"] for cell in untrained}
    }
    for cell in untrained:
        own = answered[cell["experiment"]]
        if cell["parameters"]["arm"] == "before":
            yield cell, _before(model, settings, tasks, cell["experiment"], own, alike)
        else:
            yield cell, list(_made_to_fail(model, settings, tasks, cell, own))
    trained = [cell for cell in cells if _trains(cell)]
    runs = made(trained, tasks)
    for ended, group in forgotten(model, settings, runs, _kept_in(context, trained)):
        for run, reader in still_learning(ended, group):
            _after(reader, settings, run, tasks)
        _relearn(model, settings, ended, group)
        for number, run in enumerate(ended):
            yield run.cell, group.failures.get(number, run.rows)


def _kept_in(context: ProbeContext, cells: Sequence[Cell]) -> Path | None:
    if context.scratch is None or not cells:
        return None
    return context.scratch / f"{digest([cell['id'] for cell in cells])[:12]}.pt"


def _alike(model: LanguageModel, settings: Settings, tasks: Tasks) -> dict[str, Any]:
    layers = reading.layers_of(model, settings) or [len(model.module.get_decoder().layers) - 1]
    return similarities(model, tasks, layers[len(layers) // 2])


def _before(
    model: LanguageModel,
    settings: Settings,
    tasks: Tasks,
    task: str,
    answered: Sequence[Answer],
    alike: dict[str, Any],
) -> list[Row]:
    items = tasks[task]
    names = list(tasks)
    rows = [*reading.asked(items)]
    for item, found in zip(items, answered, strict=True):
        rows += reading.answer_rows(item, found)
    rows += [*reading.known(model, settings, items), *reading.spread(model, settings, items)]
    rows.append(reading.family(items))
    rows += [
        {
            "item": other,
            "grp": "similarity",
            "metric": kind,
            "value": float(matrix[names.index(task), place]),
        }
        for kind, matrix in alike.items()
        for place, other in enumerate(names)
    ]
    return rows


def _made_to_fail(
    model: LanguageModel,
    settings: Settings,
    tasks: Tasks,
    cell: Cell,
    answered: Sequence[Answer],
) -> Iterator[Row]:
    task, factors = cell["experiment"], cell["parameters"]
    name = (task, factors["replicate"])
    items = tasks[task]
    if factors["arm"] == "lookup":
        shown = [item for item in items if item.split == "train"]
        yield from reading.looked_up(items, answered, reading.noise(shown, name, 0))
        return
    with reading.broken_head(model, seed_of("head", *name)):
        yield from reading.answered(model, items, task)
        yield from reading.known(model, settings, items)


def _others(settings: Settings, tasks: Tasks, task: str) -> list[ChoiceItem]:
    """Unseen items of every other task."""
    found = []
    for name, items in tasks.items():
        if name != task:
            found += [item for item in items if item.split == "test"][: settings.others]
    return found


def _after(model: LanguageModel, settings: Settings, run: Run, tasks: Tasks) -> None:
    """What a run says when it has forgotten; of the first learning nothing has changed yet."""
    if run.arm == FIRST:
        return
    for number, seen in enumerate(run.course, start=1):
        for metric, value in seen.items():
            run.rows.append(
                {"item": f"pass {number}", "grp": "course", "metric": metric, "value": value}
            )
    updates = run.passes * -(-len(run.of("train")) // settings.batch_size)
    facts = {"passes": run.passes, "updates": updates, "ended": float(run.ended)}
    for metric, value in facts.items():
        run.rows.append({"item": "run", "grp": "course", "metric": metric, "value": float(value)})
    task = run.cell["experiment"]
    asked = run.of("train", "near", *reading.UNSEEN)
    if run.reference:
        run.rows += reading.answered(model, asked, task)
        return
    run.rows += reading.answered(model, [*asked, *_others(settings, tasks, task)], task)
    if run.arm == "forget":
        run.rows += reading.known(model, settings, run.items)


def _relearn(
    model: LanguageModel, settings: Settings, runs: Sequence[Run], group: Learners
) -> None:
    """True labels for a few updates, in the same order for what has forgotten and what never
    learned."""
    learning = [run.arm == ("forget", FIRST)[run.reference] for run in runs]
    if not settings.relearn or not any(learning):
        return
    group.return_to(group.remember())
    streams = [
        _true(model, settings, run) if on else [] for run, on in zip(runs, learning, strict=True)
    ]
    done = 0
    for stop in settings.relearn:
        group.train([stream[done:stop] for stream in streams])
        done = stop
        for (run, on), reader in still_learning(list(zip(runs, learning, strict=True)), group):
            if on:
                for row in reading.answered(reader, run.of("test"), run.cell["experiment"]):
                    if row["metric"] in ("right", "p_right"):
                        place = {"item": f"{stop}/{row['item']}", "grp": "relearned"}
                        run.rows.append(row | place)


def _true(model: LanguageModel, settings: Settings, run: Run) -> list[list[Example]]:
    shown = [
        example(model, item.prompt, item.choices[item.answer], "", "answer")
        for item in run.of("train")
    ]
    updates = settings.relearn[-1]
    passes = -(-updates * settings.batch_size // len(shown)) + 1
    seed = seed_of("relearning", *run.name)
    return list(batches(shown, settings.batch_size, passes, seed))[:updates]
