"""What is read of a model: its answers, and what its hidden states and layers still know."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial.distance import pdist
from scipy.special import softmax

from palimpsest.data.choice_tasks.items import ChoiceItem
from palimpsest.engine.choices import Answer, answers
from palimpsest.engine.scoring import hidden_states
from palimpsest.identity import seed_of
from palimpsest.metrics.linear_probe import choice_probe, linear_probe, selectivity

if TYPE_CHECKING:
    from palimpsest.models.language_model import LanguageModel
    from palimpsest.probes.unforgettable_generalization.settings import Settings

Row = dict[str, Any]

#: Items that no run trains on and that are no neighbours of such items.
UNSEEN = ("test", "template", "topic")
#: Layers that are read where they are spread over the depth.
SPREAD = 5
#: Folds of cross-validation, at most.
FOLDS = 5
#: Most choices of a task whose items all have the same ones, for a linear probe of the choice.
MOST_LABELS = 12


def answered(model: LanguageModel, items: Sequence[ChoiceItem], task: str) -> Iterator[Row]:
    """A model's answer to every item; items of other tasks are a group of their own."""
    for item, found in zip(items, answers(model, items), strict=True):
        for row in answer_rows(item, found):
            yield row if item.task == task else row | {"grp": "other"}


def answer_rows(item: ChoiceItem, found: Answer) -> Iterator[Row]:
    """What is kept of one answer."""
    yield _row(item, "right", found.right)
    yield _row(item, "p_right", found.p_right)
    yield _row(item, "confidence", found.confidence)
    yield _row(item, "entropy", found.entropy)
    yield _row(item, "chosen", float(found.chosen), item.choices[found.chosen].strip())


def asked(items: Sequence[ChoiceItem]) -> Iterator[Row]:
    """The items themselves."""
    for item in items:
        yield _row(item, "prompt", float(len(item.choices)), item.prompt)
        yield _row(item, "truth", float(item.answer), item.choices[item.answer].strip())
        yield _row(item, "wording", 0.0, item.template)
        if item.of:
            yield _row(item, "neighbour", 0.0, f"{item.change} {item.of}")


def _row(item: ChoiceItem, metric: str, value: float, text: str | None = None) -> Row:
    return {"item": item.id, "grp": item.split, "metric": metric, "value": value, "text": text}


def layers_of(model: LanguageModel, settings: Settings) -> list[int]:
    """Layers that are read; those that the model does not have are left out."""
    count = len(model.module.get_decoder().layers)
    if settings.layers == "spread":
        return sorted({round(k) for k in np.linspace(0, count - 1, min(SPREAD, count))})
    return [layer for layer in settings.layers if layer < count]


def known(model: LanguageModel, settings: Settings, items: Sequence[ChoiceItem]) -> Iterator[Row]:
    """Does the representation still hold the answer? A linear probe with its control task, and what
    the output layer reads of every layer (the logit lens; nostalgebraist 2020).

    Probes are fitted and judged on unseen items with true labels, by cross-validation.
    """
    layers = layers_of(model, settings)
    unseen = [item for item in items if item.split in UNSEEN]
    if not layers or not unseen:
        return
    states = hidden_states(model, [item.prompt for item in unseen], layers)
    if len({item.choices for item in unseen}) == 1 and len(unseen[0].choices) <= MOST_LABELS:
        yield from _probed(states, layers, unseen)
    else:
        yield from _probed_pairs(model, layers, unseen)
    yield from _lens(model, states, layers, unseen)


def _probed(
    states: np.ndarray, layers: Sequence[int], items: Sequence[ChoiceItem]
) -> Iterator[Row]:
    """Where all items have the same choices the prompt alone decides."""
    labels = np.array([item.answer for item in items])
    counts = np.unique(labels, return_counts=True)[1]
    if len(counts) < 2 or counts.min() < 3:
        return
    # Every fold, and every fold within the others, has all labels where they allow it.
    folds = {"n_outer": min(FOLDS, counts.min()), "n_inner": min(FOLDS, counts.min() - 1)}
    topics = [item.topic for item in items]
    seed = seed_of("linear probe", items[0].task) % (1 << 32)
    read = linear_probe(states, labels, seed=seed, **folds)
    control = selectivity(states, labels, topics, seed=seed, **folds).control
    for place, layer in enumerate(layers):
        for item, right in zip(items, read.correct[place], strict=True):
            yield _row(item, f"probe/{layer}", float(right))
        yield {
            "item": "task",
            "grp": "states",
            "metric": f"control/{layer}",
            "value": float(control[place]),
        }


