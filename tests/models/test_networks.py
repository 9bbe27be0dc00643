"""The model that is none: prepared like others, read as networks, refused where it does not fit."""

from __future__ import annotations

import pytest
import yaml

from palimpsest.config import check
from palimpsest.config_errors import ConfigError
from palimpsest.models.loading import prepare
from palimpsest.models.networks import Networks
from palimpsest.models.states import StateReader


def test_it_is_prepared_and_read_without_weights(tmp_path):
    output = tmp_path / "networks" / "model.json"
    written = prepare("networks", {"source": "networks"}, output)
    assert written["parameters"] == 0
    assert written["files"] == {}
    model = StateReader(output, "cpu").at(0)
    assert model == Networks("cpu")


def _config(tmp_path, state):
    models = tmp_path / "models.yaml"
    models.write_text(
        yaml.safe_dump({"models": {"nets": {"source": "networks"}, "tiny": {"source": "tiny"}}})
    )
    study = {"probe": "few_shot_memory", "states": {"untouched": state}}
    return {"models_file": str(models), "studies": {"study": study}}


def test_a_probe_of_language_models_refuses_it(tmp_path):
    with pytest.raises(ConfigError, match=r"studies\.study\.states\.untouched\.model.*tiny"):
        check(_config(tmp_path, {"model": "nets"}), "config.yaml")
    check(_config(tmp_path, {"model": "tiny"}), "config.yaml")
