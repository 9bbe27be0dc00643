"""Caps stop before they are exceeded, and the ledger never says too little."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from palimpsest.models.endpoint.cache import Request
from palimpsest.models.endpoint.client import EndpointError
from palimpsest.models.endpoint.spending import Cost, Ledger, SpendingCapError
from tests.models.endpoint.fake_server import Reply, chat, client, script, serving


def _requests(count, first=0):
    texts = [f"Question {i}?" for i in range(first, first + count)]
    return [
        Request(
            "chat/completions",
            {"model": "m", "messages": [{"role": "user", "content": t}], "max_tokens": 8},
        )
        for t in texts
    ]


def test_the_ledger_holds_what_the_server_counts(tmp_path):
    with serving(script(chat("x", tokens=3))) as server:
        asking = client(server, tmp_path, price_in=2.0, price_out=10.0)
        asking.ask(_requests(4))
        assert asking.ledger.spent() == asking.usage.cost == Cost(4, 40, 12)
        assert asking.usage.cost.usd(asking.access) == pytest.approx((40 * 2 + 12 * 10) / 1e6)
        # Another job adds to it, and a hit of the cache does not.
        client(server, tmp_path).ask(_requests(5))
        assert asking.ledger.spent() == Cost(5, 50, 15)


@pytest.mark.parametrize("concurrency", [1, 4])
def test_the_cap_on_requests_stops_before_the_next_one_and_a_higher_one_goes_on(
    tmp_path, concurrency
):
    with serving(script(chat("x"))) as server:
        with pytest.raises(SpendingCapError, match=r"cap_requests is 3 and 3 requests are spent"):
            client(server, tmp_path, cap_requests=3, concurrency=concurrency).ask(_requests(6))
        assert len(server.asked) == 3
        with pytest.raises(SpendingCapError):
            client(server, tmp_path, cap_requests=3).ask(_requests(6))
        assert len(server.asked) == 3
        assert len(client(server, tmp_path, cap_requests=6).ask(_requests(6))) == 6
        assert len(server.asked) == 6


@pytest.mark.parametrize(
    "caps",
    [{"cap_tokens": 300}, {"cap_usd": 300e-6, "price_in": 1.0, "price_out": 1.0}],
    ids=["tokens", "usd"],
)
def test_caps_on_tokens_and_money_are_never_exceeded(tmp_path, caps):
    with serving(script(chat("x", tokens=8))) as server:
        with pytest.raises(SpendingCapError, match=next(iter(caps))):
            client(server, tmp_path, concurrency=1, **caps).ask(_requests(40))
        # One request costs 18, and before it 64 + 12 + 8 could have been spent.
        assert Ledger(tmp_path, {}).spent() == Cost(13, 130, 104)


def test_what_a_server_may_charge_counts_in_full_and_what_it_rejects_not_at_all(tmp_path):
    faults = (Reply("no JSON"), Reply({"error": {}}, 503), Reply(chat("x").body, cut=True))
    (request,) = _requests(1)
    largest = Cost(1, 64 + len("Question 0?"), 8)
    with serving(script(*faults, chat("x"))) as server:
        client(server, tmp_path).ask([request])
    assert Ledger(tmp_path, {}).spent() == largest + largest + Cost(1, 10, 3)


def test_without_a_count_of_tokens_the_largest_possible_counts(tmp_path):
    reply = chat("x")
    del reply.body["usage"]
    with serving(script(reply)) as server:
        client(server, tmp_path).ask(_requests(1))
    assert Ledger(tmp_path, {}).spent() == Cost(1, 75, 8)


def test_a_missing_key_costs_nothing(tmp_path, monkeypatch):
    monkeypatch.delenv("KEY_ENV", raising=False)
    with serving(script(chat("x"))) as server, pytest.raises(EndpointError):
        client(server, tmp_path, key_env="KEY_ENV").ask(_requests(1))
    assert Ledger(tmp_path, {}).spent() == Cost()


@pytest.mark.parametrize("text", ["", "{", "[1]"])
def test_a_damaged_ledger_lets_nothing_be_spent(tmp_path, text):
    (tmp_path / "spent.json").write_text(text)
    with serving(script(chat("x"))) as server:
        with pytest.raises(OSError, match=r"spent\.json is damaged: write into it"):
            client(server, tmp_path).ask(_requests(1))
        assert not server.asked


def test_requests_of_all_jobs_keep_their_pace(tmp_path):
    ledgers = [Ledger(tmp_path, {"requests_per_minute": 30}) for _ in range(2)]
    now = time.time()
    waits = [ledgers[i % 2].reserve(Cost(1), now) for i in range(4)]
    assert waits == pytest.approx([0, 2, 4, 6])
    assert ledgers[0].reserve(Cost(1), now + 60) == 0


@pytest.mark.parametrize("hours", [-3, 3])
def test_a_clock_that_is_set_back_or_ahead_makes_no_one_wait_for_it(tmp_path, hours):
    ledger = Ledger(tmp_path, {"requests_per_minute": 30})
    now = time.time()
    assert [ledger.reserve(Cost(1), now) for _ in range(3)] == pytest.approx([0, 2, 4])
    # A queue of six seconds is one of six seconds by the new clock, and none an hour ahead.
    waits = [ledger.reserve(Cost(1), now + hours * 3600) for _ in range(3)]
    assert waits == pytest.approx([6, 8, 10] if hours < 0 else [0, 2, 4])
    # And back again.
    waits = [ledger.reserve(Cost(1), now + 1) for _ in range(2)]
    assert waits == pytest.approx([0, 2] if hours < 0 else [6, 8])


def test_a_pause_that_a_server_asks_for_outlives_no_clock(tmp_path, monkeypatch):
    ledger, now = Ledger(tmp_path, {}), time.time()
    ledger.hold(30)
    assert 29 < ledger.reserve(Cost(1), now) <= 31
    assert 29 < ledger.reserve(Cost(1), now - 3 * 3600) <= 31
    monkeypatch.setattr(time, "time", lambda: now - 3 * 3600)
    ledger.hold(7)
    assert 29 < ledger.reserve(Cost(1)) <= 31


def test_clocks_that_differ_a_little_keep_the_pace(tmp_path):
    """Machines that share the folder of results."""
    ledger, now = Ledger(tmp_path, {"requests_per_minute": 30}), time.time()
    waits = [ledger.reserve(Cost(1), now - 1.5 * (i % 2)) for i in range(4)]
    assert waits == pytest.approx([0, 3.5, 4, 7.5])


def test_processes_at_once_lose_nothing(tmp_path):
    code = (
        "import sys; from pathlib import Path\n"
        "from palimpsest.models.endpoint.spending import Cost, Ledger\n"
        "ledger = Ledger(Path(sys.argv[1]), {})\n"
        "for _ in range(40):\n"
        "    ledger.reserve(Cost(1, 9, 9)); ledger.settle(Cost(1, 9, 9), Cost(1, 2, 1))\n"
    )
    jobs = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(3)]
    assert [job.wait() for job in jobs] == [0, 0, 0]
    assert Ledger(tmp_path, {}).spent() == Cost(120, 240, 120)
