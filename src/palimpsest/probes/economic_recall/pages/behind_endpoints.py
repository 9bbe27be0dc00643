"""What the page says of models behind endpoints."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from palimpsest.evidence.database import Database


def limitations(database: Database, study: str) -> list[str]:
    """What was left out of such models, or asked in another way."""
    return [
        f"{row['model']} answers behind an endpoint. Its weights and hidden states are out of "
        "reach, so nothing can be planted into it, it has no control with random weights, and "
        "the experiment on hidden states is left out. "
        + (
            "It gives no log-probabilities: choices were asked in words, there are no ranks, "
            "exposures or shares, and answers that name no choice count as wrong, so that "
            "accuracy without memory may lie below chance; the null (another date, another event) "
            "is asked in the same words."
            if row["endpoint"] == "words"
            else "Its log-probabilities are those that the server returns; alternatives are as "
            "long in characters, since their tokens are not known."
        )
        + " What the server does to a question before it is answered is not known."
        for row in _models(database, study)
    ]


def all_in_words(database: Database, study: str) -> bool:
    """Whether no model of the study gives log-probabilities."""
    frame = database.frame(
        "SELECT bool_and(coalesce(json_extract_string(parameters, '$.endpoint'), '') = 'words') "
        "AS words FROM cells WHERE study = ?",
        [study],
    )
    return bool(frame["words"][0])


def methods(database: Database, study: str) -> list[str]:
    """How such models were asked, and what it cost."""
    return [_asked(row) for row in _models(database, study)]


def _asked(row: dict[str, Any]) -> str:
    used = [json.loads(text) for text in row["usage"] or []]
    counts = ("requests", "tokens_in", "tokens_out", "usd", "cache_hits", "failed_tries")
    total = {key: sum(one[key] for one in used) for key in counts}
    names = sorted({name for one in used for name in one["served_as"]})
    text = f"{row['model']} was asked through its endpoint ({row['source']})"
    if row["endpoint"] == "words":
        text += (
            "; the alternatives of a forced choice stood in the question with letters, in random "
            "order, and the letter or the alternative that the answer names was taken"
        )
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


def _models(database: Database, study: str) -> list[dict[str, Any]]:
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
