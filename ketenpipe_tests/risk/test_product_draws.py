"""The draws of all products: without noise what is published, with noise what brute force gives, and the two tables."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ketenpipe.chain.tracing import build_tracing
from ketenpipe.errors import WrongUse
from ketenpipe.risk import product_draws as module
from ketenpipe.risk.draws import FLOWS, GOVERNANCE, PRODUCTION, DrawnCode, Noise, Places, read_codes
from ketenpipe.risk.facts import FACT_COLUMNS
from ketenpipe.risk.planes import node_test, plane_of, top_third_country
from ketenpipe.risk.product_draws import (
    FAMILIES,
    FIGURES,
    ProductDraws,
    build_product_draws,
    limit_of,
    product_noise,
    ranks,
    single_year_verdicts,
)
from ketenpipe.risk.products import build_product_indicators
from ketenpipe.risk.uncertainty import Uncertainty
from ketenpipe.tables.registry import COUNTRY_RISK, DRAWN_VERDICTS, FLAGS, INDICATORS, UNCERTAINTY
from ketenpipe_tests import worlds as w
from ketenpipe_tests.risk.test_draws import SURE, model

FOCI = ("NLD", "EU27", "OECD")
KEY = list(INDICATORS.key)


def draw(
    run: w.Run,
    errors: Uncertainty = SURE,
    *,
    count: int = 20,
    seed: int = 1,
    flows: pa.Table | None = None,
    year: int = 2020,
    noise: Noise | None = None,
    **given: Any,
) -> ProductDraws:
    """The draws of a world's year."""
    world = run.world
    table = world.flows if flows is None else flows
    table = table.filter(pa.compute.field("year") == year)
    table = table.sort_by([(k, "ascending") for k in ("hs_revision", "year", "code", "importer", "exporter")])
    known: dict[str, Any] = {
        "tracing": run.tracing.tracing.filter(pa.compute.field("year") == year),
        "mining": world.mining,
        "country_risk": world.country_risk,
        "reference": run.reference,
        "foci": world.foci,
        "thresholds": world.thresholds,
        "noise": noise or product_noise(count, seed, errors),
    }
    return build_product_draws(table.to_batches(), year, **known | given)


@lru_cache
def many() -> w.Run:
    """The world of chains as three foci see it, with trade that makes each direct figure differ."""
    base = w.chain_world()
    more = [
        *w.mass(2020, "290110", ("CHN", "NLD", 500), ("DEU", "NLD", 300), ("NLD", "USA", 100), ("CHN", "USA", 50)),
        *w.mass(2020, "290110", ("DEU", "FRA", 70), ("FRA", "DEU", 20), ("GBR", "FRA", 40), ("USA", "GBR", 10)),
        *w.mass(2020, "290110", ("JPN", "DEU", 15), ("FRA", "USA", 5), ("CHE", "NLD", 25)),
        *w.mass(2020, "290110", ("DEU", "BRA", 12), ("USA", "BRA", 8)),
        *w.mass(2020, "290120", ("CHN", "USA", 10)),  # the foci buy none of it, one sells none
        *w.mass(2020, "290130", ("NLD", "CHN", 10)),
        *w.mass(2020, "290140", ("CHN", "NLD", 10)),
        (2020, "290150", "CHN", "NLD", 10.0, None),
        *w.mass(2020, "290160", ("UNK", "NLD", 10), ("CHN", "NLD", 30), ("TWN", "NLD", 60)),
        *w.mass(2020, "290170", ("NLD", "DEU", 10), ("DEU", "NLD", 20)),
        *w.mass(2020, "290180", ("CHN", "NLD", 10), ("RUS", "NLD", 10)),
    ]
    table = pa.concat_tables([base.world.flows, w.flows(more)])
    return w.run(
        table, base.reference, FOCI, statistics=base.world.mining, risk=w.scores(w.SCORES, [2020]), minimum=0.0, depth=1
    )


def frame(table: pa.Table) -> Any:
    """A table as a frame indexed by its key, nulls as text."""
    found = table.to_pandas()
    key = [k for k in (*KEY, "method") if k in found.columns]
    for name in key:
        found[name] = found[name].astype(object).where(found[name].notna(), "-")
    return found.set_index(key).sort_index()


