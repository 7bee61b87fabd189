"""SQL of real analysis, with its answer: what people write over a run once a comparison of labels is not enough.

Over the small run-like database of queries.py, whose keys 0, 1, 2 have vectors [row, 1, 0, -row].
"""

from __future__ import annotations

import pytest

ROOT = pytest.approx(2**0.5)  # a sum of floats

ANALYSES = [
    # coordinates of vectors
    ("select i, avg(x) from key_vector, unnest(v::float[]) with ordinality as t(x, i) group by i order by i",
     [(1, 1.0), (2, 1.0), (3, 0.0), (4, -1.0)]),
    ("select d, avg(v[d]) from key_vector, range(1, 5) r(d) group by d order by d",
     [(1, 1.0), (2, 1.0), (3, 0.0), (4, -1.0)]),
    ("select d, stddev_pop(v[d]) from key_vector, generate_series(1, 2) g(d) group by d order by d",
     [(1, 0.816496580927726), (2, 0.0)]),
    ("select generate_subscripts(v, 1) as d from key_vector where \"row\" = 0", [(1,), (2,), (3,), (4,)]),
    ("select \"row\", unnest(v) x, generate_subscripts(v, 1) d from key_vector where \"row\" = 1 order by d",
     [(1, 1.0, 1), (1, 1.0, 2), (1, 0.0, 3), (1, -1.0, 4)]),
    ("select list_sum(list_transform(v, lambda x: x * x)) from key_vector order by \"row\"", [(1.0,), (3.0,), (9.0,)]),
    ("select sqrt(list_sum([x * x for x in v])) from key_vector order by \"row\"", [(1.0,), (3**0.5,), (3.0,)]),
    ("select list_filter(v, x -> x > 0) from key_vector order by \"row\"", [([1.0],), ([1.0, 1.0],), ([2.0, 1.0],)]),
    ("select list_reduce(v, (a, b) -> a + b) from key_vector order by \"row\"", [(1.0,), (1.0,), (1.0,)]),
    ("select [x for x in v if x <> 0] from key_vector where \"row\" = 2", [([2.0, 1.0, -2.0],)]),
    ("select list_max([abs(x) for x in v]) from key_vector order by \"row\"", [(1.0,), (1.0,), (2.0,)]),
    ("select list_transform(list_zip(a.v, b.v), p -> p[1] * p[2]) from key_vector a, key_vector b "
     "where a.\"row\" = 1 and b.\"row\" = 2", [([2.0, 1.0, 0.0, 2.0],)]),
    ("select list_sum(list_transform(list_zip(a.v, b.v), p -> p[1] * p[2])) from key_vector a, key_vector b "
     "where a.\"row\" = 1 and b.\"row\" = 2", [(5.0,)]),
    ("select list_position(v, list_max(v)) from key_vector order by \"row\"", [(2,), (1,), (1,)]),
    ("select list_grade_up(v)[1] from key_vector where \"row\" = 2", [(4,)]),
    ("select array_to_string(list_transform(v, x -> printf('%.1f', x)), ' ') from key_vector where \"row\" = 1",
     [("1.0 1.0 0.0 -1.0",)]),
    ("select list_transform(range(1, 4), lambda x, i: x * i)", [([1, 4, 9],)]),
    ("select list_where([1, 2, 3], [true, false, true]), list_select([5, 6, 7], [3, 1])", [([1, 3], [7, 5])]),
    ("select flatten([[1], [2, 3]]), list_resize([1], 3, 0)", [([1, 2, 3], [1, 0, 0])]),
    ("select list_append([1], 2), list_prepend(0, [1]), list_intersect([1, 2], [2, 3])", [([1, 2], [0, 1], [2])]),
    ("select max(array_inner_product(a.v, b.v)) from key_vector a, key_vector b where a.\"row\" < b.\"row\"", [(5.0,)]),
    ("select b.\"row\" from key_vector a, key_vector b where a.\"row\" = 2 and b.\"row\" <> 2 "
     "order by array_cosine_similarity(a.v, b.v) desc limit 1", [(1,)]),
    ("with m as (select i, avg(x) mean from key_vector, unnest(v::float[]) with ordinality t(x, i) group by i) "
     "select list(mean order by i) from m", [([1.0, 1.0, 0.0, -1.0],)]),
    ("with m as (select list(mean order by i)::float[4] mu from (select i, avg(x) mean from key_vector, "
     "unnest(v::float[]) with ordinality t(x, i) group by i)) select \"row\", array_distance(v, mu) from key_vector, m "
     "order by 1", [(0, ROOT), (1, 0.0), (2, ROOT)]),
    ("select quantile_cont(x, [0.25, 0.5]) from key_vector, unnest(v::float[]) t(x)", [([0.0, 0.0],)]),
    ("select histogram(x::int) from (select unnest(v) x from key_vector)",
     [([(-2, 1), (-1, 1), (0, 5), (1, 4), (2, 1)],)]),
    ("select corr(a.x, b.x) from (select \"row\", i, x from key_vector, unnest(v::float[]) with ordinality t(x, i)) a "
     "join (select \"row\", i, x from key_vector, unnest(v::float[]) with ordinality t(x, i)) b using (\"row\") "
     "where a.i = 1 and b.i = 4", [(-1.0,)]),
    # texts
    ("select replace(text, 'jam', 'tea') from prompt where prompt_id = 0", [("tea in Z",)]),
    ("select regexp_matches(text, '^j'), regexp_extract(text, '(\\w+)$', 1) from prompt where prompt_id = 0",
     [(True, "Z")]),
    ("select text from prompt where text similar to '[jh].*' order by 1", [("hat in O",), ("jam in Z",)]),
    ("select text from prompt where text ~ '.*O'", [("hat in O",)]),
    ("select regexp_replace(text, '\\s+', '_', 'g') from prompt where prompt_id = 1", [("hat_in_O",)]),
    ("select regexp_extract_all(text, '[a-z]+') from prompt where prompt_id = 1", [(["hat", "in"],)]),
    ("select regexp_split_to_array(text, ' ') from prompt where prompt_id = 1", [(["hat", "in", "O"],)]),
    ("select lpad(pos::varchar, 3, '0'), rpad('a', 3, '.') from q where query_row = 4", [("004", "a..")]),
    ("select format('{}-{:02d}', role, pos) from q where query_row = 4", [("answer_slot-04",)]),
    ("select printf('%d of %s', 3, 'x')", [("3 of x",)]),
    ("select repeat('ab', 3), hex('a'), sha256('a')[1:4]", [("ababab", "61", "ca97")]),
    ("select levenshtein('jam', 'ham'), jaccard('abc', 'abd') > 0.4, hamming('ab', 'aa')", [(1, True, 1)]),
    ("select role.upper() from q where query_row = 4", [("ANSWER_SLOT",)]),
    ("select q.role.trim().length() from q where query_row = 4", [(11,)]),
    ("select prompt.text.split_part(' ', 1) from prompt where prompt_id = 0", [("jam",)]),
    ("select string_split(text, ' ')[-1] from prompt where prompt_id = 0", [("Z",)]),
    ("select list_transform(string_split(text, ' '), w -> upper(w)) from prompt where prompt_id = 0",
     [(["JAM", "IN", "Z"],)]),
    ("select word, count(*) from (select unnest(string_split(text, ' ')) word from prompt) group by 1 order by "
     "2 desc, 1 "
     "limit 1", [("in", 2)]),
    ("select '{\"a\": {\"b\": 5}}' ->> '$.a.b'", [("5",)]),
    ("select text like 'jam%' or text like 'hat%' from prompt where prompt_id = 2", [(False,)]),
    ("select map {'a': 1, 'b': 2}['b'], map_keys(map {'a': 1}), cardinality(map {'a': 1})", [(2, ["a"], 1)]),
    ("select element_at(map {'x': 7}, 'x'), map_contains(map {'x': 7}, 'y')", [([7], False)]),
    ("select h['box'] from (select histogram(role) h from q)", [(12,)]),
    # sets and membership
    ("select prompt_id from prompt where prompt_id = any([0, 2]) order by 1", [(0,), (2,)]),
    ("select prompt_id from prompt where prompt_id <> all([0, 2])", [(1,)]),
    ("select prompt_id from prompt where prompt_id in (values (1), (2)) order by 1", [(1,), (2,)]),
    ("select count(*) from q where (prompt_id, pos) in (values (0, 1), (2, 4))", [(2,)]),
    ("select prompt_id from prompt where split in ['test', 'dev']", [(2,)]),
    ("select count(*) from q where role = any(select role from token where pos = 4)", [(3,)]),
    # tables turned
    ("select * from (select prompt_id, role from q) pivot (count(*) for role in ('box', 'answer_slot')) order by 1",
     [(0, 4, 1), (1, 4, 1), (2, 4, 1)]),
    ("pivot (select prompt_id, role, pos from q) on role in ('box', 'answer_slot') using max(pos) group by prompt_id "
     "order by prompt_id", [(0, 3, 4), (1, 3, 4), (2, 3, 4)]),
    ("select name, value from (unpivot (select prompt_id, pos from q where query_row = 4) on prompt_id, pos) "
     "order by 1",
     [("pos", 4), ("prompt_id", 0)]),
    ("unpivot (select 1 a, 2 b) on columns(*) into name n value v", [("a", 1), ("b", 2)]),
    ("select column_name from (describe prompt) limit 2", [("prompt_id",), ("text",)]),
    ("select column_name from (describe select pos, role from q)", [("pos",), ("role",)]),
    ("select column_name, min, max from (summarize select pos from q)", [("pos", "0", "4")]),
    ("select count(*) from (summarize prompt)", [(6,)]),
    ("show tables", [("k",), ("key_vector",), ("prompt",), ("q",), ("token",)]),
    ("select columns('.*_id') from q where query_row = 7", [(1, 3)]),
    ("select min(columns(['pos', 'prompt_id'])) from q", [(0, 0)]),
    ("select columns(c -> c like 'p%') from q where query_row = 7", [(1, 2)]),
    ("select max(columns(* exclude (role, box, text, split))) from q", [(14, 2, 4, 4, True, 2)]),
    ("select count(*) from (select * from q using sample reservoir(5 rows) repeatable (3))", [(5,)]),
    ("select count(*) <= 15 from q tablesample bernoulli(50 percent) repeatable (1)", [(True,)]),
    ("select count(*) from (select * from q using sample 4)", [(4,)]),
    # numbers of pairs, windows, groups
    ("select count(*) from range(10)", [(10,)]),
    ("select sum(i) from range(1, 101) r(i)", [(5050,)]),
    ("select d.i, count(t.pos) from range(0, 6) d(i) left join token t on t.pos = d.i group by 1 order by 1",
     [(0, 3), (1, 3), (2, 3), (3, 3), (4, 3), (5, 0)]),
    ("select len(generate_series(1, 5)), range(3), generate_series(0, 10, 5)", [(5, [0, 1, 2], [0, 5, 10])]),
    ("select avg(pos) filter (where role = 'box'), count(*) filter (where span_last) from q", [(1.5, 6)]),
    ("select role, avg(pos) from q group by grouping sets ((role), ()) order by 1 nulls last",
     [("answer_slot", 4.0), ("box", 1.5), (None, 2.0)]),
    ("select split, role, count(*) from q group by cube (split, role) order by 3 desc limit 2",
     [(None, None, 15), (None, "box", 12)]),
    ("select pos, sum(pos) over (partition by prompt_id order by pos) from q where prompt_id = 1 order by pos",
     [(0, 0), (1, 1), (2, 3), (3, 6), (4, 10)]),
    ("select pos - lag(pos) over (order by pos) from q where prompt_id = 0 qualify lag(pos) over (order by pos) = 3",
     [(1,)]),
    ("select ntile(2) over (order by query_row) from q where prompt_id = 0 order by query_row limit 1", [(1,)]),
    ("select prompt_id, arg_max(box, pos) from q group by 1 order by 1", [(0, "D"), (1, "D"), (2, "D")]),
    ("select arg_max(text, cost) from prompt", [("日本 😀",)]),
    ("select (select count(*) from q where q.prompt_id = p.prompt_id) from prompt p order by p.prompt_id",
     [(5,), (5,), (5,)]),
    ("select entropy(role) > 0.7, mode(role) from q", [(True, "box")]),
    ("select regr_slope(order_id, pos), covar_pop(order_id, pos) from q", [(1.0, 1.25)]),
    ("select epoch_ms(timestamp '1970-01-01 00:00:01'), date_diff('day', date '2026-01-01', date '2026-02-01')",
     [(1000, 31)]),
    ("select exists (select * from token where pos = 4), not exists (from token where pos = 9)", [(True, True)]),
]  # fmt: skip

