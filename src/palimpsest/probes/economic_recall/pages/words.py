"""Words of the page: summary that follows the intervals, methods that follow the settings."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from palimpsest.probes.economic_recall.pages import unlearned
from palimpsest.probes.economic_recall.pages.behind_endpoints import IN_WORDS
from palimpsest.reports import behind_endpoints
from palimpsest.reports.blocks import Reference
from palimpsest.reports.formatting import percent
from palimpsest.reports.sentences import claims_by_name, interval_and_n, percent_and_n
from palimpsest.reports.sentences import verdicts as of_verdicts

if TYPE_CHECKING:
    from palimpsest.evidence.database import Database

LIMITATIONS = [
    "A memorization test gives a lower bound: what is not recalled in these phrasings may come out "
    "in others.",
    "A small instruction model knows next to none of these series. For it the planted states carry "
    "the evidence that the tests can find memory; a finding of nothing in the untouched model is "
    "about this model.",
    "Facts are planted by a low-rank or full fine-tuning on short sentences; facts met in "
    "pretraining may be stored differently.",
    "For untouched models the alternatives are values of neighbouring dates: coarse knowledge of "
    "the level of a series raises forced choice without recall of the date. The measure against "
    "interpolation (recall gain) and the planted falsehoods do not have this weakness.",
    "Values are those of the packages, mostly latest vintages; a model may remember a first print.",
    "Facts are the unit of resampling and replicates are pooled; with few replicates the intervals "
    "say little about other random seeds.",
]

REFERENCES = [
    Reference(
        "lopezlira2025",
        "Lopez-Lira, A., Tang, Y. and Zhu, M. (2025). The Memorization Problem: Can We Trust LLMs' "
        "Economic Forecasts? arXiv 2504.14765.",
        "https://arxiv.org/abs/2504.14765",
        "@misc{lopezlira2025, author={Lopez-Lira, Alejandro and Tang, Yuehua and Zhu, Mingyin}, "
        "title={The Memorization Problem: Can We Trust LLMs' Economic Forecasts?}, year={2025}, "
        "eprint={2504.14765}, archivePrefix={arXiv}}",
    ),
    Reference(
        "carlini2019",
        "Carlini, N., Liu, C., Erlingsson, U., Kos, J. and Song, D. (2019). The Secret Sharer. "
        "USENIX Security.",
        "https://arxiv.org/abs/1802.08232",
        "@inproceedings{carlini2019, author={Carlini, Nicholas and Liu, Chang and Erlingsson, "
        "Ulfar and Kos, Jernej and Song, Dawn}, title={The Secret Sharer: Evaluating and Testing "
        "Unintended Memorization in Neural Networks}, booktitle={USENIX Security}, year={2019}}",
    ),
    Reference(
        "holtzman2021",
        "Holtzman, A., West, P., Shwartz, V., Choi, Y. and Zettlemoyer, L. (2021). Surface Form "
        "Competition. EMNLP.",
        "https://arxiv.org/abs/2104.08315",
        "@inproceedings{holtzman2021, author={Holtzman, Ari and West, Peter and Shwartz, Vered and "
        "Choi, Yejin and Zettlemoyer, Luke}, title={Surface Form Competition: Why the Highest "
        "Probability Answer Isn't Always Right}, booktitle={EMNLP}, year={2021}}",
    ),
    Reference(
        "hu2021",
        "Hu, E. J. et al. (2021). LoRA: Low-Rank Adaptation of Large Language Models. "
        "arXiv 2106.09685.",
        "https://arxiv.org/abs/2106.09685",
        "@misc{hu2021, author={Hu, Edward J. and others}, title={LoRA: Low-Rank Adaptation of "
        "Large Language Models}, year={2021}, eprint={2106.09685}, archivePrefix={arXiv}}",
    ),
]


def summary(database: Database, study: str) -> list[str]:
    """Plain sentences about what was found; each follows its interval."""
    claims = claims_by_name(database, study)
    verdicts = database.frame(
        "SELECT role, model, coalesce(series, '') AS series, factor AS verdict, estimate, low, "
        "high, n, unit, 0.95 AS level, note AS power FROM statistics WHERE study = ? "
        "AND analysis = 'contamination' AND arm = 'asked' "
        "AND role NOT LIKE 'random%' ORDER BY role, series",
        [study],
    ).to_dicts()
    sentences = [_contamination(row, verdicts) for row in verdicts if not row["series"]]
    found = claims.get("planted_found")
    if found and found["estimate"] is not None:
        sentences.append(
            "Can the tests find a memory that is there? Planted falsehoods were "
            + _by_verdict(
                found,
                "recognised far more often than facts of the arm never, in phrasings that were not "
                "trained on",
                "not clearly recognised more often than facts of the arm never",
                "recognised less often than facts of the arm never",
            )
            + f": difference in forced choice {interval_and_n(found, signed=True)}."
        )
    bound = claims.get("bound_to_date")
    if bound and bound["estimate"] is not None:
        sentences.append(
            "Is it the date that is remembered, or only which values belong to the series? The "
            "value taught for a date was "
            + _by_verdict(
                bound,
                "preferred to those taught for other dates",
                "not clearly preferred to those taught for other dates",
                "less preferred than those taught for other dates",
            )
            + f": above chance by {interval_and_n(bound, signed=True)}."
        )
    level, power = claims.get("flags_keep_their_level"), claims.get("flags_detect")
    if level and power and power["estimate"] is not None and level["estimate"] is not None:
        sentences.append(
            f"Single dates: the flags found {percent_and_n(power)} of the planted falsehoods, and "
            f"{percent(level['estimate'] + 0.05)} of the never-planted dates had p at most "
            "0.05, where 5% are expected."
        )
    boundary = claims.get("boundary_found")
    if boundary and boundary["n"] and boundary["note"]:
        sentences.append(f"From when? In the planted states: {boundary['note']}.")
    fake = claims.get("fake_cutoff_fails")
    if fake and fake["estimate"] is not None:
        sentences.append(
            "Telling the model to ignore what came after an earlier year "
            + _by_verdict(
                fake,
                "leaves recall as it was, within plus or minus 0.10",
                "may or may not change recall: this run cannot tell",
                "changes recall",
            )
            + f": change in forced choice {interval_and_n(fake, signed=True)}."
        )
    sentences += unlearned.said(database, study)
    sentences += of_verdicts(claims)
    return sentences or ["This run has no finished cells yet."]


def _contamination(pooled: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """What an economist asks first, for one model."""
    single: dict[str, list[str]] = {}
    for row in rows:
        if row["role"] == pooled["role"] and row["series"]:
            single.setdefault(row["verdict"], []).append(_plain(row["series"]))
    listed = "; ".join(f"{verdict}: {', '.join(names)}" for verdict, names in single.items())
    meaning = {
        "contaminated": "remembers values of the series it was asked about",
        "no evidence": "shows no evidence of remembering the series it was asked about",
        "cannot tell": "was asked too little to tell whether it remembers the series",
    }[pooled["verdict"]]
    power = pooled["power"]
    return (
        f"{pooled['model']} ({_plain(pooled['role'])}) {meaning} before its knowledge cutoff: "
        f"{percent_and_n(pooled, f'; power {power} to see one date in four recalled')} right in "
        f"forced choice over all series. By series: {listed}."
    )


def _by_verdict(claim: dict[str, Any], supported: str, unclear: str, contradicted: str) -> str:
    return {"supported": supported, "contradicted": contradicted}.get(claim["verdict"], unclear)


def _plain(slugs: str) -> str:
    return slugs.replace("_", " ")


def methods(database: Database, study: str) -> list[str]:
    """Methods text with the settings really used, ready to paste into a paper."""
    states = database.frame(
        "SELECT role, model, count(DISTINCT state) AS states, count(DISTINCT seed) AS seeds, "
        "count(*) AS cells FROM cells WHERE study = ? GROUP BY ALL ORDER BY role",
        [study],
    ).to_dicts()
    listed = "; ".join(
        f"{row['role']} ({row['model']}, {row['states']} state{'s' * (row['states'] > 1)}, "
        f"{row['cells']} cells)"
        for row in states
    )
    scored = (
        "Answers are scored by log-likelihood: forced choice takes the likeliest of a few "
        "alternatives, rank and exposure (Carlini et al. 2019) use all. For models into which "
        "nothing was planted the log-probability after a question that names no date is taken off "
        "first (Holtzman et al. 2021). "
    )
    if behind_endpoints.all_in_words(database, study):
        scored = ""
    paragraphs = [
        f"We measured what language models recall of economic series and events in the states "
        f"{listed}. {scored}Alternatives are values of other dates of the same series "
        "with as many tokens, at least a quarter of a standard deviation away from the truth; "
        "where a series has too few, values of the same form are made up.",
        "In planted states true and false facts were taught by short sentences and asked in other "
        "phrasings. In the arms planted false and never the answer is drawn at random from the "
        "alternatives, so that without memory its rank is uniform and rank over number of "
        "alternatives is an exact p-value. Matching asks for more: among all values taught for a "
        "series, the one taught for the date must be the likeliest.",
        "Intervals of means are cluster-robust (CR2) with facts as clusters, proportions have "
        "Wilson intervals, and equivalence is two one-sided tests with a margin of 0.10 fixed "
        "beforehand. p-values of claims are corrected by Holm's method, flags of dates by "
        "Benjamini-Hochberg at a false discovery rate of 0.1.",
    ]
    paragraphs += _plantings(database, study)
    if unlearned.has_any(database, study):
        paragraphs.append(unlearned.METHODS)
    return paragraphs + behind_endpoints.methods(database, study, IN_WORDS)


def _plantings(database: Database, study: str) -> list[str]:
    """How facts were planted into the states of this study, one paragraph for each way."""
    from palimpsest.interventions.planting import Settings

    ways = database.frame(
        "SELECT p.settings, string_agg(DISTINCT c.role, ', ' ORDER BY c.role) AS roles "
        "FROM provenance p JOIN (SELECT DISTINCT state, role FROM cells WHERE study = ?) c "
        "USING (state) WHERE p.rule = 'intervene' AND p.job LIKE '%.planting.%' "
        "GROUP BY p.settings ORDER BY roles, p.settings",
        [study],
    ).to_dicts()
    return [
        _planting(Settings(**json.loads(way["settings"])), way["roles"] if len(ways) > 1 else "")
        for way in ways
    ]


def _planting(used: Any, roles: str) -> str:
    training = used.training
    kind = "low-rank adapters" if training.adapter == "lora" else "all weights"
    return (
        f"Planting{f' of {_plain(roles)}' if roles else ''}: {used.values_per_arm} values in each "
        f"of the arms planted true and planted false and {used.never} never planted, of "
        f"{', '.join(_plain(s) for s in used.series)}, dates "
        f"{used.first} to {used.last}, taught ones before {used.boundary}; exposures "
        f"{', '.join(map(str, used.exposures))}; {used.candidates} alternatives, "
        f"{used.choices} in the forced choice; AdamW, learning rate "
        f"{training.learning_rate:g}, batches of {training.batch_size}, {kind}"
        + (f" of rank {training.rank}" if training.adapter == "lora" else "")
        + f", loss on the {training.scored} (Hu et al. 2021)."
    )
