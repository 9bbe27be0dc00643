"""Tables of the page, and the gallery of facts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from palimpsest.probes.unlearning.analyses.frames import in_words_sql
from palimpsest.reports.blocks import FINDS, Block, Column, Gallery, Table

if TYPE_CHECKING:
    import polars as pl

#: A p at or below this tells models apart.
ALPHA = 0.05
INTERVAL = Column("estimate [95%]", "interval", low="low", high="high")


def _verdicts_caption(frame: pl.DataFrame) -> str:
    """With the least p that so few models can give, which says what a larger one is worth."""
    least = frame["least_p"].max()
    bound = (
        ""
        if least is None
        else f" With so many models p cannot be below {least:.2g}"
        + (", so that none of them can be told apart at 5%." if least > ALPHA else ".")
    )
    return (
        "The verdict of every method, and of the taught models as a control. Damaged says what "
        "was lost, not what was forgotten: the next table says what is still there. way gone: "
        "share of the way from taught models (0) to models that never knew (1) in the probability "
        "of forgotten facts. kept: probability of facts that must stay and were never trained on "
        "again, as a share of the retrained models'. balance: harmonic mean of the two, each at "
        "most 1. on the front: in how many bootstrap samples no other method forgets more and "
        "keeps more. like retrained: p of the distance in all measures at once, of what is to be "
        f"forgotten and of what must stay; where it is small the models are told apart.{bound}"
    )


VERDICTS: list[Block] = [
    Table(
        "verdicts-table",
        "What did each method do?",
        _verdicts_caption,
        """WITH verdicts AS (
  SELECT * FROM statistics WHERE study = $study AND analysis = 'verdict'),
front AS (
  SELECT model, arm,
    max(estimate) FILTER (metric = 'kept') AS kept, max(low) FILTER (metric = 'kept') AS kept_low,
    max(high) FILTER (metric = 'kept') AS kept_high,
    max(estimate) FILTER (metric = 'balance') AS balance,
    max(estimate) FILTER (metric = 'rank') AS rank, max(low) FILTER (metric = 'rank') AS rank_low,
    max(high) FILTER (metric = 'rank') AS rank_high,
    max(estimate) FILTER (metric = 'on the front') AS front
  FROM statistics WHERE study = $study AND analysis = 'front' GROUP BY ALL),
together AS (
  SELECT model, arm, max(p) FILTER (metric = 'forgetting') AS forgetting,
    max(p) FILTER (metric = 'utility') AS utility,
    max(try_cast(regexp_extract(note, 'p cannot be below ([0-9.e-]+)', 1) AS DOUBLE)) AS least_p
  FROM statistics WHERE study = $study AND analysis = 'together' GROUP BY ALL),
left_over AS (
  SELECT model, arm, max(estimate) AS probability FROM statistics
  WHERE study = $study AND analysis = 'level' AND metric = 'forget probability' GROUP BY ALL)
SELECT replace(arm, '_', ' ') AS method, v.metric AS verdict, v.estimate, v.low, v.high, kept,
  kept_low, kept_high, balance, rank, rank_low, rank_high, front, forgetting, utility, least_p,
  n, unit, detectable, CASE WHEN probability <= 0.01 THEN 'at the end of what can be measured: '
    || 'hardly any probability is left' END AS remark