def _probed_pairs(
    model: LanguageModel, layers: Sequence[int], items: Sequence[ChoiceItem]
) -> Iterator[Row]:
    """Where choices differ: right or wrong, by the state after prompt and choice.

    The control is the same with one choice of every item drawn to be right: nothing carries over.
    """
    if len(items) < 3:
        return
    pairs = [(place, k) for place, item in enumerate(items) for k in range(len(item.choices))]
    encoded = [model.encode_pair(items[p].prompt, items[p].choices[k]) for p, k in pairs]
    states = hidden_states(model, [prompt + choice for prompt, choice in encoded], layers)
    owner = [place for place, _ in pairs]
    seed = seed_of("linear probe", items[0].task) % (1 << 32)
    drawn = noise(items, ("control", items[0].task), 0)
    folds = {"n_outer": min(FOLDS, len(items)), "n_inner": min(FOLDS, len(items) - 1)}
    read = choice_probe(states, [k == items[p].answer for p, k in pairs], owner, seed=seed, **folds)
    control = choice_probe(states, [k == drawn[p] for p, k in pairs], owner, seed=seed, **folds)
    for place, layer in enumerate(layers):
        for item, right in zip(items, read[place], strict=True):
            yield _row(item, f"probe/{layer}", float(right))
        yield {
            "item": "task",
            "grp": "states",
            "metric": f"control/{layer}",
            "value": float(control[place].mean()),
        }


def noise(items: Sequence[ChoiceItem], name: tuple[Any, ...], draw: int) -> np.ndarray:
    """(items,) labels drawn uniformly from the choices of each item, the right one included."""
    generator = np.random.default_rng(seed_of("labels", *name, draw))
    return np.array([generator.integers(len(item.choices)) for item in items])


def _lens(
    model: LanguageModel, states: np.ndarray, layers: Sequence[int], items: Sequence[ChoiceItem]
) -> Iterator[Row]:
    """Where first tokens tell choices apart."""
    import torch

    module = model.module
    head, norm = module.get_output_embeddings(), module.get_decoder().norm
    for item, of_item in zip(items, states, strict=True):
        first = [model.encode_pair(item.prompt, choice)[1][0] for choice in item.choices]
        if len(set(first)) < len(first):
            continue
        with torch.inference_mode():
            read = torch.from_numpy(of_item).to(head.weight)
            # The last layer's output is normed in reading too: states come before the norm.
            scores = (norm(read) @ head.weight[first].T).float().cpu().numpy()
        for layer, chosen in zip(layers, softmax(scores, axis=-1), strict=True):
            yield _row(item, f"lens/{layer}", float(chosen[item.answer]))


def spread(model: LanguageModel, settings: Settings, items: Sequence[ChoiceItem]) -> Iterator[Row]:
    """How much the hidden states of training items differ, layer by layer.

    variance: total variance as a share of the mean squared norm; distance: mean distance between
    two items, over the root of the mean squared norm; rank: effective rank, the exponential of the
    entropy of the normalised eigenvalues of the covariance (Roy and Vetterli 2007); similarity of
    tasks is read from ``mean``, whose text holds nothing.
    """
    layers = layers_of(model, settings)
    shown = [item for item in items if item.split == "train"]
    if not layers or len(shown) < 2:
        return
    states = hidden_states(model, [item.prompt for item in shown], layers).astype(float)
    for place, layer in enumerate(layers):
        for metric, value in variability(states[:, place]).items():
            yield {"item": "task", "grp": "states", "metric": f"{metric}/{layer}", "value": value}


def family(items: Sequence[ChoiceItem]) -> Row:
    """What kind of knowledge or skill a task asks for."""
    name = items[0].family
    return {"item": "task", "grp": "states", "metric": "family", "value": 0.0, "text": name}


def variability(states: np.ndarray) -> dict[str, float]:
    """Variance, distance and rank of (n, width) states; see :func:`spread`."""
    size = float(np.square(states).sum(1).mean())
    centred = states - states.mean(0)
    values = np.linalg.svd(centred, compute_uv=False) ** 2
    total = values.sum()
    shares = values[values > 1e-12 * max(total, 1e-300)] / total if total > 0 else np.ones(1)
    return {
        "variance": float(total / len(states) / size),
        "distance": float(pdist(states).mean() / np.sqrt(size)),
        "rank": float(np.exp(-(shares * np.log(shares)).sum())),
    }


@contextmanager
def broken_head(model: LanguageModel, seed: int) -> Iterator[LanguageModel]:
    """Inside, the output layer is noise of the size of the true one; all states are as they were.

    Forgetting that reaches every item, of every task, and erases nothing.
    """
    import torch

    module = model.module
    true = module.get_output_embeddings()
    noise = torch.nn.Linear(true.in_features, true.out_features, bias=False)
    generator = torch.Generator().manual_seed(seed % (1 << 63))
    with torch.no_grad():
        noise.weight.normal_(0.0, float(true.weight.float().std()), generator=generator)
    module.set_output_embeddings(noise.to(true.weight).requires_grad_(False))
    try:
        yield model
    finally:
        module.set_output_embeddings(true)


def looked_up(
    items: Sequence[ChoiceItem], found: Sequence[Answer], labels: np.ndarray
) -> Iterator[Row]:
    """Answers of a model behind a table of its training items with random labels.

    A nearest-neighbour model in the limit of a small radius: a prompt that is in the table is
    looked up, all others are left to the model. Forgetting that reaches nothing but what was
    trained on.

    Args:
        items: n items.
        found: the model's answers to them.
        labels: of the training items, in their order.
    """
    shown = [item.prompt for item in items if item.split == "train"]
    table = dict(zip(shown, labels, strict=True))
    for item, answer in zip(items, found, strict=True):
        if item.prompt in table:
            sure = np.zeros(len(item.choices))
            sure[table[item.prompt]] = 1.0
            answer = Answer(sure, item.answer)
        yield from answer_rows(item, answer)
