"""The Monte Carlo engine: columns, noise, the balance of a code in every draw, and its rows against dense solves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ketenpipe.chain.matrices import balance_production, consumption, trace_origins
from ketenpipe.errors import WrongUse
from ketenpipe.risk import draws as module
from ketenpipe.risk.draws import (
    ALONE,
    FAMILIES,
    FLOWS,
    GOVERNANCE,
    INTENSITIES,
    NOTHING,
    ON_ITS_WAY,
    PRODUCTION,
    ROWS,
    Balance,
    CodeYear,
    DrawnCode,
    Draws,
    Noise,
    Places,
    flag_share,
    matters_most,
    read_codes,
    summarise,
    weighed,
)
from ketenpipe.risk.uncertainty import Score, Spread, Uncertainty
from ketenpipe_tests import worlds as w

Floats = npt.NDArray[Any]

# Nothing is divided by 0 unseen, and no mean is taken of nothing.
pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")


def model(
    v: float = 0.3, q: float = 0.3, observed: float = 0.1, listed: float = 0.2, imputed: float = 0.5, se: float = 0.2
) -> Uncertainty:
    """An error model."""

    def spread(log_sd: float) -> Spread:
        return Spread(log_sd=log_sd, source="a book", status="read")

    return Uncertainty(
        flows_v=spread(v),
        flows_q=spread(q),
        production_observed=spread(observed),
        production_listed=spread(listed),
        production_imputed=spread(imputed),
        governance=Score(standard_error=se, source="a book", status="read"),
        intensities=spread(0.3),
        input_output=spread(0.3),
    )


SURE = model(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def code(
    routes: Sequence[tuple[str, str, float]],
    made: dict[str, float] | None = None,
    barred: Sequence[str] = (),
    *,
    name: str = "280530",
    basis: str = "observed",
    measure: str = "q",
    countries: Sequence[str] = (),
) -> CodeYear:
    """A code from its flows, and the production of a statistic."""
    names = tuple(sorted({*countries, *(c for r in routes for c in r[:2]), *(made or ()), "UNK"}))
    place = {c: k for k, c in enumerate(names)}
    return CodeYear(
        revision="HS92",
        code=name,
        year=2020,
        measure=measure,
        countries=names,
        sender=np.array([place[r[0]] for r in routes], dtype=np.int64),
        receiver=np.array([place[r[1]] for r in routes], dtype=np.int64),
        amount=np.array([r[2] for r in routes], dtype=float),
        barred=np.array([c in barred for c in names]),
        statistic=None if made is None else np.array([made.get(c, np.nan) for c in names]),
        listed=None if made is None else np.array([c in made for c in names]),
        basis="export_proxy" if made is None else basis,
    )


ROUTES = [
    ("CHN", "BEL", 60.0), ("CHN", "NLD", 30.0), ("USA", "BEL", 20.0), ("BEL", "NLD", 50.0), ("BEL", "DEU", 25.0),
    ("DEU", "NLD", 10.0), ("NLD", "DEU", 5.0), ("RUS", "DEU", 4.0),
]  # fmt: skip


def factors(drawn: DrawnCode, noise: Noise, column: int) -> tuple[Floats, Floats, Floats]:
    """The factors of flows, statistic and imputed production in a column, looked up in the tables."""
    c, places = drawn.code, Places(drawn.code.countries)
    rows = places.flows(c.revision, c.code, c.year, c.sender, c.receiver)
    makers = places.makers(f"{c.revision} {c.code}", c.year)
    flows = np.concatenate(noise.flows(c.measure), axis=1)[rows, column]
    observed = np.ones(len(makers)) if c.statistic is None else noise.production(c.basis)[makers, column]
    return flows, observed, noise.production("imputed")[makers, column]


def dense(drawn: DrawnCode, noise: Noise, column: int) -> tuple[Floats, Floats, Floats]:
    """O of a column by a dense solve (unknown origin at its own place), supply, and consumption."""
    c = drawn.code
    flow, observed, imputed = factors(drawn, noise, column)
    x = np.zeros((len(c.countries),) * 2)
    np.add.at(x, (c.sender, c.receiver), c.amount * flow)
    statistic = None if c.statistic is None else c.statistic * observed
    closed = balance_production(x, statistic, c.listed, c.barred)
    made = closed.made * (1.0 + closed.imputed * (imputed - 1.0))
    traced = trace_origins(x, type(closed)(made, closed.unknown, closed.imputed))
    origins = np.nan_to_num(traced.origins)
    unknown = c.countries.index("UNK")
    origins[:, unknown] += origins[:, -1]
    balanced = closed.made + closed.unknown + x.sum(axis=0)
    return origins[:, :-1], traced.supply, consumption(x.sum(axis=1), balanced)


def own(drawn: DrawnCode, *members: str, single: bool | None = None) -> Floats:
    """The weights of a country, or of a bloc."""
    inside = np.array([c in members for c in drawn.countries])
    return drawn.focus_weights(inside, single=len(members) == 1 if single is None else single)


# -- columns ------------------------------------------------------------------------------------------------


def test_columns_are_the_figure_the_draws_and_each_family_alone() -> None:
    draws = Draws(100, 7)
    assert (draws.alone, draws.columns) == (64, 1 + 100 + 4 * 64)
    assert draws.drawn == slice(1, 101)
    assert [draws.only(f) for f in FAMILIES] == [slice(101 + 64 * k, 165 + 64 * k) for k in range(4)]
    few = Draws(10, 7, (FLOWS, GOVERNANCE))
    assert (few.alone, few.columns, few.only(GOVERNANCE)) == (10, 31, slice(21, 31))
    assert [s.stop - s.start for s in Draws(1000, 1).blocks] == [512, 512, 1 + 1000 + 4 * ALONE - 1024]
    assert Draws(1, 1, ()).blocks == [slice(0, 2)]


def test_no_draws_are_refused() -> None:
    with pytest.raises(WrongUse, match="0 draws are none; a Monte Carlo takes 1 or more"):
        Draws(0, 1)
    with pytest.raises(WrongUse, match=r"-1 is no seed; it is a whole number from 0"):
        Draws(1, -1)
    assert Draws(1, 0).generator("x").standard_normal() != 0


def test_a_generator_hangs_on_the_seed_and_the_names() -> None:
    def first(seed: int, *names: str | int) -> float:
        return float(Draws(1, seed).generator(*names).standard_normal())

    assert first(1, "a", 2) == first(1, "a", 2)
    others = {
        first(1, "a", 2), first(2, "a", 2), first(1, "a", 3), first(1, "b", 2), first(1, "a", "2"), first(1, "a"),
        first(1, 2, "a"),
    }  # fmt: skip
    assert len(others) == 7


def test_the_draws_of_a_seed_stay_what_they_are() -> None:
    """A figure that was published with a seed can be had again: these numbers must not change."""
    found = Draws(3, 20260101).errors(FLOWS, "table", "flows_q", rows=2)
    assert found.shape == (2, 1 + 3 + 4 * 3)
    again = Draws(3, 20260101).errors(FLOWS, "table", "flows_q", rows=2)
    np.testing.assert_array_equal(found, again)
    words = Places(["CHN", "NLD"])
    rows = words.flows("HS92", "280530", 2020, np.array([0, 1]), np.array([1, 0]))
    assert rows.tolist() == [1951, 4041]
    assert words.makers("HS92 280530", 2020).tolist() == [515, 1417]
    assert Draws(1, 20260101).generator("x").standard_normal() == pytest.approx(0.4827186676334587, rel=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
def test_errors_stand_where_their_family_is_off(family: str) -> None:
    draws = Draws(80, 3)
    found = draws.errors(family, "x", rows=2)
    assert found.shape == (2, draws.columns)
    assert (found[:, 0] == 0).all()
    assert (found[:, draws.drawn] != 0).all()
    for other in FAMILIES:
        part = found[:, draws.only(other)]
        if other == family:
            np.testing.assert_array_equal(part, found[:, draws.drawn][:, :64])
        else:
            assert (part == 0).all()


def test_factors_have_mean_one_and_the_given_spread() -> None:
    draws = Draws(50_000, 3, (FLOWS,))
    (found,) = draws.factors(FLOWS, 0.5, "x")
    z = draws.errors(FLOWS, "x")[0]
    np.testing.assert_allclose(found[draws.drawn], np.exp(0.5 * z[draws.drawn] - 0.125), rtol=1e-12)
    np.testing.assert_allclose(found[draws.only(FLOWS)], found[draws.drawn][:64])
    assert found[0] == 1.0
    assert draws.errors(FLOWS, "x").shape == draws.factors(FLOWS, 0.5, "x").shape == (1, draws.columns)
    assert found[draws.drawn].mean() == pytest.approx(1.0, abs=0.01)
    assert np.log(found[draws.drawn]).std() == pytest.approx(0.5, abs=0.01)
    # A family without columns of its own is off in the draws only.
    (other,) = draws.factors(GOVERNANCE, 0.5, "x")
    assert (other[draws.only(FLOWS)] == 1.0).all()
    assert (draws.factors(FLOWS, 0.0, "x") == 1.0).all()


# -- noise --------------------------------------------------------------------------------------------------


def test_each_table_has_its_own_spread_and_is_made_once() -> None:
    noise = Noise(Draws(400, 1), model(v=0.1, q=0.2, observed=0.3, listed=0.4, imputed=0.6))
    tables = {
        0.1: np.concatenate(noise.flows("v"), axis=1), 0.2: np.concatenate(noise.flows("q"), axis=1),
        0.3: noise.production("observed"), 0.4: noise.production("producer_list"), 0.6: noise.production("imputed"),
    }  # fmt: skip
    for log_sd, table in tables.items():
        assert table.shape == (ROWS, noise.draws.columns)
        assert np.log(table[:, noise.draws.drawn]).std() == pytest.approx(log_sd, rel=0.01)
    assert (tables[0.1][:, noise.draws.only(PRODUCTION)] == 1).all()
    assert (tables[0.3][:, noise.draws.only(FLOWS)] == 1).all()
    assert noise.flows("q") is noise.flows("q")
    assert noise.production("imputed") is noise.production("imputed")
    errors = [np.log(t[0, 1]) / s + s / 2 for s, t in tables.items()]
    assert len({round(float(z), 9) for z in errors}) == 5
    # The names under which the errors are drawn: others would change what a seed has published.
    for log_sd, family, name in (
        (0.1, FLOWS, "flows_v"), (0.2, FLOWS, "flows_q"), (0.3, PRODUCTION, "production_observed"),
        (0.4, PRODUCTION, "production_producer_list"), (0.6, PRODUCTION, "production_imputed"),
    ):  # fmt: skip
        np.testing.assert_array_equal(tables[log_sd], noise.draws.factors(family, log_sd, "table", name, rows=ROWS))
        assert (tables[log_sd][:, noise.draws.only(family)] != 1).all()
    assert noise.flows("v")[0].dtype == np.float64
    assert Noise(Draws(4, 1), SURE, np.float32).production("imputed").dtype == np.float32


def test_a_score_is_drawn_once_per_country_and_year() -> None:
    noise = Noise(Draws(2000, 1), model(se=0.4))
    risk = noise.risk("CHN", 2020, 0.5)
    assert risk[0] == pytest.approx((2.5 - 0.5) / 5)
    np.testing.assert_array_equal(risk, noise.risk("CHN", 2020, 0.5))
    assert risk[noise.draws.drawn].std() == pytest.approx(0.4 / 5, rel=0.05)
    assert noise.risk("CHN", 2020, 0.5, 0.1)[noise.draws.drawn].std() == pytest.approx(0.1 / 5, rel=0.05)
    assert (noise.risk("CHN", 2020, 0.5, 0.0) == risk[0]).all()
    for other in (noise.risk("CHN", 2021, 0.5), noise.risk("USA", 2020, 0.5)):
        assert other[1] != risk[1]
    # A better score is a lower risk, by the same error.
    z = noise.draws.errors(GOVERNANCE, "governance", "CHN", 2020)[0]
    np.testing.assert_allclose(risk, (2.5 - 0.5 - 0.4 * z) / 5)
    assert noise.risk("CHN", 2020, 2.5)[noise.draws.drawn].min() == 0.0
    assert noise.risk("CHN", 2020, -2.5)[noise.draws.drawn].max() == 1.0


def test_rows_hang_on_what_a_flow_is_not_on_where_it_stands() -> None:
    names = [f"{a}{b}X" for a in "ABCDEFGHIJKLMNO" for b in "ABCDEFGHIJKLMNO"]
    sender, receiver = (a.ravel() for a in np.meshgrid(range(len(names)), range(len(names))))
    rows = Places(names).flows("HS92", "280530", 2020, sender, receiver)
    assert rows.min() >= 0
    assert rows.max() < ROWS
    held = np.bincount(rows, minlength=ROWS)
    assert held.std() == pytest.approx(np.sqrt(held.mean()), rel=0.1)  # as chance would have it
    turned = Places(names[::-1]).flows("HS92", "280530", 2020, len(names) - 1 - sender, len(names) - 1 - receiver)
    np.testing.assert_array_equal(rows, turned)
    away = sender != receiver
    for other in (
        Places(names).flows("HS92", "280530", 2020, receiver, sender),
        Places(names).flows("HS92", "280531", 2020, sender, receiver),
        Places(names).flows("HS17", "280530", 2020, sender, receiver),
        Places(names).flows("HS92", "280530", 2021, sender, receiver),
    ):
        assert (other[away] == rows[away]).mean() < 0.002
    makers = Places(names).makers("tin", 2020)
    assert (Places(names).makers("zinc", 2020) == makers).mean() < 0.05
    assert (Places(names).makers("tin", 2021) == makers).mean() < 0.05
    assert (makers >= 0).all()
    assert (makers < ROWS).all()


def test_weighed_sums_what_is_drawn() -> None:
    rng = np.random.default_rng(1)
    table = rng.random((ROWS, 3))
    row, place, amount = rng.integers(0, 4, 50), rng.integers(0, ROWS, 50), rng.random(50)
    expected = np.zeros((5, 3))
    np.add.at(expected, row, amount[:, np.newaxis] * table[place])
    np.testing.assert_allclose(weighed(row, 5, place, amount, np.float64) @ table, expected, rtol=1e-12)


# -- reading ------------------------------------------------------------------------------------------------


def test_codes_are_read_with_their_production() -> None:
    flows = w.flows(
        [
            *w.mass(2020, "280530", ("CHN", "NLD", 30), ("BEL", "NLD", 20)),
            (2020, "280530", "USA", "NLD", 5.0, None),
            (2020, "250410", "NLD", "NLD", 7.0, 1.0),
            (2020, "250410", "CHN", "DEU", 3.0, 2.0),
        ]
    )
    known = w.catalogue(
        [w.node("metal", "280530")],
        links=[w.link("280530", "Tin")],
        non_producers=[w.non_producer("BEL", code="280530")],
    )
    mined = w.mining([("Tin", "CHN", 2020, 100.0), ("Tin", "PER", 2020, None)]).to_pandas()
    ore, metal = read_codes(flows, known, mined)
    assert (ore.code, metal.code, metal.revision, metal.year) == ("250410", "280530", "HS92", 2020)
    assert ore.countries == ("CHN", "DEU", "NLD", "UNK")
    assert (ore.sender.tolist(), ore.receiver.tolist(), ore.value.tolist()) == ([0], [1], [3.0])
    assert ore.measured("q").basis == "export_proxy"
    assert ore.measured("q").statistic is None
    assert metal.countries == ("BEL", "CHN", "NLD", "PER", "UNK", "USA")
    assert metal.barred == {"BEL"}
    mass = metal.measured("q")
    assert (mass.sender.tolist(), mass.receiver.tolist(), mass.amount.tolist()) == ([0, 1], [2, 2], [20.0, 30.0])
    assert mass.basis == "observed"
    assert mass.barred.tolist() == [True, False, False, False, False, False]
    assert mass.listed is not None
    assert mass.listed.tolist() == [False, True, False, True, False, False]
    assert mass.statistic is not None
    np.testing.assert_array_equal(mass.statistic, [np.nan, 100.0, np.nan, np.nan, np.nan, np.nan])
    value = metal.measured("v")
    assert (value.amount.tolist(), value.basis, value.statistic, value.listed) == (
        [200.0, 300.0, 5.0],
        "export_proxy",
        None,
        None,
    )
    assert value.measure == "v"
    for year in (mass, value):
        assert (year.revision, year.code, year.year, year.countries) == ("HS92", "280530", 2020, metal.countries)
        assert year.barred.tolist() == [True, False, False, False, False, False]
    assert mass.measure == "q"
    assert not list(read_codes(flows.slice(0, 0), known, None))
    assert next(iter(read_codes(flows.slice(1), known, None))).statistic is None


def test_codes_of_two_revisions_are_read_apart() -> None:
    """In the order of revision and code; who makes none of a node makes none of its codes."""
    older = w.flows([(2020, "280530", "CHN", "NLD", 3.0, 1.0), (2020, "250410", "USA", "NLD", 4.0, 1.0)])
    newer = w.flows(
        [(2020, "280530", "BEL", "NLD", 5.0, 1.0), (2020, "250410", "BEL", "NLD", 6.0, 1.0)], revision="HS17"
    )
    known = w.catalogue([w.node("metal", "280530")], non_producers=[w.non_producer("USA", name="metal")])
    found = list(read_codes(pa.concat_tables([newer, older]), known, None))
    assert [(c.revision, c.code, c.value.tolist(), c.countries[c.sender[0]]) for c in found] == [
        ("HS17", "250410", [6.0], "BEL"), ("HS17", "280530", [5.0], "BEL"),
        ("HS92", "250410", [4.0], "USA"), ("HS92", "280530", [3.0], "CHN"),
    ]  # fmt: skip
    assert [c.barred for c in found] == [frozenset(known.non_producer_countries(c.code, c.revision)) for c in found]
    assert found[3].barred == {"USA"}


def test_a_flow_of_nothing_is_none_and_one_of_little_is_one() -> None:
    flows = w.flows([(2020, "280530", "CHN", "NLD", 0.4, 0.0), (2020, "280530", "USA", "NLD", 0.0, 0.5)])
    (read,) = read_codes(flows, w.catalogue(), None)
    by_value, by_mass = (read.measured(m) for m in "vq")
    assert (by_value.sender.tolist(), by_value.amount.tolist()) == ([0], [0.4])
    assert (by_mass.sender.tolist(), by_mass.amount.tolist()) == ([3], [0.5])


def test_a_code_that_nobody_ships_abroad_has_no_flows() -> None:
    flows = w.flows([(2020, "280530", "CHN", "CHN", 5.0, 1.0)])
    (read,) = read_codes(flows, w.catalogue(), None)
    assert (read.countries, read.sender.tolist(), read.receiver.tolist()) == (("CHN", "UNK"), [], [])
    assert read.sender.dtype == read.receiver.dtype == np.int64
    drawn = DrawnCode(read.measured("v"), Noise(Draws(2, 1), SURE))
    assert (drawn.supply == 0).all()


# -- one code ------------------------------------------------------------------------------------------------


def test_what_single_precision_leaves_of_nothing_is_nothing() -> None:
    """9 of 9,000,000 is the limit itself: nothing; 10 is something. In double precision all is."""

    def eaten(kind: Any) -> list[float]:
        supply = np.array([[9_000_000.0], [9_000_000.0], [0.0]], dtype=kind)
        sold = np.array([[8_999_991.0], [8_999_990.0], [0.0]], dtype=kind)
        nothing = np.zeros_like(supply)
        found = Balance(sold, nothing, nothing, nothing, supply, supply).consumption()
        assert found.dtype == kind
        return [float(x) for x in found[:, 0]]

    assert pytest.approx(1e-6) == NOTHING
    assert eaten(np.float32) == [0.0, 10.0, 0.0]
    assert eaten(np.float64) == [9.0, 10.0, 0.0]


MADE = {"CHN": 100.0, "USA": float("nan"), "NLD": 3.0, "RUS": 1.0}
CASES = {
    "proxy": code(ROUTES),
    "statistic": code(ROUTES, MADE),
    "list": code(ROUTES, MADE, basis="producer_list"),
    "non producers": code(ROUTES, barred=("USA", "BEL")),
    "non producers beside a statistic": code(ROUTES, MADE, barred=("USA", "NLD")),
    "by value": code(ROUTES, measure="v"),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("size", [512, 7])
def test_every_column_is_what_a_dense_solve_of_its_inputs_gives(
    case: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK", size)
    noise = Noise(Draws(12, 5), model(q=0.4))
    drawn = DrawnCode(CASES[case], noise)
    assert drawn.countries == CASES[case].countries
    n, columns = len(drawn.countries), noise.draws.columns
    rng = np.random.default_rng(1)
    weights = rng.dirichlet(np.ones(n), columns)
    for column in range(columns):
        _, supply, eaten = dense(drawn, noise, column)
        weights[column, ~(supply > 0)] = 0.0
        np.testing.assert_allclose(drawn.supply[:, column], supply, rtol=1e-10)
        np.testing.assert_allclose(drawn.consumption[:, column], eaten, rtol=1e-8, atol=1e-9)
    weights /= weights.sum(axis=1, keepdims=True)
    found = drawn.rows(weights)
    assert found.shape == (columns, n)
    for column in range(columns):
        origins, _, _ = dense(drawn, noise, column)
        # What is still on its way after the last hop has the origins of the code without noise.
        np.testing.assert_allclose(found[column], weights[column] @ origins, atol=1e-9 if column == 0 else 3e-8)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-9)


@pytest.mark.parametrize("case", CASES)
def test_without_noise_every_column_is_the_projects_trace(case: str) -> None:
    noise = Noise(Draws(9, 5), SURE)
    drawn = DrawnCode(CASES[case], noise)
    origins, supply, _ = dense(drawn, noise, 0)
    for k in np.flatnonzero(supply > 0):
        weights = np.zeros((noise.draws.columns, len(supply)))
        weights[:, k] = 1.0
        for tail in (0.0, 0.01, 0.2):
            found = drawn.rows(weights, tail)
            np.testing.assert_allclose(found, np.broadcast_to(origins[k], found.shape), atol=1e-9)


def test_a_hand_worked_code() -> None:
    """NLD buys 30 of CHN and 20 of BEL, which has 20 of CHN and 20 of USA: .8 CHN, .2 USA."""
    routes = [("CHN", "NLD", 30.0), ("CHN", "BEL", 20.0), ("USA", "BEL", 20.0), ("BEL", "NLD", 20.0)]
    noise = Noise(Draws(3, 1), SURE)
    drawn = DrawnCode(code(routes), noise)
    found = drawn.rows(own(drawn, "NLD"))
    expected = {"CHN": 0.8, "USA": 0.2}
    np.testing.assert_allclose(found, [[expected.get(c, 0.0) for c in drawn.countries]] * len(found), atol=1e-12)
    # BEL as a non-producer that sells 30 more than it buys: that part of the supply is of unknown origin.
    drawn = DrawnCode(code([*routes, ("BEL", "DEU", 50.0)], barred=("BEL",)), noise)
    found = drawn.rows(own(drawn, "NLD"))
    expected = {"CHN": 0.6 + 0.4 * 20 / 70, "USA": 0.4 * 20 / 70, "UNK": 0.4 * 30 / 70}
    np.testing.assert_allclose(found, [[expected.get(c, 0.0) for c in drawn.countries]] * len(found), atol=1e-12)


@st.composite
def small_codes(draw: st.DrawFn) -> CodeYear:
    """Some countries that ship to one another, with or without a statistic and non-producers."""
    names = [f"C{k:02d}" for k in range(draw(st.integers(2, 6)))]
    pairs = [(i, j) for i in names for j in names if i != j]
    chosen = draw(st.lists(st.sampled_from(pairs), min_size=1, max_size=12, unique=True))
    amounts = st.floats(0.01, 1000.0)
    routes = [(i, j, draw(amounts)) for i, j in chosen]
    made = draw(st.none() | st.dictionaries(st.sampled_from(names), st.just(float("nan")) | amounts, max_size=6))
    barred = draw(st.lists(st.sampled_from(names), max_size=2))
    return code(routes, made, barred, name=str(draw(st.integers(100000, 999999))))


@settings(max_examples=60, deadline=None)
@given(small_codes(), st.integers(0, 50))
def test_any_code_is_what_dense_solves_give(given_code: CodeYear, seed: int) -> None:
    noise = Noise(Draws(4, seed, (FLOWS, PRODUCTION)), model(q=0.5))
    drawn = DrawnCode(given_code, noise)
    for k in np.flatnonzero((drawn.supply > 0).all(axis=1)):
        weights = np.zeros((noise.draws.columns, len(drawn.countries)))
        weights[:, k] = 1.0
        found = drawn.rows(weights)
        assert (found >= 0).all()
        np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-9)
        for column in range(noise.draws.columns):
            origins, _, _ = dense(drawn, noise, column)
            np.testing.assert_allclose(found[column], origins[k], atol=1e-6)


def test_a_figure_hangs_on_its_own_flows_only() -> None:
    """The same code among more countries, in another order of flows, and by itself."""
    noise = Noise(Draws(20, 5), model())
    one = DrawnCode(code(ROUTES, MADE), noise)
    more = DrawnCode(code(ROUTES[::-1], MADE, countries=("AAA", "ZZZ")), noise)
    at = [more.countries.index(c) for c in one.countries]
    np.testing.assert_allclose(one.supply, more.supply[at], rtol=1e-12)
    found = [d.rows(own(d, "NLD")) for d in (one, more)]
    np.testing.assert_allclose(found[0], found[1][:, at], atol=1e-9)
    fewer = Noise(Draws(20, 6), model())
    assert not np.allclose(DrawnCode(code(ROUTES, MADE), fewer).supply[:, 1:], one.supply[:, 1:])


def test_weights_of_foci() -> None:
    noise = Noise(Draws(6, 5), model())
    drawn = DrawnCode(code(ROUTES, countries=("PER",)), noise)
    names = drawn.countries

    def weights(*members: str) -> Floats:
        return own(drawn, *members)

    one = weights("NLD")
    assert one.shape == (noise.draws.columns, len(names))
    assert (one[:, names.index("NLD")] == 1).all()
    assert (one.sum(axis=1) == 1).all()
    assert (weights("PER") == 0).all()  # no supply
    assert (weights("XXX") == 0).all()  # not there
    # A bloc of which one member alone is in the data is a bloc all the same.
    assert (own(drawn, "CHN", single=False) == 0).all()
    assert (own(drawn, "NLD", single=False)[:, names.index("NLD")] == 1).all()
    assert (weights("PER", "CHN") == 0).all()  # what it makes it sells: no member consumes any
    bloc = weights("NLD", "DEU", "BEL")
    np.testing.assert_allclose(bloc.sum(axis=1), 1.0)
    for column in range(noise.draws.columns):
        _, _, eaten = dense(drawn, noise, column)
        mine = np.where(np.isin(names, ["NLD", "DEU", "BEL"]), eaten, 0.0)
        np.testing.assert_allclose(bloc[column], mine / mine.sum(), rtol=1e-9, atol=1e-12)
    assert len({round(float(x), 9) for x in bloc[1:7, names.index("NLD")]}) > 1


def test_weights_that_are_zero_give_nothing() -> None:
    noise = Noise(Draws(6, 5), model())
    drawn = DrawnCode(code(ROUTES), noise)
    weights = own(drawn, "NLD")
    weights[2] = 0.0
    found = drawn.rows(weights)
    assert (found[2] == 0).all()
    np.testing.assert_allclose(np.delete(found.sum(axis=1), 2), 1.0)
    assert (drawn.rows(np.zeros_like(weights)) == 0).all()


def test_single_precision_is_near_and_column_0_is_exact() -> None:
    double, single = (Noise(Draws(30, 5), model(), p) for p in (np.float64, np.float32))
    for case in CASES.values():
        both = [DrawnCode(case, noise) for noise in (double, single)]
        rows = [d.rows(own(d, "NLD", "DEU")) for d in both]
        np.testing.assert_allclose(rows[1], rows[0], atol=3e-6)
        np.testing.assert_array_equal(rows[1][0], rows[0][0])
        np.testing.assert_array_equal(both[1].supply[:, 0], both[0].supply[:, 0])
        np.testing.assert_allclose(both[1].supply, both[0].supply, rtol=1e-5)


@pytest.mark.parametrize("made", [None, {"CHN": 60.0, "DEU": 10.0}])
def test_an_exporter_consumes_nothing_in_single_precision_either(made: dict[str, float] | None) -> None:
    # DEU sells five times what it buys: what it makes beyond that it sells. BEL buys little more than it sells, and in
    # many draws less: then no member of the bloc consumes any, and rounding must not make DEU the one that does.
    routes = [
        ("CHN", "BEL", 60.0), ("USA", "BEL", 40.0), ("BEL", "GBR", 95.0), ("DEU", "GBR", 5000.0),
        ("USA", "DEU", 1000.0),
    ]  # fmt: skip
    held = code(routes, made)
    names = held.countries
    double, single = (
        own(DrawnCode(held, Noise(Draws(800, 5), model(), p)), "BEL", "DEU") for p in (np.float64, np.float32)
    )
    assert (single[:, names.index("DEU")] == 0).all()
    nobody = (double == 0).all(axis=1)
    assert 150 < nobody.sum() < 650
    np.testing.assert_array_equal(single, double)


def test_what_goes_through_small_flows_keeps_its_origins() -> None:
    """A tail is exact without noise, and off by no more than its own size with it."""
    rng = np.random.default_rng(3)
    names = [f"C{k:02d}" for k in range(30)]
    routes = [(i, j, float(rng.lognormal(0, 3))) for i in names for j in names if i != j and rng.random() < 0.3]
    noise = Noise(Draws(200, 5), model())
    drawn = DrawnCode(code(routes), noise)
    weights = own(drawn, "C05")
    exact, near, rough = (drawn.rows(weights, tail) for tail in (0.0, 1e-3, 0.05))
    (followed,) = drawn.mixes([[weights[:1].T, *[weights.T[:, s] for s in noise.draws.blocks]]], 0.05)
    assert 0 < len(followed.kept) < len(routes) / 2
    np.testing.assert_array_equal(exact[0], rough[0])
    assert np.abs(near - exact).max() < 2e-3
    assert 1e-6 < np.abs(rough - exact).max() < 0.08
    np.testing.assert_allclose(rough.sum(axis=1), 1.0, atol=1e-9)


def test_goods_that_go_round_and_round_are_solved_by_themselves() -> None:
    routes = [("AAA", "BBB", 1e6), ("BBB", "AAA", 1e6), ("CCC", "AAA", 1.0), ("AAA", "NLD", 1.0), ("BBB", "DDD", 0.5)]
    noise = Noise(Draws(5, 5), model(q=1e-7, imputed=0.3))
    drawn = DrawnCode(code(routes, {"AAA": 0.0, "BBB": 0.0, "CCC": 3.0, "NLD": 0.0, "DDD": 0.0}), noise)
    weights = own(drawn, "NLD")
    found = drawn.rows(weights)
    for column in range(noise.draws.columns):
        origins, _, _ = dense(drawn, noise, column)
        np.testing.assert_allclose(found[column], weights[column] @ origins, atol=2e-6)


@pytest.mark.parametrize("case", CASES)
def test_a_column_that_takes_too_many_hops_is_solved_with_its_own_noise(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_HOPS", 2)
    noise = Noise(Draws(7, 5), model(q=0.4, v=0.4))
    drawn = DrawnCode(CASES[case], noise)
    weights = own(drawn, "NLD", "DEU")
    found = drawn.rows(weights)
    for column in range(noise.draws.columns):
        origins, _, _ = dense(drawn, noise, column)
        np.testing.assert_allclose(found[column], weights[column] @ origins, atol=1e-9)


def test_unknown_origin_may_sell_as_well_as_be_owed() -> None:
    """NLD buys 30 of UNK itself and 70 of BEL, a non-producer that sells 20 more than it buys of CHN."""
    routes = [("UNK", "NLD", 30.0), ("CHN", "BEL", 50.0), ("BEL", "NLD", 70.0)]
    drawn = DrawnCode(code(routes, barred=("BEL",)), Noise(Draws(3, 1), SURE))
    found = drawn.rows(own(drawn, "NLD"))
    expected = {"CHN": 0.5, "UNK": 0.5}
    np.testing.assert_allclose(found, [[expected.get(c, 0.0) for c in drawn.countries]] * len(found), atol=1e-12)
    noise = Noise(Draws(6, 5), model(q=0.4))
    drawn = DrawnCode(code(routes, barred=("BEL",)), noise)
    found = drawn.rows(own(drawn, "NLD"))
    for column in range(noise.draws.columns):
        origins, _, _ = dense(drawn, noise, column)
        np.testing.assert_allclose(found[column], origins[drawn.countries.index("NLD")], atol=3e-8)


def test_a_single_flow_that_is_not_followed_is_what_is_left() -> None:
    """USA's tenth is the tail: in every draw it is what neither UNK nor CHN is."""
    noise = Noise(Draws(9, 5), model(q=0.4))
    drawn = DrawnCode(code([("UNK", "NLD", 15.0), ("USA", "NLD", 10.0), ("CHN", "NLD", 75.0)]), noise)
    found = drawn.rows(own(drawn, "NLD"), 0.1)
    for column in range(noise.draws.columns):
        origins, _, _ = dense(drawn, noise, column)
        np.testing.assert_allclose(found[column], origins[drawn.countries.index("NLD")], atol=1e-9)