FROM verdicts v LEFT JOIN front USING (model, arm) LEFT JOIN together USING (model, arm)
LEFT JOIN left_over USING (model, arm)
ORDER BY balance DESC NULLS LAST, method""",
        {
            "method": Column("method"),
            "verdict": Column("verdict"),
            "estimate": Column("way gone [95%]", "interval", low="low", high="high", digits=2),
            "kept": Column("kept [95%]", "interval", low="kept_low", high="kept_high", digits=2),
            "balance": Column("balance", "number", digits=2),
            "rank": Column("rank [95%]", "interval", low="rank_low", high="rank_high", digits=0),
            "front": Column("on the front", "percent", digits=0),
            "forgetting": Column("like retrained: forgotten", "p"),
            "utility": Column("like retrained: kept", "p"),
            "n": Column("n", "number", digits=0),
            "unit": Column("unit of n"),
            "detectable": FINDS,
            "remark": Column("remark", empty="none"),
        },
    ),
]

#: Where a method has a detector.
DETECTOR = Table(
    "detector-table",
    "How well does GUARD tell what it is asked?",
    "Prompts in wordings that its detector was not fitted on, mean over models. area: under the "
    "ROC curve of prompts that ask for the forget set against others; found and false alarms: "
    "shares at the threshold.",
    """SELECT replace(arm, '_', ' ') AS method, estimate, low, high, n,
  replace(replace(metric, 'auc', 'area'), '_', ' ') AS what
FROM statistics WHERE study = $study AND analysis = 'detector' ORDER BY method, what""",
    {
        "method": Column("method"),
        "what": Column("measure"),
        "estimate": Column("mean [95%]", "interval", low="low", high="high"),
        "n": Column("models", "number", digits=0),
    },
)

TABLES: list[Block] = [
    Table(
        "change-table",
        "Before and after, fact by fact",
        "Each arm minus the taught models, paired by fact, with the mean over models of each arm: "
        "it speaks of other facts and needs no retrained model.",
        f"""SELECT replace(arm, '_', ' ') AS method, {in_words_sql("metric")} AS measure, estimate,
  low, high, n, p, detectable
FROM statistics WHERE study = $study AND analysis = 'change' AND metric IN (
  'forget probability', 'forget rouge_l', 'forget verbatim', 'forget reworded',
  'kept probability', 'kept rouge_l', 'kept chosen', 'neighbour probability',
  'retain probability', 'known probability', 'prose loss', 'prose fluency')
ORDER BY method, measure""",
        {
            "method": Column("method"),
            "measure": Column("measure"),
            "estimate": Column("minus taught [95%]", "interval", low="low", high="high"),
            "n": Column("facts", "number", digits=0),
            "p": Column("p", "p"),
            "detectable": FINDS,
        },
    ),
    Table(
        "membership-table",
        "Can members be told?",
        "Attacks on membership: the forget set against facts that nobody was told, each fact with "
        "its mean score over the models of an arm. area: under the ROC curve, DeLong's interval; "
        "0.5 tells nothing, and below it what was forgotten is less likely than what was never "
        "told. rate: share of the forget set found while at most 1% of the others are accused, if "
        "there are enough of them to resolve that rate; where an arm's first model was asked about "
        "many more whom nobody told anything, by its scores against theirs alone.",
        """SELECT replace(a.arm, '_', ' ') AS method, a.factor AS score, a.estimate, a.low, a.high,
  a.n, a.detectable, r.estimate AS rate, r.low AS rate_low, r.high AS rate_high, r.note
FROM statistics a JOIN statistics r USING (study, analysis, model, series, arm, factor)
WHERE study = $study AND analysis = 'membership' AND a.metric = 'area' AND r.metric = 'rate'
ORDER BY method, score""",
        {
            "method": Column("method"),
            "score": Column("score"),
            "estimate": Column("area [95%]", "interval", low="low", high="high"),
            "n": Column("facts", "number", digits=0),
            "detectable": FINDS,
            "rate": Column("rate at 1% [95%]", "interval", low="rate_low", high="rate_high"),
            "note": Column("threshold, or why there is no rate"),
        },
    ),
    Table(
        "quality-table",
        "What others report",
        "Forget quality (TOFU): p of the Kolmogorov-Smirnov test between the truth ratios of one "
        "model of the arm and one retrained model, over all pairs of them. A large p is no proof "
        "of forgetting, and how far p runs shows what the choice of one retrained model decides; "
        "retrained: these against each other. distance: of the same truth ratios, each turned so "
        "that it is at most 1, from the population of retrained models, with its q. PrivLeak "
        "(MUSE): area under the curve of min-k, in percent of the retrained models'; below 0 "
        "members are still told, above it they were pushed beyond.",
        """WITH cut AS (
  SELECT arm, model, series,
    max(estimate) FILTER (metric = 'forget quality, median') AS median,
    max(estimate) FILTER (metric = 'forget quality, least') AS least,
    max(estimate) FILTER (metric = 'forget quality, most') AS most,
    max(n) FILTER (metric = 'forget quality, median') AS pairs,
    max(estimate) FILTER (metric = 'PrivLeak') AS leak,
    max(low) FILTER (metric = 'PrivLeak') AS leak_low,
    max(high) FILTER (metric = 'PrivLeak') AS leak_high
  FROM statistics WHERE study = $study AND analysis = 'quality' GROUP BY ALL)
