"""Recognising an answer that declines to answer."""

from __future__ import annotations

import re

from palimpsest.metrics.parsing.characters import one_form

#: Regular expressions on lower-cased text with straight apostrophes and single spaces. Each asks
#: for at least two words, so that one word inside an answer is never taken for a refusal.
REFUSAL_PATTERNS = (
    r"\b(?:do not|don't|did not|didn't) (?:actually |really )?(?:know|recall|remember)\b",
    r"\b(?:do not|don't) (?:currently )?have (?:\w+ ){0,3}"
    r"(?:access|information|data|knowledge|details|records?|figures?|answer)\b",
    r"\bhave no (?:\w+ )?(?:access|information|data|knowledge|record|way)\b",
    r"\b(?:no|insufficient|not enough) (?:information|data)\b",
    r"\b(?:cannot|can't|can not|could not|couldn't) (?:\w+ )?"
    r"(?:provide|answer|determine|predict|access|confirm|verify|give|tell|recall|find|know|say"
    r"|browse|retrieve|help|assist)\b",
    r"\b(?:unable|not able) to\b",
    r"\b(?:am|i'm|are|we're) not (?:sure|aware|certain|familiar)\b",
    r"\b(?:(?:is|are|was|were) not|isn't|aren't|wasn't) (?:\w+ )?(?:available|known)\b",
    r"\b(?:is|are|was|were) (?:unknown|unavailable)\b",
    r"\bas an? (?:ai|artificial intelligence|language model|large language model)\b",
    r"\b(?:knowledge|training|data) cut-?off\b",
    r"\b(?:my|the) (?:knowledge|training data) (?:ends|only goes|only extends|does not extend)\b",
    r"\bbeyond my (?:knowledge|training|cut-?off)\b",
    r"\b(?:i am|i'm|we are|we're) (?:\w+ )?sorry\b",
    r"\b(?:i|we) apologi[sz]e\b",
    r"\b(?:must|have to) decline\b",
)

_REFUSAL = re.compile("|".join(REFUSAL_PATTERNS))


def is_refusal(text: str) -> bool:
    """Whether ``text`` contains one of :data:`REFUSAL_PATTERNS`.

    The readers of this package ask only after they found no answer in ``text``: "I am not sure,
    perhaps 5.3" gives a number and is no refusal.
    """
    return _REFUSAL.search(" ".join(one_form(text).lower().split())) is not None