def test_members_that_trade_nothing_have_what_they_make() -> None:
    """What DEU and FRA make is off by other errors: their parts in the bloc differ from draw to draw."""
    noise = Noise(Draws(9, 5), model(observed=0.5))
    drawn = DrawnCode(code([("CHN", "NLD", 30.0)], {"CHN": 30.0, "DEU": 20.0, "FRA": 10.0}), noise)
    weights = own(drawn, "DEU", "FRA", "NLD")
    found = drawn.rows(weights)
    for column in range(noise.draws.columns):
        origins, _, _ = dense(drawn, noise, column)
        np.testing.assert_allclose(found[column], weights[column] @ origins, atol=1e-9)
    german = found[noise.draws.drawn, drawn.countries.index("DEU")]
    assert german.std() > 0.05


def test_less_than_one_is_a_supply() -> None:
    noise = Noise(Draws(4, 5), SURE)
    drawn = DrawnCode(code([("CHN", "NLD", 0.3), ("USA", "NLD", 0.1)]), noise)
    weights = own(drawn, "NLD")
    assert (weights[:, drawn.countries.index("NLD")] == 1).all()
    np.testing.assert_allclose(drawn.rows(weights)[:, drawn.countries.index("CHN")], 0.75)


def kept_flows(routes: Sequence[tuple[str, str, float]], focus: str, tail: float) -> list[int]:
    """The numbers of the flows of a code that are followed for a focus."""
    drawn = DrawnCode(code(routes), Noise(Draws(2, 1), SURE))
    weights = own(drawn, focus)
    (mix,) = drawn.mixes([[weights[:1].T, weights.T]], tail)
    assert mix.near == pytest.approx(max(tail / 10, ON_ITS_WAY))
    return [int(k) for k in mix.kept]