PAIRED = [  # conditions, and how many pairs of the small database they select
    ("q.query_row = 4 and list_contains(list_transform([1, 2], x -> x + 1), k.pos)", 6),
    ("q.query_row = 4 and k.pos = any([1, 2])", 6),
    ("q.query_row = 4 and k.pos in (select unnest([0, 1]))", 6),
    ("q.query_row = 4 and k.pos in (values (0), (4))", 6),
    ("q.query_row = 4 and k.role.length() = 3", 12),
    ("q.query_row = 4 and q.text.upper() = 'JAM IN Z' and k.pos = 1", 3),
    ("q.query_row = 4 and regexp_matches(k.role, 'b.x')", 12),
    ("q.query_row = 4 and k.role similar to 'b.*'", 12),
    ("q.query_row = 4 and k.role ~ 'bo.'", 12),
    ("q.query_row = 4 and replace(k.role, 'box', 'lid') = 'lid'", 12),
    ("q.query_row = 4 and lpad(k.pos::varchar, 2, '0') = '03'", 3),
    ("q.query_row = 4 and exists (select * from token as t where t.pos = k.pos and t.role = 'answer_slot')", 3),
    ("q.query_row = 4 and exists (from prompt as p where p.prompt_id = k.prompt_id and p.cost > 2)", 5),
    ("q.query_row = 4 and k.key_row in (select v.\"row\" from key_vector as v where v.v[1] > 0)", 2),
    ("q.query_row = 4 and exists (select 1 from range(2) as r(i) where r.i = k.pos)", 6),
    ("q.query_row = 4 and k.pos < (select count(*) from generate_series(1, 2) as g)", 6),
    ("q.query_row = 4 and k.pos = (select t.pos from token as t order by t.pos desc, t.prompt_id limit 1)", 3),
    ("q.query_row = 4 and k.prompt_id in (select p.prompt_id from prompt as p where p.text like 'jam%')", 5),
    ("q.query_row = 4 and map {'A': true}[k.box]", 3),
    ("q.query_row = 4 and k.box in ['A', 'C'] and abs(k.pos - q.pos) > 2", 3),
    ("q.query_row = 4 and hash(k.key_row) % 2 in (0, 1)", 15),
    ("q.query_row = 4 and levenshtein(coalesce(k.box, ''), 'A') = 0", 3),
    ("q.query_row = 4 and k.pos between list_min([1, 3]) and list_max([1, 3])", 9),
    ("q.query_row = 4 and format('{}', k.pos) = '2'", 3),
    ("q.query_row = 4 and [x for x in [k.pos] if x > 2] = [3]", 3),
    ("q.query_row = 4 and list_reduce([k.pos, 1], (a, b) -> a + b) = 3", 3),
]  # fmt: skip
