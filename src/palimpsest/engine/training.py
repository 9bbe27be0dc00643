"""One training loop for everything that trains; methods plug in through hooks.

Sentences of a batch lie in one row without padding, each sees only itself, and the vocabulary is
projected only where a token is scored. With every hook empty the loop is plain fine-tuning.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from palimpsest.blocks import Block

if TYPE_CHECKING:
    import torch

    from palimpsest.engine.adapters import LowRankLinear
    from palimpsest.models.language_model import LanguageModel

VERSION = 1


class TrainingSettings(Block):
    """How weights are changed."""

    learning_rate: float = Field(default=1e-3, gt=0)
    """Constant learning rate of AdamW."""
    batch_size: int = Field(default=4, ge=1)
    """Sentences a step."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Weight decay of AdamW."""
    clip: float = Field(default=1.0, gt=0)
    """Largest norm of the gradient."""
    adapter: Literal["lora", "full"] = "lora"
    """lora: a low-rank change of every linear layer (Hu et al. 2021); full: all weights."""
    rank: int = Field(default=16, ge=1)
    """Rank of the low-rank change."""
    alpha: float = Field(default=32, gt=0)
    """The low-rank change is scaled by alpha / rank."""
    scored: Literal["answer", "sentence"] = "answer"
    """Tokens that carry loss: from the answer on, or the whole sentence."""


@dataclass(frozen=True)
class Example:
    """A sentence as token ids, and which of them carry loss (never the first)."""

    ids: tuple[int, ...]
    scored: tuple[bool, ...]


class NonFiniteLossError(RuntimeError):
    """The loss is not a finite number; holds the step and the last finite loss."""

    def __init__(self, step: int, last: float) -> None:
        super().__init__(f"loss not finite at step {step}; last finite loss {last:.4g}")
        self.step, self.last = step, last


@dataclass
class Hooks:
    """What a method may change; every hook empty is plain fine-tuning."""

    extra_loss: Callable[[LanguageModel, Sequence[Example]], torch.Tensor] | None = None
    after_backward: Callable[[LanguageModel, int], None] | None = None
    after_step: Callable[[LanguageModel, int], None] | None = None
    end_of_task: Callable[[LanguageModel], None] | None = None


@dataclass
class Trainer:
    """The loop, as an object that can be stopped, saved and continued to the same bits.

    Args:
        model: the model; its module is changed in place (``lora`` adds adapters to its layers).
        settings: see :class:`TrainingSettings`.
        hooks: see :class:`Hooks`.
        seed: seed of the adapters' initial values.
    """

    model: LanguageModel
    settings: TrainingSettings
    hooks: Hooks = field(default_factory=Hooks)
    seed: int = 0
    step: int = 0
    losses: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        import torch

        self.adapters: dict[str, LowRankLinear] = {}
        if self.settings.adapter == "lora":
            from palimpsest.engine.adapters import add_adapters

            self.adapters = add_adapters(
                self.model.module, self.settings.rank, self.settings.alpha, self.seed
            )
        else:
            self.model.module.requires_grad_(True)
        self.model.module.train()
        self.parameters = {
            name: p for name, p in self.model.module.named_parameters() if p.requires_grad
        }
        self.optimizer = torch.optim.AdamW(
            self.parameters.values(),
            lr=self.settings.learning_rate,
            weight_decay=self.settings.weight_decay,
            fused=True,
        )

    def run(self, batches: Iterable[Sequence[Example]]) -> None:
        """One optimiser step a batch.

        Raises:
            NonFiniteLossError: the loss is not finite; the weights are those before the step.
        """
        for batch in batches:
            loss = self._loss(batch)
            if self.hooks.extra_loss:
                loss = loss + self.hooks.extra_loss(self.model, batch)
            value = float(loss.detach())
            if not math.isfinite(value):
                raise NonFiniteLossError(self.step, self.losses[-1] if self.losses else math.nan)
            loss.backward()
            if self.hooks.after_backward:
                self.hooks.after_backward(self.model, self.step)
            self._clip()
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            self.losses.append(value)
            self.step += 1
            if self.hooks.after_step:
                self.hooks.after_step(self.model, self.step)

    def finish(self) -> None:
        """End of the task: hooks, and the module is as it is for reading again."""
        if self.hooks.end_of_task:
            self.hooks.end_of_task(self.model)
        self.model.module.eval()

    def changes(self, before: dict[str, torch.Tensor] | None = None) -> dict[str, torch.Tensor]:
        """What training has changed, in the form that ``models.states`` stores.

        Args:
            before: for full fine-tuning, the parameters before; equal tensors are left out.
        """
        import torch

        if self.settings.adapter == "full":
            return {
                name: p.detach()
                for name, p in self.parameters.items()
                if before is None or not torch.equal(p.detach(), before[name])
            }
        stored = {}
        for name, adapter in self.adapters.items():
            stored[f"{name}::A"] = adapter.A.detach()
            stored[f"{name}::B"] = adapter.B.detach() * adapter.scale
        return stored

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to continue to the same bits on the same device."""
        return {
            "parameters": {k: v.detach().clone() for k, v in self.parameters.items()},
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "losses": list(self.losses),
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        import torch

        with torch.no_grad():
            for name, value in saved["parameters"].items():
                self.parameters[name].copy_(value)
        self.optimizer.load_state_dict(saved["optimizer"])
        self.step, self.losses = saved["step"], list(saved["losses"])

    def _loss(self, batch: Sequence[Example]) -> torch.Tensor:
        """Mean cross-entropy (nats a token) over the scored tokens of the batch."""
        import torch

        device = self.model.device
        ids = torch.tensor([token for example in batch for token in example.ids], device=device)
        lengths = [len(example.ids) for example in batch]
        owner = torch.repeat_interleave(
            torch.arange(len(batch), device=device), torch.tensor(lengths, device=device)
        )
        positions = torch.cat([torch.arange(n, device=device) for n in lengths])
        seen = (owner[:, None] == owner[None]) & (positions[:, None] >= positions[None])
        mask = torch.zeros(seen.shape, dtype=self.model.dtype, device=device)
        mask.masked_fill_(~seen, torch.finfo(self.model.dtype).min)
        scored = torch.tensor([s for example in batch for s in example.scored], device=device)
        at = scored.nonzero()[:, 0]
        module = self.model.module
        hidden = module.get_decoder()(
            input_ids=ids[None],
            attention_mask=mask[None, None],
            position_ids=positions[None],
            use_cache=False,
        ).last_hidden_state[0]
        self.model.tokens += len(ids)
        logits = module.get_output_embeddings()(hidden[at - 1]).float()
        return torch.nn.functional.cross_entropy(logits, ids[at])

    def _clip(self) -> None:
        import torch

        torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.settings.clip)


def example(model: LanguageModel, before: str, answer: str, after: str, scored: str) -> Example:
    """A sentence whose answer is known, with the loss on the answer or on all of it.

    Args:
        before: text before the answer.
        answer: the answer, with the space before it.
        after: text behind the answer, scored with it so that a free answer learns to end.
        scored: ``answer`` or ``sentence``.
    """
    head, tail = model.encode_pair(before, answer + after)
    first = len(head) if scored == "answer" else 1
    return Example(
        tuple(head + tail), tuple(place >= first for place in range(len(head) + len(tail)))
    )
