"""The slow twin of packed rows: what a model itself computes, one sequence after another.

Packed rows must equal it (:func:`packs`); where they do not, it takes their place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from palimpsest.engine.packing import NotPackableError

if TYPE_CHECKING:
    import torch

    from palimpsest.engine.examples import Example, TokenLosses
    from palimpsest.engine.scoring import SequenceScores
    from palimpsest.models.language_model import LanguageModel

VERSION = 1


def own_scores(model: LanguageModel, ids: Sequence[int]) -> torch.Tensor:
    """Scores of all words after each token, (tokens, vocabulary): nothing shared, nothing cut."""
    import torch

    model.tokens += len(ids)
    with torch.inference_mode():
        tokens = torch.tensor([list(ids)], device=model.device)
        return model.module(input_ids=tokens, use_cache=False).logits[0]


def plain_scores(model: LanguageModel, head: list[int], tail: list[int]) -> SequenceScores:
    """What scoring gives of a whole sequence: one sequence, the whole model, nothing shared."""
    import torch

    from palimpsest.engine.scoring import SequenceScores

    log_p = torch.log_softmax(own_scores(model, head + tail)[len(head) - 1 : -1].double(), dim=-1)
    share = log_p.exp()
    mean = (share * log_p).sum(-1)
    deviation = ((share * log_p.square()).sum(-1) - mean.square()).clamp_min(0).sqrt()
    picked = log_p.gather(-1, torch.tensor(tail, device=log_p.device)[:, None])[:, 0]
    parts = (picked, mean, deviation, log_p.argmax(-1))
    return SequenceScores(*(part.cpu().numpy() for part in parts))


def packs(model: LanguageModel) -> bool:
    """Does the packed computation equal the plain one on this architecture? Tried once.

    It does not where attention has soft caps or sinks, and where scores are more than last hidden
    states times the projection (Granite and Cohere scale them).
    """
    if model.packs is None:
        import torch

        learns, tokens = model.module.training, model.tokens
        # Neither dropout nor a coarser precision may decide.
        model.module.eval()
        with torch.autocast(model.device.type, enabled=False):
            _try_packing(model)
        model.module.train(learns)
        model.tokens = tokens
    return model.packs


def require_packing(model: LanguageModel) -> None:
    """Where work needs packed rows.

    Raises:
        NotPackableError: the architecture's scores are not what packed rows give; names it.
    """
    if not packs(model):
        raise NotPackableError(
            f"{model.name}: {type(model.module).__name__} gives scores that last hidden states and "
            "projection alone do not give; allowed with it: scoring, generation, and training with "
            "adapter: full or one lora at a time (palimpsest models check says what a model allows)"
        )


def _try_packing(model: LanguageModel) -> None:
    from palimpsest.engine.scoring import token_log_likelihoods

    ids = model.encode("The quick brown fox jumps over the lazy dog") or [0, 1, 2, 3]
    half = max(1, len(ids) // 2)
    pairs = [(ids[:half], ids[half:]), (ids[:half], ids[half:][::-1]), (ids[1:half], ids[:2])]
    pairs = [(head, tail) for head, tail in pairs if head and tail]
    expected = [plain_scores(model, head, tail) for head, tail in pairs]
    tolerance = 1e-3 if model.dtype.itemsize == 4 else 0.2
    model.packs = True
    try:
        got = token_log_likelihoods(model, pairs)
        model.packs = all(
            # Weights that are no numbers say nothing against packing.
            np.allclose(a, b.log_p, atol=tolerance, equal_nan=True)
            for a, b in zip(got, expected, strict=True)
        )
    except (RuntimeError, TypeError, ValueError, AttributeError, IndexError):
        model.packs = False


def own_losses(model: LanguageModel, sentences: Sequence[Example]) -> TokenLosses:
    """Losses of scored tokens, sentence by sentence, with the caller's gradient mode."""
    import torch

    from palimpsest.engine.examples import TokenLosses

    values = []
    for sentence in sentences:
        ids = torch.tensor([sentence.ids], device=model.device)
        logits = model.module(input_ids=ids, use_cache=False).logits[0]
        at = torch.tensor(sentence.scored, device=logits.device).nonzero()[:, 0]
        words = ids[0].to(logits.device)[at]
        lost = torch.nn.functional.cross_entropy(logits[at - 1].float(), words, reduction="none")
        values.append(lost)
    owner = torch.tensor(np.repeat(np.arange(len(values)), [len(each) for each in values]))
    return TokenLosses(torch.cat(values), owner.to(values[0].device), len(sentences))