SELECT replace(c.arm, '_', ' ') AS method, c.median, c.least, c.most, c.pairs, d.estimate, d.low,
  d.high, d.q, d.detectable, c.leak, c.leak_low, c.leak_high
FROM cut c LEFT JOIN (SELECT * FROM statistics WHERE study = $study AND analysis = 'distance'
  AND metric = 'forget truth') d USING (arm, model, series)
ORDER BY method""",
        {
            "method": Column("method"),
            "median": Column("p, median pair", "p"),
            "least": Column("least", "p"),
            "most": Column("most", "p"),
            "pairs": Column("pairs", "number", digits=0),
            "estimate": Column("distance [95%]", "interval", low="low", high="high"),
            "q": Column("q (differs)", "p"),
            "detectable": FINDS,
            "leak": Column(
                "PrivLeak, % [95%]", "interval", low="leak_low", high="leak_high", digits=0
            ),
        },
    ),
    Table(
        "distance-table",
        "Every measure against models that never knew",
        "Mean of each arm over the units named, its difference from the retrained models (models: "
        "Welch intervals; facts: paired, which leaves out that models differ by their seeds, so "
        "that a small q there may be a seed's), q after Holm's correction over the measures of an "
        "arm, and the equivalence test: its p is small where the arm is shown to lie within the "
        "margin of the population. A large q alone shows nothing. Membership measures are areas "
        "under the curve that tells the forget set from people nobody was told about.",
        f"""WITH cut AS (
  SELECT model, arm, metric, factor, analysis, estimate, low, high, n, unit, p, q,
    detectable
  FROM statistics WHERE study = $study AND analysis IN ('level', 'distance', 'equivalence'))
SELECT replace(l.arm, '_', ' ') AS method, {in_words_sql("l.metric")} AS measure,
  l.factor AS kind, l.estimate AS level, d.estimate, d.low, d.high, l.n, l.unit, d.q,
  e.p AS equivalent, d.detectable
FROM (SELECT * FROM cut WHERE analysis = 'level') l
LEFT JOIN (SELECT * FROM cut WHERE analysis = 'distance') d USING (model, arm, metric)
LEFT JOIN (SELECT * FROM cut WHERE analysis = 'equivalence') e USING (model, arm, metric)
ORDER BY method, kind, measure""",
        {
            "method": Column("method"),
            "measure": Column("measure"),
            "kind": Column("kind"),
            "level": Column("mean", "number", digits=3),
            "estimate": Column("minus retrained [95%]", "interval", low="low", high="high"),
            "n": Column("n", "number", digits=0),
            "unit": Column("unit of n"),
            "q": Column("q (differs)", "p"),
            "equivalent": Column("p (equivalent)", "p"),
            "detectable": FINDS,
        },
    ),
    Table(
        "back-table",
        "How many updates until it is back?",
        "Updates of relearning until the facts that are taught again are half way from models that "
        "never knew to taught ones, read where the curves below are, and the difference from "
        "models that never knew: below 0 a method's models have it back sooner than it can be "
        "learned.",
        """SELECT replace(l.arm, '_', ' ') AS method, l.factor AS attack, l.estimate AS updates,
  l.low AS u_low, l.high AS u_high, l.note, d.estimate, d.low, d.high, d.p, d.detectable, l.n
