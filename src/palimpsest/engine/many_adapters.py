"""Many independent LoRA fine-tunings of one model in one pass.

The frozen layers see the tokens of all runs as one row, so that a run with a single sentence costs
what it would cost within a large batch; only the low-rank changes are computed run by run, as
batched products of stacked matrices. Every run has its own optimiser, clipping, learning rate and
end, and equals a run of :class:`palimpsest.engine.training.Trainer` to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from palimpsest.engine.adapters import adaptable, initial_values, replace
from palimpsest.engine.examples import Example, parts, token_losses
from palimpsest.engine.plain import require_packing
from palimpsest.engine.scoring import out_of_memory
from palimpsest.engine.segments import Segments
from palimpsest.engine.training import (
    LEAST_BUDGET,
    NonFiniteLossError,
    Trainer,
    TrainingSettings,
    budget_of_device,
)
from palimpsest.models.products import product

if TYPE_CHECKING:
    from palimpsest.models.language_model import LanguageModel

VERSION = 2
ENGINE = ("engine.adapters", "engine.examples", "engine.segments", "engine.training")

Batch = Sequence[Example]


class _Stacked(nn.Module):
    """A frozen linear layer with one low-rank change a run.

    ``segments`` says which run each token of the next row belongs to; ``only`` names one run for
    all tokens; with neither the layer is the frozen one.
    """

    def __init__(self, linear: nn.Linear, A: torch.Tensor, B: torch.Tensor) -> None:
        super().__init__()
        self.linear = linear
        self.A, self.B = A, B
        self.of_A, self.of_B = torch.zeros_like(A), torch.zeros_like(B)
        self.scales = A.new_ones(len(A), 1, 1)
        self.segments: Segments | None = None
        self.only: int | None = None
        self._frozen: torch.Tensor | None = None

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """(..., in) to (..., out)."""
        if self.only is not None:
            low = nn.functional.linear(inputs, self.A[self.only]) * self.scales[self.only, 0, 0]
            return self.linear(inputs) + nn.functional.linear(low, self.B[self.only])
        if self.segments is None:
            return self.linear(inputs)
        rows = inputs.flatten(0, -2)
        return _ManyLowRank.apply(rows, self).view(*inputs.shape[:-1], -1)

    def frozen(self, dtype: torch.dtype) -> torch.Tensor:
        """The frozen weight in a precision; the last one asked for is kept."""
        weight = self.linear.weight
        if dtype == weight.dtype:
            return weight
        if self._frozen is None or self._frozen.dtype != dtype:
            self._frozen = weight.detach().to(dtype)
        return self._frozen


class _ManyLowRank(torch.autograd.Function):
    """W x + scale B A x with its own A and B for each run; gradients of A and B are added up in
    the layer's buffers, so that no others are made."""

    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, layer: _Stacked) -> torch.Tensor:
        kind, segments = rows.device.type, layer.segments
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else rows.dtype
        runs, weight, bias = segments.runs, layer.frozen(dtype), layer.linear.bias
        with torch.autocast(kind, enabled=False):
            cut = segments.cut_once(rows).to(dtype)
            # Zero where a run is shorter than others: nothing there reaches gradients of A and B.
            scales = (layer.scales[runs] * segments.there).to(dtype)
            low = torch.bmm(cut, layer.A[runs].to(dtype).mT).mul_(scales)
            out = product(rows.to(dtype), weight, bias if bias is None else bias.to(dtype))
            out += segments.join(torch.bmm(low, layer.B[runs].to(dtype).mT))
        ctx.save_for_backward(cut, low, scales)
        ctx.layer, ctx.segments, ctx.dtype = layer, segments, rows.dtype
        return out

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        cut, low, scales = ctx.saved_tensors
        layer, segments, dtype = ctx.layer, ctx.segments, cut.dtype
        runs = segments.runs
        of_out = segments.cut(grad)
        keep = 0.0 if segments.first else 1.0
        _add_product(layer.of_B[runs], of_out.mT, low, keep)
        of_low = torch.bmm(of_out, layer.B[runs].to(dtype)).mul_(scales)
        _add_product(layer.of_A[runs], of_low.mT, cut, keep)
        below = product(grad, layer.frozen(dtype).T)
        below += segments.join(torch.bmm(of_low, layer.A[runs].to(dtype)))
        return below.to(ctx.dtype), None


def _add_product(total: torch.Tensor, left: torch.Tensor, right: torch.Tensor, keep: float) -> None:
    """keep total + left right, added up in the precision of the total."""
    if left.dtype == total.dtype:
        total.baddbmm_(left, right, beta=keep)
    else:
        product = torch.bmm(left, right)
        total.add_(product) if keep else total.copy_(product)


