"""The refusal of queries that would give other rows for the same rows: those that ask for the time, for chance, or for
what is outside of the tables.

DuckDB's own catalogue says of each function whether it answers the same each time; what a query calls, its parse tree
tells. A macro is what its definition calls.
"""

import json
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from components.plumbing.errors import SourceError

if TYPE_CHECKING:
    import duckdb

    Connection = duckdb.DuckDBPyConnection

HARMLESS = frozenset(("error",))
"""Functions that DuckDB calls volatile although they give no value."""
MISTAKEN = frozenset(("current_localtime", "current_localtimestamp"))
"""Functions of the time that DuckDB 2.0 says to be consistent; `age(time)`, which counts from today, is another."""
OF_VALUES = frozenset(("range", "generate_series", "unnest", "json_each", "json_tree", "repeat", "repeat_row"))
"""The table functions, of which the catalogue says nothing, that make rows of their arguments alone."""
PREFIXES = ("", "get_", "current_")
"""By which the names of SQL's keywords of the time (`current_time`, `localtime`) become those of functions."""


def check_repeatable(con: "Connection", query: str) -> None:
    """Raise SourceError where a query may give other rows each time that it runs over the same ones."""
    tree = parsed(con, query)
    columns = {name.lower() for (name,) in con.execute("SELECT column_name FROM duckdb_columns()").fetchall()}
    columns |= {str(node["alias"]).lower() for node in nodes_of(tree) if node.get("alias")}
    unstable = unstable_functions(con)
    tables = table_functions(con) - OF_VALUES
    for node in nodes_of(tree):
        if named := unstable_call(node, unstable, columns):
            raise SourceError(
                f"ingest.query calls {named}, which answers otherwise each time, so that the same rows would not give "
                "the same: take the value from the source, or write it into the query; hash(text) stands for chance"
            )
        if (name := table_call(node)) in tables:
            raise SourceError(
                f"ingest.query calls {name}(), but a query may read the tables 'source' and 'feedback' alone; what "
                "else it needs belongs into ingest.source"
            )
        sample = node.get("sample")
        if isinstance(sample, dict) and not sample.get("repeatable"):
            raise SourceError(
                "ingest.query draws a sample, other rows each time; say a seed: USING SAMPLE reservoir(1000 ROWS) "
                "REPEATABLE (0)"
            )


def parsed(con: "Connection", query: str) -> Any:
    """Return the parse tree of a SELECT as DuckDB writes it; an empty one where it does not parse."""
    row = con.execute("SELECT json_serialize_sql(?::VARCHAR)", [query]).fetchone()
    return json.loads(row[0]) if row else {}


def nodes_of(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        yield tree
        for value in tree.values():
            yield from nodes_of(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from nodes_of(value)


def unstable_functions(con: "Connection") -> frozenset[str]:
    """Return the names of the functions, and of the macros that call one, that do not answer the same each time."""
    named = con.execute(
        "SELECT DISTINCT function_name FROM duckdb_functions() "
        "WHERE stability IN ('VOLATILE', 'CONSISTENT_WITHIN_QUERY')"
    ).fetchall()
    found = frozenset(name for (name,) in named) - HARMLESS | MISTAKEN
    macros = con.execute(
        "SELECT function_name, macro_definition FROM duckdb_functions() "
        "WHERE function_type IN ('macro', 'table_macro') AND macro_definition IS NOT NULL"
    ).fetchall()
    calls = {
        name: parsed(con, definition if is_query(definition) else f"SELECT {definition}") for name, definition in macros
    }
    while True:
        told = partial(unstable_call, unstable=found, columns=frozenset())
        more = {name for name, tree in calls.items() if name not in found and any(map(told, nodes_of(tree)))}
        if not more:
            return found
        found |= more


def is_query(definition: str) -> bool:
    return definition.lstrip("( ").upper().startswith(("SELECT", "WITH", "FROM"))


def unstable_call(node: dict[str, Any], unstable: frozenset[str], columns: set[str] | frozenset[str]) -> str | None:
    """Return how a node of a parse tree calls a function that does not answer the same each time, or None."""
    if node.get("class") == "FUNCTION":
        name = str(node.get("function_name", "")).lower()
        is_of_today = name == "age" and len(node.get("arguments", ())) == 1
        return f"{name}()" if name in unstable or is_of_today else None
    if node.get("class") == "COLUMN_REF" and len(node.get("column_names", ())) == 1:
        name = str(node["column_names"][0]).lower()
        is_keyword = name.startswith(("current_", "local")) and name not in columns
        if is_keyword and any(prefix + name in unstable for prefix in PREFIXES):
            return name
    return None


def table_functions(con: "Connection") -> frozenset[str]:
    named = con.execute(
        "SELECT DISTINCT function_name FROM duckdb_functions() WHERE function_type = 'table'"
    ).fetchall()
    return frozenset(name for (name,) in named)


def table_call(node: dict[str, Any]) -> str | None:
    """Return the name of the table function that a node of a parse tree calls, or None."""
    called = node.get("function")
    if node.get("type") != "TABLE_FUNCTION" or not isinstance(called, dict):
        return None
    return str(called.get("function_name", "")).lower()
