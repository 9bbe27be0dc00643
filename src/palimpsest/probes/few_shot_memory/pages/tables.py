"""Tables and the gallery of the page."""

from __future__ import annotations

from palimpsest.reports.blocks import Block, Column, Gallery, Table

INTERVAL = Column("estimate [95%]", "interval", low="low", high="high")

TABLES: list[Block] = [
    Table(
        "learning-table",
        "All measures by exposures",
        "correct: forced choice by mean loss, as in the paper, whose floor is the model before "
        "study and not one half; correct drop: by how far the loss fell, which takes the floor "
        "out. never: pairs of which nothing was studied. Items are resampled.",
        """SELECT role, replace(series, '_', ' ') AS stimuli, arm, step AS exposures,
  replace(metric, '_', ' ') AS metric, factor, estimate, low, high, n, unit
FROM statistics WHERE study = $study AND analysis IN ('recognition', 'recall')
ORDER BY role DESC, stimuli, arm DESC, metric, exposures, factor""",
        {
            "role": Column("state"),
            "stimuli": Column("stimuli"),
            "arm": Column("arm"),
            "exposures": Column("exposures", "number", digits=0),
            "metric": Column("measure"),
            "estimate": INTERVAL,
            "n": Column("n", "number", digits=0),
            "unit": Column("unit"),
            "factor": Column("condition"),
        },
    ),
    Table(
        "forms-table",
        "In which form does memory fade?",
        "Akaike weights of five curves, fitted item by item by binomial likelihood; a trial is one "
        "foil of the list. A form is named only when items, the pooled curve and held-out trials "
        "agree: averaged exponentials look like a power law.",
        """SELECT role, replace(series, '_', ' ') AS stimuli,
  replace(arm, 'same', 'same type') AS overlay,
  metric AS form, estimate, n, note
FROM statistics WHERE study = $study AND analysis = 'form'
ORDER BY role DESC, stimuli, overlay, estimate DESC""",
        {
            "role": Column("state"),
            "stimuli": Column("stimuli"),
            "overlay": Column("new material"),
            "form": Column("form"),
            "estimate": Column("weight", "number", digits=2),
            "n": Column("items", "number", digits=0),
            "note": Column("verdict"),
        },
    ),
    Table(
        "fits-table",
        "Parameters of the form, savings, memorability",
        "Parameters of a form that was named, with bootstrap intervals over items; share of "
        "exposures that relearning saves; and what predicts how far an item's loss falls at one "
        "exposure.",
        """SELECT role, replace(series, '_', ' ') AS stimuli, arm AS overlay, metric, estimate,
  low, high, n, unit, note
FROM statistics WHERE study = $study AND analysis IN ('fit', 'savings', 'memorability')
ORDER BY analysis, role DESC, stimuli, metric""",
        {
            "role": Column("state"),
            "stimuli": Column("stimuli"),
            "overlay": Column("new material"),
            "metric": Column("quantity"),
            "estimate": INTERVAL,
            "n": Column("n", "number", digits=0),
            "unit": Column("unit"),
            "note": Column("remark"),
        },
    ),
    Table(
        "rates-table",
        "Which learning rate was chosen?",
        "Recognition of the validation pairs after one exposure at each rate that was tried, by "
        "list, and the rate that was chosen. The pairs are not part of what is tested.",
        """SELECT role, replace(stimuli, '_', ' ') AS stimuli, list, part AS tried,
  max(value) FILTER (metric = 'validation_recognition') AS recognised,
  max(value) FILTER (metric = 'validation_margin') AS margin,
  max(value) FILTER (metric = 'learning_rate') AS chosen
FROM few_shot_memory WHERE study = $study AND item = 'rate'
GROUP BY ALL ORDER BY role DESC, stimuli, list, tried""",
        {
            "role": Column("state"),
            "stimuli": Column("stimuli"),
            "list": Column("list", "number", digits=0),
            "tried": Column("rate"),
            "recognised": Column("recognised", "percent", digits=0),
            "margin": Column("margin (nats)", "number", digits=3),
            "chosen": Column("chosen rate", "number"),
        },
    ),
    Table(
        "paper-table",
        "The paper's own numbers",
        "Recognition of natural sentences by models of 125 million weights in the author's result "
        "files, with Wilson intervals for 600 pairs of each of four lists taken as independent. "
        "Full fine-tuning at learning rate 1e-4.",
        """SELECT metric AS model, factor AS condition, step AS exposures, estimate, low, high, n
FROM statistics WHERE study = $study AND analysis = 'paper' ORDER BY exposures, condition, model""",
        {
            "model": Column("model"),
            "condition": Column("condition"),
            "exposures": Column("exposures", "number", digits=0),
            "estimate": Column("recognised [95%]", "interval", low="low", high="high"),
            "n": Column("pairs", "number", digits=0),
        },
    ),
]

GALLERY = Gallery(
    "items",
    "Look at the items",
    "What the model wrote after the cue, at each test in which it wrote; best and worst remembered "
    "items of each list. Text of models is untrusted and shown as text.",
    """WITH scored AS (
  SELECT cell, item, avg(value) AS mean FROM few_shot_memory
  WHERE study = $study AND metric = 'rougeL' AND exposures > 0 GROUP BY ALL),
best AS (
  SELECT cell, item, row_number() OVER (PARTITION BY cell ORDER BY mean DESC, item) AS k,
    row_number() OVER (PARTITION BY cell ORDER BY mean, item) AS l
  FROM scored),
asked AS (
  SELECT cell, item, max(text) FILTER (metric = 'cue') AS prompt,
    max(text) FILTER (metric = 'truth') AS truth
  FROM few_shot_memory WHERE study = $study AND kind = 'fact' GROUP BY ALL)
SELECT a.prompt, a.truth, o.text AS answer,
  CASE WHEN o.value = 1 THEN 'exact' ELSE 'ROUGE-L ' || round(o.value, 2) END AS verdict,
  o.stimuli AS arm, o.role AS model,
  CASE WHEN o.phase = 'study' THEN o.exposures || ' exposures'
    ELSE o.delay || ' updates later' END AS step
FROM few_shot_memory o JOIN best USING (cell, item) JOIN asked a USING (cell, item)
WHERE o.study = $study AND o.metric = 'rougeL' AND (best.k <= 2 OR best.l <= 1)
ORDER BY o.stimuli, o.list, o.item, o.delay, o.exposures LIMIT 120""",
)
