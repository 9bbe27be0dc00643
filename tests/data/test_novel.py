"""Sentences of the grammar: grammatical in what can be checked, different, and repeatable."""

import json
import re
from collections import Counter
from importlib import resources

import pytest

from palimpsest.data.novel import article, fingerprint, novel_sentences
from palimpsest.data.stimuli import runs

GRAMMAR = json.loads((resources.files("palimpsest.data") / "novel_grammar.json").read_text())


@pytest.fixture(scope="module")
def sentences() -> list[str]:
    return novel_sentences(1_000, 0)


def test_a_thousand_different_sentences(sentences):
    assert len(set(sentences)) == 1_000
    assert all(60 <= len(text) <= 200 for text in sentences)


def test_they_look_like_sentences(sentences):
    for text in sentences:
        assert re.fullmatch(r"[A-Z][A-Za-z ,'-]+\.", text), text
        assert not re.search(r"  | ,|,,|,\.|\ba [aeio]|\ban [^aeiou]", text), text
        assert not re.search(r"\b(\w+) \1\b", text), text


def test_they_share_little_wording(sentences):
    """Runs of words in common between two sentences, on average over all pairs."""
    for length, most in ((4, 0.03), (6, 0.001)):
        counts = Counter(run for text in sentences for run in runs(text, length))
        shared = sum(count * (count - 1) / 2 for count in counts.values())
        assert shared / (1_000 * 999 / 2) < most


def test_the_seed_decides_and_the_number_does_not(sentences):
    assert novel_sentences(10, 0) == sentences[:10]
    assert novel_sentences(0, 0) == []
    assert not set(novel_sentences(100, 1)) & set(sentences)
    assert len(fingerprint()) == 64
    with pytest.raises(ValueError, match="negative"):
        novel_sentences(-1, 0)


def test_the_grammar_is_complete():
    used = set()
    for part, alternatives in GRAMMAR.items():
        assert len(alternatives) >= 2, part
        for alternative in alternatives:
            if isinstance(alternative, list):
                continue
            for _, name, form in re.findall(r"\{(a )?(\w+)(?::(\d)|\*)?\}", alternative):
                used.add(name)
                assert name in GRAMMAR, alternative
                if form and isinstance(GRAMMAR[name][0], list):
                    assert all(len(verb) == 4 for verb in GRAMMAR[name])
            assert "{" not in re.sub(r"\{(a )?\w+(:\d|\*)?\}", "", alternative)
    assert used == set(GRAMMAR) - {"shape"}
    assert len(GRAMMAR["shape"]) >= 30
    assert len(set(GRAMMAR["shape"])) == len(GRAMMAR["shape"])


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        *[("apple", "an"), ("Hour", "an"), ("umbrella", "an"), ("unimportant", "an")],
        *[("user", "a"), ("unique", "a"), ("one-eyed", "a"), ("house", "a"), ("Yard", "a")],
    ],
)
def test_articles(word, expected):
    assert article(word) == expected
