"""Every column of a release can be asked for by its bare name in DuckDB; one that is a reserved word is known."""

from __future__ import annotations

import duckdb
import pytest

from ketenpipe.tables.contract import Table
from ketenpipe.tables.registry import RELEASED

#: Reserved words that are columns all the same, as the README says. Nothing may be added here: rename the column.
QUOTED = {"group"}


def bare(connection: duckdb.DuckDBPyConnection, table: str, column: str) -> bool:
    """Whether the column can be selected, filtered by and ordered by without quotes."""
    try:
        connection.execute(f"select {column} from {table} where {column} is not null order by {column}").fetchall()
    except duckdb.ParserException:
        return False
    return True


@pytest.mark.parametrize("table", RELEASED, ids=lambda t: t.name)
def test_every_released_column_needs_no_quotes(table: Table) -> None:
    with duckdb.connect() as connection:
        connection.register("held", table.empty())
        quoted = {name for name in table.names if not bare(connection, "held", name)}
        connection.execute(f"create view {table.name} as select * from held")  # nor does the table's own name
        assert quoted <= QUOTED, f"{table.name}: {', '.join(sorted(quoted - QUOTED))} is reserved, rename the column"


def test_a_reserved_word_is_found_out() -> None:
    with duckdb.connect() as connection:
        connection.execute('create table held as select 1 as "both", 2 as "limit", 3 as "group", 4 as only_a')
        assert [bare(connection, "held", c) for c in ("both", "limit", "group", "only_a")] == [
            False,
            False,
            False,
            True,
        ]


def test_what_needs_quotes_is_still_there_to_be_quoted() -> None:
    assert {name for table in RELEASED for name in table.names} >= QUOTED
