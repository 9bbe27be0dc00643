"""Identity of everything that is computed: canonical text, hashes, code fingerprints.

Two things with the same identity have the same numbers; two things with different numbers have
different identities. Defaults are left out of canonical text, so a new optional setting leaves old
identities valid.
"""

from __future__ import annotations

import ast
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel

PACKAGE = Path(__file__).parent


def canonical(value: Any) -> str:
    """Canonical JSON of ``value``: sorted keys, no spaces; pydantic models without defaults."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json", exclude_defaults=True)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(*parts: Any, length: int = 12) -> str:
    """Hexadecimal hash of the canonical text of ``parts``."""
    text = "\x1f".join(part if isinstance(part, str) else canonical(part) for part in parts)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def seed_of(*parts: Any) -> int:
    """A 63-bit seed that depends on ``parts`` alone, not on order of execution or other cells."""
    return int(digest(*parts, length=16), 16) >> 1


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file, read in pieces.

    Raises:
        OSError: the file cannot be read.
    """
    hasher = hashlib.sha256()
    with open(path, "rb") as handle:
        while piece := handle.read(1 << 20):
            hasher.update(piece)
    return hasher.hexdigest()


def code_fingerprint(module: str, files: tuple[str, ...] | None = None) -> str:
    """Fingerprint of the code of a module or of named files in a package folder.

    The hash is taken over the syntax tree without docstrings and without the class ``Settings``,
    so comments, formatting, documentation and a new optional setting change nothing (the values of
    settings have their own place in an identity; a changed default needs a new ``VERSION``, which
    a test keeps). Behind it stand the ``VERSION`` integers of the engine modules that the code
    names in ``ENGINE``, and of those that these name in turn.

    Args:
        module: dotted name below ``palimpsest``, such as ``probes.economic_recall``.
        files: names of the files in the folder that decide the numbers; all when None.

    Raises:
        FileNotFoundError: no such module.
    """
    place = PACKAGE.joinpath(*module.split("."))
    if place.is_dir():
        paths = sorted(place.glob("*.py")) if files is None else [place / name for name in files]
    else:
        paths = [place.with_suffix(".py")]
    sources = [_read(path, dumped=True) for path in paths]
    waiting = [name for source in sources for name in source.engine]
    versions: dict[str, int] = {}
    while waiting:
        name = waiting.pop()
        if name not in versions:
            versions[name] = engine_version(name)
            waiting.extend(_read(_file(name)).engine)
    return digest([source.dump for source in sources], versions)


def folder_hash(module: str) -> str:
    """Hash of every file of a package folder, templates and styles included."""
    place = PACKAGE.joinpath(*module.split("."))
    paths = sorted(p for p in place.rglob("*") if p.is_file() and p.suffix != ".pyc")
    return digest([[str(p.relative_to(place)), file_sha256(p)] for p in paths])


def engine_version(module: str) -> int:
    """The ``VERSION`` integer of a module below ``palimpsest``, read without importing it.

    Raises:
        ValueError: the module states no VERSION.
    """
    version = _read(_file(module)).version
    if not version:
        raise ValueError(f"palimpsest.{module} is named in ENGINE but has no VERSION integer")
    return version


def _file(module: str) -> Path:
    return PACKAGE.joinpath(*module.split(".")).with_suffix(".py")


def _read(path: Path, dumped: bool = False) -> _Source:
    return _source(path.read_text(encoding="utf-8"), dumped)


class _Source(NamedTuple):
    """What identities rest on in the text of a module; ``dump`` is empty where it was not asked."""

    engine: tuple[str, ...]
    version: int
    dump: str


@cache
def _source(text: str, dumped: bool) -> _Source:
    """Kept by the text, so a file that was changed is read anew.

    Every start of a run and every job of a cluster asks for the same few hundred files many times.
    """
    tree = ast.parse(text)
    engine, version = _literal(tree, "ENGINE", ()), _literal(tree, "VERSION", 0)
    dump = ast.dump(_without_docstrings(_without_settings(tree))) if dumped else ""
    return _Source(engine, version, dump)


def _literal(tree: ast.Module, name: str, default: Any) -> Any:
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == name for target in node.targets
        ):
            return ast.literal_eval(node.value)
    return default


def _without_settings(tree: ast.Module) -> ast.Module:
    tree.body = [
        node
        for node in tree.body
        if not (isinstance(node, ast.ClassDef) and node.name == "Settings")
    ]
    return tree


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and body
            and isinstance(body[0], ast.Expr)
            and isinstance(body[0].value, ast.Constant)
            and isinstance(body[0].value.value, str)
        ):
            body[0].value.value = ""
    return tree
