"""The state of an interrupted training: gone on with where it is whole, trained anew where it is not."""

from __future__ import annotations

import errno
import hashlib
import io
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_recipe import (
    SHORT,
    SIZES,
    TASK,
    quick,  # noqa: F401 -- fixtures
)

import qkstore
from ingest.__main__ import main
from ingest.toy import toy
from ingest.toy.recipe import DIGEST, Training
from ingest.toy.stack import NAMES
from qkstore.errors import ModelError, StoreError

torch.set_num_threads(1)


class Stop(Exception):
    pass


def stop(stage, done, total, now=""):
    if "train" in stage and done >= 20:
        raise Stop


DAMAGES = {
    "nothing": lambda b: b"",
    "noise": lambda b: b"x" * 500,
    "half of it": lambda b: b[: len(b) // 2],
    "its end lost": lambda b: b[:-100] + bytes(100),
    "one bit of a weight": lambda b: b[: len(b) // 2] + bytes([b[len(b) // 2] ^ 1]) + b[len(b) // 2 + 1 :],
    "a list": lambda b: signed([1]),
    "no state at all": lambda b: signed(None),
    "weights that are none": lambda b: signed(opened(b) | {"weights": None}),
    "a task of other code": lambda b: signed(opened(b) | {"tasks": [{"varii": 1}]}),
    "a task that is none": lambda b: signed(opened(b) | {"tasks": [asdict(TASK) | {"r1": 0}]}),
}


def opened(raw: bytes) -> dict:
    return torch.load(io.BytesIO(raw[DIGEST:]), weights_only=True)


def signed(state: object) -> bytes:
    """A file of a state as `save` writes it, whatever the state."""
    torch.save(state, written := io.BytesIO())
    return hashlib.sha256(written.getvalue()).digest() + written.getvalue()


@pytest.fixture
def stopped(tmp_path, monkeypatch):
    """A store with a training that was cut off after 20 steps; its state."""
    monkeypatch.setattr(toy, "SAVE_EVERY", 0.0)
    with pytest.raises(Stop):
        toy.build(tmp_path, [TASK], SHORT, SIZES, progress=stop)
    (state,) = tmp_path.glob("runs/.incoming/*/training.pt")
    return state


def steps(store) -> list[int]:
    """The steps that are made when the sweep is taken up again."""
    seen = []
    toy.build(
        store,
        [TASK],
        SHORT,
        SIZES,
        progress=lambda stage, done, *_, **__: seen.append(done) if "train" in stage else None,
    )
    return seen


def test_control_a_whole_state_is_gone_on_with(stopped, tmp_path):
    assert steps(tmp_path) == list(range(20, 31))


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_state_is_trained_anew_to_the_same_run(stopped, tmp_path, damage, tmp_path_factory):
    stopped.write_bytes(damage(stopped.read_bytes()))
    assert steps(tmp_path) == list(range(1, 31))
    whole = tmp_path_factory.mktemp("whole")
    toy.build(whole, [TASK], SHORT, SIZES)
    one, other = (qkstore.open(p).run("toy-discrete-d8-2-3-short") for p in (tmp_path, whole))
    assert all(np.array_equal(one.weights[name], other.weights[name]) for name in NAMES)
    assert not list((tmp_path / "runs" / ".incoming").iterdir())


def test_a_state_that_was_half_written_aside_does_no_harm(stopped, tmp_path):
    stopped.with_name(f".part-00c0ffee-{stopped.name}").write_bytes(b"half")
    assert steps(tmp_path)[0] == 20


def test_a_full_disk_is_one_line_and_leaves_the_state_before(stopped, monkeypatch):
    before = stopped.read_bytes()

    def full(path, raw):
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    training = Training.resume(stopped)
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StoreError, match="training.pt was not written: No space left on device") as error:
        training.save(stopped)
    assert "\n" not in str(error.value)
    assert stopped.read_bytes() == before
    assert not list(stopped.parent.glob(".part-*"))


def test_a_state_of_another_kind_of_file_is_not_taken_for_one(stopped, tmp_path):
    torch.save({"tasks": [TASK]}, stopped)
    assert steps(tmp_path)[0] == 1


def test_another_recipe_or_seed_does_not_go_on_with_it(stopped, tmp_path):
    seen = []
    toy.build(
        tmp_path,
        [replace(TASK, seed=1)],
        SHORT,
        SIZES,
        progress=lambda stage, done, *_, **__: seen.append(done) if "train" in stage else None,
    )
    assert seen[0] == 1
    assert stopped.exists(), "the other's state is kept"


# -- devices -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device", "said"),
    [
        ("cuda:99", "device 'cuda:99': this machine"),
        ("tpu", "device 'tpu'"),
        ("", "--device is given as an empty text"),
        ("cpu:x", "device 'cpu:x'"),
    ],
)
def test_a_device_that_is_not_there_is_one_line(tmp_path, capsys, device, said):
    assert (
        main(["toy", "--store", str(tmp_path / "s"), "--d-head", "4", "--r1", "1", "--r2", "1", f"--device={device}"])
        == 2
    )
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "s").exists()


def test_sizes_below_one_are_refused():
    for name in ("n", "n_exact", "n_test"):
        with pytest.raises(ModelError, match=f"^{name} 0: a run has 1 or more"):
            toy.Sizes(**{name: 0})
    assert toy.Sizes(1, 1, 1)
