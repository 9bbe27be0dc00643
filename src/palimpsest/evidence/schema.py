"""The tables of ``palimpsest.duckdb``: one place for names, types and meaning.

Everything that writes a shard, gathers shards or reads the database takes its column names from
here, and the documentation table in the README is printed from :data:`TABLES`.
"""

from __future__ import annotations

#: Name of the database's file.
FILE = "palimpsest.duckdb"
SCHEMA_VERSION = 4

#: table -> {column: (DuckDB type, meaning)}; the order is the order of the columns.
TABLES: dict[str, dict[str, tuple[str, str]]] = {
    "observations": {
        "study": ("VARCHAR", "study of the configuration"),
        "cell": ("VARCHAR", "identity of the cell, key into `cells`"),
        "item": ("VARCHAR", "what was asked about; its parts are named by the probe's view"),
        "grp": ("VARCHAR", "arm or group of the item, such as planted_false or never"),
        "step": ("BIGINT", "position inside the state's history, such as exposures"),
        "metric": ("VARCHAR", "name of the measured quantity"),
        "value": ("DOUBLE", "the number"),
        "text": ("VARCHAR", "untrusted text, such as the answer of the model; may be null"),
    },
    "cells": {
        "cell": ("VARCHAR", "identity: hash of state, probe, settings, data and code"),
        "study": ("VARCHAR", "study of the configuration"),
        "probe": ("VARCHAR", "probe that measured it"),
        "state": ("VARCHAR", "identity of the state (model plus interventions)"),
        "role": ("VARCHAR", "name of the state in the study, such as untouched or planted"),
        "model": ("VARCHAR", "entry of config/models.yaml"),
        "seed": ("BIGINT", "replicate of the state; 0 where the state has no randomness"),
        "step": ("BIGINT", "checkpoint inside the state, such as exposures; 0 = as loaded"),
        "experiment": ("VARCHAR", "experiment of the probe"),
        "parameters": ("VARCHAR", "all factors of the cell, canonical JSON"),
        "status": ("VARCHAR", "done, failed or missing"),
        "reason": ("VARCHAR", "why it failed or is missing; null when done"),
        "costs": (
            "VARCHAR",
            "JSON of what it took, such as seconds; null where none counts",
        ),
    },
    "provenance": {
        "job": ("VARCHAR", "job, such as economic_recall/planted-1a2b3c4d/0"),
        "rule": ("VARCHAR", "rule of the workflow"),
        "study": ("VARCHAR", "study, null for shared jobs"),
        "state": ("VARCHAR", "state read or made, null where none"),
        "started": ("TIMESTAMP", "start, UTC"),
        "ended": ("TIMESTAMP", "end, UTC"),
        "seconds": ("DOUBLE", "wall-clock seconds"),
        "work_seconds": ("DOUBLE", "seconds measuring or training, without imports and loading"),
        "peak_memory_mb": ("DOUBLE", "peak resident memory of the process, MB"),
        "device": ("VARCHAR", "device the job ran on"),
        "threads": ("BIGINT", "CPU threads granted"),
        "tokens": ("BIGINT", "tokens put through the model"),
        "cells_computed": ("BIGINT", "cells measured by this job"),
        "cells_reused": ("BIGINT", "cells found finished and verified"),
        "command": ("VARCHAR", "command that repeats the job without Snakemake"),
        "code": ("VARCHAR", "fingerprint of the code that decides the numbers"),
        "versions": ("VARCHAR", "versions of Python and packages, JSON"),
        "settings": ("VARCHAR", "resolved settings, JSON"),
        "usage": (
            "VARCHAR",
            "JSON, null without an endpoint: requests, cache_hits, failed_tries, tokens_in, "
            "tokens_out, usd and served_as (the server's own name of the model) of the job; "
            "usd_so_far of all runs",
        ),
        "costs": (
            "VARCHAR",
            "JSON of what an intervention took, null where it does not count: seconds, peak_mb, "
            "tokens, backward_tokens, backward_passes and what else it knows",
        ),
    },
    "claims": {
        "study": ("VARCHAR", "study that tests the claim"),
        "claim": ("VARCHAR", "short name"),
        "source": ("VARCHAR", "paper or design that makes the claim"),
        "statement": ("VARCHAR", "the claim, in a sentence, fixed before the run"),
        "test": ("VARCHAR", "the test and its threshold, fixed before the run"),
        "direction": ("VARCHAR", "above, below or within: where the interval must lie"),
        "threshold": ("DOUBLE", "what the interval is held against; the margin of within"),
        "level": ("DOUBLE", "level of the interval: 0.95, or 0.90 of a test of equivalence"),
        "estimate": ("DOUBLE", "estimate of the estimand"),
        "low": ("DOUBLE", "lower end of the interval"),
        "high": ("DOUBLE", "upper end of the interval"),
        "n": ("BIGINT", "number of resampled units"),
        "unit": ("VARCHAR", "what n counts, what was resampled"),
        "p": ("DOUBLE", "p-value, null where the verdict comes from an interval"),
        "p_adjusted": ("DOUBLE", "p after Holm's correction over the study's claims"),
        "detectable": (
            "DOUBLE",
            "distance from the threshold found with power 80%, or smallest margin of equivalence",
        ),
        "smallest": (
            "DOUBLE",
            "smallest distance beyond the threshold that matters, or the margin; null where none "
            "is stated",
        ),
        "verdict": ("VARCHAR", "supported, contradicted, inconclusive or not tested"),
        "note": ("VARCHAR", "what the reader must know, such as the paper's own number"),
    },
    "statistics": {
        "study": ("VARCHAR", "study"),
        "analysis": ("VARCHAR", "named analysis that made the row"),
        "role": ("VARCHAR", "role of the state, null where pooled"),
        "model": ("VARCHAR", "model, null where pooled"),
        "series": ("VARCHAR", "series or other item family, null where pooled"),
        "arm": ("VARCHAR", "what is compared: a method, a kind of fact, or one minus another"),
        "step": ("BIGINT", "checkpoint such as exposures, null where pooled"),
        "factor": ("VARCHAR", "further factor, such as cutoff=2009 or granularity=year"),
        "metric": ("VARCHAR", "what is estimated"),
        "estimate": ("DOUBLE", "the number itself, of what metric says and by method"),
        "low": ("DOUBLE", "lower end of the 95% interval"),
        "high": ("DOUBLE", "upper end of the 95% interval"),
        "n": ("BIGINT", "number of resampled units"),
        "unit": ("VARCHAR", "what n counts"),
        "method": ("VARCHAR", "how interval and test were made"),
        "p": ("DOUBLE", "p-value; null where none"),
        "detectable": (
            "DOUBLE",
            "true distance from 0, or from another fixed value, that a study of this size finds "
            "with power 80% (two-sided test at 5%), by its interval; null without one",
        ),
        "q": ("DOUBLE", "p after the correction named in method; null where none"),
        "note": ("VARCHAR", "remark, such as did not converge"),
    },
    "models": {
        "model": ("VARCHAR", "entry of config/models.yaml"),
        "source": ("VARCHAR", "where the weights come from"),
        "revision": ("VARCHAR", "pinned revision or package version"),
        "parameters": ("BIGINT", "number of weights, null before the model was loaded"),
        "format": ("VARCHAR", "plain or chat"),
        "knowledge_cutoff": ("DATE", "end of the training data, null where unknown"),
        "cutoff_source": ("VARCHAR", "who states the cutoff"),
    },
    "run": {
        "key": ("VARCHAR", "name of the fact"),
        "value": ("VARCHAR", "the fact: schema_version, palimpsest, configuration, content, ..."),
    },
}


def columns(table: str) -> list[str]:
    """Names of the columns of ``table``, in order."""
    return list(TABLES[table])


def create_statement(table: str) -> str:
    """SQL that creates ``table`` empty."""
    body = ", ".join(f'"{name}" {kind}' for name, (kind, _) in TABLES[table].items())
    return f'CREATE TABLE "{table}" ({body})'
