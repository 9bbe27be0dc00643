"""Attempts to bring back what was forgotten; every one of them on a copy of the model.

What is hidden and not gone comes back sooner, or from elsewhere, than in a model that never knew.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from palimpsest.engine.examples import Example, batches
from palimpsest.engine.learners import learners
from palimpsest.engine.scoring import hidden_states
from palimpsest.engine.training import NonFiniteLossError, TrainingSettings
from palimpsest.engine.vocabulary import word_scores
from palimpsest.identity import seed_of
from palimpsest.interventions._items import item_example
from palimpsest.models.language_model import device_of
from palimpsest.probes.unlearning.answers import Row, row
from palimpsest.probes.unlearning.readings import probabilities

if TYPE_CHECKING:
    from palimpsest.data.items import Item
    from palimpsest.models.language_model import LanguageModel
    from palimpsest.probes.unlearning.settings import Settings

#: Sentences a step while something is taught again.
_BATCH = 8
#: Penalty of the linear probe, in units of the mean square of the features.
_RIDGE = 1e-2


def attacked(
    model: LanguageModel, settings: Settings, items: Sequence[Item], small: bool
) -> Iterator[Row]:
    """Rows of all attempts.

    Args:
        model: it is afterwards what it was.
        settings: the probe's settings.
        items: what the model was taught, and what not.
        small: whether copies are changed in full, or by low-rank additions.
    """
    forget = [item for item in items if item.part == "forget"]
    retain = [item for item in items if item.part == "retain"]
    training = TrainingSettings(
        learning_rate=settings.robustness.learning_rate,
        batch_size=_BATCH,
        adapter="full" if small else "lora",
        rank=settings.robustness.rank,
        alpha=2 * settings.robustness.rank,
    )
    for number in settings.robustness.relearn:
        # With all of them shown there is nothing left to come back by itself.
        if number < len(forget):
            yield from _relearned(model, settings, training, forget, number)
    if settings.robustness.benign and retain:
        updates = [settings.robustness.benign]
        for _, values in _taught(model, training, retain, forget, updates, "benign"):
            yield from (
                row("forget", item.id, "benign", value)
                for item, value in zip(forget, values, strict=True)
            )
    for bits in settings.robustness.bits:
        yield from _quantised(model, items, bits)
    if settings.robustness.probes:
        yield from _inside(model, [item for item in items if item.question])


def _relearned(
    model: LanguageModel,
    settings: Settings,
    training: TrainingSettings,
    forget: Sequence[Item],
    number: int,
) -> Iterator[Row]:
    """Some forgotten facts are taught again: how soon are they back, and do others follow?"""
    order = np.random.default_rng(seed_of("relearn", number)).permutation(len(forget))
    shown = [forget[place] for place in order[:number]]
    others = [forget[place] for place in order[number:]]
    for updates, values in _taught(
        model, training, shown, [*shown, *others], settings.robustness.updates, f"relearn {number}"
    ):
        for place, (item, value) in enumerate(zip([*shown, *others], values, strict=True)):
            metric = "shown" if place < number else "others"
            yield row("relearn", f"{number}/{updates}/{item.id}", metric, value)


def _taught(
    model: LanguageModel,
    training: TrainingSettings,
    shown: Sequence[Item],
    asked: Sequence[Item],
    updates: Sequence[int],
    purpose: str,
) -> Iterator[tuple[int, np.ndarray]]:
    """Probabilities of answers after numbers of updates of a copy."""
    examples = [item_example(model, item) for item in shown]
    model.module.requires_grad_(True)
    group = learners(model, [training], [seed_of(purpose)])
    try:
        stream = _endless(examples, seed_of("order", purpose))
        done = 0
        for stop in updates:
            group.train([[next(stream) for _ in range(stop - done)]])
            done = stop
            if group.failures:
                raise next(iter(group.failures.values()))
            with group.reading(0) as reader:
                yield stop, probabilities(reader, asked)
    except NonFiniteLossError:
        # A broken model cannot be taught: what it would say then is not known.
        return
    finally:
        group.close()
        model.module.requires_grad_(False)


def _endless(examples: Sequence[Example], seed: int) -> Iterator[list[Example]]:
    epoch = 0
    while True:
        yield from batches(examples, _BATCH, 1, seed_of("epoch", seed, epoch))
        epoch += 1


def _quantised(model: LanguageModel, items: Sequence[Item], bits: int) -> Iterator[Row]:
    """Weights rounded to the nearest of so many levels, each output of a layer by itself."""
    asked = [item for item in items if item.part in ("forget", "kept")]
    if not asked:
        return
    with _rounded(model, bits):
        values = probabilities(model, asked)
    for item, value in zip(asked, values, strict=True):
        yield row(item.part, item.id, f"bits_{bits}", value)


@contextmanager
def _rounded(model: LanguageModel, bits: int) -> Iterator[None]:
    """Inside, every weight matrix is rounded symmetrically, row by row."""
    import torch

    before = [(p, p.data) for p in model.module.parameters() if p.dim() == 2]
    most = 2 ** (bits - 1) - 1
    try:
        with torch.no_grad():
            for weight, old in before:
                scale = old.abs().amax(1, keepdim=True).clamp_min(1e-12) / most
                weight.data = (old / scale).round_().mul_(scale)
        yield
    finally:
        for weight, old in before:
            weight.data = old


def _inside(model: LanguageModel, items: Sequence[Item]) -> Iterator[Row]:
    """What is in the hidden states after questions, which are computed once for both readings."""
    known = [item for item in items if item.part in ("retain", "neighbour", "kept")]
    fitted = [(item, prompt) for item in known for prompt in (*item.prompts, *item.reworded)]
    asked = [item for item in items if item.part in ("forget", "holdout")]
    if not asked:
        return
    layers = list(range(len(model.module.get_decoder().layers)))
    prompts = [prompt for _, prompt in fitted] + [item.question for item in asked]
    states = hidden_states(model, prompts, layers)
    own = states[len(fitted) :]
    yield from _probed([item for item, _ in fitted], states[: len(fitted)], asked, own)
    yield from _lens(model, asked, own)


def _probed(
    fitted: Sequence[Item], known: np.ndarray, asked: Sequence[Item], states: np.ndarray
) -> Iterator[Row]:
    """A linear map from hidden states to answers, fitted on facts that stay, asked of forgotten
    facts and of facts that nobody was told (Alain and Bengio 2017, arXiv 1610.01644).

    The layer is the one where most forgotten facts are found. Models that never knew are read in
    the same way, so that what this choice adds is in what they score too.

    Args:
        fitted: n items, one a prompt.
        known: (n, layers, width) their states.
        asked: m items, of which those are read whose answers are among the fitted ones.
        states: (m, layers, width) their states.
    """
    answers = sorted({item.answer for item in fitted})
    there = [place for place, item in enumerate(asked) if item.answer in answers]
    asked, states = [asked[place] for place in there], states[there]
    forgotten = [place for place, item in enumerate(asked) if item.part == "forget"]
    if not forgotten:
        return
    target = np.array([[item.answer == answer for answer in answers] for item in fitted], float)
    wanted = np.array([answers.index(item.answer) for item in asked])
    found = []
    for layer in range(states.shape[1]):
        features = known[:, layer].astype(float)
        middle = features.mean(0)
        scores = (states[:, layer] - middle) @ _ridge(features - middle, target)
        found.append((scores.argmax(1) == wanted).astype(float))
    best = max(found, key=lambda right: right[forgotten].mean())
    for item, value in zip(asked, best, strict=True):
        yield row(item.part, item.id, "linear_probe", value)


def _ridge(features: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(width, answers) weights of the ridge regression of (n, width) features."""
    n, width = features.shape
    penalty = _RIDGE * np.square(features).mean() * n
    if n < width:
        # The same weights from the smaller of the two systems.
        return features.T @ np.linalg.solve(features @ features.T + penalty * np.eye(n), target)
    return np.linalg.solve(features.T @ features + penalty * np.eye(width), features.T @ target)


def _lens(model: LanguageModel, asked: Sequence[Item], states: np.ndarray) -> Iterator[Row]:
    """Probability of the answer's first token where the head reads every layer (nostalgebraist
    2020, "interpreting GPT: the logit lens"): the highest over layers.

    Args:
        model: the model.
        asked: n items.
        states: (n, layers, width) their states; the last layer's are normed where the decoder's
            output is taken.
    """
    import torch

    norm: Any = getattr(model.module.get_decoder(), "norm", None)
    if norm is None:
        return
    first = [model.encode_pair(item.question, item.answer)[1][0] for item in asked]
    head = model.module.get_output_embeddings()
    place = device_of(head)
    with torch.inference_mode():
        # With several devices the norm may lie on another than the head.
        read = norm(torch.from_numpy(states).to(device_of(norm), model.dtype)).to(place)
        words = torch.tensor(first, device=place).repeat_interleave(states.shape[1])
        at = torch.arange(len(words), device=place)
        log_p = word_scores(head, read.flatten(0, 1), at, words).log_p.view(states.shape[:2])
    for item, value in zip(asked, log_p.exp().amax(1).tolist(), strict=True):
        yield row(item.part, item.id, "logit_lens", value)
