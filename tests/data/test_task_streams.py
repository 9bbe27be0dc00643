"""Streams of tasks: what a task shows follows from seed and number, and from nothing else."""

import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from palimpsest.data import task_streams
from palimpsest.data.digits import Digits, load_digits
from palimpsest.data.task_streams import (
    MOST_SHIFT,
    Examples,
    TaskStream,
    permutation,
    permuted,
    rotate,
    rotated,
    split,
    views,
)


@pytest.fixture(scope="module")
def digits() -> Digits:
    return load_digits("mnist_5k", 60, 20)


def streams(digits: Digits) -> dict[str, TaskStream]:
    return {
        "permuted": permuted(digits, 3, 1, train_per_task=50, test_per_task=20),
        "drawn": permuted(digits, 3, 1, train_per_task=50, images="drawn"),
        "disjoint": permuted(digits, 3, 1, train_per_task=50, test_per_task=9, images="disjoint"),
        "shuffled": permuted(digits, 2, 1, train_per_task=50, shuffled_labels=True),
        "rotated": rotated(digits, 3, 1, train_per_task=50),
        "task": split(digits, 1, train_per_task=30, test_per_task=7),
        "class": split(digits, 1, scenario="class"),
        "domain": split(digits, 1, scenario="domain", train_per_task=30),
    }


KINDS = ("permuted", "drawn", "disjoint", "shuffled", "rotated", "task", "class", "domain")


@pytest.fixture(scope="module")
def made(digits) -> dict[str, TaskStream]:
    return streams(digits)


def fingerprint(stream: TaskStream) -> str:
    hasher = sha256(f"{stream.name} {stream.classes} {stream.allowed is None}".encode())
    for part in (
        stream.inputs,
        stream.labels,
        *(places for task in stream.tasks for places in task),
    ):
        hasher.update(part.tobytes())
    if stream.allowed is not None:
        hasher.update(stream.allowed.tobytes())
    return hasher.hexdigest()


def rows_of(images: np.ndarray) -> list[bytes]:
    return [image.tobytes() for image in images]


def unpermuted(stream: TaskStream, seed: int, task: int) -> Examples:
    """Images of a task before their pixels were permuted, training and test."""
    order = np.argsort(permutation(seed, task))
    return Examples(*(stream.inputs[places][:, order] for places in stream.tasks[task]))


@pytest.mark.parametrize("kind", KINDS)
def test_shapes_types_and_ranges(made, kind):
    stream = made[kind]
    n = len(stream.inputs)
    assert stream.inputs.shape == (n, 784)
    assert stream.labels.shape == (n,)
    assert (stream.inputs.dtype, stream.labels.dtype) == (np.uint8, np.int64)
    assert stream.inputs.flags.writeable
    assert stream.inputs.flags.c_contiguous
    assert 0 <= stream.labels.min() <= stream.labels.max() < stream.classes
    places = np.concatenate([places for task in stream.tasks for places in task])
    assert places.dtype == np.int64
    assert sorted(places) == list(range(n))  # each belongs to one part of one task
    if stream.allowed is not None:
        assert stream.allowed.shape == (n, stream.classes)
        assert stream.allowed[np.arange(n), stream.labels].all()


@pytest.mark.parametrize("kind", KINDS)
def test_no_test_image_of_a_task_is_trained(made, kind):
    for train, test in made[kind].tasks:
        inputs = made[kind].inputs
        assert not set(rows_of(inputs[train])) & set(rows_of(inputs[test]))


@pytest.mark.parametrize("kind", ["task", "class"])
def test_labels_are_those_of_the_images(digits, made, kind):
    """By content, where images and labels are left as they are; others have tests of their own."""
    stream = made[kind]
    known = dict(zip(rows_of(digits.train_images), digits.train_labels, strict=True))
    tests = dict(zip(rows_of(digits.test_images), digits.test_labels, strict=True))
    for train, test in stream.tasks:
        assert [known[row] for row in rows_of(stream.inputs[train])] == list(stream.labels[train])
        assert [tests[row] for row in rows_of(stream.inputs[test])] == list(stream.labels[test])


def test_the_same_in_every_process(digits, made):
    """Whatever the hash seed, the number of threads, or what was drawn at random before."""
    code = (
        "import sys; import numpy as np; np.random.seed(int(sys.argv[1])); np.random.rand(7)\n"
        "from tests.data.test_task_streams import fingerprint, load_digits, streams\n"
        "made = streams(load_digits('mnist_5k', 60, 20))\n"
        "print(*[fingerprint(stream) for stream in made.values()])"
    )
    expected = [fingerprint(stream) for stream in made.values()]
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code, seed],
            capture_output=True,
            text=True,
            cwd=Path(__file__).parents[2],
            env=os.environ | {"PYTHONHASHSEED": seed, "OMP_NUM_THREADS": seed},
        )
        assert done.stdout.split() == expected, done.stderr


