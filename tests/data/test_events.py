"""The table of events keeps its promises; a user's file is read or refused, never half read."""

import json
import pickle
import re
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from palimpsest.data.errors import DataError
from palimpsest.data.events import (
    BLANK,
    CATEGORIES,
    MAX_LINE,
    SCHEMA,
    distractors,
    load_events,
    mask_entity,
    read_events,
    tfidf_floor,
)

GOOD = {"date": "2008-09-15", "headline": "Lehman files for bankruptcy", "entity": "Lehman"}
MONTHS = re.compile(
    r"\b(jan(uary)?|feb(ruary)?|mar(ch)?|apr(il)?|may|june?|july?|aug(ust)?|sept?(ember)?"
    r"|oct(ober)?|nov(ember)?|dec(ember)?)\b",
    re.IGNORECASE,
)


@pytest.fixture(scope="module")
def events() -> pl.DataFrame:
    return load_events()


def write(folder: Path, *rows: object) -> Path:
    """A JSONL file of ``rows``; bytes and text are written as they are."""
    path = folder / "mine.jsonl"
    lines = [
        row
        if isinstance(row, bytes)
        else (row if isinstance(row, str) else json.dumps(row)).encode()
        for row in rows
    ]
    path.write_bytes(b"\n".join(lines))
    return path


def problems(folder: Path, *rows: object) -> list[tuple[int, str]]:
    with pytest.raises(DataError) as caught:
        read_events(write(folder, *rows))
    return caught.value.problems


# The packaged table.


def test_table_has_the_documented_shape(events):
    assert events.schema == pl.Schema(SCHEMA)
    assert events.null_count().sum_horizontal().item() == 0
    assert events.equals(events.sort("date", "id"))
    assert events.height >= 200
    assert set(events["category"]) == set(CATEGORIES)
    assert set(events["precision"]) == {"day", "month"}


def test_ids_and_headlines_are_distinct_even_when_masked(events):
    masked = [
        mask_entity(headline, entity).casefold()
        for headline, entity in events.select("headline", "entity").iter_rows()
    ]
    assert events["id"].is_unique().all()
    assert events["headline"].is_unique().all()
    assert len(set(masked)) == events.height
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) for name in events["id"])


def test_dates_lie_in_the_documented_span(events):
    assert date(1907, 1, 1) <= events["date"].min()
    assert events["date"].max() <= min(date(2025, 12, 31), date.today())
    assert (events.filter(precision="month")["date"].dt.day() == 1).all()
    a_year = events.group_by(pl.col("date").dt.year().alias("year")).len()
    recent = dict(a_year.filter(pl.col("year") >= 1995).iter_rows())
    assert set(recent) == set(range(1995, 2026))
    assert min(recent.values()) >= 8


def test_headlines_are_short_and_do_not_tell_when(events):
    for headline, entity in events.select("headline", "entity").iter_rows():
        assert headline.count(entity) == 1, headline
        assert headline.casefold().count(entity.casefold()) == 1 or entity == "euro", headline
        assert 5 <= len(headline.split()) <= 14, headline
        assert not re.search(r"\b(1[89]|20)\d\d\b", headline), headline
        assert not MONTHS.search(headline), headline


def test_every_category_can_supply_distractors(events):
    counts = events.group_by("category").agg(pl.len(), entities=pl.col("entity").n_unique())
    assert counts["len"].min() >= 6
    assert counts["entities"].min() >= 5


