"""What methods still show of what was to be forgotten: by a measure, or once taught again.

A verdict of damage says nothing of that, so that it is told of damaged methods too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from palimpsest.probes.unlearning.analyses.frames import in_words_sql
from palimpsest.reports.blocks import Block, Column, Table
from palimpsest.reports.sentences import interval_and_n, percent_and_n

if TYPE_CHECKING:
    from palimpsest.evidence.database import Database
    from palimpsest.probes.unlearning.settings import Settings

#: A difference from models that never knew is taken for one up to this q.
ALPHA = 0.05
_SHORT = "replace(d.metric, 'forget ', '')"
_MEASURE = f"""CASE d.metric WHEN 'forget truth' THEN 'truth ratio'
    ELSE {in_words_sql(_SHORT)} END"""
#: Measures that a cell of the table names.
_NAMED = 5
#: Damaged methods of which the summary tells what they show.
_TOLD = 3


def still_sql(enough: float) -> str:
    """Query of measures by which a method is told from models that never knew, with less than
    ``enough`` of the way gone, the upper end of its interval included."""
    return f"""SELECT d.model, d.series, d.arm, {_MEASURE} AS measure,
    d.estimate, d.low, d.high, d.n, d.unit, w.estimate AS way, w.low AS way_low,
    w.high AS way_high, w.n AS way_n, w.unit AS way_unit
  FROM statistics d JOIN statistics w USING (study, model, series, arm, metric)
  WHERE d.study = $study AND d.analysis = 'distance' AND w.analysis = 'way'
    AND d.factor IN ('forgetting', 'hidden', 'membership')
    AND d.q <= {ALPHA} AND w.high < {enough:g}"""


def evidence(used: Settings) -> Block:
    """The table of what decided, and of what is still there."""
    return Table(
        "evidence-table",
        "Why these verdicts?",
        "What decided; differences are from models that never knew. way gone: see above, which is "
        "what the words give in percent. still there: measures by which the method is told from "
        f"models that never knew (q of {ALPHA} or less after Holm's correction over all measures) "
        f"and which have gone less than {used.enough:.0%} of the way by their whole interval, "
        "those that have gone least first, each as a difference from models that never knew with "
        "its 95% interval. Damaged methods are asked too: damage is no sign that anything is "
        "forgotten, and a dash no proof of it.",
        f"""WITH still AS (
  {still_sql(used.enough)}),
listed AS (
  SELECT model, arm, count(*) AS measures,
    list(measure || replace(
      format(' {{:+.2f}} [{{:.2f}}, {{:.2f}}]', estimate, low, high), '-', '−')
      ORDER BY way, measure) AS each, max(n) AS n, max(unit) AS unit
  FROM still GROUP BY model, arm)
SELECT replace(arm, '_', ' ') AS method, metric AS verdict, s.estimate, s.low, s.high, s.n,
  s.unit, note, array_to_string(each[1:{_NAMED}], '; ')
    || CASE WHEN measures > {_NAMED} THEN format('; and {{}} more', measures - {_NAMED}) ELSE ''
    END || format(' (n = {{}} {{}})', l.n, l.unit) AS still
FROM statistics s LEFT JOIN listed l USING (model, arm)
WHERE study = $study AND analysis = 'verdict' AND arm <> 'taught' ORDER BY metric, method""",
        {
            "method": Column("method"),
            "verdict": Column("verdict"),
            "estimate": Column("way gone [95%]", "interval", low="low", high="high", digits=2),
            "n": Column("n", "number", digits=0),
            "unit": Column("unit of n"),
            "note": Column("evidence"),
            "still": Column("still there", empty="no measure shows it, which is no proof"),
        },
    )


def sentences(database: Database, study: str, used: Settings) -> list[str]:
    """What damaged methods still show, and what comes back when some of it is taught again."""
    return _of_damaged(database, study, used) + _back(database, study)


def _of_damaged(database: Database, study: str, used: Settings) -> list[str]:
    damaged = database.frame(
        "SELECT arm FROM statistics WHERE study = ? AND analysis = 'verdict' AND arm <> 'taught' "
        "AND metric = 'damaged' ORDER BY arm",
        [study],
    )["arm"].to_list()
    if not damaged:
        return []
    sql = f"SELECT * FROM ({still_sql(used.enough)}) ORDER BY way, measure".replace("$study", "?")
    found: dict[str, list[dict[str, Any]]] = {}
    for row in database.frame(sql, [study]).to_dicts():
        if row["arm"] in damaged:
            found.setdefault(row["arm"], []).append(row)
    silent = [arm for arm in damaged if arm not in found]
    said = []
    if found:
        told = [f"{_name(arm)}: {_least_gone(rows)}" for arm, rows in found.items()]
        which = "The one that has gone least, of each"
        if len(told) > _TOLD:
            which = f"The {_TOLD} that have gone least, each by the measure that shows it"
        each = "; ".join(told[:_TOLD]) + ("; all are listed below" if len(told) > _TOLD else "")
        said.append(
            f"Damaged does not mean forgotten: {len(found)} of {len(damaged)} damaged methods "
            f"still show what was to be forgotten, told from models that never knew (q of {ALPHA} "
            f"or less) by measures that have gone less than {used.enough:.0%} of the way. {which}: "
            f"{each}."
        )
    if silent:
        of = ", ".join(map(_name, silent))
        said.append(
            "Damaged, and no measure shows, after correction, that the facts are still there, "
            f"which is no proof that they are gone: {of}."
        )
    return said


def _least_gone(rows: list[dict[str, Any]]) -> str:
    """The first measure, how far it has gone, and how many there are."""
    row = rows[0]
    way = {"estimate": row["way"], "low": row["way_low"], "high": row["way_high"], "level": 0.95}
    way |= {"n": row["way_n"], "unit": row["way_unit"]}
    more = f", and {len(rows) - 1} more" if len(rows) > 1 else ""
    return f"{row['measure']} {percent_and_n(way)}{more}"


def _back(database: Database, study: str) -> list[str]:
    """Methods that had gone far where asked directly and bring facts back: by the rule of the
    claim on relearning."""
    rows = database.frame(
        "SELECT arm, estimate, low, high, n, unit, 0.95 AS level FROM statistics WHERE study = ? "
        f"AND analysis = 'rise' AND q <= {ALPHA} AND estimate > 0 ORDER BY estimate DESC, arm",
        [study],
    ).to_dicts()
    if not rows:
        return []
    number, step = database.frame(
        "SELECT split_part(factor, ' ', 1) AS number, step FROM statistics WHERE study = ? "
        "AND analysis = 'relearning' AND metric = 'others' QUALIFY rank() OVER "
        "(ORDER BY try_cast(number AS INTEGER) DESC, step DESC) = 1 LIMIT 1",
        [study],
    ).row(0)
    each = "; ".join(f"{_name(row['arm'])} {interval_and_n(row)}" for row in rows)
    facts = "1 forgotten fact is" if number == "1" else f"{number} forgotten facts are"
    return [
        f"Gone where asked, back when {facts} taught again for {step} updates: the probability of "
        "the others, which are not taught again, rises by more than in models that never knew "
        f"(q of {ALPHA} or less after Holm's correction over these methods), in {each}."
    ]


def _name(arm: str) -> str:
    return arm.replace("_", " ")
