"""The sides of every contrast, q and k: a stored row with its token's and its prompt's columns, and what they tell.

docs/storage.md describes each column.
"""

from __future__ import annotations

from collections.abc import Iterable

from qkstore.run.schema import PROMPT, ROW, RUN_VERSION, TOKEN, columns, quoted

# What q and k have of a token and of its prompt, besides the labels.
OF_TOKEN = ("token_id", "text", "role", "span", "span_last")
OF_PROMPT = ("id", "split", "variant", "counterfactual_id", "answer")

# What publication makes of the tokens of any run, for q and k; a data set's own label of such a name is kept instead.
MADE_SINCE = 3
MADE = {
    "token_before": "INTEGER",
    "token_after": "INTEGER",
    "text_before": "VARCHAR",
    "text_after": "VARCHAR",
    "occurred_before": "BOOLEAN",
    "word_start": "BOOLEAN",
    "punctuation": "BOOLEAN",
}
BLANKS = r"[\s\pZ]*"
MARK = r"[\pP$+<=>^`|~]"  # what Unicode calls punctuation, and ASCII's symbols
INSIDE = r"([\pL\pN\pM_]|[\pL\pN][''\x{2019}])$"  # what a word goes on behind; behind an apostrophe too, as in don't

# Of some whole prompts, with their tokens that are not stored.
MADE_OF_TOKENS = rf"""
    WITH placed AS (
        SELECT prompt_id, pos, token_id, text, char_end, char_end > char_start AS written,
            char_start + length(regexp_extract(text, '^{BLANKS}')) AS first
        FROM token WHERE prompt_id BETWEEN $first AND $last
    ),
    told AS (
        SELECT t.*, written AND regexp_matches(t.text, '^{BLANKS}[\pL\pN]')
            AND NOT regexp_matches(substr(p.text, greatest(first - 1, 1), least(first, 2)), '{INSIDE}') AS begins
        FROM placed AS t JOIN prompt AS p ON p.prompt_id = t.prompt_id
    ),
    made AS (
        SELECT prompt_id, pos,
            lag(token_id) OVER prompt AS token_before,
            lead(token_id) OVER prompt AS token_after,
            lag(text) OVER prompt AS text_before,
            lead(text) OVER prompt AS text_after,
            CASE WHEN token_id IS NOT NULL
                THEN row_number() OVER (PARTITION BY prompt_id, token_id ORDER BY pos) > 1 END AS occurred_before,
            begins AND coalesce(lag(char_end) OVER prompt, 0) <= first AS word_start,
            written AND regexp_full_match(text, '{BLANKS}({MARK}{BLANKS})+') AS punctuation
        FROM told WINDOW prompt AS (PARTITION BY prompt_id ORDER BY pos)
    )
"""


def made(labels: Iterable[str], version: int = RUN_VERSION) -> tuple[str, ...]:
    """The names of MADE that q and k of a run have: none in an older one, and none that a label of its data set has."""
    taken = {name.lower() for name in labels}  # SQL takes Punctuation and punctuation for one
    return tuple(name for name in MADE if version >= MADE_SINCE and name not in taken)


def side_tables(token_labels: dict[str, str], prompt_labels: dict[str, str]) -> list[str]:
    """The statements that make the empty sides of every contrast, q and k; labels are {name: DuckDB type}."""
    tables = side_columns(token_labels, prompt_labels)
    return [f"CREATE TABLE {table} ({columns(spec)})" for table, spec in tables.items()]


def side_rows(token_labels: Iterable[str], prompt_labels: Iterable[str]) -> list[str]:
    """The statements that fill q and k with the rows of prompts $first to $last, once the labels are in."""
    return [_side(*side, [*token_labels], [*prompt_labels]) for side in (("q", "query_row"), ("k", "key_row"))]


def side_columns(
    token_labels: dict[str, str], prompt_labels: dict[str, str], version: int = RUN_VERSION
) -> dict[str, dict[str, str]]:
    """{table: {column: DuckDB type}} of `q` and `k`; labels are {name: DuckDB type}."""
    token = {"token" if name == "text" else name: TOKEN[name] for name in OF_TOKEN}
    own = ROW | token | {name: MADE[name] for name in made([*token_labels, *prompt_labels], version)}
    own |= {name: PROMPT[name] for name in OF_PROMPT} | token_labels | prompt_labels
    return {"q": {"query_row": "INTEGER"} | own, "k": {"key_row": "INTEGER"} | own}


def _side(alias: str, rows: str, token_labels: list[str], prompt_labels: list[str]) -> str:
    """A stored row with its token's and its prompt's columns: a table, for a join of it takes 2 to 3 times as long."""
    names = [f"r.{rows}", "r.prompt_id", "r.pos"]
    names += [f"t.{name}" + (" AS token" if name == "text" else "") for name in OF_TOKEN]
    names += [f"m.{name}" for name in made([*token_labels, *prompt_labels])]
    names += [f"p.{name}" for name in OF_PROMPT]
    names += [f"t.{quoted(name)}" for name in token_labels] + [f"p.{quoted(name)}" for name in prompt_labels]
    return (
        f"INSERT INTO {alias} {MADE_OF_TOKENS} SELECT {', '.join(names)} FROM {rows} AS r "
        "JOIN token AS t ON t.prompt_id = r.prompt_id AND t.pos = r.pos "
        "JOIN made AS m ON m.prompt_id = r.prompt_id AND m.pos = r.pos "
        "JOIN prompt AS p ON p.prompt_id = r.prompt_id "
        f"WHERE r.prompt_id BETWEEN $first AND $last ORDER BY r.{rows}"
    )
