"""Requests to a server: cached, paced, within their caps, tried again where that can help.

What is transient (408, 409, 429, 5xx, timeouts, lost connections, cut or malformed replies) is
tried again after a random pause below a doubling bound ("full jitter": Brooker 2015, Exponential
Backoff And Jitter, AWS Architecture Blog), and never before the server's ``Retry-After``. What is
permanent ends with an error in which no key stands.
"""

from __future__ import annotations

import email.utils
import json
import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

from palimpsest.models.endpoint.cache import Cache, Request, folder_of
from palimpsest.models.endpoint.exchange import (
    LARGEST_REPLY,
    DeadlineError,
    Exchange,
    TooLargeError,
)
from palimpsest.models.endpoint.replies import MalformedReplyError, answer, filtered, used
from palimpsest.models.endpoint.spending import Cost, Ledger

#: Bounds of the pause before another try, in seconds.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
#: A server that asks for a longer pause is left alone: run again later.
LONGEST_WAIT = 600.0
_TRANSIENT = (408, 409, 429)
#: Tokens of a chat template beyond those of the text, at most.
_TEMPLATE_TOKENS = 64
_TOLD = 200


class EndpointError(OSError):
    """Nothing can be had from the server for now: the job stops, what is finished is kept."""


class RequestError(RuntimeError):
    """The server will not answer this request; others it may."""


@dataclass
class _Failure(Exception):
    """A try that failed and may succeed later."""

    problem: str
    wait: float = 0.0
    #: The server may have worked, and may charge for it.
    charged: bool = False


@dataclass
class Usage:
    """What one job has asked, and under which names the server answered."""

    cost: Cost = field(default_factory=Cost)
    hits: int = 0
    failed: int = 0
    served_as: set[str] = field(default_factory=set)


