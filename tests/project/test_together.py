"""A dashboard, a command, a script and an ingest on one store at once: nobody meets a lock, nothing is lost.

`python bench/together.py` runs the same for a minute.
"""

from __future__ import annotations

import importlib.util

import pytest
from conftest import CHROMIUM, ROOT

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("alone")]
spec = importlib.util.spec_from_file_location("together", ROOT / "bench" / "together.py")
together = importlib.util.module_from_spec(spec)
spec.loader.exec_module(together)


@pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no browser at {CHROMIUM}")
def test_four_processes_on_one_directory(capsys):
    assert together.main(["--seconds", "12"]) == 0, capsys.readouterr().out
    out = capsys.readouterr().out
    assert "no error reached anyone, every save is there" in out
    assert " 0 contrasts saved" not in out
    assert " 0 runs ingested" not in out


def test_an_error_on_a_page_or_a_lost_save_would_be_noticed(capsys, monkeypatch):
    monkeypatch.setattr(together, "browse", lambda url, until: (1, ["the catalogue is busy"]))
    monkeypatch.setattr(together, "dashboard", lambda store: (together.start("", store, 0), "http://127.0.0.1"))
    monkeypatch.setattr(together, "SAVE", together.SAVE.replace("print(len(waits)", "print(len(waits) + 1"))
    assert together.main(["--seconds", "1"]) == 1
    out = capsys.readouterr().out
    assert "dashboard: the catalogue is busy" in out
    assert "contrasts were saved" in out
