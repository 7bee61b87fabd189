"""Processes that are killed, and many at once on one store. In one file: they measure, and would disturb each other.

kill -9 during ingest, ten times: the store opens and shows no half run, and a resumed run equals an uninterrupted one.
A dashboard, a command, a script and an ingest on one store at once: nobody meets a lock, nothing is lost; the command
`python bench/team/together.py` runs the same for a minute.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys

import models
import pytest
from conftest import CHROMIUM, ROOT

from ingest.prompts import boxes

pytestmark = pytest.mark.slow
spec = importlib.util.spec_from_file_location("together", ROOT / "bench" / "team" / "together.py")
together = importlib.util.module_from_spec(spec)
spec.loader.exec_module(together)


def test_ten_kills(tmp_path):
    models.folder(tmp_path / "model", models.words(boxes.build(200, "ent", 0, 100)))
    command = [sys.executable, ROOT / "bench" / "kills" / "crash.py", tmp_path, tmp_path / "model", "--kills", "10"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "10 ingests killed" in done.stdout
    kept = [int(n) for n in re.findall(r"(\d+) batches kept", done.stdout)]
    assert kept == sorted(kept)  # what was done stayed
    assert kept[-1] > kept[0]  # the kills fell on an ingest at work


def test_ranks_under_torchrun_are_killed_and_lose_nothing(tmp_path):
    """Twice here; the command kills ten by default."""
    models.folder(tmp_path / "model", models.words(boxes.build(200, "ent", 0, 100)))
    command = [sys.executable, ROOT / "bench" / "kills" / "ranks.py", tmp_path, tmp_path / "model", "--kills", "2"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=ROOT, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 ranks killed; the run of two ranks is that of one, to the bit" in done.stdout


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
