"""Forbidden phrases: never written, in whatever pieces, and nothing else is taken away."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palimpsest.engine.forbidden import Phrases, Vocabulary, folded
from tests.engine.pieces import holds

WORLDS = {
    "letters": (["a", "A", "b", "r", "t", "p", " ", "-"], ["art"], 6),
    "pieces": (["vio", "VI", "o", "lin", "LIN", " v", "iolin", " ", "x"], ["violin"], 5),
    "words": (["dark", " red", "Red", "-", " ", "da", "rk ", "red dark", "\n"], ["dark red"], 5),
    "several": (["1", "2", ",", ".", "9 ", " 12", "the "], ["12", "2 9"], 5),
    "accents": (["cafe", "caf", "e", "é", "É", "\u0301", "\u200b", " "], ["cafe"], 5),
    "sharp": (["stra", "ß", "ss", "SS", "e", "STRA"], ["straße"], 4),
}


def _texts(vocabulary, phrases, tokens, longest):
    """All texts that the phrases leave, and for each what was taken away after it."""
    decode = "".join
    waiting = [()]
    while waiting:
        written = waiting.pop()
        taken = phrases.completing(list(written), lambda ids: decode(tokens[i] for i in ids))
        yield written, set(taken.tolist())
        if len(written) < longest:
            waiting += [(*written, t) for t in range(len(tokens)) if t not in taken]


@pytest.mark.parametrize("world", WORLDS)
def test_exhaustive_search_finds_no_phrase_and_misses_nothing_else(world):
    tokens, phrases, longest = WORLDS[world]
    vocabulary = Vocabulary(tokens)
    kept = set()
    for written, taken in _texts(vocabulary, Phrases(phrases, vocabulary), tokens, longest):
        text = "".join(tokens[i] for i in written)
        assert not any(holds(text, phrase) for phrase in phrases), text
        for token in taken:
            assert any(holds(text + tokens[token], phrase) for phrase in phrases)
        kept.add(written)
    every = (
        written
        for n in range(longest)
        for written in itertools.product(range(len(tokens)), repeat=n)
    )
    for written in every:
        beginnings = ("".join(tokens[i] for i in written[:n]) for n in range(1, len(written) + 1))
        if not any(holds(b, phrase) for b in beginnings for phrase in phrases):
            assert written in kept


def test_characters_in_bytes_are_seen_when_they_are_whole():
    """Tokens are single bytes; é has two of them."""
    letters = sorted({*"zé vilta".encode()})
    texts = [bytes([b]).decode(errors="replace") for b in letters]
    vocabulary = Vocabulary(texts)
    phrases = Phrases(["vité", "été"], vocabulary)

    def decode(ids):
        return bytes(letters[i] for i in ids).decode(errors="replace")

    for begun, last in (("vit", "é"), ("a ét", "é"), ("été a vit", "é"), ("vi", "ta")):
        whole = (begun + last).encode()
        written = [letters.index(b) for b in whole[:-1]]
        taken = phrases.completing(written, decode)
        assert (letters.index(whole[-1]) in taken) == (last == "é")


@given(st.text(max_size=8), st.text(max_size=8))
@settings(max_examples=300, deadline=None)
def test_folding_a_joined_text_is_joining_folded_ones(one, other):
    joined = (folded(one) + folded(other)).replace("  ", " ")
    assert folded(one + other) == joined


def test_a_phrase_without_letters_forbids_nothing():
    vocabulary = Vocabulary(["a", ".", " "])
    assert not len(Phrases(["...", ""], vocabulary).completing([], lambda ids: ""))
