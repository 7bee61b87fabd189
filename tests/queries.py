"""A small run-like database, and SQL that must run on it with the answer given; hostile.py has what must be refused."""

from __future__ import annotations

import datetime
from decimal import Decimal as D
from pathlib import Path

import duckdb
import pytest

SCHEMA = """
    CREATE TABLE prompt
        (prompt_id INTEGER, text VARCHAR, split VARCHAR, queried_order INTEGER, started DATE, cost DECIMAL(6, 2));
    INSERT INTO prompt VALUES (0, 'jam in Z', 'train', 1, '2026-01-31', 1.50),
                              (1, 'hat in O', 'train', 2, '2026-02-01', -2.25),
                              (2, '日本 😀', 'test', 2, NULL, 3.00);
    CREATE TABLE token (prompt_id INTEGER, pos INTEGER, role VARCHAR, box VARCHAR, order_id INTEGER, span_last BOOLEAN);
    INSERT INTO token SELECT p::INTEGER, pos::INTEGER, CASE pos WHEN 4 THEN 'answer_slot' ELSE 'box' END,
        CASE WHEN pos < 4 THEN chr((65 + pos)::INTEGER) END, CASE WHEN pos < 4 THEN pos + 1 END, pos % 2 = 1
        FROM range(3) a(p), range(5) b(pos);
    CREATE TABLE key_vector (layer INTEGER, head INTEGER, "row" INTEGER, v FLOAT[4]);
    INSERT INTO key_vector SELECT 0, 0, i, [i, 1, 0, -i]::FLOAT[4] FROM range(3) r(i);
    CREATE VIEW q AS SELECT prompt_id * 5 + pos AS query_row, token.*, text, split, queried_order
        FROM token JOIN prompt USING (prompt_id);
    CREATE VIEW k AS SELECT prompt_id * 5 + pos AS key_row, token.*, split FROM token JOIN prompt USING (prompt_id);
    CREATE TABLE secret (x INTEGER); INSERT INTO secret VALUES (42);
"""
OPEN = ("prompt", "token", "key_vector", "q", "k")  # `secret` is there and not for users


def made(file: Path) -> Path:
    """The database, in a file that is not there yet."""
    with duckdb.connect(str(file)) as connection:
        connection.execute(SCHEMA)
    return file


def columns_of(path: Path) -> dict[str, list[str]]:
    """{table that is for users: its columns}."""
    with duckdb.connect(str(path), read_only=True) as connection:
        return {t: [c[0] for c in connection.execute(f"SELECT * FROM {t} LIMIT 0").description] for t in OPEN}


