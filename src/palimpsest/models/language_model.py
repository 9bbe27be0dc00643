"""A loaded model with its tokenizer: what the engine works on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from palimpsest.models.guards import Guard


@dataclass
class LanguageModel:
    """A causal language model, its tokenizer and how it is asked.

    ``tokens`` counts the tokens put through the model, for provenance; ``backward_tokens`` those of
    passes that are differentiated, and ``backward_passes`` these passes. ``guards`` are heeded by
    all that writes text (``engine.generation``) and by nothing that reads probabilities.
    """

    module: torch.nn.Module
    tokenizer: Any
    name: str = "model"
    format: str = "plain"
    tokens: int = 0
    backward_tokens: int = 0
    backward_passes: int = 0
    packs: bool | None = None
    #: Runs the decoder where its weights must be gathered first (``engine.sharded``).
    runner: Callable[..., torch.Tensor] | None = field(default=None, repr=False)
    guards: tuple[Guard, ...] = ()
    _encoded: dict[str, list[int]] = field(default_factory=dict, repr=False)

    @property
    def device(self) -> torch.device:
        """Device of the embeddings, where tokens go in; layers may lie on others."""
        return device_of(self.module.get_input_embeddings())

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the weights."""
        return next(self.module.parameters()).dtype

    def free_bytes(self) -> int:
        """Free memory of the fullest of the GPUs on which weights lie."""
        import torch

        there = {p.device for p in self.module.parameters() if p.is_cuda}
        return min(torch.cuda.mem_get_info(device)[0] for device in there)

    def last_states(self, **inputs: Any) -> torch.Tensor:
        """Last hidden states, (sequences, tokens, width), where the vocabulary's weights are."""
        if self.runner:
            states = self.runner(**inputs)
        else:
            states = self.module.get_decoder()(**inputs).last_hidden_state
            states = states.to(device_of(self.module.get_output_embeddings()))
        if states.requires_grad:
            self.backward_tokens += states.shape[0] * states.shape[1]
            self.backward_passes += 1
        return states

    def encode(self, text: str) -> list[int]:
        """Token ids of ``text`` with the tokenizer's own special tokens (such as a BOS)."""
        if text not in self._encoded:
            self._encoded[text] = self.tokenizer(text).input_ids
        return list(self._encoded[text])

    def encode_pair(self, prompt: str, continuation: str) -> tuple[list[int], list[int]]:
        """Token ids of a prompt and of the text that follows it.

        White space at the end of the prompt goes to the continuation, and the pair is encoded as
        one string, so that the tokens are those that the model would meet in running text. Where
        no token of the prompt is left the token with which documents begin takes its place.

        Raises:
            ValueError: the continuation has no token of its own.
        """
        stripped = prompt.rstrip()
        whole = self.encode(stripped + prompt[len(stripped) :] + continuation)
        head = self.encode(stripped) if stripped else []
        shared = 0
        while shared < min(len(head), len(whole)) and head[shared] == whole[shared]:
            shared += 1
        if shared == len(whole):
            raise ValueError(f"continuation {continuation!r} has no token after {prompt!r}")
        if not shared:
            # No prompt, or its only token has grown together with the continuation.
            start = self.tokenizer.bos_token_id
            start = self.tokenizer.eos_token_id if start is None else start
            return ([start], whole) if whole[0] != start else (whole[:1], whole[1:])
        return whole[:shared], whole[shared:]

    def token_length(self, text: str) -> int:
        """Number of tokens of ``text`` as it stands after a word, without special tokens."""
        return len(self.tokenizer(text, add_special_tokens=False).input_ids)

    def ask(self, question: str, lead: str) -> str:
        """The prompt that puts ``question`` and lets the answer begin with ``lead``.

        A plain model reads both as running text; a chat model gets the question as the user's
        turn and the lead as the beginning of its own, so that both formats score the same tokens.
        """
        if self.format == "plain":
            return f"{question} {lead}".strip()
        request = f"{question} Complete this sentence, with nothing after it: {lead} ...".strip()
        opened = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": request}], add_generation_prompt=True, tokenize=False
        )
        return opened + lead

    def decode(self, ids: list[int]) -> str:
        """Text of ``ids`` without special tokens."""
        return self.tokenizer.decode(ids, skip_special_tokens=True)

    def trainable(self) -> Iterator[torch.nn.Parameter]:
        """Parameters that require a gradient."""
        return (p for p in self.module.parameters() if p.requires_grad)


def device_of(layer: torch.nn.Module) -> torch.device:
    """Where a layer computes; weights that wait elsewhere until then are on no device."""
    import torch

    hook = getattr(layer, "_hf_hook", None)
    weight = next(layer.parameters())
    if weight.is_meta and hook is not None:
        return torch.device(hook.execution_device)
    return weight.device
