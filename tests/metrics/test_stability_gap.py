"""The stability gap on traces whose answer is known, and windows against the loop over pairs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from palimpsest.metrics.continual import average_accuracy, forgetting_first
from palimpsest.metrics.stability_gap import (
    evaluated_from,
    min_accuracy,
    stability_gap,
    windowed_forgetting,
    windowed_plasticity,
    worst_case_accuracy,
)

LENGTH = 120
STEPS, ENDS = np.arange(2 * LENGTH + 1), np.array([LENGTH, 2 * LENGTH])
NEW = np.linspace(0.1, 0.8, LENGTH + 1)  # the current task rises from chance to 0.8


def two_tasks(after):
    """Task 0 rises to 0.9 and then has ``after`` (LENGTH,) while task 1 is learned."""
    old = np.concatenate([np.linspace(0.1, 0.9, LENGTH + 1), after])
    new = np.concatenate([np.full(LENGTH, 0.1), NEW])
    return np.stack([old, new], axis=-1)


def after_learning(trace):
    return evaluated_from(trace, STEPS, ENDS)


def ends_only(trace):
    return trace[np.searchsorted(STEPS, ENDS)]


def test_what_never_falls_has_no_gap():
    trace = two_tasks(np.full(LENGTH, 0.9))
    assert min_accuracy(trace, STEPS, ENDS) == 0.9
    assert worst_case_accuracy(trace, STEPS, ENDS) == pytest.approx((0.9 + 0.8) / 2)
    assert average_accuracy(ends_only(trace)) == worst_case_accuracy(trace, STEPS, ENDS)
    for window in (2, 10, 100):
        assert windowed_forgetting(after_learning(trace), window).tolist() == [0, 0]
        assert windowed_plasticity(after_learning(trace), window).tolist() == [0, 0]
    gap = stability_gap(trace, STEPS, ENDS)
    assert [part[0, 0] for part in gap] == [0, 0, 0]


def test_a_fall_that_is_made_good_is_gap_and_not_forgetting():
    after = np.full(LENGTH, 0.9)
    after[0] = 0.2
    trace = two_tasks(after)
    assert forgetting_first(ends_only(trace)) == 0
    assert min_accuracy(trace, STEPS, ENDS) == 0.2
    assert worst_case_accuracy(trace, STEPS, ENDS) == pytest.approx((0.2 + 0.8) / 2)
    for window in (2, 10, 100):
        assert windowed_forgetting(after_learning(trace), window)[0] == pytest.approx(0.7)
        assert windowed_plasticity(after_learning(trace), window)[0] == pytest.approx(0.7)
    gap = stability_gap(trace, STEPS, ENDS)
    assert [part[0, 0] for part in gap] == pytest.approx([0.7, 0.7, 0])


def test_a_fall_that_stays_is_forgetting_and_not_gap():
    trace = two_tasks(np.linspace(0.9, 0.5, LENGTH))
    gap = stability_gap(trace, STEPS, ENDS)
    assert [part[0, 0] for part in gap] == pytest.approx([0.4, 0, 0.4])
    assert min_accuracy(trace, STEPS, ENDS) == pytest.approx(0.5)
    slope = 0.4 / (LENGTH - 1)
    for window in (2, 10, 100):  # a straight fall: (window - 1) steps of it lie in a window
        fall = windowed_forgetting(after_learning(trace), window)[0]
        assert fall == pytest.approx(slope * (window - 1))


def test_gap_by_hand_over_three_tasks():
    steps, ends = [0, 5, 10, 12, 20, 24, 30], [10, 20, 30]
    old = [0.1, 0.5, 0.9, 0.3, 0.7, 0.4, 0.6]
    middle = [0.1, 0.1, 0.2, 0.5, 0.8, 0.9, 0.85]
    trace = np.stack([old, middle, [0.1, 0.1, 0.1, 0.1, 0.1, 0.6, 0.7]], axis=-1)
    gap = stability_gap(trace, steps, ends)
    nan = np.nan
    assert gap.depth == pytest.approx(np.array([[0.6, nan, nan], [0.3, -0.05, nan]]), nan_ok=True)
    assert gap.recovered == pytest.approx(np.array([[0.4, nan, nan], [0.2, 0, nan]]), nan_ok=True)
    assert gap.lasting == pytest.approx(np.array([[0.2, nan, nan], [0.1, -0.05, nan]]), nan_ok=True)
    assert min_accuracy(trace, steps, ends) == pytest.approx((0.3 + 0.85) / 2)
    assert worst_case_accuracy(trace, steps, ends) == pytest.approx((0.3 + 0.85 + 0.7) / 3)
    cut = worst_case_accuracy(trace[:4, :2], steps[:4], ends[:2])
    assert cut == pytest.approx((0.3 + 0.5) / 2)  # during task 1


def test_a_task_own_end_does_not_count_as_its_minimum():
    trace = np.array([[0.2, 0.1], [0.6, 0.9]])
    assert min_accuracy(trace, [10, 20], [10, 20]) == 0.6  # evaluated at ends only: R[1, 0]
    assert worst_case_accuracy(trace, [10, 20], [10, 20]) == pytest.approx(0.75)


TRACES = st.tuples(st.integers(2, 5), st.integers(1, 3)).flatmap(
    lambda n: st.tuples(
        st.just(n),
        arrays(
            np.float64,
            (2, n[0] * n[1], n[1]),
            elements=st.one_of(st.integers(0, 64).map(lambda i: i / 64), st.just(np.nan)),
        ),
    )
)


def slow_fall(values, window):
    """Largest fall in any window over all pairs of evaluations, 0 where there is none."""
    largest = np.nan
    for n in range(len(values)):
        for m in range(max(0, n - window + 1), n + 1):
            fall = values[m] - values[n]
            if not np.isnan(fall):
                largest = np.fmax(largest, fall)
    return largest


@given(TRACES, st.integers(2, 9))
def test_windows_equal_the_loop_over_pairs(drawn, window):
    _, trace = drawn
    fall, rise = windowed_forgetting(trace, window), windowed_plasticity(trace, window)
    assert fall.shape == rise.shape == (2, trace.shape[-1])
    for network, task in np.ndindex(fall.shape):
        values = trace[network, :, task]
        for found, wanted in (
            (fall, slow_fall(values, window)),
            (rise, slow_fall(1 - values, window)),
        ):
            assert found[network, task] == pytest.approx(wanted, nan_ok=True)


@given(TRACES)
def test_order_of_the_measures(drawn):
    (length, tasks), trace = drawn
    trace = np.nan_to_num(trace, nan=0.5)
    steps, ends = np.arange(1, length * tasks + 1), length * np.arange(1, tasks + 1)
    final = trace[:, -1].mean(-1)
    assert (worst_case_accuracy(trace, steps, ends) <= final + 1e-12).all()
    narrow, wide = windowed_forgetting(trace, 3), windowed_forgetting(trace, 6)
    assert ((narrow >= 0) & (narrow <= wide)).all()
    if tasks == 1:
        assert np.isnan(min_accuracy(trace, steps, ends)).all()
        assert np.array_equal(worst_case_accuracy(trace, steps, ends), trace[:, -1, 0])
        return
    gap = stability_gap(trace, steps, ends)
    old = np.tri(tasks - 1, tasks, dtype=bool)
    assert np.allclose((gap.depth - gap.recovered - gap.lasting)[:, old], 0)
    assert (gap.recovered[:, old] >= 0).all()
    assert all(np.isnan(part[:, ~old]).all() for part in gap)
    # The deepest point after learning is that of some switch, and lasting parts add up.
    lowest = np.stack([(trace[:, ends[:-1] - 1] - gap.depth)[:, i:, i].min(-1)
                       for i in range(tasks - 1)], axis=-1)  # fmt: skip
    assert np.allclose(lowest.mean(-1), min_accuracy(trace, steps, ends))
    learned = np.diagonal(trace[:, ends - 1], axis1=-2, axis2=-1)
    lost = (learned - trace[:, -1])[:, :-1]
    assert np.allclose(np.nansum(gap.lasting, axis=1)[:, :-1], lost)


def test_what_was_not_evaluated_is_no_minimum():
    trace = np.array([[0.9, 0.1], [np.nan, 0.5], [0.8, np.nan], [np.nan, 0.7]])
    steps, ends = [1, 2, 3, 4], [1, 4]
    assert min_accuracy(trace, steps, ends) == 0.8
    assert np.isnan(stability_gap(trace, steps, ends).depth).all()  # not evaluated at the end
    trace[2, 0] = np.nan
    assert np.isnan(min_accuracy(trace, steps, ends))
    assert np.isnan(windowed_forgetting(trace * [np.nan, 1], 2)[0])


def test_impossible_traces_raise():
    trace = np.zeros((4, 2))
    with pytest.raises(ValueError, match="4 evaluations of 2 tasks"):
        min_accuracy(trace, [1, 2, 3], [1, 4])
    with pytest.raises(ValueError, match="must increase"):
        min_accuracy(trace, [1, 2, 2, 4], [1, 4])
    with pytest.raises(ValueError, match="must increase"):
        worst_case_accuracy(trace, [1, 2, 3, 4], [4, 4])
    for ends in ([1, 5], [0, 4]):
        with pytest.raises(ValueError, match="among the steps"):
            stability_gap(trace, [1, 2, 3, 4], ends)
    with pytest.raises(ValueError, match="at least two"):
        windowed_forgetting(trace, 1)
    with pytest.raises(ValueError, match="shape"):
        windowed_plasticity(np.zeros(4), 2)
    with pytest.raises(ValueError, match="finite"):
        windowed_plasticity([[np.inf]], 2)
