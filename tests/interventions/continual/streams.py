"""Small streams of tasks that the tests of strategies share."""

from __future__ import annotations

import numpy as np
import torch

from palimpsest import discovery
from palimpsest.engine.ensemble import Ensemble
from palimpsest.engine.ensemble_plans import scheduled
from palimpsest.engine.ensemble_training import Batch, Pool
from palimpsest.interventions.continual._base import Task
from palimpsest.interventions.continual._learning import learn

SIZES = (12, 10, 8, 4)
SEEDS = (3, 11, 7)
RATES = (0.1, 0.05, 0.2)
PER_TASK, TASKS, STEPS, BATCH = 60, 3, 12, 8


def clouds(allowed=None, width=12, classes=4):
    """Three tasks of the same classes around other centres, 60 examples each.

    Behind these, in the same order, 60 each to test, with the same labels and other noise.
    """
    generator = torch.Generator().manual_seed(1)
    n = TASKS * PER_TASK
    centres = torch.randn(TASKS, classes, width, generator=generator)
    labels = torch.randint(classes, (n,), generator=generator).repeat(2)
    task = (torch.arange(n) // PER_TASK).repeat(2)
    noise = 0.6 * torch.randn(2 * n, width, generator=generator)
    return Pool(centres[task, labels] + noise, labels, allowed)


def tasks(number=TASKS):
    every = np.arange(2 * TASKS * PER_TASK).reshape(2, TASKS, PER_TASK)
    return [Task(place, every[0, place], every[1, place]) for place in range(number)]


def past_returns(task, shown, draw):
    """An environment that brings back three examples of past tasks in every batch."""
    past = [one.train for one in tasks(task.number)]
    return scheduled(shown, past, np.ones(len(past)), 3, draw)


def networks(seeds=SEEDS, rates=RATES, sizes=SIZES, **options):
    return Ensemble(sizes, seeds, rates, **options)


def made(name, blocks, pool=None, seeds=SEEDS, ensemble=None):
    """A strategy by its name; one block for all networks, or one a network."""
    module = discovery.strategy(name)
    if isinstance(blocks, dict):
        blocks = [blocks] * len(seeds)
    settings = [module.Settings(**block) for block in blocks]
    return module.strategy(settings, ensemble or networks(seeds), pool or clouds(), seeds)


def learned(name, blocks=None, number=TASKS, group=None, **options):
    """A strategy after a stream, and the record."""
    given = {k: options.pop(k) for k in ("pool", "seeds", "ensemble") if k in options}
    strategy = made(name, blocks or {}, **given)
    options = {"steps": STEPS, "batch": BATCH, "experience": past_returns} | options
    return strategy, learn(strategy, tasks(number), group=group, **options)


def same(one, other, models=slice(None), others=slice(None)):
    """Whether networks are equal to the bit."""
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return all(torch.equal(a[models], b[others]) for a, b in pairs)


def batch_of(examples, pool, models=None, slots=None):
    """A batch of (K, B) examples with the mean as loss, as the loop makes it."""
    examples = torch.as_tensor(examples)
    nothing = torch.full_like(examples, -1)
    return Batch(
        models or slice(0, len(examples)),
        0,
        examples,
        pool.labels[examples],
        torch.full(examples.shape, 1 / examples.shape[1]),
        pool.classes(examples),
        nothing if slots is None else slots,
        nothing,
    )


def kept_plans(strategy):
    """A list that will hold the plan of each task."""
    plans, plan = [], strategy.plan

    def keep(*args):
        plans.append(plan(*args))
        return plans[-1]

    strategy.plan = keep
    return plans
