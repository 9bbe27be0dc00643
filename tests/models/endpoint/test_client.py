"""Requests to a server that fails in every way that servers fail."""

from __future__ import annotations

import email.utils
import json
import re
import threading
import time

import pytest

from palimpsest.models.endpoint import client as client_module
from palimpsest.models.endpoint import exchange
from palimpsest.models.endpoint.cache import Cache, Request, folder_of
from palimpsest.models.endpoint.client import Client, EndpointError, RequestError
from tests.models.endpoint.fake_server import Reply, chat, client, script, serving

KEY = "sk-canary-7f3a9b21"


def _request(text="What?", **more):
    body = {"model": "m", "messages": [{"role": "user", "content": text}], "max_tokens": 8}
    return Request("chat/completions", body | more)


def _error(status, message="no", headers=None, **more):
    return Reply({"error": {"message": message} | more}, status, headers or {})


def test_a_request_goes_as_it_is_and_its_reply_is_kept(tmp_path):
    with serving(script(chat("5.6"))) as server:
        asking = client(server, tmp_path)
        (reply,) = asking.ask([_request(temperature=0, seed=0, top_k=3)])
        ((path, body, _),) = server.asked
        assert path == "/v1/chat/completions"
        assert body == _request(temperature=0, seed=0, top_k=3).body
        assert reply["choices"][0]["message"]["content"] == "5.6"
        again = client(server, tmp_path)
        assert again.ask([_request(temperature=0, seed=0, top_k=3)]) == [reply]
        assert len(server.asked) == 1
        assert (again.usage.hits, again.usage.cost.requests) == (1, 0)
        again.ask([_request(temperature=0, seed=1, top_k=3)])
        assert len(server.asked) == 2


def test_replies_come_in_order_and_equal_requests_are_sent_once(tmp_path):
    def answer(path, body):
        text = body["messages"][0]["content"]
        return Reply(chat(text).body, wait=0.05 * (text == "a"))

    with serving(answer) as server:
        replies = client(server, tmp_path, concurrency=3).ask([_request(t) for t in "abcba"])
        assert [r["choices"][0]["message"]["content"] for r in replies] == list("abcba")
        assert len(server.asked) == 3


def test_no_more_requests_at_once_than_allowed(tmp_path):
    running, most, lock = [0], [0], threading.Lock()

    def answer(path, body):
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.05)
        with lock:
            running[0] -= 1
        return chat("x")

    with serving(answer) as server:
        client(server, tmp_path, concurrency=2).ask([_request(str(i)) for i in range(6)])
    assert most[0] == 2


@pytest.mark.parametrize(
    "fault",
    [
        *(_error(status) for status in (408, 409, 429, 500, 502, 503, 529)),
        Reply(chat("right").body, cut=True),
        Reply(chat("right").body, cut=True, chunked=True),
        Reply('{"choices": [{"mess'),
        Reply("<html>Bad gateway</html>", headers={"Content-Type": "text/html"}),
        Reply({"choices": []}),
        Reply({"result": "of another protocol"}),
        Reply(["a list"]),
        Reply({"choices": [{"message": {"role": "assistant"}}]}),
        Reply(chat("late").body, wait=1.0),
    ],
    ids=lambda reply: (
        f"{reply.status} {str(reply.body)[:24]}{' cut' * reply.cut}{' chunked' * reply.chunked}"
    ),
)
def test_what_is_transient_is_tried_again(tmp_path, fault):
    with serving(script(fault, fault, chat("right"))) as server:
        asking = client(server, tmp_path, timeout_s=0.4)
        (reply,) = asking.ask([_request()])
        assert reply["choices"][0]["message"]["content"] == "right"
        assert len(server.asked) == 3
        assert asking.usage.failed == 2


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize(
    "fault",
    [
        {"drip": 0.05},
        {"drip": 0.05, "chunked": True, "endless": True},
        {"interim": 0.05},
    ],
    ids=["drip", "endless drip", "no head"],
)
def test_a_server_that_always_shows_life_does_not_hold_a_job(tmp_path, fault, status):
    """Every byte comes well within the timeout; the whole would take a minute, or for ever."""
    slow = Reply(chat("x" * 1000).body, status, **fault)
    start = time.monotonic()
    with serving(script(slow, chat("right"))) as server:
        asking = client(server, tmp_path, timeout_s=0.5, deadline_s=0.3)
        (reply,) = asking.ask([_request()])
        assert reply["choices"][0]["message"]["content"] == "right"
        assert asking.usage.failed >= 1
        server.answer = script(slow)
        with pytest.raises(EndpointError, match=r"no whole reply in 0\.3 s, in 2 tries"):
            client(server, tmp_path, timeout_s=0.5, deadline_s=0.3, retries=1).ask([_request("b")])
        assert time.monotonic() - start < 25


