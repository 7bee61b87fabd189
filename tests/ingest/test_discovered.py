"""Discovery on the demo model and on the same architecture with random weights, whose claims it tells apart."""

from __future__ import annotations

import pytest

import qkstore
from bench.encoder import untrained
from ingest import demo, job, model
from ingest.prompts import task
from qkstore.analysis import discovery

BOTH = {"k.entity = q.queried_entity", "k.order_id = q.queried_order"}


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict[str, discovery.Discovery]:
    """What is found on few prompts that name entity and place, by model."""
    path, loaded = tmp_path_factory.mktemp("discovered"), model.load(str(demo.MODEL), answers=None)
    prompts = task.of("boxes", 600, 400, "both", 0).prompts
    for name, each in (("trained", loaded), ("random", untrained(loaded))):
        job.ingest(path, name, each, prompts, job.Options(batch_size=128, answers=False), task="boxes both", seed=0)
    return {name: discovery.discover(qkstore.open(path).run(name)) for name in ("trained", "random")}


def test_order_and_entity_are_found_at_every_head_of_layer_1(found):
    there = {(f.layer, f.head, found["trained"].match(f).words) for f in found["trained"].found()}
    assert there == {(1, head, words) for head in range(4) for words in BOTH}
    assert all(f.beyond[0] > 0.2 for f in found["trained"].found())


def test_nothing_is_found_in_random_weights_though_their_covariances_are_there(found):
    assert found["random"].found() == []
    assert found["random"].n == found["trained"].n
    assert found["random"].n_delta > 10  # the control: ‖ΔC‖ alone would call these found
