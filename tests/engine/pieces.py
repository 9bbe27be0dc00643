"""A model that writes a handful of pieces, so that all its texts can be gone through."""

from __future__ import annotations

import re
import unicodedata

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from palimpsest.models.guards import PhraseGuard
from palimpsest.models.language_model import LanguageModel

END = "<end>"


def model_of(pieces: list[str], seed: int = 0, size: float = 0.6) -> LanguageModel:
    """A random Llama whose tokens are these pieces, written without anything between them."""
    words = {piece: number for number, piece in enumerate([*pieces, END])}
    raw = Tokenizer(models.WordLevel(words, unk_token=pieces[0]))
    raw.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    raw.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token=END, pad_token=END)
    end = words[END]
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=16, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, initializer_range=size,
        max_position_embeddings=64, bos_token_id=end, eos_token_id=end, pad_token_id=end,
    )  # fmt: skip
    module = LlamaForCausalLM(config).requires_grad_(False).eval()
    return LanguageModel(module, tokenizer, name="pieces")


def guarding(*phrases: str, width: int = 16, **changed) -> PhraseGuard:
    """A guard that takes every prompt for one that asks for these phrases."""
    given = {"alike": ((),), "layer": 0, "threshold": 0.5} | changed
    bias = np.array([10.0, 0.0], dtype=np.float32)
    weights = np.zeros((2, width), dtype=np.float32)
    return PhraseGuard(weights, bias, np.zeros(1, dtype=np.int64), (phrases,), **given)


def holds(text: str, phrase: str) -> bool:
    """Whether a phrase begins a word of a text, by regular expressions."""
    plain = re.sub("[\u0300-\u036f\u200b]", "", unicodedata.normalize("NFKD", text))
    words = r"[\W_]+".join(map(re.escape, re.findall(r"[^\W_]+", phrase.casefold())))
    return re.search(rf"(?<![^\W_]){words}", plain.casefold()) is not None
