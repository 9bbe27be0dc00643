"""Builds all pages of a database and opens them in a browser: python opening.py DATABASE FOLDER.

The last line of its output is JSON: mib of building all, observations, and of each page its bytes,
the seconds that it took to build (each is a job of its own in the workflow), and the seconds until
the browser has opened it (null without a browser). A program of its own, so that its memory is that
of the build, with the packages that the workflow has.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import time
from pathlib import Path

LOADS = 5
_FLAGS = ("headless=new", "no-sandbox", "disable-gpu", "no-first-run", "disable-dev-shm-usage")
_TIMING = (
    "const t = performance.getEntriesByType('navigation')[0]; return t.loadEventEnd - t.startTime"
)


def main(database: Path, folder: Path) -> dict:
    """Build, weigh and open."""
    from palimpsest.evidence.database import Database
    from palimpsest.evidence.provenance import peak_memory_mb
    from palimpsest.reports import evidence
    from palimpsest.reports.build import build_index, build_study

    with Database(database) as opened:
        entries = evidence.studies(opened)
        observations = opened.frame("SELECT count(*) FROM observations").item()
    built = []
    for entry in [*entries, None]:
        start = time.perf_counter()
        if entry is None:
            page = build_index(database, folder / "index.html")
        else:
            page = build_study(database, entry.study, folder / entry.page)
        built.append((page, time.perf_counter() - start))
    mib = peak_memory_mb()
    times = _opened([page for page, _ in built])
    return {
        "mib": mib,
        "observations": observations,
        "pages": [
            {"page": page.name, "bytes": page.stat().st_size, "built": seconds, "opened": opened}
            for (page, seconds), opened in zip(built, times, strict=True)
        ],
    }


def _opened(pages: list[Path]) -> list[float | None]:
    """Median seconds from the navigation to the end of the load event, by page."""
    binary = shutil.which("chromium") or shutil.which("chromium-browser")
    driver_path = shutil.which("chromedriver")
    try:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service
    except ImportError:
        binary = None
    if not binary or not driver_path:
        return [None] * len(pages)
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in _FLAGS:
        options.add_argument(f"--{flag}")
    driver = webdriver.Chrome(options=options, service=Service(driver_path))
    try:
        return [
            statistics.median(_once(driver, page.resolve().as_uri()) for _ in range(LOADS))
            for page in pages
        ]
    finally:
        driver.quit()


def _once(driver: object, address: str) -> float:
    driver.get("about:blank")
    driver.get(address)
    # The event's end is written when its handlers have returned.
    while not (found := driver.execute_script(_TIMING)) > 0:
        time.sleep(0.01)
    return found / 1000


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), Path(sys.argv[2]))))
