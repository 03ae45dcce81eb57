"""The ground floor: contracts refuse what does not fit, the store writes whole or not at all, one run per home."""

from __future__ import annotations

import math
import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ketenpipe.errors import ContractBroken, DiskFull, HomeLocked, KetenpipeError
from ketenpipe.tables import files as files_module
from ketenpipe.tables import store as store_module
from ketenpipe.tables.contract import Column, Table, round_significant
from ketenpipe.tables.lock import home_lock
from ketenpipe.tables.registry import BACI_FLOWS, RELEASED, TABLES, data_dictionary
from ketenpipe.tables.store import Store, write_bytes_atomic, write_parquet
from ketenpipe.tables.stream import Stream, StreamCheck

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


YEARLY = Table("yearly", "chain", "One row", SMALL.columns, SMALL.key, partitioned=True)


def batch(*rows: dict[str, object], coded: bool = True) -> pa.RecordBatch:
    """A batch of YEARLY, text as dictionaries or plain."""
    plain = pa.RecordBatch.from_pylist([{**ROW, **row} for row in rows], pa.schema([c.field() for c in YEARLY.columns]))
    if not coded:
        return plain
    columns = [c.dictionary_encode() if pa.types.is_string(c.type) else c for c in plain.columns]
    return pa.record_batch(columns, names=YEARLY.names)


