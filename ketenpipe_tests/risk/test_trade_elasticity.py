"""S3: which estimates count, and what a code of another HS revision takes."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from ketenpipe.risk.trade_elasticity import FIGURES, elasticities_of, elasticity_cut, weighted_mean
from ketenpipe.tables.registry import ELASTICITY, HS_WEIGHTS


def table(*rows: tuple[str, float | None, bool, bool], revision: str = "HS07") -> pa.Table:
    """``(code, elasticity, significant, positive)``."""
    names = ("code", "elasticity", "significant", "positive")
    return ELASTICITY.conform(
        dict(zip(names, r, strict=True)) | {"hs_revision": revision, "vintage": "ProTEE 0.1"} for r in rows
    )


#: 010121, 280530 and 850511 stand in the lists of HS92 and HS17 (010121 in HS17 only).
SOURCE = table(
    ("280530", -6.0, True, False),
    ("850511", -2.0, True, False),
    ("850519", None, False, False),
    ("850520", -4.0, False, False),
    ("850530", -3.0, True, True),
    ("850590", 0.5, True, False),
    ("854140", 0.0, True, False),
    ("010121", -9.0, True, False),
)


def weights(*rows: tuple[str, str, float], own: str = "HS17") -> pa.Table:
    return HS_WEIGHTS.conform(
        {
            "from_revision": own, "from_code": a, "to_revision": "HS07", "to_code": b, "weight": w,
            "weight_basis": "equal", "vintage": "test",
        }
        for a, b, w in rows
    )  # fmt: skip


def found(revision: str, code: str, source: pa.Table = SOURCE, led: pa.Table | None = None) -> dict[str, Any]:
    (row,) = elasticities_of(pd.DataFrame({"hs_revision": [revision], "code": [code]}), source, led).to_dict("records")
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()}


def test_a_code_of_the_same_revision_takes_its_own() -> None:
    row = found("HS07", "280530")
    assert (row["value"], row["low"], row["high"], row["method_value"]) == (6.0, 6.0, 6.0, 6.0)
    assert (row["reason"], row["confidence"], row["source_vintage"]) == (None, "high", "elasticity ProTEE 0.1")


@pytest.mark.parametrize(
    ("code", "reason", "published"),
    [
        ("850519", "elasticity_not_significant", None),
        ("850520", "elasticity_not_significant", 4.0),
        ("850530", "elasticity_positive", 3.0),
        ("850590", "elasticity_positive", -0.5),
        ("854140", "elasticity_positive", 0.0),
        ("999999", "no_elasticity", None),
    ],
)
def test_what_has_no_usable_estimate_says_why(code: str, reason: str, published: float | None) -> None:
    row = found("HS07", code)
    assert (row["value"], row["low"], row["confidence"]) == (None, None, None)
    assert (row["reason"], row["method_value"]) == (reason, published)


def test_without_a_concordance_the_same_number_stands_in_if_it_lived_through() -> None:
    for revision in ("HS92", "HS17"):
        row = found(revision, "280530")
        assert (row["value"], row["confidence"], row["reason"]) == (6.0, "low", "same_code_other_revision")
    row = found("HS92", "850520")
    assert (row["value"], row["method_value"]) == (None, 4.0)
    assert row["reason"] == "elasticity_not_significant; same_code_other_revision"
    for revision, code in (("HS17", "010121"), ("HS17", "850511x"), ("HS92", "850513")):
        row = found(revision, code)
        assert (row["value"], row["method_value"], row["reason"]) == (None, None, "no_concordance"), code
        assert (row["low"], row["high"], row["confidence"]) == (None, None, None)


def test_a_concordance_gives_the_weighted_mean() -> None:
    led = weights(
        ("111111", "280530", 0.75), ("111111", "850511", 0.25), ("222222", "280530", 1.0), ("333333", "280530", 0.5),
        ("333333", "850520", 0.5), ("444444", "850520", 1.0), ("555555", "777777", 1.0),
    )  # fmt: skip
    row = found("HS17", "111111", led=led)
    assert (row["value"], row["low"], row["high"], row["coverage"]) == pytest.approx((5.0, 2.0, 6.0, 1.0))
    assert (row["method_value"], row["reason"], row["confidence"]) == (5.0, None, "medium")
    row = found("HS17", "222222", led=led)
    assert (row["value"], row["confidence"], row["reason"]) == (6.0, "high", None)
    row = found("HS17", "333333", led=led)
    assert (row["value"], row["coverage"], row["method_value"]) == pytest.approx((6.0, 0.5, 5.0))
    assert row["confidence"] == "medium"
    # What the weights leave out weighs nothing: half of what they cover has an estimate.
    half = weights(("111111", "280530", 0.25), ("111111", "850519", 0.25))
    row = found("HS17", "111111", led=half)
    assert (row["value"], row["coverage"], row["method_value"]) == pytest.approx((6.0, 0.5, 6.0))
    row = found("HS17", "444444", led=led)
    assert (row["value"], row["reason"], row["method_value"]) == (None, "elasticity_not_significant", 4.0)
    assert (row["coverage"], row["confidence"]) == (0.0, None)
    row = found("HS17", "555555", led=led)
    assert (row["value"], row["reason"], row["method_value"]) == (None, "no_elasticity", None)
    row = found("HS17", "666666", led=led)
    assert (row["value"], row["reason"], row["coverage"]) == (None, "no_concordance", None)
    # Weights of another revision are none.
    assert found("HS92", "280530", led=led)["reason"] == "same_code_other_revision"
    assert found("HS92", "280530", led=HS_WEIGHTS.empty())["reason"] == "same_code_other_revision"


def test_weights_that_run_towards_the_code_are_turned() -> None:
    # As the pipeline makes them: from the elasticities' revision to BACI's.
    pairs = (
        ("280530", "111111", 0.75), ("850511", "111111", 0.25), ("850511", "222222", 0.75), ("850519", "222222", 0.25),
        ("850520", "333333", 0.0),
    )  # fmt: skip
    led = HS_WEIGHTS.conform(
        {
            "from_revision": "HS07", "from_code": a, "to_revision": "HS92", "to_code": b, "weight": w,
            "weight_basis": "equal", "vintage": "test",
        }
        for a, b, w in pairs
    )  # fmt: skip
    row = found("HS92", "111111", led=led)
    assert (row["value"], row["low"], row["high"], row["coverage"]) == pytest.approx((5.0, 2.0, 6.0, 1.0))
    assert (row["reason"], row["confidence"]) == (None, "medium")
    row = found("HS92", "222222", led=led)
    assert (row["value"], row["coverage"]) == pytest.approx((2.0, 0.75))
    # A part of nothing leads nowhere; a code that nothing leads to has no estimate, even under the same number.
    for code in ("333333", "280530"):
        assert found("HS92", code, led=led)["reason"] == "no_concordance"
    # The direct way goes first.
    both = pa.concat_tables([led, weights(("111111", "850511", 1.0), own="HS92")])
    assert found("HS92", "111111", led=both)["value"] == 2.0


def test_several_revisions_at_once() -> None:
    codes = pd.DataFrame({"hs_revision": ["HS07", "HS92", "HS07"], "code": ["280530", "850511", "850519"]})
    out = elasticities_of(codes, SOURCE, None)
    assert out.index.tolist() == [0, 1, 2]
    out = out.set_index(["hs_revision", "code"])
    assert out["value"].to_dict() == pytest.approx(
        {("HS07", "280530"): 6.0, ("HS07", "850519"): math.nan, ("HS92", "850511"): 2.0}, nan_ok=True
    )


def test_the_cut_of_the_lowest_quarter_is_the_source_s_own() -> None:
    held = table(*((f"10000{n}", -float(n), True, False) for n in range(1, 6)), ("200000", -0.1, False, False))
    assert elasticity_cut(held, 0.25) == 2.0
    assert elasticity_cut(held, 0.5) == 3.0
    assert elasticity_cut(table(("200000", -0.1, False, False)), 0.25) is None
    assert elasticity_cut(SOURCE, 0.0) == 2.0


def test_the_weighted_mean() -> None:
    rows = pd.DataFrame({"weight": [1.0, 3.0], "x": [2.0, 6.0]})
    assert weighted_mean(rows, "x") == 5.0
    assert weighted_mean(rows.assign(weight=0.0), "x") is None


def test_a_source_of_one_code_is_enough() -> None:
    row = found("HS07", "280530", table(("280530", -6.0, True, False)))
    assert (row["value"], row["source_vintage"]) == (6.0, "elasticity ProTEE 0.1")


def test_every_way_gives_the_columns_it_promises() -> None:
    led = weights(("111111", "280530", 1.0))
    for revision, code in (("HS07", "280530"), ("HS92", "280530"), ("HS17", "111111")):
        one = elasticities_of(pd.DataFrame({"hs_revision": [revision], "code": [code]}), SOURCE, led)
        assert list(one.columns) == ["hs_revision", "code", *FIGURES]
        assert one[["hs_revision", "code"]].to_numpy().tolist() == [[revision, code]]


def test_confidence_follows_the_figure_of_its_own_row() -> None:
    codes = pd.DataFrame({"hs_revision": "HS07", "code": ["850519", "280530", "850530"]}, index=[7, 3, 5])
    out = elasticities_of(codes, SOURCE, None)
    assert [None if pd.isna(c) else c for c in out["confidence"]] == [None, "high", None]


def test_a_weight_of_nothing_is_no_figure() -> None:
    row = found("HS17", "111111", led=weights(("111111", "280530", 0.0)))
    assert (row["value"], row["method_value"]) == (None, None)


def test_a_mean_of_light_weights_is_a_mean() -> None:
    assert weighted_mean(pd.DataFrame({"weight": [0.25, 0.25], "x": [2.0, 6.0]}), "x") == 4.0
