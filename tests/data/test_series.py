from datetime import date

import polars as pl
import pytest

from palimpsest.data.series import (
    SCHEMA,
    SeriesInfo,
    check_frame,
    package_file,
    published_decimals,
    series_frame,
)


def info(slug: str = "a", frequency: str = "month") -> SeriesInfo:
    return SeriesInfo(slug, "x", "k", "the a", "points", frequency, "level", "MIT", "Nobody")


def observations(slug: str, dates: list[date], values: list[float | None], decimals: int):
    return pl.DataFrame(
        {"series": slug, "date": dates, "value": values, "decimals": decimals},
        schema_overrides={"value": pl.Float64},
    )


def test_series_frame_labels_sorts_rounds_and_drops_nulls():
    rows = pl.concat(
        [
            observations("b", [date(2001, 2, 1), date(2001, 1, 1)], [2.0, 1.0], 0),
            observations("a", [date(2001, 1, 1), date(2001, 2, 1)], [1228.099976, None], 2),
        ]
    )
    frame = series_frame(rows, [info("a"), info("b")], "pack 1.0")
    assert dict(frame.schema) == SCHEMA
    assert frame.rows() == [
        ("a", date(2001, 1, 1), 1228.1, "points", "month", "pack 1.0; Nobody", 2),
        ("b", date(2001, 1, 1), 1.0, "points", "month", "pack 1.0; Nobody", 0),
        ("b", date(2001, 2, 1), 2.0, "points", "month", "pack 1.0; Nobody", 0),
    ]


def test_rounding_leaves_huge_values_finite():
    frame = series_frame(observations("a", [date(2001, 1, 1)], [1.5e308], 6), [info()], "p")
    assert frame["value"].to_list() == [1.5e308]


def good() -> pl.DataFrame:
    rows = observations("a", [date(2001, 1, 1), date(2001, 2, 1)], [1.0, 2.0], 1)
    return series_frame(rows, [info()], "p")


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (good().with_columns(value=pl.lit(None, pl.Float64)), "null"),
        (good().with_columns(value=pl.lit(float("nan"))), "not finite"),
        (good().with_columns(value=pl.lit(float("inf"))), "not finite"),
        (good().with_columns(frequency=pl.lit("week")), "unknown frequency"),
        (good().with_columns(pl.col("date") + pl.duration(days=1)), "start its period"),
        (
            good().with_columns(frequency=pl.lit("quarter")),
            "1 rows with a date that does not start",
        ),
        (good().with_columns(decimals=pl.lit(-1, pl.Int64)), "negative decimals"),
        (pl.concat([good(), good()]).sort("date"), "repeated"),
        (good().reverse(), "not sorted"),
        (good().with_columns(decimals=pl.lit(1, pl.Int8)), "columns are"),
        (good().drop("unit"), "columns are"),
    ],
)
def test_check_frame_names_the_fault(broken, message):
    check_frame(good())
    with pytest.raises(ValueError, match=message):
        check_frame(broken)


def test_published_decimals_take_the_most_of_each_year_and_series():
    rows = pl.DataFrame(
        {
            "series": ["a", "a", "a", "b"],
            "date": [date(2000, 1, 1), date(2000, 2, 1), date(2001, 1, 1), date(2000, 1, 1)],
            "value": [1.25, 2.0, 3.5, 4.0],
        }
    )
    assert rows.select(published_decimals())["decimals"].to_list() == [2, 2, 1, 0]
    assert rows.select(published_decimals(least=1))["decimals"].to_list() == [2, 2, 1, 1]


def test_one_value_in_twenty_makes_a_usual_number_of_decimals():
    def decimals(finer: int) -> list[int]:
        values = [0.5] * (100 - finer) + [0.25] * finer
        dates = [date(2000, 1, 1)] * 100
        rows = pl.DataFrame({"series": "a", "date": dates, "value": values})
        return rows.select(published_decimals())["decimals"].to_list()

    assert decimals(4) == [1] * 96 + [2] * 4
    assert decimals(6) == [2] * 100


def test_decimals_are_capped_at_six():
    rows = pl.DataFrame({"series": "a", "date": [date(2000, 1, 1)], "value": [0.12345678]})
    assert rows.select(published_decimals())["decimals"].to_list() == [6]


def test_package_file_says_what_is_missing():
    with pytest.raises(ModuleNotFoundError, match="no_such_package_here"):
        package_file("no_such_package_here", "x.csv")
    with pytest.raises(FileNotFoundError, match=r"nothing\.csv"):
        package_file("polars", "nothing.csv")
