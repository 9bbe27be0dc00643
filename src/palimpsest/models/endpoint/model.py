"""A language model behind a server: what can be asked of it without its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from palimpsest.models.endpoint.cache import Request
from palimpsest.models.endpoint.client import Client, EndpointError
from palimpsest.models.endpoint.replies import (
    AlignmentError,
    Answer,
    MalformedReplyError,
    answer,
    echoed_log_likelihoods,
    first_letters,
)
from palimpsest.models.entry import ACCESS, EndpointModel, capabilities, identity_fields

#: Tokens whose log-probabilities are asked for; most servers give no more.
_TOP = 20

VERSION = 1
ENGINE = ("models.endpoint.replies",)


class Endpoint:
    """A model of a server, as probes meet it beside ``LanguageModel``.

    Args:
        entry: identity fields of its entry (``models.entry.identity_fields``).
        access: how it is reached, and what it may cost.
        client: asks the server; made from the entry when None.
    """

    def __init__(
        self, entry: Mapping[str, Any], access: Mapping[str, Any], client: Client | None = None
    ) -> None:
        self.entry = entry
        self.client = client or Client(entry, access)
        self.name = entry["name"]
        self.format = "chat" if entry.get("mode", "chat") == "chat" else "plain"

    @property
    def capabilities(self) -> tuple[str, ...]:
        """What it can do, of ``models.entry.CAPABILITIES``."""
        return capabilities(self.entry)

    @property
    def tokens(self) -> int:
        """Tokens sent to and from the server by this job."""
        return self.client.usage.cost.tokens

    def token_length(self, text: str) -> int:
        """Characters of ``text``, since its tokens are not known here.

        Without log-probabilities 1 for all: of choices in words none gains by being short.
        """
        return len(text) if "log_likelihoods" in self.capabilities else 1

    def ask(self, question: str, lead: str) -> str:
        """The prompt that puts ``question`` and lets the answer begin with ``lead``.

        In chats the beginning of an answer cannot be given, so the model is asked for the rest.
        """
        if self.format == "plain":
            return f"{question} {lead}".strip()
        wanted = "Complete this sentence. Answer with the missing words alone:"
        return f"{question} {wanted} {lead} ...".strip()

    def answers(self, prompts: Sequence[str], max_tokens: int) -> list[Answer]:
        """What the model writes after each prompt, at most ``max_tokens`` tokens.

        Raises:
            EndpointError, RequestError, SpendingCapError: see :meth:`Client.ask`.
        """
        limit = self.entry.get("max_tokens") or max_tokens
        requests = [self._request(prompt, limit) for prompt in prompts]
        return [answer(reply) for reply in self.client.ask(requests)]

    def lettered(
        self, prompts: Sequence[str], counts: Sequence[int], max_tokens: int
    ) -> list[tuple[Answer, np.ndarray | None]]:
        """As :meth:`answers` to questions whose alternatives have letters.

        Args:
            prompts: n questions.
            counts: for each how many letters there are, from A on.
            max_tokens: longest answer.

        Returns:
            For each the answer, and the letters' log-probabilities in nats (see
            :func:`replies.first_letters`), or None where the entry does not say that the server
            gives them.

        Raises:
            EndpointError: the server does not give them; else as :meth:`Client.ask`.
        """
        if self.entry.get("logprobs") != "chat_top":
            return [(given, None) for given in self.answers(prompts, max_tokens)]
        limit = self.entry.get("max_tokens") or max_tokens
        more = {"logprobs": True, "top_logprobs": _TOP}
        replies = self.client.ask([self._request(prompt, limit, **more) for prompt in prompts])
        try:
            return [
                (answer(raw), first_letters(raw, count))
                for raw, count in zip(replies, counts, strict=True)
            ]
        except (AlignmentError, MalformedReplyError) as error:
            raise EndpointError(
                f"{self.client.where}: {error}; set logprobs to none in the models file"
            ) from None

    def log_likelihoods(
        self, prompts: Sequence[str], continuations: Sequence[Sequence[str]]
    ) -> list[list[np.ndarray]]:
        """Log-probabilities of the tokens of every continuation, in nats.

        Args:
            prompts: n prompts.
            continuations: for each prompt the texts that are scored after it.

        Returns:
            For each prompt one array a continuation.

        Raises:
            EndpointError: the server does not give them; else as :meth:`Client.ask`.
        """
        pairs = [(p, c) for p, group in zip(prompts, continuations, strict=True) for c in group]
        # One token is written and thrown away: not every server takes a limit of 0.
        requests = [self._request(p + c, 1, echo=True, logprobs=1) for p, c in pairs]
        replies = iter(zip(pairs, self.client.ask(requests), strict=True))
        try:
            return [
                [
                    echoed_log_likelihoods(raw, prompt, continuation)
                    for (prompt, continuation), raw in (next(replies) for _ in group)
                ]
                for group in continuations
            ]
        except AlignmentError as error:
            raise EndpointError(
                f"{self.client.where}: {error}; set logprobs to none in the models file"
            ) from None

    def usage(self) -> dict[str, Any]:
        """What this job has asked, for provenance; and what the model has cost so far."""
        usage, cost = self.client.usage, self.client.usage.cost
        return {
            "requests": cost.requests,
            "cache_hits": usage.hits,
            "failed_tries": usage.failed,
            "tokens_in": cost.tokens_in,
            "tokens_out": cost.tokens_out,
            "usd": cost.usd(self.client.access),
            "served_as": sorted(usage.served_as),
            "usd_so_far": self.client.ledger.spent().usd(self.client.access),
        }

    def _request(self, text: str, limit: int, **more: Any) -> Request:
        entry = self.entry
        body: dict[str, Any] = {
            "model": self.name,
            "temperature": entry.get("temperature", 0),
            "seed": entry.get("seed", 0),
            entry.get("limit_field", "max_tokens"): limit,
            **entry.get("extra", {}),
            **more,
        }
        body = {key: value for key, value in body.items() if value is not None}
        if self.format == "chat":
            messages = [{"role": "user", "content": text}]
            return Request("chat/completions", body | {"messages": messages})
        return Request("completions", body | {"prompt": text})


def prepared(name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """What ``model.json`` says of a model behind an endpoint: there is nothing to fetch."""
    return {
        "model": name,
        "source": "endpoint",
        "revision": None,
        "endpoint": dict(entry),
        "parameters": None,
        "files": {},
    }


def check(entry: EndpointModel) -> str:
    """One question to the server, what it supports, and what it has cost so far, in words.

    Raises:
        EndpointError, RequestError, SpendingCapError: see :meth:`Client.ask`.
    """
    model = Endpoint(identity_fields(entry), entry.model_dump(include=set(ACCESS)))
    lead = "The capital of France is"
    (given,) = model.answers([model.ask("", lead)], 8)
    said = f"a refusal ({given.refusal})" if given.refusal else repr(given.text)
    lines = [f"{model.client.where} answers {said} to {lead!r}"]
    if "log_likelihoods" in model.capabilities:
        ((values,),) = model.log_likelihoods([lead], [[" Paris."]])
        lines.append(f"log p(' Paris.') = {values.sum():.2f} nats over {len(values)} tokens")
    if entry.logprobs == "chat_top":
        question = "Which is a city?\nChoices: A: Paris; B: seven. Answer with the letter alone."
        ((_, letters),) = model.lettered([question], [2], 8)
        listed = [f"log p({letter}) = {p:.2f}" for letter, p in zip("AB", letters, strict=True)]
        lines.append(f"first tokens that are letters: {', '.join(listed)} nats (nan: not listed)")
    gives = " and ".join(name.replace("_", " ") for name in model.capabilities)
    lines.append(f"gives {gives}")
    used, spent = model.client.usage, model.client.ledger.spent()
    lines.append(
        f"{used.cost.requests} requests now and {used.hits} replies from the cache; "
        f"{spent.requests:,} requests, {spent.tokens_in:,} tokens in, {spent.tokens_out:,} out and "
        f"{spent.usd(model.client.access):.4f} USD in all"
    )
    return "; ".join(lines)
