"""Data files that lie on the Hugging Face hub: fetched and read, never executed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

VERSION = 1


def fetched(repository: str, prefix: str, revision: str | None, name: str) -> list[Path]:
    """Files of a data set whose names begin with ``prefix``, from the hub or its cache, sorted.

    Args:
        repository: owner and name of the data set.
        prefix: beginning of the paths inside it.
        revision: a commit or branch; None: the newest.
        name: what the user called it, for the message.

    Raises:
        ValueError: it cannot be fetched, or there is no such file.
    """
    from huggingface_hub import HfApi, hf_hub_download

    try:
        files = HfApi().list_repo_files(repository, repo_type="dataset", revision=revision)
        chosen = sorted(file for file in files if file.startswith(prefix))
        found = [
            Path(hf_hub_download(repository, file, repo_type="dataset", revision=revision))
            for file in chosen
        ]
    except Exception as error:
        # Whatever the library or the network raises: the user needs to know what was wanted.
        raise ValueError(f"{name}: cannot be fetched from {repository}: {error}") from error
    if not found:
        raise ValueError(f"{name}: {repository} has no file {prefix}* (revision {revision})")
    return found


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a Parquet file, or of one of JSON lines."""
    import polars as pl

    frame = pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_ndjson(path)
    yield from frame.iter_rows(named=True)
