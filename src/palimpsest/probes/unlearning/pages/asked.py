"""What states of language models write when they are asked: blocks and words of the page."""

from __future__ import annotations

from functools import partial
from textwrap import fill
from typing import TYPE_CHECKING, Any

import polars as pl

from palimpsest.probes.unlearning.analyses.frames import STAYS
from palimpsest.probes.unlearning.settings import WORDS
from palimpsest.reports import behind_endpoints
from palimpsest.reports.blocks import FINDS, Block, Column, Figure, Table, n_caption
from palimpsest.reports.figure_style import forest, panels
from palimpsest.reports.sentences import interval_and_n

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from palimpsest.evidence.database import Database
    from palimpsest.probes.unlearning.settings import Settings

_caption = partial(n_caption, each="")

#: Parts as a reader calls them, in the order of the page.
_PARTS = {
    "forget": "to be forgotten",
    "holdout": "nobody was told",
    "kept": "must stay",
    "neighbour": "close to it, must stay",
    "known": "known before, must stay",
    "retain": "may be trained on, must stay",
}
_FACTOR = "\n    ".join(
    ["CASE factor", *(f"WHEN '{part}' THEN '{words}'" for part, words in _PARTS.items()), "END"]
)
_ORDER = f"list_position([{', '.join(repr(part) for part in _PARTS)}], factor)"
#: Measures as a reader calls them.
_MEASURE = """CASE metric WHEN 'rouge_l' THEN 'truth in the answer'
    WHEN 'rouge_l_by_chance' THEN 'other truths in it' WHEN 'exact_match' THEN 'exactly the truth'
    WHEN 'refusal' THEN 'declined' WHEN 'chosen' THEN 'right choice, by probability'
    WHEN 'chosen_in_words' THEN 'right choice, in words'
    WHEN 'verbatim' THEN 'second half of a text, by tokens'
    WHEN 'verbatim_words' THEN 'second half of a text, by words'
    ELSE 'truth, ' || replace(replace(metric, '_rouge_l', ''), '_', ' ') END"""

_COLUMNS = {
    "state": Column("state"),
    "items": Column("items"),
    "measure": Column("measure"),
    "estimate": Column("mean [95%]", "interval", low="low", high="high"),
    "n": Column("n", "number", digits=0),
    "unit": Column("unit of n"),
}


def _draw(frame: pl.DataFrame) -> Drawing:
    measures = frame["measure"].unique(maintain_order=True).to_list()
    rows = frame.select("items", "state").unique(maintain_order=True)
    figure, axes = panels(1, len(measures), height=1.1 + 0.22 * rows.height)
    for ax, measure in zip(axes[0], measures, strict=True):
        own = frame.filter(pl.col("measure") == measure)
        own = rows.join(own, on=["items", "state"], how="left", maintain_order="left")
        own = own.with_columns(label=pl.col("state") + ": " + pl.col("items"))
        forest(ax, own, "label", hue="state")
        ax.set_title(fill(measure, 18), loc="left", fontsize=8)
        ax.set_xlim(-0.03, 1.03)
    return figure


def blocks(used: Settings) -> list[Block]:
    """Figure and tables of what is written, the untouched state first."""
    first = f"role <> {_quoted(used.untouched)}, role"
    return [_figure(first), *_tables(first)]


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _figure(first: str) -> Figure:
    return Figure(
        "asked",
        "What does it say when it is asked?",
        _caption(
            "Truth in the answer: ROUGE-L recall; declined: by the phrases of refusals, or marked "
            "as such by the server. What nobody was told is the negative control, what must stay "
            "the positive one: where much of that is declined too, silence about the forget set "
            "says nothing. Bars: 95% intervals over items"
        ),
        "Truth in answers, share declined and right choices, by state and kind of item",
        f"""SELECT replace(role, '_', ' ') AS state, {_FACTOR} AS items, {_MEASURE} AS measure,
  estimate, low, high, n, unit
FROM statistics WHERE study = $study AND analysis = 'asked'
  AND metric IN ('rouge_l', 'refusal', 'chosen_in_words', 'verbatim', 'verbatim_words')
ORDER BY CASE metric WHEN 'rouge_l' THEN 0 WHEN 'refusal' THEN 1 WHEN 'chosen_in_words' THEN 2
  ELSE 3 END, {_ORDER}, {first}""",
        _draw,
    )


