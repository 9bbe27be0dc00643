import subprocess
import sys

import duckdb
import polars as pl
import pytest

from palimpsest.evidence.database import Database, EvidenceError
from palimpsest.evidence.schema import SCHEMA_VERSION


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "palimpsest.duckdb"
    with duckdb.connect(str(file)) as connection:
        connection.execute("CREATE TABLE run (key VARCHAR, value VARCHAR)")
        connection.execute("INSERT INTO run VALUES ('schema_version', ?)", [str(SCHEMA_VERSION)])
    return file


def test_frame_gives_polars_and_takes_both_kinds_of_parameters(path):
    with Database(path) as database:
        assert database.frame("SELECT ?::INTEGER AS a", [3]).item() == 3
        assert database.frame("SELECT $b AS b", {"b": "x"}).item() == "x"
        frame = database.frame("SELECT value FROM run WHERE false")
    assert isinstance(frame, pl.DataFrame)
    assert frame.columns == ["value"]
    assert frame.is_empty()


def test_exact_decimals_arrive_as_ordinary_numbers(path):
    with Database(path) as database:
        frame = database.frame("SELECT 0.125 AS literal, sum(range) AS total FROM range(4)")
    assert frame.schema == {"literal": pl.Float64, "total": pl.Int64}
    assert frame.row(0) == (0.125, 6)


def test_the_file_cannot_be_written(path):
    with Database(path) as database, pytest.raises(EvidenceError, match="read-only"):
        database.frame("INSERT INTO run VALUES ('a', 'b')")
    with Database(path) as database, pytest.raises(EvidenceError, match=r"not a query|read-only"):
        database.frame("CREATE TABLE other (a INTEGER)")


def test_a_refused_query_is_shown_in_the_error(path):
    with Database(path) as database, pytest.raises(EvidenceError, match="SELECT nothing_here"):
        database.frame("SELECT nothing_here")


def test_missing_file(tmp_path):
    with pytest.raises(EvidenceError, match="no such database"):
        Database(tmp_path / "absent.duckdb")
    assert not (tmp_path / "absent.duckdb").exists()


def test_not_a_database(tmp_path):
    file = tmp_path / "palimpsest.duckdb"
    file.write_bytes(b"not a database " * 1000)
    with pytest.raises(EvidenceError, match="cannot be opened"):
        Database(file)


def test_other_database_and_other_version(tmp_path):
    file = tmp_path / "other.duckdb"
    with duckdb.connect(str(file)) as connection:
        connection.execute("CREATE TABLE something (a INTEGER)")
    with pytest.raises(EvidenceError, match="not a Palimpsest database"):
        Database(file)
    with duckdb.connect(str(file)) as connection:
        connection.execute("CREATE TABLE run (key VARCHAR, value VARCHAR)")
        connection.execute("INSERT INTO run VALUES ('schema_version', '999')")
    with pytest.raises(EvidenceError, match="schema_version is 999"):
        Database(file)


def test_two_readers_at_once_and_close_twice(path):
    first, second = Database(path), Database(path)
    assert first.frame("SELECT 1 AS a").equals(second.frame("SELECT 1 AS a"))
    first.close()
    first.close()
    second.close()


def test_a_writer_elsewhere_is_named(path):
    code = (
        "import duckdb, sys\n"
        "connection = duckdb.connect(sys.argv[1])\n"
        "print('open', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as writer:
        assert writer.stdout.readline().strip() == "open"
        with pytest.raises(EvidenceError, match="locked by a process that writes"):
            Database(path)
        writer.communicate("")
    Database(path).close()
