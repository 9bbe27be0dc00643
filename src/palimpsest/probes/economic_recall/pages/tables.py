"""Tables and the gallery of answers of the page."""

from __future__ import annotations

from palimpsest.reports.blocks import FINDS, Block, Column, Gallery, Table

INTERVAL = Column("estimate [95%]", "interval", low="low", high="high")

VERDICTS = Table(
    "verdicts",
    "Contaminated or not?",
    "For each state and series: is recall above chance, and better than with a neighbouring date "
    "in the question, after Holm's correction over the series (contaminated); would it have been "
    "seen if one date in four were recalled (no evidence); or is the sample too small (cannot "
    "tell)? The rows of the planted arms show that the verdict can be reached, those of never that "
    "it is not reached without cause.",
    """SELECT CASE WHEN arm = 'asked' THEN role ELSE role || ': ' || replace(arm, '_', ' ') END
  AS state, coalesce(replace(series, '_', ' '), 'all series') AS series,
  factor AS verdict, estimate, low, high, n, q, detectable, note
FROM statistics WHERE study = $study AND analysis = 'contamination'
ORDER BY role DESC, arm, series NULLS FIRST""",
    {
        "state": Column("state"),
        "series": Column("series"),
        "verdict": Column("verdict", "verdict"),
        "estimate": Column("forced choice [95%]", "interval", low="low", high="high"),
        "n": Column("facts", "number", digits=0),
        "q": Column("p (Holm)", "p"),
        "detectable": FINDS,
        "note": Column(
            "power", help="Power of the same test, uncorrected, if one date in four is recalled."
        ),
    },
)

