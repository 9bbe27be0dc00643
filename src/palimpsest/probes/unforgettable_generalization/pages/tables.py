"""Tables of the page, and the gallery of items."""

from __future__ import annotations

from palimpsest.reports.blocks import FINDS, Block, Column, Gallery, Table

INTERVAL = Column("estimate [95%]", "interval", low="low", high="high", digits=2)


def _interval(header: str, name: str, digits: int) -> Column:
    """A column of an estimate whose ends are called after it."""
    ends = {"low": f"{name}_low", "high": f"{name}_high"}
    return Column(f"{header} [95%]", "interval", digits=digits, **ends)


def _wide(by: str, **chosen: str) -> str:
    """SQL of a column for each name, the estimate where ``by`` is the value, and of both ends."""
    return ",\n  ".join(
        f"max({number}) FILTER ({by} = '{value}') AS \"{name}{end}\""
        for name, value in chosen.items()
        for number, end in (("estimate", ""), ("low", "_low"), ("high", "_high"))
    )


#: Columns of the table of courses: their names are those of the metrics.
_COURSE = {
    "passes": _interval("passes", "passes", 1),
    "updates": _interval("updates", "updates", 0),
    "ended": _interval("ended", "ended", 2),
    "entropy": _interval("entropy", "entropy", 2),
    "right": _interval("right", "right", 2),
    "agreed": _interval("as shown", "agreed", 2),
}
_TASKS = {"before": "right_before", "after": "right", "ratio": "ratio", "entropy": "entropy",
          "flip": "flip"}  # fmt: skip

TABLES: list[Block] = [
    Table(
        "tasks-table",
        "Task by task",
        "Every arm, trained and unseen items: accuracy before and after, forget ratio (nothing "
        "where the task was not learned above chance), entropy of the answers as a share of the "
        "largest, share of answers that changed, largest share of one answer, and what the answers "
        "are: kept (above chance), random (near chance, spread), collapsed (near chance by one "
        "answer), reversed (below chance). The largest share of one answer has no interval: "
        "resampling moves a maximum upwards.",
        f"""WITH own AS (
  SELECT * FROM statistics WHERE study = $study AND metric IN ('train', 'unseen')),
wide AS (
  SELECT role, model, arm, factor, series, metric,
    {_wide("analysis", **_TASKS)},
    max(estimate) FILTER (analysis = 'label bias') AS bias,
    max(note) FILTER (analysis = 'label bias') AS looks,
    max(n) FILTER (analysis = 'right') AS n
  FROM own GROUP BY ALL)
SELECT replace(series, '_', ' ') AS task, role,
  replace(arm, '_', ' ') || coalesce(', ' || replace(factor, '_', ' '), '') AS arm,
  metric AS items, * EXCLUDE (series, role, arm, factor, metric, model)
FROM wide ORDER BY role, task, arm DESC, items""",
        {
            "task": Column("task"),
            "role": Column("state"),
            "arm": Column("arm"),
            "items": Column("items"),
            "before": _interval("right before", "before", 2),
            "after": _interval("right after", "after", 2),
            "ratio": _interval("forget ratio", "ratio", 2),
            "entropy": _interval("entropy", "entropy", 2),
            "flip": _interval("changed", "flip", 2),
            "bias": Column("one answer", "percent", digits=0),
            "looks": Column("answers are"),
            "n": Column("n", "number", digits=0),
        },
    ),
    Table(
        "generalisation-table",
        "Generalisation of forgetting",
        "Forget ratio of unseen items over that of trained ones, bounded to 0 and 1; none where it "
        "is not clear that trained items were forgotten.",
        """SELECT replace(series, '_', ' ') AS task, role, replace(factor, '_', ' ') AS labels,
  estimate, low, high, n, unit, note
FROM statistics WHERE study = $study AND analysis = 'generalisation'
ORDER BY role, labels, estimate DESC NULLS LAST""",
        {
            "task": Column("task"),
            "role": Column("state"),
            "labels": Column("labels"),
            "estimate": INTERVAL,
            "n": Column("n", "number", digits=0),
            "unit": Column("of"),
            "note": Column("remark"),
        },
    ),
    Table(
        "course-table",
        "How forgetting went",
        "Passes over the training items with random labels; ended: share of "
        "runs whose answers became uninformative before the last pass allowed; then after the last "
        "pass entropy, accuracy by true labels and agreement with the random ones. Means and "
        "intervals over replicates.",
        f"""SELECT replace(series, '_', ' ') AS task, role, model,
  replace(factor, '_', ' ') AS labels,
  {_wide("metric", **{name: name for name in _COURSE})}, max(n) AS n
FROM statistics WHERE study = $study AND analysis = 'course'
GROUP BY ALL ORDER BY role, model, task, labels""",
        {
            "task": Column("task"),
            "role": Column("state"),
            "labels": Column("labels"),
            **_COURSE,
            "n": Column("replicates", "number", digits=0),
        },
    ),
    Table(
        "predictors-table",
        "What predicts it?",
        "Spearman's rank correlation over tasks of what was known before forgetting with the "
        "forget ratio of unseen items; p by permutation; predicted: share of the variance of a "
        "task's ratio predicted from all other tasks (negative: worse than their mean). Measures "
        "of hidden states are of the last layer where none is named; with ten tasks or more there "
        "is one regression on loss, confidence and variance too. family: intraclass correlation, "
        "where two tasks are of one family. Predictions share the tasks that they are made from, "
        "so that their share of the variance has a p but no interval.",
        """SELECT metric AS predictor, rho.estimate, rho.low, rho.high, rho.n, rho.p, rho.note,
  out.estimate AS predicted, out.p AS p_predicted
FROM (SELECT * FROM statistics WHERE study = $study AND analysis = 'predictor') rho
FULL JOIN (SELECT * FROM statistics WHERE study = $study AND analysis = 'left out') out
  USING (metric)
UNION ALL SELECT 'family, ' || metric, estimate, low, high, n, p, note, NULL, NULL
FROM statistics WHERE study = $study AND analysis = 'family'
ORDER BY predictor""",
        {
            "predictor": Column("predictor"),
            "estimate": Column("rho [95%]", "interval", low="low", high="high", digits=2),
            "n": Column("tasks", "number", digits=0),
            "p": Column("p", "p"),
            "predicted": Column("predicted", "number", digits=2),
            "p_predicted": Column("p (predicted)", "p"),
            "note": Column("power"),
        },
    ),
    Table(
        "transfer-table",
        "Transfer, pair by pair",
        "Forget ratio of a task after another one was forgotten, unseen items.",
        """SELECT replace(series, '_', ' ') AS forgotten, replace(metric, '_', ' ') AS asked, role,
  replace(factor, '_', ' ') AS labels, estimate, low, high, n
FROM statistics WHERE study = $study AND analysis = 'transfer' AND series <> metric
  AND estimate IS NOT NULL
ORDER BY estimate DESC""",
        {
            "forgotten": Column("forgotten"),
            "asked": Column("asked"),
            "role": Column("state"),
            "labels": Column("labels"),
            "estimate": INTERVAL,
            "n": Column("n", "number", digits=0),
        },
    ),
    Table(
        "likeness-table",
        "Does likeness explain transfer?",
        "Correlation of the matrix of transfer with each likeness of tasks (Mantel), and the "
        "coefficients of one regression on all (MRQAP, double semi-partialling); p by permutation "
        "of tasks. prompts and choices: Jaccard indices of words and of choices; states: cosine of "
        "mean hidden states. Pairs share their tasks: permutation gives a p, and no interval.",
        """SELECT analysis AS test, metric AS likeness, estimate, n, p
FROM statistics WHERE study = $study AND analysis IN ('mantel', 'mrqap')
ORDER BY analysis, metric""",
        {
            "test": Column("test"),
            "likeness": Column("likeness"),
            "estimate": Column("estimate", "number", digits=2),
            "n": Column("tasks", "number", digits=0),
            "p": Column("p", "p"),
        },
    ),
    Table(
        "depth-table",
        "What linear probes keep",
        "Accuracy of the linear probe after minus before, on the same unseen items, in the layer "
        "that is best over both.",
        """SELECT replace(series, '_', ' ') AS task, replace(arm, '_', ' ') AS arm, estimate, low,
  high, n, p, detectable
FROM statistics WHERE study = $study AND analysis = 'probe kept' ORDER BY arm DESC, task""",
        {
            "task": Column("task"),
            "arm": Column("arm"),
            "estimate": INTERVAL,
            "n": Column("n", "number", digits=0),
            "p": Column("p", "p"),
            "detectable": FINDS,
        },
    ),
]

