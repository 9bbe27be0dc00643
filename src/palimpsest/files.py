"""Files that are either whole or absent."""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def atomic(path: str | Path, *, durable: bool = True) -> Iterator[Path]:
    """A temporary path beside ``path`` that replaces it when the block ends without an error.

    If ``durable``, the file is flushed to disk before the rename, and the folder after it, so that
    even a crash of the machine leaves either the old file or the new one.

    Raises:
        OSError: the disk is full or the folder cannot be written; the message names the path and
            the free space.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        with naming_full_disk(path):
            yield temporary
            if durable:
                _flush(temporary)
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, path)
            if durable:
                _flush(path.parent)
    except BaseException:
        # With it what a library has put beside it, such as DuckDB's log.
        for left in path.parent.glob(f"{glob.escape(temporary.name)}*"):
            left.unlink(missing_ok=True)
        raise


@contextmanager
def naming_full_disk(path: Path) -> Iterator[None]:
    """Errors of a full disk, whoever raises them, as one that names ``path`` and the free space.

    Raises:
        OSError: the disk or a quota is full.
    """
    try:
        yield
    except Exception as error:
        if number := _disk_full(error):
            free = os.statvfs(path.parent)
            raise OSError(
                number,
                f"disk full while writing {path} ({free.f_bavail * free.f_frsize:,} bytes free); "
                "make room and run again",
            ) from None
        raise


def write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` as JSON for a person to read, atomically."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def read_json(path: str | Path) -> Any:
    """Read JSON.

    Raises:
        OSError: cannot be read.
        ValueError: not JSON; the message names the file.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not valid JSON: {error}") from None


def ensure_text(path: str | Path, text: str) -> None:
    """Make ``path`` hold ``text``, atomically; nothing is written where it does already.

    Not flushed to disk: for many small files that are made anew when a crash spoils them.
    """
    try:
        if Path(path).read_text(encoding="utf-8") == text:
            return
    except (OSError, UnicodeDecodeError):
        pass
    with atomic(path, durable=False) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_sealed(path: str | Path, value: dict[str, Any]) -> None:
    """As :func:`write_json`, with the SHA-256 of the content in it under ``seal``."""
    rest = {key: part for key, part in value.items() if key != "seal"}
    write_json(path, rest | {"seal": _seal(rest)})


def read_sealed(path: str | Path) -> dict[str, Any]:
    """Read what :func:`write_sealed` has written; ``seal`` is left out.

    One without a seal is refused too: a flipped bit may have taken its name.

    Raises:
        OSError: cannot be read.
        ValueError: not a JSON object, or its content has changed; the message names the file.
    """
    value = read_json(path)
    if not isinstance(value, dict):
        raise ValueError(f"{path}: not a JSON object")
    seal = value.pop("seal", None)
    if seal != _seal(value):
        raise ValueError(f"{path}: content differs from its recorded SHA-256")
    return value


def _seal(value: dict[str, Any]) -> str:
    # As it will be read: keys are text, tuples are lists.
    text = json.dumps(json.loads(json.dumps(value)), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _disk_full(error: BaseException | None) -> int | None:
    """The number of the error if it is, or comes from, a full disk or quota.

    Libraries that write themselves (safetensors, DuckDB, polars) raise errors of their own, in
    which only the system's words tell.
    """
    while error is not None:
        number = getattr(error, "errno", None)
        for kind in (errno.ENOSPC, errno.EDQUOT):
            if number == kind or (number is None and os.strerror(kind) in str(error)):
                return kind
        error = error.__cause__ or error.__context__
    return None


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
