"""Models are loaded whole, unchanged, and from safetensors alone."""

from __future__ import annotations

import json
import pickle
import shutil
import time
from pathlib import Path

import gguf
import pytest
import torch

from palimpsest.files import read_json, write_sealed
from palimpsest.models.loading import ModelError, _parsed_once, load, prepare


class Canary:
    """Unpickling makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.fixture
def prepared(tiny_manifest, tmp_path):
    """A copy of the tiny model that may be damaged."""
    shutil.copytree(tiny_manifest.parent, tmp_path / "tiny")
    return tmp_path / "tiny/model.json"


@pytest.fixture
def directory(prepared):
    """The same model as a user's own folder."""
    prepared.unlink()
    return prepared.parent


def weights_of(model) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.module.named_parameters()}


def test_the_tiny_model_is_the_same_each_time(tiny_manifest, tmp_path):
    prepare("tiny", {"source": "tiny"}, tmp_path / "again/model.json")
    other = read_json(tmp_path / "again/model.json")
    assert other == read_json(tiny_manifest)
    prepare("tiny", {"source": "tiny", "seed": 1}, tmp_path / "other/model.json")
    assert read_json(tmp_path / "other/model.json")["files"] != other["files"]


def test_making_a_model_leaves_the_random_state_alone(tmp_path):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    prepare("tiny", {"source": "tiny"}, tmp_path / "model.json")
    assert torch.equal(torch.get_rng_state(), before)


def test_facts_of_a_prepared_model(tiny_manifest):
    facts = read_json(tiny_manifest)
    model = load(tiny_manifest)
    assert facts["parameters"] == sum(p.numel() for p in model.module.parameters())
    assert model.dtype == torch.float32
    assert not any(p.requires_grad for p in model.module.parameters())
    assert not model.module.training
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(facts["files"])
    assert all(len(sha) == 64 for sha in facts["files"].values())


def test_a_saved_model_is_loaded_to_the_bit(tiny, tmp_path):
    with torch.no_grad():
        for weight in tiny.module.parameters():
            weight.mul_(1.5)
    tiny.module.save_pretrained(tmp_path / "mine")
    tiny.tokenizer.save_pretrained(tmp_path / "mine")
    entry = {"source": "directory", "path": str(tmp_path / "mine")}
    prepare("mine", entry, tmp_path / "prepared/model.json")
    loaded = load(tmp_path / "prepared/model.json")
    assert loaded.name == "mine"
    for name, weight in weights_of(tiny).items():
        assert torch.equal(weights_of(loaded)[name], weight)
    assert loaded.encode("Some words.") == tiny.encode("Some words.")


def test_a_half_precision_model_is_held_in_half_precision(tmp_path):
    prepare("tiny", {"source": "tiny", "dtype": "bfloat16"}, tmp_path / "model.json")
    assert load(tmp_path / "model.json").dtype == torch.bfloat16


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_changed_file_is_named(prepared, name):
    path = prepared.parent / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match="SHA-256") as caught:
        load(prepared)
    assert str(path) in str(caught.value)
    assert f"delete {prepared.parent} and run again" in str(caught.value)


def test_a_missing_file_is_named(prepared):
    (prepared.parent / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"model\.safetensors: missing"):
        load(prepared)


def test_nobody_is_told_to_delete_a_folder_of_their_own(directory, tmp_path):
    output = tmp_path / "prepared/model.json"
    prepare("mine", {"source": "directory", "path": str(directory)}, output)
    weights = directory / "model.safetensors"
    weights.write_bytes(weights.read_bytes() + b"\0")
    with pytest.raises(ModelError) as caught:
        load(output)
    assert f"delete {output} and run again" in str(caught.value)
    assert f"delete {directory}" not in str(caught.value)


def test_a_folder_of_pickles_alone_is_refused(directory, tmp_path):
    (directory / "model.safetensors").unlink()
    (directory / "pytorch_model.bin").write_bytes(pickle.dumps(Canary(tmp_path / "canary")))
    entry = {"source": "directory", "path": str(directory)}
    with pytest.raises(ModelError, match="pickled weights are not loaded") as caught:
        prepare("mine", entry, tmp_path / "model.json")
    assert "pytorch_model.bin" in str(caught.value)
    assert not (tmp_path / "canary").exists()
    assert not (tmp_path / "model.json").exists()


def test_an_empty_folder_is_refused(tmp_path):
    entry = {"source": "directory", "path": str(tmp_path)}
    with pytest.raises(ModelError, match=r"no config\.json"):
        prepare("mine", entry, tmp_path / "out/model.json")


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    entry = {"source": "directory", "path": str(tmp_path / "nowhere")}
    with pytest.raises(ModelError, match="nowhere"):
        prepare("mine", entry, tmp_path / "out/model.json")


