"""Which tokens would complete a forbidden phrase, in whatever pieces and letters it is written.

Phrases are matched in the text that tokens make and not in the tokens: in lower case, without
accents, with all that is neither letter nor digit taken as one space. A phrase may stand nowhere at
the beginning of a word, so that no ending brings it back; inside a word ("art" in "party") it is
another word. What is missing of a phrase that the text has begun is looked up in the sorted
vocabulary, by bisection.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

VERSION = 1

#: What stands in a text for bytes that are no character yet.
UNFINISHED = "\ufffd"
#: Kinds of characters that are passed over: accents, and marks that cannot be seen.
_PASSED_OVER = ("Mn", "Cf")
_SEPARATORS = re.compile(r"[\W_]+")
_LAST = "\U0010ffff"


def folded(text: str) -> str:
    """The text as phrases are sought in it; of a joined text it is the joined folded text, but for
    spaces that meet."""
    if not text.isascii():
        plain = unicodedata.normalize("NFKD", text)
        text = "".join(c for c in plain if unicodedata.category(c) not in _PASSED_OVER)
    return _SEPARATORS.sub(" ", text.casefold())


class Vocabulary:
    """What every token adds to a text, sorted.

    Args:
        texts: (words,) what each token adds.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        found = [folded(text) for text in texts]
        self.whole = _Sorted([(text, token) for token, text in enumerate(found) if text])
        self.inner = _Sorted(
            [
                (text[at + 1 :], token)
                for token, text in enumerate(found)
                for at, letter in enumerate(text[:-1])
                if letter == " "
            ]
        )
        #: Tokens that begin or end within a character.
        self.unfinished = [token for token, text in enumerate(texts) if UNFINISHED in text]


class _Sorted:
    """Texts of tokens in order."""

    def __init__(self, pairs: list[tuple[str, int]]) -> None:
        pairs = sorted(pairs)
        self.texts = [text for text, _ in pairs]
        self.tokens = np.array([token for _, token in pairs], dtype=np.int64)

    def beginning(self, prefix: str) -> np.ndarray:
        """Tokens whose text begins with a prefix."""
        start = bisect_left(self.texts, prefix)
        return self.tokens[start : bisect_left(self.texts, prefix + _LAST, lo=start)]


class Phrases:
    """Phrases that may not be written.

    Args:
        phrases: in any letters; one without letter or digit is none.
        vocabulary: that of the model that writes.
    """

    def __init__(self, phrases: Iterable[str], vocabulary: Vocabulary) -> None:
        self.phrases = sorted({folded(phrase).strip() for phrase in phrases} - {""})
        self._vocabulary = vocabulary
        self._inside = _joined(vocabulary.inner.beginning(each) for each in self.phrases)
        self._in_front = _joined(vocabulary.whole.beginning(each) for each in self.phrases)

    def count(self, text: str) -> int:
        """Number of places at which a text holds a phrase."""
        seen = " " + folded(text)
        return sum(seen.count(" " + phrase) for phrase in self.phrases)

    def completing(self, written: list[int], decode: Callable[[list[int]], str]) -> np.ndarray:
        """Tokens after which a text would hold a phrase more than it holds now.

        Args:
            written: token ids of the text.
            decode: makes text of token ids.
        """
        text = decode(written)
        seen = " " + folded(text)
        whole, found = self._vocabulary.whole, [self._inside]
        if seen[-1] == " ":
            found.append(self._in_front)
        for rest in self._rests(seen):
            found.append(whole.beginning(rest))
            if seen[-1] == " ":
                found.append(whole.beginning(" " + rest))
        if text.endswith(UNFINISHED):
            # Only these can make a character of the bytes at the end: they are tried one by one.
            held, trial = self.count(text), self._vocabulary.unfinished
            more = [token for token in trial if self.count(decode([*written, token])) > held]
            found.append(np.array(more, dtype=np.int64))
        return _joined(found)

    def _rests(self, seen: str) -> Iterator[str]:
        """What is missing of every phrase that the end of a folded text has begun."""
        for phrase in self.phrases:
            for at in range(1, len(phrase)):
                if seen.endswith(" " + phrase[:at]):
                    yield phrase[at:]


def _joined(parts: Iterable[np.ndarray]) -> np.ndarray:
    return np.unique(np.concatenate([np.empty(0, dtype=np.int64), *parts]))
