"""Which tokens would complete a forbidden phrase, in whatever pieces and letters it is written.

Phrases are matched in the text that tokens make and not in the tokens: in lower case, with all that
is neither letter nor digit taken as one space. A phrase may stand nowhere at the beginning of a
word, so that no ending brings it back; inside a word ("art" in "party") it is another word. What
has been written of a phrase so far is followed in a prefix tree of the phrases; the tokens that
would write the rest are found in the sorted vocabulary, by bisection.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

VERSION = 1

#: What stands in a text for bytes that are no character yet.
UNFINISHED = "\ufffd"
_SEPARATORS = re.compile(r"[\W_]+")
_LAST = "\U0010ffff"


def folded(text: str) -> str:
    """The text as phrases are sought in it; of a joined text it is the joined folded text, but for
    spaces that meet."""
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
        self.vocabulary = vocabulary
        self.tree: dict[str, Any] = {}
        # In order, so that of two phrases of which one begins the other the shorter comes first.
        ordered = sorted({folded(phrase).strip() for phrase in phrases} - {""})
        kept = [phrase for phrase in ordered if self._add(phrase)]
        self.longest = max(map(len, kept), default=0)
        self._inside = _joined(vocabulary.inner.beginning(each) for each in kept)
        self._in_front = _joined(vocabulary.whole.beginning(each) for each in kept)

    def _add(self, phrase: str) -> bool:
        node = self.tree
        for letter in phrase:
            node = node.setdefault(letter, {})
            if "" in node:
                return False
        node[""] = None
        return True

    def completing(self, written: list[int], decode: Callable[[list[int]], str]) -> np.ndarray:
        """Tokens after which a text would hold a phrase more than it holds now.

        Args:
            written: token ids of the text.
            decode: makes text of token ids.
        """
        text = decode(written)
        seen = folded(text)
        found = [self._inside]
        if not seen or seen[-1] == " ":
            found.append(self._in_front)
        for rest in self._rests(seen):
            found.append(self.vocabulary.whole.beginning(rest))
            if seen[-1] == " ":
                found.append(self.vocabulary.whole.beginning(" " + rest))
        if text.endswith(UNFINISHED):
            # Only these can make a character of the bytes at the end: they are tried one by one.
            held = self.held(seen)
            trial = self.vocabulary.unfinished
            more = [t for t in trial if self.held(folded(decode([*written, t]))) > held]
            found.append(np.array(more, dtype=np.int64))
        return _joined(found)

    def held(self, seen: str) -> int:
        """Number of places of a folded text at which a phrase begins that is whole."""
        return sum(node is None for node, _ in self._walks(seen, 0))

    def _rests(self, seen: str) -> Iterator[str]:
        """What is missing of every phrase that the end of a folded text has begun."""
        for node, reached in self._walks(seen, len(seen) - self.longest):
            if reached:
                yield from _below(node)

    def _walks(self, seen: str, start: int) -> Iterator[tuple[dict | None, bool]]:
        """From each beginning of a word: the node reached, None for a whole phrase, and whether
        the text ends there."""
        for at in range(max(0, start), len(seen)):
            if seen[at] == " " or (at and seen[at - 1] != " "):
                continue
            node: dict | None = self.tree
            for letter in seen[at:]:
                if letter not in node:
                    break
                node = node[letter]
                if "" in node:
                    node = None
                    break
            else:
                yield node, True
                continue
            if node is None:
                yield None, False


def _below(node: dict[str, Any]) -> Iterator[str]:
    for letter, child in node.items():
        if "" in child:
            yield letter
        else:
            yield from (letter + rest for rest in _below(child))


def _joined(parts: Iterable[np.ndarray]) -> np.ndarray:
    return np.unique(np.concatenate([np.empty(0, dtype=np.int64), *parts]))
