"""Items of an embedded task: which contents, wordings and topics are trained on and held out.

A quarter of the topics is held out, and of every kind of topic at least one. What else is known is
divided by its key among training, validation, test, held-out templates and edited neighbours, in
proportion to their sizes, so that nothing that is tested was trained on in another form.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, product

from palimpsest.data.choice_tasks.contents import Content, Task
from palimpsest.data.choice_tasks.items import ChoiceItem, Sizes, Split
from palimpsest.identity import seed_of

#: Share of the topics that is held out.
HELD_OUT = 0.25

Drawn = tuple[Content, int]


def draw(name: str, task: Task, seed: int, sizes: Sizes) -> list[ChoiceItem]:
    """Items of a task; what they are depends on these arguments alone.

    Raises:
        ValueError: the contents do not suffice for these sizes.
    """
    return _Drawing(name, task, seed, sizes).items()


class _Drawing:
    def __init__(self, name: str, task: Task, seed: int, sizes: Sizes) -> None:
        self.name, self.task, self.sizes = name, task, sizes
        self.random = random.Random(seed_of("choice_tasks", name, seed))
        self.wordings = (*task.templates, *task.held_out)
        self.prompts: set[str] = set()
        self.contents = task.contents()
        self.held = self._held_topics()
        self.rights = {
            held: {each.right for each in self.contents if (each.topic in self.held) == held}
            for held in (False, True)
        }
        self.parts = self._parts()

    def items(self) -> list[ChoiceItem]:
        trained = range(len(self.task.templates))
        unseen = range(len(self.task.templates), len(self.wordings))
        test = self.sizes.test
        plan: list[tuple[Split, int, Sequence[int]]] = [
            ("train", self.sizes.train, trained),
            ("validation", self.sizes.validation, trained),
            ("test", test, trained),
            ("template", test, unseen),
            ("topic", test, trained),
        ]
        found = []
        sources: list[tuple[ChoiceItem, Drawn]] = []
        for split, count, templates in plan:
            drawn = self._draw(split, count, templates)
            items = [self._item(split, n, *each) for n, each in enumerate(drawn, start=1)]
            found += items
            if split == "train":
                sources = list(zip(items, drawn, strict=True))
        return found + self._near(sources, unseen)

    def _held_topics(self) -> set[str]:
        """A share of the topics of every kind; topics with the same possible answers are a kind."""
        answers: dict[str, set[str]] = defaultdict(set)
        for content in self.contents:
            answers[content.topic].add(content.right if self.task.labels else "")
        kinds: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for topic, rights in answers.items():
            kinds[tuple(sorted(rights))].append(topic)
        held: set[str] = set()
        for topics in kinds.values():
            least = 1 if len(kinds) > 1 else 2
            held |= set(self.random.sample(topics, max(least, round(HELD_OUT * len(topics)))))
        return held

    def _parts(self) -> dict[str, dict[str, list[Content]]]:
        """Split -> key -> contents; the split ``near`` has keys of edited neighbours alone."""
        parts: dict[str, dict[str, list[Content]]] = defaultdict(dict)
        known: dict[str, list[Content]] = defaultdict(list)
        for content in self.contents:
            if content.topic in self.held:
                parts["topic"].setdefault(content.knowledge, []).append(content)
            else:
                known[content.knowledge].append(content)
        kinds: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for key, contents in known.items():
            rights = {content.right for content in contents} if self.task.labels else set()
            kinds[tuple(sorted(rights))].append(key)
        sizes = self.sizes
        shares = {
            "train": sizes.train,
            "validation": sizes.validation,
            "test": sizes.test,
            "template": sizes.test,
            "near": sizes.near,
        }
        for keys in kinds.values():
            self.random.shuffle(keys)
            start, passed = 0, 0
            for split, share in shares.items():
                passed += share
                end = round(len(keys) * passed / max(1, sum(shares.values())))
                parts[split] |= {key: known[key] for key in keys[start:end]}
                start = end
        return parts

    def _draw(self, split: Split, count: int, templates: Sequence[int]) -> list[Drawn]:
        """So many contents with templates; no prompt twice, every label as often up to one."""
        by_label: dict[str, list[list[Content]]] = defaultdict(list)
        for contents in self.parts[split].values():
            for label in self.task.labels or ("",):
                fitting = [c for c in contents if not label or c.right == label]
                if fitting:
                    by_label[label].append(self.random.sample(fitting, len(fitting)))
        drawn: list[Drawn] = []
        used: set[str] = set()
        for label, quota in self._quotas(count).items():
            groups = by_label[label]
            self.random.shuffle(groups)
            # Keys of which nothing is drawn yet come first: their contents stay for neighbours.
            groups.sort(key=lambda group: group[0].knowledge in used)
            some = list(self._spread(groups, templates, quota))
            used |= {content.knowledge for content, _ in some}
            if len(some) < quota:
                raise ValueError(
                    f"{self.name}: {split} needs {quota} items{f' with {label}' * bool(label)}; "
                    f"allowed: at most {len(some)} beside the other splits"
                )
            drawn += some
        self.random.shuffle(drawn)
        return drawn

    def _spread(
        self, groups: list[list[Content]], templates: Sequence[int], count: int
    ) -> Iterator[Drawn]:
        """One content of every key, then of every key another or another wording."""
        first = self.random.randrange(len(templates))
        used = 0
        most = max(map(len, groups), default=0) * len(templates)
        for turn, group in ((turn, group) for turn in range(most) for group in groups):
            if used == count:
                return
            for offset in range(len(group) * len(templates)):
                content = group[(turn + offset) % len(group)]
                template = templates[(first + used + offset // len(group)) % len(templates)]
                if self._new(content, template):
                    used += 1
                    yield content, template
                    break

    def _is_new(self, content: Content, template: int) -> bool:
        return content.prompt(self.wordings[template]) not in self.prompts

    def _new(self, content: Content, template: int) -> bool:
        """Whether the prompt is new; from now on it is not."""
        new = self._is_new(content, template)
        self.prompts.add(content.prompt(self.wordings[template]))
        return new

    def _quotas(self, count: int, start: int = 0) -> dict[str, int]:
        """How many items every label has; labels from ``start`` on have those that are left."""
        labels = self.task.labels or ("",)
        least, more = divmod(count, len(labels))
        favoured = {labels[(start + n) % len(labels)] for n in range(more)}
        return {label: least + (label in favoured) for label in labels}

    def _near(
        self, sources: list[tuple[ChoiceItem, Drawn]], unseen: Sequence[int]
    ) -> list[ChoiceItem]:
        """An edited and a paraphrased neighbour of each of some items of training."""
        near: list[ChoiceItem] = []
        bases = self._quotas(self.sizes.near)
        left = self._quotas(self.sizes.near, start=self.sizes.near % max(1, len(bases)))
        beside = self._neighbours({content for _, (content, _) in sources})
        order = self.random.sample(sources, len(sources))
        used: set[str] = set()
        # First those whose answer the edit changes, then as many others as are still needed.
        for changed, (item, (content, template)) in product((True, False), order):
            label = content.right if self.task.labels else ""
            if item.id in used or not bases[label]:
                continue
            reworded = self._reworded(content, unseen)
            edited = self._edit(item, content, template, beside, left, changed)
            if reworded is None or edited is None:
                continue
            self._new(content, reworded)
            self._new(edited, template)
            used.add(item.id)
            bases[label] -= 1
            left[edited.right if self.task.labels else ""] -= 1
            near.append(self._item("near", len(near) + 1, edited, template, item, "edited"))
            near.append(self._item("near", len(near) + 1, content, reworded, item, "paraphrased"))
        if len(near) < 2 * self.sizes.near:
            raise ValueError(
                f"{self.name}: near needs {self.sizes.near} items of training with an edited "
                f"neighbour; allowed: at most {len(near) // 2} beside the other splits"
            )
        return near

    def _reworded(self, content: Content, unseen: Sequence[int]) -> int | None:
        """A held-out template in which the content was not asked yet."""
        order = self.random.sample(unseen, len(unseen))
        return next((template for template in order if self._is_new(content, template)), None)

    def _neighbours(
        self, trained: set[Content]
    ) -> dict[tuple[int, tuple[str, ...]], list[Content]]:
        """Contents that are not trained on by all that they are but one thing, and its number."""
        beside: dict[tuple[int, tuple[str, ...]], list[Content]] = defaultdict(list)
        usable = chain(*self.parts["near"].values(), *self.parts["train"].values())
        for content in (content for content in usable if content not in trained):
            for place, rest in _rests(content):
                beside[place, rest].append(content)
        return beside

    def _edit(
        self,
        item: ChoiceItem,
        content: Content,
        template: int,
        beside: dict[tuple[int, tuple[str, ...]], list[Content]],
        left: dict[str, int],
        changed: bool,
    ) -> Content | None:
        """What differs in one thing, if possible among the same choices."""
        found = [
            other
            for where in _rests(content)
            for other in beside[where]
            if other != content
            and not (changed and other.right == content.right)
            and (other.knowledge == content.knowledge or other.knowledge in self.parts["near"])
            and left[other.right if self.task.labels else ""]
        ]
        self.random.shuffle(found)
        found.sort(
            key=lambda other: (
                f" {other.right}" not in item.choices,
                other.topic != content.topic,
                -left[other.right] if self.task.labels else 0,
            )
        )
        return next((other for other in found if self._is_new(other, template)), None)

    def _item(
        self,
        split: Split,
        number: int,
        content: Content,
        template: int,
        base: ChoiceItem | None = None,
        change: str = "",
    ) -> ChoiceItem:
        choices = self._choices(content, base)
        trained = len(self.task.templates)
        wording = (
            f"trained-{template + 1}" if template < trained else f"unseen-{template - trained + 1}"
        )
        return ChoiceItem(
            id=f"{self.name}/{split}/{number}",
            task=self.name,
            family=self.task.family,
            split=split,
            template=wording,
            topic=content.topic,
            prompt=content.prompt(self.wordings[template]),
            choices=tuple(f" {choice}" for choice in choices),
            answer=choices.index(content.right),
            of=base.id if base else "",
            change=change,
        )

    def _choices(self, content: Content, base: ChoiceItem | None) -> Sequence[str]:
        """Constant labels in their order; else the neighbour's choices if they fit, or new ones."""
        if self.task.labels:
            return self.task.labels
        if base is not None:
            same = [choice.strip() for choice in base.choices]
            if set(same) <= {content.right, *content.wrong} and content.right in same:
                return same
        apart = [choice for choice in content.wrong if choice not in self._foreign(content)]
        fewest = self.task.choices - 1
        wrong = self.random.sample(apart if len(apart) >= fewest else content.wrong, fewest)
        return self.random.sample([content.right, *wrong], self.task.choices)

    def _foreign(self, content: Content) -> set[str]:
        """Answers of held-out topics for others, and of others for held-out topics."""
        held = content.topic in self.held
        return self.rights[not held] - self.rights[held]


def _rests(content: Content) -> Iterable[tuple[int, tuple[str, ...]]]:
    """Every thing's number, with all others."""
    places = content.places
    return [(n, (*places[:n], *places[n + 1 :])) for n in range(len(places))]
