"""Many small networks against Avalanche and against a bare PyTorch loop, one after another."""

from __future__ import annotations

import functools
import itertools
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from harness import Row, matmul_peak, paired, spread
from torch import nn

from palimpsest.engine.ensemble import Ensemble
from palimpsest.engine.ensemble_plans import Buffers, current_only, epochs, generators
from palimpsest.engine.ensemble_training import Pool, best_group, train

NETWORKS, TASKS, PER_TASK, BATCH, BUFFER, RATE = 64, 3, 2000, 10, 500, 0.05
#: Networks that the others train; their time is multiplied up, which the note says.
MEASURED = 2
SMALL, LARGE = (784, 100, 100, 10), (784, 256, 256, 10)


def rows() -> Iterator[Row]:
    """All rows of this benchmark."""
    pool = _pool()
    ours = functools.partial(_ensemble, pool, NETWORKS)
    steps = TASKS * (PER_TASK // BATCH)
    times = NETWORKS / MEASURED
    for name, theirs, reach in (
        ("Avalanche 0.6, Replay, one after another", _avalanche, 20.0),
        ("bare PyTorch loop with the same replay", _loop, 10.0),
    ):
        pair = paired(ours, functools.partial(theirs, pool, MEASURED), 3)
        note = (
            f"{TASKS} tasks of {PER_TASK} examples, buffer of {BUFFER} on both sides (batch "
            f"{BATCH} + {BATCH}); the peer trained {MEASURED} networks, its time is multiplied by "
            f"{times:g}; our plans are drawn inside the time; range of single ratios "
            f"{pair.least * times:.1f} to {pair.most * times:.1f}; "
            + _limit(
                SMALL, (BATCH + 2 * 2 * BATCH) / 3, NETWORKS * steps / pair.ours, pair.ratio * times
            )
        )
        yield Row(
            f"{NETWORKS} MLPs 784-100-100-10, batch {BATCH}",
            name,
            NETWORKS * steps / pair.ours,
            MEASURED * steps / pair.theirs,
            pair.ratio * times,
            reach,
            "at_least",
            "steps/s",
            note,
        )
    yield _large(pool)


def _large(pool: Pool) -> Row:
    """Wider networks and batches: bound by arithmetic, so only the split helps."""
    networks, steps, batch = 32, 100, 64
    shown = epochs(np.arange(PER_TASK), batch, steps, generators(range(networks), 0))
    plan = current_only(shown)

    def ours() -> None:
        train(Ensemble(LARGE, range(networks), RATE), pool, plan)

    def theirs() -> None:
        network = _network(LARGE, 0)
        optimizer = torch.optim.SGD(network.parameters(), RATE)
        for index in torch.from_numpy(shown[:, 0]):
            loss = nn.functional.cross_entropy(network(pool.inputs[index]), pool.labels[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    pair = paired(ours, theirs, 5)
    like = Ensemble(LARGE, range(networks), RATE)
    note = (
        f"group found: {best_group(LARGE, networks, batch, like)} of {networks}; the peer trained "
        f"1 network, its time is multiplied by {networks}; {spread(pair)} (times {networks}); "
        + _limit(LARGE, batch, networks * steps / pair.ours, pair.ratio * networks)
    )
    return Row(
        "MLPs 784-256-256-10, batch 64, automatic split",
        "bare PyTorch loop",
        networks * steps / pair.ours,
        steps / pair.theirs,
        pair.ratio * networks,
        2.5,
        "at_least",
        "steps/s",
        note,
    )


def _limit(sizes: tuple[int, ...], batch: float, rate: float, ratio: float) -> str:
    """How near arithmetic alone lets us come: the roofline of a step."""
    products = [width * following for width, following in itertools.pairwise(sizes)]
    work = batch * (4 * sum(products) + 2 * sum(products[1:]))
    peak = matmul_peak() * 1e9
    return (
        f"arithmetic is {100 * work * rate / peak:.0f}% of the matrix product's "
        f"{peak / 1e9:.0f} GFLOP/s, at which the ratio would be {ratio * peak / (work * rate):.1f}"
    )


def _pool() -> Pool:
    generator = torch.Generator().manual_seed(0)
    n = TASKS * PER_TASK
    return Pool(
        torch.rand(n, 784, generator=generator), torch.randint(10, (n,), generator=generator)
    )


def _ensemble(pool: Pool, networks: int) -> None:
    ensemble = Ensemble(SMALL, range(networks), RATE)
    buffers = Buffers(networks, BUFFER)
    for task in range(TASKS):
        own = np.arange(task * PER_TASK, (task + 1) * PER_TASK)
        shown = epochs(own, BATCH, PER_TASK // BATCH, generators(range(networks), task, 0))
        # As in Avalanche, nothing is rehearsed in the first task.
        plan = buffers.plan(shown, BATCH * bool(task), generators(range(networks), task, 1))
        train(ensemble, pool, plan)


def _network(sizes: tuple[int, ...], seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for width, following in itertools.pairwise(sizes):
        layers += [nn.Linear(width, following), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _loop(pool: Pool, networks: int) -> None:
    for seed in range(networks):
        network = _network(SMALL, seed)
        optimizer = torch.optim.SGD(network.parameters(), RATE)
        held = torch.zeros(BUFFER, dtype=torch.long)
        seen = 0
        for task in range(TASKS):
            order = torch.randperm(PER_TASK) + task * PER_TASK
            for current in order.split(BATCH):
                index = current
                if task:
                    index = torch.cat([current, held[torch.randint(min(seen, BUFFER), (BATCH,))]])
                loss = nn.functional.cross_entropy(network(pool.inputs[index]), pool.labels[index])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                place = (torch.rand(BATCH) * (torch.arange(seen, seen + BATCH) + 1)).long()
                first = torch.arange(seen, seen + BATCH)
                place = torch.where(first < BUFFER, first, place)
                held[place[place < BUFFER]] = current[place < BUFFER]
                seen += BATCH


@functools.cache
def _streams(pool: Pool) -> Any:
    from avalanche.benchmarks.scenarios.dataset_scenario import benchmark_from_datasets
    from avalanche.benchmarks.utils import as_classification_dataset
    from avalanche.benchmarks.utils.data import make_avalanche_dataset
    from avalanche.benchmarks.utils.data_attribute import TensorDataAttribute

    made = []
    for task in range(TASKS):
        part = slice(task * PER_TASK, (task + 1) * PER_TASK)
        data = torch.utils.data.TensorDataset(pool.inputs[part], pool.labels[part])
        data.targets = pool.labels[part].tolist()
        made.append(
            as_classification_dataset(
                make_avalanche_dataset(
                    data,
                    data_attributes=[
                        TensorDataAttribute(
                            pool.labels[part], name="targets", use_in_getitem=False
                        ),
                    ],
                )
            )
        )
    return benchmark_from_datasets(train=made, test=made)


def _avalanche(pool: Pool, networks: int) -> None:
    from avalanche.training.plugins import EvaluationPlugin
    from avalanche.training.supervised import Replay

    warnings.simplefilter("ignore")
    logging.getLogger("avalanche").setLevel(logging.ERROR)
    for seed in range(networks):
        network = _network(SMALL, seed)
        strategy = Replay(
            model=network,
            optimizer=torch.optim.SGD(network.parameters(), RATE),
            criterion=nn.CrossEntropyLoss(),
            mem_size=BUFFER,
            train_mb_size=BATCH,
            train_epochs=1,
            evaluator=EvaluationPlugin(),
        )
        for experience in _streams(pool).train_stream:
            strategy.train(experience)
