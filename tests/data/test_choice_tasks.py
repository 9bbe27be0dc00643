"""Embedded tasks with choices: what is held out is held out, answers are balanced and right."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import astuple, replace

import pytest

from palimpsest.data.choice_tasks import drawing, embedded
from palimpsest.data.choice_tasks.contents import TABLE, Content, Task
from palimpsest.data.choice_tasks.embedded import TASKS, VERSION, check, choice_task
from palimpsest.data.choice_tasks.families.common_sense import _SIZES
from palimpsest.data.choice_tasks.families.words import _TRIPLES
from palimpsest.data.choice_tasks.items import SPLITS, ChoiceItem, Sizes
from palimpsest.identity import digest

SEEDS = (0, 1, 2, 77, 2**40)
SMALL = Sizes(train=48, validation=12, test=16, near=9)
every = pytest.mark.parametrize("name", TASKS)


def drawn(name: str) -> list[list[ChoiceItem]]:
    """Items of several seeds at what the task yields at most, and at small odd sizes."""
    most = TASKS[name].most
    return [choice_task(name, seed, sizes) for seed in SEEDS for sizes in (most, SMALL)]


def of(items: list[ChoiceItem], *splits: str) -> list[ChoiceItem]:
    return [item for item in items if item.split in splits]


def right(item: ChoiceItem) -> str:
    return item.choices[item.answer].strip()


def contents_of(name: str, item: ChoiceItem) -> list[Content]:
    """Contents that read as the item does in its wording."""
    kind, number = item.template.split("-")
    task = TASKS[name]
    template = (task.templates if kind == "trained" else task.held_out)[int(number) - 1]
    index = _index(name, template)
    return index[item.prompt]


INDEX: dict[tuple[str, str], dict[str, list[Content]]] = {}


def _index(name: str, template: str) -> dict[str, list[Content]]:
    if (name, template) not in INDEX:
        found: dict[str, list[Content]] = defaultdict(list)
        for content in TASKS[name].contents():
            found[content.prompt(template)].append(content)
        INDEX[name, template] = found
    return INDEX[name, template]


def test_there_are_tasks_of_many_families():
    assert len(TASKS) >= 14
    assert len({task.family for task in TASKS.values()}) >= 8
    assert all(task.summary for task in TASKS.values())


@every
def test_wordings_and_topics_are_enough(name):
    task = TASKS[name]
    assert len(set(task.templates)) >= 3
    assert len(set(task.held_out)) >= 2
    assert not set(task.templates) & set(task.held_out)
    assert astuple(task.most) >= astuple(TABLE)


@every
def test_every_split_has_as_many_items_as_asked_for(name):
    for sizes in (TASKS[name].most, TABLE, SMALL, Sizes(0, 0, 0, 0), Sizes(10, 0, 3, 5)):
        counts = Counter(item.split for item in choice_task(name, 3, sizes))
        test = dict.fromkeys(("test", "template", "topic"), sizes.test)
        given = {"train": sizes.train, "validation": sizes.validation, "near": 2 * sizes.near}
        assert {split: counts[split] for split in SPLITS} == test | given


@every
def test_all_seeds_give_what_a_task_yields_at_most(name):
    for seed in range(100, 140):
        choice_task(name, seed, TASKS[name].most)


@every
def test_no_prompt_comes_twice_and_ids_are_of_one_item(name):
    for items in drawn(name):
        assert len({item.prompt for item in items}) == len(items)
        assert len({item.id for item in items}) == len(items)
        assert all(item.prompt == item.prompt.strip() for item in items)


@every
def test_choices_differ_and_hold_the_answer_once(name):
    task = TASKS[name]
    for item in (item for items in drawn(name) for item in items):
        assert len(set(item.choices)) == len(item.choices) == (len(task.labels) or task.choices)
        assert all(
            choice.startswith(" ") and choice == f" {choice.strip()}" for choice in item.choices
        )
        if task.labels:
            assert item.choices == tuple(f" {label}" for label in task.labels)
        (truth,) = {content.right for content in contents_of(name, item)}
        assert right(item) == truth


@every
def test_labels_are_as_often_up_to_one_and_places_vary(name):
    task = TASKS[name]
    for items in drawn(name):
        for split in SPLITS:
            counts = Counter(item.answer for item in of(items, split))
            if task.labels:
                by_label = [counts[n] for n in range(len(task.labels))]
                assert max(by_label) - min(by_label) <= 1
    if not task.labels:
        places = Counter(item.answer for items in drawn(name) for item in items)
        total = sum(places.values())
        for place in range(task.choices):
            assert abs(places[place] / total - 1 / task.choices) < 0.05


@every
def test_templates_are_held_out(name):
    for items in drawn(name):
        trained = {item.template for item in of(items, "train")}
        assert {item.template for item in of(items, "validation", "test", "topic")} <= trained
        assert not trained & {item.template for item in of(items, "template")}
        if len(of(items, "template")) >= 16:
            assert len({item.template for item in of(items, "template")}) >= 2


@every
def test_topics_are_held_out_and_share_no_knowledge_and_no_answers(name):
    for items in drawn(name):
        held = {item.topic for item in of(items, "topic")}
        others = [item for item in items if item.split != "topic"]
        assert len(held) >= 2
        assert not held & {item.topic for item in others}
        if name in ("word_category", "capitals", "element_symbols", "tool_use"):
            mine = {choice for item in of(items, "topic") for choice in item.choices}
            assert not mine & {choice for item in others for choice in item.choices}


@every
def test_what_is_tested_was_not_trained_on_in_another_form(name):
    for items in drawn(name):
        splits = ("train", "validation", "test", "template", "topic")
        keys = {
            split: {c.knowledge for item in of(items, split) for c in contents_of(name, item)}
            for split in splits
        }
        for one in splits:
            for other in splits:
                assert one == other or not keys[one] & keys[other], (one, other)
        unseen = set().union(*(keys[split] for split in splits[1:]))
        near = {c.knowledge for item in of(items, "near") for c in contents_of(name, item)}
        assert not near & unseen


@every
def test_neighbours_are_edited_in_one_thing_or_paraphrased(name):
    changed, edits = 0, 0
    for items in drawn(name):
        by_id = {item.id: item for item in items}
        near = of(items, "near")
        trained = {c.fill for t in of(items, "train") for c in contents_of(name, t)}
        assert Counter(item.change for item in near)["edited"] * 2 == len(near)
        assert len({(item.of, item.change) for item in near}) == len(near)
        for item in near:
            base = by_id[item.of]
            assert base.split == "train"
            own, its = contents_of(name, item), contents_of(name, base)
            if item.change == "paraphrased":
                assert item.template.startswith("unseen")
                assert {c.fill for c in own} == {c.fill for c in its}
                assert (item.choices, item.answer) == (base.choices, base.answer)
            else:
                assert item.template == base.template
                pairs = [(a.places, b.places) for a in own for b in its]
                assert any(sum(x != y for x, y in zip(*pair, strict=True)) == 1 for pair in pairs)
                assert not {c.fill for c in own} & trained
                edits += 1
                changed += right(item) != right(base)
        assert all(not item.of and not item.change for item in items if item.split != "near")
    assert changed / edits > 0.9


@every
def test_the_same_arguments_give_the_same_items_and_others_others(name):
    first = choice_task(name, 5, SMALL)
    embedded._drawn.cache_clear()
    assert choice_task(name, 5, SMALL) == first
    assert choice_task(name, 6, SMALL) != first
    first.clear()
    assert choice_task(name, 5, SMALL)


def test_items_change_with_the_version_alone():
    """A failure means that items are others: raise VERSION and write the new digest here."""
    found = digest([i.to_json() for n in sorted(TASKS) for i in choice_task(n, 0, TABLE)])
    assert {VERSION: found} == {2: "c887b44b1ed9"}


@every
def test_prompts_and_choices_are_short(name, smollm):
    items = choice_task(name, 0, TASKS[name].most)
    lengths = [smollm.token_length(item.prompt) for item in items]
    assert max(lengths) <= 22
    assert sum(lengths) / len(lengths) <= 14
    assert max(smollm.token_length(c) for c in {c for item in items for c in item.choices}) <= 3


def numbers_in(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]


def test_sums_comparisons_and_sequences_are_right():
    for items in drawn("arithmetic"):
        assert all(sum(numbers_in(item.prompt)) == int(right(item)) for item in items)
    for items in drawn("number_comparison"):
        assert all(max(numbers_in(item.prompt)) == int(right(item)) for item in items)
        assert all(max(map(int, item.choices)) == int(right(item)) for item in items)
    for items in drawn("sequence"):
        for item in items:
            a, b, c = numbers_in(item.prompt)
            assert b - a == c - b == int(right(item)) - c


def test_what_follows_from_sentences_is_right():
    for items in drawn("entailment"):
        for item in items:
            colors = re.findall(r"red|blue|green|black|white", item.prompt)
            assert len(colors) == 2
            assert right(item) == ("yes" if colors[0] == colors[1] else "no")
    for items in drawn("negation"):
        for item in items:
            content = contents_of("negation", item)[0]
            said = " not " not in item.prompt and content.fill[2] == content.fill[3]
            assert right(item) == ("yes" if said else "no")
    for items in drawn("doer"):
        for item in items:
            names = re.findall(r"Tom|Ann|Sam|Kim", item.prompt)
            assert right(item) == names[" was " in item.prompt.split(names[1])[0]]


def test_places_and_sizes_are_right():
    vectors = {"left": (-1, 0), "right": (1, 0), "above": (0, 1), "below": (0, -1)}
    for items in drawn("spatial"):
        for item in items:
            (said,) = re.findall("left|right|above|below", item.prompt)
            other = tuple(-x for x in vectors[right(item)])
            assert vectors[said] == other
    ranks = {name: n for rows in _SIZES.values() for n, (name,) in enumerate(rows)}
    for items in drawn("size"):
        for item in items:
            assert ranks[right(item)] == max(ranks[choice.strip()] for choice in item.choices)


def test_grammar_is_right():
    for items in drawn("agreement"):
        for item in items:
            head = re.search(r"(?:the|my|our) (\w+)", item.prompt, re.IGNORECASE).group(1)
            assert right(item) == ("are" if head.endswith("s") and head != "bus" else "is")
    for items in drawn("tense"):
        for item in items:
            assert (right(item) == "future") == (" will " in item.prompt)
    for items in drawn("grammatical_number"):
        for item in items:
            word = contents_of("grammatical_number", item)[0].fill[0].split()[1]
            ends = word.endswith("s") and word not in ("dress", "bus", "class")
            irregular = word in (
                "mice",
                "geese",
                "men",
                "women",
                "children",
                "people",
                "feet",
                "teeth",
            )
            assert right(item) == ("plural" if ends or irregular else "singular")


def test_no_two_triples_contradict_each_other():
    opposite = {
        frozenset(pair)
        for rows in _TRIPLES.values()
        for a, b, c in rows
        for pair in ((a, c), (b, c))
    }
    same = {frozenset((a, b)) for rows in _TRIPLES.values() for a, b, _ in rows}
    assert not same & opposite


def test_tables_name_nothing_twice():
    """A word of two kinds, or an element of two symbols, would have two right answers."""
    for name, task in TASKS.items():
        answers: dict[tuple[str, ...], set[str]] = defaultdict(set)
        for content in task.contents():
            answers[content.fill].add(content.right)
            assert content.right not in content.wrong
        assert all(len(rights) == 1 for rights in answers.values()), name


@pytest.mark.parametrize(
    ("name", "sizes", "message"),
    [
        ("entailmnt", SMALL, "entailmnt: unknown task; allowed: .*entailment"),
        ("capitals", replace(SMALL, train=97), "capitals: train: given 97; allowed: 0 to 96"),
        ("spatial", replace(SMALL, test=65), "spatial: test: given 65; allowed: 0 to 64"),
        ("spatial", replace(SMALL, near=-1), "spatial: near: given -1; allowed: 0 to 64"),
        ("spatial", Sizes(8, 8, 8, 5), "near: given 5; allowed: 0 to 4"),
    ],
)
def test_unknown_tasks_and_too_many_items_are_refused(name, sizes, message):
    with pytest.raises(ValueError, match=message):
        check(name, sizes)
    with pytest.raises(ValueError, match=message):
        choice_task(name, 0, sizes)


def test_contents_that_do_not_suffice_are_named():
    contents = [Content(topic=f"t{n}", fill=(str(n),), right="yes") for n in range(9)]
    task = Task(
        "f", "s", ("a {0}", "b {0}", "c {0}"), ("d {0}", "e {0}"), lambda: contents, ("yes", "no")
    )
    with pytest.raises(ValueError, match="few: train needs 5 items with no; allowed: at most 0"):
        drawing.draw("few", task, 0, Sizes(10, 1, 1, 1))
