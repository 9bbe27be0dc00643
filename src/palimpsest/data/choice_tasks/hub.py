"""Benchmarks with choices by name: they lie on the Hugging Face hub.

A task is named ``hub:<benchmark>``, with ``@<commit>`` behind it where it is to be pinned, as in
``hub:arc-easy``. It is fetched when a job needs it, into the hub's own cache; nothing of a
repository is executed. Items of training and validation come from the benchmark's training split,
those of ``test`` from its validation split, whose labels are public; there are no held-out
templates, topics or near neighbours. Rows with equal choices and repeated prompts are left out.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from palimpsest.data.choice_tasks.dividing import divided
from palimpsest.data.choice_tasks.items import ChoiceItem, Sizes
from palimpsest.data.hub_files import fetched, read
from palimpsest.identity import seed_of

VERSION = 1
ENGINE = ("data.hub_files", "data.choice_tasks.items")

PREFIX = "hub:"
#: Branch on which the hub keeps data sets as Parquet, ``<configuration>/<split>/0000.parquet``.
PARQUET = "refs/convert/parquet"
_NAME = re.compile(r"hub:(?P<benchmark>[a-z0-9-]+)(@(?P<commit>[0-9a-f]{7,40}))?")
_OPTION = re.compile(r"(?:^|,)\s*[a-e]\s*\)\s*(.*?)\s*(?=,\s*[a-e]\s*\)|$)")

Found = dict[str, Any]
Asked = tuple[str, list[str], int]


@dataclass(frozen=True)
class Benchmark:
    """Where a benchmark lies, and how a row becomes a prompt, choices and the right one's number.

    Attributes:
        repository: on the hub.
        path: beginning of a split's files, with ``{}`` for ``train`` or ``validation``.
        family: what kind of knowledge or skill it asks for.
        ask: of a row the prompt, the choices and the index of the right one.
        revision: a branch, where it is not the main one.
    """

    repository: str
    path: str
    family: str
    ask: Callable[[Found], Asked]
    revision: str | None = None


def _question(text: str) -> str:
    return f"Question: {text.strip()}\nAnswer:"


def _keyed(question: str) -> Callable[[Found], Asked]:
    """``choices`` has ``text`` and ``label``, ``answerKey`` is a label."""

    def ask(row: Found) -> Asked:
        choices = row["choices"]
        right = list(choices["label"]).index(row["answerKey"])
        return _question(row[question]), list(choices["text"]), right

    return ask


def _labelled(prompt: str, *names: str) -> Callable[[Found], Asked]:
    """``label`` is the number of a name; the prompt has columns of the row in braces."""

    def ask(row: Found) -> Asked:
        texts = {key: text.strip() for key, text in row.items() if isinstance(text, str)}
        return prompt.format(**texts), list(names), int(row["label"])

    return ask


def _sciq(row: Found) -> Asked:
    right = row["correct_answer"]
    # In the order of the alphabet, so that the place of the right one says nothing.
    choices = sorted([right, *(row[f"distractor{n}"] for n in (1, 2, 3))])
    return _question(row["question"]), choices, choices.index(right)


def _piqa(row: Found) -> Asked:
    return _question(row["goal"]), [row["sol1"], row["sol2"]], int(row["label"])


def _boolq(row: Found) -> Asked:
    prompt = f"{row['passage'].strip()}\n{_question(row['question'].strip() + '?')}"
    return prompt, ["yes", "no"], 0 if row["answer"] else 1


def _hellaswag(row: Found) -> Asked:
    return row["ctx"], list(row["endings"]), int(row["label"])


def _winogrande(row: Found) -> Asked:
    prompt = f"{row['sentence'].strip()}\nThe word for _ is"
    return prompt, [row["option1"], row["option2"]], int(row["answer"]) - 1


def _mathqa(row: Found) -> Asked:
    right = string.ascii_lowercase.index(row["correct"])
    return _question(row["Problem"]), _OPTION.findall(row["options"]), right


_GLUE = "nyu-mll/glue"
_ARC = "allenai/ai2_arc"
_PAIR = "{sentence1}\nQuestion: {sentence2} "
BENCHMARKS = {
    "arc-easy": Benchmark(_ARC, "ARC-Easy/{}-", "science", _keyed("question")),
    "arc-challenge": Benchmark(_ARC, "ARC-Challenge/{}-", "science", _keyed("question")),
    "sciq": Benchmark("allenai/sciq", "data/{}-", "science", _sciq),
    "openbookqa": Benchmark("allenai/openbookqa", "main/{}-", "science", _keyed("question_stem")),
    "piqa": Benchmark("baber/piqa", "piqa_{}", "common sense", _piqa),
    "commonsenseqa": Benchmark(
        "tau/commonsense_qa", "data/{}-", "common sense", _keyed("question")
    ),
    "hellaswag": Benchmark("Rowan/hellaswag", "data/{}-", "common sense", _hellaswag),
    "winogrande": Benchmark("allenai/winogrande", "winogrande_xl/{}-", "common sense", _winogrande),
    "boolq": Benchmark("google/boolq", "data/{}-", "reading", _boolq),
    "rte": Benchmark(
        _GLUE, "rte/{}-", "inference", _labelled(_PAIR + "True or false?\nAnswer:", "true", "false")
    ),
    "qnli": Benchmark(
        _GLUE,
        "qnli/{}-",
        "inference",
        _labelled("{sentence}\nQuestion: Does this answer '{question}'?\nAnswer:", "yes", "no"),
    ),
    "mrpc": Benchmark(
        _GLUE,
        "mrpc/{}-",
        "meaning",
        _labelled("{sentence1}\n{sentence2}\nQuestion: Same meaning?\nAnswer:", "no", "yes"),
    ),
    "qqp": Benchmark(
        _GLUE,
        "qqp/{}-",
        "meaning",
        _labelled("{question1}\n{question2}\nQuestion: Same meaning?\nAnswer:", "no", "yes"),
    ),
    "wic": Benchmark(
        "aps/super_glue",
        "wic/{}/",
        "meaning",
        _labelled(
            "{sentence1}\n{sentence2}\nQuestion: Does {word} mean the same in both?\nAnswer:",
            "no",
            "yes",
        ),
        PARQUET,
    ),
    "cola": Benchmark(
        _GLUE,
        "cola/{}-",
        "grammar",
        _labelled("{sentence}\nQuestion: Is this good English?\nAnswer:", "no", "yes"),
    ),
    "sst2": Benchmark(
        _GLUE,
        "sst2/{}-",
        "sentiment",
        _labelled("{sentence}\nSentiment:", "negative", "positive"),
    ),
    "mathqa": Benchmark("allenai/math_qa", "default/{}/", "numbers", _mathqa, PARQUET),
}


def is_hub(name: str | Path) -> bool:
    """Whether a name is one of the hub, and no path."""
    return str(name).startswith(PREFIX)


def check_name(name: str) -> None:
    """Raise ValueError unless there is such a benchmark; nothing is fetched."""
    _known(name)


def hub_task(name: str, seed: int, sizes: Sizes) -> list[ChoiceItem]:
    """Items of a benchmark, fetched if need be; what is drawn depends on the arguments alone.

    Args:
        name: such as ``hub:arc-easy``.
        seed: of what is drawn.
        sizes: at most so many items; ``near`` does not count.

    Raises:
        ValueError: no such benchmark, or it cannot be fetched, or its rows are not as published.
    """
    benchmark, short, commit = _known(name)
    revision = commit or benchmark.revision
    parts: dict[str, list[tuple[int, Asked]]] = {}
    seen: set[str] = set()
    for split, shares in (
        ("validation", {"test": sizes.test}),
        ("train", {"train": sizes.train, "validation": sizes.validation}),
    ):
        rows = list(_asked(name, benchmark, split, revision, seen))
        parts |= divided(rows, shares, seed_of("choice_tasks", short, split, seed))
    return [
        _item(name, short, benchmark.family, split, number, asked)
        for split in ("train", "validation", "test")
        for number, asked in parts[split]
    ]


def _known(name: str) -> tuple[Benchmark, str, str | None]:
    given = _NAME.fullmatch(name)
    if given is None or given["benchmark"] not in BENCHMARKS:
        raise ValueError(
            f"{name}: allowed: hub:<benchmark>, with @<commit> if you like; benchmarks: "
            f"{', '.join(BENCHMARKS)}"
        )
    return BENCHMARKS[given["benchmark"]], given["benchmark"], given["commit"]


def _asked(
    name: str, benchmark: Benchmark, split: str, revision: str | None, seen: set[str]
) -> Iterator[tuple[int, Asked]]:
    """Rows of a split with their numbers from 1; those that cannot be used are left out."""
    paths = fetched(benchmark.repository, benchmark.path.format(split), revision, name)
    for number, row in enumerate(chain.from_iterable(map(read, paths)), start=1):
        try:
            prompt, choices, right = benchmark.ask(row)
            chosen = [choice.strip() for choice in choices]
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{name}: row {number} of {split} in {benchmark.repository} is not as published: "
                f"{error!r}; pin a commit with @<commit>"
            ) from error
        if not 0 <= right < len(chosen):
            raise ValueError(
                f"{name}: row {number} of {split} in {benchmark.repository} has no right choice; "
                f"given {right}; allowed: 0 to {len(chosen) - 1}"
            )
        usable = prompt.strip() and all(chosen) and len(set(chosen)) == len(chosen) > 1
        if usable and prompt not in seen:
            seen.add(prompt)
            yield number, (prompt.rstrip(), chosen, right)


def _item(name: str, short: str, family: str, split: Any, number: int, asked: Asked) -> ChoiceItem:
    prompt, choices, right = asked
    return ChoiceItem(
        id=f"{name}/{split}/{number}",
        task=name,
        family=family,
        split=split,
        template="",
        topic="",
        prompt=prompt,
        choices=tuple(f" {choice}" for choice in choices),
        answer=right,
    )
