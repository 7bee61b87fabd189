"""bench/same.py: a digit that differs is found and named by its place, what has to differ is not; a failure differs."""

from __future__ import annotations

import importlib.util
import json
import sys

import numpy as np
import pytest
import stores
from conftest import ROOT

spec = importlib.util.spec_from_file_location("bench_same", ROOT / "bench" / "same.py")
same = importlib.util.module_from_spec(spec)
spec.loader.exec_module(same)
RANK = {"energy": 9, "values": [1.5, 0.1 + 0.2], "sentence": "3 of 4"}


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({"values": [1.5, 0.3]}, "values.1: 0.30000000000000004 | values.1: 0.3"),
        ({"values": [1.5]}, "values.1: 0.30000000000000004 | sentence: '3 of 4'"),
        ({"values": []}, "values.0: 1.5 | values: []"),
        ({"energy": 9.0}, "energy: 9 | energy: 9.0"),
        ({"energy": None}, "energy: 9 | energy: None"),
        ({"more": 1}, "(the end) | more: 1"),
    ],
)
def test_the_first_value_that_differs_is_named_on_both_sides(changed, found):
    assert same.difference(json.dumps(RANK), json.dumps(RANK | changed)) == found
    assert same.difference(json.dumps(RANK), json.dumps(RANK)) is None


def test_text_is_compared_line_by_line():
    assert same.difference("a 0.951\nb 0.5\n", "a 0.951\nb 0.6\n") == "line 2: b 0.5 | line 2: b 0.6"
    assert same.difference("a\n", "") == "line 1: a | (the end)"
    assert same.difference("a\nb\n", "a\nb\n") is None
    long = "x" * 500
    assert len(found := same.difference(f"{long}1{long}", f"{long}2{long}")) < 260
    assert "1x" in found
    assert "2x" in found


def test_what_has_to_differ_is_left_out_and_nothing_beside_it():
    def made(when, code, n=3):
        manifest = {"created": when, "code_version": code, "libraries": "torch 2"}
        return json.dumps({"run": manifest, "n": n})

    one, other = made("2026-11-26 01:10:11.123456", "0.1 abc"), made("2026-11-27 23:00:00", "0.1 def")
    assert same.difference(one, other) is None
    assert same.difference(one, made("2026-11-27 23:00:00", "0.1 def", 4)) == "n: 3 | n: 4"
    assert same.difference(one, made(None, "0.1 abc")) == "run.created: '' | run.created: None"
    assert same.difference('{"n": 3}', '{"n": 3, "code": "ab12"}') is None, "a line that is masked whole is none"
    assert same.difference('{"n": 3}', '{"n": 3, "m": "ab12"}') == "(the end) | m: 'ab12'"
    assert same.difference(one, one.replace("torch 2", "torch 3")), "libraries decide numbers"
    assert same.difference('{"code_version": "a"}', '{"code_version": "b"}'), "only a manifest's"
    assert same.difference("- ingested: 2026-11-26 01:10:11.5, 7", "- ingested: 2026-11-27 01:10:11.5, 7") is None


def test_a_failure_is_never_the_same(tmp_path):
    failed = same.output("-m qkstore runs --json", tmp_path, ROOT, sys.executable)
    assert failed.startswith("FAILED: exit code 2: qkstore: ")
    assert str(tmp_path / "store") in failed
    assert same.difference(failed, failed)
    assert same.difference("{}", failed)
    assert same.difference(failed, "{}")


def test_arrays_and_runs_are_told_to_the_bit(tmp_path):
    texts = []
    for last in (1.0, np.nextafter(np.float32(1), np.float32(2)), -0.0, 0.0):
        np.savez(tmp_path / "a.npz", delta=np.array([[0.5, last]], np.float32), rank=2)
        texts.append(same.told(tmp_path / "a.npz"))
    assert same.difference(texts[0], texts[1]) == "delta.values.0.1: 1.0 | delta.values.0.1: 1.0000001192092896"
    assert same.difference(texts[2], texts[3])
    assert same.difference(texts[0], texts[0]) is None


def test_one_bit_of_one_vector_of_a_run_is_found(tmp_path):
    data = [stores.boxes(16) for _ in range(3)]
    data[1].k[1, 0, 3, 2] = np.nextafter(data[1].k[1, 0, 3, 2], np.float32(9))
    for i, made in enumerate(data):
        stores.write(tmp_path / str(i), "r", made)
    one, other, again = (same.told(tmp_path / str(i) / "runs" / "r.duckdb") for i in range(3))
    assert same.difference(one, other).startswith("key_vector.1: ")
    assert same.difference(one, again) is None


def test_what_is_made_is_kept_until_the_code_is_another(tmp_path, monkeypatch, capsys):
    code, made = tmp_path / "code" / "qkstore" / "deep" / "a.py", []
    code.parent.mkdir(parents=True)
    for file in (code, tmp_path / "code" / "bench" / "truth.py"):
        file.parent.mkdir(exist_ok=True)
        file.write_text("1")

    def output(item, side, checkout, python):
        made.append(item)
        return "FAILED: exit code 1" if item == "bench/live.py" else f"{item} {len(code.read_text())}"

    monkeypatch.setattr(same, "output", output)
    ask = ["--before", str(tmp_path / "code"), "--after", str(tmp_path / "code"), "--keep", str(tmp_path / "kept")]
    assert same.main(ask) == 1, "a failure on both sides is no sameness"
    out, everything = capsys.readouterr().out, len(same.TABLES) + len(same.COMMANDS)
    assert "DIFFERENT  bench/live.py: line 1: FAILED: exit code 1" in out
    assert out.count("DIFFERENT") == 1
    assert f"{everything - 1} of {everything} items are the same" in out
    assert len(made) == 2 * (everything + 1)
    same.main(ask)
    assert made[2 * (everything + 1) :] == ["bench/live.py"] * 2, "only what failed is made again"
    code.write_text("22")
    monkeypatch.setattr(same, "COMMANDS", ["-m qkstore runs --json"])
    assert same.main(ask) == 0
    assert len(list((tmp_path / "kept").iterdir())) == 4
