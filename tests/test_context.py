"""What jobs are told and what they show."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import sys
import termios

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
