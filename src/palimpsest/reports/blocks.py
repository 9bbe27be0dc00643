"""What a probe hands to the report: plain records, drawn and typeset elsewhere.

In every ``sql`` the word ``$study`` stands for the quoted name of the study, so that the query the
reader sees and copies is the query that ran. Captions and alternative texts may be functions of
the query's frame: numbers in them are then those of the run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import polars as pl

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MatplotlibFigure

Kind = Literal["text", "number", "percent", "interval", "p", "verdict", "code"]
Words = str | Callable[[pl.DataFrame], str]

#: Anchors that every study page uses itself.
RESERVED_IDS = frozenset(
    {
        "summary",
        "warnings",
        "claims",
        "claims-data",
        "explore",
        "explore-data",
        "explore-sql",
        "explore-table",
        "methods",
        "methods-text",
        "references",
        "bibtex",
        "limitations",
        "provenance",
        "jobs-rows",
        "glossary",
        "contents",
        "main",
    }
)
#: ``page-`` begins the ids of tables that the page has anyway.
_ID = re.compile(r"(?!page-)[a-z][a-z0-9_-]*")


def n_caption(text: str, each: str = " a point") -> Callable[[pl.DataFrame], str]:
    """A caption that ends with the least and the largest n of what is shown, of every unit.

    Args:
        text: without its full stop.
        each: what one n belongs to.
    """

    def caption(frame: pl.DataFrame) -> str:
        counted = frame.drop_nulls("n").group_by("unit", maintain_order=True)
        spans = [
            f"{low}{'' if low == high else f' to {high}'} {unit}"
            for unit, low, high in counted.agg(low=pl.min("n"), high=pl.max("n")).iter_rows()
        ]
        return f"{text}; n = {' or '.join(spans) or 'unknown'}{each}."

    return caption


@dataclass(frozen=True)
class Figure:
    """A figure: ``draw`` gets the frame of ``sql`` (never empty) and returns the drawing.

    The frame has a column ``n``, and ``numbers`` maps the column of every number that is drawn to
    the columns with the ends of its interval. Where numbers can have no interval, ``bare`` says
    why in a sentence that ends the caption. Whatever lacks them without a word is not shown.
    ``empty``, here and below, says why the query would give no rows, where that is known.
    """

    id: str
    title: str
    caption: Words
    alt: Words
    sql: str
    draw: Callable[[pl.DataFrame], MatplotlibFigure]
    numbers: Mapping[str, tuple[str, str]] = field(
        default_factory=lambda: {"estimate": ("low", "high")}
    )
    bare: str = ""
    empty: str = ""

    def wanting(self, frame: pl.DataFrame) -> list[str]:
        """The columns of n and of intervals that ``frame`` lacks, or that are empty beside a
        number: an interval may be missing here and there, n may not.
        """
        numbers = {} if self.bare else self.numbers
        ends = [end for pair in numbers.values() for end in pair]
        absent = [name for name in ("n", *numbers, *ends) if name not in frame.columns]
        if absent:
            return absent
        if numbers:
            frame = frame.filter(pl.any_horizontal(pl.col(*numbers).is_not_null()))
        return ["n"] if frame["n"].null_count() else []


@dataclass(frozen=True)
class Column:
    """How one column of a table is shown.

    ``digits`` are decimals (of the percentage for ``percent``); None chooses them by the value.
    ``low`` and ``high`` name the columns with the ends of the interval of an ``interval`` column,
    which shows ``0.71 [0.60, 0.80]`` and sorts by the estimate. ``help`` goes into the glossary;
    ``empty`` says why a cell may have nothing to show.
    """

    header: str
    kind: Kind = "text"
    digits: int | None = None
    low: str | None = None
    high: str | None = None
    help: str | None = None
    empty: str | None = None

    def __post_init__(self) -> None:
        if self.kind == "interval" and not (self.low and self.high):
            raise ValueError(f"column {self.header!r}: an interval needs `low` and `high`")


#: Beside every comparison: what the study was large enough to find.
FINDS = Column(
    "could find",
    "number",
    help="The true difference that a study of this size finds with power 80%, by a two-sided test "
    "at 5% before any correction: from the width of the 95% interval and its degrees of freedom. "
    "Where it is larger than any difference that would matter, nothing found means nothing. A "
    "dash: there is no interval with two ends and a width to read it from.",
    empty="no interval to read it from",
)


@dataclass(frozen=True)
class Table:
    """A table: one row per row of ``sql``, the columns named in ``columns``, in their order."""

    id: str
    title: str
    caption: Words
    sql: str
    columns: dict[str, Column]
    empty: str = ""


@dataclass(frozen=True)
class Gallery:
    """Example answers: ``sql`` gives prompt, truth, answer, verdict; also arm, model, step, taught.

    Each of the optional columns that is there (but ``taught``) becomes a filter.
    """

    id: str
    title: str
    caption: Words
    sql: str
    empty: str = ""


@dataclass(frozen=True)
class Prose:
    """Plain paragraphs between the figures; no markup."""

    id: str
    title: str
    paragraphs: list[str]


@dataclass(frozen=True)
class Explore:
    """What the explorer of a study page shows first; whatever is not named is chosen.

    Names are those of the columns of the probe's view. ``metric`` without a number at its end
    (``probe`` of ``probe/7``) has that number as dimension ``level``. ``fixed`` maps a dimension to
    the value that is shown first.
    """

    metric: str | None = None
    x: str | None = None
    colour: str | None = None
    fixed: dict[str, str] = field(default_factory=dict)


Block = Figure | Table | Gallery | Prose


@dataclass(frozen=True)
class Reference:
    """A source: ``text`` as in a bibliography, ``url`` (http or https), the BibTeX entry."""

    key: str
    text: str
    url: str
    bibtex: str


@dataclass(frozen=True)
class StudyPage:
    """One study, ready to be typeset; ``terms`` go into the glossary.

    Raises ValueError when an id is unfit or taken twice.
    """

    study: str
    title: str
    question: str
    summary: list[str]
    blocks: list[Block] = field(default_factory=list)
    methods: list[str] = field(default_factory=list)
    limitations: list[str] = field(default_factory=list)
    references: list[Reference] = field(default_factory=list)
    explore: Explore = field(default_factory=Explore)
    terms: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for block in self.blocks:
            if not _ID.fullmatch(block.id) or block.id in RESERVED_IDS or block.id in seen:
                raise ValueError(
                    f"study {self.study!r}: block id {block.id!r} is not lower-case letters, "
                    "digits, - and _, or is reserved, or begins with page-, or is used twice"
                )
            seen.add(block.id)
