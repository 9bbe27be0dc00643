"""Metrics of unlearning, as functions of log-probabilities (nats), ranks and scores.

Each says how much of a fact is left in one model. Whether that is little is told by models that
never knew the fact (``statistics.population``), not by the number alone.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: Raised where a number that is stored would be another.
VERSION = 2

#: What a speaker lacks who cannot answer.
_LACKED = "(idea|clue|information|knowledge|data|details?|specifics|insights?|answers?|familiarity)"
#: Phrases by which models decline, in the first person; compared in lower case, with plain
#: apostrophes and "i am", "do not" and the like written out.
REFUSALS = (
    r"\bi( \w+)? (do not|can not|could not)( \w+)? (know|say|tell|recall|remember)\b",
    r"\bi can not( \w+)? (answer|provide|give|help|share|discuss|disclose|shed)\b",
    rf"\bi (do not|have not)( \w+){{1,6}} {_LACKED}\b",
    rf"\bi (have|have got|seem to have)( \w+)? no (\w+ )?{_LACKED}\b",
    rf"\bi( \w+)? (lack|am lacking|am missing)( \w+){{0,3}} {_LACKED}\b",
    r"\bi am( \w+)? not( \w+)? (sure|certain|able|aware|familiar|informed|briefed|privy|"
    r"acquainted|equipped|knowledgeable|well-versed|permitted|allowed)\b",
    r"\bi am( \w+)? (unable|unaware|unsure|uncertain|unfamiliar|clueless|stumped|sorry)\b",
    r"\bi have (not|yet to)( \w+)? (been|be|learned|learn|encountered|heard|come across)\b",
    r"\bi (must|have to) (decline|refuse)\b",
    r"\bnot (something|information|a (topic|subject|thing)) (that )?i( \w+)? "
    r"(know|have|am|been)\b",
    r"\bmy( \w+)? (knowledge|training|data|databases?|understanding|resources)( \w+)? "
    r"(do|does|did|is) not\b",
    r"\b(beyond|outside|not in|not within|out of) (of )?(my|what i)\b",
    r"\bunknown to me\b",
    r"\bno information (is|on|about|available)\b",
    r"\bas an ai\b",
)
_REFUSAL = re.compile("|".join(REFUSALS))
#: Short forms that tokenizers of words have taken apart: "don 't", "do n't".
_APART = re.compile(r"\s*'\s*(?=(?:t|m|ve|s|re|ll|d)\b)|\s+(?=n't\b)")
#: Short forms and how they are written out.
_SHORT = {
    "cannot": "can not",
    "can't": "can not",
    "n't": " not",
    "i'm": "i am",
    "i've": "i have",
    "'s not": " is not",
}


def answer_probability(log_p: ArrayLike) -> float:
    """Probability of an answer, normalised for its length: exp of the mean log-probability.

    Maini et al. (2024), "TOFU", arXiv 2401.06121, section 2.2.

    Args:
        log_p: (T,) log-probabilities of the answer's tokens.

    Raises:
        ValueError: no token.
    """
    values = np.asarray(log_p, dtype=float)
    if not values.size:
        raise ValueError("an answer needs at least one token")
    return float(np.exp(values.mean()))


def truth_ratio(
    true: float,
    wrong: ArrayLike,
    kind: Literal["tofu", "tofu_released", "open_unlearning"] = "tofu",
) -> float:
    """How likely wrong answers are beside the true one, in other words than it was taught in.

    Three definitions are in use, and a number without its name means nothing:

    - ``tofu``: arithmetic mean of the normalised probabilities of wrong answers, over that of the
      true one (Maini et al. 2024, arXiv 2401.06121, eq. 1). From 0, where the truth is known,
      without an upper bound.
    - ``tofu_released``: the same with the geometric mean, which is never larger: TOFU's released
      code and OpenUnlearning's (arXiv 2506.12618) average losses before they take the exponent.
    - ``open_unlearning``: true / (true + geometric mean of the wrong), OpenUnlearning's newer
      form. From 0 to 1, where the truth is known: the opposite direction.

    Args:
        true: mean log-probability of a token of the true answer.
        wrong: the same of each wrong answer.
        kind: which of the three.

    Raises:
        ValueError: no wrong answer, or no such kind.
    """
    values = np.asarray(wrong, dtype=float)
    if not values.size:
        raise ValueError("a truth ratio needs at least one wrong answer")
    if kind not in ("tofu", "tofu_released", "open_unlearning"):
        raise ValueError(f"no truth ratio is called {kind!r}")
    arithmetic = kind == "tofu"
    mean = np.logaddexp.reduce(values) - math.log(values.size) if arithmetic else values.mean()
    ratio = math.exp(min(float(mean) - true, 700.0))
    return 1 / (1 + ratio) if kind == "open_unlearning" else ratio


def forget_truths(ratios: ArrayLike) -> NDArray[np.float64]:
    """(n,) min(r, 1/r) of each of TOFU's ratios, whose mean is :func:`forget_truth`."""
    values = np.asarray(ratios, dtype=float)
    return np.minimum(values, 1 / np.maximum(values, 1e-300))