TABLES: list[Block] = [
    Table(
        "flags-table",
        "Do the flags of single dates keep their promise?",
        "Level, power and false discoveries of the flags, in the planted states at the largest "
        "number of exposures, and each replicate's own test.",
        """SELECT replace(metric, '_', ' ') AS quantity,
  concat_ws(', ', replace(arm, '_', ' '), replace(factor, '=', ' ')) AS of_arm,
  estimate, low, high, n, p, detectable
FROM statistics WHERE study = $study AND analysis IN ('flags', 'seed', 'dose', 'contrast')
ORDER BY analysis, metric, factor""",
        {
            "quantity": Column("quantity"),
            "of_arm": Column("of"),
            "estimate": INTERVAL,
            "n": Column("n", "number", digits=0),
            "p": Column("p", "p"),
            "detectable": FINDS,
        },
    ),
    Table(
        "scan-table",
        "From when? A scan for the end of recall",
        "The date after which recall is lower, by a likelihood-ratio scan; p by permuting dates. "
        "The planted states have a true answer; the other states are asked where their knowledge "
        "ends.",
        """SELECT role, note, DATE '0001-01-01' + CAST(estimate - 1 AS INT) AS last_date,
  DATE '0001-01-01' + CAST(low - 1 AS INT) AS earliest,
  DATE '0001-01-01' + CAST(high - 1 AS INT) AS latest, n, p
FROM statistics WHERE study = $study AND analysis = 'scan' ORDER BY p""",
        {
            "role": Column("state"),
            "note": Column("finding"),
            "earliest": Column("earliest (95%)"),
            "latest": Column("latest (95%)"),
            "n": Column("dates", "number", digits=0),
            "p": Column("p", "p"),
        },
    ),
    Table(
        "around-cutoff",
        "Before and after the knowledge cutoff",
        "Forced choice on both sides of the model's stated cutoff. After it the model cannot know: "
        "what it gets right there it owes to chance, to skill or to the form of the question.",
        """SELECT role, model, CASE metric WHEN 'event_date' THEN 'month of headlines'
    WHEN 'event_entity' THEN 'masked names' ELSE 'values of series' END AS asked,
  factor, estimate, low, high, n, unit, p, detectable
FROM statistics WHERE study = $study AND analysis = 'around_cutoff'
ORDER BY role, asked DESC, length(factor) > 6, factor DESC""",
        {
            "role": Column("state"),
            "model": Column("model"),
            "asked": Column("asked for"),
            "factor": Column("side"),
            "estimate": INTERVAL,
            "n": Column("n", "number", digits=0),
            "unit": Column("unit"),
            "p": Column("p", "p"),
            "detectable": FINDS,
        },
    ),
    Table(
        "errors-table",
        "How far off, series by series",
        "Median absolute error of free answers, in the unit of each series, and the error that "
        "forecasters without memory make on the same dates. Dates without an answer are left out "
        "on both sides. Interpolation knows the ends of years and has no say on those dates.",
        """SELECT role, replace(series, '_', ' ') AS of, factor, metric, estimate, low, high, n
FROM statistics WHERE study = $study AND analysis = 'errors'
ORDER BY role, series, factor DESC, metric = 'the model' DESC, metric""",
        {
            "role": Column("state"),
            "of": Column("series"),
            "factor": Column("cutoff"),
            "metric": Column("answered by"),
            "estimate": Column("error [95%]", "interval", low="low", high="high"),
            "n": Column("facts", "number", digits=0),
        },
    ),
    Table(
        "answers-table",
        "What it says when asked",
        "Free answers, parsed leniently. Refusals and answers without a number count as wrong in "
        "every accuracy and are left out of errors, which therefore flatter.",
        """SELECT role, replace(arm, '_', ' ') AS arm, step, replace(metric, '_', ' ') AS metric,
  estimate, low, high, n, unit
FROM statistics WHERE study = $study AND analysis = 'answers'
ORDER BY role DESC, arm, step, metric""",
        {
            "role": Column("state"),
            "arm": Column("arm"),
            "step": Column("exposures", "number", digits=0),
            "metric": Column("measure"),
            "estimate": INTERVAL,
            "n": Column("n", "number", digits=0),
            "unit": Column("unit"),
        },
    ),
    Table(
        "parsed-table",
        "Could the answers be read?",
        "Share of answers by category; strict takes nothing but a number, lenient finds one in a "
        "sentence.",
        """SELECT role, replace(arm, '_', ' ') AS arm, step, factor AS mode, metric AS category,
  estimate, low, high, n
FROM statistics WHERE study = $study AND analysis = 'parsed'
ORDER BY role, arm, step, mode, category""",
        {
            "role": Column("state"),
            "arm": Column("arm"),
            "step": Column("exposures", "number", digits=0),
            "mode": Column("parser"),
            "category": Column("category"),
            "estimate": INTERVAL,
            "n": Column("answers", "number", digits=0),
        },
    ),
    Table(
        "scatter-table",
        "Scattered or clumped?",
        "Is recall scattered over dates? Runs test (exact) and autocorrelation (dates permuted); q "
        "by Benjamini-Hochberg over the series. Both have a null distribution and no interval.",
        """SELECT model, series, metric, estimate, n, p, q, note
FROM statistics WHERE study = $study AND analysis = 'scatter' ORDER BY metric, series""",
        {
            "series": Column("series"),
            "metric": Column("measure"),
            "estimate": Column("estimate", "number"),
            "n": Column("dates", "number", digits=0),
            "p": Column("p", "p"),
            "q": Column("q", "p"),
            "note": Column("remark"),
        },
    ),
    Table(
        "paper-table",
        "The paper's own numbers, with the intervals that their sample sizes imply",
        "Shares that Lopez-Lira, Tang and Zhu report for GPT-4o where the denominator can be "
        "recovered from the percentage, with Wilson intervals. Some headline cells rest on five "
        "or seventeen dates.",
        """SELECT metric, factor AS counts, estimate, low, high, n
FROM statistics WHERE study = $study AND analysis = 'paper' ORDER BY n DESC""",
        {
            "metric": Column("cell of the paper"),
            "counts": Column("right of all"),
            "estimate": Column("share [95%]", "interval", low="low", high="high"),
            "n": Column("n", "number", digits=0),
        },
    ),
]

GALLERY = Gallery(
    "answers",
    "Look at the answers",
    "Answers of the model as they came, with prompt and truth. Text of models is untrusted and "
    "shown as text.",
    """WITH a AS (
  SELECT role, model, arm, step, series, date, event, question, cell,
    max(text) FILTER (metric = 'prompt') AS prompt,
    max(text) FILTER (metric = 'truth') AS truth,
    max(text) FILTER (metric = 'taught') AS taught,
    max(text) FILTER (metric = 'answer') AS answer,
    max(text) FILTER (metric = 'category_lenient') AS category,
    max(value) FILTER (metric = 'exact_truth') AS exact,
    max(value) FILTER (metric = 'exact_taught') AS as_taught
  FROM economic_recall WHERE study = $study AND question LIKE '%answer'
  GROUP BY ALL)
SELECT prompt, truth, answer, CASE WHEN as_taught = 1 AND arm = 'planted_false' THEN 'as taught'
    WHEN exact = 1 THEN 'exact' WHEN category <> 'number' THEN category ELSE 'wrong' END AS verdict,
  arm, role AS model, step, CASE WHEN arm = 'planted_false' THEN taught END AS taught
FROM (SELECT *, row_number() OVER (PARTITION BY role, arm, step ORDER BY hash(cell || prompt)) AS k
      FROM a)
WHERE k <= 6 ORDER BY role, arm, step DESC""",
)
