"""One finished small run that many tests share; those that change it take a copy."""

from __future__ import annotations

import pytest

from tests.faults.runs import SECRETS, TARGET, Run, new_run
from tests.workflow.conftest import in_a_copy


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory) -> Run:
    """A finished run that nothing has disturbed; tests must not change it."""
    run = new_run(tmp_path_factory.mktemp("undisturbed") / "run", **SECRETS)
    run.snakemake(TARGET)
    return run


@pytest.fixture
def copied(undisturbed, tmp_path, monkeypatch) -> Run:
    """A copy of the finished run; the working directory of the test."""
    return in_a_copy(undisturbed, tmp_path, monkeypatch)