def test_a_slow_reply_is_whole_by_the_deadline_which_is_ten_timeouts_unless_given(
    tmp_path, monkeypatch
):
    given = []

    class Noted(exchange.Exchange):
        def __init__(self, base_url, key, timeout_s, deadline_s):
            given.append((timeout_s, deadline_s))
            super().__init__(base_url, key, timeout_s, deadline_s)

    monkeypatch.setattr(client_module, "Exchange", Noted)
    slow = chat("slow")
    slow.drip = 0.8 / len(slow.content)
    with serving(script(slow)) as server:
        (reply,) = client(server, tmp_path, timeout_s=0.4).ask([_request()])
        assert reply["choices"][0]["message"]["content"] == "slow"
        for access in ({}, {"timeout_s": 900}, {"deadline_s": 7, "timeout_s": 900}):
            client(server, tmp_path, **access).ask([_request()])
    assert given == [(0.4, 4), (60, 600), (900, 9000), (900, 7)]


@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize("status", [200, 500])
def test_a_reply_without_end_fills_no_memory(tmp_path, monkeypatch, chunked, status):
    monkeypatch.setattr(exchange, "LARGEST_REPLY", 1 << 20)
    large = Reply("x" * (1 << 16), status, chunked=chunked, endless=True)
    if not chunked:
        large = Reply("x" * (1 << 21), status)
    with serving(script(large, chat("right"))) as server:
        (reply,) = client(server, tmp_path).ask([_request()])
        assert reply["choices"][0]["message"]["content"] == "right"
        server.answer = script(large)
        with pytest.raises(EndpointError, match=r"a reply of more than \d+ MiB, in 1 tries"):
            client(server, tmp_path, retries=0).ask([_request("large")])


def test_connections_end_with_what_was_asked(tmp_path):
    def open_now():
        return [thread for thread in threading.enumerate() if thread.name == "exchange"]

    def answer(path, body):
        assert open_now()
        return chat("x")

    with serving(answer) as server:
        client(server, tmp_path).ask([_request(str(i)) for i in range(3)])
        assert not open_now()
        server.answer = script(_error(400))
        with pytest.raises(RequestError):
            client(server, tmp_path).ask([_request("wrong")])
        assert not open_now()


def test_nothing_transient_is_kept_and_the_error_says_what_happened(tmp_path):
    with serving(script(_error(500, "engine on fire"))) as server:
        with pytest.raises(EndpointError, match=r"m at http.*500 \(engine on fire\), in 3 tries"):
            client(server, tmp_path, retries=2).ask([_request()])
        assert len(server.asked) == 3
        server.answer = script(chat("well again"))
        (reply,) = client(server, tmp_path).ask([_request()])
        assert reply["choices"][0]["message"]["content"] == "well again"


def test_a_server_that_is_not_there(tmp_path):
    with serving(script(chat("x"))) as server:
        pass
    with pytest.raises(EndpointError, match=r"connection failed \(Connect.*in 2 tries"):
        client(server, tmp_path, retries=1).ask([_request()])


def test_pauses_double_up_to_a_bound_and_are_drawn_below_it(tmp_path):
    with serving(script(*[_error(503)] * 8, chat("x"))) as server:
        pauses = []
        client(server, tmp_path, pauses, retries=8).ask([_request()])
        assert [p for p in pauses if p > 0] == [1, 2, 4, 8, 16, 32, 60, 60]
        server.answer = script(_error(503), chat("y"))
        pauses.clear()
        asking = Client(server.entry(), {}, tmp_path, sleep=pauses.append, draw=lambda: 0.25)
        asking.ask([_request("other")])
        assert [p for p in pauses if p > 0] == [0.25]


def test_retry_after_is_heeded_as_a_number_and_as_a_date(tmp_path):
    soon = email.utils.formatdate(time.time() + 30, usegmt=True)
    with serving(script(_error(429, headers={"Retry-After": "7"}), chat("x"))) as server:
        pauses = []
        client(server, tmp_path, pauses).ask([_request()])
        assert 7 in pauses
        # Other jobs wait as well: the ledger holds them.
        assert 6 < max(p for p in pauses if p != 7) <= 7
        server.answer = script(_error(503, headers={"Retry-After": soon}), chat("x"))
        pauses = []
        client(server, tmp_path, pauses).ask([_request("another")])
        assert 20 < max(pauses) <= 30
        server.answer = script(_error(429, headers={"Retry-After": "86400"}))
        with pytest.raises(EndpointError, match="asks to wait 86400 s; run again later"):
            client(server, tmp_path).ask([_request("third")])


def test_a_date_to_wait_for_is_read_by_the_clock_of_the_server(tmp_path):
    """A clock here that was set back, or never set, makes no wait of hours."""
    ahead = time.time() + 3 * 3600
    dates = [email.utils.formatdate(ahead + s, usegmt=True) for s in (0, 9)]
    headers = {"Date": dates[0], "Retry-After": dates[1]}
    with serving(script(_error(429, headers=headers), chat("x"))) as server:
        pauses = []
        client(server, tmp_path, pauses).ask([_request()])
    assert max(pauses) == 9