def in_turn(count: int, share: float = 0.25) -> Iterator[pa.RecordBatch]:
    """Batches in key order: AAA, AAB, ... with three years each."""
    for n in range(count):
        country = "A" + chr(ord("A") + n // 26) + chr(ord("A") + n % 26)
        yield batch(*({"country": country, "year": year, "share": share} for year in (2019, 2020, 2021)))


def test_a_stream_reads_back_as_the_contract_has_it(tmp_path: Path) -> None:
    store = Store(tmp_path)
    found: dict[bytes, bytes] = {}

    def rows() -> Iterator[pa.RecordBatch]:
        yield batch({"country": "BEL", "share": None}, {"country": "DEU", "kind": None})
        yield batch({"country": "NLD"}, {"country": "NLD", "year": 2021}, coded=False)
        found[b"seen"] = b"4 rows"

    path = store.write_stream(YEARLY, Stream(rows(), found), "2020")
    table = store.read(YEARLY)
    YEARLY.check(table)
    assert [(r["country"], r["share"], r["kind"]) for r in table.to_pylist()] == [
        ("BEL", None, "a"),
        ("DEU", 0.5, None),
        ("NLD", 0.5, "a"),
        ("NLD", 0.5, "a"),
    ]
    assert table.schema.field("share").metadata[b"unit"] == b"share"
    metadata = pq.read_schema(path).metadata
    assert (metadata[b"seen"], metadata[b"key"]) == (b"4 rows", b"country,year")
    assert pq.read_metadata(path).metadata[b"seen"] == b"4 rows"
    assert pq.read_metadata(path).num_row_groups == 2
    assert (store.rows(YEARLY, "2020"), store.check(YEARLY, "2020")) == (4, 4)
    plain = [b.to_pylist() for b in store.batches(YEARLY, "2020")]
    assert [r for rows in plain for r in rows] == table.to_pylist()


def test_a_stream_equals_the_table_and_itself_to_the_byte(tmp_path: Path) -> None:
    store = Store(tmp_path)
    one = store.write_stream(YEARLY, Stream(in_turn(9), {b"a": b"1"}), "2019").read_bytes()
    two = store.write_stream(YEARLY, Stream(in_turn(9), {b"a": b"1"}), "2020").read_bytes()
    assert one == two
    whole = pa.Table.from_batches(list(in_turn(9))).cast(YEARLY.schema())
    store.write(YEARLY, whole, "2021")
    assert store.read(YEARLY, ["2021"]).equals(store.read(YEARLY, ["2020"]))
    assert store.check(YEARLY, "2021") == 27


def test_only_the_columns_and_codes_that_are_wanted(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for year in (2022, 2023):
        rows = [_flow(code, year) for code in ("010121", "260400", "854231")]
        store.write(BACI_FLOWS, BACI_FLOWS.conform(rows), str(year))
    some = store.read(BACI_FLOWS, ["2022", "2023"], codes={"260400", "999999"})
    assert some.column("code").to_pylist() == ["260400", "260400"]
    assert some.schema.names == BACI_FLOWS.names
    narrow = store.read(BACI_FLOWS, ["2022"], columns=["code", "year"])
    assert narrow.schema.names == ["code", "year"]
    assert narrow.num_rows == 3
    assert store.read(BACI_FLOWS, ["2022"], columns=["code"], codes={"854231"}).to_pydict() == {"code": ["854231"]}
    assert store.read(BACI_FLOWS, [], codes={"854231"}).num_rows == 0


def test_a_stream_without_rows_is_an_empty_table(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write_stream(YEARLY, Stream([]), "2020")
    assert store.read(YEARLY).equals(YEARLY.empty())
    assert store.check(YEARLY, "2020") == 0
    assert store.distinct(YEARLY, ["country"], "2020") == set()


@pytest.mark.parametrize("coded", [True, False])
@pytest.mark.parametrize(
    ("second", "words"),
    [
        ([{"country": None}], "country has 1 null"),
        ([{"country": "NLD", "share": 1.2}], "above 1"),
        ([{"country": "NLD", "share": -0.1}], "below 0"),
        ([{"country": "NLD", "share": math.inf}], "infinite"),
        ([{"country": "NLD", "kind": "c"}], "'c', which is not one of a, b"),
        ([{"country": "NLD"}, {"country": "NLD"}], "'NLD', 'year': 2020} stands more than once"),
        ([{"country": "NLD", "year": 2021}, {"country": "NLD"}], "2020} comes after .*2021}, against the order"),
        ([{"country": "NLD"}, {"country": "BEL"}], "'BEL', 'year': 2020} comes after .*'NLD'"),
        ([{"country": "DEU"}], "'DEU', 'year': 2020} stands more than once"),
        ([{"country": "BEL"}], "'BEL', 'year': 2020} comes after .*'DEU'"),
    ],
)
def test_a_batch_that_breaks_the_contract_leaves_the_old_table(
    tmp_path: Path, second: list[dict[str, object]], words: str, coded: bool
) -> None:
    store = Store(tmp_path)
    path = store.write_stream(YEARLY, Stream(in_turn(2)), "2020")
    old = path.read_bytes()
    stream = Stream([batch({"country": "BEL", "year": 2019}, {"country": "DEU"}), batch(*second, coded=coded)])
    with pytest.raises(ContractBroken, match=words):
        store.write_stream(YEARLY, stream, "2020")
    assert path.read_bytes() == old
    assert list(path.parent.iterdir()) == [path]


def test_wrong_columns_and_types_are_refused_in_a_stream() -> None:
    with pytest.raises(ContractBroken, match=r"columns .* instead of"):
        StreamCheck(YEARLY).take(batch({}).select(["year", "country", "share", "kind"]))
    wrong = batch({}).set_column(1, "year", pa.array([2020], pa.int64()))
    with pytest.raises(ContractBroken, match="year is int64, not int32"):
        StreamCheck(YEARLY).take(wrong)


@given(
    st.lists(
        st.tuples(st.sampled_from(["AUT", "BEL", "NLD", "ÖST"]), st.integers(2018, 2021)), min_size=1, max_size=12
    ),
    st.integers(1, 5),
    st.booleans(),
)
def test_a_stream_holds_exactly_when_its_keys_rise(keys: list[tuple[str, int]], size: int, coded: bool) -> None:
    check = StreamCheck(YEARLY)
    rows: list[dict[str, object]] = [{"country": country, "year": year} for country, year in keys]
    rising = all(a < b for a, b in pairwise(keys))
    try:
        for start in range(0, len(rows), size):
            check.take(batch(*rows[start : start + size], coded=coded))
    except ContractBroken:
        assert not rising
    else:
        assert rising
        assert check.rows == len(keys)


def test_a_null_in_a_key_comes_last() -> None:
    keyed = Table("keyed", "chain", "x", SMALL.columns, ("kind", "country"))
    check = StreamCheck(keyed)
    check.take(batch({"kind": "a"}, {"kind": "b"}, {"kind": None}))
    check.take(batch({"kind": None, "country": "USA"}))
    with pytest.raises(ContractBroken, match=r"'kind': 'b'.* comes after .*None"):
        check.take(batch({"kind": "b", "country": "ZZZ"}))
    with pytest.raises(ContractBroken, match="comes after"):
        StreamCheck(keyed).take(batch({"kind": None}, {"kind": "a"}))


def test_what_makes_the_rows_may_fail_and_leaves_the_old_table(tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = store.write_stream(YEARLY, Stream(in_turn(2)), "2020")
    old = path.read_bytes()

    def rows() -> Iterator[pa.RecordBatch]:
        yield from in_turn(3)
        raise KetenpipeError("the source broke off")

    with pytest.raises(KetenpipeError, match="broke off"):
        store.write_stream(YEARLY, Stream(rows()), "2020")
    assert path.read_bytes() == old
    assert list(path.parent.iterdir()) == [path]


def test_distinct_values_come_from_statistics_or_from_rows(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write_stream(YEARLY, Stream([batch({}, {"year": 2021}), batch({"country": "USA", "kind": None})]), "2020")
    assert store.distinct(YEARLY, ["country"], "2020") == {("NLD",), ("USA",)}
    assert store.distinct(YEARLY, ["country", "kind"], "2020") == {("NLD", "a"), ("USA", None)}
    with pytest.raises(KetenpipeError, match="not there yet"):
        store.distinct(YEARLY, ["country"], "2021")


WRITERS: dict[str, Callable[[Store], object]] = {
    "stream": lambda store: store.write_stream(YEARLY, Stream(in_turn(40, 0.75)), "2020"),
    "table": lambda store: store.write(YEARLY, YEARLY.conform([ROW]), "2020"),
    "bytes": lambda store: write_bytes_atomic(store.path(YEARLY, "2020"), b"x" * 100_000),
}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, where every write finds the disk full")
@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_is_said_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writer: str, there: bool
) -> None:
    store = Store(tmp_path)
    path = store.path(YEARLY, "2020")
    path.parent.mkdir(parents=True)
    if there:
        store.write_stream(YEARLY, Stream(in_turn(2)), "2020")
    before = {p: p.read_bytes() for p in path.parent.iterdir()}

    def on_a_full_disk(**named: object) -> tuple[int, str]:
        link = path.parent / ".2020.parquet.x.part"
        link.symlink_to("/dev/full")
        return files_module.os.open(link, files_module.os.O_WRONLY), str(link)

    monkeypatch.setattr(files_module.tempfile, "mkstemp", on_a_full_disk)
    with pytest.raises(DiskFull) as caught:
        WRITERS[writer](store)
    kept = "; the file that was there before is untouched" if there else ""
    assert str(caught.value) == f"{path}: no room left on the disk to write it{kept}; make room and run again."
    assert {p: p.read_bytes() for p in path.parent.iterdir()} == before


def _stall(home: Path, written: object) -> None:
    def rows() -> Iterator[pa.RecordBatch]:
        yield from in_turn(30, 0.75)
        written.set()  # type: ignore[attr-defined]
        threading.Event().wait()  # until it is killed

    Store(home).write_stream(YEARLY, Stream(rows()), "2020")


def test_killed_while_writing_leaves_the_old_year_and_the_next_run_ends_in_the_same_bytes(tmp_path: Path) -> None:
    store, other = Store(tmp_path / "killed"), Store(tmp_path / "undisturbed")
    path = store.write_stream(YEARLY, Stream(in_turn(2)), "2020")
    old = path.read_bytes()
    context = multiprocessing.get_context("spawn")
    written = context.Event()
    child = context.Process(target=_stall, args=(store.home, written), daemon=True)
    child.start()
    try:
        assert written.wait(60)
        deadline = time.monotonic() + 60
        while not [p for p in path.parent.glob(".2020.parquet.*.part") if p.stat().st_size > 1_000]:
            child.join(0.01)
            assert time.monotonic() < deadline
    finally:
        child.kill()
        child.join()
    assert path.read_bytes() == old
    assert len(list(path.parent.iterdir())) == 2
    assert store.partitions(YEARLY) == ["2020"]
    (left,) = store.sweep()
    assert left.name.startswith(".2020.parquet.")
    store.write_stream(YEARLY, Stream(in_turn(30, 0.75)), "2020")
    other.write_stream(YEARLY, Stream(in_turn(30, 0.75)), "2020")
    assert path.read_bytes() == other.path(YEARLY, "2020").read_bytes() != old
    assert list(path.parent.iterdir()) == [path]


def _flow(code: str, year: int) -> dict[str, object]:
    row = {"hs_revision": "HS17", "year": year, "code": code, "exporter": "CHN", "importer": "NLD"}
    return {**row, "value_kusd": Decimal("1.000"), "tonnes": 2.0, "release": "V1"}
