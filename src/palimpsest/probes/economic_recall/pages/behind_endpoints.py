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
            "It gives no log-probabilities of texts: choices were asked in words, there are no "
            "ranks, exposures or shares, and answers that name no choice count as wrong, so that "
            "accuracy without memory may lie below chance; the null (another date, another event) "
            "is asked in the same words." + _letters(database, study, row["model"])
            if row["endpoint"] == "words"
            else "Its log-probabilities are those that the server returns; alternatives are as "
            "long in characters, since their tokens are not known."
        )
        + " What the server does to a question before it is answered is not known."
        for row in behind_endpoints.models(database, study)
    ]


def _letters(database: Database, study: str, model: str) -> str:
    """Where the server gives the probabilities of letters: how often all, and what they say."""
    found = {
        row["metric"]: row
        for row in database.frame(
            "SELECT metric, sum(estimate * n) / sum(n) AS mean FROM statistics "
            "WHERE study = ? AND analysis = 'letters' AND model = ? GROUP BY metric",
            [study, model],
        ).to_dicts()
    }
    if not found:
        return ""
    text = (
        " The probabilities of the letters as the first token of each answer were read too; all of "
        f"them were in the server's list in {found['all_listed']['mean']:.0%} of answers, and a "
        "letter that was not counts as impossible"
    )
    if "share_letter" in found:
        mean = found["share_letter"]["mean"]
        text += f". The right letter has {mean:.0%} of the probability of those listed"
    return f"{text}."