@pytest.mark.parametrize(
    ("entity", "fragment", "day"),
    [
        ("Woodrow Wilson", "creates the Federal Reserve", "1913-12-23"),
        ("Wall Street", "record rout", "1929-10-29"),
        ("Richard Nixon", "convertibility of the dollar", "1971-08-15"),
        ("Federal Reserve", "bank reserves", "1979-10-06"),
        ("Apple", "22 dollars apiece", "1980-12-12"),
        ("Dow Jones Industrial Average", "22 percent", "1987-10-19"),
        ("Norman Lamont", "sterling out", "1992-09-16"),
        ("Thailand", "floats the baht", "1997-07-02"),
        ("Russia", "halts payments on its domestic", "1998-08-17"),
        ("euro", "launch", "1999-01-01"),
        ("Enron", "files for bankruptcy", "2001-12-02"),
        ("China", "joins the World Trade Organization", "2001-12-11"),
        ("Google", "auction of its shares", "2004-08-19"),
        ("Lehman Brothers", "largest bankruptcy", "2008-09-15"),
        ("Bernard Madoff", "arrested", "2008-12-11"),
        ("General Motors", "files for bankruptcy", "2009-06-01"),
        ("Mario Draghi", "whatever it takes", "2012-07-26"),
        ("Swiss National Bank", "abandons", "2015-01-15"),
        ("Britain", "votes to leave", "2016-06-23"),
        ("West Texas Intermediate", "below zero", "2020-04-20"),
        ("FTX", "files for bankruptcy", "2022-11-11"),
        ("Silicon Valley Bank", "closed", "2023-03-10"),
    ],
)
def test_famous_dates(events, entity, fragment, day):
    found = events.filter(entity=entity).filter(
        pl.col("headline").str.contains(fragment, literal=True)
    )
    assert found["date"].to_list() == [date.fromisoformat(day)]


# The user's own file.


def test_defaults_month_precision_and_order(tmp_path):
    path = write(
        tmp_path,
        b"\xef\xbb\xbf" + json.dumps(GOOD).encode() + b"\r",
        "",
        "  ",
        {**GOOD, "date": "1998-08", "id": "b", "category": "debt"},
        {**GOOD, "date": "1998-08-17", "id": "a", "precision": "month"},
    )
    frame = read_events(path)
    assert frame.schema == pl.Schema(SCHEMA)
    assert frame.select("id", "date", "precision", "category").rows() == [
        ("a", date(1998, 8, 1), "month", "other"),
        ("b", date(1998, 8, 1), "month", "debt"),
        ("row-1", date(2008, 9, 15), "day", "other"),
    ]


@pytest.mark.parametrize(
    ("row", "fragments"),
    [
        (b"\xff\xfe", ["not UTF-8"]),
        ("{", ["not JSON", "allowed: one JSON object"]),
        ("[1]", ["given [1]", "allowed: a JSON object"]),
        ("[" * 50_000, ["not JSON"]),
        ("7" * 5_000, ["not JSON"]),
        (json.dumps(GOOD) + "\0", ["NUL"]),
        (json.dumps({**GOOD, "headline": "x" * MAX_LINE}), ["100,000"]),
        ({**GOOD, "entity": "Bear Stearns"}, ["entity: given 'Bear Stearns'", "0 times"]),
        ({**GOOD, "headline": "Lehman sues Lehman"}, ["2 times", "exactly once"]),
        ({**GOOD, "date": "15/09/2008"}, ["date: given '15/09/2008'", "YYYY-MM-DD"]),
        ({**GOOD, "date": "20080915"}, ["date", "YYYY-MM-DD"]),
        ({**GOOD, "date": "2008-W38-1"}, ["date"]),
        ({**GOOD, "date": "2008-02-30"}, ["date"]),
        ({**GOOD, "date": "0000-01"}, ["date"]),
        ({**GOOD, "date": "2008-09-15\n"}, ["date"]),
        ({**GOOD, "date": 2008}, ["date: given 2008"]),
        ({**GOOD, "date": "2008-09", "precision": "day"}, ["precision", "allowed: month"]),
        ({**GOOD, "precision": "year"}, ["precision: given 'year'; allowed: day or month"]),
        ({**GOOD, "when": "today"}, ["'when': unknown key; allowed: id, date"]),
        ({"date": "2008-09-15", "entity": "Lehman"}, ["headline: missing"]),
        ({**GOOD, "entity": ""}, ["entity: given ''"]),
        ({**GOOD, "id": "\0"}, ["id"]),
        ('{"date": "2008-09-15", "headline": "\\ud800 Lehman", "entity": "Lehman"}', ["headline"]),
        ('{"date": "2008-09-15", "headline": "Lehman", "entity": "Lehman", "\\ud800": 1}', [""]),
    ],
)
def test_a_bad_row_is_named_with_what_was_given_and_what_is_allowed(tmp_path, row, fragments):
    [(line, text)] = problems(tmp_path, GOOD, "", row)
    assert line == 3
    assert all(fragment in text for fragment in fragments), text
    text.encode()


