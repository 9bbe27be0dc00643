"""From the JSON of a server to answers, log-probabilities and tokens used.

The formats are those of the OpenAI API reference, "Create chat completion" and "Create completion"
(legacy); servers leave out much of them, so only what is read here is required.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

VERSION = 1


class MalformedReplyError(ValueError):
    """A reply that is not what the protocol says."""


class AlignmentError(ValueError):
    """Log-probabilities that cannot be told apart into prompt and continuation."""


@dataclass(frozen=True)
class Answer:
    """What a model wrote.

    Attributes:
        text: its text.
        refusal: None, or why it counts as a refusal: ``refusal`` (the field of that name),
            ``content_filter`` (the server cut or withheld it), ``empty`` (a chat model that ended
            its turn without a word).
    """

    text: str
    refusal: str | None = None


def answer(raw: Mapping[str, Any]) -> Answer:
    """The first choice of a reply.

    Raises:
        MalformedReplyError: it has no choice with a text.
    """
    choice = _choice(raw)
    chat = "message" in choice
    message = choice["message"] if chat else choice
    if not isinstance(message, Mapping):
        raise MalformedReplyError("choices[0].message is no object")
    text, refused = message.get("content" if chat else "text"), message.get("refusal")
    filtered = choice.get("finish_reason") == "content_filter"
    if text is None and chat and (refused or filtered or "content" in message):
        text = ""
    if not isinstance(text, str):
        raise MalformedReplyError("choices[0] has no text")
    if refused:
        return Answer(text or str(refused), "refusal")
    if filtered:
        return Answer(text, "content_filter")
    if chat:
        # A turn is a text of its own: what stands before its first word is no answer.
        text = text.lstrip()
        return Answer(text, None if text else "empty")
    return Answer(text)


def filtered() -> dict[str, Any]:
    """The reply that stands for a prompt which the server's filter rejects as an error."""
    choice = {"text": "", "finish_reason": "content_filter"}
    return {"choices": [choice], "usage": {"prompt_tokens": 0, "completion_tokens": 0}}


def used(raw: Mapping[str, Any]) -> tuple[int, int] | None:
    """Tokens of prompt and answer that the server counts; None where it does not say."""
    usage = raw.get("usage")
    if not isinstance(usage, Mapping):
        return None
    counts = usage.get("prompt_tokens"), usage.get("completion_tokens", 0)
    if not all(isinstance(count, int) and count >= 0 for count in counts):
        return None
    return counts


def echoed_log_likelihoods(raw: Mapping[str, Any], prompt: str, continuation: str) -> np.ndarray:
    """Log-probabilities of the tokens of ``continuation`` in an echoed completion.

    White space at the end of the prompt belongs to the continuation, and so does a token that
    lies across the border, as in ``LanguageModel.encode_pair``.

    Returns:
        One value a token, in nats.

    Raises:
        MalformedReplyError: the reply has no log-probabilities.
        AlignmentError: its tokens do not spell prompt and continuation.
    """
    found = _choice(raw).get("logprobs")
    if not isinstance(found, Mapping):
        raise AlignmentError("the server returns no logprobs")
    tokens, values = found.get("tokens"), found.get("token_logprobs")
    if not isinstance(tokens, list) or not isinstance(values, list) or len(tokens) != len(values):
        raise MalformedReplyError("logprobs without tokens and token_logprobs of one length")
    whole = prompt + continuation
    # Not text_offset: servers count a token that begins documents, or bytes, each in its way.
    start = "".join(map(str, tokens)).find(whole)
    if start < 0:
        raise AlignmentError("the server does not echo the prompt token by token")
    ends = start + np.cumsum([0, *map(len, map(str, tokens))]) - start
    border, last = start + len(prompt.rstrip()), start + len(whole)
    chosen = [
        value
        for value, begin, end in zip(values, ends[:-1], ends[1:], strict=True)
        if end > border and begin < last
    ]
    if not chosen or any(not isinstance(value, int | float) for value in chosen):
        raise AlignmentError("a token of the continuation has no log-probability")
    return np.array(chosen, dtype=float)


def first_letters(raw: Mapping[str, Any], count: int) -> np.ndarray:
    """Log-probabilities of the first ``count`` capital letters as the first token of an answer.

    Read from ``choices[0].logprobs.content[0]``: the token that was written and those of
    ``top_logprobs``. Tokens that are one letter but for white space and brackets are added up;
    small letters are not counted, since "a" begins sentences.

    Returns:
        One value a letter, in nats; NaN for a letter that no listed token is.

    Raises:
        MalformedReplyError: what stands there is not what the protocol says.
        AlignmentError: an answer with words has no log-probabilities.
    """
    found = np.full(count, np.nan)
    given = answer(raw)
    logprobs = _choice(raw).get("logprobs")
    content = logprobs.get("content") if isinstance(logprobs, Mapping) else None
    if not content:
        if given.text and given.refusal is None:
            raise AlignmentError("the server returns no logprobs")
        return found
    first = content[0] if isinstance(content, list) else None
    if not isinstance(first, Mapping) or not isinstance(first.get("top_logprobs"), list):
        raise MalformedReplyError("logprobs without content[0].top_logprobs")
    values: dict[str, float] = {}
    for each in (first, *first["top_logprobs"]):
        token = each.get("token") if isinstance(each, Mapping) else None
        value = each.get("logprob") if isinstance(each, Mapping) else None
        if not isinstance(token, str) or not isinstance(value, int | float):
            raise MalformedReplyError("a token of top_logprobs without logprob")
        values[token] = float(value)
    for token, value in values.items():
        letter = token.strip(" \t\n\u2581\u0120([*)].:")
        place = ord(letter) - ord("A") if len(letter) == 1 else -1
        if 0 <= place < count:
            found[place] = np.logaddexp(found[place], value) if found[place] <= 0 else value
    return found


def _choice(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    choices = raw.get("choices") if isinstance(raw, Mapping) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], Mapping):
        raise MalformedReplyError("no choices")
    return choices[0]