class ManyAdapters:
    """R runs that share a frozen model.

    Args:
        model: the model; its linear layers are replaced until :meth:`close`.
        settings: of all runs, or one a run; rank, ``only`` and ``autocast`` must agree.
        seeds: one a run: the seed of its adapters' initial values.
        steps: length of the runs, for schedules that need it.
        token_budget: tokens put through at once, found from the device when None.

    Raises:
        ValueError: settings for another number of runs, that do not ask for lora, or that differ
            where they must agree.
        NotPackableError: the model's scores are not what packed rows give.
    """

    def __init__(
        self,
        model: LanguageModel,
        settings: TrainingSettings | Sequence[TrainingSettings],
        seeds: Sequence[int],
        steps: int | None = None,
        token_budget: int | None = None,
    ) -> None:
        self.model, self.n, self.steps = model, len(seeds), steps
        single = isinstance(settings, TrainingSettings)
        self.settings = [settings] * self.n if single else list(settings)
        _check(self.settings, self.n)
        require_packing(model)
        self.failures: dict[int, NonFiniteLossError] = {}
        self.losses: list[list[float]] = [[] for _ in range(self.n)]
        module = model.module
        module.requires_grad_(False)
        first = self.settings[0]
        chosen = Trainer.chooser(first)
        generators = [torch.Generator().manual_seed(seed % (1 << 63)) for seed in seeds]
        self.layers: dict[str, _Stacked] = {}
        for name, linear in adaptable(module, chosen):
            values = [initial_values(linear, first.rank, generator) for generator in generators]
            A = torch.stack(values)
            layer = _Stacked(linear, A, A.new_zeros(self.n, linear.out_features, first.rank))
            layer.scales *= A.new_tensor([s.alpha / s.rank for s in self.settings])[:, None, None]
            replace(module, name, layer)
            self.layers[name] = layer
        trained = sum(2 * p.numel() * p.element_size() for p in self._stacks())
        self.token_budget = token_budget or budget_of_device(model, trained)
        self.optimizers = [self._optimizer(run) for run in range(self.n)]
        module.train()

    def run(self, streams: Sequence[Iterable[Batch]]) -> None:
        """Train every run on its own batches until they end.

        A run whose loss is not finite is frozen and stands in ``failures``; the others go on.
        """
        open_streams = {run: iter(stream) for run, stream in enumerate(streams)}
        while open_streams:
            batches: list[Batch | None] = [None] * self.n
            for run in list(open_streams):
                batches[run] = next(open_streams[run], None)
                if batches[run] is None or run in self.failures:
                    del open_streams[run]
            if open_streams:
                self.step(batches)

    def step(self, batches: Sequence[Batch | None]) -> None:
        """One optimiser step for every run that has a batch.

        Raises:
            ValueError: no token of a run's batch is scored.
            MemoryError: memory is exhausted however few tokens are put through at once.
        """
        active = [run for run, batch in enumerate(batches) if batch and run not in self.failures]
        losses = self._backward_in_parts(batches, active)
        norms = self._norms()
        finite = norms.isfinite().tolist()
        for run in active:
            self._apply(run, losses[run], norms[run], finite[run])

    def _backward_in_parts(
        self, batches: Sequence[Batch | None], active: Sequence[int]
    ) -> dict[int, float]:
        """Gradients of all runs and their losses; fewer tokens at once when memory runs out."""
        while True:
            try:
                return self._backward(batches, active)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                if self.token_budget < 2 * LEAST_BUDGET:
                    raise MemoryError(
                        f"out of memory even with {self.token_budget} tokens at once"
                    ) from error
                self.token_budget //= 2
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def _backward(self, batches: Sequence[Batch | None], active: Sequence[int]) -> dict[int, float]:
        losses = dict.fromkeys(active, 0.0)
        scored = {run: sum(sum(e.scored) for e in batches[run]) for run in active}
        if not all(scored.values()):
            raise ValueError("no token of a run's batch is scored")
        met: set[int] = set()
        for runs, members in self._rows(batches, active):
            owner = torch.tensor([run for run, _ in members], device=self.model.device)
            weights = torch.tensor([1 / scored[run] for run, _ in members], device=owner.device)
            precision = self.settings[0].precision(self.model.device.type)
            with self._segmented(runs, members, self._first(runs, met)), precision:
                found = token_losses(self.model, [item for _, item in members])
            values = found.values * weights[found.owner]
            sums = values.new_zeros(self.n).index_add(0, owner[found.owner], values)
            for run, loss in enumerate(sums.tolist()):
                if run in losses:
                    losses[run] += loss
            # What is not finite must not reach the other runs' gradients; 0 * inf would.
            fine = [run for run in {r for r, _ in members} if math.isfinite(losses[run])]
            if fine:
                sums[torch.tensor(fine, device=owner.device)].sum().backward()
        return losses

    def changes(self, run: int) -> dict[str, torch.Tensor]:
        """What a run has changed, in the form that ``models.states`` stores."""
        stored = {}
        for name, layer in self.layers.items():
            stored[f"{name}.weight::A"] = layer.A[run].clone()
            stored[f"{name}.weight::B"] = layer.B[run] * layer.scales[run, 0, 0]
        return stored

    @contextmanager
    def only(self, run: int) -> Iterator[LanguageModel]:
        """Inside, the model is that of one run, for reading."""
        for layer in self.layers.values():
            layer.only = run
        self.model.module.eval()
        try:
            yield self.model
        finally:
            for layer in self.layers.values():
                layer.only = None
            self.model.module.train()

    def start_optimizers_anew(self) -> None:
        """As for a new training run on the same weights: no momentum of what was learnt before."""
        self.optimizers = [self._optimizer(run) for run in range(self.n)]

    def close(self) -> None:
        """Put the frozen layers back; the model is what it was."""
        for name, layer in self.layers.items():
            replace(self.model.module, name, layer.linear)
        self.model.module.eval()

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to continue to the same bits on the same device."""
        return {
            "A": {name: layer.A.clone() for name, layer in self.layers.items()},
            "B": {name: layer.B.clone() for name, layer in self.layers.items()},
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "losses": [list(losses) for losses in self.losses],
            "failures": {run: (e.step, e.last, e.what) for run, e in self.failures.items()},
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        for name, layer in self.layers.items():
            layer.A.copy_(saved["A"][name])
            layer.B.copy_(saved["B"][name])
        for optimizer, state in zip(self.optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        self.losses = [list(losses) for losses in saved["losses"]]
        self.failures = {
            run: NonFiniteLossError(*failure) for run, failure in saved["failures"].items()
        }

    def _stacks(self) -> Iterator[torch.Tensor]:
        return (stack for layer in self.layers.values() for stack in (layer.A, layer.B))

    def _optimizer(self, run: int) -> torch.optim.Optimizer:
        """The optimiser of one run, over its part of the stacked matrices."""
        values = []
        for layer in self.layers.values():
            for stack, gradient in ((layer.A, layer.of_A), (layer.B, layer.of_B)):
                own = stack[run].detach().requires_grad_()
                own.grad = gradient[run]
                values.append(own)
        return Trainer.make_optimizer(self.settings[run], values)

    def _rows(
        self, batches: Sequence[Batch | None], active: Sequence[int]
    ) -> Iterator[tuple[slice, list[tuple[int, Example]]]]:
        """Sentences of neighbouring runs, together as many tokens as fit."""
        members: list[tuple[int, Example]] = []
        tokens = 0
        for run in active:
            for part in parts(batches[run], self.token_budget):
                size = sum(len(item.ids) for item in part)
                if members and tokens + size > self.token_budget:
                    yield slice(members[0][0], members[-1][0] + 1), members
                    members, tokens = [], 0
                members += [(run, item) for item in part]
                tokens += size
        if members:
            yield slice(members[0][0], members[-1][0] + 1), members

    def _first(self, runs: slice, met: set[int]) -> bool:
        """Whether gradients of these runs may be written instead of added to; zeros for others."""
        new = set(range(runs.start, runs.stop)) - met
        first = len(new) == runs.stop - runs.start
        if not first:
            for layer in self.layers.values():
                for run in new:
                    layer.of_A[run].zero_()
                    layer.of_B[run].zero_()
        met |= new
        return first

    def _norms(self) -> torch.Tensor:
        """(R,) norm of the gradient of each run; of runs without a batch it means nothing."""
        parts = [
            torch.linalg.vector_norm(gradient, dim=(1, 2))
            for layer in self.layers.values()
            for gradient in (layer.of_A, layer.of_B)
        ]
        return torch.linalg.vector_norm(torch.stack(parts), dim=0)

    @contextmanager
    def _segmented(
        self, runs: slice, members: list[tuple[int, Example]], first: bool
    ) -> Iterator[None]:
        lengths = [0] * (runs.stop - runs.start)
        for run, item in members:
            lengths[run - runs.start] += len(item.ids)
        segments = Segments.of(runs, lengths, self.model.device, first)
        for layer in self.layers.values():
            layer.segments = segments
        # Adapters add up their gradients themselves, so the graph must begin below the first one.
        embedding = self.model.module.get_input_embeddings()
        begin = embedding.register_forward_hook(lambda _, __, output: output.requires_grad_())
        try:
            yield
        finally:
            begin.remove()
            for layer in self.layers.values():
                layer.segments = None
            segments.forget()

    def _apply(self, run: int, loss: float, norm: torch.Tensor, finite: bool) -> None:
        optimizer, settings = self.optimizers[run], self.settings[run]
        step = len(self.losses[run])
        last = self.losses[run][-1] if step else math.nan
        if not math.isfinite(loss) or not finite:
            what = "gradient" if math.isfinite(loss) else "loss"
            self.failures[run] = NonFiniteLossError(step, last, what)
        else:
            Trainer.descend(optimizer, norm, settings, settings.rate(step, self.steps))
            self.losses[run].append(loss)


def _check(settings: Sequence[TrainingSettings], n: int) -> None:
    if len(settings) != n:
        raise ValueError(f"{len(settings)} settings for {n} runs")
    if any(s.adapter != "lora" for s in settings):
        raise ValueError("many adapters train together only with adapter: lora")
    if any(s.compile or s.checkpointing == "always" for s in settings):
        raise ValueError(
            "adapters that learn together know neither compile nor checkpointing: always; "
            "when memory runs out fewer tokens go through at once"
        )
    for name in ("rank", "only", "autocast"):
        values = {getattr(s, name) for s in settings}
        if len(values) > 1:
            raise ValueError(f"{name} must be the same in all runs, not {sorted(map(str, values))}")
