from datetime import date
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from palimpsest.data.csv_series import read_series
from palimpsest.data.errors import DataError
from palimpsest.data.sentences import format_value
from palimpsest.data.series import check_frame


@pytest.fixture
def write(tmp_path):
    def _write(content: str | bytes) -> Path:
        path = tmp_path / "mine.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return _write


def problems(path: Path, **options) -> list[tuple[int, str]]:
    with pytest.raises(DataError) as caught:
        read_series("mine", path, **options)
    assert caught.value.path == path
    return caught.value.problems


def test_a_plain_file(write):
    path = write("date,value\n2020-02-01,2.50\n2020-01-01,-1\n2020-03-01,3.125\n")
    frame = read_series("mine", path, unit="percent")
    assert frame.rows() == [
        ("mine", date(2020, 1, 1), -1.0, "percent", "month", "mine.csv; the user", 3),
        ("mine", date(2020, 2, 1), 2.5, "percent", "month", "mine.csv; the user", 3),
        ("mine", date(2020, 3, 1), 3.125, "percent", "month", "mine.csv; the user", 3),
    ]


def test_byte_order_mark_blank_lines_windows_ends_quotes_and_other_columns(write):
    path = write(b'\xef\xbb\xbfnote, date ,value\r\n"a,\nb",2019 , 1.5\r\n\r\nc,"2020",2e0\r\n')
    frame = read_series("mine", path)
    assert frame["date"].to_list() == [date(2019, 1, 1), date(2020, 1, 1)]
    assert frame["value"].to_list() == [1.5, 2.0]
    assert frame["frequency"].unique().to_list() == ["year"]


def test_names_of_columns_can_be_given(write):
    path = write("DATE,UNRATE\n2009-10-01,10.0\n2009-11-01,9.9\n")
    frame = read_series("mine", path, date_column="DATE", value_column="UNRATE")
    assert frame["value"].to_list() == [10.0, 9.9]
    assert frame["decimals"].to_list() == [1, 1]


@pytest.mark.parametrize(
    ("dates", "frequency", "first"),
    [
        (["2020", "2021"], "year", date(2020, 1, 1)),
        (["2020Q2", "2020Q3"], "quarter", date(2020, 4, 1)),
        (["2020-Q4", "2021-Q1"], "quarter", date(2020, 10, 1)),
        (["2020-05", "2020-06"], "month", date(2020, 5, 1)),
        (["2020-01-02", "2020-01-03", "2020-01-06"], "day", date(2020, 1, 2)),
        (["2020-01-03", "2020-01-10", "2020-01-17"], "day", date(2020, 1, 3)),
        (["2020-01-31", "2020-02-29", "2020-03-31"], "month", date(2020, 1, 1)),
        (["2020-01-01", "2020-03-01", "2020-05-01"], "month", date(2020, 1, 1)),
        (["2020-03-31", "2020-06-30", "2020-09-30"], "quarter", date(2020, 1, 1)),
        (["2019-12-31", "2020-12-31", "2021-12-31"], "year", date(2019, 1, 1)),
    ],
)
def test_frequency_is_inferred_and_dates_move_to_the_first_day(write, dates, frequency, first):
    path = write("date,value\n" + "".join(f"{day},1\n" for day in dates))
    frame = read_series("mine", path)
    assert frame["frequency"].unique().to_list() == [frequency]
    assert frame["date"][0] == first


def test_frequency_given_wins_over_spacing(write):
    path = write("date,value\n2020-01-01,1\n2020-01-02,2\n2021-01-01,1\n")
    assert read_series("mine", path, frequency="day").height == 3
    assert problems(path, frequency="year") == [
        (3, "a second value of 2020, the first is in line 2")
    ]


def test_unclear_spacing_asks_for_the_frequency(write):
    path = write("date,value\n2020-01-01,1\n2020-07-01,2\n2021-01-01,1\n")
    ((line, problem),) = problems(path)
    assert line == 2
    assert "pass frequency" in problem
    assert read_series("mine", path, frequency="quarter").height == 3
    ((_, problem),) = problems(write("date,value\n2020-01-01,1\n"))
    assert "pass frequency" in problem


