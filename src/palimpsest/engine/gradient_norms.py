"""Norms of the gradients of single sentences, without the gradients.

The gradient of a linear layer's weight is a sum over tokens of outer products of what comes out of
the loss, g, and what goes into the layer, x. Its squared norm is the sum over pairs of tokens of
(g_i . g_j)(x_i . x_j) (Goodfellow 2015, arXiv 1510.01799, for one token an example; Li et al. 2022,
arXiv 2110.05679, section 4, for sequences): one pass forward and one back for many sentences, and
no memory for weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from palimpsest.engine.examples import Example, parts, token_losses
from palimpsest.engine.plain import require_packing

if TYPE_CHECKING:
    import torch

    from palimpsest.models.language_model import LanguageModel

VERSION = 1
ENGINE = ("engine.examples", "engine.packing")

#: Tokens in one pass: activations of all layers are kept.
BUDGET = 2048


def gradient_norms(model: LanguageModel, sentences: Sequence[Example]) -> np.ndarray:
    """(n,) norm of the gradient of each sentence's mean loss by the weights of all linear layers.

    Embeddings, the vocabulary's projection and the gains of norms are left out.

    Args:
        model: the model; nothing of it is changed.
        sentences: n sentences, each with a scored token.

    Raises:
        ValueError: a sentence without a scored token, or whose first token is scored.
        NotPackableError: the model's scores are not what packed rows give.
    """
    require_packing(model)
    if any(not any(sentence.scored) for sentence in sentences):
        raise ValueError("every sentence needs a scored token")
    found = [_of_part(model, part) for part in parts(sentences, BUDGET)]
    return np.concatenate([np.empty(0), *found])


def _of_part(model: LanguageModel, sentences: Sequence[Example]) -> np.ndarray:
    import torch

    lengths = [len(sentence.ids) for sentence in sentences]
    ends = np.cumsum(lengths)
    squares = np.zeros(len(sentences))

    def add(inputs: torch.Tensor, gradients: torch.Tensor) -> None:
        x, g = (v.reshape(-1, v.shape[-1]).float() for v in (inputs, gradients))
        for place, end in enumerate(ends):
            own = slice(end - lengths[place], end)
            squares[place] += float(((x[own] @ x[own].T) * (g[own] @ g[own].T)).sum())

    with _watched(model, add), torch.enable_grad():
        losses = token_losses(model, sentences)
        counts = torch.bincount(losses.owner, minlength=len(sentences))
        # Sentences do not see one another: the gradient at a token is that of its own loss.
        (losses.values / counts[losses.owner]).sum().backward()
    return np.sqrt(squares)


@contextmanager
def _watched(
    model: LanguageModel, add: Callable[[torch.Tensor, torch.Tensor], None]
) -> Iterator[None]:
    """Inside, every linear layer tells its inputs and the gradients of its outputs; weights get
    none."""
    import torch

    weights = list(model.module.parameters())
    before = [weight.requires_grad for weight in weights]
    hooks = []

    def layer(module: torch.nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        given = inputs[0].detach()
        output.register_hook(lambda gradient: add(given, gradient.detach()))

    def embedded(module: torch.nn.Module, inputs: tuple, output: torch.Tensor) -> torch.Tensor:
        return output.detach().requires_grad_(True)

    try:
        for weight in weights:
            weight.requires_grad_(False)
        hooks.append(model.module.get_input_embeddings().register_forward_hook(embedded))
        for module in model.module.get_decoder().modules():
            if isinstance(module, torch.nn.Linear):
                hooks.append(module.register_forward_hook(layer))
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for weight, wanted in zip(weights, before, strict=True):
            weight.requires_grad_(wanted)
