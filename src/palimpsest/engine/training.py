"""One training loop for everything that trains; methods plug in through hooks.

Sentences of a batch lie in one row without padding, each sees only itself, and the vocabulary is
projected only where a token is scored. A batch that memory cannot hold is put through in parts
whose gradients add up to that of the whole. With every hook empty the loop is plain fine-tuning.
Several processes may share the weights of one model (``sharded``); the loop is the same.
"""

from __future__ import annotations

import contextlib
import fnmatch
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from palimpsest.engine import sharded
from palimpsest.engine.examples import Example, TokenLosses, batches, example, token_losses
from palimpsest.engine.packing import packed
from palimpsest.engine.plain import packs
from palimpsest.engine.training_settings import TrainingSettings

if TYPE_CHECKING:
    import torch

    from palimpsest.engine.adapters import LowRankLinear
    from palimpsest.models.language_model import LanguageModel

__all__ = [
    "Example",
    "Hooks",
    "NonFiniteLossError",
    "TokenLosses",
    "Trainer",
    "TrainingSettings",
    "batches",
    "example",
    "token_losses",
]

VERSION = 2
ENGINE = ("engine.training_settings", "engine.examples", "engine.adapters", "engine.sharded")

#: Tokens put through at once on a CPU; more gain nothing there.
CPU_BUDGET = 2048
#: No part is larger on a GPU. When memory runs out parts are halved down to the small budget, then
#: activations are computed twice, then parts are halved down to the least.
GPU_BUDGET, SMALL_BUDGET, LEAST_BUDGET = 16384, 512, 64
_SHARE_OF_MEMORY = 0.6


class NonFiniteLossError(RuntimeError):
    """Loss or gradient is not a finite number; holds the step and the last finite loss."""

    def __init__(self, step: int, last: float, what: str = "loss") -> None:
        super().__init__(f"{what} not finite at step {step}; last finite loss {last:.4g}")
        self.step, self.last, self.what = step, last, what


@dataclass
class Hooks:
    """What a method may change; every hook empty is plain fine-tuning.

    Where processes share a model each runs every hook, all of them in the same order. Weights and
    gradients are then ``DTensor``: operations are written as for the whole tensor, but only with
    tensors that were made from them. ``loss`` sees the process's own parts of a batch,
    ``extra_loss`` the whole batch and must come out equal everywhere.

    Attributes:
        stream: changes the batches before they are seen: adds, drops, mixes or reorders.
        select_parameters: whether a weight, by name, is trained (full) or its layer adapted (lora).
        wrap_adapters: puts the method's own trainable parts into the model, instead of ``lora``.
        loss: (model, part, batch) -> loss of a part; the sum over the parts of a batch must be
            the loss of the batch, so divide by sizes of the batch, not of the part.
        extra_loss: (model, batch) -> a term added once a step.
        after_backward: (model, step); may change gradients.
        after_step: (model, steps done); may change weights.
        end_of_task: (model).
    """

    stream: Callable[[Iterable[Sequence[Example]]], Iterable[Sequence[Example]]] | None = None
    select_parameters: Callable[[str], bool] | None = None
    wrap_adapters: Callable[[LanguageModel], None] | None = None
    loss: Callable[[LanguageModel, Sequence[Example], Sequence[Example]], torch.Tensor] | None = (
        None
    )
    extra_loss: Callable[[LanguageModel, Sequence[Example]], torch.Tensor] | None = None
    after_backward: Callable[[LanguageModel, int], None] | None = None
    after_step: Callable[[LanguageModel, int], None] | None = None
    end_of_task: Callable[[LanguageModel], None] | None = None


def mean_loss(
    model: LanguageModel, part: Sequence[Example], batch: Sequence[Example]
) -> torch.Tensor:
    """A part's share of the mean cross-entropy (nats a token) over a batch's scored tokens.

    Raises:
        ValueError: no token of the batch is scored.
    """
    scored = sum(sum(item.scored) for item in batch)
    if not scored:
        raise ValueError("no token of the batch is scored")
    return token_losses(model, part).values.sum() / scored


def budget_of_device(model: LanguageModel, trained: int) -> int:
    """Tokens to train on at once: enough for full speed, and what fits beside the optimiser.

    Args:
        model: the model, where it is.
        trained: bytes of the weights that are trained.
    """
    if model.device.type != "cuda":
        return CPU_BUDGET

    config = model.module.config.get_text_config()
    inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    layer = 16 * config.hidden_size + 5 * inner
    token = layer * config.num_hidden_layers * model.dtype.itemsize
    left = max(0.0, model.free_bytes() - 3 * trained) * _SHARE_OF_MEMORY
    return int(min(GPU_BUDGET, max(LEAST_BUDGET, left / token)))


