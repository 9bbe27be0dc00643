"""Images as streams of tasks that a network learns one after another.

========= =================================================================================
permuted  every task shows the digits through another fixed permutation of pixels
rotated   every task shows them turned by another angle
split     every task holds other classes
========= =================================================================================

A stream is one array of images with labels in which a task is two sets of places. What a task
shows depends on the seed and the number of the task alone: not on the number of tasks, on what was
drawn before, or on the process that draws it. (Where each worker of a loader draws permutations
for itself, workers show different tasks under one name and nothing can be learnt.)

Sources: permuted digits are those of Goodfellow et al. (2014), arXiv 1312.6211; rotated digits of
Lopez-Paz and Ranzato (2017), arXiv 1706.08840; the scenarios of split digits are those of van de
Ven and Tolias (2019), arXiv 1904.07734.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

from palimpsest.data.digits import PIXELS, SIDE, Digits, place_in_class
from palimpsest.identity import seed_of

VERSION = 1

#: Which images the tasks of a stream show. same: the same ones in every task; drawn: each task
#: draws its own, and what one has drawn another may draw again; disjoint: none comes twice.
Images = Literal["same", "drawn", "disjoint"]
#: task: an example belongs to one of the classes of its task; class: to any class of the stream;
#: domain: the answer is the place of the class within its task.
Scenario = Literal["task", "class", "domain"]

#: A view is moved by at most so many pixels in each direction and turned by at most so many
#: degrees.
MOST_SHIFT, MOST_TURN = 2, 10
_TURNED_AT_ONCE = 2_000


class Examples(NamedTuple):
    """Places of a task's examples in the arrays of its stream, int64: (n,) and (m,)."""

    train: NDArray[np.int64]
    test: NDArray[np.int64]


@dataclass(frozen=True)
class TaskStream:
    """All examples of a stream in memory, and which of them belong to which task.

    Attributes:
        name: kind of the stream, and what it was made of.
        inputs: (N, 784) uint8.
        labels: (N,) int64 from 0 to C - 1.
        tasks: places of the training and the test examples of each task; no place comes twice.
        classes: number of classes C.
        allowed: boolean (N, C): the classes that exist for an example; None: all.
    """

    name: str
    inputs: NDArray[np.uint8]
    labels: NDArray[np.int64]
    tasks: tuple[Examples, ...]
    classes: int
    allowed: NDArray[np.bool_] | None = None


