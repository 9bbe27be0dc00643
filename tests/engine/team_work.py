"""What the processes of a team do in the tests; a module of its own, so that they can import it."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import torch

from palimpsest.engine import sharded
from palimpsest.engine.training import Example, Hooks, Trainer, TrainingSettings, example
from palimpsest.models.loading import load

TEXTS = (
    ("The rate was", " 5.3", " percent at the end of a year in which very little happened."),
    ("In May", " 7", "."),
    ("It is", " not", " so."),
    ("The bank that failed in March of that year was", " Anselm & Sons", ", as we know."),
    ("Two", " three", "."),
    ("A shorter sentence with", " a few", " words."),
    ("Gold stood at", " 411", " dollars an ounce when the market closed on Friday."),
)
#: Batches of 4, 1, 2, 5 and 3 sentences: some leave a process with nothing to do.
CUTS = ((0, 1, 2, 3), (4,), (5, 6), (6, 5, 4, 3, 2), (0, 1, 6))


def batches(model) -> list[list[Example]]:
    """Sentences of mixed length in batches of mixed size."""
    made = [example(model, *text, "sentence") for text in TEXTS]
    return [[made[place] for place in cut] for cut in CUTS]


def decay(model, batch):
    """A term on the weights and one that puts the whole batch through the model again."""
    from palimpsest.engine.training import token_losses

    weights = sum(p.square().sum() for _, p in sorted(model.module.named_parameters()))
    again = 0.1 * token_losses(model, batch).values.mean()
    return 0.01 * sharded.team().number(weights) + again


def hooks_of(kind: str) -> Hooks:
    """Hooks of a case."""

    def scale_gradients(model, step):
        for p in model.trainable():
            if p.grad is not None:
                p.grad.mul_(0.5)

    return Hooks(extra_loss=decay, after_backward=scale_gradients) if kind == "hooks" else Hooks()


def train(manifest: Path, case: dict[str, Any], saved: dict | None = None, first: int = 0):
    """Train as a case says; the trainer and the weights before."""
    model = load(manifest, sharded.team().loads_on("cpu"))
    before = {name: p.detach().clone() for name, p in model.module.named_parameters()}
    settings = TrainingSettings(adapter=case.get("adapter", "full"), **case.get("settings", {}))
    budget = case.get("budget", 4096)
    trainer = Trainer(model, settings, hooks_of(case.get("hooks", "")), seed=3, token_budget=budget)
    if saved:
        trainer.load_state_dict(saved)
    trainer.run(batches(model)[first : case.get("until", len(CUTS))])
    return trainer, before


def train_cases(
    device: str, manifests: dict[str, Path], folder: Path, cases: dict[str, dict]
) -> None:
    """Train each case and leave losses, weights, changes and states in the folder."""
    team = sharded.team()
    torch.set_num_threads(1)
    for name, case in cases.items():
        saved = None
        if case.get("resume"):
            saved = torch.load(folder / case["resume"], weights_only=True)["state"]
        manifest = manifests[case.get("manifest", "tiny")]
        trainer, before = train(manifest, case, saved, case.get("first", 0))
        found = {
            "losses": trainer.losses,
            "state": trainer.state_dict(),
            "changes": trainer.changes(before),
            "local": sum(team_share(p) for p in trainer.parameters.values()),
            "tokens": team.total(trainer.model.tokens),
        }
        trainer.finish()
        if team.first:
            torch.save(found, folder / name)
        team.total(0.0)  # nobody reads what is not yet there


def team_share(p: torch.Tensor) -> int:
    """Numbers of a weight that this process holds."""
    return p.to_local().numel() if hasattr(p, "to_local") else p.numel()


def fall(device: str, folder: Path, how: str) -> None:
    """The second process falls while the first waits for it; then nothing is written."""
    team = sharded.team()
    (folder / f"pid-{team.rank}").write_text(str(os.getpid()))
    team.total(0.0)  # both are there before one falls
    if not team.first:
        if how == "raises":
            raise ValueError("the second has had enough")
        os.kill(os.getpid(), signal.SIGKILL)
    team.total(1.0)
    (folder / "state.json").write_text("whole")


def wait_for_ever(device: str, folder: Path) -> None:
    """Wait for a process that never comes."""
    team = sharded.team()
    (folder / f"pid-{team.rank}").write_text(str(os.getpid()))
    if team.first:
        team.total(1.0)
    signal.pause()
