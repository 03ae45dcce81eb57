"""Tables that are read where they lie: only what is asked for, and never more than a row group in memory."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ketenpipe.errors import ContractBroken, KetenpipeError
from ketenpipe.tables.contract import Column, Table
from ketenpipe.tables.registry import BACI_FLOWS, FLAGS
from ketenpipe.tables.store import ROW_GROUP, Store, Stored, write_parquet, write_stored
from ketenpipe.tables.stream import KeyNotRising

YEARLY = Table(
    "yearly",
    "chain",
    "One row",
    (
        Column("year", pa.int32(), "year", nullable=False),
        Column("code", pa.string(), "code"),
        Column("share", pa.float64(), "share", minimum=0, maximum=1),
    ),
    ("year", "code"),
    partitioned=True,
)


def flow(code: str, importer: str, exporter: str = "CHN") -> dict[str, object]:
    row = {"hs_revision": "HS17", "year": 2020, "code": code, "exporter": exporter, "importer": importer}
    return {**row, "value_kusd": Decimal("1.000"), "tonnes": 2.0, "release": "V1"}


def test_rows_by_any_column_that_is_read_or_not(tmp_path: Path) -> None:
    store = Store(tmp_path)
    rows = [flow(code, importer) for code in ("000001", "000002") for importer in ("DEU", "NLD")]
    store.write(BACI_FLOWS, BACI_FLOWS.conform(rows), "2020")
    found = store.read(BACI_FLOWS, columns=["code"], filters=pc.field("importer") == "NLD")
    assert found.to_pylist() == [{"code": "000001"}, {"code": "000002"}]
    both = store.read(BACI_FLOWS, codes={"000002"}, filters=pc.field("importer") == "NLD")
    assert [(r["code"], r["importer"]) for r in both.to_pylist()] == [("000002", "NLD")]
    assert store.read(BACI_FLOWS, filters=pc.field("tonnes") > 2).num_rows == 0
    assert store.read(BACI_FLOWS, filters=pc.field("tonnes") > 2).schema.names == BACI_FLOWS.names


def test_row_groups_without_a_match_are_not_read(tmp_path: Path) -> None:
    """The bytes of every other row group are spoilt: whoever reads one fails."""
    store = Store(tmp_path)
    codes = [f"{n:06d}" for n in range(3 * ROW_GROUP)]
    table = pa.table({"year": pa.repeat(2020, len(codes)).cast(pa.int32()), "code": codes}, schema=None)
    table = table.append_column("share", pa.repeat(0.5, len(codes)))
    path = store.write(YEARLY, pa.table(table.columns, schema=YEARLY.schema()), "2020")
    assert path is not None
    footer = pq.read_metadata(path)
    assert footer.num_row_groups == 3
    content = bytearray(path.read_bytes())
    for group in (0, 2):
        column = footer.row_group(group).column(1)
        start = column.dictionary_page_offset or column.data_page_offset
        content[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    path.write_bytes(content)
    wanted = codes[ROW_GROUP + 5]
    assert store.read(YEARLY, codes={wanted}).column("code").to_pylist() == [wanted]
    assert store.read(YEARLY, filters=pc.field("code") == wanted, columns=["share"]).num_rows == 1
    with pytest.raises((OSError, pa.ArrowInvalid)):
        store.read(YEARLY)


def part(*rows: tuple[int, str | None, float]) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(YEARLY.names, row, strict=True)) for row in rows], YEARLY.schema())


def test_years_in_order_are_one_table(tmp_path: Path) -> None:
    store = Store(tmp_path)
    years = {str(year): part((year, "a", 0.1), (year, "b", 0.2), (year, None, 0.3)) for year in (2019, 2020, 2021)}
    for year, rows in years.items():
        store.write(YEARLY, rows, year)
    whole = pa.concat_tables(years.values())
    assert write_stored(tmp_path / "streamed", store.stored(YEARLY)) == 9
    write_parquet(tmp_path / "written", whole.combine_chunks())
    assert (tmp_path / "streamed").read_bytes() == (tmp_path / "written").read_bytes()
    assert store.stored(YEARLY, ["2020"]).read().equals(years["2020"])
    with pytest.raises(KetenpipeError, match=r"table yearly is not there yet \(2022\.parquet\)"):
        store.stored(YEARLY, ["2022"])


@settings(deadline=None, max_examples=8)
@given(
    st.sampled_from([1, ROW_GROUP, ROW_GROUP + 1, ROW_GROUP * 3 // 2, 2 * ROW_GROUP]),
    st.lists(st.integers(0, 2 * ROW_GROUP), max_size=6),
    st.booleans(),
)
def test_the_bytes_do_not_depend_on_how_the_rows_come(
    tmp_path_factory: Any, count: int, cuts: list[int], coded: bool
) -> None:
    folder = tmp_path_factory.mktemp("bytes")
    whole = pa.table(
        {
            "year": pa.repeat(2020, count).cast(pa.int32()),
            "code": [f"{n:06d}" for n in range(count)],
            "share": pa.array([n % 7 / 7 if n % 5 else None for n in range(count)]),
        },
        schema=YEARLY.schema(),
    )

    def batches() -> Iterator[pa.RecordBatch]:
        at = [0, *sorted(min(c, count) for c in cuts), count]
        for start, end in pairwise(at):
            for batch in whole.slice(start, end - start).to_batches():
                if coded:
                    columns = [c.dictionary_encode() if pa.types.is_string(c.type) else c for c in batch.columns]
                    yield pa.record_batch(columns, names=YEARLY.names)
                else:
                    yield batch

    assert write_stored(folder / "streamed", Stored(YEARLY, (batches,))) == count
    write_parquet(folder / "written", whole)
    assert (folder / "streamed").read_bytes() == (folder / "written").read_bytes()


@pytest.mark.parametrize(
    ("rows", "error", "words"),
    [
        ([(2020, "a", 0.1), (2019, "a", 0.1)], KeyNotRising, "against the order of the key"),
        ([(2020, None, 0.1), (2020, "a", 0.1)], KeyNotRising, "against the order of the key"),
        ([(2020, "a", 0.1), (2020, "a", 0.1)], ContractBroken, "stands more than once"),
        ([(2020, "a", 1.1)], ContractBroken, "reaches 1.1, above 1"),
    ],
)
def test_rows_that_break_the_contract_leave_no_file(
    tmp_path: Path, rows: list[Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        write_stored(tmp_path / "x", Stored(YEARLY, tuple(lambda row=row: part(row).to_batches() for row in rows)))
    assert isinstance(caught.value, KeyNotRising) == (error is KeyNotRising)
    assert list(tmp_path.iterdir()) == []


def test_columns_that_are_not_the_contracts_are_refused(tmp_path: Path) -> None:
    other = part((2020, "a", 0.1)).rename_columns(["year", "kode", "share"])
    with pytest.raises(ContractBroken, match="kode"):
        write_stored(tmp_path / "x", Stored(YEARLY, (other.to_batches,)))
    text = part((2020, "a", 0.1)).set_column(2, "share", pa.array(["0.1"]))
    with pytest.raises(ContractBroken, match="column share is string, not double"):
        write_stored(tmp_path / "x", Stored(YEARLY, (text.to_batches,)))


def test_an_empty_table(tmp_path: Path) -> None:
    for parts in ((), (lambda: [],)):
        assert write_stored(tmp_path / "streamed", Stored(YEARLY, parts)) == 0
        write_parquet(tmp_path / "written", YEARLY.empty())
        assert (tmp_path / "streamed").read_bytes() == (tmp_path / "written").read_bytes()


def test_never_more_than_a_few_row_groups_are_held(tmp_path: Path) -> None:
    """Arrow's own count of its memory, while twelve row groups go through."""
    held: list[int] = []
    start = pa.total_allocated_bytes()
    shares = pa.repeat(0.5, ROW_GROUP)

    def batches() -> Iterator[pa.RecordBatch]:
        for n in range(12):
            codes = pa.array([f"{i:07d}" for i in range(n * ROW_GROUP, (n + 1) * ROW_GROUP)])
            held.append(pa.total_allocated_bytes() - start)
            yield pa.record_batch([pa.repeat(2020, ROW_GROUP).cast(pa.int32()), codes, shares], schema=YEARLY.schema())

    write_stored(tmp_path / "x", Stored(YEARLY, (batches,)))
    one = pq.ParquetFile(tmp_path / "x").read_row_group(0).nbytes
    assert max(held[4:]) < 8 * one
    assert pq.read_metadata(tmp_path / "x").num_row_groups == 12


def test_what_the_store_knows_without_reading_rows(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert not store.exists(FLAGS)
    assert store.sha256(FLAGS) is store.stamp(FLAGS) is None
    assert store.name(FLAGS) == "tables/risk/flags.parquet"
    with pytest.raises(KetenpipeError, match="flags is not there yet"):
        store.metadata(FLAGS)
    store.write(FLAGS, FLAGS.empty().replace_schema_metadata({**(FLAGS.schema().metadata or {}), b"a": b"1"}))
    assert store.metadata(FLAGS)[b"a"] == b"1"
    assert store.stamp(FLAGS) == store.stamp(FLAGS) is not None
    assert store.home == tmp_path
