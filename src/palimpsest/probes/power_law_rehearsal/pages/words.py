"""Words of the page: summary that follows the intervals, methods that follow the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from palimpsest.probes.power_law_rehearsal.analyses.schedules import law
from palimpsest.probes.power_law_rehearsal.conditions import strategy_of
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
    from palimpsest.probes.power_law_rehearsal.settings import Settings

_OF_NETWORKS = [
    "Small fully connected networks on images of digits; what holds for them need not hold for "
    "large models, nor for tasks that share more than these do.",
    "The stability gap is read on a few traced tasks and a fixed part of their test examples; "
    "between evaluations accuracy may have been lower.",
    "Networks are the unit of all intervals: they speak of other seeds, streams and examples of "
    "the same kind, not of other benchmarks.",
]
_OF_LANGUAGE = [
    "Tasks are made by rule, and learners are low-rank changes of one model: what holds for them "
    "need not hold for texts that people wrote, nor where all weights are trained.",
    "An answer counts only when greedy decoding writes it word for word; a learner that is nearly "
    "right counts as wrong, and loss is given beside accuracy.",
    "Learners are the unit of all intervals: they speak of other seeds, orders and items of the "
    "same tasks, not of other models or tasks.",
]
_OF_ALL = [
    "Strategies are compared at the strengths given in the settings. One that was tuned further "
    "might do better; the settings stand above, with the methods.",
    "With matched compute a rehearsed example takes the place of a new one; with free compute an "
    "environment that rehearses more also trains more. Experience replay adds its buffer to every "
    "batch on top of both.",
]

REFERENCES = [
    Reference(
        "gandhi2024",
        "Gandhi, G., Shah, A., Marupudi, V. and Varma, S. (2024). Natural mitigation of "
        "catastrophic interference: continual learning in power-law learning environments. "
        "arXiv 2401.10393.",
        "https://arxiv.org/abs/2401.10393",
        "@misc{gandhi2024, author={Gandhi, Gautam and Shah, Anurag and Marupudi, Vijay and Varma, "
        "Sashank}, title={Natural Mitigation of Catastrophic Interference: Continual Learning in "
        "Power-Law Learning Environments}, year={2024}, eprint={2401.10393}, "
        "archivePrefix={arXiv}}",
    ),
    Reference(
        "anderson1991",
        "Anderson, J. R. and Schooler, L. J. (1991). Reflections of the environment in memory. "
        "Psychological Science 2, 396-408.",
        "https://doi.org/10.1111/j.1467-9280.1991.tb00174.x",
        "@article{anderson1991, author={Anderson, John R. and Schooler, Lael J.}, "
        "title={Reflections of the environment in memory}, journal={Psychological Science}, "
        "volume={2}, pages={396--408}, year={1991}}",
    ),
    Reference(
        "delange2023",
        "De Lange, M., van de Ven, G. and Tuytelaars, T. (2023). Continual evaluation for lifelong "
        "learning: identifying the stability gap. ICLR. arXiv 2205.13452.",
        "https://arxiv.org/abs/2205.13452",
        "@inproceedings{delange2023, author={De Lange, Matthias and van de Ven, Gido and "
        "Tuytelaars, Tinne}, title={Continual evaluation for lifelong learning: identifying the "
        "stability gap}, booktitle={ICLR}, year={2023}}",
    ),
    Reference(
        "kirkpatrick2017",
        "Kirkpatrick, J. et al. (2017). Overcoming catastrophic forgetting in neural networks. "
        "PNAS 114, 3521-3526. arXiv 1612.00796.",
        "https://arxiv.org/abs/1612.00796",
        "@article{kirkpatrick2017, author={Kirkpatrick, James and others}, title={Overcoming "
        "catastrophic forgetting in neural networks}, journal={PNAS}, volume={114}, "
        "pages={3521--3526}, year={2017}}",
    ),
    Reference(
        "zenke2017",
        "Zenke, F., Poole, B. and Ganguli, S. (2017). Continual learning through synaptic "
        "intelligence. ICML. arXiv 1703.04200.",
        "https://arxiv.org/abs/1703.04200",
        "@inproceedings{zenke2017, author={Zenke, Friedemann and Poole, Ben and Ganguli, Surya}, "
        "title={Continual learning through synaptic intelligence}, booktitle={ICML}, year={2017}}",
    ),
    Reference(
        "li2016",
        "Li, Z. and Hoiem, D. (2016). Learning without forgetting. ECCV. arXiv 1606.09282.",
        "https://arxiv.org/abs/1606.09282",
        "@inproceedings{li2016, author={Li, Zhizhong and Hoiem, Derek}, title={Learning without "
        "forgetting}, booktitle={ECCV}, year={2016}}",
    ),
    Reference(
        "lopezpaz2017",
        "Lopez-Paz, D. and Ranzato, M. (2017). Gradient episodic memory for continual learning. "
        "NeurIPS. arXiv 1706.08840.",
        "https://arxiv.org/abs/1706.08840",
        "@inproceedings{lopezpaz2017, author={Lopez-Paz, David and Ranzato, Marc'Aurelio}, "
        "title={Gradient episodic memory for continual learning}, booktitle={NeurIPS}, "
        "year={2017}}",
    ),
    Reference(
        "goodfellow2014",
        "Goodfellow, I. J. et al. (2014). An empirical investigation of catastrophic forgetting in "
        "gradient-based neural networks. arXiv 1312.6211.",
        "https://arxiv.org/abs/1312.6211",
        "@misc{goodfellow2014, author={Goodfellow, Ian J. and others}, title={An Empirical "
        "Investigation of Catastrophic Forgetting in Gradient-Based Neural Networks}, "
        "year={2014}, eprint={1312.6211}, archivePrefix={arXiv}}",
    ),
    Reference(
        "lecun1998",
        "LeCun, Y., Cortes, C. and Burges, C. J. C. (1998). The MNIST database of handwritten "
        "digits.",
        "http://yann.lecun.com/exdb/mnist/",
        "@misc{lecun1998, author={LeCun, Yann and Cortes, Corinna and Burges, Christopher J. C.}, "
        "title={The {MNIST} database of handwritten digits}, year={1998}}",
    ),
]

#: claim -> what was estimated, and what the verdicts mean.
_SAID = {
    "beats_no_rehearsal": (
        "Average accuracy after the last task, power law minus no rehearsal or the last task "
        "alone, whichever is better",
        "an environment with power-law odds protects memory",
        "whether it protects memory this run cannot tell",
        "it protects nothing",
    ),
    "not_inferior_to_regularisers": (
        "The same against the best of EWC, SI and LwF",
        "it is not inferior to any of them by more than the margin",
        "whether it is inferior by more than the margin this run cannot tell",
        "it is inferior by more than the margin",
    ),
    "not_inferior_to_uniform": (
        "The same against uniform rehearsal at the same budget",
        "not inferior by more than the margin",
        "whether it is inferior by more than the margin this run cannot tell",
        "inferior: at this budget it is better to rehearse all past tasks alike",
    ),
    "facilitates": (
        "New examples that later tasks need before the criterion, over those of the first task, "
        "with power-law rehearsal",
        "later tasks are learned faster",
        "whether later tasks are learned faster this run cannot tell",
        "later tasks are learned more slowly",
    ),
    "robust": (
        "Power law minus no rehearsal in the combination of factors where that is least",
        "it holds in all of them",
        "whether it holds in all of them this run cannot tell",
        "it does not hold in all of them",
    ),
    "stability_gap": (
        "Fall after a switch that is made good before the next, above that in streams of identical "
        "tasks, in the method where it is least",
        "every method of rehearsal and regularisation has a stability gap",
        "whether every method has a stability gap this run cannot tell",
        "not every method has a stability gap",
    ),
    "identical_tasks_keep": (
        "Positive control, accuracy kept where all tasks are the same",
        "nothing is forgotten, as it must be",
        "too few to tell",
        "something is forgotten: distrust this run",
    ),
    "identical_tasks_facilitate": (
        "Positive control, gain of early accuracy where all tasks are the same",
        "facilitation is found where it must be",
        "too few to tell",
        "facilitation is not found where it must be: distrust this run",
    ),
    "unlearnable_tasks_teach_nothing": (
        "Negative control, gain of early accuracy where labels are dealt out at random",
        "none, as it must be",
        "too few to tell that it is none",
        "not none: distrust this run",
    ),
}


def summary(database: Database, study: str) -> list[str]:
    """Plain sentences about what was found; each follows its interval."""
    claims = claims_by_name(database, study)
    sentences = estimates(claims, _SAID, _interval) + verdicts(claims)
    return sentences or ["This run has no finished cells yet."]


def _interval(claim: dict[str, Any]) -> str:
    """With the condition that decided, where the note begins with it."""
    first = (claim["note"] or "").split(";")[0].replace("_", " ")
    remark = f", {first}" if first.startswith(("against", "least")) else ""
    return interval_and_n(claim, remark)


def limitations(database: Database, study: str) -> list[str]:
    """What the numbers do not say, of networks or of a language model."""
    own = _OF_LANGUAGE if _in_words(_used(database, study)) else _OF_NETWORKS
    return own + _OF_ALL


def methods(database: Database, study: str) -> list[str]:
    """Methods text with the settings really used, ready to paste into a paper."""
    used = _used(database, study)
    words = _in_words(used)
    return [
        _language_stream(used) if words else _image_streams(used),
        "Conditions: " + "; ".join(_condition(used, name) for name in used.conditions) + ".",
        f"Compute: {_and(used.compute)}. "
        + (
            "With matched compute every task has the same number of updates of the same size, and "
            "what is rehearsed takes the place of new examples. "
            if "matched" in used.compute
            else ""
        )
        + ("" if words else "Regularisers get batches of new examples alone."),
        _readings(used),
        "Measures: average accuracy, backward and forward transfer (Lopez-Paz and Ranzato 2017), "
        "forgetting by the best and by the first accuracy, and min-ACC, worst-case accuracy and "
        "windowed forgetting and plasticity (De Lange et al. 2023). A task counts as learned at "
        f"accuracy {used.criterion:g}. Intervals are t intervals over seeds; contrasts are paired "
        "by seed and corrected by Holm's method; non-inferiority is a one-sided paired t test at "
        f"2.5% with a margin of {used.margin:g} fixed in the configuration. p-values of claims are "
        "corrected by Holm's method.",
    ]


def _used(database: Database, study: str) -> Settings:
    from palimpsest.probes.power_law_rehearsal.settings import Settings

    return settings_used(database, study, Settings)


def _in_words(used: Settings) -> bool:
    return "language" in used.benchmarks


def _image_streams(used: Settings) -> str:
    return (
        f"Streams: {_and(used.benchmarks)} images (source: {used.source}) in "
        f"{_and(map(str, used.tasks))} tasks of at most {used.train_per_task} training and "
        f"{used.test_per_task} test examples; every seed ({len(used.seed_list())}) has its own "
        "permutations, examples and initial values, and conditions are paired by seed. Networks: "
        f"{used.layers} hidden layers of {_and(map(str, used.widths))} units with ReLU, "
        f"{'plain gradient descent' if used.optimizer == 'sgd' else 'Adam'} at rate "
        f"{used.learning_rate:g}, batches of {used.batch}; passes over the examples of a "
        f"task: {used.epochs}."
    )


def _language_stream(used: Settings) -> str:
    own = used.language
    return (
        f"Stream: the tasks {_and(own.tasks)}, each of {own.train_per_task} training and at most "
        f"{own.test_per_task} test items that were not trained on, except those of lookup, which "
        f"can only be memorised; every seed ({len(used.seed_list())}) has its own order of tasks "
        "and items, and conditions are paired by seed. Learners: low-rank changes of rank "
        f"{own.rank} of all linear maps of the model, trained by AdamW at rate "
        f"{own.learning_rate:g} on the tokens of the answer alone, batches of {own.batch}; passes "
        f"over the items of a task: {own.epochs}. Accuracy is the share of test items whose answer "
        "is written word for word by greedy decoding."
    )


def _readings(used: Settings) -> str:
    if _in_words(used):
        return (
            "Accuracy on all tasks so far and the next was read after each task; while a task was "
            "learned, accuracy on the first task, on one of the middle and on the new one was read "
            f"on fixed {used.language.traced_examples} test items each, every "
            f"{used.language.trace_every} updates."
        )
    return (
        "Accuracy on all tasks so far and the next was read after each task; while a task was "
        f"learned, accuracy on {used.traced_tasks} traced tasks and on the new one was read on "
        f"fixed {used.traced_examples} test examples each, after every one of the first "
        f"{used.trace_first} updates and every {used.trace_every} from then on."
    )


def _and(names: Any) -> str:
    return ", ".join(str(name).replace("_", " ") for name in names)


def _condition(used: Settings, name: str) -> str:
    condition = used.conditions[name]
    strategy, block = strategy_of(condition)
    parts = []
    if condition.environment.rehearses:
        given = condition.environment
        budget = "as the law says" if given.budget is None else f"{given.budget:g} a new one"
        parts.append(f"odds {law(given)} by {given.clock}, rehearsed examples: {budget}")
    if condition.match:
        parts.append(f"matched to {condition.to} in {condition.match.replace('_', ' ')}")
    if strategy != "naive":
        given = block.model_dump(exclude={"derpp", "er"} if hasattr(block, "base") else None)
        parts.append(f"{strategy} ({', '.join(f'{k} {v}' for k, v in given.items())})")
    return f"{name.replace('_', ' ')}: {'; '.join(parts) or 'new examples alone'}"