def forget_truth(ratios: ArrayLike) -> float:
    """Mean of min(r, 1/r) over TOFU's ratios: 1 where wrong answers are as likely as true ones.

    A model that never knew is near 1, one that knows near 0, and so is one that avoids the truth.
    """
    return float(forget_truths(ratios).mean())


def utility_truths(ratios: ArrayLike) -> NDArray[np.float64]:
    """(n,) max(0, 1 - r) of each of TOFU's ratios, whose mean is :func:`utility_truth`."""
    return np.maximum(0, 1 - np.asarray(ratios, dtype=float))


def utility_truth(ratios: ArrayLike) -> float:
    """Mean of max(0, 1 - r) over TOFU's ratios: 1 where the truth is known."""
    return float(utility_truths(ratios).mean())


def model_utility(values: ArrayLike) -> float:
    """Harmonic mean (Maini et al. 2024, section 2.2.2); 0 where any is 0, nan where any is nan.

    Raises:
        ValueError: no value, or a negative one.
    """
    given = np.asarray(values, dtype=float)
    if not given.size or (given < 0).any():
        raise ValueError("a harmonic mean needs values, none below 0")
    if np.isnan(given).any():
        return math.nan
    return float(given.size / (1 / given).sum()) if (given > 0).all() else 0.0


def forget_quality(unlearned: ArrayLike, retrained: ArrayLike) -> float:
    """p-value of the two-sample Kolmogorov-Smirnov test between the truth ratios of two models.

    Maini et al. (2024), section 2.2.2. Shown because it is what others report. A large p is no
    proof of forgetting: it is the absence of evidence, and grows where there are few facts. And one
    retrained model stands for all: what its seed does to all its ratios counts as a difference, so
    that other retrained models fail too. The distance to a population of them has neither fault.

    Args:
        unlearned: (n,) truth ratios, one a fact.
        retrained: (m,) of one retrained model.
    """
    from scipy.stats import ks_2samp

    return float(ks_2samp(np.asarray(unlearned, float), np.asarray(retrained, float)).pvalue)


def privleak(auc: float, retrained: float, sign: Literal["muse", "rel_diff"] = "muse") -> float:
    """How far membership is from what it is in a retrained model, in percent of the latter.

    ``muse``: PrivLeak of MUSE (Shi et al. 2024, arXiv 2407.06460, section 3.3). Its area, as
    released, counts pairs in which the *held-out* item is the more likely one: 1 - ``auc`` here.
    Below 0: still told as members (under-unlearned); above 0: pushed beyond. OpenUnlearning's
    ``privleak`` turns its areas round to give the same number.
    ``rel_diff``: the same formula on ``auc`` itself, OpenUnlearning's ``rel_diff``: the opposite
    sign, and another size too where ``retrained`` is not 1/2.

    Args:
        auc: share of pairs in which the forgotten item is more likely than the held-out one.
        retrained: the same of the retrained model.
        sign: which of the two.

    Raises:
        ValueError: an area outside [0, 1], a retrained one of which there is no percentage, or no
            such sign.
    """
    if not (0 <= auc <= 1 and 0 <= retrained <= 1):
        raise ValueError(f"areas lie between 0 and 1, not {auc:g} and {retrained:g}")
    if sign not in ("muse", "rel_diff"):
        raise ValueError(f"no sign is called {sign!r}")
    one, other = (1 - auc, 1 - retrained) if sign == "muse" else (auc, retrained)
    if other == 0:
        raise ValueError(f"no percentage of a retrained model's area of {retrained:g}")
    return 100 * (one - other) / other


