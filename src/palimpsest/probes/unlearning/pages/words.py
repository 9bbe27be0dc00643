"""Words of the page: summary that follows the intervals, methods that follow the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from palimpsest.probes.unlearning.pages import asked, still
from palimpsest.probes.unlearning.settings import Settings
from palimpsest.reports.blocks import Reference
from palimpsest.reports.sentences import (
    claims_by_name,
    estimates,
    interval_and_n,
    settings_used,
    verdicts,
)

if TYPE_CHECKING:
    from palimpsest.evidence.database import Database

LIMITATIONS = [
    "The population of retrained models is that of one world and one architecture; a method's "
    "distance to it need not carry over to larger models or to real texts.",
    "Methods are compared at the strengths and lengths of training given in the settings, which "
    "need not be equal; one that was tuned further might do better. Strengths, passes and updates "
    "stand above, with the methods.",
    "GUARD and refusing by oracle change what is written and nothing else: weights and "
    "probabilities are as before, so that measures which read these show the facts. They suppress. "
    "The oracle knows every wording that is asked, which nobody does: it is a bound and no method.",
    "A method that is retraining is not always said to have forgotten: with five such models, ten "
    'retrained ones and twenty facts about three times in four, otherwise it ends as "cannot '
    'tell"; where a few facts are the units, nearly always.',
    "Attacks are a handful of those that exist: what none of them brings back may still be there.",
    "People of one world share attributes and phrasings. Facts in real text are less alike, and "
    "harder to tell from what must stay.",
    "Models are the unit of intervals where there are enough of them: they speak of other seeds of "
    "the same kind, not of other facts. Where facts are the unit, as the tables say, it is the "
    "other way round, and facts of one person count as independent.",
]


def _paper(key: str, text: str, arxiv: str, bibtex: str) -> Reference:
    return Reference(key, f"{text} arXiv {arxiv}.", f"https://arxiv.org/abs/{arxiv}", bibtex)


REFERENCES = [
    _paper(
        "maini2024",
        "Maini, P., Feng, Z., Schwarzschild, A., Lipton, Z. C. and Kolter, J. Z. (2024). TOFU: a "
        "task of fictitious unlearning for LLMs. COLM.",
        "2401.06121",
        "@inproceedings{maini2024, author={Maini, Pratyush and Feng, Zhili and Schwarzschild, Avi "
        "and Lipton, Zachary C. and Kolter, J. Zico}, title={{TOFU}: A Task of Fictitious "
        "Unlearning for {LLMs}}, booktitle={COLM}, year={2024}}",
    ),
    _paper(
        "carlini2019",
        "Carlini, N., Liu, C., Erlingsson, U., Kos, J. and Song, D. (2019). The secret sharer: "
        "evaluating and testing unintended memorization in neural networks. USENIX Security.",
        "1802.08232",
        "@inproceedings{carlini2019, author={Carlini, Nicholas and Liu, Chang and Erlingsson, "
        "Ulfar and Kos, Jernej and Song, Dawn}, title={The Secret Sharer: Evaluating and Testing "
        "Unintended Memorization in Neural Networks}, booktitle={USENIX Security}, year={2019}}",
    ),
    _paper(
        "shi2024",
        "Shi, W., Lee, J., Huang, Y., Malladi, S., Zhao, J., Holtzman, A., Liu, D., Zettlemoyer, "
        "L., Smith, N. A. and Zhang, C. (2024). MUSE: machine unlearning six-way evaluation for "
        "language models.",
        "2407.06460",
        "@misc{shi2024, author={Shi, Weijia and Lee, Jaechan and Huang, Yangsibo and "
        "Malladi, Sadhika and Zhao, Jieyu and Holtzman, Ari and Liu, Daogao and Zettlemoyer, Luke "
        "and Smith, Noah A. and Zhang, Chiyuan}, title={{MUSE}: Machine Unlearning Six-Way "
        "Evaluation for Language Models}, year={2024}, eprint={2407.06460}, archivePrefix={arXiv}}",
    ),
    _paper(
        "zhang2024",
        "Zhang, R., Lin, L., Bai, Y. and Mei, S. (2024). Negative preference optimization: from "
        "catastrophic collapse to effective unlearning. COLM.",
        "2404.05868",
        "@inproceedings{zhang2024, author={Zhang, Ruiqi and Lin, Licong and Bai, Yu and Mei, "
        "Song}, title={Negative Preference Optimization: From Catastrophic Collapse to Effective "
        "Unlearning}, booktitle={COLM}, year={2024}}",
    ),
    _paper(
        "foster2024",
        "Foster, J., Schoepf, S. and Brintrup, A. (2024). Fast machine unlearning without "
        "retraining through selective synaptic dampening. AAAI.",
        "2308.07707",
        "@inproceedings{foster2024, author={Foster, Jack and Schoepf, Stefan and Brintrup, "
        "Alexandra}, title={Fast Machine Unlearning Without Retraining Through Selective Synaptic "
        "Dampening}, booktitle={AAAI}, year={2024}}",
    ),
    _paper(
        "liu2025",
        "Liu, J., Wu, C., Lian, D. and Chen, E. (2025). Efficient machine unlearning via influence "
        "approximation.",
        "2507.23257",
        "@misc{liu2025, author={Liu, Jiawei and Wu, Chenwang and Lian, Defu and Chen, Enhong}, "
        "title={Efficient Machine Unlearning via Influence Approximation}, year={2025}, "
        "eprint={2507.23257}, archivePrefix={arXiv}}",
    ),
    _paper(
        "deng2025",
        "Deng, Z., Liu, C. Y., Pang, Z., He, X., Feng, L., Xuan, Q., Zhu, Z. and Wei, J. (2025). "
        "GUARD: generation-time LLM unlearning via adaptive restriction and detection.",
        "2505.13312",
        "@misc{deng2025, author={Deng, Zhijie and Liu, Chris Yuhao and Pang, Zirui and He, Xinlei "
        "and Feng, Lei and Xuan, Qi and Zhu, Zhaowei and Wei, Jiaheng}, title={{GUARD}: "
        "Generation-time {LLM} Unlearning via Adaptive Restriction and Detection}, year={2025}, "
        "eprint={2505.13312}, archivePrefix={arXiv}}",
    ),
    _paper(
        "meng2022",
        "Meng, K., Bau, D., Andonian, A. and Belinkov, Y. (2022). Locating and editing factual "
        "associations in GPT. NeurIPS.",
        "2202.05262",
        "@inproceedings{meng2022, author={Meng, Kevin and Bau, David and Andonian, Alex and "
        "Belinkov, Yonatan}, title={Locating and Editing Factual Associations in {GPT}}, "
        "booktitle={NeurIPS}, year={2022}}",
    ),
    _paper(
        "lynch2024",
        "Lynch, A., Guo, P., Ewart, A., Casper, S. and Hadfield-Menell, D. (2024). Eight methods "
        "to evaluate robust unlearning in LLMs.",
        "2402.16835",
        "@misc{lynch2024, author={Lynch, Aengus and Guo, Phillip and Ewart, Aidan and Casper, "
        "Stephen and Hadfield-Menell, Dylan}, title={Eight Methods to Evaluate Robust Unlearning "
        "in {LLMs}}, year={2024}, eprint={2402.16835}, archivePrefix={arXiv}}",
    ),
    _paper(
        "patil2024",
        "Patil, V., Hase, P. and Bansal, M. (2024). Can sensitive information be deleted from "
        "LLMs? Objectives for defending against extraction attacks. ICLR.",
        "2309.17410",
        "@inproceedings{patil2024, author={Patil, Vaidehi and Hase, Peter and Bansal, Mohit}, "
        "title={Can Sensitive Information Be Deleted From {LLMs}? Objectives for Defending Against "
        "Extraction Attacks}, booktitle={ICLR}, year={2024}}",
    ),
    _paper(
        "dorna2025",
        "Dorna, V., Mekala, A., Zhao, W., McCallum, A., Kolter, J. Z. and Maini, P. (2025). "
        "OpenUnlearning: accelerating LLM unlearning via unified benchmarking of methods and "
        "metrics.",
        "2506.12618",
        "@misc{dorna2025, author={Dorna, Vineeth and Mekala, Anmol and Zhao, Wenlong and McCallum, "
        "Andrew and Kolter, J. Zico and Maini, Pratyush}, title={{OpenUnlearning}: Accelerating "
        "{LLM} Unlearning via Unified Benchmarking of Methods and Metrics}, year={2025}, "
        "eprint={2506.12618}, archivePrefix={arXiv}}",
    ),
]

#: claim -> what was estimated, and what the verdicts mean.
_SAID = {
    "taught_is_told": (
        "Positive control, probability of the forget set, taught minus retrained models",
        "what was taught is found",
        "too few to tell that what was taught is found",
        "what was taught is not found: distrust this run",
    ),
    "calibrated": (
        "Negative control, share of measures by which held-out retrained models, as many as a "
        "method has, are told from the others at 5%",
        "the tests keep their level",
        "too few to tell whether the tests keep their level",
        "the tests are too eager: distrust their p-values",
    ),
    "nothing_is_nothing": (
        "Negative control, way gone by training on what must stay alone",
        "nothing, as it should be",
        "too few to tell that it is nothing",
        "it forgets by itself: read the other methods against it",
    ),
    "npo_over_ascent": (
        "Balance of forgetting and keeping, NPO minus gradient ascent",
        "NPO's is better",
        "which has the better balance this run cannot tell",
        "gradient ascent's is better",
    ),
    "ssd_competitive": (
        "Balance of forgetting and keeping, SSD minus the best other method",
        "competitive without any training",
        "whether it is competitive this run cannot tell",
        "not competitive here",
    ),
    "iau_balance": (
        "The same for IAU",
        "the best balance",
        "whether it has the best balance this run cannot tell",
        "others have a better balance",
    ),
    "guard_hides": (
        "Truth in written answers to the forget set under GUARD, above models that never knew",
        "answers no longer hold it, while probabilities do: it is suppressed",
        "whether answers still hold it this run cannot tell",
        "answers still hold it",
    ),
    "guard_keeps": (
        "Truth in written answers to what must stay, under GUARD minus before",
        "almost nothing is lost",
        "whether anything is lost this run cannot tell",
        "more than a little is lost",
    ),
    "requests_add_up": (
        "Of what must stay, lost between the first and the last of several requests",
        "the more requests have come, the less is kept",
        "whether requests add up this run cannot tell",
        "requests do not add up",
    ),
    "relearning_undoes": (
        "Share of the methods that forgot where asked directly whose other facts come back when "
        "some are taught again",
        "most",
        "whether it is most this run cannot tell",
        "not most",
    ),
    "hidden_not_gone": (
        "Accuracy of a linear probe on forgotten facts, above models that never knew",
        "facts are hidden, not gone",
        "whether facts are hidden this run cannot tell",
        "nothing is hidden",
    ),
    **asked.SAID,
}


def summary(database: Database, study: str) -> list[str]:
    """Plain sentences about what was found; each follows its interval."""
    claims = claims_by_name(database, study)
    used = settings_used(database, study, Settings)
    sentences = _by_verdict(database, study) + _units(database, study, used)
    sentences += still.sentences(database, study, used)
    sentences += asked.sentences(database, study, used)
    sentences += estimates(claims, _SAID, interval_and_n) + verdicts(claims)
    if not sentences and _arms(database, study):
        return [
            "No verdict is given: there are no models that never knew the forget set. What each "
            "method changed in what it left is below."
        ]
    return sentences or ["This run has no finished models yet."]


def _arms(database: Database, study: str) -> int:
    rows = database.frame(
        "SELECT count(DISTINCT arm) AS arms FROM unlearning WHERE study = ?", [study]
    )
    return rows["arms"][0]


#: With so many facts as units, or fewer, even retraining ends as "cannot tell"; see verdicts.
_FEW_FACTS = 20


def _units(database: Database, study: str, used: Settings) -> list[str]:
    """Where facts are the units, how many there are, whose they are, and what that rules out."""
    facts = database.frame(
        "SELECT max(n) AS n FROM statistics WHERE study = ? AND analysis = 'verdict' "
        "AND unit = 'facts'",
        [study],
    )["n"][0]
    if facts is None:
        return []
    owners = database.frame(
        "SELECT count(DISTINCT split_part(item, '/', 1)) AS people, "
        "count(DISTINCT item) FILTER (NOT contains(item, '/')) AS others FROM unlearning "
        "WHERE study = ? AND part = 'forget' AND metric = 'probability'",
        [study],
    ).row(0)
    people = (
        ""
        if used.own or owners[1] or not owners[0]
        else (
            f" of {owners[0]} {'person' if owners[0] == 1 else 'people'}, whose facts count as "
            "independent"
        )
    )
    doubt = (
        "with so few no method can be found to have forgotten beyond doubt, and "
        if facts <= _FEW_FACTS
        else ""
    )
    return [
        f"The units of verdicts are {facts} facts{people}: {doubt}intervals speak of other facts "
        "of these models, not of other models."
    ]


def _by_verdict(database: Database, study: str) -> list[str]:
    """Which methods did what."""
    rows = database.frame(
        "SELECT metric AS verdict, string_agg(replace(arm, '_', ' '), ', ' ORDER BY arm) AS arms "
        "FROM statistics WHERE study = ? AND analysis = 'verdict' AND arm <> 'taught' "
        "GROUP BY metric ORDER BY count(*) DESC, metric",
        [study],
    )
    return [f"{row['verdict'].capitalize()}: {row['arms']}." for row in rows.to_dicts()]