def test_short_dates_do_not_make_a_finer_series(write):
    path = write("date,value\n2020,1\n2021,2\n")
    assert problems(path, frequency="month") == [
        (2, "date names a year, the series is one by month"),
        (3, "date names a year, the series is one by month"),
    ]


def test_every_bad_row_is_listed_with_its_line(write):
    path = write(
        "date,value\n"
        "2020-01-01,1\n"
        "03/14/2008,1\n"
        "2020-02-30,1\n"
        "2020-04-01,\n"
        "2020-05-01,inf\n"
        "2020-06-01,NaN\n"
        '2020-07-01,"1,234.5"\n'
        "2020-08-01,1,234\n"
        "2020-09-01,5%\n"
        "2020-10-01,1e999\n"
        "2020-01-01,7\n"
        "never,ten\n"
        '2021-01-01,"1,5"\n'
    )
    forms = "YYYY-MM-DD, YYYY-MM, YYYYQn, YYYY-Qn or YYYY"
    assert problems(path) == [
        (3, f"date '03/14/2008' is not written as {forms}"),
        (4, "date '2020-02-30' is not in the calendar"),
        (5, "the value is missing: leave the row out"),
        (6, "value 'inf' is not finite"),
        (7, "value 'NaN' is not finite"),
        (8, "value '1,234.5' has thousands separators: write it without"),
        (9, "3 fields where the header has 2"),
        (10, "value '5%' is not a number such as -1234.5"),
        (11, "value '1e999' is too large"),
        (12, "a second value of 1 January 2020, the first is in line 2"),
        (13, f"date 'never' is not written as {forms}"),
        (13, "value 'ten' is not a number such as -1234.5"),
        (14, "value '1,5' is not a number such as -1234.5"),
    ]


def test_line_numbers_count_lines_not_records(write):
    path = write('date,value,note\n2020,1,"two\nlines"\n\nnever,1,x\n')
    ((line, _),) = problems(path)
    assert line == 5
    path = write('date,value,note\n2020,1,x\nnever,1,"two\nlines"\n')
    ((line, _),) = problems(path)
    assert line == 3  # where the row begins


@pytest.mark.parametrize("space", ["'", " ", "_", "\u00a0", "\u202f", "’"])
def test_any_thousands_separator_is_refused(write, space):
    ((_, problem),) = problems(write(f"date,value\n2020,12{space}345\n"))
    assert "thousands separators" in problem


def test_digits_of_other_scripts_are_refused(write):
    assert len(problems(write("date,value\n٢٠٢٠,1\n2020,٣\n"))) == 2


def test_mixed_ways_of_writing_dates(write):
    assert problems(write("date,value\n2020,1\n2021-01,2\n2022-01-01,3\n")) == [
        (3, "date names a month, that of line 2 a year"),
        (4, "date names a day, that of line 2 a year"),
    ]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", (1, "the file is empty")),
        (b"\xef\xbb\xbf\n\n", (1, "the file is empty")),
        ("date,value\n", (1, "there are no rows after the header")),
        ("day,value\n2020,1\n", (1, "no column 'date'; the columns are 'day', 'value'")),
        ("date;value\n2020;1\n", (1, "no column 'date'; the columns are 'date;value'")),
        ("date,date,value\n2020,2020,1\n", (1, "column 'date' is there 2 times")),
        (
            b"date,value\n2020,1\n2021,\xff\n",
            (3, "not UTF-8: byte 0xff; save the file as UTF-8"),
        ),
    ],
)
def test_files_that_are_no_series(write, content, problem):
    assert problem in problems(write(content))


def test_broken_quoting_is_a_data_error(write):
    ((_, problem),) = problems(write('date,value\n2020,"1"2\n'))
    assert problem.startswith("not CSV")