def _tables(first: str) -> list[Block]:
    return [
        Table(
            "asked-table",
            "Every measure of what is written",
            "Means over items. Shares of 0 and 1 have Wilson intervals, others t intervals. Other "
            "truths in it: ROUGE-L recall of the truths of other items of the same kind in the "
            "same answer, which a guess reaches. Truth, reworded and so on: after other prompts. "
            "What could be chosen by chance stands in the remark.",
            f"""SELECT replace(role, '_', ' ') AS state, {_FACTOR} AS items, {_MEASURE} AS measure,
  estimate, low, high, n, unit, CASE WHEN note NOT LIKE 'all rows equal%' THEN note END AS note
FROM statistics WHERE study = $study AND analysis = 'asked'
ORDER BY {_ORDER}, metric LIKE '%_rouge_l', metric, {first}""",
            _COLUMNS | {"note": Column("remark")},
        ),
        Table(
            "asked-differences-table",
            "Differences in what is written",
            "Forget set minus what nobody was told: two samples of items, which may differ in how "
            "hard they are to guess. Truth minus other truths: in the same answer, which does not "
            "depend on that. Minus the untouched state: the same items.",
            f"""SELECT replace(role, '_', ' ') AS state,
  CASE analysis WHEN 'asked_apart' THEN 'forget set minus what nobody was told'
    WHEN 'asked_since' THEN 'minus the untouched state' ELSE 'truth minus other truths' END
    AS difference,
  CASE analysis WHEN 'asked_apart' THEN '' ELSE {_FACTOR} END AS items, {_MEASURE} AS measure,
  estimate, low, high, n, unit, p, detectable, CASE WHEN note NOT LIKE 'all %' THEN note END AS note
FROM statistics
WHERE study = $study AND analysis IN ('asked_apart', 'asked_since', 'asked_beyond_chance')
ORDER BY analysis, {_ORDER}, metric LIKE '%_rouge_l', metric, {first}""",
            {"state": Column("state"), "difference": Column("difference")}
            | {name: column for name, column in _COLUMNS.items() if name != "state"}
            | {
                "estimate": Column("difference [95%]", "interval", low="low", high="high"),
                "p": Column("p", "p"),
                "detectable": FINDS,
                "note": Column("remark"),
            },
        ),
    ]


LIMITATIONS = [
    "The forget set and what nobody was told are different facts. Where one is easier to guess, or "
    "its questions give away more of their answers, they differ without any memory: read the "
    "truth in an answer beside that of other truths, and the state beside the untouched one.",
    "What is not written when it is asked for may still be known: other prompts may bring it out, "
    "and a filter before or behind a model hides without forgetting.",
    "Whether an answer declines is told by phrases; other ways to decline count as answers. "
    "ROUGE-L compares runs of ASCII letters and digits, so that answers in other scripts hold "
    "nothing of the truth, and items whose truth has no such word are left out.",
]

QUESTION = (
    "Does it still say what it should have forgotten, more than of facts that nobody was told, and "
    "does it still say what it must know?"
)

#: claim -> what was estimated, and what the verdicts mean.
SAID = {
    "says_what_it_knows": (
        "Positive control, truth in answers about what must stay, minus that of other such truths, "
        "in the untouched state",
        "what it must know it says",
        "too few to tell that it says what it must know",
        "it does not say what it must know: asked in this way, silence shows nothing",
    ),
    "untold_stays_untold": (
        "Negative control, the same of facts that nobody was told",
        "nothing is told of them, as it should be",
        "too few to tell that nothing is told of them",
        "their questions give away the answers, or somebody told them: distrust what is told of "
        "the forget set",
    ),
    "told_from_untold": (
        "Truth in answers about the forget set minus facts that nobody was told, untouched state",
        "it says what was to be forgotten",
        "whether it says what was to be forgotten this run cannot tell",
        "it says no more than of facts that nobody was told",
    ),
    "forgets_in_words": (
        "Truth in answers about the forget set, states that were to forget minus untouched state",
        "less of it is said",
        "whether less of it is said this run cannot tell",
        "no less of it is said",
    ),
    "keeps_in_words": (
        "Truth in answers about what must stay, the same states minus untouched state",
        "almost nothing is lost",
        "whether anything is lost this run cannot tell",
        "more than a little is lost or gained",
    ),
}