BENIGN = [
    ("select 1", [(1,)]),
    ("select 1;", [(1,)]),
    ("select 1 -- a comment; drop table q", [(1,)]),
    ("(select 2 as x)", [(2,)]),
    ("from prompt select prompt_id order by all", [(0,), (1,), (2,)]),
    (
        "select -3, +4, 1.5, -1.50, 1e3, 12345678901, 12345678901234567890123",
        [(-3, 4, D("1.5"), D("-1.50"), 1000.0, 12345678901, D(12345678901234567890123))],
    ),
    (
        "select true, false, null, not true, '', 'it''s', 'a -- b; c', '日本 😀', $$raw$$",
        [(True, False, None, False, "", "it's", "a -- b; c", "日本 😀", "raw")],
    ),
    (
        "select date '2026-01-31', timestamp '2026-01-31 10:00:00', interval 2 day, time '10:00'",
        [(datetime.date(2026, 1, 31), datetime.datetime(2026, 1, 31, 10), (0, 2, 0), datetime.time(10))],
    ),
    (
        "select [1, 2], [1.5, null], [], ['a', 'b'], [[1], [2]], {'a': 1}",
        [([1, 2], [D("1.5"), None], [], ["a", "b"], [[1], [2]], {"a": 1})],
    ),
    (
        "select 1e-300, 0.1::double, 0.1::float, 1/3, 7 // 2, 7 % 3, 2 ** 10",
        [(1e-300, 0.1, pytest.approx(0.1), 1 / 3, 3, 1, 1024.0)],
    ),
    (
        "select 1 + 2 * 3, (1 + 2) * 3, 10 - 4 - 3, 2 - (3 - 4), -(-1), 5 & 3, 5 | 3, 1 << 4",
        [(7, 9, 3, 3, 1, 1, 7, 16)],
    ),
    ("select count(*) from q", [(15,)]),
    ("select COUNT(*) FROM Q WHERE Role = 'box'", [(12,)]),
    ("select count(*) from q where role in ('box', 'entity') and order_id between 2 and 3", [(6,)]),
    ("select count(*) from q where role not in ('box') or order_id not between 1 and 3", [(6,)]),
    ("select count(*) from q where box is null and role is not null", [(3,)]),
    ("select count(*) from q where not span_last and not (pos = 0 or pos = 2)", [(3,)]),
    (
        "select count(*) from q where box is distinct from 'A' and span_last is true and span_last is not false",
        [(6,)],
    ),
    (
        "select text from prompt where text like 'j%' or text ilike 'HAT%' order by text",
        [("hat in O",), ("jam in Z",)],
    ),
    ("select text from prompt where text not like '%in%'", [("日本 😀",)]),
    ("select prompt_id from prompt where cost > 1.5", [(2,)]),
    ("select prompt_id from prompt where cost < 0 or started < date '2026-02-01' order by 1", [(0,), (1,)]),
    ("select started + interval 1 month from prompt where prompt_id = 0", [(datetime.datetime(2026, 2, 28),)]),
    (
        "select extract(year from started), date_part('month', started), date_trunc('year', started)::date from "
        "prompt where prompt_id = 1",
        [(2026, 2, datetime.date(2026, 1, 1))],
    ),
    (
        "select case when cost > 2 then 'dear' when cost > 0 then 'cheap' else 'gift' end from prompt order by "
        "prompt_id",
        [("cheap",), ("gift",), ("dear",)],
    ),
    ("select case split when 'test' then 1 else 0 end from prompt order by prompt_id", [(0,), (0,), (1,)]),
    (
        "select coalesce(box, '?'), nullif(pos, 0), ifnull(order_id, -1), if(pos > 3, 'last', 'not') from q where "
        "prompt_id = 0 and pos in (0, 4) order by pos",
        [("A", None, 1, "not"), ("?", 4, -1, "last")],
    ),
    (
        "select pos::varchar || '-' || cast(prompt_id as text), try_cast(role as int), pos::double, cost::int "
        "from token join prompt using (prompt_id) where prompt_id = 1 and pos = 2",
        [("2-1", None, 2.0, -2)],
    ),
    (
        "select upper(text), lower(text), length(text), substr(text, 1, 3), left(text, 1), right(text, 1), trim(' "
        " a ') from prompt where prompt_id = 0",
        [("JAM IN Z", "jam in z", 8, "jam", "j", "Z", "a")],
    ),
    (
        "select position('in' in text), substring(text from 1 for 3), text[1], text[1:3], starts_with(text, "
        "'jam'), contains(text, 'in'), split_part(text, ' ', 3) from prompt where prompt_id = 0",
        [(5, "jam", "j", "jam", True, True, "Z")],
    ),
    (
        "select concat(text, '!', null), concat_ws('/', 'a', 'b'), reverse('abc'), ascii('A'), strip_accents('é') "
        "from prompt where prompt_id = 0",
        [("jam in Z!", "a/b", "cba", 65, "e")],
    ),
    (
        "select round(2.567, 1)::double, abs(-2), sqrt(9.0), floor(1.5)::int, ceil(1.5)::int, greatest(1, 3, 2), "
        "least(1, 3, 2), sign(-3)",
        [(2.6, 2, 3.0, 1, 2, 3, 1, -1)],
    ),
    (
        "select split, count(*) as n, sum(cost), min(text), avg(queried_order) from prompt group by split having "
        "count(*) > 1",
        [("train", 2, D("-0.75"), "hat in O", 1.5)],
    ),
    ("select split, count(*) from prompt group by all order by 2 desc, 1 limit 1", [("train", 2)]),
    (
        "select count(distinct box), count(box) filter (where pos > 1), string_agg(distinct box, ',' order by box "
        "desc) from q",
        [(4, 6, "D,C,B,A")],
    ),
    (
        "select list(pos order by pos desc), median(pos), arg_max(box, pos), quantile_cont(pos, 0.5), mode(role), "
        "bool_or(span_last) from q where prompt_id = 0",
        [([4, 3, 2, 1, 0], 2.0, "D", 2.0, "box", True)],
    ),
    (
        "select corr(pos, order_id), stddev_pop(pos), var_samp(pos) from q where prompt_id = 0 and pos < 4",
        [(pytest.approx(1.0), pytest.approx(1.118, abs=1e-3), pytest.approx(5 / 3))],
    ),
    (
        "select split, grouping(split), count(*) from prompt group by rollup (split) order by 2, 1",
        [("test", 0, 1), ("train", 0, 2), (None, 1, 3)],
    ),
    (
        "select prompt_id, row_number() over (partition by split order by cost desc) from prompt order by 1",
        [(0, 1), (1, 2), (2, 1)],
    ),
    (
        "select sum(pos) over (order by pos rows between 1 preceding and current row), lag(pos, 1, -1) over w, "
        "first_value(box) over w, rank() over w from q where prompt_id = 0 window w as (order by pos) order by "
        "pos limit 2",
        [(0, -1, "A", 1), (1, 0, "A", 2)],
    ),
    ("select box from q where prompt_id = 0 qualify row_number() over (order by pos desc) = 2", [("D",)]),
    (
        "select q.box, k.box from q join k on k.prompt_id = q.prompt_id and k.order_id = q.order_id + 1 where "
        "q.prompt_id = 1 order by 1",
        [("A", "B"), ("B", "C"), ("C", "D")],
    ),
    (
        "select p.prompt_id, t.box from prompt p left join token t on t.prompt_id = p.prompt_id and t.pos = "
        "p.queried_order + 2 order by 1",
        [(0, "D"), (1, None), (2, None)],
    ),
    (
        "select count(*) from q, k where k.prompt_id = q.prompt_id and q.role = 'answer_slot' and k.role = 'box' "
        "and k.order_id = q.queried_order",
        [(3,)],
    ),
    (
        "select a.prompt_id from prompt a semi join token t on t.prompt_id = a.prompt_id order by 1",
        [(0,), (1,), (2,)],
    ),
    (
        "select a.prompt_id from prompt a anti join (select 1 as prompt_id) b using (prompt_id) order by 1",
        [(0,), (2,)],
    ),
    (
        "with boxes as (select * from token where role = 'box'), n(prompt_id, c) as (select prompt_id, count(*) "
        "from boxes group by 1) select * from n order by 1",
        [(0, 4), (1, 4), (2, 4)],
    ),
    (
        "with a as materialized (select 1 as x) select (with b as (select x + 1 as y from a) select y from b), x "
        "from a",
        [(2, 1)],
    ),
    ("with secret as (select 7 as x) select x from secret", [(7,)]),
    ("select prompt_id from prompt where cost = (select max(cost) from prompt)", [(2,)]),
    (
        "select prompt_id from prompt p where exists (select 1 from token t where t.prompt_id = p.queried_order "
        "and t.pos = 0) order by 1",
        [(0,), (1,), (2,)],
    ),
    (
        "select prompt_id from prompt where prompt_id in (select queried_order from prompt) and prompt_id not in "
        "(select 2)",
        [(1,)],
    ),
    ("select count(*) from token where (prompt_id, pos) in (select prompt_id, queried_order from prompt)", [(3,)]),
    ("select n from prompt p, lateral (select p.prompt_id * 2 as n) order by n desc limit 1", [(4,)]),
    ("select split from prompt union select 'dev' order by 1", [("dev",), ("test",), ("train",)]),
    ("select prompt_id from prompt except select 1 intersect select 1 order by 1", [(0,), (2,)]),
    ("select distinct split from prompt order by split desc", [("train",), ("test",)]),
    (
        "select distinct on (split) split, prompt_id from prompt order by split, prompt_id desc",
        [("test", 2), ("train", 1)],
    ),
    (
        "select * exclude (text, started, cost), text as \"the text\" from prompt order by prompt_id desc limit 1",
        [(2, "test", 2, "日本 😀")],
    ),
    (
        "select * replace (upper(split) as split) from (select prompt_id, split from prompt) order by 1 limit 1 "
        "offset 1",
        [(1, "TRAIN")],
    ),
    ("select p.* from (select prompt_id, split from prompt) as p order by 1 nulls last limit 1", [(0, "train")]),
    ("select * from (values (1, 'a'), (2, 'b')) as t(x, y) order by x desc", [(2, "b"), (1, "a")]),
    ("select \"row\", v from key_vector where layer = 0 and head = 0 and \"row\" = 2", [(2, [2.0, 1.0, 0.0, -2.0])]),
    (
        "select array_inner_product(v, v), array_inner_product(v, [1, 2, 3, 4]::float[4]), v[1], "
        "list_sum(v::float[]) from key_vector order by \"row\" desc limit 1",
        [(9.0, -4.0, 2.0, 1.0)],
    ),
    (
        "select array_cosine_similarity(a.v, b.v), array_distance(a.v, b.v), a.v <-> b.v from key_vector a, "
        "key_vector b where a.\"row\" = 0 and b.\"row\" = 1",
        [(pytest.approx(3**-0.5), pytest.approx(2**0.5), pytest.approx(2**0.5))],
    ),
    ("select unnest(v) from key_vector where \"row\" = 1", [(1.0,), (1.0,), (0.0,), (-1.0,)]),
    (
        "select 2 in [1, 2], list_contains([1, 2], 3), len([1, 2, 3]), [3, 4][2], list_position(['a', 'b'], 'b'), "
        "list_sort([2, 1])",
        [(True, False, 3, 4, 2, [1, 2])],
    ),
    ("select hash(pos) % 2 = hash(pos) % 2 and random() < 1 from q limit 1", [(True,)]),
    ("select x: 1, 'a' as \"weird \"\"name\"\"\"", [(1, "a")]),
    ("select 1 where null is null and 1 = any(select 1) and 2 > all(select 1)", [(1,)]),
]  # fmt: skip

