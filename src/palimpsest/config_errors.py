"""Problems of a configuration in words: file, key path, what was given and what is allowed."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from palimpsest.data.json_lines import storable

_SHOWN = 80
#: Keys whose values may hold a secret by mistake: they are not repeated.
_SECRET = ("key_env", "base_url", "extra")
_PROBLEMS = 5
#: Words for pydantic's messages that speak of Python rather than of YAML.
_IN_WORDS = {
    "dict_type": "a mapping of keys",
    "model_type": "a mapping of keys",
    "model_attributes_type": "a mapping of keys",
    "list_type": "a list",
    "invalid_key": "keys that are text",
}


class ConfigError(ValueError):
    """The configuration cannot be used; the message is meant for the user."""


def explain(error: ValidationError, schema: dict[str, Any], path: str | Path) -> str:
    """The first problems, one a line.

    Args:
        error: what pydantic found.
        schema: JSON schema of the model that was checked, for the keys that are allowed.
        path: file that the configuration was read from.
    """
    problems = error.errors(include_url=False)
    if any(problem["type"] == "extra_forbidden" for problem in problems):
        # A required key that is misspelt is one mistake, not two.
        problems = [problem for problem in problems if problem["type"] != "missing"]
    lines = [_explained(problem, schema, path) for problem in problems[: 4 * _PROBLEMS]]
    return "\n".join(list(dict.fromkeys(lines))[:_PROBLEMS])


def message(
    path: str | Path, where: str, given: str, allowed: str, near: Collection[str] = ()
) -> str:
    """One line for one problem, with the nearest allowed word if there is one."""
    hint = f"; did you mean {next(iter(near))}?" if near else ""
    return f"{path}: {where}: given {given}, allowed: {allowed}{hint}"


def refuse_unstorable(raw: Any, path: str | Path) -> None:
    """Raise ConfigError for text, wherever it stands, that files and databases cannot hold.

    YAML can write a NUL and halves of characters as escapes, and a command line any byte.
    """
    met = set()
    todo = [(raw, "")]
    while todo:
        value, where = todo.pop()
        if isinstance(value, str) and not storable(value):
            allowed = "text without NUL and without halves of surrogate pairs"
            raise ConfigError(message(path, where, "text that no file can hold", allowed))
        # By aliases a few lines of YAML can hold themselves, or one thing a million times.
        if not isinstance(value, dict | list) or id(value) in met:
            continue
        met.add(id(value))
        if isinstance(value, list):
            todo += [(each, f"{where}[{place}]") for place, each in enumerate(value)]
            continue
        for key, each in value.items():
            inner = f"{where}.{_printable(key)}" if where else _printable(key)
            todo += [(each, inner), (key, inner)]


def nearest(word: Any, allowed: Collection[str]) -> list[str]:
    """The allowed word most like ``word``, if any is, in capitals or without what stands before a
    point too."""
    meant = str(word).lower()
    ends = {each.rsplit(".", 1)[-1]: each for each in allowed} | {each: each for each in allowed}
    return [ends[each] for each in difflib.get_close_matches(meant, ends, 1)]


def shown(value: Any) -> str:
    """A short printable form of what was given, however large or deeply nested it is."""
    short = reprlib.Repr()
    short.maxstring, short.maxlevel, short.maxother = _SHOWN, 3, _SHOWN
    try:
        text = short.repr(value)
    except ValueError:
        text = "a number of very many digits"
    text = text if text.isprintable() else ascii(text)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def _explained(problem: Any, schema: dict[str, Any], path: str | Path) -> str:
    where = _key_path(problem["loc"], schema)
    kind, given = problem["type"], problem["input"]
    if kind == "extra_forbidden":
        siblings = sorted(_node_at(problem["loc"][:-1], schema).get("properties", {}))
        # Of unlearning alone, all that begins with it is meant.
        beginning = [key for key in siblings if key.startswith(f"{where.rsplit('.', 1)[-1]}.")]
        near = [] if beginning else nearest(problem["loc"][-1], siblings)
        siblings = beginning or siblings
        return message(path, where, "an unknown key", f"the keys {', '.join(siblings)}", near)
    if kind == "missing":
        return message(path, where, "nothing", "a value: this key is required")
    if kind.startswith("union_tag"):
        key = problem["ctx"]["discriminator"].strip("'")
        members = _node_at(problem["loc"], schema).get("discriminator", {})
        allowed = sorted(members.get("mapping", {}))
        tag = problem["ctx"].get("tag")
        given = shown(tag) if tag is not None else "nothing"
        return message(path, f"{where}.{key}", given, ", ".join(allowed), nearest(tag, allowed))
    allowed = problem["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if any(part in _SECRET for part in problem["loc"]):
        told = "a mapping" if isinstance(given, dict) else "a text"
    elif isinstance(given, dict) and not given.keys().isdisjoint(_SECRET):
        told = f"the keys {shown(sorted(map(str, given)))}"
    else:
        told = shown(given)
    return message(path, where, told, _IN_WORDS.get(kind, allowed))


def _key_path(loc: tuple, schema: dict[str, Any]) -> str:
    """Pydantic's location without the tags of unions, which no user has written."""
    text = ""
    node: dict[str, Any] = schema
    for part in loc:
        node = _resolved(node, schema)
        if _is_tag(part, node):
            node = _child(part, node)
            continue
        if isinstance(part, int) and "items" in node:
            text += f"[{part}]"
        elif part != "[key]":
            text += f".{_printable(part)}" if text else _printable(part)
        node = _child(part, node)
    return text or "(top level)"


def _printable(key: Any) -> str:
    text = key if isinstance(key, str) else shown(key)
    return text if text.isprintable() else ascii(text)


def _node_at(loc: tuple, schema: dict[str, Any]) -> dict[str, Any]:
    """The part of the schema to which ``loc`` points."""
    node = schema
    for part in loc:
        node = _child(part, _resolved(node, schema))
    return _resolved(node, schema)


def _is_tag(part: Any, node: dict[str, Any]) -> bool:
    return part in node.get("discriminator", {}).get("mapping", {})


def _child(part: Any, node: dict[str, Any]) -> dict[str, Any]:
    if part in node.get("properties", {}):
        return node["properties"][part]
    if part in node.get("discriminator", {}).get("mapping", {}):
        return {"$ref": node["discriminator"]["mapping"][part]}
    if isinstance(part, int) and "items" in node:
        return node["items"]
    for key in ("additionalProperties", "patternProperties"):
        if isinstance(node.get(key), dict):
            inner = node[key]
            return next(iter(inner.values())) if key == "patternProperties" else inner
    return {}


def _resolved(node: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """Follow references, and of optional values the one that is not null."""
    while True:
        if "$ref" in node:
            node = schema["$defs"].get(node["$ref"].rsplit("/", 1)[-1], {})
        elif "anyOf" in node and "properties" not in node:
            node = next((n for n in node["anyOf"] if "$ref" in n or "items" in n), {})
        else:
            return node