BAD_WEIGHTS = {
    "header of 2^63 bytes": (1 << 63).to_bytes(8, "little") + b"{}",
    "header longer than the file": (500).to_bytes(8, "little") + b"{}",
    "no header": b"\1",
    "empty": b"",
    "header no JSON": (4).to_bytes(8, "little") + b"nope",
    "header no object": (2).to_bytes(8, "little") + b"[]",
    "header of nonsense": (9).to_bytes(8, "little") + b'{"a": [1]}'[:9],
    "tensor without shape": (11).to_bytes(8, "little") + b'{"a": {}   }'[:11],
}


@pytest.mark.parametrize("kind", BAD_WEIGHTS)
def test_what_is_no_weight_file_is_refused_quickly(directory, tmp_path, kind):
    (directory / "model.safetensors").write_bytes(BAD_WEIGHTS[kind])
    entry = {"source": "directory", "path": str(directory)}
    start = time.monotonic()
    with pytest.raises(ModelError, match=r"model\.safetensors"):
        prepare("mine", entry, tmp_path / "model.json")
    assert time.monotonic() - start < 2


def test_a_pickle_called_safetensors_is_not_executed(directory, tmp_path):
    canary = tmp_path / "canary"
    (directory / "model.safetensors").write_bytes(pickle.dumps(Canary(canary)))
    entry = {"source": "directory", "path": str(directory)}
    with pytest.raises(ModelError, match=r"model\.safetensors"):
        prepare("mine", entry, tmp_path / "model.json")
    # Even were it recorded as good, loading refuses it.
    from palimpsest.identity import file_sha256

    written = {
        "model": "mine",
        "folder": str(directory),
        "dtype": "float32",
        "format": "plain",
        "files": {"model.safetensors": file_sha256(directory / "model.safetensors")},
    }
    write_sealed(tmp_path / "forged.json", written)
    with pytest.raises(ModelError, match="cannot be loaded"):
        load(tmp_path / "forged.json")
    assert not canary.exists()
    pickle.loads((directory / "model.safetensors").read_bytes()).close()
    assert canary.exists(), "the canary is alive"


def test_code_that_comes_with_weights_is_not_executed(directory, tmp_path):
    canary = tmp_path / "canary"
    (directory / "modeling_evil.py").write_text(f"open({str(canary)!r}, 'w')\n")
    config = json.loads((directory / "config.json").read_text())
    config |= {
        "model_type": "evil",
        "auto_map": {
            "AutoConfig": "modeling_evil.Config",
            "AutoModelForCausalLM": "modeling_evil.Model",
        },
    }
    (directory / "config.json").write_text(json.dumps(config))
    output = tmp_path / "prepared/model.json"
    prepare("mine", {"source": "directory", "path": str(directory)}, output)
    with pytest.raises(ModelError, match="cannot be loaded"):
        load(output)
    assert not canary.exists()


def test_weights_that_are_not_there_are_not_drawn_at_random(tiny, tmp_path):
    from safetensors.torch import save_file

    tiny.module.save_pretrained(tmp_path / "mine")
    tiny.tokenizer.save_pretrained(tmp_path / "mine")
    weights = {n: p.detach().clone() for n, p in tiny.module.named_parameters()}
    gone = next(name for name in weights if "mlp" in name)
    del weights[gone]
    save_file(weights, tmp_path / "mine/model.safetensors", metadata={"format": "pt"})
    entry = {"source": "directory", "path": str(tmp_path / "mine")}
    prepare("mine", entry, tmp_path / "prepared/model.json")
    with pytest.raises(ModelError, match="lacks the weights") as caught:
        load(tmp_path / "prepared/model.json")
    assert gone in str(caught.value)


def test_a_package_that_is_not_installed_is_named(tmp_path):
    entry = {"source": "package", "package": "no-such-package", "file": "x.gguf"}
    with pytest.raises(ModelError, match="no-such-package is not installed"):
        prepare("x", entry, tmp_path / "model.json")


def test_a_file_that_a_package_lacks_is_named(tmp_path):
    entry = {"source": "package", "package": "palimpsest", "file": "x.gguf"}
    with pytest.raises(ModelError, match=r"x\.gguf: no such file"):
        prepare("x", entry, tmp_path / "model.json")


def test_a_gguf_is_parsed_once_and_only_while_it_is_converted(monkeypatch):
    read = []
    monkeypatch.setattr(gguf, "GGUFReader", lambda path: read.append(path) or path)
    own = gguf.GGUFReader

    def convert():
        with _parsed_once():
            assert gguf.GGUFReader("a") == gguf.GGUFReader("a") == "a"
            raise ModelError

    with pytest.raises(ModelError):
        convert()
    assert read == ["a"]
    assert gguf.GGUFReader is own
