"""Words of the page: a summary that follows the intervals, methods that follow the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from palimpsest.probes.unforgettable_generalization.settings import Settings
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
    "The paper asks models of seven billion weights that know many benchmarks. A small model is "
    "near chance in these, so it is taught tasks made by rules first; that knowledge is young and "
    "lies in low-rank changes, and may be forgotten in other ways than what was learned in "
    "pretraining.",
    "What forgetting means depends on the labels: random labels drawn once can be learned by heart "
    "in longer training, which is neither knowing nor not knowing; see the agreement with the "
    "labels shown.",
    "The forget ratio is our reading of the paper's; it is left out where a task was not learned "
    "above chance, and above 1 where a model does worse than guessing.",
    "Few tasks say little about what predicts generalisation: look at the intervals and at the "
    "least correlation that so many tasks can show.",
    "A linear probe that fails does not prove that knowledge is gone, and one that succeeds may "
    "learn the task itself: the control says how much it learns by heart.",
]

REFERENCES = [
    Reference(
        "zhang2024",
        "Zhang, E., Choshen, L. and Andreas, J. (2024). Unforgettable Generalization in Language "
        "Models. COLM. arXiv 2409.02228.",
        "https://arxiv.org/abs/2409.02228",
        "@inproceedings{zhang2024, author={Zhang, Eric and Choshen, Leshem and Andreas, Jacob}, "
        "title={Unforgettable Generalization in Language Models}, booktitle={COLM}, year={2024}, "
        "eprint={2409.02228}, archivePrefix={arXiv}}",
    ),
    Reference(
        "hewitt2019",
        "Hewitt, J. and Liang, P. (2019). Designing and Interpreting Probes with Control Tasks. "
        "EMNLP.",
        "https://aclanthology.org/D19-1275",
        "@inproceedings{hewitt2019, author={Hewitt, John and Liang, Percy}, title={Designing and "
        "Interpreting Probes with Control Tasks}, booktitle={EMNLP}, year={2019}}",
    ),
    Reference(
        "dekker2007",
        "Dekker, D., Krackhardt, D. and Snijders, T. A. B. (2007). Sensitivity of MRQAP Tests to "
        "Collinearity and Autocorrelation Conditions. Psychometrika 72, 563-581.",
        "https://doi.org/10.1007/s11336-007-9016-1",
        "@article{dekker2007, author={Dekker, David and Krackhardt, David and Snijders, Tom}, "
        "title={Sensitivity of {MRQAP} Tests to Collinearity and Autocorrelation Conditions}, "
        "journal={Psychometrika}, volume={72}, pages={563--581}, year={2007}}",
    ),
    Reference(
        "viechtbauer2007",
        "Viechtbauer, W. (2007). Confidence intervals for the amount of heterogeneity in "
        "meta-analysis. Statistics in Medicine 26, 37-52.",
        "https://doi.org/10.1002/sim.2514",
        "@article{viechtbauer2007, author={Viechtbauer, Wolfgang}, title={Confidence intervals for "
        "the amount of heterogeneity in meta-analysis}, journal={Statistics in Medicine}, "
        "volume={26}, pages={37--52}, year={2007}}",
    ),
]

#: claim -> what was estimated, and what it means when supported, unclear, contradicted.
SAID = {
    "trained_forgotten": (
        "Forget ratio of the items trained with random labels, mean over tasks",
        "most of what was known of them is gone",
        "whether most of it is gone this run cannot tell",
        "most of it is still there",
    ),
    "generalisation_varies": (
        "Standard deviation between tasks of the forget ratio of unseen items",
        "how far forgetting reaches depends on the task",
        "whether tasks differ much this run cannot tell",
        "tasks are alike",
    ),
    "forgetting_spills": (
        "Forget ratio of a task after another one was forgotten, the clearest pair",
        "forgetting spills over to at least one other task",
        "whether it spills over this run cannot tell",
        "it spills over to none",
    ),
    "probes_recover": (
        "Accuracy of linear probes on unseen items, after minus before",
        "they still solve the task: forgetting is shallow",
        "whether they still solve it this run cannot tell",
        "they lose it too: forgetting is deep",
    ),
    "relearned_sooner": (
        "Accuracy in the first updates with true labels, relearning minus first learning",
        "what was forgotten comes back sooner",
        "whether it comes back sooner this run cannot tell",
        "it does not come back sooner",
    ),
    "doubt_predicts": (
        "Rank correlation of confidence with the forget ratio of unseen items",
        "forgetting reaches further where the model was less sure",
        "whether confidence predicts it so few tasks cannot tell",
        "it reaches further where the model was more sure",
    ),
    "uniformity_predicts": (
        "Rank correlation of the variance of hidden states with the forget ratio of unseen items",
        "forgetting reaches further where states vary less",
        "whether variance predicts it so few tasks cannot tell",
        "it reaches further where states vary more",
    ),
    "difficulty_is_no_guide": (
        "Rank correlation of the loss before forgetting with the forget ratio of unseen items",
        "difficulty predicts nothing",
        "whether difficulty predicts it so few tasks cannot tell",
        "difficulty predicts it",
    ),
}

_LABELS = {
    "fixed_random": "drawn once, uniformly from the choices of each item",
    "resampled": "drawn anew in every pass",
    "soft_uniform": "all choices of an item equally",
}


def summary(database: Database, study: str) -> list[str]:
    """Plain sentences about what was found; each follows its interval."""
    claims = claims_by_name(database, study)
    return [*estimates(claims, SAID, interval_and_n), *verdicts(claims)]


def methods(database: Database, study: str) -> list[str]:
    """What was done, with the settings of this run."""
    used = settings_used(database, study, Settings)
    labels = "; ".join(f"{mode.replace('_', ' ')}: {_LABELS[mode]}" for mode in used.modes)
    kind = f"low-rank changes of rank {used.rank}" if used.adapter == "lora" else "all weights"
    either = used.criterion == "entropy_or_accuracy"
    guessed = " or no more of them are right than a guesser gets" if either else ""
    return [
        "A task is a set of prompts with choices, one of them right. The answer is the choice with "
        "the largest summed log-probability after the prompt; the probability of a choice is the "
        "softmax of these sums. States that were taught tasks are asked those; others are asked "
        f"{used.train} training items a task and {used.test} unseen items of each kind.",
        f"Forgetting trains {kind} with AdamW (learning rate {used.learning_rate:g}, "
        f"{used.batch_size} items an update, gradient norm at most {used.clip:g}) on the training "
        f"items of one task with other labels ({labels}), until the mean entropy of the answers to "
        f"them is {used.uninformative:g} of the largest possible{guessed}, for at most "
        f"{used.epochs} passes. "
        "Continued training on true labels has the same items, order and number of updates.",
        "The forget ratio is (accuracy before - accuracy after) / (accuracy before - chance), by "
        "a paired bootstrap over items; it is left out where accuracy before is at most two "
        "standard errors of a guesser above chance. Generalisation of forgetting is the ratio of "
        "unseen items over that of trained ones, bounded to 0 and 1.",
        "Differences between tasks beyond their noise: standard deviation of the true ratios with "
        "a Q-profile interval. Linear probes are ridge regressions on the hidden state of the last "
        "token of the prompt, with nested cross-validation; their control task gives every topic a "
        "random label. Where every item has choices of its own they tell the right choice from the "
        "wrong ones after the prompt, and in the control a choice drawn at random is right. "
        "Two models are made to fail in known ways: one with an output layer of noise, and one "
        "behind a table of its training items with random labels.",
    ]
