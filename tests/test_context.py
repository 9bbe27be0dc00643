"""What jobs are told and what they show."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import sys
import termios
import time

from palimpsest.context import Progress
from palimpsest.files import read_json


def test_a_bar_is_shown_on_a_terminal_and_nothing_elsewhere(monkeypatch, tmp_path, capsys):
    near, far = pty.openpty()
    fcntl.ioctl(far, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    with os.fdopen(far, "w") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        progress = Progress(3, label="cells")
        for _ in range(3):
            progress.advance()
        progress.close()
        monkeypatch.undo()
        terminal.flush()
        assert b"cells: " in os.read(near, 10_000)
    os.close(near)
    Progress(3, label="cells").close()
    assert capsys.readouterr() == ("", "")


def test_how_far_a_job_is_stands_in_a_file_while_it_runs(tmp_path):
    path = tmp_path / "progress.json"
    progress = Progress(4, path, "cells", every=0.0)
    progress.advance(3)
    assert (read_json(path)["done"], read_json(path)["total"]) == (3, 4)
    progress.close()
    assert not path.exists()


def test_progress_is_written_on_when_the_clock_is_set_back(tmp_path, monkeypatch):
    path, clock = tmp_path / "progress.json", time.time
    progress = Progress(4, path, "cells", every=0.01)
    monkeypatch.setattr(time, "time", lambda: clock() - 3 * 3600)
    time.sleep(0.02)
    progress.advance(3)
    told = read_json(path)
    assert told["done"] == 3
    assert 0.02 <= told["seconds"] < 60
