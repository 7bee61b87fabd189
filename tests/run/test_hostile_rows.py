"""A run file with a run's tables and impossible numbers in them: an error of one line, when opened or when read."""

from __future__ import annotations

import re

import pytest
import spoilt

REFUSED = {  # when the file is opened
    "no manifest": ("DELETE FROM run", "unfinished: the manifest is empty"),
    "two manifests": ("INSERT INTO run SELECT * FROM run", "its manifest has more than one row"),
    "no model": ("UPDATE run SET model = NULL", "its manifest has no model"),
    "no column model": ("ALTER TABLE run DROP COLUMN model", "its manifest has no model"),
    "no labels": ("UPDATE run SET token_labels = NULL", "its manifest has no token_labels"),
    "a version of text": ("ALTER TABLE run ALTER COLUMN schema_version TYPE VARCHAR", "has no version"),
    "version 0": ("UPDATE run SET schema_version = 0", "its version is 0; possible is 1 to 4"),
    "version -1": ("UPDATE run SET schema_version = -1", "its version is -1"),
    "sizes as text": ("ALTER TABLE run ALTER COLUMN n_heads TYPE VARCHAR", "column n_heads of its manifest is VARCHAR"),
    "labels as text": (
        "ALTER TABLE run ALTER COLUMN token_labels TYPE VARCHAR",
        "token_labels of its manifest is VARCHAR",
    ),
    "a manifest with a struct": ("ALTER TABLE run ADD COLUMN s STRUCT(a INTEGER)", "a column that a run cannot have"),
    "a date as text": ("ALTER TABLE run ALTER COLUMN created TYPE VARCHAR", "created of its manifest is VARCHAR"),
    "two thousand million heads": ("UPDATE run SET n_heads = 2000000000", "it says n_heads 2000000000; possible is 1"),
    "no heads": ("UPDATE run SET n_heads = 0", "it says n_heads 0"),
    "-4 heads": ("UPDATE run SET n_heads = -4, n_kv_heads = -2", "it says n_heads -4"),
    "heads that KV heads do not divide": ("UPDATE run SET n_kv_heads = 3", "n_kv_heads 3, which does not divide it"),
    "no KV heads": ("UPDATE run SET n_kv_heads = 0", "it says n_kv_heads 0"),
    "more KV heads than heads": ("UPDATE run SET n_kv_heads = 8", "n_kv_heads 8, which does not divide it"),
    "vectors of nothing": ("UPDATE run SET d_head = 0", "it says d_head 0"),
    "vectors of much": ("UPDATE run SET d_head = 2147483647", "it says d_head 2147483647"),
    "-1 prompts": ("UPDATE run SET n_prompts = -1", "it says n_prompts -1"),
    "queries without end": ("UPDATE run SET n_queries = 9223372036854775807", "it says n_queries 9223372036854775807"),
    "queries that a file cannot hold": (
        "UPDATE run SET n_queries = 2000000000",
        "cannot hold .* 2,000,000,000 vectors",
    ),
    "one query more": ("UPDATE run SET n_queries = 9", "run 'bad': query_row has 8 rows of 9"),
    "one key less": ("UPDATE run SET n_keys = 31", "run 'bad': key_row has 32 rows of 31"),
    "a layer beyond the model": ("UPDATE run SET n_layers = 1", "a number twice, or none of 0 to n_layers - 1"),
    "the year 290000": ("UPDATE run SET created = '290000-01-01'", "a date outside 1970 to 2200"),
    "the year -5000": ("UPDATE run SET created = '5000-01-01 (BC)'", "a date outside"),
    "no end of time": ("UPDATE run SET created = 'infinity'", "a date outside"),
    "a model of 2 MB": ("UPDATE run SET model = repeat('x', 2000000)", "a text of more than 1,048,576 bytes"),
    "a list of 2 MB": ("UPDATE run SET query_roles = [repeat('x', 2000000)]", "a text of more than 1,048,576 bytes"),
    "a plan of 20 MB": ("UPDATE run SET plan = repeat('x', 20000000)", "a text of more than"),
    "a plan that is no JSON": ("UPDATE run SET plan = '{\"run\": '", "plan of its manifest is no JSON: '{"),
    "a plan that is a number": ("UPDATE run SET plan = '5'", "plan of its manifest is no JSON object"),
    "a plan that is deep": ("UPDATE run SET plan = repeat('[', 100000)", "plan of its manifest is no JSON"),
    "a plan of a long number": ("UPDATE run SET plan = '{\"n\": ' || repeat('9', 9000) || '}'", "plan .* is no JSON"),
    "content that is no JSON": ("UPDATE run SET content = 'sha'", "content of its manifest is no JSON: 'sha'"),
    "content of nothing": ("UPDATE run SET content = '{}'", "does not have a digest of its labels and of each layer"),
    "content of a list": ("UPDATE run SET content = '[1]'", "does not have a digest"),
    "content without a layer": (
        "UPDATE run SET content = json_merge_patch(content, '{\"layer 1\": null}')::VARCHAR",
        "does not have a digest",
    ),
    "a digest of no text": (
        "UPDATE run SET content = json_merge_patch(content, '{\"labels\": 5}')::VARCHAR",
        "its digest of labels is no SHA-256",
    ),
    "a label that is not there": (
        "UPDATE run SET token_labels = token_labels || ['secret']",
        "label 'secret' stands in",
    ),
    "a label that is not named": ("UPDATE run SET token_labels = ['entity']", "label 'box' stands in"),
    "a label named twice": ("UPDATE run SET token_labels = token_labels || ['box']", "label '.*' stands in .* once"),
    "a label NULL": (
        "UPDATE run SET token_labels = token_labels || [NULL]",
        "token_labels of its manifest holds a NULL",
    ),
    "a label that is SQL": ("UPDATE run SET prompt_labels = ['a\" FROM q; --']", "label .* stands in"),
    "a role NULL": ("UPDATE run SET query_roles = [NULL]", "query_roles of its manifest holds a NULL"),
    "a label that hides": (
        "ALTER TABLE token ADD COLUMN answer VARCHAR; UPDATE run SET token_labels = token_labels || ['answer']",
        "its label answer of token cannot be called so",
    ),
    "a layer twice": ("INSERT INTO layer SELECT * FROM layer", "a number twice"),
    "a layer without a number": ("UPDATE layer SET layer = NULL WHERE layer = 1", "a number twice, or none of 0"),
    "a layer -1": ("UPDATE layer SET layer = -1 WHERE layer = 1", "a number twice, or none of 0"),
    "a scaling NaN": ("UPDATE layer SET scaling = 'nan'", "layer 0 has the scaling nan"),
    "a scaling Inf": ("UPDATE layer SET scaling = 'inf'", "layer 0 has the scaling inf"),
    "a scaling 0": ("UPDATE layer SET scaling = 0", "layer 0 has the scaling 0"),
    "no scaling": ("UPDATE layer SET scaling = NULL WHERE layer = 1", "layer 1 has the scaling None"),
    "a softcap 0": ("UPDATE layer SET softcap = 0", "layer 0 has the softcap 0"),
    "a softcap NaN": ("UPDATE layer SET softcap = 'nan'", "layer 0 has the softcap nan"),
    "a window -1": ('UPDATE layer SET "window" = -1', "layer 0 has the window -1"),
    "causal NULL": ("UPDATE layer SET causal = NULL", "layer 0 has no word on whether it is causal"),
    "a prompt beyond": (
        "UPDATE prompt SET prompt_id = 8 WHERE prompt_id = 7",
        "prompt.prompt_id is 8; possible is 0 to 7",
    ),
    "a prompt -1": ("UPDATE q SET prompt_id = -1 WHERE query_row = 1", "q.prompt_id is -1"),
    "a query beyond": ("UPDATE q SET query_row = 2000000000 WHERE query_row = 1", "q.query_row is 2000000000"),
    "a query NULL": ("UPDATE q SET query_row = NULL WHERE query_row = 1", "q.query_row is NULL"),
    "a key beyond": ("UPDATE k SET key_row = 32 WHERE key_row = 1", "k.key_row is 32; possible is 0 to 31"),
    "a key -1": ("UPDATE key_row SET key_row = -1 WHERE key_row = 1", "key_row.key_row is -1"),
    "a place NULL": ("UPDATE key_row SET pos = NULL WHERE key_row = 1", "key_row.pos is NULL"),
    "a place far off": ("UPDATE token SET pos = 2147483647 WHERE pos = 1", "token.pos is 2147483647"),
    "a split NULL": ("UPDATE prompt SET split = NULL WHERE prompt_id = 1", "prompt.split is NULL"),
    "a text NULL": ("UPDATE token SET text = NULL WHERE pos = 1", "token.text is NULL"),
    "a partner beyond": ("UPDATE q SET counterfactual_id = 10 WHERE query_row = 1", "q.counterfactual_id is 10"),
    "a text of 2 MB": ("UPDATE token SET text = repeat('x', 2000000) WHERE pos = 1", "a text of 2,000,000 bytes"),
    "a token gone": ("DELETE FROM token WHERE pos = 0", "token has .* rows of"),
    "a chance of 5": (
        "ALTER TABLE prompt ADD COLUMN answer_chance DOUBLE; UPDATE prompt SET answer_chance = 5; ALTER TABLE q ADD "
        "COLUMN answer_chance DOUBLE; ALTER TABLE k ADD COLUMN answer_chance DOUBLE; "
        "UPDATE run SET prompt_labels = prompt_labels || ['answer_chance']",
        "prompt.answer_chance is 5.0; possible is 0 to 1",
    ),
}

