"""Pages from the database: one for each study and one for the run.

A page is one file without any outside request. Its content policy names the hashes of the style
sheet and the script it carries, so nothing else on it can run.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import json
import logging
from collections import Counter
from dataclasses import replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
from markupsafe import Markup

from palimpsest.evidence.database import Database
from palimpsest.evidence.schema import TABLES
from palimpsest.files import atomic
from palimpsest.reports import evidence, explore, formatting, render
from palimpsest.reports.blocks import StudyPage
from palimpsest.reports.lacks import lacking, lacks
from palimpsest.reports.palette import variables
from palimpsest.reports.references import with_statistics
from palimpsest.reports.reproducibility import differences
from palimpsest.reports.sentences import states
from palimpsest.reports.sources import claims_table, file_of, sourced

LOG = logging.getLogger(__name__)

#: Bytes that a page may have; each next set of limits carries less of the data.
BUDGET = 3_000_000
LIMITS = (
    render.Limits(rows=1_000, cards=200, csv=300_000),
    render.Limits(rows=300, cards=60, csv=60_000),
    render.Limits(rows=60, cards=20, csv=8_000),
)

_QUERIES = (
    (
        "Every claim and its verdict",
        "SELECT study, claim, verdict, estimate, low, high, n, unit\nFROM claims ORDER BY study;",
    ),
    (
        "What the models answered",
        "SELECT c.role, c.model, o.item, o.grp, o.step, o.text\n"
        "FROM observations o JOIN cells c USING (study, cell)\n"
        "WHERE o.text IS NOT NULL LIMIT 50;",
    ),
    (
        "Mean of each metric by state and group",
        "SELECT c.study, c.role, c.model, o.grp, o.step, o.metric,\n"
        "       avg(o.value) AS mean, count(DISTINCT o.item) AS items\n"
        "FROM observations o JOIN cells c USING (study, cell)\n"
        "WHERE c.status = 'done' GROUP BY ALL ORDER BY ALL;",
    ),
)


class ReportError(Exception):
    """A page cannot be built; the message says what is missing and where."""


def build_study(database_path: str | Path, study: str, output: str | Path) -> Path:
    """Write the page of ``study`` to ``output`` and return that path.

    Failed and missing cells, blocks that cannot be shown, and a maker of the page that fails are
    named on the page, which is then marked as not whole. Raises :class:`ReportError` when the run
    has no such study, or its probe has no page;
    :class:`~palimpsest.evidence.database.EvidenceError` when the database cannot be read.
    """
    with Database(database_path) as database:
        entries = evidence.studies(database)
        entry = next((entry for entry in entries if entry.study == study), None)
        if entry is None:
            known = ", ".join(entry.study for entry in entries) or "none"
            raise ReportError(f"no study {study!r} in {database_path}; it has: {known}")
        counts = evidence.counts(database, study)
        page, failure = _page(database, entry, counts)
        prepared = render.prepare(page.blocks, database, study)
        gaps, of_gaps = sourced("page-gaps", database, evidence.gaps, study)
        render.mark_affected(prepared, gaps)
        jobs, of_jobs = sourced("page-jobs", database, evidence.jobs, study)
        explored, unexplored = _explorer(database, entry, page)
        context = {
            "entry": entry,
            "page": page,
            "failure": failure,
            "counts": counts,
            "gaps": gaps.to_dicts(),
            "reasons": evidence.reasons(database, study),
            "unsound": evidence.unsound(database, study),
            "claims": evidence.claims(database, study),
            "jobs": jobs.to_dicts(),
            "sources": {
                "claims": claims_table(database, study),
                "gaps": of_gaps,
                "jobs": of_jobs,
            },
            "versions": sorted({value for value in jobs["versions"] if value}),
            "facts": evidence.run_facts(database),
            "glossary": render.glossary(prepared, _meanings(), page.terms),
            "broken": [item for item in prepared if item.error],
            "lacks": lacks(failure if counts["done"] else None, prepared, unexplored),
            "others": entries,
            "explorer": explored,
            "unexplored": unexplored,
        }
    return write_page("study.html", context, prepared, Path(output))


def build_index(database_path: str | Path, output: str | Path) -> Path:
    """Write the overview of the run to ``output`` and return that path.

    Pages of studies that lie beside it and are marked as not whole are warned of. Raises
    :class:`~palimpsest.evidence.database.EvidenceError` when the database cannot be read.
    """
    with Database(database_path) as database:
        entries = evidence.studies(database)
        coverage, of_map = sourced("page-map", database, evidence.coverage)
        cost, of_cost = sourced("page-cost", database, evidence.cost)
        models, of_models = sourced("page-models", database, evidence.models)
        by_study = {entry.study: evidence.claims(database, entry.study) for entry in entries}
        tally = Counter(c["verdict"] or "not tested" for some in by_study.values() for c in some)
        beside = {entry.study: lacking(Path(output).with_name(entry.page)) for entry in entries}
        context = {
            "entries": entries,
            "lacking": {study: words for study, words in beside.items() if words},
            "unclear": {
                reason: {
                    study: n for study, some in by_study.items() if (n := sum(map(is_so, some)))
                }
                for reason, is_so in _UNCLEAR.items()
            },
            "tested": tally.total(),
            "tally": sorted(tally.items(), key=lambda pair: _verdict_rank(pair[0])),
            "alarms": [entry for entry in entries if _alarming(database, entry.study)],
            "facts": evidence.run_facts(database),
            "differences": differences(),
            "claims": by_study,
            "counts": {entry.study: evidence.counts(database, entry.study) for entry in entries},
            "reasons": {entry.study: evidence.reasons(database, entry.study) for entry in entries},
            "unsound": {entry.study: evidence.unsound(database, entry.study) for entry in entries},
            "map": _map(coverage.to_dicts(), entries),
            "pages": {entry.study: entry.page for entry in entries},
            "titles": {entry.study: entry.title for entry in entries},
            "models": models.to_dicts(),
            "sources": {
                "claims": claims_table(database, None),
                "map": of_map,
                "cost": of_cost,
                "models": of_models,
            },
            "cost": cost.to_dicts(),
            "paid": evidence.paid(database),
            "total": {
                key: cost[key].sum() for key in ("jobs", "seconds", "gpu_hours", "energy_kwh")
            },
            "watts": (evidence.WATTS_PER_THREAD, evidence.WATTS_PER_ACCELERATOR),
            "database": Path(database_path).name,
            "queries": _QUERIES,
        }
    return write_page("index.html", context, [], Path(output))


#: Why claims are left open: reason -> whether it is that of a claim.
_UNCLEAR = {
    "power": evidence.has_low_power,
    "other": lambda claim: claim["verdict"] == "inconclusive" and not evidence.has_low_power(claim),
    "untested": lambda claim: (claim["verdict"] or "not tested") == "not tested",
}


def _verdict_rank(verdict: str) -> tuple[int, str]:
    return (
        evidence.VERDICTS.index(verdict)
        if verdict in evidence.VERDICTS
        else len(evidence.VERDICTS),
        verdict,
    )


def _gap_words(counts: dict[str, int]) -> str:
    """``2 failed, 1 missing``; what is none is not named."""
    parts = ((counts[key], key) for key in ("failed", "missing"))
    return ", ".join(f"{formatting.number(n)} {key}" for n, key in parts if n)


def _power_words(claim: dict[str, Any]) -> str:
    """What a study of this size can find; nothing where it is not known."""
    size = claim["detectable"]
    if size is None:
        return ""
    smallest, shown = claim["smallest"], formatting.number(size, 2)
    within = claim["direction"] == "within"
    if within:
        words = f"a study of this size shows no difference to lie within {shown} with power 80%"
    else:
        words = f"a study of this size finds {shown} beyond the threshold with power 80%, about"
    if smallest is None:
        return words
    stated = f"{formatting.number(smallest)} {'is the margin' if within else 'would matter'}"
    low = size > smallest and claim["verdict"] == "inconclusive"
    return f"{words}; {stated}{': low power' if low else ''}"


def _alarming(database: Database, study: str) -> bool:
    """True when the overview must warn about the study."""
    counts = evidence.counts(database, study)
    return (
        counts["done"] < counts["planned"]
        or counts["planned"] == 0
        or bool(evidence.unsound(database, study))
        or not evidence.claims(database, study)
    )


def _page(
    database: Database, entry: evidence.StudyEntry, counts: dict[str, int]
) -> tuple[StudyPage, str | None]:
    """The probe's page; an empty one, with the reason, where nothing is there to report."""
    module = f"palimpsest.probes.{entry.probe}.figures"
    try:
        maker = importlib.import_module(module).page
    except (ImportError, AttributeError) as error:
        raise ReportError(
            f"probe {entry.probe!r} of study {entry.study!r} has no page: expected "
            f"page(database, study) in {module} ({error})"
        ) from error
    try:
        page = maker(database, entry.study)
        references = with_statistics(page.references, page.methods)
        methods = [*page.methods, *states(database, entry.study)]
        return replace(page, references=references, methods=methods), None
    except Exception as error:
        bare = StudyPage(entry.study, entry.title, entry.question, summary=[])
        if counts["done"]:
            LOG.exception("%s: %s.page failed", entry.study, module)
            return bare, (
                f"{module}.page failed, so that summary, figures, tables and methods are not "
                f"here: {type(error).__name__}: {error}"
            )
        LOG.warning("%s: no cell is done, the page holds the reasons only", entry.study)
        return bare, "No cell of this study is done, so there is nothing to show but the reasons."


