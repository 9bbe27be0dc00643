"""States on disk: a chain of changes to a base model, one file a checkpoint.

``state.json`` names the parent and, for every step, a safetensors file of what changed against the
parent: either whole tensors under their names, or the two factors of a low-rank change,
``<name>::A`` (rank, in) and ``<name>::B`` (out, rank), which means weight = parent + B @ A. An
adapter of a few megabytes thus stands for a model of any size. Step 0 is the parent itself.

A state whose training diverged has no steps; ``diverged`` says what happened.

Other files beside it, such as what a state was taught, are named with their SHA-256 too.

A step may have a guard too (``models.guards``), as ``guard::<part>``. Guards stay with a model
through all later states of a chain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palimpsest.files import atomic, read_sealed, write_sealed
from palimpsest.identity import file_sha256
from palimpsest.models.endpoint.model import Endpoint
from palimpsest.models.guards import GUARD, Guard, unpacked
from palimpsest.models.language_model import LanguageModel
from palimpsest.models.loading import ModelError, load, verify_files
from palimpsest.models.networks import Networks

if TYPE_CHECKING:
    import torch

VERSION = 1


class DivergedStateError(ModelError):
    """The training of a state ended with a loss that is no number; there is nothing to read."""


def save_step(folder: str | Path, step: int, changes: dict[str, torch.Tensor]) -> str:
    """Write the changes of one step; returns the SHA-256 of the file."""
    from safetensors.torch import save_file

    path = step_file(folder, step)
    with atomic(path) as temporary:
        save_file({k: v.detach().cpu().contiguous() for k, v in changes.items()}, temporary)
    return file_sha256(path)


def step_file(folder: str | Path, step: int) -> Path:
    """Path of the changes of one step."""
    return Path(folder) / f"step-{step:06d}.safetensors"


def write_state(
    output: str | Path, parent: str, hashes: dict[int, str], facts: dict[str, Any]
) -> None:
    """Write ``state.json``, the file that says the state is complete; other steps are removed."""
    for path in Path(output).parent.glob("step-*.safetensors"):
        if path not in {step_file(path.parent, step) for step in hashes}:
            path.unlink()
    steps = {str(step): sha for step, sha in sorted(hashes.items())}
    beside = {
        path.name: file_sha256(path)
        for path in sorted(Path(output).parent.glob("*.json"))
        if path.name not in (Path(output).name, "provenance.json")
    }
    write_sealed(output, facts | {"parent": parent, "hashes": steps, "files": beside})


@dataclass
class StateReader:
    """A state, loaded once and moved from step to step.

    Args:
        path: ``state.json`` of a state, or ``model.json`` of a base model.
        device: device of the weights, or several joined by commas, over which layers are spread;
            ``meta`` for a model without weights, which stands for any step.
        verify: check every file against its recorded SHA-256.
        access: how a model behind an endpoint is reached; nothing for others.

    Raises:
        ModelError: the file itself has changed.
    """

    path: Path
    device: str = "cpu"
    verify: bool = True
    access: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.path = Path(self.path)
        try:
            self.facts = read_sealed(self.path)
        except ValueError as error:
            raise ModelError(f"{error}; delete it and run again") from None
        self._model: LanguageModel | None = None
        self._base: dict[str, torch.Tensor] = {}
        self._inherited: tuple[Guard, ...] = ()

    @property
    def is_base(self) -> bool:
        """True where there is no intervention."""
        return "hashes" not in self.facts

    @property
    def steps(self) -> list[int]:
        """All steps that can be read; 0 is the parent."""
        return [0] if self.is_base else sorted({0} | {int(s) for s in self.facts["hashes"]})

    def at(self, step: int) -> LanguageModel | Networks | Endpoint:
        """The model at ``step``. The same module is changed in place by the next call.

        Raises:
            DivergedStateError: there is no such state.
            ModelError: no such step, or a file of the chain is missing or has changed.
        """
        if "diverged" in self.facts:
            raise DivergedStateError(self.facts["diverged"])
        if step not in self.steps:
            raise ModelError(f"{self.path}: has the steps {self.steps}, not {step}")
        if self.facts.get("source") == "networks":
            return Networks(self.device)
        if self.facts.get("source") == "endpoint":
            return Endpoint(self.facts["endpoint"], self.access)
        model = self._parent()
        if self.device == "meta":
            return model
        import torch

        weights = dict(model.module.named_parameters())
        with torch.no_grad():
            # Storage is exchanged, not copied: weights lie in mapped files, whose pages are slow to
            # write.
            for name, value in self._base.items():
                weights[name].data = value
            self._base.clear()
            model.guards = self._inherited
            if step:
                stored = self._stored(step)
                model.guards += unpacked(_arrays(stored))
                for name, value in self._changed(step, stored, weights).items():
                    self._base[name] = weights[name].data
                    weights[name].data = value
        return model

    def _parent(self) -> LanguageModel:
        if self._model is None:
            if self.is_base:
                self._model = load(self.path, self.device, verify=self.verify)
            else:
                if self.verify:
                    verify_files(self.path.parent, self.facts.get("files", {}), self.path)
                parent = StateReader(self.facts["parent"], self.device, self.verify)
                self._model = parent.at(parent.steps[-1])
                self._inherited = self._model.guards
        return self._model

    def _stored(self, step: int) -> dict[str, torch.Tensor]:
        from safetensors.torch import load_file

        path = step_file(self.path.parent, step)
        if not path.is_file():
            raise ModelError(f"{path}: missing; delete {self.path} and run again")
        if self.verify and file_sha256(path) != self.facts["hashes"][str(step)]:
            raise ModelError(
                f"{path}: content differs from its recorded SHA-256; delete {self.path} and run "
                "again"
            )
        spread = "," in self.device
        return load_file(path, device="cpu" if spread else str(self.device))

    def _changed(
        self, step: int, stored: dict[str, torch.Tensor], weights: dict[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        import torch

        path = step_file(self.path.parent, step)
        changed = {}
        for key, value in stored.items():
            name, _, factor = key.partition("::")
            if name == GUARD:
                continue
            if name not in weights:
                raise ModelError(f"{path}: holds {name}, which the model does not have")
            if not factor:
                changed[name] = value.to(weights[name], copy=True)
            elif factor == "B":
                old = weights[name]
                finer = torch.promote_types(value.dtype, old.dtype)
                change = (value @ stored[f"{name}::A"]).to(old.device, finer)
                changed[name] = change.add_(old).to(old.dtype)
        return changed


def _arrays(stored: dict[str, torch.Tensor]) -> dict[str, Any]:
    return {key: t.cpu().numpy() for key, t in stored.items() if key.startswith(f"{GUARD}::")}