def test_every_problem_is_listed_and_the_message_shows_twenty(tmp_path):
    path = write(tmp_path, GOOD, *[{**GOOD, "date": "soon", "entity": "?"}] * 15)
    with pytest.raises(DataError) as caught:
        read_events(path)
    error = caught.value
    message = str(error).splitlines()
    assert error.path == path
    assert [line for line, _ in error.problems] == sorted([*range(2, 17)] * 2)
    assert str(path) in message[0]
    assert "15 bad rows" in message[0]
    assert message[1].startswith("  line 2: ")
    assert len(message) == 22
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_duplicate_ids_name_the_earlier_line(tmp_path):
    first = {**GOOD, "id": "row-3"}
    assert problems(tmp_path, first, GOOD, GOOD) == [
        (3, "id: given 'row-3', already used on line 1; allowed: a unique id")
    ]


@pytest.mark.parametrize("content", [b"", b"\n \n\r\n", b"\xef\xbb\xbf"])
def test_a_file_without_events_is_refused(tmp_path, content):
    assert problems(tmp_path, content)[0][1].startswith("the file holds no events")


def test_a_file_that_cannot_be_opened_is_refused(tmp_path):
    for path in (tmp_path / "missing.jsonl", tmp_path, "a\0b"):
        with pytest.raises(DataError, match="cannot be read"):
            read_events(path)


WILD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
ROWS = st.fixed_dictionaries(
    {},
    optional={
        "id": st.sampled_from(["a", "row-2", None]) | WILD,
        "date": st.dates().map(str) | st.dates().map(lambda day: str(day)[:7]) | WILD,
        "headline": st.just("Enron files for bankruptcy") | WILD,
        "entity": st.just("Enron") | WILD,
        "precision": st.sampled_from(["day", "month", None]) | WILD,
        "category": st.text() | WILD,
    },
)
LINES = st.binary() | WILD.map(json.dumps).map(str.encode) | ROWS.map(json.dumps).map(str.encode)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.binary(max_size=300) | st.lists(LINES, max_size=6).map(b"\n".join))
@example(json.dumps(GOOD).encode())
def test_any_bytes_give_a_valid_frame_or_a_data_error(tmp_path, content):
    path = tmp_path / "fuzz.jsonl"
    path.write_bytes(content)
    try:
        frame = read_events(path)
    except DataError as error:
        refusal = error
    else:
        refusal = None
    if refusal is not None:
        assert refusal.problems
        str(refusal).encode()  # printable anywhere
        return
    assert frame.schema == pl.Schema(SCHEMA)
    assert frame.height >= 1
    assert frame["id"].is_unique().all()
    for row in frame.iter_rows(named=True):
        assert row["headline"].count(row["entity"]) == 1
        assert row["precision"] == "day" or row["date"].day == 1


# The masked-entity task.


def test_mask_entity_replaces_the_one_occurrence():
    assert mask_entity("Exxon buys Mobil", "Mobil") == "Exxon buys ____"
    assert mask_entity("Exxon buys Mobil", "Exxon", "[?]") == "[?] buys Mobil"
    for entity in ("BP", "", "x"):
        with pytest.raises(ValueError, match="not once"):
            mask_entity("Exxon buys Mobil", entity)


def table(*rows: tuple[str, str, str, str, str]) -> pl.DataFrame:
    days = [(name, date.fromisoformat(day), "day", *rest) for name, day, *rest in rows]
    return pl.DataFrame(days, schema=SCHEMA, orient="row")


