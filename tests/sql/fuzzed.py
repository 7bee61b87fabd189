"""Typed SQL as a machine would try it: words of the grammar in any order, and what people wrote, cut and put together.

python -m tests.sql.fuzzed 1200     # seconds; from the root of a clone, with tests/ on the path
"""

from __future__ import annotations

import random

from benign import ANALYSES, PAIRED
from hostile import COSTLY, DEAR, HOSTILE, HOSTILE_PREDICATES, nested
from queries import BENIGN, PREDICATES

WORDS = """
select from where group by order having limit offset union all intersect except with as materialized recursive join
left lateral on using exists in not and or is null distinct case when then else end between like ilike similar to any
cast try_cast over partition rows preceding following filter within values pivot unpivot for describe summarize show
tables table lambda array map struct columns exclude replace rename tablesample sample repeatable qualify window
attach copy install load set pragma call export import insert update delete create drop
q k q.pos k.pos q.role k.role k.order_id q.text prompt token secret secret.x main.secret small.main.secret
count( sum( list( unnest( range( read_csv( read_text( glob( getenv( query( list_transform( list_filter( random( row(
first( any_value( array_agg( regexp_matches( repeat( lpad( map( current_setting( duckdb_tables( struct_pack( x -> y ->
( ) [ ] { } , ; : :: . .. * + - / // % ** || = == <> != < > <= >= ~ !~ -> ->> ? $1 # @ 'a' 'box' '' '/etc/passwd' 1 0 -1
1e400 9223372036854775808 0x1F true false null "pos" "secret" -- /* */ $$ E'\\n' interval date timestamp float[4] json
""".split()
CORPUS = [*HOSTILE, *HOSTILE_PREDICATES, *COSTLY[:12], *DEAR, nested(8)]
CORPUS += [sql for sql, _ in BENIGN + ANALYSES] + [text for text, _ in PREDICATES + PAIRED]
CORPUS = [text for text in CORPUS if len(text) < 3000]


def text(rng: random.Random) -> str:
    """One text to try."""
    kind = rng.random()
    if kind < 0.3:
        return " ".join(rng.choices(WORDS, k=rng.randint(1, 30)))
    one, other = rng.sample(CORPUS, 2)
    if kind < 0.5:  # words of one among those of another
        a, b = one.split(" "), other.split(" ")
        at = rng.randint(0, len(a))
        return " ".join(a[:at] + b[rng.randint(0, len(b)) :] + (a[at:] if rng.random() < 0.5 else []))
    if kind < 0.65:
        return f"{one[: rng.randint(0, len(one))]}{rng.choice([' ', '(', ')', ';', ' -- ', '/*'])}{other}"
    if kind < 0.8:
        words = one.split(" ")
        for _ in range(rng.randint(1, 4)):
            words[rng.randrange(len(words))] = rng.choice(WORDS)
        return " ".join(words)
    if kind < 0.9:
        return f"select * from ({one}) as t, ({other}) as u" if rng.random() < 0.5 else f"exists ({one}) or ({other})"
    letters = list(one)
    for _ in range(rng.randint(1, 6)):
        letters.insert(rng.randint(0, len(letters)), chr(rng.choice([*range(32, 127), 0, 9, 0x202E, 0x3000, 0xFF08])))
    return "".join(letters)
