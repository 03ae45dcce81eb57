"""The register: which flags make a verdict, what it rests on, its grade and priority."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pytest

from ketenpipe.observatory.grades import build_grades, load_grade_rules
from ketenpipe.observatory.register import build_register
from ketenpipe.review.state import State
from ketenpipe.tables.registry import FLAGS, HS_WEIGHTS, INPUT_FILES, PRODUCT_INDUSTRIES, ROBUSTNESS
from ketenpipe_tests.worlds import SHIPPED, Run, chain_world, one, rows

Edit = Mapping[tuple[str, str], Mapping[str, Any]]


def states(held: Run, **signed: State) -> dict[str, State]:
    return {g: signed.get(g, State(g, "awaiting_sign_off", f"hash of {g}")) for g in held.reference.groups}


def tables(held: Run, flags: pa.Table) -> dict[str, pa.Table]:
    return {
        "indicators": held.indicators,
        "flags": flags,
        "exposure": held.exposure.exposure,
        "chain_nodes": held.exposure.chain_nodes,
        "data_grades": data_grades(held),
    }


def data_grades(held: Run) -> pa.Table:
    """The grades of a run, of a release of the year after its data."""
    seen = {
        "indicators": held.indicators,
        "exposure": held.exposure.exposure,
        "chain_nodes": held.exposure.chain_nodes,
        "chain_edges": held.exposure.chain_edges,
        "product_industries": PRODUCT_INDUSTRIES.empty(),
        "hs_weights": HS_WEIGHTS.empty(),
        "input_files": INPUT_FILES.empty(),
    }
    return build_grades(seen, held.reference, load_grade_rules(SHIPPED), (), ("NLD",), 2021)


def register(
    edits: Edit | None = None,
    held: Run | None = None,
    *,
    minimum: float = 1000.0,
    robustness: pa.Table | None = None,
    **signed: State,
) -> pa.Table:
    """The register of a run, with the flags of ``(group, method)`` overwritten; ``drop`` removes the row."""
    held = held or chain_world()
    changed = []
    for r in held.flags.to_pylist():
        edit = (edits or {}).get((r["group"], r["method"]), {}) if r["level"] == "group" else {}
        if "drop" not in edit:
            changed.append(r | dict(edit))
    seen = tables(held, FLAGS.conform(changed))
    if robustness is not None:
        seen[ROBUSTNESS.name] = robustness
    return build_register(seen, held.reference, states(held, **signed), ("NLD",), minimum)


NO_GEODEP = {"flagged": False, "reason": None}


@lru_cache
def plain() -> pa.Table:
    """The register where GeoDep, whose window one year cannot fill, does not flag."""
    return register({(g, "geodep"): NO_GEODEP for g in chain_world().reference.groups})


def verdict(group: str) -> dict[str, Any]:
    """A group's row of :func:`plain`."""
    return one(plain(), group=group)


# -- the direct flag -----------------------------------------------------------------------------------------


def test_direct_is_the_three_valued_or_of_its_methods() -> None:
    # One register for all nine cases, each on a group of its own: true wins, then unknown, then false.
    groups = ("specific", "far", "world", "alone", "link", "hub", "direct", "just_heavy", "too_light")
    cases = dict(zip(groups, itertools.product((True, False, None), repeat=2), strict=True))
    edits = {}
    for group, (geodep, plane) in cases.items():
        why = {"below_minimum": False}
        edits[group, "geodep"] = why | {
            "flagged": geodep,
            "reason": None if geodep is not None else "window_incomplete",
        }
        edits[group, "node_test"] = why | {"flagged": plane, "reason": None if plane is not None else "export_proxy"}
    made = register(edits)
    for group, values in cases.items():
        expected = True if True in values else None if None in values else False
        assert one(made, group=group)["direct_flag"] is expected, (group, values)


def test_a_flag_on_imports_below_the_minimum_does_not_count() -> None:
    # alone: GeoDep flags, X1 would too, on tiny imports: not direct, not indirect, and the verdict says so.
    tiny = {"flagged": True, "below_minimum": True, "reason": None}
    edits = {("alone", m): tiny for m in ("geodep", "indirect_specific", "indirect_global")}
    found = one(register(edits), group="alone")
    assert (found["direct_flag"], found["indirect_specific"], found["indirect_global"]) == (False, False, False)
    assert found["verdict"].startswith("None found")
    assert "below the minimum" in found["verdict"]
    assert "minimumwaarde" in found["verdict_nl"]
    counted = one(register({k: tiny | {"below_minimum": False} for k in edits}), group="alone")
    assert counted["direct_flag"] is True


def test_a_real_run_marks_small_imports_itself() -> None:
    # little_risky: 50 t at 10 thousand USD = 500 thousand USD, under the million of chain_world: T flags, and does
    # not count; with a lower minimum it does.
    assert one(chain_world().flags, level="group", group="little_risky", method="node_test")["flagged"] is True
    assert verdict("little_risky")["direct_flag"] is False


