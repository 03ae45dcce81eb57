"""The year as matrices: the same codes combined, the same vectors, the same weights as in the look-through."""

from __future__ import annotations

import numpy as np
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ketenpipe.chain.lookthrough import combine_codes
from ketenpipe.chain.steps import ChainYear, CodeSteps, NodeSteps
from ketenpipe_tests.chain.step_worlds import COUNTRIES, vectors, walk
from ketenpipe_tests.worlds import catalogue, edge, essential, flows, mass, mining, node

A, B, C, D = "100001", "100002", "100003", "100004"


@st.composite
def codes(draw: st.DrawFn) -> tuple[CodeSteps, ...]:
    """One to three codes; in each a country may have no supply, or eat nothing of it."""
    n = len(COUNTRIES)

    def one() -> CodeSteps:
        supply = np.array([*(float(draw(st.sampled_from([0, 1, 5, 20]))) for _ in range(n - 1)), 0.0])
        eaten = np.array([draw(st.sampled_from([0.0, 0.4, 1.0])) * s for s in supply])
        origins = np.array([draw(vectors(n)) if s > 0 else np.zeros(n) for s in supply])
        return CodeSteps(origins, supply, eaten, supply - eaten, supply / 2, draw(st.sampled_from(["observed",
                         "export_proxy"])))  # fmt: skip

    return tuple(one() for _ in range(draw(st.integers(1, 3))))


@settings(max_examples=100, deadline=None)
@given(codes())
def test_codes_are_combined_as_one_country_at_a_time(parts: tuple[CodeSteps, ...]) -> None:
    node_steps = NodeSteps.of(tuple("abc"[: len(parts)]), parts)
    for j in range(len(COUNTRIES)):
        held = [
            ({c: float(s) for c, s in zip(COUNTRIES, p.origins[j], strict=True)}, p.eaten[j], p.supply[j], 0.0)
            for p in parts
            if p.supply[j] > 0
        ]
        if held:
            expected = combine_codes(held)[0]
            assert dict(zip(COUNTRIES, node_steps.origins[j], strict=True)) == pytest.approx(expected, abs=1e-12)
            assert node_steps.weights[:, j].sum() == pytest.approx(1.0)
        else:
            assert node_steps.origins[j].tolist() == [0.0] * (len(COUNTRIES) - 1) + [1.0]
            assert not node_steps.weights[:, j].any()
    assert node_steps.basis == max((p.basis for p in parts), key=("observed", "export_proxy").index)


def test_vectors_are_those_of_the_look_through() -> None:
    # Two users, one of them behind a dashed step; a node with the world mix; two codes; a bloc.
    reference = catalogue(
        [
            node("a", A), node("b", f"{B} {C}"), node("x", "100009"), node("d", D),
            node("mine_x", material="Ore", stage="extraction"),
        ],
        [edge("a", "b", 0.6), edge("a", "x", 0.2), essential("b", "d"), essential("x", "d"), essential("d", "mine_x")],
    )  # fmt: skip
    table = flows(
        [
            *mass(2020, A, ("DEU", "NLD", 60), ("FRA", "NLD", 40), ("CHN", "DEU", 30)),
            *mass(2020, B, ("CHN", "DEU", 30), ("RUS", "FRA", 10)),
            *mass(2020, C, ("CHN", "DEU", 10), ("USA", "DEU", 5)),
            *mass(2020, D, ("ZAF", "CHN", 10), ("BRA", "DEU", 7), ("ZAF", "FRA", 2), ("BRA", "USA", 2)),
        ]
    )
    made = mining([("Ore", "ZAF", 2020, 30.0), ("Ore", "BRA", 2020, 10.0)])
    walked = walk(table, reference, ("NLD", "EU27"), made)
    (chain,) = walked.seen.chains()
    assert chain.order == ("a", "b", "x", "d", "mine_x")
    assert chain.users["d"] == (("b", pytest.approx(0.75)), ("x", pytest.approx(0.25)))
    assert chain.broken == frozenset()
    for focus in ("NLD", "EU27"):
        found = chain.vectors(focus)
        for name in ("a", "b", "d", "mine_x"):
            expected = walked.seen.vector("g", name, focus)
            assert expected is not None
            assert found[name] == pytest.approx(expected, abs=2e-9), (focus, name)
    assert walked.seen.countries[-1] == "UNK"
    assert walked.seen.index(["ZAF", "XXX"]).tolist() == [walked.seen.countries.index("ZAF")]


def test_what_rounding_leaves_of_nothing_is_not_eaten() -> None:
    # DEU passes on all it buys of both codes: it weighs them by supply, 2 to 1, and not by a trace of the first.
    reference = catalogue([node("a", A), node("b", f"{B} {C}")], [essential("a", "b")])
    table = flows(
        [
            *mass(2020, A, ("DEU", "NLD", 10)),
            *mass(2020, B, ("CHN", "DEU", 100), ("DEU", "FRA", 100)),
            *mass(2020, C, ("RUS", "DEU", 50), ("DEU", "FRA", 50)),
        ]
    )
    walked = walk(table, reference)
    production = walked.tracing.production
    touched = pc.and_(pc.equal(production["country"], "DEU"), pc.equal(production["code"], B))
    supply = pc.if_else(touched, pc.multiply(production["supply"], 1 + 1e-9), production["supply"])
    at = production.schema.get_field_index("supply")
    seen = ChainYear.of(
        exposure=walked.exposure.exposure,
        chain_nodes=walked.exposure.chain_nodes,
        chain_edges=walked.exposure.chain_edges,
        production=production.set_column(at, production.schema.field(at), supply),
        origin_mix=walked.tracing.origin_mix,
    )
    found = seen.node("g", "b")
    assert found is not None
    row = dict(zip(seen.countries, found.origins[seen.countries.index("DEU")], strict=True))
    assert (row["CHN"], row["RUS"]) == pytest.approx((2 / 3, 1 / 3))