def test_flows_are_left_out_up_to_the_tail_and_not_beyond() -> None:
    routes = [("CHN", "NLD", 1.0), ("USA", "NLD", 7.0)]
    assert kept_flows(routes, "NLD", 0.0) == [0, 1]
    assert kept_flows(routes, "NLD", 0.124) == [0, 1]
    assert kept_flows(routes, "NLD", 0.125) == [1]
    # Of forty equal flows the first are left out.
    equal = [("USA", "NLD", 60.0), *((f"C{k:02d}", "NLD", 1.0) for k in range(40))]
    assert kept_flows(equal, "NLD", 0.1001) == [0, *range(11, 41)]
    drawn = DrawnCode(code(routes), Noise(Draws(2, 1), SURE))
    weights = own(drawn, "NLD")
    (whole,) = drawn.mixes([[weights[:1].T, weights.T]])
    assert (whole.kept.tolist(), whole.near) == ([0, 1], ON_ITS_WAY)


def test_supply_is_followed_until_a_tenth_of_the_tail_is_on_its_way() -> None:
    """All of a chain is one supply: none of it is small, however far away."""
    chain = [(f"C{k:02d}", f"C{k + 1:02d}", 1.0) for k in range(5)]
    assert kept_flows(chain, "C05", 0.1) == [0, 1, 2, 3, 4]
    # A chain of fifteen flows of 1 in 128 each, at the end of which 127 are bought elsewhere: with a tenth of the tail
    # on its way nobody looks further; with a little more the chain is followed, and is more than the tail together.
    thin = [(f"C{k:02d}", f"C{k + 1:02d}", 1.0) for k in range(15)] + [("USA", "C15", 127.0)]
    assert kept_flows(thin, "C15", 10 / 128) == [15]
    more = [*thin[:-1], ("USA", "C15", 126.0)]
    assert kept_flows(more, "C15", 10 / 128) == [9, 10, 11, 12, 13, 14, 15]