def in_words_alone(database: Database, study: str) -> bool:
    """Whether all states of a study are behind endpoints."""
    found = database.frame("SELECT DISTINCT experiment FROM cells WHERE study = ?", [study])
    return found["experiment"].to_list() == [WORDS]


def sentences(database: Database, study: str, used: Settings) -> list[str]:
    """What each state behind an endpoint says of the forget set, and whether it only declines."""
    rows = database.frame(
        "SELECT role, factor AS part, metric, estimate, low, high, n, unit, 0.95 AS level "
        "FROM statistics WHERE study = ? AND analysis = 'asked' AND series = ?",
        [study, WORDS],
    ).to_dicts()
    states: dict[str, dict[tuple[str, str], dict[str, Any]]] = {}
    for row in rows:
        states.setdefault(row["role"], {})[row["part"], row["metric"]] = row
    said = []
    for role in sorted(states, key=lambda role: (role != used.untouched, role)):
        found = states[role]
        told, declined = found.get(("forget", "rouge_l")), found.get(("forget", "refusal"))
        if told is None or declined is None:
            continue
        text = (
            f"{role.replace('_', ' ').capitalize()}: answers hold {interval_and_n(told)} of the "
            f"truth about the forget set; {interval_and_n(declined)} of them decline"
        )
        said.append(f"{text}{_silent(found)}.")
    return said


def _silent(found: dict[tuple[str, str], dict[str, Any]]) -> str:
    """Whether a state declines all alike; only where an interval says so."""
    stays = [found[part, "refusal"] for part in STAYS if (part, "refusal") in found]
    sure = [row for row in stays if row["low"] is not None and row["low"] > 0.5]
    if not sure:
        return ""
    which = " and ".join(_PARTS[row["part"]] for row in sure)
    return (
        f". It declines most questions about what it should answer too ({which}): silence about "
        "the forget set says nothing"
    )


def limitations(database: Database, study: str) -> list[str]:
    """What was left out of models behind endpoints."""
    return [
        f"{row['model']} answers behind an endpoint and was asked in words alone. Its weights are "
        "out of reach: probabilities, membership, truth ratios, hidden states, relearning, rounded "
        "weights and the language that it has left were not read, and no verdict is given. What "
        "the server does to a question before it is answered, and to an answer, is not known: a "
        "filter there looks like forgetting."
        for row in behind_endpoints.models(database, study)
    ]


def methods(database: Database, study: str, used: Settings) -> list[str]:
    """How states of language models were asked."""
    models = behind_endpoints.models(database, study)
    words = (
        " Models behind endpoints were also asked in other words, in other languages, after a "
        f"prefix and after up to {used.few_shot} solved questions, as far as items have them. "
        f"Their answers have {used.reply_tokens} tokens at most; those of chats "
        "count whole, others up to the first line break or full stop. Choices stand in "
        "random order with letters, and the letter or the option that the answer names was taken; "
        "texts are cut after half of their words, and as many words as follow are compared."
        if models
        else ""
    )
    continued = database.frame(
        "SELECT count(*) AS n FROM unlearning WHERE study = ? AND starts_with(metric, 'verbatim')",
        [study],
    )["n"][0]
    texts = "; of texts the ROUGE-L F1 of their second half" if continued else ""
    return [
        "Asked in words: ROUGE-L recall of the truth in the answer to each question, "
        "beside the mean recall of up to 20 other truths of the same part in the same answer; "
        f"exact match; refusal by phrase or by the server's mark{texts}.{words} Of each part but "
        f"the forget set at most {used.kept_items} items were asked, drawn at random. Items are "
        "the units: shares have Wilson intervals, means t intervals; the forget set and what "
        "nobody was told are compared as two samples (Welch), states by pairs of the same items. "
        "The untouched state is the one called "
        f"{used.untouched}.",
        *behind_endpoints.methods(database, study, "everything was asked in words"),
    ]
