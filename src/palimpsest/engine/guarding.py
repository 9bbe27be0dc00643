"""Guards at work: which prompts they watch, and what may not be written after those.

The features of a prompt cost one more pass over it. Where no guard says yes nothing is done and the
text is what it would be, to the bit. Where one does, tokens that complete a forbidden phrase are
penalised or removed (``forbidden``), and, if the guard says so, words whose embedding is like that
of a forbidden one. Nothing here touches weights or probabilities that are read elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from palimpsest.engine.forbidden import Phrases, Vocabulary
from palimpsest.engine.scoring import hidden_states

if TYPE_CHECKING:
    import torch

    from palimpsest.models.guards import Guard
    from palimpsest.models.language_model import LanguageModel

VERSION = 1
ENGINE = ("engine.forbidden", "engine.beams", "engine.scoring")

#: Share of the width that the commonest directions of embeddings have, which are taken away.
COMMON = 0.01
_ROWS = 8192


def watched(model: LanguageModel, prompts: Sequence[list[int]]) -> Watch | None:
    """What the guards of a model do after some prompts; None where they do nothing."""
    unique = list(dict.fromkeys(map(tuple, prompts)))
    found: dict[tuple[int, ...], list[_Rule]] = {}
    for guard in model.guards:
        if not len(guard.keys) or not unique:
            continue
        read = hidden_states(model, [list(ids) for ids in unique], [guard.layer], "mean")[:, 0]
        rules: dict[tuple[int, ...], _Rule] = {}
        for ids, items in zip(unique, suspects(guard, read), strict=True):
            if items:
                if items not in rules:
                    rules[items] = _rule(model, guard, items)
                found.setdefault(ids, []).append(rules[items])
    of_prompt = {n: found[tuple(ids)] for n, ids in enumerate(prompts) if tuple(ids) in found}
    beams = max(guard.beams for guard in model.guards)
    end = model.tokenizer.eos_token_id
    return Watch(model.decode, of_prompt, beams, end) if found else None


def scores(guard: Guard, features: np.ndarray) -> np.ndarray:
    """(n,) probability that prompts are among those that the guard is to find.

    Args:
        guard: the guard.
        features: (n, width) mean hidden states, as they come from the model.
    """
    logits = standardised(guard, features) @ guard.weights.astype(float) + guard.bias
    return 1 / (1 + np.exp(-logits))


def suspects(guard: Guard, features: np.ndarray) -> list[tuple[int, ...]]:
    """For each prompt the items that it may ask for, the likeliest first; none if it is harmless.

    Args:
        guard: the guard.
        features: (n, width) mean hidden states.
    """
    states = standardised(guard, features)
    alike = states @ guard.keys.T.astype(float)
    found = []
    for score, row in zip(scores(guard, features), alike, strict=True):
        order = guard.owners[np.argsort(-row, kind="stable")] if score >= guard.threshold else []
        found.append(tuple(dict.fromkeys(int(item) for item in order))[: guard.nearest])
    return found


def standardised(guard: Guard, features: np.ndarray) -> np.ndarray:
    """(n, width) features in the units of the detector."""
    return (features.astype(float) - guard.mean) / guard.scale


@lru_cache(maxsize=2)
def vocabulary(tokenizer: Any) -> Vocabulary:
    """What every token adds to a text that stands before it."""
    anchor = tokenizer("a", add_special_tokens=False).input_ids[-1]
    before = tokenizer.decode([anchor], skip_special_tokens=True)
    pairs = [[anchor, token] for token in range(len(tokenizer))]
    texts = tokenizer.batch_decode(pairs, skip_special_tokens=True)
    return Vocabulary([text.removeprefix(before) for text in texts])


@dataclass(frozen=True)
class _Rule:
    """What is forbidden after a prompt.

    Attributes:
        phrases: none of them may be written.
        similar: tokens that are like a forbidden word.
        penalty: nats taken from such tokens.
    """

    phrases: Phrases
    similar: np.ndarray
    penalty: float


def _rule(model: LanguageModel, guard: Guard, items: Sequence[int]) -> _Rule:
    phrases = [phrase for item in items for phrase in guard.phrases[item]]
    similar = np.empty(0, dtype=np.int64)
    if guard.similarity is not None:
        similar = alike_words(model, phrases, guard.similarity)
    penalty = np.inf if guard.penalty is None else guard.penalty
    return _Rule(Phrases(phrases, vocabulary(model.tokenizer)), similar, penalty)


class Watch:
    """The guards of a model over prompts that are watched.

    Attributes:
        prompts: numbers of the prompts.
        beams: width of the search for an answer.
    """

    def __init__(
        self,
        decode: Callable[[list[int]], str],
        rules: dict[int, list[_Rule]],
        beams: int,
        end: int | None,
    ) -> None:
        self._decode, self._rules, self.beams, self._end = decode, rules, beams, end
        self.prompts = frozenset(rules)

    def __call__(
        self, prompts: Sequence[int], written: Sequence[list[int]], logits: torch.Tensor
    ) -> torch.Tensor:
        """Penalise or remove what is forbidden; a text that has no other way to go on ends.

        Args:
            prompts: (n,) number of the prompt of each text.
            written: (n,) tokens written so far.
            logits: (n, words) logits or log-probabilities.
        """
        import torch

        rows = [row for row, prompt in enumerate(prompts) if prompt in self._rules]
        logits = logits.clone() if rows else logits
        for row in rows:
            for rule in self._rules[prompts[row]]:
                tokens = rule.phrases.completing(written[row], self._decode)
                every = np.union1d(tokens, rule.similar)
                # A tokenizer may know more words than the model, and the other way round.
                own = torch.from_numpy(every[every < logits.shape[1]]).to(logits.device)
                logits[row, own] -= rule.penalty
            if self._end is not None and not logits[row].isfinite().any():
                logits[row, self._end] = 0.0
        return logits


def alike_words(model: LanguageModel, phrases: Sequence[str], least: float) -> np.ndarray:
    """Tokens whose embedding has a cosine of at least so much with that of a forbidden word.

    Words that are one token alone are compared: the mean of the pieces of others says little.
    Embeddings of words that are common lie together whatever they mean, so the mean of all and the
    commonest directions are taken away first (Mu and Viswanath 2018, "All-but-the-top",
    arXiv 1702.01417).

    Args:
        model: whose input embeddings are used.
        phrases: forbidden phrases.
        least: cosine; above 1 no word is alike.
    """
    import torch

    encoded = [model.tokenizer(f" {p}", add_special_tokens=False).input_ids for p in phrases]
    single = sorted({ids[0] for p, ids in zip(phrases, encoded, strict=True) if _one_word(p, ids)})
    if not single or least > 1:
        return np.empty(0, dtype=np.int64)
    found = []
    with torch.inference_mode():
        weight = model.module.get_input_embeddings().weight
        mean = weight.float().mean(0)
        top = _common_directions(weight, mean)

        def plain(rows: torch.Tensor) -> torch.Tensor:
            rows = rows.float() - mean
            rows = rows - rows @ top @ top.T
            return torch.nn.functional.normalize(rows, dim=-1)

        wanted = plain(weight[single])
        for start in range(0, len(weight), _ROWS):
            cosines = (plain(weight[start : start + _ROWS]) @ wanted.T).amax(1)
            found.append((cosines >= least).nonzero()[:, 0].cpu().numpy() + start)
    return np.concatenate(found)


def _one_word(phrase: str, ids: list[int]) -> bool:
    return len(ids) == 1 and any(letter.isalpha() for letter in phrase)


def _common_directions(weight: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
    """(width, k) directions of most variance, a hundredth of the width."""
    import torch

    width = weight.shape[1]
    total = torch.zeros(width, width, dtype=torch.float64, device=weight.device)
    for start in range(0, len(weight), _ROWS):
        rows = (weight[start : start + _ROWS].float() - mean).double()
        total += rows.T @ rows
    _, directions = torch.linalg.eigh(total)
    return directions[:, -max(1, int(COMMON * width)) :].float()
