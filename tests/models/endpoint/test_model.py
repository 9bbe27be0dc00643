"""A model behind a server against the same weights here, and answers that are none."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from palimpsest.context import ProbeContext
from palimpsest.engine import asking, scoring
from palimpsest.models.endpoint import replies
from palimpsest.models.endpoint.client import EndpointError
from palimpsest.models.endpoint.model import Endpoint, check
from palimpsest.models.endpoint.replies import Answer, MalformedReplyError
from palimpsest.models.entry import EndpointModel
from palimpsest.probes.economic_recall import measure
from palimpsest.probes.economic_recall.settings import Settings
from tests.models.endpoint.fake_server import Reply, chat, client, completion, script, serving


def _endpoint(server, folder, **entry):
    return Endpoint(server.entry(**entry), {}, client(server, folder))


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (chat("\n\n5.6 percent"), Answer("5.6 percent")),
        (chat("I can't help.", refusal="I can't help."), Answer("I can't help.", "refusal")),
        (chat(None, refusal="I won't."), Answer("I won't.", "refusal")),
        (
            chat("The rate was 5", finish="content_filter"),
            Answer("The rate was 5", "content_filter"),
        ),
        (chat(None, finish="content_filter"), Answer("", "content_filter")),
        (chat(""), Answer("", "empty")),
        (chat(None), Answer("", "empty")),
        (chat(" \n", finish="length"), Answer("", "empty")),
        (completion(" 5.6"), Answer(" 5.6")),
        (completion(""), Answer("")),
        (completion("", finish_reason="content_filter"), Answer("", "content_filter")),
        (Reply(replies.filtered()), Answer("", "content_filter")),
    ],
)
def test_answers_and_refusals(reply, expected):
    assert replies.answer(reply.body) == expected


@pytest.mark.parametrize("raw", [{}, [], None, "x", {"choices": [1]}, {"choices": [{"text": 5}]}])
def test_what_is_no_reply_is_malformed(raw):
    with pytest.raises(MalformedReplyError):
        replies.answer(raw)


def test_requests_hold_what_the_entry_says_and_nothing_of_access(tmp_path):
    with serving(script(chat("x"))) as server:
        _endpoint(server, tmp_path).answers(["Q"], 8)
        given = {
            "temperature": None,
            "seed": None,
            "max_tokens": 500,
            "limit_field": "max_completion_tokens",
            "extra": {"reasoning_effort": "low"},
        }
        _endpoint(server, tmp_path, **given).answers(["Q"], 8)
    message = {"model": "m", "messages": [{"role": "user", "content": "Q"}]}
    assert server.asked[0][1] == message | {"temperature": 0, "seed": 0, "max_tokens": 8}
    assert server.asked[1][1] == message | {
        "max_completion_tokens": 500,
        "reasoning_effort": "low",
    }


def test_a_chat_is_asked_for_the_rest_of_a_sentence_and_a_completion_begins_it(tmp_path):
    with serving(script(chat("x"))) as server:
        said = _endpoint(server, tmp_path).ask("Mind the date.", "The rate was")
        plain = _endpoint(server, tmp_path, mode="completions").ask("Mind the date.", "It was")
    assert said.startswith("Mind the date. Complete")
    assert said.endswith("The rate was ...")
    assert plain == "Mind the date. It was"


def test_answers_end_at_the_first_stop_string(tmp_path):
    with serving(script(completion(" 5.6 percent. And then"))) as server:
        model = _endpoint(server, tmp_path, mode="completions")
        (given,) = asking.answers(model, ["Q"], 8, stop=("\n", ". "))
    assert given == Answer(" 5.6 percent")


def _echoing(model, special=()):
    """Completions with echo, computed from the weights one sequence at a time."""

    def answer(path, body):
        ids = model.encode(body["prompt"])
        with torch.no_grad():
            logits = model.module(torch.tensor([ids])).logits[0].double()
            written = int(logits[-1].argmax())
        log_p = logits.log_softmax(-1)
        tokens = [model.tokenizer.decode([i]) for i in [*ids, written]]
        values = [None, *(float(log_p[t, i]) for t, i in enumerate([*ids, written][1:]))]
        tokens, values = [*special, *tokens], [*[None] * len(special), *values]
        return completion(
            body["prompt"] + tokens[-1], logprobs={"tokens": tokens, "token_logprobs": values}
        )

    return answer


@pytest.mark.parametrize("special", [(), ("<s>",)], ids=["plain", "with a first token"])
def test_echoed_log_likelihoods_are_those_of_the_weights(tmp_path, tiny, special):
    prompts = ["The rate was", "In 2008 the rate amounted to ", "Question: why? Answer:"]
    texts = [[" 5.6", " 10.25"], ["7"], [" A", " B", " because"]]
    expected = scoring.log_likelihoods(tiny, prompts, texts)
    with serving(_echoing(tiny, special)) as server:
        model = _endpoint(server, tmp_path, mode="completions", logprobs="completions_echo")
        found = asking.log_likelihoods(model, prompts, texts)
    assert all(body["echo"] and body["logprobs"] == 1 for _, body, _ in server.asked)
    for one, other in zip(expected, found, strict=True):
        for ours, theirs in zip(one, other, strict=True):
            np.testing.assert_allclose(theirs, ours, atol=1e-5)


@pytest.mark.parametrize(
    ("logprobs", "said"),
    [
        (None, "no logprobs"),
        ({"tokens": [" x"], "token_logprobs": [-1.0]}, "does not echo"),
        ({"tokens": ["Q", " A", "."], "token_logprobs": [None, None, -1]}, "has no log-prob"),
    ],
)
def test_a_server_without_echo_is_told_from_one_that_scores(tmp_path, logprobs, said):
    with serving(script(completion("x", logprobs=logprobs))) as server:
        model = _endpoint(server, tmp_path, mode="completions", logprobs="completions_echo")
        with pytest.raises(EndpointError, match=f"{said}.*set logprobs to none"):
            model.log_likelihoods(["Q"], [[" A"]])


def _top(first, **listed):
    """A reply whose first token is ``first``; its log-probability stands in the list too."""
    top = [{"token": t.replace("_", " "), "logprob": v} for t, v in listed.items()]
    words = {"token": first, "logprob": listed.get(first, -0.1), "top_logprobs": top}
    choice = chat(first).body["choices"][0] | {"logprobs": {"content": [words]}}
    return Reply({"choices": [choice], "usage": {"prompt_tokens": 5, "completion_tokens": 1}})


def test_letters_are_read_from_the_list_of_the_first_token():
    raw = _top("A", A=-1.0, _A=-2.0, B=-3.0, a=-0.5, The=-0.7, AB=-0.8, _E=-1.5).body
    expected = [np.log(np.exp(-1) + np.exp(-2)), -3.0, np.nan, np.nan]
    np.testing.assert_allclose(replies.first_letters(raw, 4), expected)
    # What was written counts though the list does not hold it.
    written = _top("C", A=-1.0).body
    np.testing.assert_allclose(replies.first_letters(written, 4), [-1.0, np.nan, -0.1, np.nan])
    for refused in (chat(None, refusal="No").body, replies.filtered(), chat("").body):
        assert np.isnan(replies.first_letters(refused, 3)).all()


def test_trying_a_server_says_which_letters_it_lists(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with serving(script(_top("A", A=-0.25, The=-2.0))) as server:
        said = check(EndpointModel(**server.entry(logprobs="chat_top")))
    assert "log p(A) = -0.25, log p(B) = nan nats" in said
    assert "gives generation;" in said


def test_letters_have_the_probabilities_of_the_weights(tmp_path, tiny):
    """What a server of the tiny model, a token a byte, lists; the rest is missing."""
    prompts = ["Which? Choices: A: one; B: two.", "And now? A: x; B: y; C: z."]
    counts, listed = [2, 26], []

    def answer(path, body):
        ids = tiny.encode(body["messages"][0]["content"])
        with torch.no_grad():
            log_p = tiny.module(torch.tensor([ids])).logits[0, -1].double().log_softmax(-1)
        best = log_p.topk(20)
        tokens = [tiny.tokenizer.decode([int(i)]) for i in best.indices]
        listed.append(float(best.values[-1]))
        top = [
            {"token": token, "logprob": float(value)}
            for token, value in zip(tokens, best.values, strict=True)
        ]
        assert (body["logprobs"], body["top_logprobs"], body["max_tokens"]) == (True, 20, 8)
        reply = chat("x")
        content = [{"token": tokens[0], "logprob": top[0]["logprob"], "top_logprobs": top}]
        reply.body["choices"][0]["logprobs"] = {"content": content}
        return reply

    with serving(answer) as server:
        model = _endpoint(server, tmp_path, logprobs="chat_top")
        assert model.capabilities == ("generation",)
        found = asking.lettered(model, prompts, counts, 8)
    letters = [chr(ord("A") + i) for i in range(26)]
    expected = scoring.log_likelihoods(tiny, prompts, [letters[:n] for n in counts])
    seen = 0
    for (given, scores), exact in zip(found, expected, strict=True):
        assert given == Answer("x")
        exact = np.array([values.sum() for values in exact])
        there = ~np.isnan(scores)
        np.testing.assert_allclose(scores[there], exact[there], atol=1e-5)
        assert (exact[~there] <= max(listed) + 1e-5).all()
        seen += int(there.sum())
    assert 0 < seen < sum(counts)


@pytest.mark.parametrize(
    ("logprobs", "said"),
    [
        (None, "returns no logprobs"),
        ({"content": None}, "returns no logprobs"),
        ({"content": [{"token": "A", "logprob": -1.0}]}, "without content"),
        ({"content": [{"token": "A", "logprob": 0, "top_logprobs": [{}]}]}, "without logprob"),
    ],
)
def test_a_server_without_the_list_is_told_from_one_with_it(tmp_path, logprobs, said):
    reply = chat("A")
    reply.body["choices"][0]["logprobs"] = logprobs
    with serving(script(reply)) as server:
        model = _endpoint(server, tmp_path, logprobs="chat_top")
        with pytest.raises(EndpointError, match=f"{said}.*set logprobs to none"):
            model.lettered(["Q"], [2], 8)
        # Without the setting nothing of it is asked.
        ((given, scores),) = _endpoint(server, tmp_path).lettered(["Q"], [2], 8)
    assert (given.text, scores) == ("A", None)
    assert "logprobs" not in server.asked[-1][1]


def test_a_token_across_the_border_belongs_to_the_continuation():
    tokens, values = ["The", " rate", " was", " 5.", "6"], [None, -1.0, -2.0, -3.0, -4.0]
    raw = completion("", logprobs={"tokens": tokens, "token_logprobs": values}).body
    for prompt, rest, expected in (
        ("The rate was", " 5.6", [-3, -4]),
        ("The rate was ", "5.6", [-3, -4]),
        ("The rate was 5", ".6", [-3, -4]),
        ("The rate was 5.", "6", [-4]),
    ):
        np.testing.assert_array_equal(replies.echoed_log_likelihoods(raw, prompt, rest), expected)


@pytest.mark.parametrize("experiment", ["value", "event_order"])
def test_a_study_by_log_probabilities_has_the_numbers_of_the_weights(tmp_path, tiny, experiment):
    """The tiny model has a token a byte, so that alternatives are the same as well."""
    cell = {
        "experiment": experiment,
        "parameters": {
            "facts": "asked",
            "series": "us_unemployment_rate",
            "cutoff": "1995-01-01",
            "detail": "few",
        },
    }
    settings = Settings(subset_per_series=2, dates_per_series=4, choices=3, events=4)
    context = ProbeContext("study", "state", 0, tmp_path, {}, {})
    here = list(measure.measure(tiny, settings, cell, context))
    cell["parameters"]["endpoint"] = "log_likelihoods"
    with serving(_echoing(tiny)) as server:
        model = _endpoint(server, tmp_path, mode="completions", logprobs="completions_echo")
        there = list(measure.measure(model, settings, cell, context))
    assert len(here) == len(there) > 0
    for one, other in zip(here, there, strict=True):
        assert (one["item"], one["metric"]) == (other["item"], other["metric"])
        assert other["value"] == pytest.approx(one["value"], abs=1e-4)