def test_an_indication_on_imports_below_the_minimum_is_none() -> None:
    edits = {("proxied_risky", "node_test"): {"below_minimum": True}}
    assert verdict("proxied_risky")["indication"] is not None
    assert one(register(edits), group="proxied_risky")["indication"] is None


# -- verdicts in words ---------------------------------------------------------------------------------------


def test_a_direct_dependency_names_method_and_country() -> None:
    found = verdict("direct")
    assert found["direct_flag"] is True
    assert found["verdict"].startswith("Direct dependency (Node test")
    assert "China 100%" in found["verdict"]
    assert (found["weakest_node"], found["weakest_country"], found["weakest_path"]) == ("risky", "CHN", "risky")


def test_an_indirect_dependency_names_its_node() -> None:
    found = verdict("specific")
    assert (found["direct_flag"], found["indirect_specific"]) == (False, True)
    assert "through the chain, at risky (China 100%" in found["verdict"]
    assert "the same for every country" not in found["verdict"].split(";")[0]
    assert (found["weakest_node"], found["weakest_path"]) == ("risky", "safe <- risky")


def test_a_global_one_says_that_it_is_the_same_for_every_country() -> None:
    found = verdict("world")
    assert (found["direct_flag"], found["indirect_specific"], found["indirect_global"]) == (False, False, True)
    assert "the same for every country, at mine_hard" in found["verdict"]
    assert "gelijk voor elk land" in found["verdict_nl"]
    assert (found["weakest_node"], found["weakest_country"]) == ("mine_hard", "CHN")


def test_nothing_found_is_said_only_where_everything_could_be_told() -> None:
    assert verdict("world_soft")["verdict"] == "None found"
    for group in ("only_dashed", "proxied", "little", "no_intensity", "unscored"):
        assert not verdict(group)["verdict"].startswith("None found"), group


def test_the_proxy_clears_nobody_and_gives_an_indication() -> None:
    found = verdict("proxied_risky")
    assert found["direct_flag"] is None
    assert found["verdict"].startswith("Cannot be told")
    assert "export proxy" in found["verdict"]
    assert found["indication"].startswith("direct, Russia 100%")
    assert "Aanwijzing: direct, Rusland 100%" in found["verdict_nl"]
    upstream = verdict("proxied_upstream")
    assert upstream["indirect_specific"] is None
    assert "through the chain, at proxy_risky (Russia 100%" in upstream["indication"]


def test_a_product_without_data_is_unknown_and_not_safe() -> None:
    found = verdict("nowhere")
    assert found["verdict"].startswith("Unknown: the sources hold no trade data for absent (HS92 3000")
    assert {found[c] for c in ("year", "direct_flag", "indirect_specific", "indirect_global", "robust")} == {None}
    assert (found["data_grade"], found["priority"]) == ("E", None)


# -- figures, grade, robustness ------------------------------------------------------------------------------


def test_the_figures_beside_the_verdict_are_those_of_the_traced_supply() -> None:
    found = verdict("specific")
    assert (found["hhi"], found["wgi"]) == (pytest.approx(0.5), pytest.approx(0.15))
    assert found["imports_kusd"] == 10000.0


def test_no_score_of_the_traced_supply_is_not_filled_from_the_direct_mix() -> None:
    # relayed: bought from DEU (.1), made in TWN (no score). The traced G2 cannot be had: null, not the direct mix's .1.
    assert verdict("relayed")["hhi"] == pytest.approx(1.0)
    assert verdict("relayed")["wgi"] is None


@pytest.mark.parametrize(
    ("group", "grade", "why"),
    [
        ("specific", "A", None),
        ("proxied", "C", "export proxy"),
        ("little", "B", "little mass"),
        ("only_dashed", "B", "no data on absent"),
    ],
)
def test_the_grade_falls_with_each_shortcoming(group: str, grade: str, why: str | None) -> None:
    # A; the proxy costs two steps, little mass one, a chain step without data one.
    found = verdict(group)
    assert found["data_grade"] == grade
    assert (found["data_grade_reason"] is None) if why is None else (why in found["data_grade_reason"])


def test_without_grades_the_register_grades_nothing() -> None:
    held = chain_world()
    seen = {k: v for k, v in tables(held, held.flags).items() if k != "data_grades"}
    made = build_register(seen, held.reference, states(held), ("NLD",), 1000.0)
    assert {r["data_grade"] for r in made.to_pylist()} == {None}
    assert {r["data_grade_reason"] for r in made.to_pylist()} == {None}


