"""Words of the page: summary that follows the intervals, methods that follow the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from palimpsest.probes.few_shot_memory.pages.states import SAID as SAID_OF_UNLEARNED
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
    from palimpsest.probes.few_shot_memory.settings import Settings

LIMITATIONS = [
    "Sentences come from the documentation of scientific packages unless you bring your own. "
    "Models have probably met some of them; the test before study is the floor that counts, and "
    "the stimuli novel are sentences that nobody has written.",
    "Low-rank changes learn with other learning rates than full fine-tuning, and the paper used "
    "the latter; config/few_shot.yaml repeats its conditions.",
    "The learning rate decides how much one exposure teaches. It is chosen on validation pairs of "
    "each list; other rates would give other curves.",
    "Items are the unit of resampling and lists are pooled; with few lists the intervals say "
    "little about other lists.",
    "Recall is tested by greedy decoding from the sentence's own beginning; what does not come out "
    "there may come out otherwise.",
]

REFERENCES = [
    Reference(
        "orhan2023",
        "Orhan, A. E. (2023). Recognition, recall, and retention of few-shot memories in large "
        "language models. arXiv 2303.17557.",
        "https://arxiv.org/abs/2303.17557",
        "@misc{orhan2023, author={Orhan, A. Emin}, title={Recognition, recall, and retention of "
        "few-shot memories in large language models}, year={2023}, eprint={2303.17557}, "
        "archivePrefix={arXiv}}",
    ),
    Reference(
        "shepard1967",
        "Shepard, R. N. (1967). Recognition memory for words, sentences, and pictures. Journal of "
        "Verbal Learning and Verbal Behavior 6, 156-163.",
        "https://doi.org/10.1016/S0022-5371(67)80067-7",
        "@article{shepard1967, author={Shepard, Roger N.}, title={Recognition memory for words, "
        "sentences, and pictures}, journal={Journal of Verbal Learning and Verbal Behavior}, "
        "volume={6}, pages={156--163}, year={1967}}",
    ),
    Reference(
        "lin2004",
        "Lin, C.-Y. (2004). ROUGE: A Package for Automatic Evaluation of Summaries. ACL Workshop "
        "Text Summarization Branches Out.",
        "https://aclanthology.org/W04-1013",
        "@inproceedings{lin2004, author={Lin, Chin-Yew}, title={{ROUGE}: A Package for Automatic "
        "Evaluation of Summaries}, booktitle={Text Summarization Branches Out}, year={2004}}",
    ),
    Reference(
        "anderson1997",
        "Anderson, R. B. and Tweney, R. D. (1997). Artifactual power curves in forgetting. Memory "
        "& Cognition 25, 724-730.",
        "https://doi.org/10.3758/BF03211315",
        "@article{anderson1997, author={Anderson, Richard B. and Tweney, Ryan D.}, "
        "title={Artifactual power curves in forgetting}, journal={Memory \\& Cognition}, "
        "volume={25}, pages={724--730}, year={1997}}",
    ),
    Reference(
        "bahrick1984",
        "Bahrick, H. P. (1984). Semantic memory content in permastore: Fifty years of memory for "
        "Spanish learned in school. Journal of Experimental Psychology: General 113, 1-29.",
        "https://doi.org/10.1037/0096-3445.113.1.1",
        "@article{bahrick1984, author={Bahrick, Harry P.}, title={Semantic memory content in "
        "permastore: Fifty years of memory for {Spanish} learned in school}, journal={Journal of "
        "Experimental Psychology: General}, volume={113}, pages={1--29}, year={1984}}",
    ),
    Reference(
        "speer2022",
        "Speer, R. (2022). rspeer/wordfreq: v3.0. Zenodo.",
        "https://doi.org/10.5281/zenodo.7199437",
        "@misc{speer2022, author={Speer, Robyn}, title={rspeer/wordfreq: v3.0}, year={2022}, "
        "doi={10.5281/zenodo.7199437}}",
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

#: claim -> what was estimated, and what the verdicts mean.
_SAID = {
    "one_exposure": (
        "Share of sentences recognised after one exposure",
        "that is 0.9 or better",
        "whether that is 0.9 or better this run cannot tell",
        "that is below 0.9",
    ),
    "three_exposures": (
        "Recall after three exposures, ROUGE-L of what the model writes after half a sentence",
        "near-perfect, by the bar of 0.9",
        "whether that clears the bar of 0.9 this run cannot tell",
        "not near-perfect, by the bar of 0.9",
    ),
    "steep_then_gradual": (
        "New material: the share recalled falls faster in the first ten updates, by this much an "
        "update",
        "steep at first, then gradual",
        "whether it slows down this run cannot tell",
        "it does not slow down",
    ),
    "some_survive": (
        "Share that still comes out word for word after the last update on new material, above "
        "the share before study",
        "some sentences survive",
        "whether any survives this run cannot tell",
        "none survives",
    ),
    "recognition_outlives_recall": (
        "Of what was recognised and recalled after study, share still recognised minus share still "
        "recalled at the end",
        "recognition outlives recall",
        "which lasts longer this run cannot tell",
        "recall outlives recognition",
    ),
    "sentences_beat_strings": (
        "Recall of sentences minus recall of strings of random words",
        "sentences are remembered better",
        "which is remembered better this run cannot tell",
        "strings are remembered better",
    ),
    "never_studied_at_floor": (
        "Negative control, what pairs gain of which nothing was studied, as a share of what "
        "studied ones gain",
        "nothing, as it must be",
        "too few to tell that it is nothing",
        "not nothing: distrust this run",
    ),
}


#: How often the chosen rate lies at an end of its sweep.
_EDGES = """WITH tried AS (
  SELECT cell, min(try_cast(part AS DOUBLE)) AS least, max(try_cast(part AS DOUBLE)) AS most,
    count(*) AS n
  FROM few_shot_memory WHERE study = ? AND metric = 'validation_recognition' GROUP BY cell),