@pytest.mark.parametrize(
    ("reply", "error", "said"),
    [
        (
            _error(400, "context too long"),
            RequestError,
            r"400 \(context too long for the key \[KEY_ENV\]\)",
        ),
        (_error(422, "no such field"), RequestError, r"422 \(no such field"),
        (_error(401), EndpointError, r"refuses the key in the environment variable KEY_ENV \(401"),
        (_error(403), EndpointError, r"KEY_ENV \(403\)"),
        (_error(404, "no model"), EndpointError, r"404 \(no model.*; check base_url, name and"),
        (_error(429, code="insufficient_quota"), EndpointError, "no credit left"),
    ],
)
def test_what_is_permanent_is_asked_once_and_the_error_holds_no_key(
    tmp_path, monkeypatch, reply, error, said
):
    monkeypatch.setenv("KEY_ENV", KEY)
    reply.body["error"]["message"] += f" for the key {KEY}"
    with serving(script(reply)) as server:
        with pytest.raises(error) as caught:
            client(server, tmp_path, key_env="KEY_ENV").ask([_request()])
        assert len(server.asked) == 1
        assert server.asked[0][2]["authorization"] == f"Bearer {KEY}"
    text = str(caught.value)
    assert KEY not in text
    assert caught.value.__suppress_context__
    assert re.search(said, text), text


def test_the_key_of_another_server_is_never_sent(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serving(script(chat("x"))) as server:
        client(server, tmp_path).ask([_request()])
        assert KEY not in json.dumps(server.asked)


def test_a_key_that_is_not_set_is_named_and_nothing_is_sent(tmp_path, monkeypatch):
    monkeypatch.delenv("KEY_ENV", raising=False)
    with serving(script(chat("x"))) as server:
        with pytest.raises(EndpointError, match=r"environment variable KEY_ENV \(key_env\) is not"):
            client(server, tmp_path, key_env="KEY_ENV").ask([_request()])
        assert not server.asked
        monkeypatch.setenv("KEY_ENV", KEY)
        client(server, tmp_path, key_env="KEY_ENV").ask([_request()])
        monkeypatch.delenv("KEY_ENV")
        # What is in the cache needs no key.
        client(server, tmp_path, key_env="KEY_ENV").ask([_request()])
        assert len(server.asked) == 1


def test_a_key_that_a_server_repeats_is_not_written_down(tmp_path, monkeypatch):
    monkeypatch.setenv("KEY_ENV", KEY)
    with serving(script(chat(f"your key is {KEY}"))) as server:
        (reply,) = client(server, tmp_path, key_env="KEY_ENV").ask([_request()])
    assert reply["choices"][0]["message"]["content"] == "your key is [KEY_ENV]"
    assert not any(KEY in path.read_text() for path in tmp_path.rglob("*") if path.is_file())


def test_a_damaged_file_of_the_cache_is_asked_again(tmp_path):
    with serving(script(chat("5.6"))) as server:
        client(server, tmp_path).ask([_request()])
        path = Cache(tmp_path).path(_request())
        for damage in (lambda t: t.replace("5.6", "6.5"), lambda t: t[:40], lambda t: "[]"):
            whole = path.read_text()
            path.write_text(damage(whole))
            before = len(server.asked)
            (reply,) = client(server, tmp_path).ask([_request()])
            assert reply["choices"][0]["message"]["content"] == "5.6"
            assert len(server.asked) == before + 1
            assert path.read_text() == whole


def test_a_file_under_the_name_of_another_request_is_not_believed(tmp_path):
    with serving(script(chat("one"), chat("two"))) as server:
        client(server, tmp_path).ask([_request("one")])
        cache = Cache(tmp_path)
        other = cache.path(_request("two"))
        other.parent.mkdir(parents=True, exist_ok=True)
        other.write_text(cache.path(_request("one")).read_text())
        (reply,) = client(server, tmp_path).ask([_request("two")])
        assert reply["choices"][0]["message"]["content"] == "two"


def test_folders_of_models_differ_by_server_and_name_alone():
    place = folder_of("http://one/v1", "org/model: 7b")
    assert re.fullmatch(r"org-model-7b-[0-9a-f]{8}", place.name)
    assert folder_of("http://two/v1", "org/model: 7b") != place
    assert folder_of("http://one/v1", "../..").parent == place.parent


def test_a_prompt_that_the_filter_rejects_is_an_answer(tmp_path):
    with serving(script(_error(400, "filtered", code="content_filter"))) as server:
        (reply,) = client(server, tmp_path).ask([_request()])
        client(server, tmp_path).ask([_request()])
        assert len(server.asked) == 1
    assert reply["choices"][0]["finish_reason"] == "content_filter"