GALLERY = Gallery(
    "items",
    "Look at the items",
    "Trained, neighbouring and unseen items of every task, and what the model chose before and "
    "after forgetting, first replicate.",
    """WITH asked AS (
  SELECT role, replicate, item, task, grp,
    max(text) FILTER (metric = 'prompt') AS prompt, max(text) FILTER (metric = 'truth') AS truth,
    max(text) FILTER (metric = 'chosen') AS before
  FROM unforgettable_generalization WHERE study = $study AND arm = 'before' GROUP BY ALL),
after AS (
  SELECT role, replicate, item, task, mode,
    max(text) FILTER (metric = 'chosen') AS chosen, max(value) FILTER (metric = 'right') AS "right"
  FROM unforgettable_generalization WHERE study = $study AND arm = 'forget' GROUP BY ALL),
numbered AS (
  SELECT *, row_number() OVER (PARTITION BY role, task, grp ORDER BY item) AS place
  FROM asked JOIN after USING (role, replicate, item, task)
  WHERE replicate = (SELECT min(replicate) FROM asked) AND grp IN ('train', 'near', 'test',
    'template', 'topic'))
SELECT prompt, truth, chosen || ' (before: ' || before || ')' AS answer,
  CASE WHEN "right" = 1 THEN 'right' ELSE 'wrong' END AS verdict,
  replace(task, '_', ' ') || ', ' || CASE grp WHEN 'train' THEN 'trained' WHEN 'template' THEN
    'new wording' WHEN 'topic' THEN 'new topic' WHEN 'test' THEN 'same wording' ELSE grp END AS arm,
  role AS model
FROM numbered WHERE place <= 3 ORDER BY role, task, grp, item LIMIT 240""",
)
