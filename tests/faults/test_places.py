"""Folders and surroundings that users have and developers do not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.faults.figures import record, times
from tests.faults.runs import NOTHING, TARGET, new_run

pytestmark = [pytest.mark.workflow, pytest.mark.timeout(1800)]


def test_a_strange_folder_under_another_locale_and_umask(tmp_path, request):
    """Blanks, quotes and other scripts in the path; no locale at all; files for the owner alone.

    By default the plan alone, for the figures a whole run.
    """
    folder = tmp_path / "Ergebnisse für Zoë's 日本 $HOME & more"
    run = new_run(folder, LC_ALL="C", LANG="C", LANGUAGE="", TZ="Pacific/Kiritimati")
    whole = bool(times(0, 1))
    before = os.umask(0o077)
    try:
        said = run.snakemake(TARGET, *([] if whole else ["-n"]))
        assert "Traceback" not in said
        assert NOTHING not in said
        if whole:
            assert NOTHING in run.snakemake(TARGET, "-n")
    finally:
        os.umask(before)
    written = [path for path in Path(folder, "results").rglob("*") if path.is_file()]
    assert written
    assert not [path for path in written if path.stat().st_mode & 0o077]
    if whole:
        undisturbed = request.getfixturevalue("undisturbed")
        assert run.content() == undisturbed.content()
        record("a strange folder, locale and umask", tried=1, lost=0)
