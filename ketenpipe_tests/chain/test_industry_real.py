"""The industry layer on real tables: the WIOD in ICIO layout, audited as the pipeline does, against pymrio and NumPy.

Everything here is computed a second time by other means: pymrio's A, L, M and footprints, a dense inverse in NumPy, and
pandas sums over it. The mock table in the layout of 2018 goes through the same code.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
import pyarrow as pa
import pymrio
import pytest

from ketenpipe.chain.catalogue import load_reference
from ketenpipe.chain.industry import Industry, build_industry
from ketenpipe.chain.leontief import Leontief, leanings
from ketenpipe.sources.icio import IcioTable, list_tables
from ketenpipe.sources.icio_audit import read_and_audit
from ketenpipe.sources.places import discover, embedded
from ketenpipe_tests.shared_data import shared_data

#: The other year is kept for checking.
YEARS = [pytest.param(2008, marks=pytest.mark.slow), 2011]
FOCI = ("NLD", "EU27")
#: Electrical and optical equipment, transport equipment, chemicals; wholesale as a service.
NAMED = ("c14", "c15", "c9", "c20")


@dataclass(frozen=True)
class Oracle:
    """A table with its dense inverse by pymrio, and what stands where."""

    table: IcioTable
    economy: Leontief
    a: pd.DataFrame
    inverse: pd.DataFrame
    owner: np.ndarray
    industry: np.ndarray

    def owners(self, focus: str) -> np.ndarray:
        if focus == "NLD":
            return np.array([c for c, _ in self.table.labels])
        return self.owner


@lru_cache(maxsize=3)
def read(name: str) -> IcioTable:
    inventory = discover(shared_data("icio_like").parent)
    table, _ = read_and_audit(next(t for t in list_tables(inventory) if name in t.name))
    return table


@lru_cache(maxsize=2)
def layer(year: int) -> Industry:
    return build_industry([read(f"WIOD13_{year}")], load_reference(embedded("reference")), FOCI)


@lru_cache(maxsize=1)
def oracle(year: int) -> Oracle:
    table = read(f"WIOD13_{year}")
    members = {b.iso3 for b in load_reference(embedded("reference")).blocs if b.bloc == "EU27"}
    names = pd.MultiIndex.from_tuples(table.labels, names=["region", "sector"])
    a = pymrio.calc_A(pd.DataFrame(table.Z, names, names), pd.Series(table.OUT, names))
    return Oracle(
        table,
        Leontief.of(table.Z, table.OUT),
        a,
        pymrio.calc_L(a),
        np.array(["EU27" if c in members else c for c, _ in table.labels]),
        np.array([i for _, i in table.labels]),
    )


def figures(table: pa.Table, **where: object) -> pd.DataFrame:
    frame = table.to_pandas()
    for column, wanted in where.items():
        frame = frame[frame[column] == wanted] if wanted is not None else frame[frame[column].isna()]
    return frame


@pytest.mark.parametrize("year", YEARS)
def test_the_inverse_multipliers_and_footprints_are_those_of_pymrio(year: int) -> None:
    held = oracle(year)
    table, names = held.table, held.a.index
    inverse = held.inverse.to_numpy()
    wanted = [k for k, (c, _) in enumerate(table.labels) if c == "NLD"]
    unit = np.eye(len(names))[:, wanted]
    assert held.economy.forward(unit) == pytest.approx(inverse[:, wanted], abs=1e-9)
    assert held.economy.rows(np.array(wanted)) == pytest.approx(inverse[wanted].T, abs=1e-9)
    added = pd.DataFrame([table.VA + table.TLS], columns=names)
    coefficients = pymrio.calc_S(added, pd.Series(table.OUT, names))
    multipliers = held.economy.backward(coefficients.to_numpy()[0])
    assert multipliers == pytest.approx(pymrio.calc_M(coefficients, held.inverse).to_numpy()[0], abs=1e-9)
    final = pd.MultiIndex.from_tuples(table.final_labels, names=["region", "category"])
    demand = pd.DataFrame(table.Y, names, final).T.groupby(level=0).sum().T[list(table.countries)]
    footprint, *_ = pymrio.calc_accounts(coefficients, held.inverse, demand)
    theirs = footprint.T.groupby(level="region").sum().T[demand.columns].to_numpy()[0]
    assert multipliers @ demand.to_numpy() == pytest.approx(theirs, rel=1e-9)


@pytest.mark.parametrize("year", YEARS)
def test_all_value_is_added_somewhere(year: int) -> None:
    # v'L = 1' wherever there is output: inputs and value added make up output, to the last digit of the file.
    held = oracle(year)
    alive = held.table.OUT > 0
    rate = np.where(alive, held.table.VA + held.table.TLS, 0) / np.where(alive, held.table.OUT, 1)
    assert not held.table.has_tls
    assert held.economy.backward(rate)[alive] == pytest.approx(1.0, abs=1e-12)
    shares = figures(layer(year).industry_measures, measure="value_added_content").dropna(subset="value")
    assert shares.groupby(["focus", "industry"])["value"].sum().to_numpy() == pytest.approx(1.0, abs=1e-7)


@pytest.mark.parametrize("year", YEARS)
@pytest.mark.parametrize("focus", FOCI)
def test_every_exposure_is_that_of_the_dense_inverse(year: int, focus: str) -> None:
    held = oracle(year)
    n = len(held.table.OUT)
    beyond = held.inverse.to_numpy() - np.eye(n)
    output = held.table.OUT
    ghosh = beyond * output[np.newaxis, :]
    checked = 0
    owners = held.owners(focus)
    for industry, rows in figures(layer(year).industry_exposure, focus=focus).groupby("industry"):
        if industry == "c35":
            # Private households with employed persons buy no inputs.
            assert set(rows["reason"]) == {"no_intermediate_inputs"}
            assert rows[["face_value", "look_through", "hidden_ratio"]].isna().all(axis=None)
            continue
        inside = np.flatnonzero((owners == focus) & (held.industry == industry))
        through = pd.Series((beyond[:, inside] * output[inside]).sum(axis=1)).groupby(owners).sum()
        face = pd.Series(held.table.Z[:, inside].sum(axis=1)).groupby(owners).sum()
        market = pd.Series(ghosh[inside].sum(axis=0)).groupby(owners).sum()
        rows = rows.set_index("country")
        for column, amounts in (("face_value", face), ("look_through", through), ("market_side", market)):
            assert rows[column].to_numpy() == pytest.approx(
                (amounts / amounts.sum())[rows.index].to_numpy(), rel=1e-8, abs=1e-9
            )
        abroad, abroad_face = (x.drop(focus) / x.drop(focus).sum() for x in (through, face))
        assert rows["look_through_foreign"].drop(focus).to_numpy() == pytest.approx(
            abroad[rows.index.drop(focus)].to_numpy(), rel=1e-8, abs=1e-9
        )
        shown = rows["hidden_ratio"].dropna()
        assert shown.to_numpy() == pytest.approx((abroad / abroad_face)[shown.index].to_numpy(), rel=1e-7)
        assert set(shown.index) == {c for c in through.index if c != focus and (through / through.sum())[c] >= 0.01}
        hhi = figures(layer(year).industry_measures, focus=focus, industry=industry, measure="content_hhi")
        assert hhi["value"].item() == pytest.approx((abroad**2).sum(), rel=1e-8)
        checked += 1
    assert checked == 34


@pytest.mark.parametrize("year", YEARS)
@pytest.mark.parametrize("focus", FOCI)
def test_tiers_are_powers_and_with_the_tail_the_whole(year: int, focus: str) -> None:
    held = oracle(year)
    a, output, owners = held.a.to_numpy(), held.table.OUT, held.owners(focus)
    groups = [np.flatnonzero((owners == focus) & (held.industry == i)) for i in NAMED]
    lean = leanings(held.economy, groups, 4)
    miss = np.abs((lean.tiers.sum(axis=0) + lean.tail - lean.total).sum(axis=0))
    assert (miss <= 1e-10 * lean.total.sum(axis=0)).all()
    for industry, inside in zip(NAMED, groups, strict=True):
        made = np.zeros(len(output))
        made[inside] = output[inside]
        whole = pd.Series(held.inverse.to_numpy() @ made - made).groupby(owners).sum()
        tiers = figures(layer(year).industry_tiers, focus=focus, industry=industry)
        step = made
        for tier in range(1, 5):
            step = a @ step
            expected = pd.Series(step).groupby(owners).sum() / whole
            found = tiers[tiers["tier"] == tier].set_index("country")["share"]
            assert found.to_numpy() == pytest.approx(expected[found.index].to_numpy(), rel=1e-8, abs=1e-9)
        assert tiers.groupby("country")["share"].sum().to_numpy() == pytest.approx(1.0, abs=5e-9)


@pytest.mark.parametrize("year", YEARS)
def test_every_null_of_a_real_table_has_its_reason(year: int) -> None:
    made = layer(year)
    measures = made.industry_measures.to_pandas()
    assert (measures["value"].isna() == measures["reason"].notna()).all()
    exposure = made.industry_exposure.to_pandas()
    figures_ = ["face_value", "look_through", "market_side"]
    assert not (exposure[figures_].isna().any(axis=1) & exposure["reason"].isna()).any()
    assert not exposure["hidden_ratio"].dropna().empty
    for frame in (measures, exposure):
        held = frame[frame["reason"].notna() & (frame["reason"] != "rank_only")]
        assert set(held["reason"]) == {"no_intermediate_inputs"} | (
            {"no_inputs_from_there"} if frame is measures else set()
        )
        assert set(held["industry"].dropna()) == {"c35"}


def test_the_figures_say_what_is_known_of_the_netherlands() -> None:
    # Plausible, not exact: Dutch electronics lean on China more through others than at face value, and more in 2011
    # than in 2008; the oil refinery (c8) leans on Russia; retail and health care lean on abroad far less.
    then, now = (layer(year) for year in (2008, 2011))

    def shares(made: Industry, industry: str, country: str) -> dict[str, float]:
        return figures(made.industry_exposure, focus="NLD", industry=industry, country=country).iloc[0].to_dict()

    china = shares(now, "c14", "CHN")
    assert china["look_through_foreign"] > china["face_value_foreign"]
    assert china["look_through"] > shares(then, "c14", "CHN")["look_through"]
    refinery = figures(now.industry_exposure, focus="NLD", industry="c8").set_index("country")["look_through"]
    assert refinery.drop(["NLD", "ROW"]).idxmax() == "RUS"
    own = {i: shares(now, i, "NLD")["look_through"] for i in ("c8", "c14", "c21", "c33")}
    assert max(own["c8"], own["c14"]) < 0.5 < min(own["c21"], own["c33"])


def test_the_mock_table_in_the_layout_of_2018_goes_through_the_same_code() -> None:
    # Its figures are made up and do not balance (the audit says so), but each column is spent: v'L = 1'.
    table = read("ICIO2018_2010")
    assert table.has_tls
    rate = (table.VA + table.TLS) / table.OUT
    assert Leontief.of(table.Z, table.OUT).backward(rate) == pytest.approx(1.0, abs=1e-12)
    made = build_industry([table], load_reference(embedded("reference")), ("BEL", "EU27", "NLD"))
    exposure = made.industry_exposure.to_pandas()
    assert set(exposure["focus"]) == {"BEL", "EU27"}, "the table has no rows of the Netherlands"
    assert exposure[["face_value", "look_through"]].notna().all(axis=None)
    belgium, bloc = (exposure[exposure["focus"] == f].reset_index(drop=True) for f in ("BEL", "EU27"))
    figures_ = ["face_value", "look_through", "market_side", "hidden_ratio"]
    merged = belgium.assign(country=belgium["country"].replace("BEL", "EU27")).merge(bloc, on=["industry", "country"])
    for column in figures_:
        assert merged[f"{column}_x"].to_numpy() == pytest.approx(merged[f"{column}_y"].to_numpy(), nan_ok=True)
