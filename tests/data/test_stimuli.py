"""Lists of stimuli: disjoint, matched, free of leaks, exchangeable, and stable under additions."""

import json
import math
from collections import Counter

import numpy as np
import pytest

from palimpsest.data import stimuli
from palimpsest.data.edits import change
from palimpsest.data.own_sentences import plain
from palimpsest.data.stimuli import (
    INDEPENDENT,
    KINDS,
    MOST_SHARED_RUN,
    fingerprint,
    interference,
    length_match,
    runs,
    stimulus_lists,
)

PACKAGED = tuple(kind for kind in KINDS if kind != "own")


@pytest.fixture(scope="module")
def lists() -> dict[str, stimuli.Lists]:
    return {kind: stimulus_lists(kind, 60, 0, validation=15) for kind in PACKAGED}


def longest_shared(left: str, right: str) -> int:
    """Length in words of the longest run in common, the slow way."""
    a, b = plain(left).split(), plain(right).split()
    best = 0
    for i in range(len(a)):
        for j in range(len(b)):
            k = 0
            while i + k < len(a) and j + k < len(b) and a[i + k] == b[j + k]:
                k += 1
            best = max(best, k)
    return best


@pytest.mark.parametrize("kind", PACKAGED)
def test_sizes_and_no_text_twice(lists, kind):
    made = lists[kind]
    assert (len(made.study), len(made.foils), len(made.validation)) == (60, 60, 15)
    assert len(made.texts) == 150
    assert len({plain(text) for text in made.texts}) == 150
    assert made.exchangeable == (kind in INDEPENDENT)
    assert all(count > 0 for count in made.rejected.values())


@pytest.mark.parametrize("kind", PACKAGED)
def test_no_run_is_shared_between_pairs(lists, kind):
    made = lists[kind]
    pairs = [*zip(made.study, made.foils, strict=True), *made.validation]
    for i in range(20):
        for j in range(i + 1, 40):
            for left in pairs[i]:
                for right in pairs[j]:
                    assert longest_shared(left, right) <= MOST_SHARED_RUN
    if made.exchangeable:
        assert all(longest_shared(*pair) <= MOST_SHARED_RUN for pair in pairs)


def test_pairs_are_what_the_kind_says(lists):
    for text, foil in zip(lists["synonym"].study, lists["synonym"].foils, strict=True):
        assert sum(a != b for a, b in zip(text.split(), foil.split(), strict=True)) == 1
    for text, foil in zip(lists["paraphrase"].study, lists["paraphrase"].foils, strict=True):
        assert change(text, foil) >= 0.2
    for text, foil in zip(lists["scrambled"].study, lists["scrambled"].foils, strict=True):
        assert Counter(text) == Counter(foil)
    assert all(len(text.split()) == 25 for text in lists["random_words"].texts)
    for text, foil in zip(
        lists["random_vs_natural"].study, lists["random_vs_natural"].foils, strict=True
    ):
        assert text.islower()
        assert foil.endswith(".")


@pytest.mark.parametrize("kind", INDEPENDENT)
def test_independent_pairs_are_matched_in_length(lists, kind):
    made = lists[kind]
    for pair in [*zip(made.study, made.foils, strict=True), *made.validation]:
        characters, words = (sorted(map(size, pair)) for size in (len, lambda t: len(t.split())))
        assert characters[1] - characters[0] <= max(3, 0.05 * characters[1])
        assert words[1] - words[0] <= max(1, 0.05 * words[1])
    assert abs(made.lengths.smd_characters) < 0.15
    assert abs(made.lengths.smd_words) < 0.1


def test_random_strings_are_as_long_as_their_foils(lists):
    assert lists["random_vs_natural"].lengths.most_characters <= 10
    assert abs(lists["random_vs_natural"].lengths.smd_characters) < 0.1


def test_a_coin_decides_who_is_studied():
    """The longer, or alphabetically first, of a pair is studied half of the time."""
    for rule in (lambda a, b: len(a) > len(b), lambda a, b: a < b):
        wins = [
            rule(a, b)
            for seed in range(6)
            for made in [stimulus_lists("natural", 80, seed)]
            for a, b in zip(made.study, made.foils, strict=True)
            if len(a) != len(b)
        ]
        assert abs(np.mean(wins) - 0.5) < 3.5 * 0.5 / math.sqrt(len(wins))


@pytest.mark.parametrize("kind", PACKAGED)
def test_more_items_keep_those_that_are_there(lists, kind):
    made = lists[kind]
    fewer = stimulus_lists(kind, 25, 0)
    assert fewer.study == made.study[:25]
    assert fewer.foils == made.foils[:25]
    assert stimulus_lists(kind, 60, 0, validation=15) == made
    assert stimulus_lists(kind, 60, 1, validation=15).study != made.study


@pytest.mark.parametrize("kind", PACKAGED)
def test_interference_is_new(lists, kind):
    made = lists[kind]
    new = interference(kind, 50, 0, made.texts)
    assert len({plain(text) for text in new.texts}) == 50
    shown = {run for text in made.texts for run in runs(text)}
    assert not any(runs(text) & shown for text in new.texts)
    assert not {plain(text) for text in new.texts} & {plain(text) for text in made.texts}
    assert interference(kind, 20, 0, made.texts).texts == new.texts[:20]
    assert interference(kind, 20, 1, made.texts).texts != new.texts[:20]


