"""What the page says of models behind endpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from palimpsest.reports import behind_endpoints

if TYPE_CHECKING:
    from palimpsest.evidence.database import Database

#: How choices are put where a server gives no log-probabilities.
IN_WORDS = (
    "the alternatives of a forced choice stood in the question with letters, in random order, and "
    "the letter or the alternative that the answer names was taken"
)


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
        for row in behind_endpoints.models(database, study)
    ]
