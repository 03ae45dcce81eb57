"""What later steps read of the tables of all products: their results are those of the whole tables."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from ketenpipe.observatory import pictures, reads
from ketenpipe.observatory.crma import build_crma_monitor
from ketenpipe.observatory.labels import build_labels
from ketenpipe.observatory.register import build_register
from ketenpipe.review.dossier import build_dossiers
from ketenpipe.review.state import State
from ketenpipe.risk.indicators import WORST_COLUMNS, build_chain_indicators
from ketenpipe.risk.nowcast import splice_check
from ketenpipe.tables.contract import Table
from ketenpipe.tables.registry import CRMA_MONITOR, FLAGS, INDICATORS, NOWCAST
from ketenpipe.tables.store import Store
from ketenpipe_tests.risk.test_streams import several_years
from ketenpipe_tests.worlds import Run, thresholds


@pytest.fixture(scope="module")
def held() -> Run:
    return several_years()


@pytest.fixture(scope="module")
def store(held: Run, tmp_path_factory: pytest.TempPathFactory) -> Store:
    made = Store(tmp_path_factory.mktemp("home"))
    made.write(INDICATORS, held.indicators)
    made.write(FLAGS, held.flags)
    return made


def cut(store: Store, table: Table, rows: pc.Expression) -> pa.Table:
    """The rows as the store gives them: fewer than there are, and not none."""
    found = store.read(table, filters=rows)
    assert 0 < found.num_rows < store.rows(table)
    return found


def test_dossiers(held: Run, store: Store) -> None:
    rest = {
        "chain_nodes": held.exposure.chain_nodes, "chain_edges": held.exposure.chain_edges,
        "exposure": held.exposure.exposure, "crma_monitor": CRMA_MONITOR.empty(),
        "tracing": held.tracing.tracing,
    }  # fmt: skip
    whole = build_dossiers(rest | {"indicators": held.indicators, "flags": held.flags})
    indicators = cut(store, INDICATORS, reads.dossier_indicators(held.reference))
    flags = cut(store, FLAGS, reads.dossier_flags(held.reference))
    assert build_dossiers(rest | {"indicators": indicators, "flags": flags}).equals(whole)
    text = whole.column("evidence").to_pylist()[0]
    assert '"P1"' in text
    assert '"geodep"' in text
    lacking = indicators.filter(pc.field("level") != "hs6")
    assert not build_dossiers(rest | {"indicators": lacking, "flags": flags}).equals(whole), "codes are evidence"


def test_register(held: Run, store: Store) -> None:
    def made(indicators: pa.Table, flags: pa.Table) -> pa.Table:
        tables = {"indicators": indicators, "flags": flags, "exposure": held.exposure.exposure,
                  "chain_nodes": held.exposure.chain_nodes}  # fmt: skip
        states = {g: State(g, "awaiting_sign_off", "hash") for g in held.reference.groups}
        return build_register(tables, held.reference, states, ("NLD", "EU27"), 1000.0)

    found = made(cut(store, INDICATORS, reads.REGISTER), cut(store, FLAGS, reads.REGISTER))
    assert found.equals(made(held.indicators, held.flags))
    assert found.column("hhi").null_count < found.num_rows


def test_crma_monitor(held: Run, store: Store) -> None:
    nodes = held.exposure.chain_nodes
    whole = build_crma_monitor(held.indicators, held.flags, nodes, thresholds())
    indicators, flags = cut(store, INDICATORS, reads.CRMA_INDICATORS), cut(store, FLAGS, reads.CRMA_FLAGS)
    assert build_crma_monitor(indicators, flags, nodes, thresholds()).equals(whole)
    assert whole.num_rows > 0


def test_pictures(held: Run, store: Store) -> None:
    some = cut(store, INDICATORS, reads.PICTURES)
    for focus in ("NLD", "EU27"):
        points = pictures.plane_points(some, focus, 2022)
        assert points == pictures.plane_points(held.indicators, focus, 2022)
        assert points


def test_worst_codes(held: Run, store: Store) -> None:
    hs6 = held.indicators.filter(pc.field("level") == "hs6")
    whole = build_chain_indicators([held.world], hs6)
    some = store.read(INDICATORS, columns=list(WORST_COLUMNS), filters=reads.worst_codes(held.reference))
    assert some.num_rows < hs6.num_rows
    assert build_chain_indicators([held.world], some).equals(whole)
    assert whole.column("worst_code").null_count < whole.num_rows


def test_nowcast_check(held: Run, store: Store) -> None:
    row = {
        "focus": "NLD", "level": "hs6", "code": "500000", "hs_revision": "HS92", "frequency": "A",
        "window_start": "2021-01", "window_end": "2021-12", "months": 12, "indicator": "C1", "measure": "v",
        "basis": "reconciled_comtrade", "value": 0.5, "unit": "index 0-1",
    }  # fmt: skip
    needed = {c.name: "" for c in NOWCAST.columns if not c.nullable and c.name not in row}
    nowcast = NOWCAST.conform([needed | row])
    some = cut(store, INDICATORS, reads.nowcast_check(nowcast))
    assert splice_check(nowcast, some, thresholds()).equals(splice_check(nowcast, held.indicators, thresholds()))
    assert splice_check(nowcast, some).num_rows > 0
    assert store.read(INDICATORS, filters=reads.nowcast_check(NOWCAST.empty())).num_rows == 0


def test_labels_from_what_is_in_use(held: Run) -> None:
    mix = held.tracing.supply_mix
    whole = build_labels({"supply_mix": mix}, held.reference, {}, thresholds())
    countries = {*mix.column("country").to_pylist(), *mix.column("focus").to_pylist()}
    codes = set(zip(mix.column("hs_revision").to_pylist(), mix.column("code").to_pylist(), strict=True))
    named = build_labels({}, held.reference, {}, thresholds(), countries=countries, codes=codes)
    assert named.equals(whole)
    assert "500006" in named.column("code").to_pylist(), "a code that is in no node"
