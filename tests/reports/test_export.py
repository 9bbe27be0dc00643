import csv
import io
from urllib.parse import unquote

import polars as pl
import pytest

from palimpsest.reports.export import csv_link, neutral_csv


def _read(text):
    return list(csv.reader(io.StringIO(text, newline="")))


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_text_that_a_spreadsheet_would_run_gets_an_apostrophe(start):
    frame = pl.DataFrame({"answer": [start + "cmd", "plain", None, "a=b"], "n": range(4)})
    assert [row[0] for row in _read(neutral_csv(frame))] == [
        "answer",
        "'" + start + "cmd",
        "plain",
        "",
        "a=b",
    ]


def test_numbers_stay_numbers():
    frame = pl.DataFrame({"value": [-1.5, 1e-9], "count": [-3, 4], "yes": [True, False]})
    read = pl.read_csv(neutral_csv(frame).encode())
    assert read.equals(frame)


def test_headers_lists_and_quotes_are_neutralised_too():
    frame = pl.DataFrame({"=head": ['say "hi", twice'], "list": [["=1"]]})
    head, row = _read(neutral_csv(frame))
    assert head[0] == "'=head"
    assert row[0] == 'say "hi", twice'
    assert not row[1].startswith("=")


def test_the_link_carries_the_whole_file():
    frame = pl.DataFrame({"a": ["x#y&z é", "line\nbreak"], "b": [1, 2]})
    link = csv_link(frame, "study-table", 10_000)
    head, _, body = link.href.partition(",")
    assert head == "data:text/csv;charset=utf-8"
    assert unquote(body) == neutral_csv(frame)
    assert "#" not in body  # would cut the address
    assert (link.rows, link.total, link.name) == (2, 2, "study-table.csv")


def test_a_long_file_is_cut_to_whole_rows_and_says_so():
    frame = pl.DataFrame({"a": ["x" * 100] * 1000})
    link = csv_link(frame, "t", 5_000)
    assert len(link.href) <= 5_000
    assert 30 < link.rows < 60
    assert link.total == 1000
    assert unquote(link.href).count("\n") == link.rows + 1