def test_seed_changes_every_kind(digits, made):
    other = permuted(digits, 3, 2, train_per_task=50, test_per_task=20)
    assert fingerprint(other) != fingerprint(made["permuted"])
    assert fingerprint(split(digits, 2)) != fingerprint(split(digits, 1))
    again = rotated(digits, 3, 2, train_per_task=50)
    assert fingerprint(again) != fingerprint(made["rotated"])


def test_permutation_is_the_same_as_ever():
    assert permutation(0, 1)[:6].tolist() == [59, 525, 559, 177, 687, 496]


def test_permutation_is_a_bijection_and_can_be_undone(digits):
    for task in range(5):
        assert sorted(permutation(3, task)) == list(range(784))
    assert len({permutation(seed, task).tobytes() for seed in range(4) for task in range(4)}) == 16
    stream = permuted(digits, 3, 3)
    original = unpermuted(stream, 3, 2)
    assert sorted(rows_of(original.train)) == sorted(rows_of(digits.train_images))
    assert sorted(rows_of(original.test)) == sorted(rows_of(digits.test_images))


@pytest.mark.parametrize("images", ["same", "drawn", "disjoint"])
def test_a_task_does_not_depend_on_the_number_of_tasks(digits, images):
    few, many = (
        permuted(digits, tasks, 5, train_per_task=40, test_per_task=10, images=images)
        for tasks in (2, 6)
    )
    assert np.array_equal(many.inputs[: len(few.inputs)], few.inputs)
    assert np.array_equal(many.labels[: len(few.labels)], few.labels)
    for task in range(2):
        assert all(map(np.array_equal, few.tasks[task], many.tasks[task]))


def test_permuted_by_default_shows_the_same_images_in_one_order(digits, made):
    first, *others = (unpermuted(made["permuted"], 1, task) for task in range(3))
    for other in others:
        assert np.array_equal(first.train, other.train)
        assert np.array_equal(first.test, other.test)
    labels = [made["permuted"].labels[train] for train, _ in made["permuted"].tasks]
    assert np.array_equal(labels[0], labels[2])
    shown = [made["permuted"].inputs[train] for train, _ in made["permuted"].tasks]
    assert not np.array_equal(shown[0], shown[1])
    assert not set(rows_of(shown[0])) & set(rows_of(digits.train_images))


def test_drawn_and_disjoint_images(made):
    drawn = [set(rows_of(unpermuted(made["drawn"], 1, task).train)) for task in range(3)]
    assert all(len(images) == 50 for images in drawn)
    assert drawn[0] != drawn[1]
    assert drawn[0] & (drawn[1] | drawn[2])
    for part in (0, 1):
        apart = [set(rows_of(unpermuted(made["disjoint"], 1, task)[part])) for task in range(3)]
        assert len(set.union(*apart)) == sum(map(len, apart)) == (150, 27)[part]


def test_classes_are_alike_in_every_task(made):
    for kind in ("permuted", "drawn", "disjoint", "rotated"):
        for train, _ in made[kind].tasks:
            assert np.bincount(made[kind].labels[train]).tolist() == [5] * 10
    for train, test in made["task"].tasks:
        counts = np.bincount(made["task"].labels[train])
        assert sorted(counts[counts > 0]) == [15, 15]
        assert len(test) == 7


def test_a_smaller_task_is_part_of_a_larger_one(digits):
    small, large = (permuted(digits, 2, 0, train_per_task=n) for n in (30, 70))
    for few, many in zip(small.tasks, large.tasks, strict=True):
        assert np.array_equal(small.inputs[few.train], large.inputs[many.train[:30]])


def test_first_task_may_stay_as_it_is(digits):
    stream = permuted(digits, 2, 0, keep_first=True)
    assert sorted(rows_of(stream.inputs[stream.tasks[0].train])) == sorted(
        rows_of(digits.train_images)
    )
    plain = permuted(digits, 2, 0)
    second = slice(stream.tasks[1].train[0], None)
    assert np.array_equal(stream.inputs[second], plain.inputs[second])


