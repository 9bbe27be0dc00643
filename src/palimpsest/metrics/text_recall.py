"""How much of a text a completion brings back: overlap, prefix and extraction.

Everything here works on sequences of words or of tokens; :func:`words` makes words of a text. The
*truth* is what was to be recalled and never holds the cue, except in :func:`rouge_whole`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import NamedTuple

from numpy.typing import ArrayLike

Words = Sequence[Hashable]


class Overlap(NamedTuple):
    """Overlap of a prediction with the truth, as shares from 0 to 1.

    ``recall`` is over the truth, ``precision`` over the prediction, ``f1`` their harmonic mean.
    All are nan if the truth has no such unit, as a single word has no pair: nothing can be
    recalled then. An empty prediction of a truth that has some scores 0.
    """

    recall: float
    precision: float
    f1: float


def words(text: str) -> list[str]:
    """Runs of ASCII letters and digits of the text in lower case, without stemming.

    The default tokens of the package ``rouge_score`` of Google Research, which drops the letters
    of all other scripts: for those, compare tokens of the model instead.
    """
    return re.findall(r"[a-z0-9]+", text.lower())


def rouge_n(prediction: Words, truth: Words, n: int) -> Overlap:
    """ROUGE-N: runs of ``n`` words in common, each as often as the rarer side has it.

    Lin (2004), "ROUGE: A Package for Automatic Evaluation of Summaries", ACL workshop Text
    Summarization Branches Out, section 2, equation 1, for a single reference.

    Raises:
        ValueError: ``n`` below 1.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, not {n}")
    said, wanted = _runs(prediction, n), _runs(truth, n)
    return _overlap((said & wanted).total(), said.total(), wanted.total())


def rouge_l(prediction: Words, truth: Words) -> Overlap:
    """ROUGE-L: the longest common subsequence of words.

    Lin (2004), as above, section 3.1, equations 2 to 4 with beta = 1.
    """
    return _overlap(common_subsequence(prediction, truth), len(prediction), len(truth))


def rouge(completion: Words, truth: Words) -> dict[str, Overlap]:
    """ROUGE-1, ROUGE-2 and ROUGE-L of the completion alone, as rouge1, rouge2 and rougeL."""
    return {
        "rouge1": rouge_n(completion, truth, 1),
        "rouge2": rouge_n(completion, truth, 2),
        "rougeL": rouge_l(completion, truth),
    }


def rouge_whole(cue: Words, completion: Words, truth: Words) -> dict[str, Overlap]:
    """ROUGE of cue and completion together against the whole sentence.

    The measure of Orhan (2023), "Recognition, recall, and retention of few-shot memories in large
    language models", arXiv 2303.17557, as its code computes it. The cue is always right, so with
    a cue of half the sentence the floor is near 0.5, whatever was remembered: to compare with the
    paper only. :func:`rouge` is free of this. Keys as there.
    """
    return rouge([*cue, *completion], [*cue, *truth])


def common_subsequence(left: Words, right: Words) -> int:
    """Length of the longest common subsequence.

    Bit-parallel (Hyyrö 2004, "Bit-parallel LCS-length computation revisited"): a bit of ``state``
    is 0 where the subsequence grows, and one addition handles a whole row of the usual table.
    """
    where: dict[Hashable, int] = {}
    for position, word in enumerate(left):
        where[word] = where.get(word, 0) | 1 << position
    full = (1 << len(left)) - 1
    state = full
    for word in right:
        matches = state & where.get(word, 0)
        state = (state + matches | state - matches) & full
    return len(left) - state.bit_count()


def exact_match(completion: Words, truth: Words) -> bool:
    """Whether the completion is the truth, neither shorter nor longer."""
    return list(completion) == list(truth)


def correct_prefix(completion: Words, truth: Words) -> tuple[int, float]:
    """Number of words before the first error, and the same as a share of the truth.

    A completion that goes on behind the truth loses nothing; the share is nan if the truth is
    empty.
    """
    count = 0
    for said, wanted in zip(completion, truth, strict=False):
        if said != wanted:
            break
        count += 1
    return count, count / len(truth) if len(truth) else float("nan")


def extraction_strength(right: ArrayLike) -> float:
    """1 − k/L with the smallest k from which on all L tokens come back; from 0 to 1.

    Carlini et al. (2023), "Quantifying Memorization Across Neural Language Models", as a number
    by OpenUnlearning (Dorna et al. 2025, arXiv 2506.12618): the shorter the prefix that brings
    back all the rest, the stronger. Greedy decoding reproduces the rest from a prefix exactly if
    each of its tokens is the most likely one given all true tokens before it, so one pass is
    enough.

    Args:
        right: for each of the L tokens of the text, whether the most likely token given the true
            tokens before it is the true one. Leave out tokens that nothing stands before.

    Returns:
        1 if all are right and 0 if the last is wrong (OpenUnlearning's loop ends at 1/L instead);
        nan for a text without tokens.
    """
    flags = _flags(right)
    return 1 - shortest_prefix(flags) / len(flags) if flags else float("nan")


def shortest_prefix(right: ArrayLike) -> int:
    """Tokens up to the last that is not right: from there on all come back by themselves.

    ``right`` as in :func:`extraction_strength`; 0 where all are right.
    """
    wrong = [position for position, flag in enumerate(_flags(right)) if not flag]
    return wrong[-1] + 1 if wrong else 0


def exact_memorisation(right: ArrayLike) -> float:
    """Share of the tokens that are the most likely one given the true tokens before them.

    Tirumala et al. (2022), "Memorization Without Overfitting", definition 1, also OpenUnlearning's
    exact memorization. ``right`` as in :func:`extraction_strength`; nan for none.
    """
    flags = _flags(right)
    return sum(flags) / len(flags) if flags else float("nan")


def _flags(right: ArrayLike) -> list[bool]:
    flags = list(right)  # type: ignore[arg-type]
    if any(flag not in (False, True) for flag in flags):
        raise ValueError("whether tokens are right must be given as true or false for each")
    return [bool(flag) for flag in flags]


def _runs(sequence: Words, n: int) -> Counter[tuple[Hashable, ...]]:
    return Counter(tuple(sequence[i : i + n]) for i in range(len(sequence) - n + 1))


def _overlap(shared: int, said: int, wanted: int) -> Overlap:
    if not wanted:
        return Overlap(float("nan"), float("nan"), float("nan"))
    recall = shared / wanted
    precision = shared / said if said else 0.0
    f1 = 2 * shared / (said + wanted)  # harmonic mean of the two, also where both are 0
    return Overlap(recall, precision, f1)
