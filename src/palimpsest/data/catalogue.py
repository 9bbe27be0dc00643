"""All series by name: what they are, who published them, under which licence, and their numbers.

Nothing is read before :func:`load_series` is called, and no package is imported to read its file.
A new source is one module with ``PACKAGE``, ``SERIES`` and ``read``, named in ``_SOURCES``.
"""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import polars as pl

from palimpsest.data import (
    arch_markets,
    cpi_bls,
    ecb_rates,
    rdatasets,
    statsmodels_macro,
    vega_stocks,
)
from palimpsest.data.series import SCHEMA, SeriesInfo, check_frame

_SOURCES = {
    module.__name__.rsplit(".", 1)[-1]: module
    for module in (
        statsmodels_macro,
        cpi_bls,
        ecb_rates,
        arch_markets,
        vega_stocks,
        rdatasets,
    )
}

#: The listed series by slug; :func:`series_info` knows every consumer price series besides.
CATALOGUE: dict[str, SeriesInfo] = {
    slug: info for module in _SOURCES.values() for slug, info in module.SERIES.items()
}


@dataclass(frozen=True)
class Licence:
    """A licence; a ``restricted`` one must be accepted in the configuration before use."""

    name: str
    restricted: bool
    note: str = ""


#: Licences of the packages that carry the series.
LICENCES: dict[str, Licence] = {
    "public-domain": Licence("public domain", False),
    "MIT": Licence("MIT License", False, "Covers the package; figures of the BLS are public."),
    "Apache-2.0": Licence("Apache License 2.0", False),
    "NCSA": Licence(
        "University of Illinois/NCSA Open Source License",
        False,
        "Covers the package; the publishers of the figures may have rights of their own.",
    ),
    "GPL-3": Licence(
        "GNU General Public License, version 3",
        True,
        "Wrapper of many data sets with licences of their own; its files are pickles.",
    ),
}


def available(accepted: Iterable[str] = ()) -> list[str]:
    """Names that :func:`load_series` can load here, in the order of the catalogue.

    Left out: series of packages that are not installed, and series under a restricted licence that
    is not in ``accepted``.
    """
    installed = {
        name: importlib.util.find_spec(module.PACKAGE) is not None
        for name, module in _SOURCES.items()
    }
    accepted = set(accepted)
    return [
        slug
        for slug, info in CATALOGUE.items()
        if installed[info.source]
        and (info.licence in accepted or not LICENCES[info.licence].restricted)
    ]


def check_accepted(names: Sequence[str], accepted: Sequence[str]) -> None:
    """Raise unless every restricted licence of the named series is in ``accepted``.

    ``accepted`` holds keys of :data:`LICENCES`, from the configuration's ``data.accept``.

    Raises:
        ValueError: names the series, their licence and the key of the configuration; or unknown
            names, as :func:`load_series` does.
    """
    refused: dict[str, list[str]] = {}
    origins = {name: origin(name) for name in names}
    _refuse_unknown(name for name, found in origins.items() if found is None)
    for name, (_, licence) in origins.items():
        if LICENCES[licence].restricted and licence not in accepted:
            refused.setdefault(licence, []).append(name)
    if refused:
        raise ValueError(
            "\n".join(
                f"{', '.join(slugs)}: under {licence} ({LICENCES[licence].name}); "
                f'to use, add "{licence}" to data.accept in the configuration'
                for licence, slugs in refused.items()
            )
        )


def load_series(names: Sequence[str], accepted: Sequence[str] = ()) -> pl.DataFrame:
    """The named series in one frame, as ``palimpsest.data.series`` documents it.

    A name given twice counts once; no names give an empty frame. Each source is read once.

    Raises:
        ValueError: unknown names (with the nearest known ones), or a restricted licence that is
            not in ``accepted`` (see :func:`check_accepted`).
        ModuleNotFoundError: the package of a series is not installed.
    """
    check_accepted(names, accepted)
    slugs: dict[str, list[str]] = {}
    for info in _infos(dict.fromkeys(names)):
        slugs.setdefault(info.source, []).append(info.slug)
    frames = [_SOURCES[source].read(chosen) for source, chosen in slugs.items()]
    frame = pl.concat([pl.DataFrame(schema=SCHEMA), *frames]).sort("series", "date")
    check_frame(frame)
    return frame


@lru_cache(maxsize=1024)
def series_info(name: str) -> SeriesInfo | None:
    """What is known about a series: of the catalogue, or any of the BLS by its id, such as
    ``cuur0000setb01``; None for a name that is neither.
    """
    listed = CATALOGUE.get(name)
    if listed is None and importlib.util.find_spec(cpi_bls.PACKAGE) is not None:
        return cpi_bls.by_slug(name)
    return listed


def origin(name: str) -> tuple[str, str] | None:
    """Source module and licence of a series, without reading its numbers; None as above."""
    listed = CATALOGUE.get(name)
    if listed is not None:
        return listed.source, listed.licence
    if importlib.util.find_spec(cpi_bls.PACKAGE) is not None and cpi_bls.knows(name):
        return "cpi_bls", cpi_bls.LICENCE
    return None


def _infos(names: Iterable[str]) -> list[SeriesInfo]:
    infos = {name: series_info(name) for name in names}
    _refuse_unknown(name for name, info in infos.items() if info is None)
    return [infos[name] for name in names]


def _refuse_unknown(names: Iterable[str]) -> None:
    if unknown := list(names):
        raise ValueError("\n".join(_unknown(name) for name in unknown))


def _unknown(name: str) -> str:
    nearest = difflib.get_close_matches(name, CATALOGUE, n=3, cutoff=0.5)
    hint = f"; nearest: {', '.join(nearest)}" if nearest else ""
    return f"no series called {name!r}{hint}"
