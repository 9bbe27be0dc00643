"""Training over several processes, one a device: each holds a share of every weight.

Every process runs the same program on the same batches in the same order. Each takes its share of
a batch's sentences; weights are gathered layer by layer while they are needed (FSDP2; Zhao et al.
2023, arXiv 2304.11277), gradients are summed over the processes, and each keeps the gradient of
its own share. The loss of a part is divided by sizes of the whole batch (``training.mean_loss``),
so sums, not means, give the numbers of one process, to rounding.

What accelerate does for FSDP2 is done here with torch's ``fully_shard``: accelerate 1.15 refuses
processes on CPUs, and gathers the projection to the vocabulary only when that layer is called,
while ``vocabulary`` reads its weight slice by slice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from palimpsest.engine.examples import Example, parts

if TYPE_CHECKING:
    import torch
    from torch.distributed.device_mesh import DeviceMesh

    from palimpsest.models.language_model import LanguageModel

VERSION = 1


class Alone:
    """One process that holds every weight: nothing is shared, not a bit is changed."""

    rank, size = 0, 1
    first = True

    def loads_on(self, device: str) -> str:
        """Device on which this process loads a model that :meth:`shard` is given."""
        return device

    def shard(self, model: LanguageModel) -> None:
        """Leave this process its share of the weights."""

    def parts(
        self, batch: Sequence[Example], budget: int
    ) -> Iterator[tuple[Sequence[Example], bool]]:
        """Parts of a batch that this process puts through, and whether each counts."""
        return ((part, True) for part in parts(batch, budget))

    def sums_gradients(self, model: LanguageModel, sums: bool) -> None:
        """Gradients of the processes are summed from now on, or else averaged."""

    def total(self, value: float) -> float:
        """Sum of a number over the processes; each waits for all."""
        return value

    def least(self, value: int) -> int:
        """The smallest of the processes' numbers."""
        return value

    def agreed(self, value: bool) -> bool:
        """What the first process says."""
        return value

    def number(self, value: torch.Tensor) -> torch.Tensor:
        """A number computed from shares, such as a norm, as every process must see it."""
        return value

    def whole(self, tensors: dict[Any, torch.Tensor]) -> Iterator[tuple[Any, torch.Tensor]]:
        """Whole tensors, one after another; the other processes take part and get none."""
        return ((name, tensor.detach()) for name, tensor in tensors.items())

    def share(self, whole: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """This process's share of a whole tensor, cut as ``like`` is."""
        return whole

    def stepped(self, parameters: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """What an optimiser changes: the same memory as these parameters."""
        return list(parameters)

    def hand_gradients(
        self, parameters: Sequence[torch.Tensor], stepped: Sequence[torch.Tensor]
    ) -> None:
        """Give the optimiser's tensors the gradients of the parameters."""

    def whole_state(
        self, state: dict[str, Any], parameters: Sequence[torch.Tensor]
    ) -> dict[str, Any]:
        """An optimiser's state of whole tensors, for the first process."""
        return state

    def share_state(
        self, state: dict[str, Any], parameters: Sequence[torch.Tensor]
    ) -> dict[str, Any]:
        """An optimiser's state of this process's shares."""
        return state

    def random(self, device: torch.device) -> torch.Tensor:
        """State of the generator of a device, to be stored."""
        import torch

        return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()

    def set_random(self, stored: torch.Tensor, device: torch.device) -> None:
        """Go on from a stored state; the number of processes may be another one now."""
        import torch

        # torch reads a state from the beginning of its memory: a row must be a tensor of its own.
        own = stored if stored.dim() == 1 else stored[self.rank % len(stored)].clone()
        if device.type == "cuda":
            torch.cuda.set_rng_state(own, device)
        else:
            torch.set_rng_state(own)


class Team(Alone):
    """One of several processes that train a model together.

    Args:
        rank: number of this process.
        size: number of processes.
        device: the device of this process.
    """

    def __init__(self, rank: int, size: int, device: str) -> None:
        import torch

        self.rank, self.size, self.first = rank, size, rank == 0
        self.device = torch.device(device)

    @cached_property
    def mesh(self) -> DeviceMesh:
        """All processes, in a line."""
        from torch.distributed.device_mesh import init_device_mesh

        return init_device_mesh(self.device.type, (self.size,))

    def loads_on(self, device: str) -> str:
        """The first process reads the weights into its memory; the others need only their names."""
        return "cpu" if self.first else "meta"

    def shard(self, model: LanguageModel) -> None:
        """Cut every weight into a share a process, from the weights of the first.

        Raises:
            RuntimeError: the processes do not hold the same model.
        """
        import torch
        from torch.distributed import broadcast
        from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

        module = model.module
        full = {name: p.detach() for name, p in module.named_parameters()} if self.first else {}
        if any(p.is_meta for p in module.parameters()):
            # Memory that nobody writes to is not taken.
            module.to_empty(device="cpu")
            module.tie_weights()
        self._same([name for name, _ in module.named_parameters()])
        layers = set(module._no_split_modules or ())
        for layer in [part for part in module.modules() if type(part).__name__ in layers]:
            fully_shard(layer, mesh=self.mesh)
        # What is left, such as embeddings and projection, stays gathered until its gradient is
        # there: the projection is not called but read.
        fully_shard(module, mesh=self.mesh, reshard_after_forward=False)
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                if self.first:
                    whole = full.pop(name).to(self.device)
                else:
                    whole = torch.empty(parameter.shape, dtype=parameter.dtype, device=self.device)
                broadcast(whole, 0)
                parameter.copy_(self.share(whole, parameter))
            for buffer in module.buffers():
                broadcast(buffer, 0)
        self.sums_gradients(model, True)
        module.last_states = lambda **inputs: module.get_decoder()(**inputs).last_hidden_state
        register_fsdp_forward_method(module, "last_states")
        model.runner = module.last_states

    def parts(
        self, batch: Sequence[Example], budget: int
    ) -> Iterator[tuple[Sequence[Example], bool]]:
        """As many on every process, because for each part all gather the weights together.

        A process that has fewer repeats the shortest sentence, which does not count.
        """
        plans = [list(parts(share, budget)) for share in shares(batch, self.size)]
        own = plans[self.rank]
        idle = [min(batch, key=lambda item: len(item.ids))]
        yield from ((part, True) for part in own)
        yield from ((idle, False) for _ in range(max(map(len, plans)) - len(own)))

    def sums_gradients(self, model: LanguageModel, sums: bool) -> None:
        """Gradients of the processes are summed from now on, or else averaged."""
        from torch.distributed.fsdp import FSDPModule

        for part in model.module.modules():
            if isinstance(part, FSDPModule):
                # Sums with a division of our own: gloo knows no other reduction.
                part.set_force_sum_reduction_for_comms(True)
                part.set_gradient_divide_factor(1.0 if sums else float(self.size))

    def total(self, value: float) -> float:
        """Sum of a number over the processes; each waits for all."""
        from torch.distributed import ReduceOp

        return self._reduced(value, ReduceOp.SUM)

    def least(self, value: int) -> int:
        """The smallest of the processes' numbers."""
        from torch.distributed import ReduceOp

        return int(self._reduced(value, ReduceOp.MIN))

    def agreed(self, value: bool) -> bool:
        """What the first process says: clocks and memory differ, decisions must not."""
        from torch.distributed import ReduceOp

        return bool(self._reduced(float(value and self.first), ReduceOp.MAX))

    def number(self, value: torch.Tensor) -> torch.Tensor:
        """A number computed from shares, such as a norm, as every process must see it."""
        from torch.distributed.tensor import DTensor

        return value.full_tensor() if isinstance(value, DTensor) else value

    def whole(self, tensors: dict[Any, torch.Tensor]) -> Iterator[tuple[Any, torch.Tensor]]:
        """Whole tensors in CPU memory, one after another; the other processes get none."""
        for name, tensor in tensors.items():
            value = self.number(tensor.detach())
            if self.first:
                yield name, value.cpu()

    def share(self, whole: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """This process's share of a whole tensor, cut as ``like`` is."""
        from torch.distributed.tensor import DTensor, distribute_tensor

        if not isinstance(like, DTensor):
            return whole
        # Every process has the whole tensor: nothing is sent.
        return distribute_tensor(
            whole.to(self.device), like.device_mesh, like.placements, src_data_rank=None
        )

    def stepped(self, parameters: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """The shares as plain tensors: fused optimisers take no others."""
        import torch

        return [torch.nn.Parameter(_local(p.detach())) for p in parameters]

    def hand_gradients(
        self, parameters: Sequence[torch.Tensor], stepped: Sequence[torch.Tensor]
    ) -> None:
        """Give the optimiser's tensors the gradients of the parameters, which then have none."""
        for parameter, plain in zip(parameters, stepped, strict=True):
            plain.grad = None if parameter.grad is None else _local(parameter.grad)
            parameter.grad = None

    def whole_state(
        self, state: dict[str, Any], parameters: Sequence[torch.Tensor]
    ) -> dict[str, Any]:
        """An optimiser's state of whole tensors, for the first process."""
        found = {
            (index, key): _as_cut(value, parameters[index])
            for index, values in state["state"].items()
            for key, value in values.items()
        }
        tensors = {name: value for name, value in found.items() if hasattr(value, "detach")}
        found |= dict(self.whole(tensors))
        kept: dict[int, dict[str, Any]] = {index: {} for index in state["state"]}
        if self.first:
            for (index, key), value in found.items():
                kept[index][key] = value
        return state | {"state": kept}

    def share_state(
        self, state: dict[str, Any], parameters: Sequence[torch.Tensor]
    ) -> dict[str, Any]:
        """An optimiser's state of this process's shares."""
        cut = {
            index: {
                key: _local(self.share(value, parameters[index]))
                if getattr(value, "shape", None) == parameters[index].shape
                else value
                for key, value in values.items()
            }
            for index, values in state["state"].items()
        }
        return state | {"state": cut}

    def random(self, device: torch.device) -> torch.Tensor:
        """States of the generators of all processes, (processes, bytes)."""
        import torch
        from torch.distributed import all_gather_object

        states: list[Any] = [None] * self.size
        all_gather_object(states, super().random(device).cpu())
        return torch.stack(states)

    def _reduced(self, value: float, operation: Any) -> float:
        import torch
        from torch.distributed import all_reduce

        held = torch.tensor(float(value), dtype=torch.float64, device=self.device)
        all_reduce(held, operation)
        return float(held)

    def _same(self, names: list[str]) -> None:
        from torch.distributed import all_gather_object

        found: list[Any] = [None] * self.size
        all_gather_object(found, names)
        if any(other != names for other in found):
            raise RuntimeError("the processes of one training do not hold the same model")


def _local(tensor: torch.Tensor) -> torch.Tensor:
    """This process's share as a plain tensor of the same memory."""
    from torch.distributed.tensor import DTensor

    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _as_cut(value: Any, parameter: torch.Tensor) -> Any:
    """What belongs to a share of a parameter, such as a moment of its gradient, as its share."""
    from torch.distributed.tensor import DTensor

    cut = isinstance(parameter, DTensor)
    if not cut or getattr(value, "shape", None) != parameter.to_local().shape:
        return value
    return DTensor.from_local(
        value,
        parameter.device_mesh,
        parameter.placements,
        shape=parameter.shape,
        stride=parameter.stride(),
    )


_joined: list[Team] = []


def team() -> Alone:
    """The processes that train together with this one, where it has joined some."""
    return _joined[-1] if _joined else Alone()


def join(rank: int, size: int, device: str) -> Team:
    """Everything that this process trains from now on it trains with the others."""
    _joined.append(Team(rank, size, device))
    return _joined[-1]


def shares(batch: Sequence[Example], size: int) -> list[list[Example]]:
    """Sentences of a batch for each of several processes, of about as many tokens, in order."""
    loads, chosen = [0] * size, [[] for _ in range(size)]
    for place in sorted(range(len(batch)), key=lambda i: (-len(batch[i].ids), i)):
        rank = loads.index(min(loads))
        loads[rank] += len(batch[place].ids)
        chosen[rank].append(place)
    return [[batch[place] for place in sorted(places)] for places in chosen]
