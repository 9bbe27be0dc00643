"""What pages say of models behind endpoints: how they were asked, and what it cost."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from palimpsest.evidence.database import Database


def all_in_words(database: Database, study: str) -> bool:
    """Whether no model of the study gives log-probabilities."""
    frame = database.frame(
        "SELECT bool_and(coalesce(json_extract_string(parameters, '$.endpoint'), '') = 'words') "
        "AS words FROM cells WHERE study = ?",
        [study],
    )
    return bool(frame["words"][0])


def methods(database: Database, study: str, in_words: str) -> list[str]:
    """One paragraph for each model behind an endpoint: its server, and what it cost.

    Args:
        database: the evidence.
        study: name of the study.
        in_words: how models that give no log-probabilities were asked, a part of a sentence.
    """
    return [_asked(row, in_words) for row in models(database, study)]


def _asked(row: dict[str, Any], in_words: str) -> str:
    used = [json.loads(text) for text in row["usage"] or []]
    counts = ("requests", "tokens_in", "tokens_out", "usd", "cache_hits", "failed_tries")
    total = {key: sum(one[key] for one in used) for key in counts}
    names = sorted({name for one in used for name in one["served_as"]})
    text = f"{row['model']} was asked through its endpoint ({row['source']})"
    if row["endpoint"] == "words":
        text += f"; {in_words}"
    if names:
        text += f"; the server calls it {' and '.join(names)}"
    if used:
        spent = max(one["usd_so_far"] for one in used)
        text += (
            f". The jobs of this run sent {total['requests']:,} requests "
            f"({total['tokens_in']:,} tokens in, {total['tokens_out']:,} out, "
            f"{total['usd']:.4f} USD at the stated prices), took {total['cache_hits']:,} replies "
            f"from the cache and tried {total['failed_tries']:,} times again; all runs together "
            f"have cost {spent:.4f} USD"
        )
    return f"{text}."


def models(database: Database, study: str) -> list[dict[str, Any]]:
    """Models of a study that are behind endpoints: model, endpoint (what their cells name as
    such: ``words`` or ``log_likelihoods``), source, and usage, a list of JSON, one a job."""
    return database.frame(
        """
        WITH asked AS (
          SELECT model, any_value(json_extract_string(parameters, '$.endpoint')) AS endpoint,
            list(DISTINCT state) AS states
          FROM cells WHERE study = $study AND json_extract_string(parameters, '$.endpoint') <> ''
          GROUP BY model)
        SELECT a.model, a.endpoint, any_value(m.source) AS source,
          list(p.usage) FILTER (p.usage IS NOT NULL) AS usage
        FROM asked a LEFT JOIN models m ON m.model = a.model
          LEFT JOIN provenance p ON p.study = $study AND list_contains(a.states, p.state)
        GROUP BY a.model, a.endpoint ORDER BY a.model
        """,
        {"study": study},
    ).to_dicts()
