"""The named methods as they are published: frozen with their version, and configuration where the cut-offs are ours."""

from __future__ import annotations

import pytest

from ketenpipe.errors import WrongUse
from ketenpipe.risk.definitions import METHODS as WORDS
from ketenpipe.risk.published import (
    PUBLISHED,
    Limit,
    build_named_methods,
    chosen_methods,
    limits_of,
    with_frozen_limits,
)
from ketenpipe.tables.registry import METHODS
from ketenpipe_tests.worlds import thresholds

#: Method: version, frozen, limits, rule, further numbers, configured limits. A change here needs a new version.
FROZEN = {
    "geodep": (
        "2024.1", True, ("C1 > 0.4", "C2 > 0.4", "S1 > 1"),
        "all of them in at least 2 of the 3 years that end in the year", (("years", 2.0), ("window", 3.0)), (),
    ),
    "swd2021": (
        "2021.1", True, ("C1 > 0.4", "C5 > 0.5", "S1b > 1"), "all of them in the year; focus EU27 only", (), (),
    ),
    "cbs": (
        "2021.1", True, ("C1 > 0.25",), "flagged above 0.25 (band high); band moderate above 0.15",
        (("moderate", 0.15),), (),
    ),
    "crma65": (
        "2024.1", True, ("C4b > 0.65",),
        "C4b where production is observed and the confidence is not low, else C4a against the same limit, marked as "
        "proxy", (), (),
    ),
    "tno": ("1", False, (), "both, over world production of the material", (), ("C3", "G2")),
    "ec_criticality": ("2023.1", True, ("G5 >= 1", "EI >= 2.8"), "both; focus EU27 only", (), ()),
    "geopolrisk": (
        "2016.1", True, (),
        "a rank among the items of a focus, level and year, 1 = largest; no limit; the top quarter is indicated, which "
        "is ketenpipe's convention", (("quarter", 0.25),), (),
    ),
    "foreign_input_reliance": (
        "2023.1", True, ("I4 > 2",),
        "for some foreign country with FIR >= 0.01; at level hs6 the verdict of the product's industry, indicated only",
        (("least_reliance", 0.01),), (),
    ),
    "node_test": ("1", False, (), "both, over the traced supply of the focus", (), ("T_hhi", "T_wgi")),
    "indirect_specific": (
        "1", False, (),
        "tier 0 fails the node test, a buyer-specific node of tier 1 or 2 of enough path weight passes it", (),
        ("T_hhi", "T_wgi", "X1_weight"),
    ),
    "indirect_global": (
        "1", False, (),
        "tier 0 fails the node test, a node of tier 1 or 2 passes TNO's plane of world production", (),
        ("T_hhi", "T_wgi", "C3", "G2"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("method", FROZEN)
def test_a_definition_changes_with_its_version_only(method: str) -> None:
    p = PUBLISHED[method]
    assert (p.version, p.frozen, tuple(map(str, p.limits)), p.rule, p.others, p.configured) == FROZEN[method]


def test_every_method_of_the_registry_is_defined_and_named() -> None:
    assert tuple(PUBLISHED) == METHODS == tuple(FROZEN)
    assert set(WORDS) == set(METHODS)
    for p in PUBLISHED.values():
        assert all((p.citation, p.opened, p.leaves_out, p.leaves_out_nl))
        assert p.frozen == (not p.configured)


def test_what_could_not_be_opened_says_so() -> None:
    assert [p.method for p in PUBLISHED.values() if p.status == "recalled"] == ["swd2021"]
    assert "t is left at 1" in PUBLISHED["ec_criticality"].leaves_out
    assert "riskier of its stages" in PUBLISHED["ec_criticality"].leaves_out


def test_the_limits_of_the_commission_are_told_as_read_at_second_hand_everywhere() -> None:
    opened = PUBLISHED["ec_criticality"].opened
    assert opened.startswith("at second hand: ")
    shipped = thresholds()
    for name, limit in zip(("G5", "EI"), PUBLISHED["ec_criticality"].limits, strict=True):
        held = getattr(shipped, name)
        assert (name, held.at_least, True) == (limit.indicator, limit.cut, limit.at_least)
        assert "read at second hand" in held.source
        assert f">= {limit.cut:g}" in held.source
        assert "the study itself could not be opened" in held.source
        assert "the study itself could not be opened" in opened
    assert "recalled" not in opened + shipped.G5.source + shipped.EI.source


def test_frozen_limits_do_not_follow_the_configuration() -> None:
    shipped = thresholds()
    moved = {
        name: getattr(shipped, name).model_copy(update={"flag": 0.123})
        for name in ("C1", "C2", "C3", "C4", "C5", "S1", "S1b", "G2", "T_hhi", "T_wgi")
    }
    other = shipped.model_copy(update=moved)
    for p in PUBLISHED.values():
        if p.frozen:
            assert limits_of(p.method, other) == limits_of(p.method, shipped) == p.limits
        else:
            assert {limit.cut for limit in limits_of(p.method, other)} == {0.123}
    assert limits_of("tno", shipped) == (Limit("C3", 0.4), Limit("G2", 0.5))
    assert limits_of("node_test", shipped) == (Limit("O1", 0.4), Limit("G2", 0.5))
    assert limits_of("indirect_specific", shipped) == (Limit("O1", 0.4), Limit("G2", 0.5))
    assert [l.indicator for l in limits_of("indirect_global", shipped)] == ["O1", "G2", "C3", "G2"]  # noqa: E741


def test_all_methods_or_those_that_are_named_judge() -> None:
    assert chosen_methods(()) == METHODS
    assert chosen_methods(["cbs", "geodep"]) == ("geodep", "cbs")
    with pytest.raises(WrongUse) as refused:
        chosen_methods(["cbs", "geodeep", "alpha"])
    assert str(refused.value) == f"there is no named method 'alpha'; known are {', '.join(METHODS)}"


def test_the_table_of_methods() -> None:
    held = {r["method"]: r for r in build_named_methods(thresholds(), ["geodep", "tno"]).to_pylist()}
    assert set(held) == set(METHODS)
    assert [m for m, r in held.items() if r["judges"]] == ["geodep", "tno"]
    geodep, rank = held["geodep"], held["geopolrisk"]
    assert (geodep["limits"], geodep["frozen"], geodep["publication_year"]) == (
        "C1 > 0.4; C2 > 0.4; S1 > 1",
        True,
        2024,
    )
    assert (rank["limits"], rank["citation_status"], rank["version"]) == (None, "read", "2016.1")
    assert held["tno"]["publication_year"] is None
    assert held["tno"]["limits"] == "C3 > 0.4; G2 > 0.5"
    assert held["swd2021"]["citation_status"] == "recalled"
    assert all(build_named_methods(thresholds()).column("judges").to_pylist())
    for name, p in PUBLISHED.items():
        for column, value in (
            ("rule", p.rule), ("publication", p.publication), ("citation", p.citation), ("opened", p.opened),
            ("leaves_out", p.leaves_out), ("leaves_out_nl", p.leaves_out_nl),
        ):  # fmt: skip
            assert held[name][column] == value


def test_a_further_number_that_is_none() -> None:
    assert PUBLISHED["cbs"].number("moderate") == 0.15
    with pytest.raises(KeyError):
        PUBLISHED["cbs"].number("window")


def test_what_published_verdicts_are_drawn_by_is_frozen_whatever_the_configuration_says() -> None:
    plain = thresholds()
    moved = plain.model_copy(
        update={
            n: getattr(plain, n).model_copy(update=u)
            for n, u in {
                "C1": {"flag": 0.1, "high": 0.9},
                "C2": {"flag": 0.1},
                "S1": {"flag": 9.0},
                "C5": {"flag": 0.9},
                "S1b": {"flag": 9.0},
                "C4": {"flag": 0.1},
                "P1": {"at_least": 1, "window": 2},
                "T_hhi": {"flag": 0.3},
            }.items()
        }
    )
    held = with_frozen_limits(moved)
    assert (held.C1.flag, held.C1.high, held.C2.flag, held.S1.flag) == (0.4, 0.25, 0.4, 1.0)
    assert (held.C5.flag, held.S1b.flag, held.C4.flag) == (0.5, 1.0, 0.65)
    assert (held.P1.at_least, held.P1.window) == (2, 3)
    assert held.T_hhi.flag == 0.3, "ours stay configuration"