# -- without noise -----------------------------------------------------------------------------------------------


def test_without_noise_every_figure_is_the_published_one() -> None:
    run = many()
    published = frame(build_product_indicators(run.world))
    table = draw(run).uncertainty
    UNCERTAINTY.check(table)
    found = frame(table)
    assert found.index.is_unique
    assert set(found.index) <= set(published.index)
    there = published.loc[found.index]
    np.testing.assert_allclose(found["value"].astype(float), there["value"].astype(float), rtol=1e-7, atol=1e-9)
    assert found["reason"].fillna("").tolist() == there["reason"].fillna("").tolist()
    held = found["value"].notna()
    for name in ("low", "mean", "high"):
        np.testing.assert_allclose(found.loc[held, name], found.loc[held, "value"], rtol=1e-5, atol=1e-6)
        assert found.loc[~held, name].isna().all()
    assert (found.loc[held, "draws"] == 20).all()
    assert (found.loc[~held, "draws"] == 0).all()
    assert found["matters_most"].isna().all()
    assert set(found["flag_share"].dropna()) <= {0.0, 1.0}
    # Every figure of these kinds that is published is drawn as well.
    kinds = {(f.indicator, f.measure, f.basis) for f in FIGURES} | {
        (i, "p", "producer_list") for i in ("C3", "G2", "G3")
    }
    at = [KEY.index(n) for n in ("indicator", "measure", "basis")]
    mine = [k for k in published.index if tuple(k[n] for n in at) in kinds]
    assert set(mine) == set(found.index)
    told = {r for text in found["reason"].dropna() for r in text.split("; ")}
    assert told >= {
        "no_imports", "no_exports", "no_imports_no_exports", "no_supply", "export_proxy", "small_or_precious",
        "no_governance_score", "no_production_data", "no_foreign_supply",
    }  # fmt: skip


def test_without_noise_every_verdict_is_the_published_one() -> None:
    run = many()
    table = draw(run).verdicts
    DRAWN_VERDICTS.check(table)
    found = frame(table)
    flags = frame(run.flags.filter(pa.compute.field("level") == "hs6"))
    flags = flags[flags.index.get_level_values("method").isin(module.METHODS)]
    assert set(found.index) == set(flags.index)
    there = flags.loc[found.index]
    raw = there["flagged"].where(there["flagged"].notna(), there["indicated"])
    assert [None if x != x else x == 1.0 for x in found["flagged_share"]] == [
        None if x is None else bool(x) for x in raw
    ]
    assert (found["told_share"] == there["flagged"].notna().astype(float)).all()
    assert (found["draws"] == 20).all()
    assert {m for m in found.index.get_level_values("method")} == set(module.METHODS)
    assert 0 < there["flagged"].isna().sum() < len(there)
    assert 0 < (raw == True).sum() < len(there)  # noqa: E712


def test_without_governance_or_statistics_the_reasons_say_so() -> None:
    base = many()
    run = w.run(base.world.flows, base.reference, ("NLD",), statistics=None, risk=COUNTRY_RISK.empty(), depth=1)
    published = frame(build_product_indicators(run.world))
    found = frame(draw(run).uncertainty)
    there = published.loc[found.index]
    np.testing.assert_allclose(found["value"].astype(float), there["value"].astype(float), rtol=1e-7, atol=1e-9)
    assert found["reason"].fillna("").tolist() == there["reason"].fillna("").tolist()
    assert any("no_governance_data" in str(r) for r in found["reason"])
    dark = w.run(base.world.flows, base.reference, ("NLD",), statistics=None, risk={"CHN": None}, depth=1)
    assert frame(draw(dark).uncertainty)["reason"].fillna("").tolist() == found["reason"].fillna("").tolist()
    assert {r for r in found.xs("C3", level="indicator")["reason"]} >= {"no_production_data"}


