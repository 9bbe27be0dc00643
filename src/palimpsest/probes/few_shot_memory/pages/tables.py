"""Tables and the gallery of the page."""

from __future__ import annotations

from palimpsest.probes.few_shot_memory.settings import Settings
from palimpsest.reports.blocks import FINDS, Block, Column, Gallery, Table

INTERVAL = Column("estimate [95%]", "interval", low="low", high="high")
#: Validation pairs where the settings do not say how many.
_PAIRS = Settings.model_fields["validation"].default

TABLES: list[Block] = [
    Table(
        "learning-table",
        "All measures by exposures",
        "correct: forced choice by mean loss, as in the paper, whose floor is the model before "
        "study and not one half; correct sum: the same by summed loss, which favours the shorter "
        "text; correct drop: by how far the loss fell, which takes the floor "
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
        "foil of the list (recognition) or one token behind the cue (recall). A form is named only "
        "when items, the pooled curve and held-out trials agree: averaged exponentials look like a "
        "power law.",
        """SELECT role, replace(series, '_', ' ') AS stimuli,
  split_part(factor, ',', 1) AS memory, replace(arm, 'same', 'same type') AS overlay,
  metric AS form, estimate, n, note
FROM statistics WHERE study = $study AND analysis = 'form'
ORDER BY role DESC, stimuli, memory DESC, overlay, estimate DESC""",
        {
            "role": Column("state"),
            "stimuli": Column("stimuli"),
            "memory": Column("memory"),
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
        "exposures that relearning saves; and what predicts how far an item's loss falls.",
        """SELECT role, replace(series, '_', ' ') AS stimuli, arm AS overlay,
  CASE analysis WHEN 'fit' THEN split_part(factor, ',', 1) || ', ' ELSE '' END || metric AS metric,
  estimate, low, high, n, unit, CASE WHEN analysis <> 'fit' THEN detectable END AS detectable, note
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
            "detectable": FINDS,
            "note": Column("remark"),
        },
    ),
    Table(
        "rates-table",
        "Which learning rate was chosen?",
        "Recognition of the validation pairs and loss of their studied items at each rate that was "
        "tried, each the mean of the tests after one exposure and after the last (three at most), "
        "by list, and the rate that was chosen: best recognition, then lowest loss. The pairs are "
        "not part of what is tested. There is no interval: the run keeps the mean over the pairs.",
        f"""SELECT role, replace(stimuli, '_', ' ') AS stimuli, list, part AS tried,
  max(value) FILTER (metric = 'validation_recognition') AS recognised,
  max(value) FILTER (metric = 'validation_loss') AS loss,
  max(value) FILTER (metric = 'learning_rate') AS chosen,
  coalesce((SELECT max(CAST(json_extract_string(settings, '$.validation') AS INT))
    FROM provenance WHERE study = $study AND rule = 'probe'), {_PAIRS}) AS n
FROM few_shot_memory WHERE study = $study AND item = 'rate'
GROUP BY ALL ORDER BY role DESC, stimuli, list, tried""",
        {
            "role": Column("state"),
            "stimuli": Column("stimuli"),
            "list": Column("list", "number", digits=0),
            "tried": Column("rate"),
            "recognised": Column("recognised", "percent", digits=0),
            "loss": Column("loss (nats a token)", "number", digits=2),
            "chosen": Column("chosen rate", "number"),
            "n": Column("pairs", "number", digits=0),
        },
    ),
    Table(
        "paper-table",
        "Beside the paper's own numbers",
        "Recognition by models of 125 million weights in the author's result files (four lists of "
        "600 pairs, full fine-tuning), and ours in the same conditions where this run has them. "
        "Floor: our model before study. Where this run trained in no such condition, the paper's "
        "natural sentences stand alone.",
        """WITH ours AS (
  SELECT model, series, step, regexp_extract(factor, 'batch .*', 0) AS factor,
    estimate, low, high, n
  FROM statistics WHERE study = $study AND analysis = 'recognition' AND metric = 'correct'
    AND arm = 'studied' AND factor LIKE 'full, adamw, %' AND factor NOT LIKE '%chosen rate'),
published AS (
  SELECT series, step, factor, min(estimate) AS least, max(estimate) AS most, count(*) AS models
  FROM statistics WHERE study = $study AND analysis = 'paper' GROUP BY ALL)
SELECT replace(p.series, '_', ' ') AS stimuli, p.factor AS condition, p.step AS exposures,
  CASE WHEN p.models = 1 THEN printf('%.3f', p.least)
    ELSE printf('%.3f to %.3f', p.least, p.most) END AS published,
  o.model, o.estimate, o.low, o.high, floor.estimate AS floor,
  floor.low AS floor_low, floor.high AS floor_high, o.n
FROM published p LEFT JOIN ours o USING (series, step, factor)
LEFT JOIN ours floor
  ON floor.model = o.model AND floor.series = p.series AND floor.factor = p.factor
  AND floor.step = 0
WHERE o.model IS NOT NULL OR (p.series = 'natural' AND NOT EXISTS (FROM ours WHERE step > 0))
ORDER BY stimuli, exposures, condition, o.model""",
        {
            "stimuli": Column("stimuli"),
            "condition": Column("condition"),
            "exposures": Column("exposures", "number", digits=0),
            "published": Column("published"),
            "model": Column("our model"),
            "estimate": Column("recognised [95%]", "interval", low="low", high="high"),
            "floor": Column("floor [95%]", "interval", low="floor_low", high="floor_high"),
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
