"""Word frequencies on the Zipf scale: common words above rare ones, and known values."""

from __future__ import annotations

import math

import pytest

from palimpsest.data.word_frequency import fingerprint, mean_zipf


def test_common_words_are_common_and_unknown_ones_count_nothing():
    assert mean_zipf(["the"]) > 7
    assert 3 < mean_zipf(["garden"]) < 6
    assert mean_zipf(["qzxqzx"]) == 0
    assert mean_zipf(["the", "qzxqzx"]) == pytest.approx(mean_zipf(["the"]) / 2)
    assert math.isnan(mean_zipf([]))


def test_the_version_is_part_of_what_numbers_depend_on():
    assert fingerprint().startswith("wordfreq==")
