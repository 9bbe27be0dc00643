"""Replies of servers on disk: what was asked once is not asked, and not paid, again.

One file a request, named by the SHA-256 of the canonical request, holds the request, the reply and
their hash. Neither headers nor keys are part of it. A file that does not verify is asked again.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from palimpsest.files import atomic
from palimpsest.identity import canonical, digest

#: Where the replies of all models lie.
REQUESTS = Path("results/requests")


def folder_of(base_url: str, name: str) -> Path:
    """Folder of a server's model, whatever the entry is called and how it is asked."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-")[:60] or "model"
    return REQUESTS / f"{plain}-{digest(base_url, name)[:8]}"


@dataclass(frozen=True)
class Request:
    """What is sent: ``path`` such as ``chat/completions`` and the JSON body."""

    path: str
    body: dict[str, Any]

    @property
    def key(self) -> str:
        """SHA-256 of the canonical request."""
        return _sha256(self.canonical())

    def canonical(self) -> str:
        """The request as canonical JSON."""
        return canonical({"path": self.path, "body": self.body})


@dataclass(frozen=True)
class Cache:
    """Replies in one folder."""

    folder: Path

    def path(self, request: Request) -> Path:
        """File of a request."""
        return self.folder / request.key[:2] / f"{request.key}.json"

    def read(self, request: Request) -> dict[str, Any] | None:
        """The reply to a request; None where there is none, or its file is damaged."""
        try:
            stored = json.loads(self.path(request).read_text(encoding="utf-8"))
            reply = stored["reply"]
            if stored["sha256"] != _sha256(request.canonical(), canonical(reply)):
                return None
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return reply if isinstance(reply, dict) else None

    def write(self, request: Request, reply: dict[str, Any]) -> None:
        """Keep a reply, whole or not at all."""
        stored = {
            "sha256": _sha256(request.canonical(), canonical(reply)),
            "request": {"path": request.path, "body": request.body},
            "reply": reply,
        }
        # Not flushed to disk: what a crash of the machine spoils is asked again.
        with atomic(self.path(request), durable=False) as temporary:
            temporary.write_text(json.dumps(stored, sort_keys=True) + "\n", encoding="utf-8")


def _sha256(*parts: str) -> str:
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()