def test_identical_tasks_are_the_first_again(digits):
    for keep_first in (False, True):
        stream = permuted(digits, 3, 0, identical=True, keep_first=keep_first, train_per_task=40)
        first = stream.tasks[0]
        for task in stream.tasks[1:]:
            for part in (0, 1):
                assert np.array_equal(stream.inputs[task[part]], stream.inputs[first[part]])
                assert np.array_equal(stream.labels[task[part]], stream.labels[first[part]])
    fresh = permuted(
        digits, 2, 0, identical=True, images="disjoint", train_per_task=9, test_per_task=9
    )
    original = [fresh.inputs[task.train][:, np.argsort(permutation(0, 0))] for task in fresh.tasks]
    assert set(rows_of(np.concatenate(original))) <= set(rows_of(digits.train_images))
    assert not set(rows_of(original[0])) & set(rows_of(original[1]))


def test_shuffled_labels_keep_images_and_counts_but_no_relation(digits):
    plain, shuffled = (permuted(digits, 2, 0, shuffled_labels=flag) for flag in (False, True))
    assert np.array_equal(plain.inputs, shuffled.inputs)
    orders = []
    for task in plain.tasks:
        for places in task:
            old, new = plain.labels[places], shuffled.labels[places]
            assert np.bincount(old).tolist() == np.bincount(new).tolist()
            assert 0.02 < (old == new).mean() < 0.2  # by chance 0.1
        orders.append(shuffled.labels[task.train])
    assert not np.array_equal(*orders)


def test_rotation_by_whole_turns_changes_nothing(digits):
    images = digits.train_images[:50]
    for angle in (0.0, 360.0, -720.0):
        turned = rotate(images, angle)
        assert np.array_equal(turned, images)
        assert turned is not images
    stream = rotated(digits, 2, 0, angles=[0, 360])
    first, second = (stream.inputs[task.train] for task in stream.tasks)
    assert np.array_equal(first, second)
    assert sorted(rows_of(first)) == sorted(rows_of(digits.train_images))


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_quarter_turns_are_exact_and_anticlockwise(digits, quarters):
    square = digits.train_images[:50].reshape(-1, 28, 28)
    expected = np.rot90(square, quarters, axes=(1, 2)).reshape(-1, 784)
    assert np.array_equal(rotate(digits.train_images[:50], 90 * quarters), expected)


@pytest.mark.parametrize("angle", [7, 45, 133.3, -20])
def test_rotation_agrees_with_scipy_image_by_image(digits, angle):
    images = digits.train_images[:40]
    expected = [
        ndimage.rotate(image.reshape(28, 28).astype(float), angle, reshape=False, order=1)
        for image in images
    ]
    difference = rotate(images, angle) - np.reshape(expected, (-1, 784))
    assert np.abs(difference).max() < 0.501  # rounded to the nearest integer
    assert np.std(difference) > 0.1


def test_rotated_tasks(digits, monkeypatch):
    images = digits.test_images
    for given, angles in (
        ({}, [0, 45, 90, 135, 180]),
        ({"step": 12.5}, [0, 12.5, 25, 37.5, 50]),
        ({"angles": [5, -5, 0, 90, 1]}, [5, -5, 0, 90, 1]),
    ):
        stream = rotated(digits, 5, 0, train_per_task=20, **given)
        for task, angle in zip(stream.tasks, angles, strict=True):
            expected = sorted(rows_of(rotate(images, angle)))
            assert sorted(rows_of(stream.inputs[task.test])) == expected
    assert np.array_equal(*(rotated(digits, n, 0, step=9).inputs[:700] for n in (1, 3)))
    whole = rotate(images, 33)
    monkeypatch.setattr(task_streams, "_TURNED_AT_ONCE", 7)
    assert np.array_equal(rotate(images, 33), whole)


def test_split_by_the_order_of_the_literature(digits):
    stream = split(digits, 0, class_order=range(10))
    for number, (train, test) in enumerate(stream.tasks):
        assert set(stream.labels[train]) == set(stream.labels[test]) == {2 * number, 2 * number + 1}
        assert (len(train), len(test)) == (120, 40)


def test_split_scenarios_show_the_same_and_ask_differently(digits):
    task, incremental, domain = (
        split(digits, 4, scenario=scenario) for scenario in ("task", "class", "domain")
    )
    assert np.array_equal(task.inputs, incremental.inputs)
    assert np.array_equal(task.inputs, domain.inputs)
    assert np.array_equal(task.labels, incremental.labels)
    assert (task.classes, incremental.classes, domain.classes) == (10, 10, 2)
    assert incremental.allowed is None
    assert domain.allowed is None
    seen = []
    for train, test in task.tasks:
        places = np.concatenate([train, test])
        own = np.unique(task.labels[places])
        assert len(own) == 2
        seen += own.tolist()
        mask = np.isin(np.arange(10), own)
        assert (task.allowed[places] == mask).all()
        # One class of the task is 0 and the other 1, in training and test alike.
        pairs = set(map(tuple, np.stack([task.labels, domain.labels], axis=1)[places].tolist()))
        assert sorted(b for _, b in pairs) == [0, 1]
        assert sorted(a for a, _ in pairs) == own.tolist()
    assert sorted(seen) == list(range(10))


