"""How common the words of a text are in English, on the Zipf scale.

The frequencies are those of the package wordfreq (Speer 2022, doi 10.5281/zenodo.7199437), made of
subtitles, books, news, encyclopedias and web text until 2021.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata


def mean_zipf(words: Sequence[str]) -> float:
    """Mean Zipf value of words: log10 of occurrences among a billion words, 0 where unknown.

    Van Heuven et al. (2014), "SUBTLEX-UK", Q. J. Exp. Psychol. 67, 1176: from 1 for rare words to
    7 for the commonest. nan for no words.
    """
    from wordfreq import zipf_frequency

    values = [zipf_frequency(word, "en") for word in words]
    return sum(values) / len(values) if values else float("nan")


def fingerprint() -> str:
    """The installed version of the frequencies."""
    return f"wordfreq=={metadata.version('wordfreq')}"