FROM statistics l LEFT JOIN (SELECT * FROM statistics
  WHERE study = $study AND analysis = 'back' AND metric = 'minus retrained') d
  USING (arm, model, series, factor)
WHERE l.study = $study AND l.analysis = 'back' AND l.metric = 'updates'
ORDER BY try_cast(split_part(attack, ' ', 1) AS INTEGER), method""",
        {
            "method": Column("method"),
            "attack": Column("attack"),
            "updates": Column("updates [95%]", "interval", low="u_low", high="u_high", digits=1),
            "estimate": Column("minus retrained [95%]", "interval", low="low", high="high"),
            "p": Column("p", "p"),
            "detectable": FINDS,
            "n": Column("models", "number", digits=0),
            "note": Column("not back"),
        },
    ),
    Table(
        "relearning-table",
        "Relearning, update by update",
        "Probability of forgotten facts after some of them were taught again: of those shown, and "
        "of the others.",
        """SELECT replace(arm, '_', ' ') AS method, factor AS attack, step AS updates,
  metric AS facts, estimate, low, high, n, unit
FROM statistics WHERE study = $study AND analysis = 'relearning'
ORDER BY method, try_cast(split_part(attack, ' ', 1) AS INTEGER), facts DESC, updates""",
        {
            "method": Column("method"),
            "attack": Column("attack"),
            "facts": Column("facts"),
            "updates": Column("updates", "number", digits=0),
            "estimate": INTERVAL,
            "n": Column("models", "number", digits=0),
        },
    ),
]

#: Facts that the gallery shows, and as many texts: of the forget set, and of every other part.
_FORGOTTEN, _OTHERS = 8, 4
GALLERY = Gallery(
    "facts",
    "Look at the facts",
    f"Up to {_FORGOTTEN} facts that are to be forgotten and {_OTHERS} of every other part, and as "
    "many texts, picked whatever was said: what the first model of each arm answers to the "
    "question, or writes after the first half of a text. right: the answer has all words of the "
    "truth in their order (ROUGE-L recall of 1), whatever else it says: an answer that lists "
    "several, or repeats one, is right too; wrong: it has none of them. Text of models "
    "is untrusted and shown as text.",
    f"""WITH asked AS (
  SELECT item AS place, max(text) FILTER (metric = 'question') AS prompt,
    max(text) FILTER (metric = 'truth') AS truth
  FROM unlearning WHERE study = $study AND part = 'fact' GROUP BY ALL),
firsts AS (
  SELECT arm, min(run) AS run FROM unlearning WHERE study = $study GROUP BY arm),
said AS (
  SELECT o.part, o.part || '/' || o.item AS place, o.metric <> 'rouge_l' AS is_text, o.arm, o.text,
    o.value
  FROM unlearning o JOIN firsts USING (arm, run)
  WHERE o.study = $study AND o.requests = 0
    AND o.metric IN ('rouge_l', 'verbatim', 'verbatim_words')),
chosen AS (
  SELECT place FROM (SELECT DISTINCT part, place, is_text FROM said JOIN asked USING (place))
  QUALIFY row_number() OVER (PARTITION BY part, is_text ORDER BY md5(place))
    <= CASE part WHEN 'forget' THEN {_FORGOTTEN} ELSE {_OTHERS} END)
SELECT prompt, truth, text AS answer,
  CASE WHEN value = 1 THEN 'right' WHEN value = 0 THEN 'wrong'
    ELSE 'ROUGE-L ' || round(value, 2) END AS verdict,
  CASE part WHEN 'forget' THEN 'to be forgotten' WHEN 'neighbour' THEN 'a relative''s, must stay'
    WHEN 'holdout' THEN 'nobody was told' ELSE 'must stay' END AS arm,
  replace(arm, '_', ' ') AS model
FROM said JOIN asked USING (place) JOIN chosen USING (place)
ORDER BY part, place, said.arm""",
)