@pytest.mark.parametrize("precision", [np.float32, np.float64])
def test_origins_have_the_precision_of_the_noise(precision: Any) -> None:
    noise, double = Noise(Draws(6, 5), model(), precision), Noise(Draws(6, 5), model())
    drawn, exact = DrawnCode(CASES["statistic"], noise), DrawnCode(CASES["statistic"], double)
    inside = np.isin(drawn.countries, ["NLD", "DEU"])
    (mix,) = drawn.mixes([drawn.focus_blocks(inside, single=False)])
    (known,) = exact.mixes([exact.focus_blocks(inside, single=False)])
    # Without noise all is double whatever the noise is.
    np.testing.assert_array_equal(mix.exact, known.exact)
    np.testing.assert_array_equal(mix.lost, known.lost)
    proxied = DrawnCode(CASES["proxy"], noise)
    (plain,) = proxied.mixes([proxied.focus_blocks(inside, single=False)])
    assert proxied.origins(plain, 0).dtype == precision


def test_a_closed_circle_without_a_maker_is_unknown() -> None:
    noise = Noise(Draws(4, 5), SURE)
    drawn = DrawnCode(code([("AAA", "BBB", 5.0), ("BBB", "AAA", 5.0), ("CHN", "NLD", 3.0)]), noise)
    found = drawn.rows(own(drawn, "AAA"))
    assert (found[:, drawn.countries.index("UNK")] == 1).all()
    assert (found.sum(axis=1) == 1).all()