def test_a_bloc_that_is_no_union_and_a_focus_that_trades_none_of_it() -> None:
    found = frame(draw(many()).uncertainty)["value"]

    def of(focus: str, code: str, indicator: str) -> float:
        return float(found.xs((focus, code, indicator), level=("focus", "code", "indicator")).iloc[0])

    # OECD buys 550 of CHN and sells BRA 20; its members sell one another 585, of which 40 of GBR, 10 of USA, 15 of JPN
    # and 25 of CHE come from outside the EU27.
    assert of("OECD", "290110", "C1") == pytest.approx(1.0)
    assert of("OECD", "290110", "C5") == pytest.approx((550 + 40 + 10 + 15 + 25) / (550 + 585), rel=1e-8)
    assert of("OECD", "290110", "S1") == pytest.approx(550 / 20, rel=1e-8)
    assert of("NLD", "290110", "C5") == pytest.approx((500 + 25) / 825, rel=1e-8)
    assert of("NLD", "290110", "C4a") == pytest.approx(500 / 825, rel=1e-8)
    assert of("NLD", "290110", "S1") == pytest.approx(8.25, rel=1e-8)
    # EU27: buys 500 of CHN, 40 of GBR, 15 of JPN, 25 of CHE; sells 105 to USA and 12 to BRA; 390 within.
    assert of("EU27", "290110", "S1") == pytest.approx(580 / 117, rel=1e-8)
    assert of("EU27", "290110", "S1b") == pytest.approx(580 / (117 + 390), rel=1e-8)
    # Others than CHN sell 40 + 18 + 15 + 25 in the world outside the EU27; USA's 18 not to the EU27.
    assert of("EU27", "290110", "S2") == pytest.approx(18 / 500, rel=1e-8)
    assert of("EU27", "290110", "C2") == pytest.approx(
        (550**2 + 117**2 + 40**2 + 18**2 + 15**2 + 25**2) / (550 + 117 + 40 + 18 + 15 + 25) ** 2, rel=1e-8
    )


# -- with noise ----------------------------------------------------------------------------------------------------


def brute(run: w.Run, noise: Noise, code: str, focus: str) -> dict[str, np.ndarray]:
    """Some direct figures of a code in every column, flow by flow, from the tables of noise."""
    table = run.world.flows.filter(pa.compute.field("code") == code).to_pylist()
    names = sorted({c for r in table for c in (r["exporter"], r["importer"])})
    table_v = np.concatenate(noise.flows("v"), axis=1).astype(float)
    inside = run.reference.bloc_members(focus, 2020) if focus != "NLD" else {focus}
    union = run.reference.bloc_members("EU27", 2020)
    sold: dict[str, Any] = {}
    bought: dict[str, Any] = {}
    out = np.zeros(noise.draws.columns)
    for r in table:
        place = Places(names).flows(
            "HS92", code, 2020, np.array([names.index(r["exporter"])]), np.array([names.index(r["importer"])])
        )
        amount = float(r["value_kusd"]) * table_v[place[0]]
        sells, buys = r["exporter"] in inside, r["importer"] in inside
        if sells and not buys:
            out = out + amount
        if not sells:
            sold[r["exporter"]] = sold.get(r["exporter"], 0.0) + amount
            if buys:
                bought[r["exporter"]] = bought.get(r["exporter"], 0.0) + amount
    imports = sum(bought.values())
    world = sum(sold.values()) + out
    makers = sorted(bought)
    top = np.argmax([bought[c] for c in makers], axis=0)
    s2 = [
        sum((sold[c] - bought.get(c, np.zeros_like(out)))[d] for c in sold if c != makers[k]) / bought[makers[k]][d]
        for d, k in enumerate(top)
    ]
    return {
        "C1": sum(b * b for b in bought.values()) / imports**2,
        "C2": (sum(s * s for s in sold.values()) + out**2) / world**2,
        "C4a": np.max([b for c, b in bought.items() if c not in union], axis=0) / imports,
        "S1": imports / out,
        "S2": np.array(s2),
    }


