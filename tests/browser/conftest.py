import importlib.util
import os
import shutil
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

_TOY = Path(__file__).parents[1] / "reports" / "fixture_database.py"
_FLAGS = (
    "headless=new",
    "no-sandbox",
    "disable-gpu",
    "disable-quic",
    "no-first-run",
    "disable-background-networking",
    "disable-component-update",
    "disable-sync",
    "disable-dev-shm-usage",
)


@pytest.fixture(scope="session")
def pages(tmp_path_factory):
    """Addresses of the pages of the synthetic run, as files."""
    from palimpsest.reports.build import build_index, build_study

    spec = importlib.util.spec_from_file_location("fixture_database", _TOY)
    toy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(toy)
    figures = ModuleType("palimpsest.probes.toy.figures")
    figures.page = toy.page
    names = {"palimpsest.probes.toy": ModuleType("toy"), "palimpsest.probes.toy.figures": figures}
    folder = tmp_path_factory.mktemp("a folder")
    database = toy.write_database(folder / "palimpsest.duckdb")
    with pytest.MonkeyPatch.context() as patch:
        for name, module in names.items():
            patch.setitem(sys.modules, name, module)
        built = {
            study: build_study(database, study, folder / f"{study}.html").as_uri()
            for study in ("economic_recall", "leakage")
        }
    built["index"] = build_index(database, folder / "index.html").as_uri()
    return SimpleNamespace(hostile=toy.HOSTILE, study=built.pop("economic_recall"), **built)


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """One headless Chromium for all tests; skipped where it is not installed."""
    selenium = pytest.importorskip("selenium", reason="the package selenium is not installed")
    binary = shutil.which("chromium") or shutil.which("chromium-browser")
    driver_path = shutil.which("chromedriver")
    if not binary or not driver_path:
        pytest.skip("chromium and chromedriver are not installed")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    assert selenium
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in _FLAGS:
        options.add_argument(f"--{flag}")
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(driver_path))
    yield driver
    driver.quit()


@pytest.fixture(scope="session")
def axe() -> str:
    """Source of axe-core (npm, not shipped): its file is named by AXE_CORE."""
    path = os.environ.get("AXE_CORE", "")
    if not Path(path).is_file():
        pytest.skip("AXE_CORE does not name axe.min.js of the npm package axe-core")
    return Path(path).read_text("utf-8")