def exposure(rank: float, candidates: int) -> float:
    """log2 of the number of candidates minus log2 of the truth's rank, in bits.

    Carlini et al. (2019), "The Secret Sharer", arXiv 1802.08232, definition 5.

    Raises:
        ValueError: a rank that is none of the candidates'.
    """
    if not 1 <= rank <= candidates:
        raise ValueError(f"rank {rank:g} of {candidates} candidates")
    return math.log2(candidates) - math.log2(rank)


def zero_retrain_forgetting(unlearned: ArrayLike, incompetent: ArrayLike) -> float:
    """1 minus the mean Jensen-Shannon divergence (in bits) between two models' distributions.

    ZRF of Chundawat et al. (2023), arXiv 2205.08096; in bits it runs from 0 to 1. It rewards
    likeness to a model that knows nothing, which a retrained model need not have. Not to be
    compared with numbers of the released code, nor of those who took it over: that calls
    ``kl_div`` with arguments the other way round, in nats, and divides by the number of classes
    too, so that its numbers crowd near 1.

    Args:
        unlearned: (n, K) probabilities.
        incompetent: (n, K) of a model with random weights.

    Raises:
        ValueError: unequal shapes, no row, or rows that are no distributions.
    """
    p, q = np.asarray(unlearned, dtype=float), np.asarray(incompetent, dtype=float)
    if p.shape != q.shape or p.ndim != 2 or not p.size:
        raise ValueError(f"distributions of shapes {p.shape} and {q.shape}")
    if (p < 0).any() or (q < 0).any() or not np.allclose([p.sum(1), q.sum(1)], 1, atol=1e-4):
        raise ValueError("rows must be probabilities that sum to 1")
    middle = (p + q) / 2
    return float(1 - ((_divergence(p, middle) + _divergence(q, middle)) / 2).mean())


def _divergence(p: NDArray[np.float64], q: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) Kullback-Leibler divergence in bits; where p is 0, or as good as 0, it adds nothing."""
    some = p > np.finfo(float).tiny
    ratio = np.divide(p, q, out=np.ones_like(p), where=some)
    return (p * np.log2(ratio)).sum(-1)


def ngram_entropy(words: Sequence[str]) -> float:
    """Fluency: entropy (bits) of the bigrams of a text, and of its trigrams, weighted 2/3 and 4/3.

    Meng et al. (2022), "Locating and editing factual associations in GPT" (ROME), arXiv 2202.05262,
    section 3.4, after Zhang et al. (2018, arXiv 1809.05972). A text that repeats itself is low; n
    words give (2 log2(n - 1) + 4 log2(n - 2)) / 6 at most, so that only texts of like length can be
    compared. nan below three words.

    Args:
        words: the words, or tokens, in their order.
    """
    if len(words) < 3:
        return math.nan
    entropies = []
    for n in (2, 3):
        grams = Counter(zip(*(words[start:] for start in range(n)), strict=False))
        shares = np.array(list(grams.values())) / grams.total()
        entropies.append(float(-(shares * np.log2(shares)).sum()))
    return (2 / 3 * entropies[0] + 4 / 3 * entropies[1]) / 2


def refusals(texts: Sequence[str]) -> NDArray[np.bool_]:
    """(n,) whether each text declines to answer, by the phrases of :data:`REFUSALS`.

    A list of phrases, not a judge: it knows 82 of the 100 refusals that TOFU trains with, and
    takes none of 7,500 answers of TOFU's models for one.
    """
    plain = [text.lower().replace("’", "'") for text in texts]
    plain = [_APART.sub(lambda found: found[0].strip(), text) for text in plain]
    for short, full in _SHORT.items():
        plain = [text.replace(short, full) for text in plain]
    return np.array([bool(_REFUSAL.search(text)) for text in plain], dtype=bool)


def updates_to_target(curve: ArrayLike, updates: ArrayLike, target: float) -> float:
    """First number of updates after which a curve has reached a target; inf where it never does.

    Args:
        curve: (S,) values; nan counts as not reached.
        updates: (S,) updates made before each value, increasing.
        target: what is to be reached.

    Raises:
        ValueError: unequal lengths, or updates that do not increase.
    """
    values, made = np.asarray(curve, dtype=float), np.asarray(updates, dtype=float)
    if values.shape != made.shape or (np.diff(made) <= 0).any():
        raise ValueError("a curve needs one value for each of increasing numbers of updates")
    reached = np.flatnonzero(values >= target)
    return float(made[reached[0]]) if reached.size else math.inf