def test_distractors_by_hand():
    events = table(
        ("truth", "2000-01-10", "Exxon agrees to buy Mobil", "Mobil", "merger"),
        ("far", "1990-01-01", "Kraft agrees to merge", "Kraft", "merger"),
        ("near", "2000-02-01", "BP agrees to merge", "BP", "merger"),
        ("again", "2000-02-02", "bp agrees to merge again", "bp", "merger"),
        ("same", "2000-01-11", "MOBIL agrees to sell", "MOBIL", "merger"),
        ("part", "2000-01-11", "Exxon Mobil changes its name", "Exxon Mobil", "merger"),
        ("buyer", "2000-01-12", "Exxon sells stations", "Exxon", "merger"),
        ("other", "2000-01-10", "Cuba devalues the peso", "Cuba", "currency"),
        ("late", "2001-01-10", "Peru devalues the sol", "Peru", "currency"),
    )
    generator = np.random.default_rng(0)
    assert distractors(events, "truth", 4, generator) == ["BP", "Kraft", "Cuba", "Peru"]
    for name, k, reason in [
        ("truth", 5, "only 4 of 5"),
        ("nobody", 1, "0 events"),
        ("far", 0, "k"),
    ]:
        with pytest.raises(ValueError, match=reason):
            distractors(events, name, k, generator)


def test_generator_decides_only_between_equals():
    rows = [(f"e{i}", "2000-01-02", f"N{i} fails", f"N{i}", "bankruptcy") for i in range(6)]
    events = table(("truth", "2000-01-01", "Truth fails", "Truth", "bankruptcy"), *rows)
    draws = [distractors(events, "truth", 3, np.random.default_rng(seed)) for seed in range(20)]
    assert len({tuple(draw) for draw in draws}) > 5
    shuffled = events.sample(fraction=1, shuffle=True, seed=1)
    assert distractors(shuffled, "truth", 3, np.random.default_rng(7)) == draws[7]


def test_distractors_of_every_packaged_event(events):
    category = events.group_by("entity").agg("category")
    kinds = {entity: set(values) for entity, values in category.iter_rows()}
    for row in events.gather_every(7).iter_rows(named=True):
        names = distractors(events, row["id"], 7, np.random.default_rng(1))
        truth, folded = row["entity"].casefold(), [name.casefold() for name in names]
        assert len(set(folded)) == 7
        assert not any(name in truth or truth in name for name in folded)
        assert all(row["category"] in kinds[name] for name in names)


def test_tfidf_floor_by_hand():
    events = table(
        ("a", "2000-01-01", "Acme drills oil wells", "Acme", "commodity"),
        ("b", "2001-01-01", "Acme finds oil offshore", "Acme", "commodity"),
        ("c", "2002-01-01", "Zeta launches cheap flights", "Zeta", "listing"),
        ("d", "2003-01-01", "Orbit Bank lends to farmers", "Orbit Bank", "debt"),
    )
    asked = [
        f"{BLANK} drills oil wells",  # the other headline of Acme shares the word oil
        f"{BLANK} launches cheap flights",  # Zeta has no other headline: all tied at zero
        f"{BLANK} opens a bank",  # only the name itself overlaps
    ]
    names = [["Zeta", "Acme"], ["Acme", "Zeta"], ["Zeta", "Acme", "Orbit Bank"]]
    assert tfidf_floor(events, asked, names) == [1, 0, 2]
    assert tfidf_floor(events, ["new oil wells"], [["Zeta", "acme", "Acme"]]) == [1]
    assert tfidf_floor(events, [], []) == []
    with pytest.raises(ValueError, match="candidate lists"):
        tfidf_floor(events, asked, names[:2])
    with pytest.raises(ValueError, match="at least one"):
        tfidf_floor(events, asked[:1], [[]])


def test_tfidf_floor_stays_far_from_memory_on_the_packaged_table(events):
    """Word overlap helps where an entity recurs, but the table does not give itself away."""
    generator = np.random.default_rng(3)
    sample = events.gather_every(3)
    asked, names, right = [], [], []
    for row in sample.iter_rows(named=True):
        wrong = distractors(events, row["id"], 7, generator)
        place = int(generator.integers(8))
        asked.append(mask_entity(row["headline"], row["entity"]))
        names.append([*wrong[:place], row["entity"], *wrong[place:]])
        right.append(place)
    share = np.mean(np.array(tfidf_floor(events, asked, names)) == np.array(right))
    print(f"floor {share:.3f} (chance 0.125)")
    assert 0.125 < share < 0.5
