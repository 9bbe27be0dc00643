"""Files that are either whole or absent."""

from __future__ import annotations

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
        yield temporary
        if durable:
            _flush(temporary)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
        if durable:
            _flush(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        if error.errno is not None and error.errno in (28, 122):
            free = os.statvfs(path.parent)
            raise OSError(
                error.errno,
                f"disk full while writing {path} ({free.f_bavail * free.f_frsize:,} bytes free)",
            ) from error
        raise
    except BaseException:
        temporary.unlink(missing_ok=True)
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