@pytest.mark.parametrize("focus", FOCI)
def test_direct_figures_are_what_brute_force_gives(focus: str) -> None:
    run = many()
    noise = product_noise(300, 4, model(v=0.4))
    found = frame(draw(run, noise=noise).uncertainty)
    for indicator, figures in brute(run, noise, "290110", focus).items():
        row = found.xs((focus, "290110", indicator, "v"), level=("focus", "code", "indicator", "measure")).iloc[0]
        drawn = figures[noise.draws.drawn]
        assert row["value"] == pytest.approx(figures[0], rel=1e-8)
        assert row["mean"] == pytest.approx(drawn.mean(), rel=1e-4)
        assert row["low"] == pytest.approx(np.quantile(drawn, 0.05), rel=1e-4)
        assert row["high"] == pytest.approx(np.quantile(drawn, 0.95), rel=1e-4)
        limit = next(limit_of(f, run.world.thresholds) for f in FIGURES if f.indicator == indicator)
        assert row["threshold"] == limit
        beyond = drawn < limit if indicator == "S2" else drawn > limit
        assert row["flag_share"] == pytest.approx(beyond.mean())
        if np.ptp(drawn) > 0:
            assert row["matters_most"] == FLOWS
            assert row["low"] < row["high"]


@pytest.mark.parametrize("focus", FOCI)
def test_traced_figures_are_the_planes_of_the_rows_in_every_draw(focus: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One draw after the other by :func:`ketenpipe.risk.planes.plane_of`, which knows of no draws."""
    monkeypatch.setattr(module, "TAIL", 0.0)
    run = many()
    noise = product_noise(60, 4, model(q=0.4, observed=0.3, se=0.5))
    found = frame(draw(run, noise=noise).uncertainty)
    members = run.reference.bloc_members(focus, 2020) if focus != "NLD" else frozenset({"NLD"})
    union = run.reference.bloc_members("EU27", 2020)
    scores = {c: noise.risk(c, 2020, 2.5 - 5 * r) for c, r in w.SCORES.items() if r is not None}
    for code in ("290110", "290160", w.RISKY, w.HUB, w.PORT):
        flows = run.world.flows.filter(pa.compute.field("code") == code)
        (data,) = read_codes(flows, run.reference, run.world.statistics[2020])
        drawn = DrawnCode(data.measured("q"), noise)
        inside = np.array([c in members for c in data.countries])
        rows = drawn.rows(drawn.focus_weights(inside, single=len(members) == 1))
        columns: dict[str, list[float]] = {n: [] for n in ("O1", "O1r", "G2", "G3", "T", "C4b")}
        for column in range(noise.draws.columns):
            if not rows[column].any():
                continue
            vector = dict(zip(data.countries, rows[column].tolist(), strict=True))
            plane = plane_of(vector, members, {c: float(s[column]) for c, s in scores.items()})
            test = node_test(plane.o1, plane.g2, 0.4, 0.5)
            values = (
                plane.o1,
                plane.o1_renormalised,
                plane.g2,
                plane.g3,
                test,
                top_third_country(vector, members, union)[1],
            )
            for name, value in zip(columns, values, strict=True):
                columns[name].append(np.nan if value is None else float(value))
        for name, values_of in columns.items():
            row = found.xs((focus, code, name, "q"), level=("focus", "code", "indicator", "measure")).iloc[0]
            if not values_of:
                assert np.isnan(row["value"])
                continue
            held = np.array(values_of)[noise.draws.drawn]
            held = held[~np.isnan(held)]
            assert row["draws"] == len(held), (code, name)
            if len(held) and row["draws"]:
                assert row["mean"] == pytest.approx(held.mean(), rel=2e-4, abs=1e-6), (code, name)
                assert row["low"] == pytest.approx(np.quantile(held, 0.05), rel=2e-4, abs=1e-6), (code, name)


def test_ranks_rest_on_the_first_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    run = many()
    noise = product_noise(40, 5, model(v=0.6))
    monkeypatch.setattr(module, "RANKED_DRAWS", 1)
    one = frame(draw(run, noise=noise).uncertainty)
    held = one[one["rank"].notna()]
    assert (held["rank_low"] == held["rank_high"]).all()
    monkeypatch.setattr(module, "RANKED_DRAWS", 40)
    forty = frame(draw(run, noise=noise).uncertainty)
    assert (forty.loc[held.index, "rank_low"] < forty.loc[held.index, "rank_high"]).any()
    assert one["low"].equals(forty["low"])


def test_the_plane_of_a_mix_is_what_brute_force_gives() -> None:
    """One supplier each of two products: shares do not move, so G2 moves with the scores and C3 with the statistic."""
    reference = w.catalogue([w.node("metal", "290110")], links=[w.link("290110", "Tin")])
    table = w.flows([*w.mass(2020, "290110", ("CHN", "NLD", 500)), *w.mass(2020, "290120", ("RUS", "NLD", 500))])
    mined = w.mining([("Tin", "CHN", 2020, 600.0), ("Tin", "RUS", 2020, 400.0)])
    risk = w.scores({"CHN": 0.5, "RUS": 0.52}, [2020])
    run = w.run(table, reference, ("NLD",), statistics=mined, risk=risk)
    noise = product_noise(400, 9, model(observed=0.3, se=0.3))
    out = draw(run, noise=noise)
    found = frame(out.uncertainty)
    scores = {c: noise.risk(c, 2020, 2.5 - 5 * r).astype(np.float32) for c, r in {"CHN": 0.5, "RUS": 0.52}.items()}

    def row(code: str, indicator: str, measure: str) -> Any:
        return found.xs((code, indicator, measure), level=("code", "indicator", "measure")).iloc[0]

    drawn = noise.draws.drawn
    for code, c in (("290110", "CHN"), ("290120", "RUS")):
        g2 = row(code, "G2", "q")
        assert g2["mean"] == pytest.approx(scores[c][drawn].mean(), rel=1e-5)
        assert g2["low"] == pytest.approx(np.quantile(scores[c][drawn], 0.05), rel=1e-5)
        assert g2["flag_share"] == pytest.approx((scores[c][drawn] > 0.5).mean())
        assert g2["matters_most"] == GOVERNANCE
        assert row(code, "T", "q")["flag_share"] == g2["flag_share"]
        assert row(code, "T", "q")["threshold"] is None or np.isnan(row(code, "T", "q")["threshold"])
        assert row(code, "O1", "q")["matters_most"] not in FAMILIES
        assert row(code, "G3", "q")["mean"] == pytest.approx(10 * scores[c][drawn].mean(), rel=1e-5)
        assert np.isnan(row(code, "G3", "q")["flag_share"])
    places = Places(["CHN", "RUS"]).makers("material Tin", 2020)
    made = np.array([[600.0], [400.0]]) * noise.production("observed")[places].astype(float)
    shares = made / made.sum(axis=0)
    c3, hhi = row("290110", "C3", "p"), (shares**2).sum(axis=0)
    assert c3["value"] == pytest.approx(0.52)
    assert c3["mean"] == pytest.approx(hhi[drawn].mean(), rel=1e-5)
    assert c3["high"] == pytest.approx(np.quantile(hhi[drawn], 0.95), rel=1e-5)
    assert c3["matters_most"] == PRODUCTION
    weighted = shares[0] * scores["CHN"] + shares[1] * scores["RUS"]
    assert row("290110", "G2", "p")["mean"] == pytest.approx(weighted[drawn].mean(), rel=1e-5)
    squares = 10 * (shares[0] ** 2 * scores["CHN"] + shares[1] ** 2 * scores["RUS"])
    assert row("290110", "G3", "p")["high"] == pytest.approx(np.quantile(squares[drawn], 0.95), rel=1e-5)
    # The verdicts are taken in the same draws.
    verdicts = frame(out.verdicts)
    both = (hhi > 0.4) & (weighted > 0.5)
    assert verdicts.xs(("290110", "tno"), level=("code", "method")).iloc[0]["flagged_share"] == pytest.approx(
        both[drawn].mean()
    )
    node = verdicts.xs(("290120", "node_test"), level=("code", "method")).iloc[0]
    assert node["flagged_share"] == pytest.approx((scores["RUS"][drawn] > 0.5).mean())
    assert node["told_share"] == 0.0  # on the proxy nothing is told
    assert {r["code"] for r in w.rows(out.verdicts, method="tno")} == {"290110"}


def test_a_list_that_leaves_a_part_open_keeps_it_open() -> None:
    reference = w.catalogue(
        [w.node("metal", "290110")],
        figures=[w.figure("", "290110", 2020, c, share=s) for c, s in (("CHN", 0.5), ("RUS", 0.2))],
    )
    run = w.run(w.flows(w.mass(2020, "290110", ("CHN", "NLD", 5))), reference, ("NLD",), risk={"CHN": 0.8, "RUS": 0.6})
    noise = product_noise(200, 9, model(listed=0.3, se=0.0))
    found = frame(draw(run, noise=noise).uncertainty)
    places = Places(["CHN", "RUS"]).makers("material 290110", 2020)
    made = np.array([[0.5], [0.2]]) * noise.production("producer_list")[places].astype(float)
    shares = made / (made.sum(axis=0) + 0.3)
    for indicator, figures in (
        ("C3", (shares**2).sum(axis=0)),
        ("G2", (shares[0] * 0.8 + shares[1] * 0.6) / shares.sum(axis=0)),
    ):
        row = found.xs((indicator, "p", "producer_list"), level=("indicator", "measure", "basis")).iloc[0]
        assert row["mean"] == pytest.approx(figures[noise.draws.drawn].mean(), rel=1e-4)
    assert found.xs("C3", level="indicator")["value"].iloc[0] == pytest.approx(0.29)


# -- what a figure does not hang on ---------------------------------------------------------------------------------


def test_a_figure_hangs_neither_on_other_products_nor_on_workers_nor_on_batches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = many()
    whole = draw(run, model())
    assert draw(run, model(), workers=1).uncertainty.equals(whole.uncertainty)
    monkeypatch.setattr(module, "CODES_AT_ONCE", 2)
    monkeypatch.setattr(module, "PORTION", 5)
    again = draw(run, model(), workers=3)
    assert again.uncertainty.equals(whole.uncertainty)
    assert again.verdicts.equals(whole.verdicts)
    alone = draw(run, model(), flows=run.world.flows.filter(pa.compute.field("code") == "290110"))
    apart = [n for n in whole.uncertainty.column_names if "rank" not in n]
    mine = whole.uncertainty.filter(pa.compute.field("code") == "290110")
    assert alone.uncertainty.select(apart).equals(mine.select(apart))
    assert not draw(run, model(), seed=2).uncertainty.equals(whole.uncertainty)
    one = draw(run, model(), foci=("NLD",))
    assert one.verdicts.equals(whole.verdicts.filter(pa.compute.field("focus") == "NLD"))


def test_larger_flows_of_the_same_shares_change_nothing() -> None:
    """Errors are factors, and which a flow has does not hang on its size."""
    routes = [("CHN", "NLD", 600.0), ("USA", "NLD", 400.0), ("NLD", "DEU", 300.0), ("CHN", "DEU", 50.0)]
    found = []
    for scale in (1.0, 1000.0):
        table = w.flows(w.mass(2020, "290110", *((i, j, t * scale) for i, j, t in routes)))
        run = w.run(table, w.catalogue(), ("NLD", "EU27"), risk=w.SCORES)
        found.append(frame(draw(run, model()).uncertainty)[["value", "low", "mean", "high", "flag_share"]])
    np.testing.assert_allclose(found[1].to_numpy(float), found[0].to_numpy(float), rtol=1e-5, atol=1e-7)


def test_nothing_in_gives_nothing_and_a_strange_focus_is_refused() -> None:
    run = many()
    out = draw(run, flows=run.world.flows.slice(0, 0))
    assert out.uncertainty.equals(UNCERTAINTY.empty())
    assert out.verdicts.equals(DRAWN_VERDICTS.empty())
    with pytest.raises(WrongUse, match="NOSUCH"):
        draw(run, foci=("NOSUCH",))


def test_two_revisions_are_ranked_apart() -> None:
    routes = [("CHN", "NLD", 500.0), ("USA", "NLD", 100.0)]
    both = pa.concat_tables(
        w.flows([*w.mass(2020, "290110", *routes), *w.mass(2020, "290120", routes[0])], revision=r)
        for r in ("HS17", "HS92")
    )
    reference = w.catalogue()
    tracing = build_tracing(both, None, reference, ("NLD",))
    run = w.run(w.flows(w.mass(2020, "290110", *routes)), reference, ("NLD",))
    found = draw(run, flows=both, tracing=tracing.tracing).uncertainty.to_pandas()
    c1 = found[found["indicator"] == "C1"].sort_values(["hs_revision", "code"])
    assert c1["ranked"].tolist() == [2, 2, 2, 2]
    assert c1["rank"].tolist() == [2, 1, 2, 1]


# -- ranks -----------------------------------------------------------------------------------------------------------


def test_ranks_by_hand() -> None:
    values = np.array([[0.5, 0.1], [0.9, np.nan], [0.5, 0.1], [0.1, 0.3]])
    assert ranks(values).tolist() == [[2, 2], [1, 4], [2, 2], [4, 1]]
    assert ranks(np.empty((0, 2))).shape == (0, 2)


def test_ranks_and_their_bounds_stand_with_what_is_ranked() -> None:
    run = many()
    found = draw(run, model(), count=200).uncertainty.to_pandas()
    ranked = {(f.indicator, f.measure) for f in FIGURES if f.ranked}
    assert ranked == {("C1", "v"), ("O1", "q"), ("G3", "q"), ("C4b", "q"), ("C3", "p")}
    kinds = list(zip(found["indicator"], found["measure"], strict=True))
    has = np.array([k in ranked for k in kinds]) & found["value"].notna().to_numpy()
    for name in ("rank", "rank_low", "rank_high", "ranked"):
        assert (found[name].notna() == has).all()
    held = found[has]
    assert (held["rank_low"] <= held["rank_high"]).all()
    assert (held["rank_high"] <= held["ranked"]).all()
    assert (held["rank_low"] < held["rank_high"]).any()
    for _, part in held.groupby(["focus", "indicator", "measure"]):
        assert (part["ranked"] == len(part)).all()
        expected = (part["value"].to_numpy()[:, np.newaxis] < part["value"].to_numpy()).sum(axis=1) + 1
        assert part["rank"].tolist() == expected.tolist()
    sure = draw(run, count=3).uncertainty.to_pandas()
    kept = sure[sure["rank"].notna()]
    assert (kept["rank_low"] <= kept["rank"]).all()


# -- GeoDep's window ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "before", "expected"),
    [
        (1, [1], 1.0), (1, [1, 0], 1.0), (1, [0, 1], 1.0), (1, [0, 0], 0.0), (0, [1, 1], 1.0), (0, [1, 0], 0.0),
        (0, [0, -1], 0.0), (0, [-1, -1], np.nan), (1, [-1, 0], np.nan), (1, [], np.nan), (1, [0], np.nan),
        (0, [0], 0.0), (np.nan, [1, 1], 1.0), (np.nan, [1, 0], np.nan), (np.nan, [0, 0], 0.0), (0, [1], np.nan),
        (0, [], np.nan), (np.nan, [-1, -1], np.nan),
    ],
)  # fmt: skip
def test_the_window_in_three_values(now: float, before: Sequence[int], expected: float) -> None:
    years = [*before, *([-1] * (2 - len(before)))]
    held = np.array(years).reshape(2, 1, 1)
    found = module._persistent(np.array([[[now, now]]], dtype=float), held, w.thresholds())
    np.testing.assert_array_equal(found, [[[expected, expected]]])


@lru_cache
def three_years() -> w.Run:
    """A code that holds GeoDep's criteria in some years."""
    rows = []
    for year in (2018, 2019, 2020):
        heavy, light = ("CHN", "NLD", 900.0), ("USA", "NLD", 100.0)
        rows += w.mass(year, "290110", heavy, light, ("NLD", "DEU", 10.0))
        even = [("CHN", "NLD", 100.0), ("USA", "NLD", 100.0), ("BRA", "NLD", 100.0), ("NLD", "DEU", 10.0)]
        rows += w.mass(year, "290120", *(even if year < 2020 else [heavy, light, ("NLD", "DEU", 10.0)]))
        spread = [("CHN", "NLD", 250.0), ("USA", "NLD", 300.0), ("BRA", "NLD", 250.0)]
        rows += w.mass(year, "290130", *(spread if year == 2019 else [heavy]), ("NLD", "DEU", 10.0))
        rows += w.mass(year, "290140", ("CHN", "USA", 900.0))
        rows += w.mass(year, "290150", ("CHN", "NLD", 900.0))  # no exports: the sentinel flags
        rows += w.mass(year, "290160", ("CHN", "NLD", 100.0), ("NLD", "DEU", 100.0))  # S1 on the threshold
    return w.run(w.flows(rows), w.catalogue(), ("NLD",), risk={"CHN": 0.8})


def test_a_years_criteria_are_read_from_its_figures() -> None:
    run = three_years()

    def of(year: int) -> dict[str, int]:
        figures = run.indicators.filter(pa.compute.field("year") == year).select(FACT_COLUMNS)
        return {code: told for (focus, _, code), told in single_year_verdicts(figures, run.world.thresholds).items()}

    assert of(2020) == {"290110": 1, "290120": 1, "290130": 1, "290140": -1, "290150": 1, "290160": 0}
    assert of(2019) == {"290110": 1, "290120": 0, "290130": 0, "290140": -1, "290150": 1, "290160": 0}


def test_geodep_takes_the_years_before_as_they_are() -> None:
    run = three_years()
    figures = [run.indicators.filter(pa.compute.field("year") == y).select(FACT_COLUMNS) for y in (2019, 2018, 2020)]
    earlier = [single_year_verdicts(f, run.world.thresholds) for f in figures]
    published = {r["code"]: r["flagged"] for r in w.rows(run.flags, method="geodep", year=2020, level="hs6")}
    found = {r["code"]: r for r in w.rows(draw(run, earlier=earlier[:2]).verdicts, method="geodep")}
    for code, flagged in published.items():
        share = found[code]["flagged_share"]
        assert (None if share is None else share == 1.0) == flagged, code
        assert found[code]["told_share"] == (0.0 if flagged is None else 1.0)
    assert published == {
        "290110": True, "290120": False, "290130": True, "290140": None, "290150": True, "290160": False,
    }  # fmt: skip
    # A third year before is beyond the window.
    assert draw(run, earlier=earlier).verdicts.equals(draw(run, earlier=earlier[:2]).verdicts)
    # Without the years before, one year that holds could still be two.
    alone = {r["code"]: r for r in w.rows(draw(run).verdicts, method="geodep")}
    assert alone["290110"]["flagged_share"] is None
    assert alone["290110"]["told_share"] == 0.0


def test_near_a_threshold_a_verdict_is_shared() -> None:
    """C1 of 290130 in 2019 is .335, that of 290120 in 2020 is .82: with errors the first flags in some draws."""
    run = three_years()
    noise = product_noise(400, 3, model(v=0.5))
    cbs = {r["code"]: r for r in w.rows(draw(run, noise=noise, year=2019).verdicts, method="cbs")}
    assert cbs["290130"]["flagged_share"] == 1.0  # an HHI of three is never below a third
    drawn = frame(draw(run, noise=noise, year=2019).uncertainty)
    c1 = drawn.xs(("290130", "C1"), level=("code", "indicator")).iloc[0]
    assert 0.02 < c1["flag_share"] < 0.98
    assert c1["low"] >= 1 / 3 - 1e-6


# -- definitions -----------------------------------------------------------------------------------------------


def test_figures_are_what_the_registry_and_the_thresholds_know() -> None:
    limits = {(f.indicator, f.measure): limit_of(f, w.thresholds()) for f in FIGURES}
    assert limits == {
        ("C1", "v"): 0.4, ("C2", "v"): 0.4, ("C4a", "v"): 0.65, ("C5", "v"): 0.5, ("S1", "v"): 1.0, ("S1b", "v"): 1.0,
        ("S2", "v"): 1.0, ("O1", "q"): 0.4, ("O1r", "q"): None, ("G2", "q"): 0.5, ("G3", "q"): None, ("T", "q"): None,
        ("C4b", "q"): 0.65, ("C3", "p"): 0.4, ("G2", "p"): 0.5, ("G3", "p"): None,
    }  # fmt: skip
    assert UNCERTAINTY.key == INDICATORS.key
    assert DRAWN_VERDICTS.key == FLAGS.key
    assert UNCERTAINTY.released
    assert not DRAWN_VERDICTS.released
    assert product_noise(5, 1, SURE).draws.families == FAMILIES == (FLOWS, PRODUCTION, GOVERNANCE)
