"""What all tests share: one thread a worker, a place for what is made once, pages opened without a browser."""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
pytest_plugins = ["catalogued"]
# Set before anything imports NumPy, torch or Numba. Workers share the processors: one thread each. UMAP would leave
# torch with all of Numba's threads, which wait for each other in a loop: where others work too, a training then takes
# ten times as long.
os.environ.setdefault("NUMBA_NUM_THREADS", "1")
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


@pytest.fixture(scope="session", autouse=True)
def made_once(tmp_path_factory):
    """The folder of once.py: of this session, and the same one for its workers."""
    import once

    base = tmp_path_factory.getbasetemp()
    once.place = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "once"
    once.place.mkdir(exist_ok=True)


@pytest.fixture(scope="module", autouse=True)
def a_server_no_more():
    """A page makes its process a server, with spare processes for SQL: the next file's tests begin as a command."""
    yield
    if worker := sys.modules.get("qkstore.sql.worker"):
        worker._queries.spare = worker._readings.spare = False


@pytest.fixture(scope="session")
def components():
    """Streamlit reads the metadata of every installed package for each AppTest run; they do not change meanwhile."""
    from streamlit.components.v2 import manifest_scanner

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            manifest_scanner, "scan_component_manifests", functools.cache(manifest_scanner.scan_component_manifests)
        )
        yield


@pytest.fixture
def show(monkeypatch, components):
    """show(store, page, **choices in the URL) -> the page after its run, without a browser."""
    from streamlit.runtime.pages_manager import PagesManager
    from streamlit.testing.v1 import AppTest

    begin = PagesManager.__init__

    def warm(manager, *arguments, **options):
        """As on a server that has run app.py once.

        AppTest is a freshly started server at every run; test_browser.py tests that case.
        """
        begin(manager, *arguments, **options)
        PagesManager.uses_pages_directory = False

    monkeypatch.setattr(PagesManager, "__init__", warm)

    def run(store: Path, page: str, **choices) -> AppTest:
        monkeypatch.setenv("QKSTORE", str(store))
        app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
        fields = {"plain-sql": 1} if page == "contrasts" else {}  # no component runs without a browser
        for name, value in (fields | choices).items():
            app.query_params[name] = str(value)
        return (app if page == "overview" else app.switch_page(f"pages/{page}.py")).run()

    return run


def pytest_collection_modifyitems(items):
    """Slow files first: a worker that takes one at the end would end long after the others."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_terminal_summary(terminalreporter):
    """What was skipped, by name and reason: a green run should not hide what it did not run."""
    skipped = terminalreporter.stats.get("skipped", [])
    if skipped:
        terminalreporter.section(f"not run: {len(skipped)}")
        for report in skipped:
            terminalreporter.write_line(
                f"{report.nodeid}: {report.longrepr[-1] if isinstance(report.longrepr, tuple) else report.longrepr}"
            )


def pytest_sessionfinish(session, exitstatus):
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("QKSTORE_NO_SKIP") and reporter and reporter.stats.get("skipped") and exitstatus == 0:
        session.exitstatus = 1