def test_interference_of_another_type(lists):
    new = interference("random_words", 10, 0, lists["natural"].texts)
    assert all(text.islower() for text in new.texts)


def test_scrambled_interference_does_not_scramble_what_was_shown(lists):
    shown = {"".join(sorted(text.replace(" ", ""))) for text in lists["natural"].texts}
    new = interference("scrambled", 3_000, 0, lists["natural"].texts)
    assert not shown & {"".join(sorted(text.replace(" ", ""))) for text in new.texts}
    assert new.rejected["shares words with a list"] > 50


def test_novel_sentences_can_be_edited_too():
    made = stimulus_lists("synonym", 10, 0, source="novel")
    assert all(" " in text for text in made.study)
    assert not set(made.study) & set(stimulus_lists("synonym", 10, 0).study)


# The user's own.

NOUNS = tuple("abcdefghijklmnopqrst")


@pytest.fixture
def own(tmp_path):
    def write(rows):
        path = tmp_path / "own.jsonl"
        path.write_text("\n".join(map(json.dumps, rows)))
        return path

    return write


def test_own_foils_stay_with_their_texts(own):
    path = own([{"text": f"The {n} ran.", "foil": f"The {n} sat."} for n in NOUNS])
    made = stimulus_lists("own", 12, 0, source=path, validation=8)
    assert not made.exchangeable
    for text, foil in [*zip(made.study, made.foils, strict=True), *made.validation]:
        assert foil == text.replace("ran", "sat")
    with pytest.raises(ValueError, match="only 8 of 9 pairs for validation"):
        stimulus_lists("own", 12, 0, source=path, validation=9)


def test_own_texts_without_foils_are_each_other_s_foils(own):
    path = own([{"text": f"The {n} ran."} for n in NOUNS])
    made = stimulus_lists("own", 9, 0, source=path)
    assert made.exchangeable
    assert len(set(made.texts)) == 18
    assert fingerprint("own", path) != fingerprint("natural")


def test_rejections_are_counted(own):
    run = "one two three four five six"
    path = own(
        [
            {"text": f"{run} ant", "foil": "a first foil"},
            {"text": f"{run} bee", "foil": "a second foil"},
            {"text": "something else", "foil": "a third foil"},
        ]
    )
    made = stimulus_lists("own", 2, 0, source=path)
    assert "something else" in made.study
    with pytest.raises(ValueError, match="shares words with another pair': 1"):
        stimulus_lists("own", 3, 0, source=path)
    lengths = own([{"text": "a " * k + "end"} for k in (1, 10, 60)])
    with pytest.raises(ValueError, match="no partner of its length': 3"):
        stimulus_lists("own", 1, 0, source=lengths)


def test_identical_and_repeated_pairs_are_rejected_and_counted():
    taken = stimuli._Taken()
    pairs = [("a b", "A b."), ("a b", "c d"), ("e f", "C, d"), ("g", "h"), ("i", "j")]
    assert stimuli._take(iter(pairs), 2, taken, within=True) == [("a b", "c d"), ("g", "h")]
    assert taken.rejected == {"identical pair": 1, "duplicate": 1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "unnatural"}, "kind: given 'unnatural', allowed: natural"),
        ({"n": 0}, "n must be at least 1"),
        ({"validation": -1}, "validation"),
        ({"tolerance": 1.0}, "tolerance"),
        ({"kind": "own"}, "path of a JSONL file"),
        ({"n": 3_000}, "natural from prose: only"),
    ],
)
def test_what_cannot_be_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        stimulus_lists(**{"kind": "natural", "n": 5, "seed": 0, **arguments})


def test_foils_for_some_rows_only_are_refused(own):
    path = own([{"text": "a b"}, {"text": "c d", "foil": "e f"}])
    with pytest.raises(ValueError, match="1 of 2 rows have no foil"):
        stimulus_lists("own", 1, 0, source=path)


def test_interference_refuses_what_cannot_be():
    with pytest.raises(ValueError, match="kind"):
        interference("unnatural", 1, 0, [])
    with pytest.raises(ValueError, match="negative"):
        interference("natural", -1, 0, [])
    with pytest.raises(ValueError, match="new items"):
        interference("natural", 10_000, 0, [])


def test_fingerprints_tell_sources_apart():
    marks = [fingerprint(kind) for kind in ("natural", "synonym", "random_words", "novel")]
    marks += [fingerprint("synonym", "novel"), fingerprint("random_vs_natural", "novel")]
    assert len(set(marks)) >= 5
    assert fingerprint("novel") == fingerprint("natural", "novel")


def test_length_match_by_hand():
    found = length_match(["aa bb", "aaaa"], ["aa", "bbbb"])
    assert (found.most_characters, found.most_words) == (3, 1)
    assert found.smd_characters == pytest.approx((4.5 - 3) / math.sqrt((0.25 + 1) / 2))
    assert found.smd_words == pytest.approx(0.5 / math.sqrt(0.25 / 2))
    assert length_match(["a"], ["b"]).smd_words == 0
    assert length_match(["a"], ["bb"]).smd_characters == -math.inf
    assert length_match([], []).most_words == 0
