"""Small transformers that are trained here: taught everything, or all but the forget set.

A model of a quarter of a million weights with whole words for tokens learns two hundred facts in
seconds, so a population of models that never knew can be trained, which is what unlearning is to be
judged by.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import lru_cache
from typing import Any

from palimpsest import discovery
from palimpsest.collector import importing
from palimpsest.data.items import Item, of_part, request
from palimpsest.engine.training import Trainer, TrainingSettings
from palimpsest.identity import canonical, seed_of
from palimpsest.interventions._teaching import Lessons
from palimpsest.interventions.unlearning._base import Sets, run_counted
from palimpsest.models.language_model import LanguageModel
from palimpsest.probes.unlearning.settings import AT_ONCE, RETRAINED, SUCCESSIVE, Scratch

#: Share of the steps in which the rate rises.
WARMUP = 0.05
#: Deviation of the first weights; with the usual 0.02 facts are learned several times more slowly.
DEVIATION = 0.05
#: Settings that do not decide what a model is before any method.
_METHODS = {"methods", "successive", "strangers"}


def model_of(
    settings: Scratch, factors: dict[str, Any], device: str
) -> tuple[LanguageModel, dict[str, Any]]:
    """A model, fresh, and the notes of its method, with its tokens and costs.

    Args:
        settings: of the world and its models.
        factors: arm, model_seed, how and requests of a cell.
        device: where it is trained.
    """
    arm, seed = factors["arm"], factors["model_seed"]
    if factors["how"] == SUCCESSIVE:
        return _stage(settings, factors, device)
    before = _trained(settings.model_dump_json(exclude=_METHODS), arm == RETRAINED, seed, device)
    return _changed(settings, before, factors)


#: The model after the last request, for the next one.
_LAST: dict[str, tuple[LanguageModel, dict[str, Any]]] = {}


def _stage(
    settings: Scratch, factors: dict[str, Any], device: str
) -> tuple[LanguageModel, dict[str, Any]]:
    """A model after successive requests."""
    key = canonical([settings.model_dump(mode="json"), factors, device])
    if key not in _LAST:
        if factors["requests"] > 1:
            earlier = factors | {"requests": factors["requests"] - 1}
            before = _stage(settings, earlier, device)[0]
        else:
            made = settings.model_dump_json(exclude=_METHODS)
            before = _trained(made, False, factors["model_seed"], device)
        found = _changed(settings, before, factors)
        _LAST.clear()
        _LAST[key] = found
    return _LAST[key]


def _changed(
    settings: Scratch, before: LanguageModel, factors: dict[str, Any]
) -> tuple[LanguageModel, dict[str, Any]]:
    """A copy after a method, where the arm is one."""
    model = _copied(before)
    method = settings.methods.get(factors["arm"])
    if method is None:
        return model, {}
    module = discovery.intervention(f"unlearning.{method.name}")
    items = settings.items()
    sets = Sets(asked_to_forget(settings, items, factors), of_part(items, "retain"))
    seed = seed_of("unlearning", factors["model_seed"])
    run = module.method(model, sets, method.block, seed)
    model.module.requires_grad_(True)
    costs = run_counted(run)
    model.module.requires_grad_(False).eval()
    return model, run.notes | {"tokens": model.tokens, "costs": costs}


def asked_to_forget(settings: Scratch, items: list[Item], factors: dict[str, Any]) -> list[Item]:
    """What a method is given to forget: all, the requests so far, or the last of them."""
    forget, done = of_part(items, "forget"), factors["requests"]
    if not done:
        return forget
    numbers = [done] if factors["how"] == SUCCESSIVE else range(1, done + 1)
    return [item for k in numbers for item in request(forget, k, settings.requests)]


def forgotten_so_far(settings: Scratch, items: list[Item], factors: dict[str, Any]) -> list[Item]:
    """All that a model has been asked to forget."""
    return asked_to_forget(settings, items, factors | {"how": AT_ONCE})


def blank(settings: Scratch, seed: int, device: str) -> LanguageModel:
    """A Llama with random weights and a tokenizer of whole words."""
    with importing():
        import torch
        from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = _tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings.hidden,
        intermediate_size=3 * settings.hidden,
        num_hidden_layers=settings.layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=256,
        tie_word_embeddings=False,
        initializer_range=DEVIATION,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of("first weights", seed) % (1 << 63))
        module = LlamaForCausalLM(config)
    return LanguageModel(module.to(device), tokenizer, name="scratch")


@lru_cache(maxsize=1)
def _trained(settings: str, never_knew: bool, seed: int, device: str) -> LanguageModel:
    """The model before any method; the last one is kept for the next method on it."""
    own = Scratch.model_validate_json(settings)
    model = blank(own, seed, device)
    lessons = Lessons.of(
        model, own.items(), never_knew, epochs=own.epochs, size=own.batch_size, seed=seed
    )
    training = TrainingSettings(
        learning_rate=own.learning_rate,
        batch_size=own.batch_size,
        adapter="full",
        schedule="cosine",
        warmup=WARMUP,
    )
    trainer = Trainer(model, training, seed=seed_of("adapter", seed), steps=lessons.updates)
    for number in range(lessons.passes):
        trainer.run(lessons.one_pass(number))
    trainer.finish()
    model.module.requires_grad_(False)
    return model


def _copied(model: LanguageModel) -> LanguageModel:
    # The tokens of texts are shared: the tokenizer is the same.
    return replace(
        model,
        module=copy.deepcopy(model.module),
        tokens=0,
        backward_tokens=0,
        backward_passes=0,
    )


@lru_cache(maxsize=1)
def _tokenizer() -> Any:
    """Every word of the world is a token."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    from palimpsest.data.biographies import words
    from palimpsest.interventions.unlearning._refusals import REFUSALS

    cut = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    found = dict.fromkeys(words())
    for refusal in REFUSALS:
        found |= dict.fromkeys(word for word, _ in cut.pre_tokenize_str(refusal))
    every = ["<|end|>", "<|unknown|>", *found]
    vocabulary = {word: number for number, word in enumerate(every)}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="<|unknown|>"))
    raw.pre_tokenizer = cut
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token="<|end|>", eos_token="<|end|>", pad_token="<|end|>"
    )
