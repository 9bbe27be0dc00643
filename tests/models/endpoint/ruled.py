"""A model behind an endpoint that is nothing but a rule; no server is needed."""

from __future__ import annotations

from palimpsest.models.endpoint.model import Endpoint
from palimpsest.models.endpoint.replies import Answer


class Ruled(Endpoint):
    """A server's model that is nothing but a rule from a prompt to an answer."""

    def __init__(self, rule, mode="chat"):
        entry = {"source": "endpoint", "base_url": "http://none/v1", "name": "m", "mode": mode}
        super().__init__(entry, {})
        self.rule, self.asked, self.limits = rule, [], []

    def answers(self, prompts, max_tokens):
        self.asked += prompts
        self.limits += [max_tokens] * len(prompts)
        given = [self.rule(prompt) for prompt in prompts]
        return [g if isinstance(g, Answer) else Answer(g) for g in given]
