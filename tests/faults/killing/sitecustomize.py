"""Kill the whole process group when a file is renamed to its final name.

The tests put this folder on PYTHONPATH, so that every job of a run imports it at its start; the
package knows nothing of it. PALIMPSEST_KILL holds ``before`` or ``after``, a marker file that is
made when the kill happens (there is one a marker), and a pattern for the final name.
"""

import fnmatch
import os
import signal

moment, marker, pattern = os.environ["PALIMPSEST_KILL"].split(":")
rename = os.replace


def _kill() -> None:
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return
    os.killpg(os.getpgid(0), signal.SIGKILL)


def replace(source, target, **places):
    """As os.replace, and before or after it the end of everything."""
    aimed = fnmatch.fnmatch(os.fspath(target), pattern)
    if aimed and moment == "before":
        _kill()
    rename(source, target, **places)
    if aimed and moment == "after":
        _kill()


os.replace = replace
