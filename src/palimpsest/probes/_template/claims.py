"""The view and the claims of the template probe, fixed before any run."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import polars as pl

from palimpsest.statistics.claims import Claim, judged
from palimpsest.statistics.comparisons import paired_difference
from palimpsest.statistics.headlines import Headline
from palimpsest.statistics.rows import row

if TYPE_CHECKING:
    import duckdb

    from palimpsest.probes._template.settings import Settings

#: One row an observation, with the parts of the item by name.
VIEW = """
SELECT c.study, c.role, c.model, c.state, c.seed, c.step,
  split_part(o.item, '/', 1) AS sentence, o.grp, o.metric, o.value, o.text, o.cell
FROM observations o JOIN cells c USING (study, cell)
WHERE c.probe = '_template' AND c.status = 'done'
"""

QUERY = """
SELECT role, model, state, step, sentence,
  avg(value) FILTER (grp = 'ordered') AS ordered, avg(value) FILTER (grp = 'shuffled') AS shuffled
FROM "_template" WHERE study = ? AND metric = 'log_p' GROUP BY ALL ORDER BY ALL
"""


CLAIMS = (
    Claim(
        "order_counts",
        "design of this study",
        "Sentences are likelier than the same words in random order.",
        "above",
        0.0,
        "mean log-probability a token, ordered minus shuffled",
    ),
)

#: What the overview shows of a state.
HEADLINES = (Headline("{metric}", {"analysis": "order"}),)


def analyse(
    connection: duckdb.DuckDBPyConnection, settings: Settings, study: str
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of the tables ``statistics`` and ``claims``; the unit is the sentence."""
    frame = pl.from_arrow(connection.sql(QUERY, params=[study]).to_arrow_table())
    statistics, evidence = [], {}
    for (role, model, step), part in frame.group_by(["role", "model", "step"], maintain_order=True):
        estimate = paired_difference(
            part["ordered"].to_numpy(),
            part["shuffled"].to_numpy(),
            part["sentence"].to_numpy(),
            unit="sentences",
        )
        where = {"role": role, "model": model, "step": step}
        statistics.append(row("order", "ordered - shuffled (nats a token)", estimate, **where))
        # The first state decides.
        evidence.setdefault("order_counts", replace(estimate, note=role))
    return statistics, judged(CLAIMS, evidence)