def test_domain_labels_follow_the_order_of_the_classes(digits):
    stream = split(digits, 0, tasks=2, class_order=[7, 3, 1, 9], scenario="domain")
    known = dict(zip(rows_of(digits.train_images), digits.train_labels, strict=True))
    for (train, _), own in zip(stream.tasks, ([7, 3], [1, 9]), strict=True):
        for row, label in zip(rows_of(stream.inputs[train]), stream.labels[train], strict=True):
            assert known[row] == own[label]


def test_split_in_other_sizes(digits):
    stream = split(digits, 0, tasks=3, classes_per_task=3, train_per_task=30)
    assert [len(set(stream.labels[train])) for train, _ in stream.tasks] == [3, 3, 3]
    assert (stream.allowed.sum(axis=1) == 3).all()
    orders = {tuple(split(digits, seed, tasks=1).labels[:2]) for seed in range(12)}
    assert len(orders) > 4


def test_views(digits):
    images = digits.train_images[:200]
    made = views(images, 4, 0)
    assert (made.shape, made.dtype) == ((4, 200, 784), np.uint8)
    assert np.array_equal(made[0], images)
    assert np.array_equal(views(images, 2, 0), made[:2])
    assert not np.array_equal(views(images, 2, 1)[1], made[1])
    for view in (1, 2, 3):
        changed = (made[view] != images).any(axis=1)
        assert changed.mean() > 0.95
        # Movements are small: the mean of ink stays, and its centre moves by little.
        assert abs(made[view].mean() / images.mean() - 1) < 0.05
        squares = [part.reshape(-1, 28, 28) for part in (images, made[view])]
        before, after = (np.array([ndimage.center_of_mass(s) for s in part]) for part in squares)
        moved = np.abs(before - after).max()
        assert 1 < moved < MOST_SHIFT + 1
    assert not np.array_equal(made[1], made[2])


def test_moves_by_hand():
    image = np.zeros((28, 28), dtype=np.uint8)
    image[0, 27], image[10, 5] = 1, 2
    down, right = np.array([0, 2, -1]), np.array([0, -2, 1])
    same, low, high = task_streams._moved(np.stack([image.ravel()] * 3), down, right)
    assert np.array_equal(same, image.ravel())
    assert np.argwhere(low.reshape(28, 28)).tolist() == [[2, 25], [12, 3]]
    assert np.argwhere(high.reshape(28, 28)).tolist() == [[9, 6]]


@pytest.mark.parametrize(
    ("make", "fragment"),
    [
        (lambda d: permuted(d, 0, 0), "tasks: given 0"),
        (lambda d: permuted(d, 1, 0, train_per_task=0), "train_per_task: given 0"),
        (lambda d: permuted(d, 1, 0, test_per_task=-2), "test_per_task: given -2"),
        (lambda d: permuted(d, 1, 0, images="other"), "allowed: same, drawn, disjoint"),
        (lambda d: permuted(d, 3, 0, images="disjoint"), "train_per_task: given None.*1 to 200"),
        (
            lambda d: permuted(d, 3, 0, images="disjoint", train_per_task=9, test_per_task=67),
            "test_per_task: given 67.*1 to 66",
        ),
        (lambda d: rotated(d, 2, 0, angles=[1]), "given 1, allowed: one for each of 2"),
        (lambda d: rotated(d, 1, 0, angles=[1], step=1), "angles and step"),
        (lambda d: rotated(d, 2, 0, angles=[1, np.nan]), "finite"),
        (lambda d: rotated(d, 2, 0, step=np.inf), "finite"),
        (lambda d: split(d, 0, scenario="x"), "given 'x', allowed: task, class, domain"),
        (lambda d: split(d, 0, tasks=6), "at most 10 classes"),
        (lambda d: split(d, 0, classes_per_task=0), "classes_per_task"),
        (lambda d: split(d, 0, tasks=2, class_order=[1, 2, 3]), "at most 3 classes"),
        (lambda d: split(d, 0, tasks=2, class_order=[1, 2, 3, 3]), "different classes from 0 to 9"),
        (lambda d: split(d, 0, tasks=2, class_order=[1, 2, 3, 10]), "different classes"),
        (lambda d: views(d.test_images, 0, 0), "count: given 0"),
    ],
)
def test_what_cannot_be_made_is_refused_with_what_is_allowed(digits, make, fragment):
    with pytest.raises(ValueError, match=fragment):
        make(digits)
