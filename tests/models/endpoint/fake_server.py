"""A server of the OpenAI protocol that does as it is told, faults included."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from palimpsest.models.endpoint.client import Client


@dataclass
class Reply:
    """What the server sends.

    ``cut`` ends the body early, ``wait`` comes before it, in seconds. A body that is ``chunked``
    says nothing of its length. ``drip`` is a pause before every byte of the body, ``interim`` one
    between endless signs of life before the head; an ``endless`` body has no last byte.
    """

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    wait: float = 0.0
    chunked: bool = False
    drip: float = 0.0
    interim: float = 0.0
    endless: bool = False

    @property
    def content(self) -> bytes:
        return self.body.encode() if isinstance(self.body, str) else json.dumps(self.body).encode()


def chat(text: str | None, tokens: int = 3, **message: Any) -> Reply:
    """A chat completion; ``finish`` is its finish_reason."""
    finish = message.pop("finish", "stop")
    choice = {"index": 0, "finish_reason": finish, "message": {"content": text} | message}
    usage = {"prompt_tokens": 10, "completion_tokens": tokens, "total_tokens": 10 + tokens}
    return Reply({"object": "chat.completion", "choices": [choice], "usage": usage})


def completion(text: str, **more: Any) -> Reply:
    """A completion of the older protocol."""
    choice = {"index": 0, "finish_reason": "stop", "text": text} | more
    return Reply({"choices": [choice], "usage": {"prompt_tokens": 5, "completion_tokens": 2}})


@dataclass
class Server:
    """``answer`` is asked with path and body; ``asked`` holds (path, body, headers)."""

    answer: Callable[[str, dict], Reply]
    asked: list[tuple[str, dict, dict[str, str]]] = field(default_factory=list)
    port: int = 0

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def entry(self, **more: Any) -> dict[str, Any]:
        return {"source": "endpoint", "base_url": self.base_url, "name": "m"} | more


def script(*replies: Reply) -> Callable[[str, dict], Reply]:
    """One reply after another; the last one again and again."""
    waiting = list(replies)
    return lambda path, body: waiting.pop(0) if len(waiting) > 1 else waiting[0]


@contextmanager
def serving(answer: Callable[[str, dict], Reply]):
    """A running server."""
    server = Server(answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            headers = {name.lower(): value for name, value in self.headers.items()}
            server.asked.append((self.path, body, headers))
            reply = server.answer(self.path, body)
            time.sleep(reply.wait)
            # A client that has heard enough closes the connection.
            with suppress(OSError):
                self._send(reply)
            self.close_connection = True

        def _send(self, reply):
            while reply.interim:
                self.wfile.write(b"HTTP/1.1 102 Processing\r\n\r\n")
                time.sleep(reply.interim)
            content = reply.content
            self.send_response_only(reply.status)
            for name, value in ({"Content-Type": "application/json"} | reply.headers).items():
                self.send_header(name, value)
            length = ("Content-Length", str(len(content)))
            self.send_header(*(("Transfer-Encoding", "chunked") if reply.chunked else length))
            self.send_header("Connection", "close")
            self.end_headers()
            sent = content[: len(content) // 2] if reply.cut else content
            pieces = [sent[i : i + 1] for i in range(len(sent))] if reply.drip else [sent]
            for piece in itertools.cycle(pieces) if reply.endless else pieces:
                time.sleep(reply.drip)
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if reply.chunked else piece)
            if reply.chunked and not reply.cut:
                self.wfile.write(b"0\r\n\r\n")

        def log_message(self, *arguments):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    server.port = http.server_port
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


def client(server: Server, folder, pauses: list[float] | None = None, **access: Any) -> Client:
    """A client that notes its pauses instead of making them; the draw is always the bound."""
    noted = [] if pauses is None else pauses
    return Client(server.entry(), access, folder, sleep=noted.append, draw=lambda: 1.0)