class Client:
    """Asks one model of one server.

    Args:
        entry: what identifies it: base_url, name.
        access: how it is reached, and what it may cost (``models.entry.ACCESS``).
        folder: of cache and ledger; below ``results/requests`` when None.
        sleep: how to wait, in seconds.
        draw: uniform random numbers from 0 to 1; they change no answer.
    """

    def __init__(
        self,
        entry: Mapping[str, Any],
        access: Mapping[str, Any],
        folder: Path | None = None,
        sleep: Callable[[float], None] = time.sleep,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.base_url, self.name, self.access = entry["base_url"], entry["name"], access
        folder = folder or folder_of(self.base_url, self.name)
        self.cache, self.ledger = Cache(folder), Ledger(folder, access)
        self.sleep, self.draw = sleep, draw
        self.usage = Usage()
        self._lock = Lock()

    @property
    def where(self) -> str:
        """The model in words."""
        return f"{self.name} at {self.base_url}"

    def ask(self, requests: Sequence[Request]) -> list[dict[str, Any]]:
        """Replies in the order of the requests; equal requests are sent once.

        Raises:
            EndpointError: the server cannot be reached, refuses the key, or stays overloaded.
            RequestError: it rejects one of the requests.
            SpendingCapError: a request could exceed a cap.
        """
        distinct = {request.key: request for request in requests}
        timeout = self.access.get("timeout_s", 60)
        # By default ten times as long: a reply may come in pieces, or wait in a queue.
        deadline = self.access.get("deadline_s") or 10 * timeout
        threads = ThreadPoolExecutor(self.access.get("concurrency", 4))
        with Exchange(self.base_url, self._key, timeout, deadline) as exchange, threads as pool:
            futures = {key: pool.submit(self._reply, r, exchange) for key, r in distinct.items()}
            try:
                found = {key: future.result() for key, future in futures.items()}
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        self.usage.served_as |= {str(raw["model"]) for raw in found.values() if raw.get("model")}
        return [found[request.key] for request in requests]

    def _reply(self, request: Request, exchange: Exchange) -> dict[str, Any]:
        stored = self.cache.read(request)
        if stored is not None:
            with self._lock:
                self.usage.hits += 1
            return stored
        tries = self.access.get("retries", 6) + 1
        most = _largest(request)
        for number in range(tries):
            self.sleep(self.ledger.reserve(most))
            real, failed = most, None
            try:
                reply = self._sent(request, exchange)
                count = used(reply)
                real = Cost(1, *count) if count else most
            except _Failure as failure:
                failed, real = failure, most if failure.charged else Cost()
            except (EndpointError, RequestError):
                real = Cost()
                raise
            finally:
                self.ledger.settle(most, real)
                with self._lock:
                    self.usage.cost += real
            if failed is None:
                break
            self._after(failed, number, tries)
        self.cache.write(request, reply)
        return reply

    def _after(self, failure: _Failure, number: int, tries: int) -> None:
        """Wait before another try, or give up."""
        with self._lock:
            self.usage.failed += 1
        if failure.wait > LONGEST_WAIT:
            raise EndpointError(
                f"{self.where}: {failure.problem}, and asks to wait {failure.wait:.0f} s; "
                "run again later"
            ) from None
        if number + 1 == tries:
            raise EndpointError(f"{self.where}: {failure.problem}, in {tries} tries") from None
        if failure.wait:
            self.ledger.hold(failure.wait)
        bound = min(LONGEST_PAUSE, FIRST_PAUSE * 2**number)
        self.sleep(max(failure.wait, bound * self.draw()))

    def _sent(self, request: Request, exchange: Exchange) -> dict[str, Any]:
        """The reply of the server to one try."""
        import openai

        try:
            text = self._without_key(exchange.send(request))
        except DeadlineError:
            problem = f"no whole reply in {exchange.deadline_s:g} s"
            raise _Failure(problem, charged=True) from None
        except TooLargeError:
            problem = f"a reply of more than {LARGEST_REPLY >> 20} MiB"
            raise _Failure(problem, charged=True) from None
        except openai.APITimeoutError:
            problem = f"no sign of life for {exchange.timeout_s:g} s"
            raise _Failure(problem, charged=True) from None
        except openai.APIConnectionError as error:
            # A cut reply is one too: its cause says what happened.
            cause = error.__cause__ or error
            told = self._without_key(f"{type(cause).__name__}: {cause}")[:_TOLD]
            charged = not told.startswith("Connect")
            raise _Failure(f"the connection failed ({told})", charged=charged) from None
        except openai.APIStatusError as error:
            return self._status(error.status_code, error.response)
        except openai.OpenAIError as error:
            told = self._without_key(str(error))[:_TOLD]
            raise EndpointError(f"{self.where}: {told}") from None
        try:
            reply = json.loads(text)
            answer(reply)
        except (ValueError, AttributeError, RecursionError) as error:
            what = error if isinstance(error, MalformedReplyError) else "no JSON"
            problem = f"the reply is malformed ({what}): {text[:80]!r}"
            raise _Failure(problem, charged=True) from None
        return reply

    def _status(self, status: int, response: Any) -> dict[str, Any]:
        """What an HTTP status means: a refused prompt is an answer, all else raises."""
        code, told = self._told(response)
        if code == "content_filter":
            return filtered()
        said = f"the server answers {status}" + (f" ({told})" if told else "")
        if code == "insufficient_quota":
            raise EndpointError(f"{self.where}: {said}; the account has no credit left") from None
        if status in _TRANSIENT or status >= 500:
            raise _Failure(said, wait=_retry_after(response.headers)) from None
        if status in (401, 403):
            name = self.access.get("key_env")
            key = f"the key in the environment variable {name}" if name else "requests without key"
            # Not what the server says: some quote the key.
            raise EndpointError(
                f"{self.where}: the server refuses {key} ({status}); "
                + ("check it and what it may do" if name else "set key_env in the models file")
            ) from None
        if status == 404:
            raise EndpointError(f"{self.where}: {said}; check base_url, name and mode") from None
        raise RequestError(f"{self.where}: {said}") from None

    def _told(self, response: Any) -> tuple[str | None, str]:
        """Code and message of an error, without the key."""
        try:
            body = response.json()
        except ValueError:
            return None, ""
        error = body.get("error", body) if isinstance(body, dict) else {}
        if not isinstance(error, dict):
            return None, self._without_key(str(error))[:_TOLD]
        told = error.get("message") or error.get("detail") or ""
        return error.get("code"), self._without_key(str(told))[:_TOLD]

    def _key(self) -> str | None:
        """The key, read where it is used and kept nowhere.

        Raises:
            EndpointError: the environment has none.
        """
        name = self.access.get("key_env")
        if name is None:
            return None
        if not os.environ.get(name):
            raise EndpointError(
                f"{self.where}: the environment variable {name} (key_env) is not set here; it must "
                "hold the key of the server, also where jobs run"
            )
        return os.environ[name]

    def _without_key(self, text: str) -> str:
        """``text`` from outside, in which the key must not come back."""
        name = self.access.get("key_env")
        key = os.environ.get(name, "") if name else ""
        return text.replace(key, f"[{name}]") if key else text


def _largest(request: Request) -> Cost:
    """An upper bound: a token has at least one byte of its text."""
    body = request.body
    texts = [body["prompt"]] if "prompt" in body else [m["content"] for m in body["messages"]]
    written = body.get("max_tokens", body.get("max_completion_tokens", 0))
    return Cost(1, _TEMPLATE_TOKENS + sum(len(t.encode()) for t in texts), written)


def _retry_after(headers: Mapping[str, str]) -> float:
    """Seconds that a server asks to wait: RFC 9110, 10.2.3, as a number or a date.

    A date is held against the server's own clock where it says what that shows.
    """
    given = headers.get("retry-after", "")
    try:
        return max(0.0, float(given))
    except ValueError:
        pass
    then, now = _moment(given), _moment(headers.get("date", ""))
    return 0.0 if then is None else max(0.0, then - (time.time() if now is None else now))


def _moment(date: str) -> float | None:
    """Seconds since the epoch of a date in a header; None where there is none."""
    try:
        return email.utils.parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError):
        return None