PREDICATES = [
    ("k.prompt_id = q.prompt_id and k.role = 'box' and q.role = 'answer_slot' and k.order_id = q.queried_order", 3),
    ("q.query_row = 0", 15),
    ("K.Prompt_ID = Q.prompt_id and q.pos = 0 -- same prompt", 15),
    ("true", 225),
    ("q.pos = 0 and k.box in ('A', 'B') or q.pos = 1 and not k.span_last and k.pos = 4", 18 + 9),
    ("q.pos = 0 and q.prompt_id = 0 and k.order_id between 2 and 3", 6),
    ("q.prompt_id = 0 and q.pos = 4 and hash(k.key_row) = hash(k.key_row)", 15),
    ("q.query_row = (select min(p.prompt_id) from prompt as p)", 15),
    (
        "q.query_row = 4 and exists (select 1 from k as other where other.key_row = k.key_row + 1 and "
        "other.prompt_id = k.prompt_id)",
        12,
    ),
    ("q.query_row = 4 and k.prompt_id in (select p.prompt_id from prompt as p where p.split = q.split)", 10),
    ("q.text = '日本 😀' and k.pos + 1 = 1", 15),
    ("q.text like 'jam%' and q.pos = 4 and case when k.pos > 2 then k.split = 'test' else k.split <> 'test' end", 8),
]  # fmt: skip