def permuted(
    digits: Digits,
    tasks: int,
    seed: int,
    *,
    train_per_task: int | None = None,
    test_per_task: int | None = None,
    images: Images = "same",
    keep_first: bool = False,
    identical: bool = False,
    shuffled_labels: bool = False,
) -> TaskStream:
    """Tasks that differ by the order of their pixels; every task has all classes.

    Args:
        digits: the images.
        tasks: number of tasks.
        seed: of the permutations, the examples and the labels if these are shuffled.
        train_per_task: at most so many training examples a task, all classes alike; None: all.
        test_per_task: the same for test examples.
        images: see :data:`Images`; in the literature the same.
        keep_first: whether the first task shows the images as they are.
        identical: positive control of facilitation: all tasks have the permutation of the first.
        shuffled_labels: its negative control: within the training and within the test examples of
            each task, labels are dealt out anew, so nothing but single examples can be learnt.

    Raises:
        ValueError: a number below 1, or too few images for disjoint tasks.
    """
    chosen = _chosen(digits, tasks, seed, train_per_task, test_per_task, images)

    def shown(task: int, part: NDArray[np.uint8]) -> NDArray[np.uint8]:
        number = 0 if identical else task
        if keep_first and number == 0:
            return part
        return np.take(part, permutation(seed, number), axis=1)  # a third of the time of part[:, p]

    def named(task: int, part: str, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        return _generator("labels", seed, task, part).permutation(labels)

    name = f"permuted {digits.name}"
    return _stream(name, digits, chosen, shown, named if shuffled_labels else None)


def rotated(
    digits: Digits,
    tasks: int,
    seed: int,
    *,
    angles: Sequence[float] | None = None,
    step: float | None = None,
    train_per_task: int | None = None,
    test_per_task: int | None = None,
    images: Images = "same",
) -> TaskStream:
    """Tasks that differ by the angle by which images are turned, anticlockwise, in degrees.

    Args:
        digits: the images.
        tasks: number of tasks.
        seed: of the examples; angles are not drawn.
        angles: one a task.
        step: task k, from 0, is turned by k times this angle. If neither it nor ``angles`` is
            given, the tasks are spread evenly from 0 to 180, both included.
        train_per_task: at most so many training examples a task, all classes alike; None: all.
        test_per_task: the same for test examples.
        images: see :data:`Images`.

    Raises:
        ValueError: a number below 1, too few images for disjoint tasks, both ``angles`` and
            ``step``, another number of angles than of tasks, or angles that are not finite.
    """
    chosen = _chosen(digits, tasks, seed, train_per_task, test_per_task, images)
    if angles is None:
        angles = [k * (180 / max(tasks - 1, 1) if step is None else step) for k in range(tasks)]
    elif step is not None:
        raise ValueError("angles and step: given both, allowed: one of them")
    if len(angles) != tasks:
        raise ValueError(f"angles: given {len(angles)}, allowed: one for each of {tasks} tasks")
    if not np.isfinite(angles).all():
        raise ValueError(f"angles: given {list(angles)}, allowed: finite numbers of degrees")
    turns = [float(angle) for angle in angles]
    name = f"rotated {digits.name}"
    return _stream(name, digits, chosen, lambda task, part: rotate(part, turns[task]))


def split(
    digits: Digits,
    seed: int,
    *,
    tasks: int = 5,
    classes_per_task: int = 2,
    scenario: Scenario = "task",
    class_order: Sequence[int] | None = None,
    train_per_task: int | None = None,
    test_per_task: int | None = None,
) -> TaskStream:
    """Tasks that hold different classes.

    Args:
        digits: the images.
        seed: of the order of the classes and the examples.
        tasks: number of tasks.
        classes_per_task: number of classes of each task.
        scenario: see :data:`Scenario`. In task and class, labels are the classes of ``digits``;
            in task, only those of its own task exist for an example; in domain, labels run from 0
            to ``classes_per_task`` - 1.
        class_order: the classes as they are dealt to the tasks, such as 0 to 9 for the pairs of the
            literature; None: drawn.
        train_per_task: at most so many training examples a task, all classes alike; None: all.
        test_per_task: the same for test examples.

    Raises:
        ValueError: a number below 1, more classes than there are, or an unknown scenario.
    """
    _check_numbers(tasks, train_per_task, test_per_task)
    if scenario not in get_args(Scenario):
        raise ValueError(f"scenario: given {scenario!r}, allowed: {', '.join(get_args(Scenario))}")
    if class_order is None:
        order = _generator("classes", seed).permutation(digits.classes)
    else:
        order = np.array(class_order, dtype=np.int64)
    if classes_per_task < 1 or tasks * classes_per_task > len(order):
        raise ValueError(
            f"tasks and classes_per_task: given {tasks} and {classes_per_task}, allowed: from 1 "
            f"on, and at most {len(order)} classes together"
        )
    if len(set(order.tolist())) < len(order) or not set(order) <= set(range(digits.classes)):
        raise ValueError(
            f"class_order: given {order.tolist()}, allowed: different classes from 0 to "
            f"{digits.classes - 1}"
        )
    owned = order[: tasks * classes_per_task].reshape(tasks, classes_per_task)

    chosen = []
    most_per_task = train_per_task, test_per_task
    for task, own in enumerate(owned):
        rows = []
        for (part, _, labels), most in zip(_parts(digits), most_per_task, strict=True):
            places = np.flatnonzero(np.isin(labels, own))
            draw = _generator("examples", seed, part, task)
            rows.append(places[_alternating(labels[places], draw)[:most]])
        chosen.append(Examples(*rows))

    named, classes = None, digits.classes
    if scenario == "domain":
        classes = classes_per_task

        def named(task: int, part: str, labels: NDArray[np.int64]) -> NDArray[np.int64]:
            return np.argmax(labels[:, None] == owned[task], axis=1)

    name = f"split {digits.name}, {scenario}"
    stream = _stream(name, digits, chosen, lambda _, part: part, named, classes)
    if scenario != "task":
        return stream
    allowed = np.zeros((len(stream.labels), classes), dtype=bool)
    for own, places in zip(owned, stream.tasks, strict=True):
        allowed[np.ix_(np.concatenate(places), own)] = True
    return replace(stream, allowed=allowed)


def permutation(seed: int, task: int) -> NDArray[np.int64]:
    """(784,) the place that each pixel of a task is taken from; depends on nothing else."""
    return _generator("pixels", seed, task).permutation(PIXELS)


def rotate(images: NDArray[np.uint8], angle: float) -> NDArray[np.uint8]:
    """(n, 784) images turned anticlockwise by an angle in degrees about their middle.

    Linear interpolation as in :func:`scipy.ndimage.rotate`; what comes from outside is background.
    """
    matrix = _turning(angle % 360)
    if matrix is None:
        return images.copy()
    turned = np.empty_like(images)
    for start in range(0, len(images), _TURNED_AT_ONCE):
        part = images[start : start + _TURNED_AT_ONCE]
        values = (matrix @ part.T.astype(np.float32)).T
        turned[start : start + len(part)] = np.rint(values)
    return turned


def views(inputs: NDArray[np.uint8], count: int, seed: int) -> NDArray[np.uint8]:
    """(count, N, 784) variants of the images: view 0 is the image itself.

    The others are moved by whole pixels, at most two in each direction, and turned by whole
    degrees, at most ten, each image in its own way. A view depends on the seed and its number, not
    on how many there are.

    Args:
        inputs: (N, 784) images.
        count: number of views V, the image included.
        seed: of the movements.

    Raises:
        ValueError: a number below 1.
    """
    if count < 1:
        raise ValueError(f"count: given {count}, allowed: a number from 1 on")
    made = np.empty((count, *inputs.shape), dtype=np.uint8)
    made[0] = inputs
    for number in range(1, count):
        draw = _generator("views", seed, number)
        moves = draw.integers(-MOST_SHIFT, MOST_SHIFT, size=(2, len(inputs)), endpoint=True)
        turns = draw.integers(-MOST_TURN, MOST_TURN, size=len(inputs), endpoint=True)
        moved = _moved(inputs, *moves)
        for turn in np.unique(turns):
            of_turn = turns == turn
            made[number, of_turn] = rotate(moved[of_turn], float(turn))
    return made


def _generator(*parts: str | int) -> np.random.Generator:
    return np.random.default_rng(seed_of("task streams", VERSION, *parts))


def _check_numbers(tasks: int, train_per_task: int | None, test_per_task: int | None) -> None:
    given = {"tasks": tasks, "train_per_task": train_per_task, "test_per_task": test_per_task}
    for name, number in given.items():
        if number is not None and number < 1:
            raise ValueError(f"{name}: given {number}, allowed: a number from 1 on")


def _chosen(
    digits: Digits,
    tasks: int,
    seed: int,
    train_per_task: int | None,
    test_per_task: int | None,
    images: Images,
) -> list[Examples]:
    """Rows of the digits' training and test images that each task shows."""
    _check_numbers(tasks, train_per_task, test_per_task)
    if images not in get_args(Images):
        raise ValueError(f"images: given {images!r}, allowed: {', '.join(get_args(Images))}")
    parts = []
    most_per_task = train_per_task, test_per_task
    for (part, _, labels), most in zip(_parts(digits), most_per_task, strict=True):
        if images == "drawn":
            draws = [_generator("examples", seed, part, task) for task in range(tasks)]
            parts.append([_alternating(labels, draw)[:most] for draw in draws])
            continue
        order = _alternating(labels, _generator("examples", seed, part))
        if images == "same":
            parts.append([order[:most]] * tasks)
            continue
        if most is None or tasks * most > len(order):
            raise ValueError(
                f"{part}_per_task: given {most}, allowed for {tasks} disjoint tasks: 1 to "
                f"{len(order) // tasks}"
            )
        parts.append([order[task * most :][:most] for task in range(tasks)])
    return [Examples(*rows) for rows in zip(*parts, strict=True)]


def _alternating(labels: NDArray[np.int64], draw: np.random.Generator) -> NDArray[np.int64]:
    """Places of the labels in a random order whose every stretch holds all classes alike."""
    order = draw.permutation(len(labels))
    return order[np.argsort(place_in_class(labels[order]), kind="stable")]


def _parts(digits: Digits) -> tuple[tuple[str, NDArray[np.uint8], NDArray[np.int64]], ...]:
    return (
        ("train", digits.train_images, digits.train_labels),
        ("test", digits.test_images, digits.test_labels),
    )


def _stream(
    name: str,
    digits: Digits,
    chosen: Sequence[Examples],
    shown: Callable[[int, NDArray[np.uint8]], NDArray[np.uint8]],
    named: Callable[[int, str, NDArray[np.int64]], NDArray[np.int64]] | None = None,
    classes: int | None = None,
) -> TaskStream:
    """The chosen images of each task as they are shown, with their labels as they are named."""
    size = sum(len(rows) for examples in chosen for rows in examples)
    inputs = np.empty((size, PIXELS), dtype=np.uint8)
    labels = np.empty(size, dtype=np.int64)
    tasks, start = [], 0
    for task, examples in enumerate(chosen):
        places = []
        for (part, images, classes_of), rows in zip(_parts(digits), examples, strict=True):
            end = start + len(rows)
            inputs[start:end] = shown(task, images[rows])
            labels[start:end] = classes_of[rows]
            if named is not None:
                labels[start:end] = named(task, part, labels[start:end])
            places.append(np.arange(start, end))
            start = end
        tasks.append(Examples(*places))
    return TaskStream(name, inputs, labels, tuple(tasks), classes or digits.classes)


@lru_cache(maxsize=256)
def _turning(angle: float) -> sparse.csr_array | None:
    """(784, 784) float32 matrix that turns an image; None for no turn.

    Interpolation is linear in the image, so the turned images of single pixels are its columns:
    a product with it takes a tenth of the time of turning image after image.
    """
    if angle == 0:
        return None
    single = np.eye(PIXELS, dtype=np.float32).reshape(PIXELS, SIDE, SIDE)
    turned = ndimage.rotate(single, angle, axes=(2, 1), reshape=False, order=1)
    return sparse.csr_array(turned.reshape(PIXELS, PIXELS).T)


def _moved(
    images: NDArray[np.uint8], down: NDArray[np.int64], right: NDArray[np.int64]
) -> NDArray[np.uint8]:
    """(n, 784) images, each moved by its own (n,) numbers of pixels; background moves in."""
    margin = ((0, 0), (MOST_SHIFT, MOST_SHIFT), (MOST_SHIFT, MOST_SHIFT))
    wide = np.pad(images.reshape(-1, SIDE, SIDE), margin)
    rows = MOST_SHIFT - down[:, None, None] + np.arange(SIDE)[:, None]
    columns = MOST_SHIFT - right[:, None, None] + np.arange(SIDE)
    return wide[np.arange(len(images))[:, None, None], rows, columns].reshape(-1, PIXELS)
