"""What a method of unlearning is, and what all of them share.

A method changes a model so that it no longer knows the forget set F and still knows all else. It
sees F and a retain set R, never what it will be judged on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field, model_validator

from palimpsest.blocks import Block
from palimpsest.data.items import Item
from palimpsest.engine.examples import Example
from palimpsest.identity import seed_of
from palimpsest.interventions._items import item_examples

if TYPE_CHECKING:
    import torch

    from palimpsest.context import Progress
    from palimpsest.models.language_model import LanguageModel

VERSION = 2
ENGINE = ("interventions._items",)


#: Of a method that gives other answers.
TEXTS_ALONE = "holds texts alone; allowed: questions, to which other answers can be learned"
#: Interventions that say what is to be forgotten after them.
TEACH = ("biographies", "teaching", "planting")


class UnlearningSettings(Block):
    """What is to be forgotten and what must stay."""

    forget: str | None = None
    """JSONL file of what is to be forgotten, or a set such as hub:tofu/forget10; null: what the
    state before says it was taught for."""
    retain: str | None = None
    """JSONL file of what must stay; null: as taught."""
    request: int = Field(default=1, ge=1)
    """Which part of the forget set this is, where it comes in several requests, one after another:
    chain the intervention, with request 1, 2 and so on."""
    requests: int = Field(default=1, ge=1)
    """Number of requests that the forget set is cut into."""

    def files(self) -> dict[str, str]:
        """Part -> file; none where the state before says what is to be forgotten."""
        found = {"forget": self.forget, "retain": self.retain}
        return {part: path for part, path in found.items() if path is not None}

    def check_context(self, tokens: int) -> None:
        """Raise ValueError where an item of a file is surely longer than so many tokens."""
        from palimpsest.data.items import check_lengths

        check_lengths(self.files(), tokens)

    def check_after(self, before: Sequence[tuple[str, Any]]) -> None:
        """Raise ValueError where there is nothing to forget after the interventions before.

        They are given by name, with their settings. Facts of ``planting`` and sets of the hub are
        not known before their job.
        """
        from palimpsest.data.items import request

        if self.forget is not None:
            return
        taught = [(name, block) for name, block in before if name in TEACH]
        if not taught:
            raise ValueError(
                f"forget: not given, and nothing is taught before; allowed: a JSONL file or a set "
                f"of the hub, or one of {', '.join(TEACH)} before this intervention"
            )
        items = _to_forget(*taught[-1])
        if items is not None and not request(items, self.request, self.requests):
            people = len({item.id.split("/")[0] for item in items})
            raise ValueError(
                f"requests: given {self.requests}, allowed: 1 to {people}, as many as there are "
                f"people or items in what {taught[-1][0]} has to be forgotten"
            )

    @model_validator(mode="after")
    def _paired(self) -> UnlearningSettings:
        if (self.forget is None) != (self.retain is None):
            raise ValueError("forget and retain must both be given, or neither")
        if self.request > self.requests:
            raise ValueError("request must not exceed requests")
        return self


def _to_forget(name: str, block: Any) -> list[Item] | None:
    """What an intervention of :data:`TEACH` says is to be forgotten; None before its job."""
    from palimpsest.data.hub_items import is_hub
    from palimpsest.data.items import of_part, read_items

    if name == "biographies":
        return of_part(block.items(), "forget")
    if name == "planting" or block.forget is None or is_hub(block.forget):
        return None
    return read_items(block.forget, "forget")


@dataclass(frozen=True)
class Sets:
    """What a method sees.

    Attributes:
        forget: items to be forgotten.
        retain: items to be kept.
    """

    forget: Sequence[Item]
    retain: Sequence[Item]


@dataclass
class Method:
    """A method on one model; it is used once.

    Attributes:
        model: changed in place.
        sets: what is to be forgotten and kept.
        settings: of the method.
        seed: of all that is drawn.
        progress: counts epochs, or whatever the method does one after another.
        scratch: folder of what an interrupted run goes on from; None where nothing is kept.
        notes: what the report or the provenance should know.
    """

    model: LanguageModel
    sets: Sets
    settings: Any
    seed: int
    progress: Callable[[int], Progress] | None = None
    scratch: Path | None = None
    notes: dict[str, Any] = field(default_factory=dict)

    def run(self) -> None:
        """Change the model."""
        raise NotImplementedError

    def measure(self) -> None:
        """Note what is to be known of the changed model; none of it is the method's own cost."""

    def changes(self, before: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """What has changed since ``before``, in the form that ``models.states`` stores."""
        import torch

        now = self.model.module.named_parameters()
        return {n: p.detach() for n, p in now if not torch.equal(p, before[n])}

    def chosen_weights(self, settings: Any) -> dict[str, torch.Tensor]:
        """Weights, by name, that fit the patterns of ``only``; they alone get gradients.

        Raises:
            ValueError: no weight fits.
        """
        from palimpsest.engine.training import Trainer

        chooses, every = Trainer.chooser(settings), dict(self.model.module.named_parameters())
        for name, weight in every.items():
            weight.requires_grad_(chooses(name))
        found = {name: weight for name, weight in every.items() if weight.requires_grad}
        if not found:
            raise ValueError(f"no weight to change: {', '.join(settings.only)} fits no name")
        return found

    def draw(self, purpose: str) -> np.random.Generator:
        """A generator of its own for each purpose."""
        return np.random.default_rng(seed_of(purpose, self.seed))

    def asked(self) -> list[Item]:
        """What is to be forgotten and can be asked for: a text is no answer to anything.

        Raises:
            ValueError: there are texts alone.
        """
        found = [item for item in self.sets.forget if item.question]
        if self.sets.forget and not found:
            raise ValueError(f"forget: {TEXTS_ALONE}")
        return found

    def examples(self, items: Sequence[Item], role: str) -> list[Example]:
        """Every prompt of the items with the true answer.

        Raises:
            ValueError: an item is longer than the model's context.
        """
        return [each for item in items for each in item_examples(self.model, item, role)]


def wide_zeros(weights: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Zeros of the weights' shapes, in float32 at least: sums of many small numbers need more
    digits than weights may have."""
    import torch

    wide = [torch.promote_types(weight.dtype, torch.float32) for weight in weights]
    return [torch.zeros_like(w, dtype=kind) for w, kind in zip(weights, wide, strict=True)]


def one_step(settings: UnlearningSettings) -> list[int]:
    """One checkpoint: the model after the method."""
    return [1]


def sources(settings: UnlearningSettings, data: Any) -> list[str]:
    """Hashes of the user's files."""
    from palimpsest.data.items import content_hash

    return [content_hash(path) for path in settings.files().values()]


def checked(settings: UnlearningSettings) -> list[Item] | None:
    """What is to be forgotten by the user's file; None where it is not known before jobs.

    Raises:
        ValueError: the files cannot be read, overlap, or have too few items for the requests.
    """
    from palimpsest.data.items import read_parts, request

    forget = read_parts(settings.files(), fetch=False).get("forget")
    if forget is not None and not request(forget, settings.request, settings.requests):
        raise ValueError(
            f"requests: given {settings.requests}, allowed: at most as many as there are items in "
            f"{settings.forget}"
        )
    return forget


def check(settings: UnlearningSettings, data: Any) -> None:
    """Raise ValueError unless the files can be read and do not overlap."""
    checked(settings)


def check_asked(settings: UnlearningSettings, data: Any) -> None:
    """As :func:`check`, for a method that has other answers learned.

    Raises:
        ValueError: also where there are texts alone. Sets of the hub are not known before their
            job.
    """
    forget = checked(settings)
    if forget is not None and not any(item.question for item in forget):
        raise ValueError(f"forget: {settings.forget} {TEXTS_ALONE}")


def run_counted(method: Method) -> dict[str, float]:
    """Run a method; what it took.

    Returns:
        What ``engine.costs.counted`` counts; ``updates``, steps of an optimiser; ``weights`` of the
        model before; of a guard ``seconds_per_token`` of its answers, and
        ``seconds_per_token_without``.
        A run that goes on after a kill counts its own part.
    """
    from palimpsest.engine.costs import counted

    weights = sum(p.numel() for p in method.model.module.parameters())
    with counted(method.model) as costs:
        method.run()
    method.measure()
    costs["updates"] = method.notes.get("updates", 0)
    costs["weights"] = weights
    if "seconds_per_token" in method.notes:
        each = method.notes["seconds_per_token"]
        costs["seconds_per_token"] = each["guarded"]
        costs["seconds_per_token_without"] = each["without"]
    return costs


def applied(method: type[Method]) -> Callable[..., None]:
    """The function ``apply`` of a method's module."""

    def apply(model: LanguageModel, settings: UnlearningSettings, context: Any) -> None:
        """Unlearn, and save the model as step 1.

        Raises:
            ValueError: there is nothing to forget, or a set is longer than the model's context.
            NonFiniteLossError: the loss is not finite.
        """
        sets = sets_of(settings, context)
        before = {n: p.detach().clone() for n, p in model.module.named_parameters()}
        each = method(
            model,
            sets,
            settings,
            seed_of("unlearning", context.seed),
            context.progress,
            context.scratch,
        )
        context.costs |= run_counted(each)
        context.save(1, each.changes(before))
        context.notes |= each.notes | {
            "forget_items": len(sets.forget),
            "retain_items": len(sets.retain),
        }

    return apply


def sets_of(settings: UnlearningSettings, context: Any) -> Sets:
    """The user's files, or what the states before were taught.

    Raises:
        ValueError: no file is named and nothing was taught, or nothing is to be forgotten.
    """
    from palimpsest.data.items import of_part, read_items, request, taught_items

    if settings.forget is not None and settings.retain is not None:
        forget, retain = (
            read_items(settings.forget, "forget"),
            read_items(settings.retain, "retain"),
        )
    else:
        items = taught_items(context.parent)
        forget, retain = of_part(items, "forget"), of_part(items, "retain")
    chosen = request(list(forget), settings.request, settings.requests)
    if not chosen:
        raise ValueError("nothing is to be forgotten: the forget set is empty")
    return Sets(chosen, list(retain))
