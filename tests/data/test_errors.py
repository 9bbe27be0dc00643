from palimpsest.data.errors import DataError


def test_message_names_file_count_and_problems():
    error = DataError("a.csv", [(2, "no date"), (2, "no value"), (5, "no date")])
    assert str(error) == (
        "a.csv: 2 bad rows\n  line 2: no date\n  line 2: no value\n  line 5: no date"
    )
    assert error.path == "a.csv"
    assert error.problems == [(2, "no date"), (2, "no value"), (5, "no date")]
    assert isinstance(error, ValueError)


def test_message_stops_after_twenty_problems_but_the_list_does_not():
    error = DataError("a.csv", [(line, "bad") for line in range(2, 27)])
    lines = str(error).splitlines()
    assert lines[0] == "a.csv: 25 bad rows"
    assert lines[1:21] == [f"  line {line}: bad" for line in range(2, 22)]
    assert lines[21:] == ["  ... and 5 more"]
    assert len(error.problems) == 25


def test_one_bad_row_is_singular():
    assert str(DataError("a.csv", [(1, "empty")])).startswith("a.csv: 1 bad row\n")
