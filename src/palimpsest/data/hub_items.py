"""Benchmarks of unlearning by name: sets of items that lie on the Hugging Face hub.

A set is named ``hub:<benchmark>/<set>``, with ``@<commit>`` behind it where it is to be pinned, as
in ``hub:tofu/forget10_perturbed``. It is fetched when a job needs it, into the hub's own cache;
nothing of a repository is executed. ``<set>+<set>`` are several sets of a benchmark in one; a
question that is in both is there once, with what either row says of it: in
``hub:tofu/retain90+retain_perturbed`` some questions have wrong answers.

========== ================================================================= ====================
benchmark  sets                                                              items
========== ================================================================= ====================
tofu       forget01, forget05, forget10, retain90 to retain99, holdout01 to  questions; sets that
           holdout10, full, real_authors, world_facts, and ``_perturbed``    end in _perturbed
           (Maini et al. 2024, arXiv 2401.06121)                             have wrong answers
muse-news  raw/forget, raw/retain1, raw/retain2, raw/holdout,                texts; knowmem
muse-books knowmem/forget_qa, knowmem/retain_qa, verbmem/forget,             questions; verbmem
           privleak/forget, scal/forget_1 to 4, sust/forget_1 to 4           beginnings of texts
           (Shi et al. 2024, arXiv 2407.06460)
wmdp       wmdp-bio, wmdp-chem, wmdp-cyber (Li et al. 2024, arXiv            multiple choice
           2403.03218)
mmlu       all, or a subject (Hendrycks et al. 2021, arXiv 2009.03300)       multiple choice
========== ================================================================= ====================

Wrong choices of multiple choice are wrong answers (``perturbed``), so that the share of questions
in which the truth is the likeliest answer is its accuracy.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from palimpsest.data.hub_files import fetched, read

VERSION = 2
ENGINE = ("data.hub_files",)

PREFIX = "hub:"
_NAME = re.compile(r"hub:(?P<benchmark>[a-z-]+)/(?P<sets>[\w/+-]+)(@(?P<commit>[0-9a-f]{7,40}))?")

Found = dict[str, Any]


@dataclass(frozen=True)
class _Benchmark:
    """Where sets lie, which there are, and how a row becomes one of a file of items."""

    repository: str
    sets: re.Pattern[str]
    prefix: Callable[[str], str]
    row: Callable[[Found], Found]


def _tofu(row: Found) -> Found:
    found = {"question": _asked(row["question"]), "answer": row["answer"]}
    wrong = [text for text in row.get("perturbed_answer", ()) if text.strip()]
    if row.get("paraphrased_question"):
        found["reworded"] = [_asked(row["paraphrased_question"])]
    if row.get("paraphrased_answer"):
        found["paraphrased"] = row["paraphrased_answer"]
    return found | ({"perturbed": wrong} if wrong else {})


def _muse(row: Found) -> Found:
    if "text" in row:
        return {"text": row["text"]}
    if "gt" in row:
        return {"question": row["prompt"], "answer": row["gt"]}
    return {"question": _asked(row["question"]), "answer": row["answer"]}


def _choices(row: Found) -> Found:
    texts = [str(text) for text in row["choices"]]
    right = texts[int(row["answer"])]
    wrong = [text for text in texts if text.strip() != right.strip()]
    return {"question": _asked(row["question"]), "answer": right, "perturbed": wrong}


def _asked(question: str) -> str:
    return f"Question: {question.strip()}\nAnswer:"


_MUSE = re.compile(
    r"(raw|privleak)/(forget|retain|retain1|retain2|holdout)|knowmem/(forget|retain)_qa|"
    r"verbmem/forget|(scal|sust)/forget_[1-4]"
)
BENCHMARKS = {
    "tofu": _Benchmark(
        "locuslab/TOFU",
        re.compile(
            r"forget(01|05|10)(_perturbed)?|retain(90|95|99)|retain_perturbed|holdout(01|05|10)|"
            r"full|(real_authors|world_facts)(_perturbed)?"
        ),
        lambda name: f"{name}.json",
        _tofu,
    ),
    "muse-news": _Benchmark("muse-bench/MUSE-News", _MUSE, lambda name: f"{name}-", _muse),
    "muse-books": _Benchmark("muse-bench/MUSE-Books", _MUSE, lambda name: f"{name}-", _muse),
    "wmdp": _Benchmark(
        "cais/wmdp", re.compile(r"wmdp-(bio|chem|cyber)"), lambda name: f"{name}/test-", _choices
    ),
    "mmlu": _Benchmark("cais/mmlu", re.compile(r"[a-z_]+"), lambda name: f"{name}/test-", _choices),
}


def is_hub(name: str | Path) -> bool:
    """Whether a name is one of the hub, and no path."""
    return str(name).startswith(PREFIX)


def check_name(name: str) -> None:
    """Raise ValueError unless there is such a set; nothing is fetched."""
    _known(name)


def rows(name: str) -> Iterator[Found]:
    """Rows as in a file of items (``data.items``), fetched if need be.

    Raises:
        ValueError: no such set, or it cannot be fetched.
    """
    benchmark, chosen, commit = _known(name)
    every = (
        benchmark.row(row)
        for each in chosen
        for path in fetched(benchmark.repository, benchmark.prefix(each), commit, name)
        for row in read(path)
    )
    if len(chosen) == 1:
        yield from every
        return
    merged: dict[str, Found] = {}
    for row in every:
        key = row.get("question") or row["text"]
        merged[key] = merged.get(key, {}) | row
    yield from merged.values()


def _known(name: str) -> tuple[_Benchmark, list[str], str | None]:
    given = _NAME.fullmatch(name)
    if given is None or given["benchmark"] not in BENCHMARKS:
        raise ValueError(
            f"{name}: allowed: hub:<benchmark>/<set>, with @<commit> if you like; benchmarks: "
            f"{', '.join(BENCHMARKS)}"
        )
    benchmark = BENCHMARKS[given["benchmark"]]
    chosen = given["sets"].split("+")
    for each in chosen:
        if not benchmark.sets.fullmatch(each):
            raise ValueError(
                f"{name}: {given['benchmark']} has no set {each}; "
                "src/palimpsest/data/hub_items.py lists them"
            )
    return benchmark, chosen, given["commit"]
