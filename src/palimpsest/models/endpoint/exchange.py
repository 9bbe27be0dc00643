"""One try of a request through the official client, with an end to its time and to its size.

The client's own timeout is one between two signs of life: a server that sends a byte now and then,
or a body without end, would hold a job for ever. Here a request ends at its deadline wherever it
stands, so it runs in an event loop, whose tasks can be ended from outside.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import cache
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any

from palimpsest.models.endpoint.cache import Request

if TYPE_CHECKING:
    from openai import AsyncOpenAI

#: Most bytes of a reply; the log-probabilities of 50,000 tokens are fewer.
LARGEST_REPLY = 1 << 24


class DeadlineError(Exception):
    """No whole reply by the deadline."""


class TooLargeError(Exception):
    """A reply of more than :data:`LARGEST_REPLY` bytes."""


class Exchange:
    """Connections to a server while a ``with`` block runs, from any number of threads.

    Args:
        base_url: address of the server.
        key: reads the key; called once, when the first request is sent.
        timeout_s: longest time without a sign of life, in seconds.
        deadline_s: longest time of a request in all, in seconds.
    """

    def __init__(
        self, base_url: str, key: Callable[[], str | None], timeout_s: float, deadline_s: float
    ) -> None:
        self.base_url, self.key = base_url, key
        self.timeout_s, self.deadline_s = timeout_s, deadline_s
        self._lock = Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def __enter__(self) -> Exchange:
        return self

    def __exit__(self, *_: object) -> None:
        if self._loop is None:
            return
        asyncio.run_coroutine_threadsafe(self._client.close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._loop = None

    def send(self, request: Request) -> str:
        """The text of the reply.

        Raises:
            DeadlineError, TooLargeError: see there.
            openai.OpenAIError: all else that fails.
        """
        loop = self._started()
        return asyncio.run_coroutine_threadsafe(self._sent(request), loop).result()

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._client = self._made()
                self._loop = asyncio.new_event_loop()
                self._thread = Thread(target=self._loop.run_forever, name="exchange", daemon=True)
                self._thread.start()
            return self._loop

    def _made(self) -> AsyncOpenAI:
        from openai import AsyncOpenAI, DefaultAsyncHttpxClient

        return AsyncOpenAI(
            # Never the client's own default: that key is for another server.
            api_key=self.key() or "none",
            base_url=self.base_url,
            max_retries=0,
            timeout=self.timeout_s,
            # Else what is counted is not what is unpacked.
            default_headers={"Accept-Encoding": "identity"},
            http_client=DefaultAsyncHttpxClient(event_hooks={"response": [_bound]}),
        )

    async def _sent(self, request: Request) -> str:
        client, body = self._client, request.body
        of = client.chat.completions if request.path == "chat/completions" else client.completions
        # Fields that the client does not know by name go through as they are.
        named: dict[str, Any] = {k: body[k] for k in ("model", "messages", "prompt") if k in body}
        try:
            async with asyncio.timeout(self.deadline_s):
                raw = await of.with_raw_response.create(**named, extra_body=body)
        except TimeoutError:
            raise DeadlineError from None
        return raw.http_response.text


async def _bound(response: Any) -> None:
    """Let a response that has begun end with an error where it becomes too large."""
    response.stream = _bounded()(response.stream)


@cache
def _bounded() -> type:
    # Not at the top: whoever has no endpoint needs no HTTP.
    from httpx2 import AsyncByteStream

    class Bounded(AsyncByteStream):
        def __init__(self, stream: AsyncByteStream) -> None:
            self.stream = stream

        async def __aiter__(self) -> AsyncIterator[bytes]:
            size = 0
            async for chunk in self.stream:
                size += len(chunk)
                if size > LARGEST_REPLY:
                    raise TooLargeError
                yield chunk

        async def aclose(self) -> None:
            await self.stream.aclose()

    return Bounded
