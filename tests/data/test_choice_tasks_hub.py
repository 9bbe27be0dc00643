"""Benchmarks with choices: rows as they are published become items; nothing is fetched here."""

from __future__ import annotations

from collections import Counter

import polars as pl
import pytest

from palimpsest.data.choice_tasks.hub import BENCHMARKS, PARQUET, check_name, hub_task
from palimpsest.data.choice_tasks.items import Sizes

SIZES = Sizes(train=5, validation=2, test=3, near=2)
KEYED = {"text": ["a stone", "a bird"], "label": ["A", "B"]}
PAIR = {"sentence1": "One. ", "sentence2": "Two.", "idx": 0}
#: benchmark -> row as published, prompt, choices, index of the right one, file of training
ROWS = {
    "arc-easy": (
        {"id": "x", "question": "What flies?", "choices": KEYED, "answerKey": "B"},
        "Question: What flies?\nAnswer:",
        (" a stone", " a bird"),
        1,
        "ARC-Easy/train-00000-of-00001.parquet",
    ),
    "arc-challenge": (
        {
            "id": "x",
            "question": "What flies?",
            "choices": KEYED | {"label": ["1", "2"]},
            "answerKey": "1",
        },
        "Question: What flies?\nAnswer:",
        (" a stone", " a bird"),
        0,
        "ARC-Challenge/train-00000-of-00001.parquet",
    ),
    "sciq": (
        {
            "question": "What flies?",
            "distractor3": "stones",
            "distractor1": "ants",
            "distractor2": "cats",
            "correct_answer": "birds",
            "support": "",
        },
        "Question: What flies?\nAnswer:",
        (" ants", " birds", " cats", " stones"),
        1,
        "data/train-00000-of-00001.parquet",
    ),
    "openbookqa": (
        {"id": "7", "question_stem": "It flies:", "choices": KEYED, "answerKey": "B"},
        "Question: It flies:\nAnswer:",
        (" a stone", " a bird"),
        1,
        "main/train-00000-of-00001.parquet",
    ),
    "piqa": (
        {"goal": "Cut bread", "sol1": "Use a spoon.", "sol2": "Use a knife.", "label": 1},
        "Question: Cut bread\nAnswer:",
        (" Use a spoon.", " Use a knife."),
        1,
        "piqa_train.parquet",
    ),
    "commonsenseqa": (
        {
            "id": "x",
            "question": "What flies?",
            "question_concept": "fly",
            "choices": KEYED,
            "answerKey": "B",
        },
        "Question: What flies?\nAnswer:",
        (" a stone", " a bird"),
        1,
        "data/train-00000-of-00001.parquet",
    ),
    "hellaswag": (
        {
            "ind": 4,
            "activity_label": "Sailing",
            "ctx_a": "A man sails.",
            "ctx_b": "he",
            "ctx": "A man sails. he",
            "endings": ["flies.", "turns."],
            "split": "train",
            "label": "1",
        },
        "A man sails. he",
        (" flies.", " turns."),
        1,
        "data/train-00000-of-00001.parquet",
    ),
    "winogrande": (
        {
            "sentence": "Ian saw Dennis so _ ran.",
            "option1": "Ian",
            "option2": "Dennis",
            "answer": "2",
        },
        "Ian saw Dennis so _ ran.\nThe word for _ is",
        (" Ian", " Dennis"),
        1,
        "winogrande_xl/train-00000-of-00001.parquet",
    ),
    "boolq": (
        {"question": "do birds fly", "answer": False, "passage": "Birds walk."},
        "Birds walk.\nQuestion: do birds fly?\nAnswer:",
        (" yes", " no"),
        1,
        "data/train-00000-of-00001.parquet",
    ),
    "rte": (
        PAIR | {"label": 1},
        "One.\nQuestion: Two. True or false?\nAnswer:",
        (" true", " false"),
        1,
        "rte/train-00000-of-00001.parquet",
    ),
    "qnli": (
        {"question": "Who?", "sentence": "Nobody.", "label": 0, "idx": 1},
        "Nobody.\nQuestion: Does this answer 'Who?'?\nAnswer:",
        (" yes", " no"),
        0,
        "qnli/train-00000-of-00001.parquet",
    ),
    "mrpc": (
        PAIR | {"label": 1},
        "One.\nTwo.\nQuestion: Same meaning?\nAnswer:",
        (" no", " yes"),
        1,
        "mrpc/train-00000-of-00001.parquet",
    ),
    "qqp": (
        {"question1": "Who?", "question2": "By whom?", "label": 0, "idx": 1},
        "Who?\nBy whom?\nQuestion: Same meaning?\nAnswer:",
        (" no", " yes"),
        0,
        "qqp/train-00000-of-00001.parquet",
    ),
    "wic": (
        PAIR | {"word": "bank", "start1": 0, "start2": 0, "end1": 1, "end2": 1, "label": 1},
        "One.\nTwo.\nQuestion: Does bank mean the same in both?\nAnswer:",
        (" no", " yes"),
        1,
        "wic/train/0000.parquet",
    ),
    "cola": (
        {"sentence": "Him sleeps.", "label": 0, "idx": 1},
        "Him sleeps.\nQuestion: Is this good English?\nAnswer:",
        (" no", " yes"),
        0,
        "cola/train-00000-of-00001.parquet",
    ),
    "sst2": (
        {"sentence": "a joy ", "label": 1, "idx": 1},
        "a joy\nSentiment:",
        (" negative", " positive"),
        1,
        "sst2/train-00000-of-00001.parquet",
    ),
    "mathqa": (
        {
            "Problem": "Six times six?",
            "Rationale": "",
            "options": "a ) 36 , b ) rs . 1 , 005 , c ) none of these",
            "correct": "a",
            "annotated_formula": "",
            "linear_formula": "",
            "category": "general",
        },
        "Question: Six times six?\nAnswer:",
        (" 36", " rs . 1 , 005", " none of these"),
        0,
        "default/train/0000.parquet",
    ),
}


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub that holds the rows that a test gives it: path -> rows."""
    import huggingface_hub

    held: dict[str, list[dict]] = {}
    asked = []

    class Api:
        def list_repo_files(self, repository, *, repo_type, revision):
            assert repo_type == "dataset"
            asked.append((repository, revision))
            return ["README.md", "loader.py", *held]

    def download(repository, file, *, repo_type, revision):
        assert asked[-1] == (repository, revision)
        assert not file.endswith(".py")
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        pl.DataFrame(held[file]).write_parquet(path)
        return str(path)

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    return held, asked


def arc(count: int, name: str) -> list[dict]:
    row = ROWS["arc-easy"][0]
    return [row | {"question": f"What {name} number {n} flies?"} for n in range(count)]


def put(held: dict, train: list[dict], validation: list[dict]) -> None:
    for split, rows in (("train", train), ("validation", validation)):
        held[f"ARC-Easy/{split}-00000-of-00001.parquet"] = rows


def test_every_benchmark_has_a_row_here():
    assert set(ROWS) == set(BENCHMARKS)


@pytest.mark.parametrize("name", ROWS)
def test_a_row_as_published_becomes_an_item(hub, name):
    held, asked = hub
    row, prompt, choices, answer, path = ROWS[name]
    held[path] = [row]
    other = {
        key: f"{value} again" if key in ("question", "sentence", "sentence1", "goal") else value
        for key, value in row.items()
    }
    held[path.replace("train", "validation")] = [other]
    items = hub_task(f"hub:{name}", 0, SIZES)
    (item,) = [item for item in items if item.split == "train"] or items
    assert (item.prompt.replace(" again", ""), item.choices, item.answer) == (
        prompt,
        choices,
        answer,
    )
    assert item.task == f"hub:{name}"
    assert item.family == BENCHMARKS[name].family
    assert asked[0] == (BENCHMARKS[name].repository, BENCHMARKS[name].revision)
    assert (BENCHMARKS[name].revision == PARQUET) == (name in ("wic", "mathqa"))


def test_training_is_divided_and_validation_is_the_test(hub):
    held, asked = hub
    put(held, arc(30, "trained"), arc(20, "tested"))
    items = hub_task("hub:arc-easy@0123abc", 4, SIZES)
    assert asked == [("allenai/ai2_arc", "0123abc")] * 2
    assert Counter(item.split for item in items) == {"train": 5, "validation": 2, "test": 3}
    for item in items:
        assert ("tested" in item.prompt) == (item.split == "test")
    assert len({item.id for item in items}) == len({item.prompt for item in items}) == 10
    assert hub_task("hub:arc-easy@0123abc", 4, SIZES) == items
    assert hub_task("hub:arc-easy@0123abc", 5, SIZES) != items


def test_equal_choices_and_repeated_prompts_are_left_out(hub):
    held, _ = hub
    same = arc(1, "same")[0] | {"choices": KEYED | {"text": ["a bird", "a bird "]}}
    put(held, [*arc(3, "x"), *arc(3, "x"), same], [*arc(2, "y"), *arc(1, "x")])
    items = hub_task("hub:arc-easy", 0, Sizes(50, 0, 50, 0))
    prompts = [item.prompt for item in items]
    assert len(set(prompts)) == len(prompts) == 5
    assert not any("same" in prompt for prompt in prompts)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"answerKey": "Z"}, "row 1 of validation in allenai/ai2_arc is not as published"),
        ({"choices": None}, "row 1 of validation in allenai/ai2_arc is not as published"),
        ({"question": None}, "is not as published"),
    ],
)
def test_rows_that_are_not_as_published_are_named(hub, row, message):
    held, _ = hub
    put(held, arc(3, "x"), [arc(1, "y")[0] | row])
    with pytest.raises(ValueError, match=f"hub:arc-easy: .*{message}"):
        hub_task("hub:arc-easy", 0, SIZES)


def test_a_label_without_a_choice_is_named(hub):
    held, _ = hub
    hidden = ROWS["sst2"][0] | {"label": -1}
    for split in ("train", "validation"):
        held[f"sst2/{split}-0.parquet"] = [hidden]
    with pytest.raises(ValueError, match="has no right choice; given -1; allowed: 0 to 1"):
        hub_task("hub:sst2", 0, SIZES)


def test_a_repository_without_the_files_is_named(hub):
    with pytest.raises(ValueError, match=r"hub:piqa: baber/piqa has no file piqa_validation\*"):
        hub_task("hub:piqa", 0, SIZES)


def test_without_the_hub_the_error_names_the_benchmark(monkeypatch):
    import huggingface_hub

    class Nothing:
        def list_repo_files(self, *_, **__):
            raise ConnectionError("no network")

    monkeypatch.setattr(huggingface_hub, "HfApi", Nothing)
    with pytest.raises(
        ValueError, match=r"hub:piqa: cannot be fetched from baber/piqa: no network"
    ):
        hub_task("hub:piqa", 0, SIZES)


@pytest.mark.parametrize("name", ["hub:arc", "hub:arc-easy/x", "hub:../../etc", "hub:", "arc-easy"])
def test_unknown_benchmarks_are_refused(name):
    with pytest.raises(ValueError, match=r"allowed: hub:<benchmark>.*arc-easy, arc-challenge"):
        check_name(name)
