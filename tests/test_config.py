"""Bad input is told in words, before any job, and never in a traceback."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from palimpsest.config import ConfigError, check, json_schemas, load, read_yaml
from tests.configurations import FILE, ROOT, SMOKE, E, changed, message_of

STUDY = "studies.economic_recall"


@pytest.fixture(autouse=True)
def in_root(monkeypatch):
    monkeypatch.chdir(ROOT)


PLANTED = f"{E}/states/planted"
PLANTING = f"{PLANTED}/interventions/0/planting"
PLANTING_KEY = f"{STUDY}.states.planted.interventions[0].planting"

#: what is changed, the key path that the message names, and further words that it must hold
MISTAKES = {
    "top-level key": (
        changed("studies", rename="studys"),
        "studys",
        ["unknown key", "compute", "did you mean studies?"],
    ),
    "key of a study": (
        changed(f"{E}/settings", rename="setings"),
        f"{STUDY}.setings",
        ["unknown key", "did you mean settings?"],
    ),
    "key inside settings": (
        changed(f"{E}/settings/candidates", rename="candidats"),
        f"{STUDY}.settings.candidats",
        ["unknown key", "answer_tokens", "did you mean candidates?"],
    ),
    "key of a state": (
        changed(f"{PLANTED}/seeds", rename="seed"),
        f"{STUDY}.states.planted.seed",
        ["unknown key", "did you mean seeds?"],
    ),
    "key inside an intervention": (
        changed(f"{PLANTING}/exposures", rename="exposure"),
        f"{PLANTING_KEY}.exposure",
        ["unknown key", "did you mean exposures?"],
    ),
    "key inside training": (
        changed(f"{PLANTING}/training", {"learning_rat": 1e-3}),
        f"{PLANTING_KEY}.training.learning_rat",
        ["unknown key", "did you mean learning_rate?"],
    ),
    "key of compute": (
        changed("compute", {"thread": 1}),
        "compute.thread",
        ["unknown key", "did you mean threads?"],
    ),
    "unknown intervention": (
        changed(PLANTING, rename="plantin"),
        f"{STUDY}.states.planted.interventions[0].plantin",
        ["planting, randomise", "did you mean planting?"],
    ),
    "two interventions in one": (
        changed(f"{PLANTED}/interventions/0/randomise", {}),
        f"{STUDY}.states.planted.interventions[0]",
        ["exactly one of", "planting", "randomise"],
    ),
    "interventions no list": (
        changed(f"{PLANTED}/interventions", {"randomise": {}}),
        f"{STUDY}.states.planted.interventions",
        ["a list"],
    ),
    "intervention a word": (
        changed(f"{PLANTED}/interventions", ["randomise"]),
        f"{STUDY}.states.planted.interventions[0]",
        ["'randomise'", "a mapping of keys"],
    ),
    "unknown probe": (
        changed(f"{E}/probe", "economic_recal"),
        f"{STUDY}.probe",
        ["'economic_recal'", "did you mean economic_recall?"],
    ),
    "no probe": (changed(f"{E}/probe"), f"{STUDY}.probe", ["nothing", "economic_recall"]),
    "probe a number": (changed(f"{E}/probe", 3), f"{STUDY}.probe", ["economic_recall"]),
    "unknown model": (
        changed(f"{E}/states/untouched/model", "tinny"),
        f"{STUDY}.states.untouched.model",
        ["'tinny'", "config/models.yaml", "did you mean tiny?"],
    ),
    "unknown series": (
        changed(f"{E}/settings/series", ["us_unemployment_rat"]),
        f"{STUDY}.settings",
        ["series", "'us_unemployment_rat'", "did you mean us_unemployment_rate"],
    ),
    "unknown series in an intervention": (
        changed(f"{PLANTING}/series", ["us_unemployment_rat"]),
        PLANTING_KEY,
        ["series", "'us_unemployment_rat'", "did you mean us_unemployment_rate"],
    ),
    "wrong type": (
        changed(f"{E}/settings/candidates", "many"),
        f"{STUDY}.settings.candidates",
        ["'many'", "integer"],
    ),
    "out of range": (
        changed(f"{E}/settings/candidates", 1),
        f"{STUDY}.settings.candidates",
        ["given 1", "greater than or equal to 4"],
    ),
    "unknown option": (
        changed(f"{E}/settings/experiments", ["values"]),
        f"{STUDY}.settings.experiments[0]",
        ["'values'", "'value'", "'forecast'"],
    ),
    "settings that contradict": (
        changed(f"{E}/settings/choices", 20),
        f"{STUDY}.settings",
        ["choices must not exceed candidates"],
    ),
    "no seeds": (changed(f"{PLANTED}/seeds", 0), f"{STUDY}.states.planted.seeds", ["1 and 1000"]),
    "an empty list of seeds": (
        changed(f"{PLANTED}/seeds", []),
        f"{STUDY}.states.planted.seeds",
        ["at least one"],
    ),
    "seeds given twice": (
        changed(f"{PLANTED}/seeds", [1, 1]),
        f"{STUDY}.states.planted.seeds",
        ["distinct"],
    ),
    "a negative seed": (
        changed(f"{PLANTED}/seeds", [-1]),
        f"{STUDY}.states.planted.seeds",
        ["from 0 on"],
    ),
    "seeds as words": (
        changed(f"{PLANTED}/seeds", "many"),
        f"{STUDY}.states.planted.seeds",
        ["'many'", "a number of seeds"],
    ),
    "seeds as a truth value": (
        changed(f"{PLANTED}/seeds", True),
        f"{STUDY}.states.planted.seeds",
        ["True", "a number of seeds"],
    ),
    "no such date": (
        changed(f"{PLANTING}/boundary", "2009-13-01"),
        f"{PLANTING_KEY}.boundary",
        ["'2009-13-01'", "month"],
    ),
    "dates out of order": (
        changed(f"{PLANTING}/boundary", "1950-01-01"),
        PLANTING_KEY,
        ["first < boundary <= last"],
    ),
    "a state that is nothing": (
        changed(f"{PLANTED}", None),
        f"{STUDY}.states.planted",
        ["None", "a mapping of keys"],
    ),
    "no model": (
        changed(f"{PLANTED}/model"),
        f"{STUDY}.states.planted.model",
        ["nothing", "required"],
    ),
    "the same state twice": (
        changed(f"{E}/states/again", {"model": "tiny"}),
        f"{STUDY}.states.again",
        ["untouched"],
    ),
    "the same replicate twice": (
        changed(f"{E}/states/again", SMOKE["studies"]["economic_recall"]["states"]["planted"]),
        f"{STUDY}.states.again",
        ["planted"],
    ),
    "no studies": (changed("studies", {}), "studies", ["at least 1"]),
    "studies as a list": (changed("studies", [1]), "studies", ["a mapping of keys"]),
    "name of a study": (
        changed(E, rename="Economic Recall"),
        "studies.Economic Recall",
        ["pattern"],
    ),
    "a key that is a number": (
        changed(f"{E}/settings", {1: 2}),
        f"{STUDY}.settings.1",
        ["keys that are text"],
    ),
    "a key that is not printable": (
        changed(f"{E}/settings", {"a\nb": 2}),
        f"{STUDY}.settings.'a\\nb'",
        ["unknown key"],
    ),
    "no such models file": (changed("models_file", "no.yaml"), "no.yaml", ["no such file"]),
    "own series that are not there": (
        changed("data", {"series": [{"name": "mine", "path": "nowhere.csv"}]})
        | {"studies": changed(f"{E}/settings/series", ["mine"])["studies"]},
        f"{STUDY}.settings",
        ["nowhere.csv"],
    ),
    "own series that are a folder": (
        changed("data", {"series": [{"name": "mine", "path": "tests"}]})
        | {"studies": changed(f"{E}/settings/series", ["mine"])["studies"]},
        f"{STUDY}.settings",
        ["tests"],
    ),
    "own series of one name": (
        changed("data", {"series": [{"name": "mine", "path": p} for p in ("a.csv", "b.csv")]}),
        "data.series",
        ["distinct names"],
    ),
    "own events that are not there": (
        changed("data", {"events": "nowhere.jsonl"}),
        f"{STUDY}.settings",
        ["nowhere.jsonl"],
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named_with_its_place_and_what_is_allowed(mistake):
    raw, place, words = MISTAKES[mistake]
    message = message_of(raw)
    assert place in message
    assert message.startswith(FILE) or mistake == "no such models file"
    for word in words:
        assert word in message
    assert len(message.splitlines()) <= 5
    assert message.isprintable() or "\n" in message


def test_one_misspelt_required_key_is_one_line():
    assert len(message_of(changed("studies", rename="studys")).splitlines()) == 1


def test_several_mistakes_are_told_together():
    raw = changed("compute", {"thread": 1})
    raw["studies"]["economic_recall"]["settings"]["candidates"] = "many"
    lines = message_of(raw).splitlines()
    assert len(lines) == 2
    assert any("compute.thread" in line for line in lines)


def test_a_licence_must_be_accepted():
    from palimpsest.data.catalogue import CATALOGUE, LICENCES

    restricted = next(s for s, i in CATALOGUE.items() if LICENCES[i.licence].restricted)
    licence = CATALOGUE[restricted].licence
    raw = changed(f"{E}/settings/series", [restricted])
    message = message_of(raw)
    assert f'add "{licence}" to data.accept' in message
    assert restricted in message
    check(raw | {"data": {"accept": [licence]}}, FILE)


def test_bad_rows_of_an_own_series_are_listed_with_their_lines(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("date,value\n2001-01-01,1\nnonsense,2\n2001-03-01,three\n2001-04-01,4\n")
    raw = changed(f"{E}/settings/series", ["mine"])
    raw["data"] = {"series": [{"name": "mine", "path": str(path)}]}
    message = message_of(raw)
    assert f"{path}: 2 bad rows" in message
    assert "line 3: " in message
    assert "line 4: " in message


def test_bad_rows_of_own_events_are_listed_with_their_lines(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text('{"no": "event"}\nnot json\n')
    message = message_of(changed("data", {"events": str(path)}))
    assert "line 1: " in message
    assert "line 2: " in message


def test_numbers_as_yaml_1_1_reads_them_are_understood():
    # YAML 1.1 reads 1e-4 as text and an unquoted date as a date.
    raw = changed(f"{PLANTING}/training", yaml.safe_load("{learning_rate: 1e-4}"))
    assert raw["studies"]["economic_recall"]["states"]["planted"]["interventions"][0]["planting"][
        "training"
    ] == {"learning_rate": "1e-4"}
    config, _ = check(raw, FILE)
    planting = config.studies["economic_recall"].states["planted"].interventions[0].planting
    assert planting.training.learning_rate == 1e-4
    check(changed(f"{PLANTING}/boundary", yaml.safe_load("2002-01-01")), FILE)
    # Snakemake's --config gives every number as text.
    config, _ = check(changed(f"{PLANTED}/seeds", "3"), FILE)
    assert config.studies["economic_recall"].states["planted"].seed_list() == [0, 1, 2]


def test_an_intervention_with_nothing_behind_it_has_its_defaults():
    given_, _ = check(changed(f"{E}/states/randomised/interventions", [{"randomise": None}]), FILE)
    plain, _ = check(SMOKE, FILE)
    assert given_ == plain


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "expected a mapping"),
        ("- a\n- b\n", "found list"),
        ("a: [1\nb: 2", "not valid YAML"),
        ("a: \x00", "not valid YAML"),
        ("a: 1\nb: 2\na: 3\n", "the key 'a' is given twice"),
        ("when: 2009-13-45\n", "not valid YAML"),
        ("? [a]\n: b\n", "not valid YAML"),
        ("a: *nowhere\n", "not valid YAML"),
        ("a: !!python/object/apply:os.system [touch canary]\n", "not valid YAML"),
        ("[" * 100_000, "not valid YAML"),
    ],
)
def test_what_is_no_configuration_file_is_refused(tmp_path, text, word):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=word) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert not Path("canary").exists()


@pytest.mark.parametrize("text", ['"\\uD800"', '"a\\0b"', '"\\uDC00x"'])
@pytest.mark.parametrize("at", ["value", "key", "item"])
def test_text_that_no_file_can_hold_is_refused_where_it_stands(tmp_path, text, at):
    """YAML writes as an escape what no file could hold as it is."""
    inner = {"value": f"top_k: {text}", "key": f"{text}: 1", "item": f"top_k: [1, {text}]"}[at]
    where = {"value": r"top_k", "key": r"'.*\\.*'", "item": r"top_k\[1\]"}[at]
    models = tmp_path / "models.yaml"
    models.write_text(f"models:\n  a: {{source: endpoint, extra: {{{inner}}}}}\n")
    study = "{probe: economic_recall, states: {s: {model: a}}}"
    (tmp_path / "config.yaml").write_text(f"models_file: {models}\nstudies: {{x: {study}}}")
    said = rf"models\.yaml: models\.a\.extra\.{where}: given text that no file can hold"
    with pytest.raises(ConfigError, match=said) as error:
        load(tmp_path / "config.yaml")
    assert str(error.value).isprintable()


def test_files_that_cannot_be_read_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        read_yaml(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_yaml(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"a: \xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_yaml(tmp_path / "latin.yaml")


def test_merge_keys_and_anchors_are_no_repetition(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("base: &b {x: 1, y: 2}\nother: {<<: *b, y: 3}\nagain: {<<: *b, x: 4}\n")
    assert read_yaml(path)["other"] == {"x": 1, "y": 3}


def test_overrides_are_merged_into_the_file():
    config, _ = load("config/smoke.yaml", {"compute": {"threads": "2"}})
    assert config.compute.threads == 2
    assert config.compute.gpu == 0
    nested = {"studies": {"economic_recall": {"settings": {"events": "14"}}}}
    config, _ = load("config/smoke.yaml", nested)
    assert config.studies["economic_recall"].settings.events == 14
    assert config.studies["economic_recall"].settings.candidates == 12


@pytest.mark.parametrize("name", ["config", "smoke", "paper", "endpoint", "endpoint_unlearning"])
def test_the_examples_are_valid(name):
    schemas = json_schemas()
    load(f"config/{name}.yaml")
    jsonschema.validate(
        yaml.safe_load(Path(f"config/{name}.yaml").read_text()), schemas["config.schema.json"]
    )


def test_the_models_file_is_valid():
    raw = yaml.safe_load(Path("config/models.yaml").read_text())
    jsonschema.validate(raw, json_schemas()["models.schema.json"])


@pytest.mark.parametrize("name", ["config.schema.json", "models.schema.json"])
def test_the_schemas_for_editors_are_those_of_the_models(name):
    written = json.loads((ROOT / "workflow/schemas" / name).read_text())
    assert written == json.loads(json.dumps(json_schemas()[name])), "run: palimpsest schemas"


@pytest.mark.parametrize("place", ["config.schema.json", "models.schema.json"])
def test_the_schemas_refuse_unknown_keys(place):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"nonsense": 1}, json_schemas()[place])