def test_decimals_are_those_written_capped_at_six(write):
    assert read_series("mine", write("date,value\n2020,1.10\n2021,2\n"))["decimals"][0] == 2
    assert read_series("mine", write("date,value\n2020,15e-4\n2021,2\n"))["decimals"][0] == 4
    capped = read_series("mine", write("date,value\n2020,0.12345678\n"))
    assert capped["decimals"].to_list() == [6]
    assert capped["value"].to_list() == [0.123457]


def test_decimals_given_round_half_to_even(write):
    frame = read_series("mine", write("date,value\n2020,2.675\n2021,0.125\n"), decimals=2)
    assert frame["value"].to_list() == [2.68, 0.12]
    assert frame["decimals"].to_list() == [2, 2]


def test_a_value_that_six_decimals_cannot_show_is_refused(write):
    ((line, problem),) = problems(write("date,value\n2020,1\n2021,1e-9\n"))
    assert line == 3
    assert "rescale" in problem


@pytest.mark.parametrize(
    "options", [{"name": "Bad Name"}, {"frequency": "week"}, {"decimals": 7}, {"decimals": -1}]
)
def test_wrong_arguments_are_not_blamed_on_the_file(write, options):
    path = write("date,value\n2020,1\n")
    arguments = {"name": "mine"} | options
    with pytest.raises(ValueError, match=r"small letters|frequency|decimals") as caught:
        read_series(path=path, **arguments)
    assert not isinstance(caught.value, DataError)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_series("mine", tmp_path / "none.csv")


def frame_or_data_error(path: Path) -> pl.DataFrame | None:
    """Whatever the file holds, a valid frame or a DataError with lines inside the file."""
    try:
        frame = read_series("mine", path)
    except DataError as error:
        problems = error.problems
    else:
        check_frame(frame)
        assert frame.height
        for value, decimals in frame.select("value", "decimals").iter_rows():
            assert float(format_value(value, decimals)) == value
        return frame
    assert problems
    assert all(line >= 1 and problem for line, problem in problems)
    return None


FUZZ = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@FUZZ
@given(content=st.binary(max_size=200))
def test_fuzz_bytes(tmp_path, content):
    path = tmp_path / "fuzz.csv"
    path.write_bytes(content)
    frame_or_data_error(path)
    path.write_bytes(b"date,value\n" + content)
    frame_or_data_error(path)


DATES = st.one_of(
    st.dates().map(str),
    st.integers(0, 9999).map("{:04}".format),
    st.tuples(st.integers(0, 9999), st.integers(0, 13)).map(lambda p: "{:04}-{:02}".format(*p)),
    st.tuples(st.integers(0, 9999), st.integers(1, 4)).map(lambda p: "{:04}Q{}".format(*p)),
    st.text(max_size=8),
)
VALUES = st.one_of(
    st.floats().map(repr),
    st.decimals(allow_nan=True).map(str),
    st.integers().map("{:,}".format),
    st.text(alphabet="0123456789.,eE+-_ \"'\n\r\x00", max_size=12),
)


@FUZZ
@given(rows=st.lists(st.tuples(DATES, VALUES), max_size=6))
def test_fuzz_rows(tmp_path, rows):
    path = tmp_path / "fuzz.csv"
    text = "date,value\n" + "\n".join(",".join(row) for row in rows)
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    frame_or_data_error(path)


@FUZZ
@given(
    values=st.dictionaries(
        st.dates(date(1900, 1, 1), date(2100, 1, 1)).map(lambda d: d.replace(day=1)),
        st.integers(-(10**9), 10**9),
        min_size=1,
        max_size=20,
    ),
    decimals=st.integers(0, 4),
)
def test_a_written_series_comes_back_exactly(tmp_path, values, decimals):
    path = tmp_path / "round.csv"
    written = {day: format_value(number / 10**decimals, decimals) for day, number in values.items()}
    rows = "".join(f"{day:%Y-%m},{text}\n" for day, text in written.items())
    path.write_text("date,value\n" + rows)
    frame = frame_or_data_error(path)
    assert {
        day: format_value(value, places)
        for day, value, places in frame.select("date", "value", "decimals").iter_rows()
    } == written
