"""What a page should show and does not: said on the page, in its head, and on the overview."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

from palimpsest.reports.render import Prepared

#: How a page that is not whole says so in its head; within so many characters.
_LACKS = re.compile(r'<meta name="palimpsest-lacks" content="([^"]*)">')
_HEAD = 4_000


def lacks(failure: str | None, prepared: list[Prepared], unexplored: str | None) -> list[str]:
    """What a page should show and does not, in words; nothing where it is whole."""
    broken = [item.label or item.block.title for item in prepared if item.error]
    words = [failure] if failure else []
    words += [f"not shown: {', '.join(broken)}"] if broken else []
    return words + (["not shown: the explorer"] if unexplored else [])


def lacking(page: Path) -> str:
    """What a written page says that it lacks; nothing where it is whole or not there."""
    if not page.is_file():
        return ""
    with page.open(encoding="utf-8") as file:
        found = _LACKS.search(file.read(_HEAD))
    return unescape(found[1]) if found else ""
