"""Many small networks trained as one tensor program.

K fully connected networks (seeds, conditions, learning rates) are stacked: weights (K, in, out),
batches (K, B, in). Forward, backward and update are written out, because the gradient of a small
network costs less than automatic differentiation's bookkeeping; plain stochastic gradient descent
adds the gradient to the weights inside the matrix product and never stores it. Each network has
its own data order, targets, learning rate and penalties, and no network's numbers depend on which
others are trained beside it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch

VERSION = 2

Tensors = list[torch.Tensor]


@dataclass(frozen=True)
class Failure:
    """A network whose loss was not finite: it is frozen before that step.

    Attributes:
        model: its index.
        step: the step that failed.
        last: last finite loss, nan if there was none.
    """

    model: int
    step: int
    last: float


class Ensemble:
    """K networks of the same shape with ReLU between their layers.

    Initial values are, to the bit, those of ``torch.nn.Linear`` layers that are made one after
    another behind ``torch.manual_seed(seed)``.

    Args:
        sizes: width of the input, of each hidden layer, and of the output.
        seeds: one a network.
        learning_rate: one for all or one a network.
        optimizer: ``sgd`` or ``adam`` (Kingma & Ba 2015, betas 0.9 and 0.999, eps 1e-8).
        momentum: of sgd.
        weight_decay: L2 penalty added to the gradient, as torch.optim does; one for all.
        device: where it lives.

    Raises:
        ValueError: fewer than two sizes, no seed, or rates for another number of networks.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        seeds: Sequence[int],
        learning_rate: float | Sequence[float] = 0.1,
        optimizer: Literal["sgd", "adam"] = "sgd",
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        device: str | torch.device = "cpu",
    ) -> None:
        if len(sizes) < 2 or not len(seeds):
            raise ValueError("an ensemble needs at least two sizes and one seed")
        if not isinstance(learning_rate, int | float) and len(learning_rate) != len(seeds):
            raise ValueError(f"{len(learning_rate)} learning rates for {len(seeds)} networks")
        self.sizes, self.n = tuple(sizes), len(seeds)
        self.models = slice(0, self.n)
        self.optimizer, self.momentum, self.weight_decay = optimizer, momentum, weight_decay
        rates = torch.as_tensor(learning_rate, dtype=torch.float32).expand(self.n)
        self.learning_rate = rates.clone()[:, None, None].to(device)
        self.weights, self.biases = _initial(sizes, seeds, device)
        self.steps = 0
        self.failures: list[Failure] = []
        self._alive: torch.Tensor | None = None
        self._last_loss = torch.full((self.n,), torch.nan)
        self._views: list[Ensemble] = []
        states = {"sgd": 1 if momentum else 0, "adam": 2}[optimizer]
        self._memory = [[torch.zeros_like(p) for p in self.parameters()] for _ in range(states)]

    def parameters(self) -> Tensors:
        """Weights (K, in, out) and biases (K, 1, out), layer by layer."""
        return [p for pair in zip(self.weights, self.biases, strict=True) for p in pair]

    def view(self, models: slice) -> Ensemble:
        """Some of the networks, as an ensemble that shares their memory.

        ``models`` of the result says which they are. Its count of steps and its failures are its
        own; :meth:`collect` takes failures over.
        """
        part = object.__new__(Ensemble)
        vars(part).update(vars(self))
        part.models = slice(*models.indices(self.n))
        part.n = part.models.stop - part.models.start
        part.weights = [p[models] for p in self.weights]
        part.biases = [p[models] for p in self.biases]
        part.learning_rate = self.learning_rate[models]
        part._memory = [[m[models] for m in memory] for memory in self._memory]
        part._last_loss = self._last_loss[models]
        first = part.models.start
        part.failures = [
            replace(failure, model=failure.model - first)
            for failure in self.failures
            if first <= failure.model < part.models.stop
        ]
        part._alive = None
        if part.failures:
            part._set_alive()
        self._views.append(part)
        part._views = []
        return part

    def forget(self, part: Ensemble) -> None:
        """Take nothing over from a view, which is used no longer."""
        self._views.remove(part)

    def collect(self) -> None:
        """Take over what the views found: failures and last losses."""
        for part in self._views:
            first = part.models.start
            self._last_loss[part.models] = part._last_loss
            known = {failure.model for failure in self.failures}
            for failure in part.failures:
                if failure.model + first not in known:
                    self.failures.append(replace(failure, model=failure.model + first))
        self._views.clear()
        if self.failures:
            self._set_alive()

    def copy(self) -> Ensemble:
        """The same networks with weights and an optimiser's memory of their own."""
        twin = self.view(slice(0, self.n))
        self.forget(twin)
        twin.models = self.models
        twin.weights = [p.clone() for p in self.weights]
        twin.biases = [p.clone() for p in self.biases]
        twin.learning_rate = self.learning_rate.clone()
        twin._memory = [[m.clone() for m in memory] for memory in self._memory]
        twin._last_loss = self._last_loss.clone()
        return twin

    def alive(self) -> torch.Tensor:
        """(K,) whether a network has not failed."""
        if self._alive is None:
            return torch.ones(self.n, dtype=torch.bool, device=self.learning_rate.device)
        return self._alive.flatten().bool()

    def put_back(self, frozen: Tensors, values: Tensors) -> None:
        """Undo the last update where ``frozen``: weights to the bit, and the optimiser's memory.

        The weights that are free keep every bit, whatever stands beside them.

        Args:
            frozen: boolean, each of a shape that a parameter's broadcasts to.
            values: what the frozen weights were.
        """
        for parameter, kept, value in zip(self.parameters(), frozen, values, strict=True):
            torch.where(kept, value, parameter, out=parameter)
        for memory in self._memory:
            for own, kept in zip(memory, frozen, strict=True):
                own.masked_fill_(kept, 0.0)

    def forward(self, inputs: torch.Tensor) -> Tensors:
        """What enters each layer, and last the scores: each (K, B, width).

        Args:
            inputs: (K, B, in), or (B, in) for the same examples in every network.
        """
        layers = [inputs if inputs.dim() == 3 else inputs.expand(self.n, *inputs.shape)]
        for weight, bias in zip(self.weights, self.biases, strict=True):
            if len(layers) > 1:
                layers[-1].relu_()
            layers.append(_as_one_of_many(torch.baddbmm, bias, layers[-1], weight))
        return layers

    def gradients(self, layers: Tensors, delta: torch.Tensor) -> Tensors:
        """Gradients of all parameters, in their order.

        Args:
            layers: of :meth:`forward`.
            delta: (K, B, out) derivative of each network's loss by its scores.
        """
        found: Tensors = []
        for index in reversed(range(len(self.weights))):
            inputs = layers[index]
            weight = _as_one_of_many(torch.bmm, inputs.mT, delta)
            found += [delta.sum(1, keepdim=True), weight]
            if index:
                delta = _below(delta, self.weights[index], inputs)
        return found[::-1]

    def squared_gradients(self, layers: Tensors, *deltas: torch.Tensor) -> Tensors:
        """Sums over examples of squared gradients *of single examples*: the diagonal of the Fisher.

        The gradient of one example by a weight is the product of its input and its delta, so the
        sum of squares is a product of squares (Goodfellow 2015, arXiv 1510.01799). Of several
        losses of the same examples the sums are added up, at little more than the cost of one.

        Args:
            layers: of :meth:`forward`.
            deltas: each (K, B, out), derivative of an example's own loss by its scores.
        """
        found: Tensors = []
        for index in reversed(range(len(self.weights))):
            inputs = layers[index]
            square = deltas[0].square()
            for delta in deltas[1:]:
                square.addcmul_(delta, delta)
            weight = _as_one_of_many(torch.bmm, inputs.square().mT, square)
            found += [square.sum(1, keepdim=True), weight]
            if index:
                deltas = [_below(delta, self.weights[index], inputs) for delta in deltas]
        return found[::-1]

    def step(
        self,
        layers: Tensors,
        delta: torch.Tensor,
        loss: torch.Tensor,
        pull: Tensors | None = None,
    ) -> None:
        """One update from a forward pass; plain sgd makes it without storing a gradient.

        Args:
            layers: of :meth:`forward`.
            delta: (K, B, out) derivative of each network's loss by its scores.
            loss: (K,) losses; a network whose loss is not finite is frozen from here on.
            pull: gradients of a penalty on the weights, at the weights before the step. Where they
                are zero, the update is that without a penalty to the bit.
        """
        self._freeze_failures(loss)
        layers, delta = self._alive_only(layers), self._alive_only([delta])[0]
        pull = pull and self._alive_only(pull)
        if self.optimizer == "sgd" and not self.momentum:
            self._descend(layers, delta)
            if pull:
                for parameter, gradient in zip(self.parameters(), pull, strict=True):
                    parameter.addcmul_(gradient, self.learning_rate, value=-1)
            self.steps += 1
            return
        gradients = self.gradients(layers, delta)
        if pull:
            torch._foreach_add_(gradients, pull)
        self.apply(gradients)

    def step_with(self, gradients: Tensors, loss: torch.Tensor) -> None:
        """One update with gradients that a method has changed; see :meth:`step`."""
        self._freeze_failures(loss)
        self.apply(self._alive_only(gradients))

    def apply(self, gradients: Tensors) -> None:
        """One step of the optimiser with these gradients, which are changed in place."""
        self.steps += 1
        parameters = self.parameters()
        rate = self.learning_rate
        if self._alive is not None:
            rate = rate * self._alive
        if self.weight_decay:
            torch._foreach_add_(gradients, parameters, alpha=self.weight_decay)
        if self.optimizer == "adam":
            gradients = self._adam(gradients)
        elif self.momentum:
            if self.steps == 1:
                torch._foreach_copy_(self._memory[0], gradients)
            else:
                torch._foreach_mul_(self._memory[0], self.momentum)
                torch._foreach_add_(self._memory[0], gradients)
            gradients = self._memory[0]
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.addcmul_(gradient, rate, value=-1)

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to continue to the same bits."""
        return {
            "parameters": [p.clone() for p in self.parameters()],
            "memory": [[m.clone() for m in memory] for memory in self._memory],
            "learning_rate": self.learning_rate.clone(),
            "steps": self.steps,
            "failures": [(f.model, f.step, f.last) for f in self.failures],
            "last_loss": self._last_loss.clone(),
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        for own, value in zip(self.parameters(), saved["parameters"], strict=True):
            own.copy_(value)
        for memory, values in zip(self._memory, saved["memory"], strict=True):
            for own, value in zip(memory, values, strict=True):
                own.copy_(value)
        self.learning_rate.copy_(saved["learning_rate"])
        self.steps = saved["steps"]
        self._last_loss = saved["last_loss"].clone()
        self.failures = [Failure(*row) for row in saved["failures"]]
        self._alive = None
        if self.failures:
            self._set_alive()

    def _descend(self, layers: Tensors, delta: torch.Tensor) -> None:
        """Gradient and update in one pass over the weights.

        The learning rate goes into delta, which everything below is linear in.
        """
        delta = delta * self.learning_rate
        keep = 1.0
        if self.weight_decay:
            shrink = 1 - self.learning_rate * self.weight_decay
            if self._alive is not None:
                shrink = torch.where(self._alive.bool(), shrink, 1.0)
        for index in reversed(range(len(self.weights))):
            inputs, weight, bias = layers[index], self.weights[index], self.biases[index]
            below = _below(delta, weight, inputs) if index else None
            if self.weight_decay:
                weight.mul_(shrink)
                bias.mul_(shrink)
            weight.baddbmm_(inputs.mT, delta, beta=keep, alpha=-1)
            bias.sub_(delta.sum(1, keepdim=True))
            delta = below

    def _adam(self, gradients: Tensors) -> Tensors:
        first, second = self._memory
        torch._foreach_lerp_(first, gradients, 0.1)
        torch._foreach_mul_(second, 0.999)
        torch._foreach_addcmul_(second, gradients, gradients, 0.001)
        scale = torch._foreach_sqrt(second)
        torch._foreach_div_(scale, math.sqrt(1 - 0.999**self.steps))
        torch._foreach_add_(scale, 1e-8)
        return list(torch._foreach_div(torch._foreach_div(first, 1 - 0.9**self.steps), scale))

    def _freeze_failures(self, loss: torch.Tensor) -> None:
        loss = loss.detach().cpu()
        fine = torch.isfinite(loss)
        if self.failures:
            fine[[failure.model for failure in self.failures]] = True
        if not fine.all():
            for model in (~fine).nonzero()[:, 0].tolist():
                self.failures.append(Failure(model, self.steps, float(self._last_loss[model])))
            self._set_alive()
        self._last_loss = loss

    def _set_alive(self) -> None:
        self._alive = torch.ones_like(self.learning_rate)
        self._alive[[failure.model for failure in self.failures]] = 0

    def _alive_only(self, tensors: Tensors) -> Tensors:
        """Zeros for networks that have failed, whose numbers may be infinite."""
        if self._alive is None:
            return tensors
        alive = self._alive.bool()
        return [torch.where(alive, tensor, 0.0) for tensor in tensors]


def _below(delta: torch.Tensor, weight: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
    """Derivative by the scores of the layer below; ``inputs`` are its outputs after ReLU."""
    return torch.ops.aten.threshold_backward(
        _as_one_of_many(torch.bmm, delta, weight.mT), inputs, 0
    )


def _as_one_of_many(product: Callable[..., torch.Tensor], *parts: torch.Tensor) -> torch.Tensor:
    """A batched product whose bits are those of a larger batch even where there is one network.

    On a CPU a batch of one takes another kernel, which adds in another order; twice the same
    network costs twice as much and gives what it gives beside others.
    """
    if len(parts[0]) > 1:
        return product(*parts)
    return product(*(part.expand(2, *part.shape[1:]) for part in parts))[:1]


def _initial(
    sizes: Sequence[int], seeds: Sequence[int], device: str | torch.device
) -> tuple[Tensors, Tensors]:
    networks = []
    with torch.random.fork_rng(devices=[]):
        for seed in seeds:
            torch.manual_seed(seed % (1 << 63))
            networks.append([torch.nn.Linear(*pair) for pair in itertools.pairwise(sizes)])
    layers = list(zip(*networks, strict=True))
    with torch.no_grad():
        return (
            [
                torch.stack([one.weight.T for one in layer]).contiguous().to(device)
                for layer in layers
            ],
            [torch.stack([one.bias[None] for one in layer]).to(device) for layer in layers],
        )