READ = {  # when its vectors or rows are read
    "all vectors of one row": ("UPDATE query_vector SET row = 0", "layer 0 head 0 has 8 vectors of 1 rows"),
    "one vector twice": ("UPDATE key_vector SET row = 3 WHERE row = 4", "has 32 vectors of 31 rows"),
    "a row beyond": ("UPDATE query_vector SET row = 8 WHERE row = 7", "has 7 vectors where 8 were expected"),
    "a row -1": ("UPDATE key_vector SET row = -1 WHERE row = 7", "has 31 vectors where 32 were expected"),
    "a row NULL": ("UPDATE query_vector SET row = NULL WHERE row = 7", "has 7 vectors where 8 were expected"),
    "a vector NULL": ("UPDATE query_vector SET v = NULL WHERE row = 7", "has a vector with NULL"),
    "a value NULL": ("UPDATE key_vector SET v = [1, 2, 3, 4, NULL, 6, 7, 8] WHERE row = 7", "has a vector with NULL"),
    "a value NaN": (
        "UPDATE key_vector SET v = [1, 2, 3, 4, 'nan'::FLOAT, 6, 7, 8] WHERE row = 7",
        "has vectors with NaN, Inf",
    ),
    "a value Inf": (
        "UPDATE key_vector SET v = [1, 2, 3, 4, '-inf'::FLOAT, 6, 7, 8] WHERE row = 0",
        "has vectors with NaN, Inf",
    ),
    "a value of 1e30": ("UPDATE query_vector SET v = [1, 2, 3, 4, 1e30, 6, 7, 8] WHERE row = 0", "beyond 1e.15"),
    "vectors twice": ("INSERT INTO query_vector SELECT * FROM query_vector", "has 16 vectors where 8 were expected"),
    "vectors of another layer": ("UPDATE query_vector SET layer = 7", "has 0 vectors where 8 were expected"),
    "vectors of no head": ("UPDATE key_vector SET kv_head = NULL", "has 0 vectors where 32 were expected"),
    "a log-sum-exp twice": ("INSERT INTO row_stat SELECT * FROM row_stat", "with more than one log-sum-exp"),
    "all log-sum-exps of one row": ("UPDATE row_stat SET row = 0", "with more than one log-sum-exp"),
    "a log-sum-exp beyond": ("UPDATE row_stat SET row = 1000000 WHERE row = 3", "rows without a log-sum-exp"),
    "a log-sum-exp -1": ("UPDATE row_stat SET row = -1 WHERE row = 3", "rows without a log-sum-exp"),
    "a log-sum-exp of row NULL": ("UPDATE row_stat SET row = NULL WHERE row = 3", "rows without a log-sum-exp"),
    "a log-sum-exp NULL": ("UPDATE row_stat SET logsumexp = NULL WHERE row = 3", "rows without a log-sum-exp"),
    "a log-sum-exp Inf": ("UPDATE row_stat SET logsumexp = 'inf' WHERE row = 3", "rows without a log-sum-exp"),
    "a query row twice": ("UPDATE query_row SET query_row = 2 WHERE query_row = 3", "query_row has a query_row twice"),
    "a query twice": ("UPDATE q SET query_row = 2 WHERE query_row = 3", "q has a query_row twice"),
    "a key twice": ("UPDATE k SET key_row = 0 WHERE key_row = 3", "k has a key_row twice"),
    "a prompt twice": ("UPDATE prompt SET prompt_id = 2 WHERE prompt_id = 3", "prompt 3 stands 0 times in it"),
    "a weight of another shape": ("INSERT INTO weight VALUES ('W', [2, 3], [1, 2, 3])", "weight 'W' has 3 values for"),
    "a weight of no shape": ("INSERT INTO weight VALUES ('W', NULL, [1, 2, 3])", "weight 'W' has 3 values"),
    "a weight of a shape -1": ("INSERT INTO weight VALUES ('W', [-1, 3], [1, 2, 3])", "weight 'W' has 3 values"),
    "a weight of a shape NULL": ("INSERT INTO weight VALUES ('W', [NULL, 3], [1, 2, 3])", "weight 'W' has 3 values"),
    "a weight of many sizes": (
        "INSERT INTO weight VALUES ('W', list_resize([1], 100, 1), [1])",
        "weight 'W' has 1 val",
    ),
    "a weight NULL": ("INSERT INTO weight VALUES ('W', [1], NULL)", "weight 'W' has 0 values"),
    "a weight of NaN": ("INSERT INTO weight VALUES ('W', [2], [1, NULL])", "weight 'W' has 2 values .* NaN"),
    "a measure NULL": ("INSERT INTO measure VALUES ('loss', NULL)", "measure 'loss' has no value"),
    "a measure of a name of 2 MB": ("INSERT INTO measure (name) VALUES (repeat('x', 2000000))", "x has no value"),
    "a weight of a name of 2 MB": ("INSERT INTO weight (name) VALUES (repeat('x', 2000000))", "x has 0 values"),
    "a measure of no name": ("INSERT INTO measure VALUES (NULL, 1)", "measure None has no value"),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return spoilt.place(tmp_path_factory.mktemp("hostile"))


@pytest.mark.parametrize(("sql", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_impossible_numbers_are_refused_when_a_file_is_opened(place, sql, says):
    place.spoil(sql)
    error = place.scanned()
    assert re.search(says, error), error
    assert "bad" in error


@pytest.mark.parametrize(("sql", "says"), READ.values(), ids=READ.keys())
def test_impossible_rows_are_an_error_when_they_are_read(place, sql, says):
    place.spoil(sql)
    assert place.scanned() == ""
    errors = place.read()
    assert any(re.search(says, error) for error in errors), errors
    assert all("run 'bad'" in error for error in errors), errors
