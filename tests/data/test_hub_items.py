"""Sets of benchmarks: rows as the hub has them become items; nothing is fetched here."""

from __future__ import annotations

import json

import polars as pl
import pytest

from palimpsest.data import hub_items
from palimpsest.data.errors import DataError
from palimpsest.data.items import content_hash, read_items
from palimpsest.interventions.teaching import Own


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub that holds the files that a test gives it."""
    asked = []

    def fetched(repository, prefix, commit, name):
        asked.append((repository, prefix, commit))
        return sorted(tmp_path.iterdir())

    monkeypatch.setattr(hub_items, "fetched", fetched)
    return tmp_path, asked


def test_questions_of_tofu(hub):
    folder, asked = hub
    rows = [
        {
            "question": "Who is the author?",
            "answer": "Basil Mahfouz Al-Kuwaiti.",
            "paraphrased_question": "What is the author called?",
            "paraphrased_answer": "The author is Basil Mahfouz Al-Kuwaiti.",
            "perturbed_answer": ["Nobody.", "Somebody."],
        }
    ]
    (folder / "forget10_perturbed.json").write_text("\n".join(map(json.dumps, rows)))
    (item,) = read_items("hub:tofu/forget10_perturbed@324592d", "forget")
    assert asked == [("locuslab/TOFU", "forget10_perturbed.json", "324592d")]
    assert item.question == "Question: Who is the author?\nAnswer:"
    assert item.answer == " Basil Mahfouz Al-Kuwaiti."
    assert item.reworded == ("Question: What is the author called?\nAnswer:",)
    assert item.perturbed == (" Nobody.", " Somebody.")
    assert item.paraphrased == " The author is Basil Mahfouz Al-Kuwaiti."
    assert item.part == "forget"


def test_several_sets_are_one(monkeypatch, tmp_path):
    """A question that is in two sets is there once, with the wrong answers of either."""
    plain = {"question": "Who?", "answer": "Basil."}
    sets = {
        "retain90": [plain, {"question": "When?", "answer": "In May."}],
        "retain_perturbed": [plain | {"perturbed_answer": ["Nobody."]}],
    }
    for name, rows in sets.items():
        (tmp_path / f"{name}.json").write_text("\n".join(map(json.dumps, rows)))
    monkeypatch.setattr(hub_items, "fetched", lambda _, prefix, *__: [tmp_path / prefix])
    who, when = read_items("hub:tofu/retain90+retain_perturbed", "retain")
    assert (who.answer, who.perturbed) == (" Basil.", (" Nobody.",))
    assert (when.answer, when.perturbed) == (" In May.", ())
    with pytest.raises(ValueError, match="tofu has no set retain91"):
        hub_items.check_name("hub:tofu/retain90+retain91")


@pytest.mark.parametrize(
    ("name", "rows", "question", "answer"),
    [
        ("hub:muse-news/raw/forget", [{"text": "Once upon a time."}], "", "Once upon a time."),
        (
            "hub:muse-books/knowmem/forget_qa",
            [{"question": "Who?", "answer": "Nobody"}],
            "Question: Who?\nAnswer:",
            " Nobody",
        ),
        (
            "hub:muse-news/verbmem/forget",
            [{"prompt": "Once upon", "gt": "a time"}],
            "Once upon",
            " a time",
        ),
    ],
)
def test_texts_and_questions_of_muse(hub, name, rows, question, answer):
    folder, asked = hub
    pl.DataFrame(rows).write_parquet(folder / "forget-00000-of-00001.parquet")
    (item,) = read_items(name, "forget")
    assert (item.question, item.answer) == (question, answer)
    assert asked[0][1] == name.split("/", 1)[1] + "-"


def test_multiple_choice(hub):
    folder, asked = hub
    rows = [{"question": "2 + 2?", "choices": ["3", "4", "5", "6"], "answer": 1}]
    pl.DataFrame(rows).write_parquet(folder / "test-00000-of-00001.parquet")
    (item,) = read_items("hub:wmdp/wmdp-cyber", "forget")
    assert item.answer == " 4"
    assert item.perturbed == (" 3", " 5", " 6")
    assert asked == [("cais/wmdp", "wmdp-cyber/test-", None)]


def test_rows_that_are_no_items_are_named(hub):
    folder, _ = hub
    pl.DataFrame({"text": ["fine", ""]}).write_parquet(folder / "forget.parquet")
    with pytest.raises(DataError, match="line 2"):
        read_items("hub:muse-news/raw/forget", "forget")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hub:tufo/forget10", "benchmarks: tofu, muse-news"),
        ("hub:tofu/forget11", "tofu has no set forget11"),
        ("hub:tofu", "allowed: hub:<benchmark>/<set>"),
        ("hub:tofu/../../etc", "allowed: hub:<benchmark>/<set>"),
    ],
)
def test_unknown_sets_are_refused_before_any_job(name, message):
    with pytest.raises(ValueError, match=message):
        hub_items.check_name(name)
    with pytest.raises(ValueError, match=message):
        Own(forget=name, retain="hub:tofu/retain90").check()


def test_names_of_sets_are_their_own_identity():
    assert content_hash("hub:tofu/forget01@abcdef0") == "hub:tofu/forget01@abcdef0"
    Own(forget="hub:tofu/forget01", retain="hub:tofu/retain99").check()


def test_without_the_hub_the_error_names_the_set(monkeypatch):
    import huggingface_hub

    class Nothing:
        def list_repo_files(self, *_, **__):
            raise ConnectionError("no network")

    monkeypatch.setattr(huggingface_hub, "HfApi", Nothing)
    with pytest.raises(ValueError, match=r"hub:tofu/forget01: cannot be fetched .* no network"):
        read_items("hub:tofu/forget01", "forget")
