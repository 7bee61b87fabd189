"""Shared fixtures."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]


@pytest.fixture
def show(monkeypatch):
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
        app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()
        for name, value in choices.items():
            app.query_params[name] = str(value)
        return app.switch_page(f"pages/{page}.py").run()

    return run


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