def test_a_code_without_flows_is_what_is_made() -> None:
    noise = Noise(Draws(4, 5), model())
    drawn = DrawnCode(code([], {"NLD": 5.0}), noise)
    found = drawn.rows(own(drawn, "NLD"))
    assert (found[:, drawn.countries.index("NLD")] == 1).all()
    assert drawn.mixes([]) == []


# -- what is said of the draws -------------------------------------------------------------------------------


def test_summaries_by_hand() -> None:
    draws = Draws(101, 1, (FLOWS, GOVERNANCE))
    figures = np.full((3, draws.columns), 5.0)
    figures[0, draws.drawn] = np.arange(101)[::-1]
    figures[1, draws.drawn] = np.where(np.arange(101) < 51, np.nan, np.arange(101) - 51.0)
    figures[2] = np.nan
    found = summarise(figures, draws)
    np.testing.assert_array_equal(found.value, [5.0, 5.0, np.nan])
    assert found.draws.tolist() == [101, 50, 0]
    np.testing.assert_allclose(found.mean, [50.0, 24.5, np.nan])
    np.testing.assert_allclose(found.low, [5.0, 0.05 * 49, np.nan])
    np.testing.assert_allclose(found.high, [95.0, 0.95 * 49, np.nan])
    assert found.matters_most.tolist() == [-1, -1, -1]
    assert summarise(figures[:0], draws).mean.shape == (0,)