chosen AS (
  SELECT cell, value AS rate FROM few_shot_memory WHERE metric = 'learning_rate')
SELECT count(*) AS lists, count(*) FILTER (rate IN (least, most)) AS at_edge
FROM tried JOIN chosen USING (cell) WHERE n > 1"""


def summary(database: Database, study: str) -> list[str]:
    """Plain sentences about what was found; each follows its interval."""
    claims = claims_by_name(database, study)
    said = _SAID | SAID_OF_UNLEARNED
    sentences = estimates(claims, said, interval_and_n) + verdicts(claims)
    edges = database.frame(_EDGES, [study]).row(0, named=True)
    if edges["at_edge"]:
        sentences.append(
            f"In {edges['at_edge']} of {edges['lists']} lists the rate that did best was the "
            "smallest or the largest that was tried: a wider sweep may show more."
        )
    return sentences or ["This run has no finished cells yet."]


def methods(database: Database, study: str) -> list[str]:
    """Methods text with the settings really used, ready to paste into a paper."""
    from palimpsest.probes.few_shot_memory.settings import Settings

    used = settings_used(database, study, Settings)
    kinds = ", ".join(kind.replace("_", " ") for kind in used.stimuli)
    count = len(used.seeds())
    rates = ", ".join(f"{rate:g}" for rate in used.learning_rates)
    chosen = (
        "The learning rate was chosen for each list among "
        f"{rates} by recognition of the validation pairs, then by the loss of what was studied, "
        "after one exposure and after the last"
        if used.rate == "validated" and len(used.learning_rates) > 1
        else f"Learning rates: {rates}"
    )
    return [
        f"Lists of {used.items} items and as many foils ({kinds}), {count} list{'s' * (count > 1)} "
        f"of each kind, and {used.validation} further pairs. Where both come from one population a "
        "coin decided which item of a pair was studied. Items were shown "
        f"{', '.join(map(str, used.exposures))} times ({', '.join(used.adapters)}, "
        f"{', '.join(used.optimizers)}, batches of {', '.join(map(str, used.batch_sizes))}, loss "
        f"on all tokens but the first). {chosen}.",
        "Recognition is a forced choice between item and foil by mean loss a token (Orhan 2023); "
        "because the floor of this measure depends on the material, we also compare by how far the "
        "loss fell against the model before study. Recall gives the first part of the sentence "
        f"(cues of {', '.join(f'{cue:.0%}' for cue in used.cues)} of the tokens) and lets the "
        "model decode greedily; ROUGE recall (Lin 2004) is computed on the completion alone, and "
        "the paper's variant, which counts the cue too, is labelled as such.",
        *(_retention(used) if used.retention_steps else []),
        "What predicts memorability was estimated by a linear mixed model with items and lists as "
        "random effects; word frequencies are those of wordfreq (Speer 2022).",
        "Intervals of means are cluster-robust (CR2) with items as clusters, proportions have "
        "Wilson intervals, areas under the curve DeLong intervals; equivalence is two one-sided "
        "tests with a margin of 0.10 fixed beforehand. p-values of claims are corrected by Holm's "
        "method.",
    ]


def _retention(used: Settings) -> list[str]:
    return [
        "Retention: training went on with new material of "
        f"{' and '.join(used.interference)} type in batches of {used.interference_batch} with a "
        "fresh optimiser, and memory was tested after "
        f"{', '.join(map(str, used.retention_steps))} updates. {_material(used)} Forms of "
        "forgetting were fitted by binomial likelihood item by item before pooling (Anderson and "
        "Tweney 1997), for recognition over foils and for recall over tokens."
    ]


def _material(used: Settings) -> str:
    shown = used.retention_steps[-1] * used.interference_batch
    if shown <= used.new_sentences:
        return f"All {shown} sentences of new material were different."
    return (
        f"The {shown} sentences of new material were {used.new_sentences} different ones that came "
        "again in the same order."
    )
