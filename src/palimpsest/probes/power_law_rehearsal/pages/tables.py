"""Tables of the page."""

from __future__ import annotations

from palimpsest.reports.blocks import FINDS, Block, Column, Table

INTERVAL = Column("estimate [95%]", "interval", low="low", high="high")

TABLES: list[Block] = [
    Table(
        "environments-table",
        "Which environments are comparable?",
        "Of every environment in which something returns: rehearsed examples for each new one, "
        "expected age of what returns, and the share of the oldest task, each averaged over the "
        "stream. Two environments that differ in all three differ in more than their law; "
        "those matched in one are the fair pair. Goodness of fit: drawn ages against the law.",
        """WITH quantities AS (
  SELECT arm, factor, max(note) AS law,
    max(estimate) FILTER (metric = 'total') AS total,
    max(estimate) FILTER (metric = 'mean_lag') AS mean_lag,
    max(estimate) FILTER (metric = 'oldest_share') AS oldest
  FROM statistics WHERE study = $study AND analysis = 'environment' GROUP BY ALL),
draws AS (
  SELECT arm, regexp_extract(factor, '^[0-9]+ tasks') AS factor, max(n) AS n, min(p) AS p
  FROM statistics WHERE study = $study AND analysis = 'drawn' GROUP BY ALL)
SELECT replace(arm, '_', ' ') AS condition, factor, law, total, mean_lag, oldest, n, p
FROM quantities LEFT JOIN draws USING (arm, factor) ORDER BY factor, mean_lag""",
        {
            "condition": Column("condition"),
            "factor": Column("stream"),
            "law": Column("odds of returning", "code"),
            "total": Column("rehearsed a new one", "number", digits=2),
            "mean_lag": Column("mean age", "number", digits=2),
            "oldest": Column("oldest task's share", "percent", digits=1),
            "n": Column("drawn", "number", digits=0),
            "p": Column("p (goodness of fit)", "p"),
        },
    ),
    Table(
        "levels-table",
        "All measures by condition",
        "Means over seeds. Forgetting and intransigence are positive where something is lost, "
        "transfer where something is gained; forgetting by the best accuracy (max) and by that "
        "just after learning (first). min accuracy: mean over traced old tasks of the lowest ever; "
        "windowed forgetting and plasticity: largest fall and rise within so many updates; gap: "
        "depth of the fall after a switch, what of it came back and what did not. share trained "
        "and sensitivity: of strategies that train parts of a network, the share in the last task "
        "and how much more a layer moves after a switch than later.",
        """SELECT series || ', ' || factor AS stream, replace(arm, '_', ' ') AS condition,
  replace(metric, '_', ' ') AS metric, estimate, low, high, n, unit
FROM statistics WHERE study = $study AND analysis = 'level'
ORDER BY series IN ('identical', 'shuffled'), stream, metric, estimate DESC""",
        {
            "condition": Column("condition"),
            "metric": Column("measure"),
            "estimate": INTERVAL,
            "n": Column("n", "number", digits=0),
            "unit": Column("unit"),
            "stream": Column("stream"),
        },
    ),
    Table(
        "contrasts-table",
        "The reference against each condition",
        "Differences paired by seed; q: p after Holm's correction over the conditions of a stream.",
        """SELECT series || ', ' || factor AS stream, replace(arm, '_', ' ') AS contrast,
  replace(metric, '_', ' ') AS metric, estimate, low, high, n, p, q, detectable
FROM statistics WHERE study = $study AND analysis = 'contrast'
ORDER BY series IN ('identical', 'shuffled'), stream, metric, estimate DESC""",
        {
            "contrast": Column("contrast"),
            "metric": Column("measure"),
            "estimate": INTERVAL,
            "n": Column("seeds", "number", digits=0),
            "p": Column("p", "p"),
            "q": Column("q", "p"),
            "detectable": FINDS,
            "stream": Column("stream"),
        },
    ),
    Table(
        "facilitation-table",
        "Is what comes later learned faster?",
        "Second half of the tasks against the first: difference of the accuracy over the first "
        "updates, and ratio of the numbers of new examples seen before the criterion, which below "
        "1 is facilitation. recovered: what came back of the fall after a switch, above the same "
        "in a stream of identical tasks.",
        """SELECT series || ', ' || factor AS stream, replace(arm, '_', ' ') AS condition, metric,
  estimate, low, high, n, unit, detectable
FROM statistics WHERE study = $study
  AND (analysis = 'facilitation' OR (analysis = 'gap' AND metric LIKE 'recovered%'))
ORDER BY metric, series IN ('identical', 'shuffled'), stream, estimate DESC""",
        {
            "condition": Column("condition"),
            "metric": Column("measure"),
            "estimate": INTERVAL,
            "n": Column("n", "number", digits=0),
            "unit": Column("unit"),
            "detectable": FINDS,
            "stream": Column("stream"),
        },
    ),
    Table(
        "forms-table",
        "In which form does a task fade with age?",
        "Akaike weights of five curves of accuracy against age at the end of the stream, fitted "
        "network by network by binomial likelihood above guessing, and the parameters of the curve "
        "that is drawn. A form is named only where networks, the pooled curve and held-out trials "
        "agree.",
        """SELECT series || ', ' || factor AS stream, replace(arm, '_', ' ') AS condition,
  CASE analysis WHEN 'form' THEN 'weight' ELSE 'parameter' END AS kind, metric,
  estimate, low, high, n, note
FROM statistics WHERE study = $study AND analysis IN ('form', 'retention_fit')
  AND (analysis <> 'form' OR estimate > 0.01)
ORDER BY series IN ('identical', 'shuffled'), stream, condition, kind DESC, estimate DESC""",
        {
            "condition": Column("condition"),
            "kind": Column("of"),
            "metric": Column("form"),
            "estimate": Column("value [95%]", "interval", low="low", high="high"),
            "n": Column("networks", "number", digits=0),
            "note": Column("verdict"),
            "stream": Column("stream"),
        },
    ),
    Table(
        "targets-table",
        "Beside published figures",
        "Where a condition has the stream and the strategy of a published figure: ours, and "
        "whether it lies within the tolerance. Where ours was learned from the 5,000 digits of a "
        "package, an allowance of 0.05 below is made. config/continual_targets.yaml has the "
        "published settings.",
        """SELECT series || ', ' || factor AS stream, replace(arm, '_', ' ') AS condition,
  replace(metric, '_', ' ') AS metric, estimate, low, high, n, note
FROM statistics WHERE study = $study AND analysis = 'target' ORDER BY stream, condition""",
        {
            "condition": Column("condition"),
            "metric": Column("measure"),
            "estimate": INTERVAL,
            "n": Column("networks", "number", digits=0),
            "note": Column("published"),
            "stream": Column("stream"),
        },
    ),
]
