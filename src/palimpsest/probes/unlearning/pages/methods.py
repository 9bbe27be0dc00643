"""Methods text, to paste into a paper: each sentence only where a study did what it tells."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from palimpsest import discovery
from palimpsest.probes.unlearning.analyses.frames import MEMBERSHIP
from palimpsest.probes.unlearning.pages import asked
from palimpsest.probes.unlearning.pages.applied import Applied, applied
from palimpsest.probes.unlearning.pages.budgets import budget
from palimpsest.probes.unlearning.settings import Settings
from palimpsest.reports.evidence import changed
from palimpsest.reports.sentences import settings_used

if TYPE_CHECKING:
    from palimpsest.evidence.database import Database

_CORRECTED = "p-values of claims are corrected by Holm's method."
#: The intervention that teaches fictitious people.
_WORLD = "biographies"


def methods(database: Database, study: str) -> list[str]:
    """Methods text with the settings really used, ready to paste into a paper."""
    used = settings_used(database, study, Settings)
    if asked.in_words_alone(database, study):
        return [*asked.methods(database, study, used), _CORRECTED]
    worlds = database.frame("SELECT DISTINCT world FROM unlearning WHERE study = ?", [study])
    said = []
    if "scratch" in worlds["world"].to_list():
        said += _scratch(used)
    else:
        said += _language(database, study, used)
        said += asked.methods(database, study, used)
    every = applied(database, study, used)
    made = [each for each in every if each.made]
    return [
        *said,
        *(["Methods: " + "; ".join(map(_method, made)) + "."] if made else []),
        *budget(database, study, every),
        *_measures(database, study, used),
        *_attacks(database, study, used),
        *_statistics(database, study, used),
        *_verdicts(database, study, used),
        _CORRECTED,
    ]


def _scratch(used: Settings) -> list[str]:
    own = used.scratch
    return [
        f"World: {_people(own)}. {_TAUGHT} Models: decoders with "
        f"{own.layers} layers of width {own.hidden} and whole words for tokens, trained from "
        f"random weights for {own.epochs} passes. {len(own.seeds('retrained'))} were trained "
        "without the "
        f"forget set; {len(own.seeds('taught'))} with it, each of which went through every method.",
    ]


_TAUGHT = (
    "Every fact was taught as a question with its answer and in two of three statements; the third "
    "was never trained on."
)


def _people(world: object) -> str:
    """What is true of how many people, by the settings of a world."""
    texts = ", and a short text about each" if getattr(world, "texts", False) else ""
    return (
        f"{world.people} fictitious people with {len(world.attributes)} "
        f"attribute{'' if len(world.attributes) == 1 else 's'} each "
        f"({', '.join(world.attributes)}){texts}, {world.forget_share:.0%} of them to be "
        "forgotten, as many relatives of theirs that must stay"
    )


def _language(database: Database, study: str, used: Settings) -> list[str]:
    """Which world states of a language model were taught, and how many of them there are."""
    made = {state.role: state for state in changed(database, study)}
    taught = made.get(used.untouched)
    said = []
    if taught is not None and taught.chain[-1] == _WORLD:
        world = discovery.intervention(_WORLD).Settings.model_construct(**taught.given)
        said.append(f"World: {_people(world)}. {_TAUGHT} Taught in {_times(world.epochs, 'pass')}.")
    count = database.frame(
        "SELECT role, any_value(model) AS model, count(DISTINCT state) AS states FROM cells "
        "WHERE study = ? AND status = 'done' GROUP BY role ORDER BY role",
        [study],
    )
    states = {role: number for role, _, number in count.iter_rows()}
    names = sorted(set(count["model"]) - {None})
    said.append(
        f"States of the configuration were read ({', '.join(names)}); the state {used.untouched} "
        f"({_times(states.get(used.untouched, 0), 'model')}) knows the forget set"
        + (
            f", the state {used.retrained} ({_times(states[used.retrained], 'model')}) was made in "
            "the same way and never met it."
            if used.retrained in states
            else "; no state was made in the same way without it."
        )
    )
    return [" ".join(said)]


def _times(number: int, word: str) -> str:
    return f"{number} {word}" + ("" if number == 1 else "es" if word.endswith("s") else "s")


def _measures(database: Database, study: str, used: Settings) -> list[str]:
    there = set(
        database.frame(
            "SELECT DISTINCT metric FROM unlearning WHERE study = ? AND part <> 'model'", [study]
        )["metric"]
    )
    direct = {
        "probability": "probability (Maini et al. 2024)",
        "rouge_l": "ROUGE-L recall of the greedy answer",
        "exact_memorisation": "exact memorisation",
        "extraction_strength": "extraction strength",
        "exposure": "exposure by the rank of the truth among answers (Carlini et al. 2019)",
    }
    after = {
        "reworded": "a wording that was never trained on",
        "translated": "questions in two other languages",
        "prefixed": "a prefix",
        "few_shot": f"{used.few_shot} solved questions, of which four facts share a draw",
    }
    scores = [words for name, words in MEMBERSHIP.items() if name in there]
    if "loss" in there:
        scores.append("loss beside that of models that never knew")
    said = [
        (_listed(direct, there), "after the question {}"),
        (_listed(after, there), "the same probability after {}"),
        (
            "ROUGE-L of what follows the first half of a text (Shi et al. 2024)"
            if "verbatim" in there
            else "",
            "{}",
        ),
        (
            _and(dict.fromkeys(scores)),
            "membership by {}, as the area under the curve against people nobody was told about",
        ),
        (_truth_ratios(database, study), "{}"),
        ("multiple choice among wrong answers" if "chosen" in there else "", "{}"),
        (
            "the loss of real sentences and the n-gram entropy of what is written "
            "(Meng et al. 2022)"
            if "fluency" in there
            else "",
            "{}",
        ),
    ]
    found = [form.format(words) for words, form in said if words]
    return [f"Measures: {'; '.join(found)}."] if found else []


def _attacks(database: Database, study: str, used: Settings) -> list[str]:
    hard = used.robustness
    there = database.frame(
        "SELECT DISTINCT metric, CASE part WHEN 'relearn' THEN "
        "try_cast(split_part(item, '/', 1) AS INTEGER) END AS number "
        "FROM unlearning WHERE study = ? AND part IN ('forget', 'relearn')",
        [study],
    ).rows()
    metrics = {metric for metric, _ in there}
    numbers = sorted({number for _, number in there if number is not None})
    bits = [str(number) for number in hard.bits if f"bits_{number}" in metrics]
    probes = {"linear_probe": "a linear probe", "logit_lens": "the logit lens (what each layer "
              "would answer if it were the last)"}  # fmt: skip
    found = [
        f"{_and(map(str, numbers))} forgotten facts taught again, asked after "
        f"{_and(map(str, hard.updates))} updates at rate {hard.learning_rate:g}"
        if numbers
        else "",
        f"{_times(hard.benign, 'update')} on facts that must stay" if "benign" in metrics else "",
        f"weights rounded to {_and(bits)} bits" if bits else "",
        f"{read} over layers" if (read := _listed(probes, metrics)) else "",
    ]
    found = list(filter(None, found))
    return [f"Attacks, each on a copy: {'; '.join(found)}."] if found else []


def _statistics(database: Database, study: str, used: Settings) -> list[str]:
    rows = database.frame(
        "SELECT DISTINCT analysis, unit FROM statistics WHERE study = ? AND analysis IN "
        "('distance', 'equivalence', 'calibration', 'together')",
        [study],
    ).rows()
    done, units = {analysis for analysis, _ in rows}, {u for a, u in rows if a == "distance"}
    holm = "with Holm's correction over the measures of a method"
    found = []
    if "models" in units:
        found.append(f"a method's models against the retrained ones by Welch intervals, {holm}")
    if "facts" in units:
        found.append(
            "with too few models as units, pairs of a method's and the retrained models' answers "
            f"to the same facts by t intervals (areas under the curve by DeLong's test), {holm}"
        )
    if "equivalence" in done:
        found.append(
            f"equivalence by two one-sided tests with a margin of {used.width:g} standard "
            "deviations of the retrained models, taken at the lower end of its 80% confidence "
            "interval so that the test keeps its level"
        )
    if "together" in done:
        found.append("all measures at once by exchanging the labels of models")
    if "calibration" in done:
        found.append(
            "calibration by holding out groups of retrained models, as many as a method has"
        )
    return [f"Statistics: {'; '.join(found)}."] if found else []


def _verdicts(database: Database, study: str, used: Settings) -> list[str]:
    given = database.frame(
        "SELECT count(*) AS n FROM statistics WHERE study = ? AND analysis = 'verdict'", [study]
    )["n"][0]
    if not given:
        return []
    return [
        f"Verdicts: did nothing below {used.nothing:.0%} of the way; damaged from "
        f"{used.utility_margin:g} of lost probability, written answers or choices, as much more "
        "refused, or so many nats (natural-log units of loss) a token of prose, of what must stay "
        "and no method trains on again, told from no loss after Holm's correction; "
        f"forgot where every measure that can decide has gone {used.enough:.0%} of the way, "
        "membership by its sharpest score lies within "
        f"{1 - used.enough:.0%} of the gap on either side, and what must stay is shown to be kept, "
        "each by one-sided tests at 5%. A measure can decide where a further retrained arm would "
        "pass its test in 95%."
    ]


def _truth_ratios(database: Database, study: str) -> str:
    """Which of the definitions in use, and what wrong answers were held against."""
    rows = database.frame(
        "SELECT text AS form, string_agg(DISTINCT part, ', ' ORDER BY part) AS parts "
        "FROM unlearning WHERE study = ? AND metric = 'truth_ratio' AND text IS NOT NULL "
        "GROUP BY text ORDER BY text",
        [study],
    ).to_dicts()
    if not rows:
        return ""
    utility = database.frame(
        "SELECT count(*) AS n FROM statistics WHERE study = ? AND metric = 'model utility'", [study]
    )["n"][0]
    forms = "; ".join(f"{row['form']} ({row['parts']})" for row in rows)
    return (
        "truth ratios as in Maini et al. 2024, eq. 1, the mean probability of wrong answers over "
        f"that of the true one ({forms}), of the forget set as min(r, 1/r) and elsewhere as "
        "max(0, 1 - r)"
        + (
            "; model utility, the harmonic mean of probability, ROUGE-L and truth of each part "
            "that must stay (TOFU has real authors and world facts apart, which are one part here)"
            if utility
            else ""
        )
    )


def _method(one: Applied) -> str:
    called = "" if one.arm == one.method else f"{one.method.replace('_', ' ')}, "
    return f"{one.arm.replace('_', ' ')} ({called}{one.strength or 'defaults'})"


def _listed(words: dict[str, str], there: set[str]) -> str:
    return _and(said for name, said in words.items() if name in there)


def _and(words: Iterable[str]) -> str:
    *first, last = [*words] or [""]
    return f"{', '.join(first)} and {last}" if first else last
