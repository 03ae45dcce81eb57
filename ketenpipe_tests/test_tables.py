"""The ground floor: contracts refuse what does not fit, the store writes whole or not at all, one run per home."""

from __future__ import annotations

import math
import multiprocessing
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ketenpipe.errors import ContractBroken, HomeLocked, KetenpipeError
from ketenpipe.tables import store as store_module
from ketenpipe.tables.contract import Column, Table, round_significant
from ketenpipe.tables.lock import home_lock
from ketenpipe.tables.registry import RELEASED, TABLES, data_dictionary
from ketenpipe.tables.store import Store, write_bytes_atomic, write_parquet

SMALL = Table(
    "small",
    "chain",
    "One row",
    (
        Column("country", pa.string(), "ISO3", nullable=False),
        Column("year", pa.int32(), "year", nullable=False),
        Column("share", pa.float64(), "share", unit="share", minimum=0, maximum=1),
        Column("kind", pa.string(), "kind", allowed=("a", "b")),
    ),
    ("country", "year"),
)
ROW = {"country": "NLD", "year": 2020, "share": 0.5, "kind": "a"}


@given(st.floats(min_value=-1e15, max_value=1e15, allow_nan=False), st.integers(1, 15))
def test_rounding_keeps_the_significant_digits(value: float, digits: int) -> None:
    value = value if abs(value) > 1e-200 else 0.0
    rounded = float(round_significant(np.array([value]), digits)[0])
    assert math.isclose(rounded, float(f"{value:.{digits - 1}e}"), rel_tol=2 * 10.0**-digits)
    assert float(round_significant(np.array([rounded]), digits)[0]) == rounded


@given(st.floats(min_value=1e-6, max_value=1e12), st.floats(-3e-16, 3e-16))
def test_the_last_bits_do_not_reach_a_hash(value: float, noise: float) -> None:
    value = float(f"{value:.6g}")
    assert round_significant(np.array([value * (1 + noise)]))[0] == round_significant(np.array([value]))[0]


def test_rounding_leaves_the_unusual_alone() -> None:
    out = round_significant(np.array([0.0, np.nan, np.inf, -np.inf]))
    assert out[0] == 0
    assert np.isnan(out[1])
    assert list(out[2:]) == [np.inf, -np.inf]


def test_columns_are_bound_by_name_and_sorted_by_key() -> None:
    frame = pd.DataFrame([{"kind": "b", "share": np.nan, "year": 2021, "country": "NLD"}, ROW])
    table = SMALL.conform(frame)
    assert table.column_names == SMALL.names
    assert table.to_pylist() == [ROW, {"country": "NLD", "year": 2021, "share": None, "kind": "b"}]
    assert table.schema.field("share").metadata[b"unit"] == b"share"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"other": 1}, "column\\(s\\) other are not in its contract"),
        ({"country": None}, "null"),
        ({"share": 1.2}, "above 1"),
        ({"share": -0.1}, "below 0"),
        ({"share": math.inf}, "infinite"),
        ({"kind": "c"}, "'c'"),
        ({"year": "twenty"}, "small"),
    ],
)
def test_conform_refuses(change: dict[str, object], words: str) -> None:
    with pytest.raises(ContractBroken, match=words):
        SMALL.conform([{**ROW, **change}])


def test_conform_refuses_a_missing_column_and_a_repeated_key() -> None:
    with pytest.raises(ContractBroken, match="country is missing"):
        SMALL.conform(pa.table({"year": pa.array([2020], pa.int32())}))
    with pytest.raises(ContractBroken, match="more than once"):
        SMALL.conform([ROW, {**ROW, "share": 0.1}])
    with pytest.raises(ValueError, match="key columns"):
        Table("x", "chain", "x", SMALL.columns, ("nothing",))


def test_null_in_a_key_counts_as_a_value() -> None:
    keyed = Table("keyed", "chain", "x", SMALL.columns, ("country", "kind"))
    assert keyed.conform([{**ROW, "kind": None}, ROW]).num_rows == 2
    with pytest.raises(ContractBroken, match="more than once"):
        keyed.conform([{**ROW, "kind": None}, {**ROW, "kind": None, "share": 0.1}])


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_every_contract_is_flat_described_and_holds_its_empty_table(table: Table) -> None:
    table.check(table.empty())
    assert table.description
    for column in table.columns:
        assert column.description
        assert not pa.types.is_nested(column.type)
    assert table.folder in ("sources", "chain", "risk", "review", "observatory")


def test_the_dictionary_names_every_released_column() -> None:
    text = data_dictionary()
    for table in RELEASED:
        assert f"## {table.name}" in text
        for column in table.columns:
            assert f"`{column.name}`" in text


def test_a_crash_while_writing_leaves_the_old_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    store.write(SMALL, SMALL.conform([ROW]))

    def half(table: pa.Table, where: str, **options: object) -> None:
        Path(where).write_bytes(b"PAR1 half a file")
        raise OSError("no space left on device")

    monkeypatch.setattr(store_module.pq, "write_table", half)
    with pytest.raises(OSError, match="no space"):
        store.write(SMALL, SMALL.conform([{**ROW, "share": 0.9}]))
    assert store.read(SMALL).to_pylist() == [ROW]
    assert [p.name for p in store.path(SMALL).parent.iterdir()] == ["small.parquet"]


def test_a_crash_before_the_rename_leaves_the_old_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "pointer.json"
    write_bytes_atomic(path, b"old")

    def refuse(self: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(KeyboardInterrupt):
        write_bytes_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_equal_tables_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_parquet(tmp_path / name, SMALL.conform([ROW, {**ROW, "country": "DEU"}]))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert pq.read_schema(tmp_path / "a").metadata[b"key"] == b"country,year"


def test_the_store_says_what_is_not_there(tmp_path: Path) -> None:
    yearly = Table("yearly", "chain", "x", SMALL.columns, SMALL.key, partitioned=True)
    store = Store(tmp_path)
    with pytest.raises(KetenpipeError, match="not there yet"):
        store.read(SMALL)
    with pytest.raises(KetenpipeError, match="name the year"):
        store.write(yearly, SMALL.conform([ROW]))
    assert store.read(yearly).num_rows == 0
    store.write(yearly, yearly.conform([ROW]), "2020")
    with pytest.raises(KetenpipeError, match="not there yet"):
        store.read(yearly, ["2020", "2021"])
    assert store.partitions(yearly) == ["2020"]


def _hold(home: Path, taken: object, free: object) -> None:
    with home_lock(home, "ketenpipe run"):
        taken.set()  # type: ignore[attr-defined]
        free.wait(30)  # type: ignore[attr-defined]


def test_a_second_process_is_told_who_holds_the_home(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    taken, free = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path, taken, free))
    other.start()
    try:
        assert taken.wait(60)
        words = f"ketenpipe run \\(process {other.pid}, since .* holds the home"
        with pytest.raises(HomeLocked, match=words), home_lock(tmp_path, "second"):
            pass
    finally:
        free.set()
        other.join(30)
    with home_lock(tmp_path, "second"), home_lock(tmp_path, "a Dagster run of the same process"):
        pass
    assert not (tmp_path / ".lock.holder").exists()
