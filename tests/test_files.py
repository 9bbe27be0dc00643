"""Records that carry the SHA-256 of their own content."""

import pytest

from palimpsest.files import read_sealed, write_json, write_sealed

RECORD = {"rows": 3, "hashes": {"0": "ab12", "6": None}, "name": "Zoë", "share": 0.25, "on": True}


def test_a_record_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "record.json"
    write_sealed(path, RECORD)
    assert read_sealed(path) == RECORD
    write_sealed(path, {"steps": {1: (2, 3)}})
    assert read_sealed(path) == {"steps": {"1": [2, 3]}}


def test_every_flipped_bit_is_found_or_changes_nothing(tmp_path):
    path = tmp_path / "record.json"
    write_sealed(path, RECORD)
    whole = path.read_bytes()
    said = []
    for bit in range(8 * len(whole)):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        try:
            assert read_sealed(path) == RECORD
        except ValueError as error:
            said.append(str(error))
    assert all(str(path) in each for each in said)
    # Blanks between parts alone may change, into other blanks or line ends.
    assert len(said) > 0.95 * 8 * len(whole)


def test_every_cut_is_found(tmp_path):
    path = tmp_path / "record.json"
    write_sealed(path, RECORD)
    whole = path.read_bytes().rstrip()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"record\.json"):
            read_sealed(path)


def test_a_record_without_a_seal_is_refused(tmp_path):
    path = tmp_path / "record.json"
    write_json(path, RECORD)
    with pytest.raises(ValueError, match="differs from its recorded SHA-256"):
        read_sealed(path)
    path.write_text("[1]")
    with pytest.raises(ValueError, match="not a JSON object"):
        read_sealed(path)