@dataclass
class Trainer:
    """The loop, as an object that can be stopped, saved and continued to the same bits.

    Args:
        model: the model; its module is changed in place (``lora`` adds adapters to its layers).
        settings: see :class:`TrainingSettings`.
        hooks: see :class:`Hooks`.
        seed: seed of the adapters' initial values and of dropout.
        steps: length of the run, for schedules that need it.
        token_budget: tokens put through at once, found from the device when None.

    Raises:
        ValueError: a schedule without a length, or nothing to train.
    """

    model: LanguageModel
    settings: TrainingSettings
    hooks: Hooks = field(default_factory=Hooks)
    seed: int = 0
    steps: int | None = None
    token_budget: int | None = None
    step: int = 0
    losses: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        import torch

        settings, module = self.settings, self.model.module
        settings.rate(0, self.steps)
        self.team = sharded.team()
        # Known before precision changes what the model computes; the first process has the weights.
        self.model.packs = self.team.agreed(self.team.first and packs(self.model))
        self.adapters: dict[str, LowRankLinear] = {}
        self._computes_twice = False
        if self.hooks.wrap_adapters:
            self.hooks.wrap_adapters(self.model)
        elif settings.adapter == "lora":
            from palimpsest.engine.adapters import add_adapters

            self.adapters = add_adapters(
                module, settings.rank, settings.alpha, self.seed, self._selected
            )
        else:
            for name, parameter in module.named_parameters():
                parameter.requires_grad_(self._selected(name))
        module.train()
        self.team.shard(self.model)
        self.parameters = {n: p for n, p in module.named_parameters() if p.requires_grad}
        if not self.parameters:
            raise ValueError(f"no weight to train: {', '.join(settings.only)} fits no name")
        self._values = list(self.parameters.values())
        self._stepped = self.team.stepped(self._values)
        self.optimizer = self.make_optimizer(settings, self._stepped)
        if settings.checkpointing == "always":
            self._keep_no_activations()
        if settings.compile and self.team.size == 1:
            self._decoder().compile(dynamic=True)
        trained = sum(p.numel() * p.element_size() for p in self._values)
        budget = self.token_budget or budget_of_device(self.model, trained)
        self._budget = self.team.least(budget)
        torch.manual_seed(self.seed % (1 << 63))

    def run(self, batches: Iterable[Sequence[Example]]) -> None:
        """One optimiser step a batch.

        Raises:
            NonFiniteLossError: loss or gradient is not finite; the weights are those before the
                step.
            MemoryError: memory is exhausted however small the parts.
        """
        if self.hooks.stream:
            batches = self.hooks.stream(batches)
        for batch in batches:
            self._train_on(batch)

    def finish(self) -> None:
        """End of the task: hooks, and the module is as it is for reading again."""
        if self.hooks.end_of_task:
            self.hooks.end_of_task(self.model)
        module = self.model.module
        if self._computes_twice:
            module.activation_checkpointing_disable()
        self._decoder()._compiled_call_impl = None
        self.optimizer.zero_grad(set_to_none=True)
        module.eval()

    def changes(self, before: dict[str, torch.Tensor] | None = None) -> dict[str, torch.Tensor]:
        """What training has changed, in the form that ``models.states`` stores.

        Args:
            before: for full fine-tuning, the parameters before; equal tensors are left out.

        Returns:
            Name -> whole tensor; of several processes the first alone gets any.
        """
        import torch

        if not self.adapters:
            return {
                name: value
                for name, value in self.team.whole(self.parameters)
                if before is None or not torch.equal(value, before[name])
            }
        stored = {}
        for name, adapter in self.adapters.items():
            stored[f"{name}::A"] = adapter.A.detach()
            stored[f"{name}::B"] = adapter.B.detach() * adapter.scale
        return dict(self.team.whole(stored))

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to continue to the same bits on the same device.

        Of several processes all must call it; the first alone gets the tensors.
        """
        return {
            "parameters": {k: v.clone() for k, v in self.team.whole(self.parameters)},
            "optimizer": self.team.whole_state(self.optimizer.state_dict(), self._values),
            "step": self.step,
            "losses": list(self.losses),
            "budget": self._budget,
            "random": self.team.random(self.model.device),
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        import torch

        with torch.no_grad():
            for name, value in saved["parameters"].items():
                parameter = self.parameters[name]
                parameter.copy_(self.team.share(value, parameter))
        optimizer = self.team.share_state(saved["optimizer"], self._values)
        self.optimizer.load_state_dict(optimizer)
        self.step, self.losses = saved["step"], list(saved["losses"])
        self._budget = saved["budget"]
        self.team.set_random(saved["random"].cpu(), self.model.device)

    def _train_on(self, batch: Sequence[Example]) -> None:
        loss = self._backward_in_parts(batch)
        if self.hooks.after_backward:
            self.hooks.after_backward(self.model, self.step)
        self._apply_gradient()
        self.losses.append(loss)
        self.step += 1
        if self.hooks.after_step:
            self.hooks.after_step(self.model, self.step)

    def _backward_in_parts(self, batch: Sequence[Example]) -> float:
        """Gradients of a batch and its loss; parts are halved when memory is exhausted."""
        from palimpsest.engine.scoring import out_of_memory

        while True:
            try:
                return self._backward(batch)
            except (RuntimeError, MemoryError) as error:
                self.optimizer.zero_grad(set_to_none=True)
                if not out_of_memory(error):
                    raise
                self._need_less_memory(error)

    def _backward(self, batch: Sequence[Example]) -> float:
        loss_of = self.hooks.loss or mean_loss
        total = 0.0
        for part, counts in self.team.parts(batch, self._budget):
            with self.settings.precision(self.model.device.type):
                loss = loss_of(self.model, part, batch)
            if not counts:
                loss = loss * 0
            total += self._checked(self.team.total(float(loss.detach())))
            with packed(self.model) if self._computes_twice else contextlib.nullcontext():
                loss.backward()
        if self.hooks.extra_loss:
            with self.settings.precision(self.model.device.type):
                loss = self.team.number(self.hooks.extra_loss(self.model, batch))
            total += self._checked(self.team.total(float(loss.detach())) / self.team.size)
            if loss.requires_grad:
                # All processes have computed all of it: their mean is its gradient.
                self.team.sums_gradients(self.model, False)
                loss.backward()
                self.team.sums_gradients(self.model, True)
        return total

    def _checked(self, value: float) -> float:
        if not math.isfinite(value):
            raise self._not_finite("loss")
        return value

    def _not_finite(self, what: str) -> NonFiniteLossError:
        self.optimizer.zero_grad(set_to_none=True)
        return NonFiniteLossError(self.step, self.losses[-1] if self.losses else math.nan, what)

    def _apply_gradient(self) -> None:
        """Clip, then one step of the optimiser; the fused kernel scales the gradient on its way."""
        import torch

        gradients = [p.grad for p in self._values if p.grad is not None]
        norm = self.team.number(torch.nn.utils.get_total_norm(gradients))
        if not math.isfinite(norm):
            raise self._not_finite("gradient")
        rate = self.settings.rate(self.step, self.steps)
        self.team.hand_gradients(self._values, self._stepped)
        self.descend(self.optimizer, norm, self.settings, rate)
        self.optimizer.zero_grad(set_to_none=True)

    @staticmethod
    def make_optimizer(
        settings: TrainingSettings, values: list[torch.Tensor]
    ) -> torch.optim.Optimizer:
        """The optimiser that the settings name."""
        import torch

        rate, decay = settings.learning_rate, settings.weight_decay
        if settings.optimizer == "adamw":
            return torch.optim.AdamW(values, rate, weight_decay=decay, fused=True)
        return torch.optim.SGD(values, rate, settings.momentum, weight_decay=decay, fused=True)

    @staticmethod
    def descend(
        optimizer: torch.optim.Optimizer,
        norm: torch.Tensor,
        settings: TrainingSettings,
        rate: float,
    ) -> None:
        """One step at a rate; the fused kernel clips a gradient of this norm on its way."""
        optimizer.grad_scale = (norm / settings.clip).clamp_min(1).float()
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()

    def _selected(self, name: str) -> bool:
        hook = self.hooks.select_parameters
        return self.chooser(self.settings)(name) and (not hook or hook(name))

    @staticmethod
    def chooser(settings: TrainingSettings) -> Callable[[str], bool]:
        """Whether a weight, by name, fits the patterns of ``only``."""
        patterns = settings.only
        return lambda name: not patterns or any(fnmatch.fnmatch(name, p) for p in patterns)

    def _need_less_memory(self, error: Exception) -> None:
        import torch

        if self.team.size > 1:
            raise MemoryError(
                "out of memory on one of several devices: set checkpointing to always, or take more"
            ) from error
        # Parts of half the size cost next to nothing until they are small; computing twice does.
        if self._budget >= 2 * SMALL_BUDGET:
            self._budget //= 2
        elif not self._computes_twice:
            self._keep_no_activations()
        elif self._budget >= 2 * LEAST_BUDGET:
            self._budget //= 2
        else:
            raise MemoryError(f"out of memory even with {self._budget} tokens at once") from error
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _keep_no_activations(self) -> None:
        self._computes_twice = True
        self.model.module.activation_checkpointing_enable({"use_reentrant": False})

    def _decoder(self) -> torch.nn.Module:
        return self.model.module.get_decoder()