def test_figures_are_summarised_each_for_itself() -> None:
    """Two that can be had in every draw, two in some, one in a single draw."""
    draws = Draws(101, 1, (FLOWS,))
    figures = np.full((5, draws.columns), np.nan)
    figures[:, 0] = [1.0, 2.0, 3.0, 4.0, 5.0]
    figures[0, draws.drawn], figures[1, draws.drawn] = np.arange(101), 10.0 * np.arange(101)
    figures[2, 1:12], figures[3, 50:61] = np.arange(11), 10.0 * np.arange(11)
    figures[4, 7] = 8.0
    found = summarise(figures, draws)
    assert found.draws.tolist() == [101, 101, 11, 11, 1]
    np.testing.assert_allclose(found.mean, [50.0, 500.0, 5.0, 50.0, 8.0])
    np.testing.assert_allclose(found.low, [5.0, 50.0, 0.5, 5.0, 8.0])
    np.testing.assert_allclose(found.high, [95.0, 950.0, 9.5, 95.0, 8.0])


def test_the_family_with_the_largest_variance_matters_most() -> None:
    draws = Draws(64, 1)
    z = np.random.default_rng(1).standard_normal(64)
    figures = np.full((5, draws.columns), 0.4)
    figures[0, draws.only(FLOWS)] += 0.01 * z
    figures[0, draws.only(GOVERNANCE)] += 0.02 * z
    figures[1, draws.only(PRODUCTION)] += 0.03 * z
    figures[1, draws.only(INTENSITIES)] -= 0.029 * z
    figures[2, draws.only(INTENSITIES)] += 1e-5 * z
    figures[3, draws.only(FLOWS)] += 1e-8 * z  # rounding is no variance
    figures[4, draws.only(FLOWS)] += 0.1  # an offset is none either
    figures[4, draws.only(PRODUCTION)] += np.where(np.arange(64) < 2, np.nan, 0.001 * z)
    assert [FAMILIES[k] if k >= 0 else "" for k in matters_most(figures, draws)] == [
        GOVERNANCE, PRODUCTION, INTENSITIES, "", PRODUCTION,
    ]  # fmt: skip
    assert matters_most(np.full((1, draws.columns), np.nan), draws).tolist() == [-1]


