"""What the methods say of planting is what was done to the states of the study."""

import json

import duckdb

from palimpsest.evidence.database import Database
from palimpsest.evidence.schema import SCHEMA_VERSION, TABLES, create_statement
from palimpsest.probes.economic_recall.pages.words import _plantings


def _database(path, states, cells):
    """``states``: state -> settings of its planting; ``cells``: rows of study, state, role."""
    with duckdb.connect(str(path)) as connection:
        for table in TABLES:
            connection.execute(create_statement(table))
        connection.execute("INSERT INTO run VALUES ('schema_version', ?)", [str(SCHEMA_VERSION)])
        for state, settings in states.items():
            connection.execute(
                "INSERT INTO provenance (job, rule, state, settings) VALUES (?, 'intervene', ?, ?)",
                [f"state/{state}", state, json.dumps(settings)],
            )
        for study, state, role in cells:
            connection.execute(
                "INSERT INTO cells (study, state, role) VALUES (?, ?, ?)", [study, state, role]
            )
    return path


def test_a_study_tells_its_own_planting_each_way_once(tmp_path):
    states = {
        "tiny.planting.s0-a": {"never": 8},
        "tiny.planting.s0-b": {"never": 17},
        "tiny.planting.s1-b": {"never": 17},
        "tiny.planting.s0-c": {"never": 23},
        "tiny.grad_diff.s0-d": {"epochs": 1},
    }
    cells = [
        ("other", "tiny.planting.s0-a", "planted"),
        ("mine", "tiny.planting.s0-b", "planted"),
        ("mine", "tiny.planting.s1-b", "planted"),
        ("mine", "tiny.grad_diff.s0-d", "unlearned"),
        ("both", "tiny.planting.s0-b", "planted"),
        ("both", "tiny.planting.s0-c", "planted_more"),
    ]
    with Database(_database(tmp_path / "p.duckdb", states, cells)) as database:
        mine, both = (_plantings(database, study) for study in ("mine", "both"))
        assert _plantings(database, "none") == []
    assert len(mine) == 1
    assert mine[0].startswith("Planting: ")
    assert "and 17 never planted" in mine[0]
    assert [text.split(":")[0] for text in both] == [
        "Planting of planted",
        "Planting of planted more",
    ]
    assert ["and 17 never" in text for text in both] == [True, False]
