"""In how many draws the figures give a verdict at all: of these ``flagged_share`` of ``drawn_verdicts`` is a share."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from ketenpipe.risk.facts import FACT_COLUMNS
from ketenpipe.risk.product_draws import product_noise, single_year_verdicts
from ketenpipe.risk.robustness import TOLD
from ketenpipe.tables.registry import DRAWN_VERDICTS, FLAGS
from ketenpipe_tests import worlds as w
from ketenpipe_tests.risk.test_chain_draws import chain_world, keyed, quiet_world
from ketenpipe_tests.risk.test_draws import model
from ketenpipe_tests.risk.test_product_draws import draw, many, three_years


def assert_shares(verdicts: pa.Table) -> list[dict[str, Any]]:
    """What always holds of the three shares."""
    made: list[dict[str, Any]] = verdicts.to_pylist()
    for row in made:
        assert 0.0 <= row["told_share"] <= row["verdict_share"] <= 1.0, row
        assert (row["flagged_share"] is None) == (row["verdict_share"] == 0.0), row
        assert row["verdict_share"] * row["draws"] == pytest.approx(round(row["verdict_share"] * row["draws"]))
        if row["method"] in TOLD:
            assert row["told_share"] == row["verdict_share"], row
    return made


@pytest.mark.parametrize("chains", [True, False])
def test_without_errors_a_verdict_is_given_where_one_is_told_or_indicated(chains: bool) -> None:
    found = quiet_world().verdicts if chains else draw(many()).verdicts
    flags = chain_world().flags if chains else many().flags
    every = keyed(flags, FLAGS.key)
    kinds = set()
    assert assert_shares(found)
    for key, row in keyed(found, DRAWN_VERDICTS.key).items():
        flag = every[key]
        given = flag["flagged"] is not None or flag["indicated"] is not None
        assert row["verdict_share"] == float(given), key
        kinds.add((row["verdict_share"], row["told_share"]))
    # told, only indicated (a proxy shows and does not tell), and none at all
    assert kinds == {(1.0, 1.0), (1.0, 0.0), (0.0, 0.0)}


def test_a_verdict_that_hangs_on_unknown_years_is_given_in_some_draws() -> None:
    # The year before fails, the one before that is not known: GeoDep's verdict is no where this year's criteria fail,
    # and none where they hold, because then they may hold in two years of the three.
    run = three_years()
    figures = run.indicators.filter(pa.compute.field("year") == 2018).select(FACT_COLUMNS)
    failed = dict.fromkeys(single_year_verdicts(figures, run.world.thresholds), 0)
    noise = product_noise(400, 3, model(v=0.5))
    verdicts = draw(run, noise=noise, year=2019, earlier=[failed, {}]).verdicts
    assert_shares(verdicts)
    row = w.one(verdicts, method="geodep", code="290130")
    assert 0.0 < row["verdict_share"] < 1.0
    assert row["flagged_share"] == 0.0
    whole = w.one(verdicts, method="cbs", code="290130")
    assert whole["verdict_share"] == 1.0
