"""The observations of a study as frames: one number a model, or one a fact."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from palimpsest.metrics import unlearning
from palimpsest.probes.unlearning.settings import RETRAINED, TAUGHT, WORDS
from palimpsest.statistics import Estimate
from palimpsest.statistics.recognition import placements

if TYPE_CHECKING:
    import duckdb

    from palimpsest.probes.unlearning.settings import Settings

Rows = list[dict[str, Any]]
Found = dict[str, Estimate]

#: What is left where it is asked for directly; a model that knows has the higher value.
DIRECT = (
    "probability",
    "rouge_l",
    "exact_memorisation",
    "extraction_strength",
    "exposure",
    "chosen",
    "refusal",
    "verbatim",
)
#: What is left where it is not asked for directly.
HIDDEN = (
    "reworded",
    "translated",
    "prefixed",
    "few_shot",
    "benign",
    "linear_probe",
    "logit_lens",
    "bits_8",
    "bits_4",
)
#: Scores that tell members from non-members; ``reference`` is made of ``loss`` here.
MEMBERSHIP = {
    "loss": "loss",
    "zlib": "loss by zlib",
    "min_k": "min-k",
    "min_k_plus_plus": "min-k++",
    "reference": "loss by reference",
    "gradient_norm": "gradient norm",
}
REFERENCE = "reference"
#: Parts that must stay.
STAYS = ("kept", "neighbour", "known", "retain")
#: The part of them that methods train on again: what is left of it says little of the rest.
AGAIN = "retain"
#: What is read of them; ``chosen`` is multiple choice, the truth against wrong answers.
UTILITY = ("probability", "rouge_l", "refusal", "chosen", "verbatim")
#: What is written where a state is asked in words, or continued: shares, one number an item.
WRITTEN = (
    "rouge_l",
    "rouge_l_by_chance",
    "exact_match",
    "refusal",
    "chosen",
    "chosen_in_words",
    "verbatim",
    "verbatim_words",
    *(f"{how}_rouge_l" for how in ("reworded", "translated", "prefixed", "few_shot")),
)
#: Groups of observations that are no items.
NO_ITEMS = ("relearn", "model", "prose", "fact")

KEYS = ["world", "model", "arm", "run"]
#: Begins the names of the metrics of forgotten facts that come back by themselves.
OTHERS = "others after relearning "


def in_words(metric: str) -> str:
    """How a measure is called on pages."""
    if metric.startswith("membership "):
        return f"membership, {MEMBERSHIP[metric.removeprefix('membership ')]}"
    return metric.replace("rouge_l", "ROUGE-L").replace("_", " ")


def in_words_sql(column: str) -> str:
    """Expression that calls measures what :func:`in_words` does."""
    attacks = " ".join(
        f"WHEN 'membership {name}' THEN 'membership, {words}'" for name, words in MEMBERSHIP.items()
    )
    others = f"replace(replace({column}, 'rouge_l', 'ROUGE-L'), '_', ' ')"
    return f"CASE {column} {attacks} ELSE {others} END"


@dataclass(frozen=True)
class Data:
    """Frames of one study.

    Attributes:
        values: world, model, arm, run, metric, group and value: one number a model, the mean over
            facts. Groups are forgetting, hidden, membership, utility, and trained again: of what
            methods train on, and TOFU's model utility, which counts that in.
        facts: world, model, arm, item, metric, group and value: one number a fact, the mean over
            the models of the arm.
        scores: world, model, arm, run, part, item, metric and value of scores of membership.
        strangers: world, model, arm, run, part, item, metric and value of the same scores, of
            models that were asked about many more whom nobody told anything (part stranger).
        ratios: world, model, arm, run, item and value: TOFU's truth ratios of the forget set.
        relearned: world, model, arm, run, number, updates, metric (shown or others) and value.
        rises: world, model, arm, run, number, item and value: how much likelier a forgotten fact
            is after the last update on other ones than before.
        detectors: world, model, arm, run, metric and value: how well prompts are told apart.
        probabilities: world, model, arm, run, how, requests, part, item and value: of all answers
            to questions that were taught, also where only some requests were met.
        written: world, role, model, part, item, metric and value of what states of language models
            write (:data:`WRITTEN`, and ``choices``, the number of options): the mean over the
            replicates of a role.
        arms: the methods, in the order of the settings or of their names.
        taught: the arm that knows.
        retrained: the arm that never knew.
    """

    values: pl.DataFrame
    facts: pl.DataFrame
    scores: pl.DataFrame
    strangers: pl.DataFrame
    ratios: pl.DataFrame
    relearned: pl.DataFrame
    rises: pl.DataFrame
    detectors: pl.DataFrame
    probabilities: pl.DataFrame
    written: pl.DataFrame
    arms: list[str]
    taught: str
    retrained: str

    def worlds(self) -> Iterator[tuple[dict[str, Any], pl.DataFrame]]:
        """Columns for statistics, and the values of each world that has both reference arms."""
        for (world, model), part in self.values.group_by(["world", "model"], maintain_order=True):
            if {self.taught, self.retrained} <= set(part["arm"].unique()):
                yield {"series": world, "model": model}, part

    def methods(self, part: pl.DataFrame) -> list[str]:
        """The methods of a world, without the arms that they are judged by."""
        there = set(part["arm"].unique())
        return [arm for arm in self.arms if arm in there]


def bounds(metric: str) -> tuple[float, float]:
    """What a metric lies between: bits and nats from 0 on, all others are shares."""
    graded = metric.endswith(" exposure") or metric.startswith("prose ")
    return (0.0, np.inf) if graded else (0.0, 1.0)


def bounds_of_change(metric: str) -> tuple[float, float]:
    """What a difference of two values of a metric lies between."""
    least, most = bounds(metric)
    return least - most, most - least


def of(part: pl.DataFrame, arm: str, metric: str) -> np.ndarray:
    """(runs,) values of an arm, in the order of runs."""
    chosen = part.filter((pl.col("arm") == arm) & (pl.col("metric") == metric)).sort("run")
    values = chosen["value"].to_numpy()
    return values[np.isfinite(values)]


def metrics_of(part: pl.DataFrame) -> dict[str, str]:
    """Metric -> group, in the order of the frame."""
    return dict(part.select("metric", "group").unique(maintain_order=True).iter_rows())


def read(connection: duckdb.DuckDBPyConnection, study: str, settings: Settings) -> Data:
    """All observations of a study, one number a model and one a fact."""
    query = "SELECT * FROM unlearning WHERE study = ? ORDER BY ALL"
    every = pl.from_arrow(connection.sql(query, params=[study]).to_arrow_table())
    scratch = bool((every["world"] == "scratch").any())
    taught, retrained = settings.untouched, settings.retrained
    if scratch:
        taught, retrained = TAUGHT, RETRAINED
    written = _written(every)
    # Models behind endpoints have no probabilities: nothing else is read from them.
    every = every.filter(pl.col("world") != WORDS)
    # States of one study may be of several models, one that knows and one retrained elsewhere.
    knows = every.filter(pl.col("arm") == taught)["model"]
    if len(knows):
        every = every.with_columns(model=pl.lit(knows[0]))
    frame = every.filter(pl.col("requests") == 0)
    there = frame["arm"].unique().to_list()
    order = list(settings.scratch.methods) if scratch else sorted(there)
    arms = [arm for arm in order if arm in there and arm not in (taught, retrained)]
    items = frame.filter(~pl.col("part").is_in(NO_ITEMS))
    relearned = _relearned(frame)
    scores = _scores(items, retrained)
    named = pl.concat(
        [
            _named(items, "forget", DIRECT, "forgetting"),
            _named(items, "forget", HIDDEN, "hidden"),
            _others(relearned),
            _membership(scores),
            *(_named(items, part, UTILITY, _kind(part)) for part in STAYS),
            _truths(items),
            _prose(frame),
        ]
    )  # fmt: skip
    mean = pl.col("value").mean()
    values = named.group_by([*KEYS, "metric", "group"], maintain_order=True).agg(mean)
    of_facts = [key for key in KEYS if key != "run"]
    facts = named.group_by([*of_facts, "item", "metric", "group"], maintain_order=True).agg(mean)
    return Data(
        pl.concat([values, _utility(values)]),
        facts,
        scores,
        _strangers(items),
        items.filter((pl.col("part") == "forget") & (pl.col("metric") == "truth_ratio")).select(
            *KEYS, "item", "value"
        ),
        relearned.group_by([*KEYS, "number", "updates", "metric"], maintain_order=True).agg(mean),
        _rises(relearned, items),
        frame.filter((pl.col("part") == "model") & (pl.col("item") == "detector")).select(
            *KEYS, "metric", "value"
        ),
        _probabilities(every),
        written,
        arms,
        taught,
        retrained,
    )


def _probabilities(every: pl.DataFrame) -> pl.DataFrame:
    """Of what was asked to be forgotten and of what must stay, but for what is trained on again."""
    chosen = every.filter(
        (pl.col("metric") == "probability") & pl.col("part").is_in(["forget", "kept", "neighbour"])
    )
    return chosen.select(*KEYS, "how", "requests", "part", "item", "value")


def _written(every: pl.DataFrame) -> pl.DataFrame:
    chosen = every.filter(
        pl.col("world").is_in(["language", WORDS])
        & pl.col("metric").is_in([*WRITTEN, "choices"])
        & ~pl.col("part").is_in(NO_ITEMS)
        & pl.col("value").is_finite()
    )
    keys = ["world", "role", "model", "part", "item", "metric"]
    return chosen.group_by(keys, maintain_order=True).agg(pl.col("value").mean())


def _kind(part: str) -> str:
    """Group of the measures of a part that must stay."""
    return "trained again" if part == AGAIN else "utility"


def _columns(frame: pl.DataFrame, metric: pl.Expr, group: str) -> pl.DataFrame:
    """A value for each model and fact."""
    return frame.select(*KEYS, "item", metric=metric, group=pl.lit(group), value="value")


def _named(items: pl.DataFrame, part: str, metrics: tuple[str, ...], group: str) -> pl.DataFrame:
    chosen = items.filter((pl.col("part") == part) & pl.col("metric").is_in(metrics))
    return _columns(chosen, pl.col("part") + " " + pl.col("metric"), group)


def _relearned(frame: pl.DataFrame) -> pl.DataFrame:
    parts = pl.col("item").str.splitn("/", 3).struct
    return frame.filter(pl.col("part") == "relearn").select(
        *KEYS,
        "metric",
        "value",
        number=parts.field("field_0").cast(pl.Int64),
        updates=parts.field("field_1").cast(pl.Int64),
        item=parts.field("field_2"),
    )


def _at_last(relearned: pl.DataFrame) -> pl.DataFrame:
    """Of facts that were not taught again: after the last update on others."""
    last = pl.col("updates") == pl.col("updates").max().over([*KEYS, "number"])
    return relearned.filter((pl.col("metric") == "others") & last)


def _rises(relearned: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    before = items.filter((pl.col("part") == "forget") & (pl.col("metric") == "probability"))
    both = _at_last(relearned).join(
        before.select(*KEYS, "item", before="value"), on=[*KEYS, "item"], maintain_order="left"
    )
    rise = both.select(*KEYS, "number", "item", value=pl.col("value") - pl.col("before"))
    return rise.filter(pl.col("value").is_finite())


def _others(relearned: pl.DataFrame) -> pl.DataFrame:
    """Forgotten facts that come back although others were taught again: after the last update."""
    chosen = _at_last(relearned)
    return _columns(chosen, pl.lit(OTHERS) + pl.col("number").cast(pl.String), "hidden")


def _scores(items: pl.DataFrame, retrained: str) -> pl.DataFrame:
    """Scores of membership of forgotten facts and of those that nobody was told, with the
    reference score: the loss beside its mean in models that never knew, oneself left out."""
    chosen = items.filter(
        pl.col("metric").is_in(list(MEMBERSHIP)) & pl.col("part").is_in(["forget", "holdout"])
    ).select(*KEYS, "part", "item", "metric", "value")
    losses = chosen.filter(pl.col("metric") == "loss")
    one = ["world", "model", "part", "item"]
    never = losses.filter(pl.col("arm") == retrained).group_by(one)
    losses = losses.join(never.agg(total=pl.col("value").sum(), count=pl.len()), on=one)
    own = pl.col("arm") == retrained
    others = pl.col("total") - pl.when(own).then("value").otherwise(0.0)
    count = pl.col("count") - own.cast(pl.Int64)
    # Of two retrained models each would be held against the other: mirror images.
    reference = losses.filter(~own | (count > 1)).with_columns(
        metric=pl.lit(REFERENCE), value=pl.col("value") - others / count
    )
    return pl.concat([chosen, reference.select(chosen.columns).filter(pl.col("value").is_finite())])


def averaged(data: Data) -> pl.DataFrame:
    """Scores of membership that have a mean over the models of an arm: that of retrained models,
    each beside the mean of the others, is 0 for every fact."""
    return data.scores.filter((pl.col("arm") != data.retrained) | (pl.col("metric") != REFERENCE))


def _strangers(items: pl.DataFrame) -> pl.DataFrame:
    """Scores of forgotten facts and of strangers, of models that were asked about these."""
    chosen = items.filter(
        pl.col("metric").is_in(list(MEMBERSHIP)) & pl.col("part").is_in(["forget", "stranger"])
    ).select(*KEYS, "part", "item", "metric", "value")
    asked = (pl.col("part") == "stranger").any().over([*KEYS, "metric"])
    return chosen.filter(asked)


def _membership(scores: pl.DataFrame) -> pl.DataFrame:
    """For each forgotten fact the share of facts nobody was told that have lower scores: the mean
    is the area under the curve."""
    found = []
    for _, part in scores.group_by([*KEYS, "metric"], maintain_order=True):
        forget, holdout = (part.filter(pl.col("part") == p) for p in ("forget", "holdout"))
        if min(forget.height, holdout.height) > 1 and part["value"].is_finite().all():
            sides = forget["value"].to_numpy(), holdout["value"].to_numpy()
            found.append(forget.with_columns(value=pl.Series(placements(*sides)[0])))
    every = pl.concat(found) if found else scores.clear()
    return _columns(every, pl.lit("membership ") + pl.col("metric"), "membership")


def _truths(items: pl.DataFrame) -> pl.DataFrame:
    """What truth ratios are averaged over: of the forget set, and of what must stay."""
    chosen = items.filter(pl.col("metric") == "truth_ratio")
    forget = chosen.filter(pl.col("part") == "forget")
    stays = chosen.filter(pl.col("part").is_in(STAYS))
    forget = forget.with_columns(value=pl.Series(unlearning.forget_truths(forget["value"])))
    stays = stays.with_columns(value=pl.Series(unlearning.utility_truths(stays["value"])))
    return pl.concat(
        [
            _columns(forget, pl.lit("forget truth"), "membership"),
            *(
                _columns(
                    stays.filter(pl.col("part") == part), pl.col("part") + " truth", _kind(part)
                )
                for part in STAYS
            ),
        ]
    )


def _prose(frame: pl.DataFrame) -> pl.DataFrame:
    """Mean loss of a token of real sentences, and fluency of what follows their beginnings."""
    chosen = frame.filter((pl.col("part") == "prose") & pl.col("value").is_finite())
    return _columns(chosen, pl.lit("prose ") + pl.col("metric"), "utility")


def _utility(values: pl.DataFrame) -> pl.DataFrame:
    """TOFU's model utility: harmonic mean of probability, ROUGE-L and truth of all that stays."""
    wanted = [f"{part} {kind}" for part in STAYS for kind in ("probability", "rouge_l", "truth")]
    chosen = values.filter(pl.col("metric").is_in(wanted))
    rows = [
        [*names, "model utility", _kind(AGAIN), unlearning.model_utility(part["value"].to_numpy())]
        for names, part in chosen.group_by(KEYS, maintain_order=True)
    ]
    return pl.DataFrame(rows, schema=values.schema, orient="row")