def test_a_dependency_is_robust_if_one_flag_behind_it_is() -> None:
    # GeoDep and node test: verdict, and whether it survives. The absence of a dependency is robust only if each of the
    # verdicts that make it is.
    cases = {
        "alone": ((True, False), (True, True), True),
        "specific": ((True, False), (True, False), False),
        "world": ((False, False), (False, True), False),
        "far": ((False, True), (False, True), True),
        "direct": ((True, None), (False, True), None),
    }
    edits: dict[tuple[str, str], dict[str, Any]] = {}
    tried = []
    for group, (geodep, plane, _) in cases.items():
        calm = (False, True)
        told = {"geodep": geodep, "node_test": plane, "indirect_specific": calm, "indirect_global": calm}
        for method, (flag, survives) in told.items():
            edits[group, method] = {"flagged": flag, "below_minimum": False, "reason": None}
            tried.append(
                {"focus": "NLD", "level": "group", "code": group, "hs_revision": "HS92", "group": group, "tier": 0,
                 "year": 2020, "method": method, "flagged": flag, "alternatives": 4, "robust": survives,
                 "reason": f"{method} in English.", "reason_nl": f"{method} in het Nederlands."}
            )  # fmt: skip
    made = register(edits, robustness=ROBUSTNESS.conform(tried))
    assert {g: one(made, group=g)["robust"] for g in cases} == {g: case[2] for g, case in cases.items()}
    found = one(made, group="alone")
    assert found["robust_reason"] == (
        "GeoDep (CEPII): geodep in English. Node test on traced supply: node_test in English."
    )
    assert found["robust_reason_nl"].endswith("node_test in het Nederlands.")
    assert verdict("alone")["robust"] is None, "nothing tried, nothing robust"


def test_an_indication_says_how_sure_it_is_and_is_never_robust() -> None:
    tried = ROBUSTNESS.conform(
        [{"focus": "NLD", "level": "group", "code": "proxied_risky", "hs_revision": "HS92", "group": "proxied_risky",
          "tier": 0, "year": 2020, "method": "node_test", "indicated": True, "alternatives": 4, "robust": False,
          "reason": "Not robust.", "reason_nl": "Niet robuust."}]
    )  # fmt: skip
    off = {("proxied_risky", "geodep"): NO_GEODEP}
    found = one(register(off, robustness=tried), group="proxied_risky")
    assert found["indication"] is not None
    assert (found["robust"], found["robust_reason"]) == (None, "Node test on traced supply: Not robust.")


def test_what_no_method_judges_is_not_cleared() -> None:
    off = {(g, m): {"drop": True} for g in chain_world().reference.groups for m in ("geodep", "node_test")}
    found = one(register(off), group="world_soft")
    assert found["direct_flag"] is None
    assert found["verdict"].startswith("Cannot be told: the method that would tell is not switched on")
    assert found["verdict_nl"].startswith("Niet te zeggen: de methode die het zegt staat niet aan")
    off |= {(g, "indirect_global"): {"drop": True} for g in chain_world().reference.groups}
    assert one(register(off), group="world_soft")["indirect_global"] is None


# -- priority ------------------------------------------------------------------------------------------------


def test_priority_is_interest_times_weight_times_risk() -> None:
    # Imports: specific 10 000 (the largest), direct 2 000 thousand USD; minimum 1000: weights 1 and log 3 / log 11.
    # Risk: X2 .4 (at risky) and .8. world: X2 .075, X2_global .64*.8 = .512: the larger. Interest 1, then .5.
    assert verdict("specific")["priority_score"] == pytest.approx(0.4)
    assert verdict("direct")["priority_score"] == pytest.approx(0.8 * math.log(3) / math.log(11))
    assert verdict("world")["priority_score"] == pytest.approx(0.512)
    held = chain_world()
    interest = replace(held.reference.public_interests["safety"], weight=0.5)
    half = replace(held, reference=replace(held.reference, public_interests={"safety": interest}))
    made = register(held=half)
    assert one(made, group="specific")["priority_score"] == pytest.approx(0.2)
    gone = verdict("nowhere")
    assert (gone["priority"], gone["priority_score"], gone["priority_reason"]) == (None, None, "no figures")


def test_equal_scores_share_a_rank_and_the_next_rank_is_left_out() -> None:
    made = [r for r in plain().to_pylist() if r["priority"] is not None]
    for r in made:
        assert r["priority"] == 1 + sum(o["priority_score"] > r["priority_score"] for o in made)
    assert len({r["priority"] for r in made}) < len(made), "several groups share the product safe"


# -- signatures ----------------------------------------------------------------------------------------------


def test_a_verdict_is_provisional_until_this_evidence_is_signed() -> None:
    signed = State("direct", "signed", "hash of direct", signed_role="expert", signed_on="2026-01-01")
    again = State("specific", "reopened", "hash of specific")
    made = register(direct=signed, specific=again)
    found = one(made, group="direct")
    assert (found["provisional"], found["signed_role"], found["review_status"]) == (False, "expert", "signed")
    for group, status in (("specific", "reopened"), ("world", "awaiting_sign_off")):
        found = one(made, group=group)
        assert (found["provisional"], found["review_status"], found["signed_role"]) == (True, status, None)


def test_every_group_has_one_row_with_words_in_two_languages() -> None:
    made = plain()
    assert sorted(r["group"] for r in made.to_pylist()) == sorted(chain_world().reference.groups)
    for r in rows(made, focus="NLD"):
        assert r["verdict"]
        assert r["verdict_nl"]
        if r["direct_flag"] is None and not r["indirect_specific"] and not r["indirect_global"]:
            assert r["verdict"].startswith(("Cannot be told", "Unknown")), r["group"]