def _explorer(
    database: Database, entry: evidence.StudyEntry, page: StudyPage
) -> tuple[explore.Explorer | None, str | None]:
    """The explorer of a study, or why there is none: it must not cost a reader the page."""
    try:
        return explore.explorer(database, entry, page.explore), None
    except Exception as error:
        LOG.exception("%s: no explorer", entry.study)
        return None, f"{type(error).__name__}: {error}"


def write_page(
    template: str, context: dict[str, Any], prepared: list[render.Prepared], output: Path
) -> Path:
    """Write a page with as much of its data as the budget allows; returns ``output``."""
    for limits in LIMITS:
        html = _render(template, context | {"blocks": prepared, "limits": limits})
        size = len(html.encode())
        if size <= BUDGET:
            break
    else:
        LOG.warning("%s: %d bytes, above the budget of %d", output, size, BUDGET)
    _write(output, html)
    return output


def _render(template: str, context: dict[str, Any]) -> str:
    style, script = _assets()
    return (
        _environment()
        .get_template(template)
        .render(
            **context,
            style=Markup(style),
            script=Markup(script),
            policy=_policy(style, script),
        )
    )


def _write(output: Path, html: str) -> None:
    """Write beside the place and rename: a reader sees the old page or the new one."""
    with atomic(output) as temporary:
        temporary.write_text(html, encoding="utf-8", newline="\n")


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("palimpsest.reports", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Everything printed is untrusted: what cannot be seen becomes visible, the rest escaped.
        finalize=formatting.visible,
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": True, "separators": (",", ":")}
    environment.filters |= {
        "unit": formatting.unit,
        "number": formatting.number,
        "rounded": formatting.rounded,
        "bounds": formatting.bounds,
        "duration": formatting.duration,
        "energy": formatting.energy,
        "share": formatting.share,
        "p_equals": formatting.p_equals,
        "gap_words": _gap_words,
        "power_words": _power_words,
        "plain": formatting.plain,
        "pretty": lambda value: json.dumps(value, indent=1, ensure_ascii=False),
        "link": lambda page: formatting.plain(quote(page)),
        "safe_link": _safe_link,
        "svg": Markup,
    }
    environment.globals |= {
        "claim_digits": formatting.claim_digits,
        "digits": lambda low, high: formatting.interval_digits((low, high)),
        "table_view": render.table_view,
        "data_view": render.data_view,
        "gallery_view": render.gallery_view,
        "download": render.download,
        "file_of": file_of,
        "label": explore.label,
    }
    return environment


def _safe_link(url: str) -> str:
    """``url`` when it is http or https, else nothing: no other scheme is ever linked."""
    return url if url.startswith(("https://", "http://")) else ""


@cache
def _assets() -> tuple[str, str]:
    folder = resources.files("palimpsest.reports") / "templates"
    style = (folder / "page.css").read_text("utf-8")
    style = style.replace("/* light hues */", variables(dark=False))
    style = style.replace("/* dark hues */", variables(dark=True))
    scripts = ((folder / name).read_text("utf-8") for name in ("page.js", "explore.js"))
    return style, "".join(scripts)


def _policy(style: str, script: str) -> str:
    hashes = {
        kind: base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for kind, text in (("style", style), ("script", script))
    }
    return (
        f"default-src 'none'; style-src 'sha256-{hashes['style']}'; "
        f"script-src 'sha256-{hashes['script']}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _meanings() -> dict[str, str]:
    """What each column of the database means; the first table that has the name decides."""
    order = ("statistics", "observations", "cells", "models", "claims", "provenance")
    meanings: dict[str, str] = {}
    for table in order:
        for column, (_, meaning) in TABLES[table].items():
            meanings.setdefault(column, meaning)
    return meanings


def _map(
    rows: list[dict[str, Any]], entries: list[evidence.StudyEntry]
) -> dict[str, list[dict[str, Any]]]:
    """Model -> its states in the run, each with what every study found in it."""
    after = {entry.study: entry.after for entry in entries}
    models: dict[str, dict[str, dict[str, Any]]] = {}
    for row in rows:
        steps = after[row["study"]].get(row["role"])
        state = models.setdefault(row["model"], {}).setdefault(
            f"{row['role']} {steps}",
            {"role": row["role"], "after": steps, "studies": [], "states": 0},
        )
        state["studies"].append(row)
        state["states"] = max(state["states"], row["states"])
    return {model: list(states.values()) for model, states in models.items()}