def test_what_moves_a_figure_is_told_from_what_does_not() -> None:
    draws = Draws(64, 1, (FLOWS, PRODUCTION))
    turn = np.tile([1.0, -1.0], 32)
    figures = np.ones((8, draws.columns))
    at = draws.only(PRODUCTION)
    # A millionth of the figure is rounding, more is not.
    figures[0, at] = 1e-6 * turn
    figures[1, at] = 1.01e-6 * turn
    # Known in one column, or the same in all but some: no variance.
    figures[2, at] = np.where(np.arange(64) == 5, 7.0, np.nan)
    figures[3, at] = np.where(np.arange(64) < 60, 7.0, np.nan)
    # The size is that of the figure, not of a draw, and a small figure has small rounding.
    figures[4, 1], figures[4, at] = 1e4, 1e-5 * turn
    figures[5, 0], figures[5, at] = 1e-3, 1e-7 * turn
    figures[6, 0], figures[6, at] = -100.0, 1e-5 * turn
    figures[7, 0], figures[7, at] = 0.0, 1.01e-15 * turn
    assert [FAMILIES[k] if k >= 0 else "" for k in matters_most(figures, draws)] == [
        "", PRODUCTION, "", "", PRODUCTION, PRODUCTION, "", PRODUCTION,
    ]  # fmt: skip
    figures[7, at] = 1e-16 * turn
    assert matters_most(figures, draws)[7] == -1


