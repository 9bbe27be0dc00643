"""The command line: plan, status, partial reports, comparisons, models, series, new probes."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from palimpsest import __version__


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    arguments = _parser().parse_args(argv)
    try:
        return arguments.run(arguments) or 0
    except BrokenPipeError:
        # The reader of a pipe, such as head, has seen enough; nothing more may be written to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        # The package's own errors are written for users; anything else is a bug and shows itself.
        own = type(error).__module__.startswith("palimpsest.")
        if not own and not isinstance(error, OSError | ValueError):
            raise
        print(f"palimpsest: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="palimpsest", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run, text: str, configured: bool = False) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text)
        made.set_defaults(run=run)
        if configured:
            made.add_argument(
                "--configfile", default="config/config.yaml", help="configuration to read"
            )
        return made

    command("plan", _plan, "What would run, what is finished, how long it takes, and why", True)
    command("status", _status, "Cells done, time left, failures with the end of their logs", True)
    report = command("report", _report, "Build the report of what is finished so far", True)
    report.add_argument("--partial", action="store_true", help="mark what is missing")
    compare = command("compare", _compare, "Compare two runs: what changed, beyond noise?")
    compare.add_argument("old", help="database, or folder of a run")
    compare.add_argument("new", help="the same of the other run")
    compare.add_argument("--output", default="reports/compare.html", help="page to write")
    compare.add_argument(
        "--margin", type=float, default=0.05, help="what counts as no change of a share"
    )
    compare.add_argument(
        "--margin-spread",
        type=float,
        default=0.2,
        help="the same for other metrics, in standard deviations of single values",
    )
    series = command("series", _series, "List the series that studies may name")
    series.add_argument("pattern", nargs="?", default="", help="part of a name")
    series.add_argument("--bls", action="store_true", help="all US consumer prices, by id")
    models = command(
        "models",
        _models,
        "Check a model: load it and score a sentence, or ask its server once",
        True,
    )
    models.add_argument("action", choices=["check", "list"])
    models.add_argument("name", nargs="?", help="entry of the models file")
    new = command("new", _new, "Make a new probe from the template, with its test")
    new.add_argument("kind", choices=["probe"])
    new.add_argument("name", help="name of the probe, in snake_case")
    clean = command("clean", _clean, "Delete what can be made again; says how much it frees", True)
    clean.add_argument("--states", action="store_true", help="weights of states")
    clean.add_argument(
        "--failed",
        action="store_true",
        help="failed cells, states that diverged, the database: all made by the next run",
    )
    clean.add_argument("--orphans", action="store_true", help="what is no longer used")
    clean.add_argument(
        "--all", action="store_true", help="all results and pages, but no replies of endpoints"
    )
    clean.add_argument("--dry-run", action="store_true", help="only say what would be deleted")
    command("schemas", _schemas, "Write the JSON schemas of the configuration for editors")
    return parser


def _loaded(arguments: argparse.Namespace):
    from palimpsest.config import load
    from palimpsest.grid import expand

    config, models = load(arguments.configfile)
    return config, expand(config, models)


def _plan(arguments: argparse.Namespace) -> None:
    from palimpsest.plan import describe

    config, plan = _loaded(arguments)
    print(describe(plan, config))


def _status(arguments: argparse.Namespace) -> None:
    from palimpsest.status import describe

    print(describe(_loaded(arguments)[1]))


def _report(arguments: argparse.Namespace) -> None:
    from palimpsest.partial import build

    page = build(_loaded(arguments)[1], allow_missing=arguments.partial)
    print(page)


def _compare(arguments: argparse.Namespace) -> None:
    from palimpsest.reports.compare import build_compare

    margins = arguments.margin, arguments.margin_spread
    print(build_compare(arguments.old, arguments.new, arguments.output, *margins))


def _series(arguments: argparse.Namespace) -> None:
    if arguments.bls:
        from palimpsest.data.cpi_bls import titles, with_numbers

        words = arguments.pattern.lower().split()
        for slug, title in titles().select("id", "title").iter_rows():
            if slug in with_numbers() and all(w in f"{slug} {title}".lower() for w in words):
                print(f"{slug.lower():20} {title}")
        return
    from palimpsest.data.catalogue import CATALOGUE

    for info in CATALOGUE.values():
        if arguments.pattern in info.slug or arguments.pattern in info.name:
            print(f"{info.slug:30} {info.frequency:8} {info.licence:14} {info.name}")


def _models(arguments: argparse.Namespace) -> int | None:
    plan = _loaded(arguments)[1]
    from palimpsest.config import load

    entries = load(arguments.configfile)[1]
    if arguments.action == "list":
        for name, entry in entries.items():
            print(f"{name:28} {entry.source:10} cutoff {entry.knowledge_cutoff or 'unknown'}")
        return None
    if arguments.name not in entries:
        raise ValueError(f"model {arguments.name!r}: allowed are {', '.join(sorted(entries))}")
    if entries[arguments.name].source == "endpoint":
        from palimpsest.models.endpoint.model import check

        print(f"{arguments.name}: {check(entries[arguments.name])}")
        return None
    from palimpsest.grid import _model
    from palimpsest.jobs import prepare_model

    model = plan.models.get(arguments.name) or _model(arguments.name, entries[arguments.name])
    manifest = plan.manifest_path(model.manifest)
    if not model.output.exists():
        from palimpsest.files import write_json

        write_json(manifest, model.manifest)
        prepare_model(str(manifest), str(model.output))
    from palimpsest.engine.scoring import log_likelihoods
    from palimpsest.models.loading import load as load_model

    loaded = load_model(model.output)
    (values,) = log_likelihoods(loaded, ["The capital of France is"], [[" Paris."]])[0]
    size = sum(p.numel() for p in loaded.module.parameters())
    print(
        f"{arguments.name}: {size:,} weights, {loaded.dtype}; log p(' Paris.') = "
        f"{values.sum():.2f} nats over {len(values)} tokens; packed scoring "
        f"{'is exact' if loaded.packs else 'is not possible here, plain scoring is used'}"
    )
    return None


def _new(arguments: argparse.Namespace) -> None:
    from palimpsest.scaffold import new_probe

    for line in new_probe(arguments.name, Path.cwd()):
        print(line)


def _clean(arguments: argparse.Namespace) -> None:
    from palimpsest.cleaning import clean

    if not (arguments.states or arguments.failed or arguments.orphans or arguments.all):
        raise ValueError("say what to delete: --states, --failed, --orphans or --all")
    plan = _loaded(arguments)[1]
    print(
        clean(
            plan,
            states=arguments.states,
            failed=arguments.failed,
            orphans=arguments.orphans,
            everything=arguments.all,
            dry_run=arguments.dry_run,
        )
    )


def _schemas(arguments: argparse.Namespace) -> None:
    from palimpsest.config import json_schemas

    for name, schema in json_schemas().items():
        path = Path("workflow/schemas") / name
        path.write_text(json.dumps(schema, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        print(path)


if __name__ == "__main__":
    sys.exit(main())
