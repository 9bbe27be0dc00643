"""Two processes that share a model train as one process does, and end together."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from palimpsest.engine import processes, sharded
from palimpsest.engine.training import Example
from palimpsest.models.loading import load, prepare
from palimpsest.models.states import StateReader, save_step, write_state
from tests.engine import team_work

pytestmark = pytest.mark.timeout(90)

#: Clipping would hide a gradient of another size.
SGD = {"optimizer": "sgd", "learning_rate": 0.02, "clip": 1e9}
CASES = {
    "sgd": {"settings": SGD},
    "adamw": {"settings": {"weight_decay": 0.1, "learning_rate": 1e-4}},
    "momentum, clipped": {"settings": SGD | {"momentum": 0.9, "clip": 0.05}},
    "activations twice": {"settings": SGD | {"checkpointing": "always"}},
    "many parts": {"settings": SGD, "budget": 12},
    "some weights": {"settings": SGD | {"only": ("*.mlp.*", "*norm*")}},
    "hooks": {"settings": SGD, "hooks": "hooks"},
    "low rank": {"settings": SGD | {"learning_rate": 1.0}, "adapter": "lora"},
    "head of its own": {"settings": SGD, "manifest": "untied"},
    "begun": {"settings": {"learning_rate": 1e-4}, "until": 2},
    "resumed": {"settings": {"learning_rate": 1e-4}, "first": 2, "resume": "begun"},
    "unbroken": {"settings": {"learning_rate": 1e-4}},
}


@pytest.fixture(scope="module")
def manifests(tiny_manifest, tmp_path_factory) -> dict[str, Path]:
    """The tiny model, and one whose projection to the vocabulary is not the embeddings."""
    folder = tmp_path_factory.mktemp("untied")
    model = load(tiny_manifest)
    model.module.lm_head.weight = torch.nn.Parameter(0.5 * model.module.lm_head.weight.detach())
    model.module.config.tie_word_embeddings = False
    model.module.save_pretrained(folder / "weights")
    model.tokenizer.save_pretrained(folder / "weights")
    entry = {"source": "directory", "path": str(folder / "weights")}
    prepare("untied", entry, folder / "model.json")
    return {"tiny": tiny_manifest, "untied": folder / "model.json"}


@pytest.fixture(scope="module")
def found(manifests, tmp_path_factory) -> dict[str, dict]:
    """Case -> what one process and two processes have made of it."""
    places = {size: tmp_path_factory.mktemp(f"processes-{size}") for size in (1, 2)}
    team_work.train_cases("cpu", manifests, places[1], CASES)
    arguments = (manifests, places[2], CASES)
    processes.together(team_work.train_cases, ["cpu", "cpu"], 2, arguments)
    return {
        name: {size: torch.load(place / name) for size, place in places.items()} for name in CASES
    }


def _near(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> None:
    assert list(one) == list(two)
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=1e-5, rtol=0, msg=name)


@pytest.mark.parametrize("case", CASES)
def test_two_processes_train_as_one_does(found, case):
    """Losses and weights after five batches of mixed size and length, to 1e-5."""
    one, two = found[case][1], found[case][2]
    assert two["losses"] == pytest.approx(one["losses"], abs=1e-5)
    _near(one["state"]["parameters"], two["state"]["parameters"])
    _near(one["changes"], two["changes"])
    assert one["losses"][0] != one["losses"][-1]


def test_weights_are_tied_as_they_were(found):
    names = [set(found[case][2]["changes"]) for case in ("sgd", "head of its own")]
    assert names[1] - names[0] == {"lm_head.weight"}


def test_each_process_holds_half(found):
    one, two = found["sgd"][1], found["sgd"][2]
    assert one["local"] / 2 <= two["local"] < 0.52 * one["local"]


def test_moments_of_the_optimiser_are_stored_whole(found):
    one, two = (found["begun"][size]["state"]["optimizer"] for size in (1, 2))
    assert one["param_groups"] == two["param_groups"]
    for index, values in one["state"].items():
        _near(values, two["state"][index])


def test_a_resumed_run_of_two_equals_the_unbroken_one(found):
    resumed, unbroken = found["resumed"][2], found["unbroken"][2]
    assert resumed["losses"] == unbroken["losses"]
    for name, value in unbroken["state"]["parameters"].items():
        assert torch.equal(value, resumed["state"]["parameters"][name]), name


def test_one_process_goes_on_where_two_were_stopped(found, tiny_manifest):
    saved = found["begun"][2]["state"]
    trainer, _ = team_work.train(tiny_manifest, CASES["resumed"], saved, first=2)
    _near(found["unbroken"][1]["state"]["parameters"], trainer.state_dict()["parameters"])


def test_what_two_processes_save_is_a_state(found, tiny_manifest, tmp_path):
    hashes = {3: save_step(tmp_path, 3, found["sgd"][2]["changes"])}
    write_state(tmp_path / "state.json", str(tiny_manifest), hashes, {"state": "s"})
    model = StateReader(tmp_path / "state.json").at(3)
    expected = found["sgd"][1]["state"]["parameters"]
    _near(expected, {n: p.detach() for n, p in model.module.named_parameters()})


def test_nobody_has_joined_a_team_here():
    assert type(sharded.team()) is sharded.Alone


def test_sentences_are_shared_by_their_tokens():
    batch = [Example((7,) * n, (False,) * n) for n in (2, 9, 3, 4, 5)]
    shares = [[len(item.ids) for item in share] for share in sharded.shares(batch, 2)]
    assert shares == [[9, 3], [2, 4, 5]]
    assert sharded.shares(batch[:1], 3) == [[batch[0]], [], []]


def _gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] == "Z"
    except FileNotFoundError:
        return True


def _pids(folder: Path) -> list[int]:
    return [int(path.read_text()) for path in folder.glob("pid-*") if path.read_text()]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("raises", r"process 2 of 2 failed: ValueError: the second has had enough\n.*team_work"),
        ("killed", "process 2 of 2 was ended by SIGKILL"),
    ],
)
def test_when_one_falls_the_job_ends_and_says_why(tmp_path, how, message):
    with pytest.raises(processes.LostProcessError, match=f"(?s){message}"):
        processes.together(team_work.fall, ["cpu", "cpu"], 1, (tmp_path, how))
    pids = _pids(tmp_path)
    assert len(pids) == 2
    assert all(_gone(pid) for pid in pids)
    assert not (tmp_path / "state.json").exists()


def test_a_job_that_is_killed_leaves_no_process(tmp_path):
    code = (
        "from pathlib import Path\nfrom palimpsest.engine import processes\n"
        "from tests.engine import team_work\n"
        "if __name__ == '__main__':\n"
        f"    place = (Path({json.dumps(str(tmp_path))}),)\n"
        "    processes.together(team_work.wait_for_ever, ['cpu', 'cpu'], 1, place)\n"
    )
    script = tmp_path / "job.py"
    script.write_text(code)
    root = Path(__file__).parents[2]
    paths = os.pathsep.join([str(root / "src"), str(root)])
    job = subprocess.Popen([sys.executable, script], env=os.environ | {"PYTHONPATH": paths})
    try:
        deadline = time.monotonic() + 60
        while len(_pids(tmp_path)) < 2:
            assert time.monotonic() < deadline
            assert job.poll() is None
            time.sleep(0.1)
    finally:
        job.kill()
        job.wait()
    deadline = time.monotonic() + 10
    while not all(_gone(pid) for pid in _pids(tmp_path)):
        assert time.monotonic() < deadline
        time.sleep(0.1)