def test_the_share_of_a_single_draw() -> None:
    draws = Draws(4, 1, ())
    figures = np.array([[0.0, np.nan, 0.5, np.nan, np.nan], [0.0, np.nan, np.nan, 0.3, np.nan]])
    np.testing.assert_array_equal(flag_share(figures, draws, lambda v: v > 0.4), [1.0, 0.0])


def test_the_share_of_the_draws_beyond_a_threshold_is_strict() -> None:
    draws = Draws(4, 1, ())
    figures = np.array([[9.0, 0.4, 0.5, 0.3, np.nan], [0.0, np.nan, np.nan, np.nan, np.nan], [1, 0.4, 0.4, 0.4, 0.4]])
    np.testing.assert_allclose(flag_share(figures, draws, lambda v: v > 0.4), [1 / 3, np.nan, 0.0])
    np.testing.assert_allclose(flag_share(figures, draws, lambda v: v < 0.4), [1 / 3, np.nan, 0.0])


def test_an_interval_narrows_and_widens_with_the_errors() -> None:
    widths = []
    for sd in (0.05, 0.2, 0.6):
        noise = Noise(Draws(300, 5), model(q=sd, imputed=0.0))
        drawn = DrawnCode(code([("CHN", "NLD", 60.0), ("USA", "NLD", 40.0)]), noise)
        found = drawn.rows(own(drawn, "NLD"))
        shares = found[:, drawn.countries.index("CHN")]
        told = summarise(shares[np.newaxis], noise.draws)
        assert told.value[0] == pytest.approx(0.6)
        assert told.low[0] < 0.6 < told.high[0]
        widths.append(told.high[0] - told.low[0])
        # Of two flows with equal errors the spread of a share s is about s (1 - s) sqrt(2) sd.
        if sd < 0.3:
            assert shares[noise.draws.drawn].std() == pytest.approx(0.24 * np.sqrt(2) * sd, rel=0.15)
    assert widths[0] < widths[1] < widths[2]
