"""The governance series and their standard errors as the official mode fetches them: from a server on this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from ketenpipe.errors import UpstreamFailed
from ketenpipe.risk.governance import build_country_risk
from ketenpipe.sources.archive import Archive
from ketenpipe.sources.fetch import Fetched, fetch_files, raise_if_failed, status
from ketenpipe.sources.http import Http
from ketenpipe.sources.places import Inventory, embedded
from ketenpipe.sources.upstreams import Upstreams, load_upstreams
from ketenpipe.sources.wgi import DIMENSIONS, read_wgi
from ketenpipe.tables.registry import GOVERNANCE
from ketenpipe_tests.sources.conftest import Drop
from ketenpipe_tests.sources.test_wgi import api
from ketenpipe_tests.upstream.server import File, Upstream, upstream

SPANS = [{"vintage": "WGI as updated 2025-11-05", "from_year": 1996, "to_year": 2100}]
#: What the API says of a series that it does not know.
UNKNOWN = (
    b'[{"message":[{"id":"175","key":"Invalid format","value":"The indicator was not found. It may be archived."}]}]'
)
EMPTY = b'[{"page":0,"pages":0,"per_page":20000,"total":0,"lastupdated":"2025-11-05"},null]'


def at(dimension: str, kind: str) -> str:
    return f"/v2/country/all/indicator/GOV_WGI_{dimension}.{kind}"


class World:
    """The rows of the shipped configuration, each pointed at a server on this machine."""

    def __init__(self, home: Path, server: Upstream) -> None:
        self.server, self.now = server, datetime(2026, 11, 5, 12, tzinfo=UTC)
        shipped = load_upstreams(embedded("reference"))
        rows = [
            row.model_copy(update={"url": str(row.url).replace("https://api.worldbank.org", server.url)})
            for row in shipped.files
            if row.source == "wgi"
        ]
        self.upstreams = Upstreams(file=tuple(rows))
        self.archive = Archive(home, self.clock)
        for n, dimension in enumerate(DIMENSIONS):
            self.serve(dimension, "EST", ("NLD", "2023", 1.5 - n / 10), ("CHN", "2023", -n / 10))
            self.serve(dimension, "STD.ERR", ("NLD", "2023", 0.2 + n / 100), ("CHN", "2023", None))

    def clock(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now

    def serve(self, dimension: str, kind: str, *rows: tuple[str, str, float | None], day: str = "2025-11-05") -> None:
        answer = api(*rows, series=f"GOV_WGI_{dimension}.{kind}", updated=day)
        self.server.serve(at(dimension, kind), File(answer.encode(), "application/json"))

    def answer(self, dimension: str, kind: str, content: bytes) -> None:
        self.server.serve(at(dimension, kind), File(content, "application/json"))

    def fetch(self) -> dict[str, Fetched]:
        return {f.slot: f for f in fetch_files(self.archive, self.upstreams, Http(retries=1, backoff=0.0))}

    def inventory(self) -> Inventory:
        return self.archive.inventory(self.upstreams, trade_needed=False)

    def table(self) -> pa.Table:
        return read_wgi(self.inventory()).table


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with upstream() as server:
        yield World(tmp_path / "home", server)


def errors(table: pa.Table, iso3: str) -> dict[str, float | None]:
    return {r["dimension"]: r["standard_error"] for r in table.to_pylist() if r["iso3"] == iso3}


def test_the_official_mode_and_the_drop_folder_give_the_same_table(world: World, drop: Drop) -> None:
    raise_if_failed(list(world.fetch().values()))
    table = world.table()
    assert errors(table, "NLD") == {d: pytest.approx(0.2 + n / 100) for n, d in enumerate(DIMENSIONS)}
    assert errors(table, "CHN") == dict.fromkeys(DIMENSIONS)
    assert set(table["vintage"].to_pylist()) == {"WGI as updated 2025-11-05"}
    drop.baci()
    for dimension in DIMENSIONS:
        for kind in ("EST", "STD.ERR"):
            content = world.server.files[at(dimension, kind)].content
            drop.put(f"wgi/GOV_WGI_{dimension}.{kind}.json", content, {"vintages": SPANS})
    assert read_wgi(drop.inventory()).table.equals(table)
    # The data set's own layout, the error beside its estimate, gives the same once more.
    for path in (drop.root / "wgi").glob("*"):
        path.unlink()
    rows = []
    for r in table.to_pylist():
        error = "" if r["standard_error"] is None else r["standard_error"]
        rows.append(f"{r['iso3']},x,{r['year']},{r['dimension'].lower()},{r['estimate']},{error}")
    text = "\n".join(["code,countryname,year,indicator,estimate,stddev", *rows, ""])
    drop.put("wgi/dataset.csv", text, {"vintages": SPANS})
    assert read_wgi(drop.inventory()).table.equals(table)


def test_the_risk_of_a_country_carries_the_mean_of_the_fetched_errors(world: World) -> None:
    world.fetch()
    risk = build_country_risk(GOVERNANCE.conform(world.table().rename_columns({"iso3": "country"})), "mean6")
    found = {r["country"]: r["standard_error"] for r in risk.to_pylist()}
    assert found == {"NLD": pytest.approx(0.225), "CHN": None}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (UNKNOWN, "the API answers with a message: The indicator was not found. It may be archived; "),
        (UNKNOWN.replace(b"175", b"120"), "the API answers with a message: The indicator was not found"),
        (EMPTY, "the answer states 0 rows and holds 0; "),
        (None, "there is no such file, the server answered 404"),
    ],
)
def test_without_the_errors_the_scores_are_read_and_it_is_said(world: World, content: bytes | None, said: str) -> None:
    for dimension in DIMENSIONS:
        if content is None:
            del world.server.files[at(dimension, "STD.ERR")]
        else:
            world.answer(dimension, "STD.ERR", content)
    results = world.fetch()
    raise_if_failed(list(results.values()))
    for dimension in DIMENSIONS:
        refused = results[f"wgi/{dimension}_error"]
        assert (refused.state, refused.excused) == ("failed", True)
        assert said in refused.sentence
        assert refused.sentence.endswith(
            " It is optional: the scores of the dimension come without standard errors, and the assumed one of "
            "uncertainty.toml is taken."
        )
    table = world.table()
    assert table.num_rows == 12
    assert table["standard_error"].null_count == 12
    looked = {s.slot: s.why for s in status(world.archive, world.upstreams, world.now)}
    assert looked["wgi/PV_error"] == "never fetched"


def test_a_series_of_errors_that_is_empty_from_end_to_end_is_read_as_none(world: World) -> None:
    world.serve("PV", "STD.ERR", ("NLD", "2023", None), ("CHN", "2023", None))
    raise_if_failed(list(world.fetch().values()))
    found = errors(world.table(), "NLD")
    assert found["PV"] is None
    assert found["VA"] == pytest.approx(0.2)


@pytest.mark.parametrize("content", [UNKNOWN, EMPTY])
def test_estimates_are_not_optional(world: World, content: bytes) -> None:
    world.answer("PV", "EST", content)
    with pytest.raises(UpstreamFailed, match=r"GOV_WGI_PV\.EST: the (API answers|answer states 0)"):
        raise_if_failed(list(world.fetch().values()))


@pytest.mark.parametrize(
    "content",
    [
        UNKNOWN.replace(b"175", b"105").replace(b"not found", b"not served now"),
        b'[{"message":["busy"]}]',
        json.dumps([{"page": 1, "pages": 1, "total": 3, "lastupdated": "2025-11-05"}, []]).encode(),
    ],
)
def test_a_failure_of_the_errors_that_passes_stops_the_run(world: World, content: bytes) -> None:
    world.answer("PV", "STD.ERR", content)
    results = world.fetch()
    assert not results["wgi/PV_error"].excused
    with pytest.raises(UpstreamFailed) as failed:
        raise_if_failed(list(results.values()))
    assert failed.value.passing


def test_errors_of_another_edition_than_the_estimates_are_not_read(world: World) -> None:
    world.fetch()
    assert not world.inventory().unrecognised
    world.serve("PV", "EST", ("NLD", "2023", 0.9), day="2026-10-01")
    for dimension in DIMENSIONS[:1] + DIMENSIONS[2:]:
        world.serve(dimension, "EST", ("NLD", "2023", 0.9), day="2026-10-01")
        world.serve(dimension, "STD.ERR", ("NLD", "2023", 0.3), day="2026-10-01")
    world.answer("PV", "STD.ERR", UNKNOWN)
    raise_if_failed(list(world.fetch().values()))
    (left,) = world.inventory().unrecognised
    assert left.relative.endswith("/GOV_WGI_PV.STD.ERR.json")
    assert left.reason == "it is of '2025-11-05' and wgi/PV, which it belongs beside, is of '2026-10-01'"
    assert errors(world.table(), "NLD") == {d: None if d == "PV" else 0.3 for d in DIMENSIONS}


def test_errors_beside_estimates_that_are_switched_off_are_not_read(world: World) -> None:
    world.fetch()
    rows = [r.model_copy(update={"enabled": r.slot != "wgi/PV" and r.enabled}) for r in world.upstreams.files]
    world.upstreams = Upstreams(file=tuple(rows))
    (left,) = world.inventory().unrecognised
    assert left.reason == "it is of '2025-11-05' and wgi/PV, which it belongs beside, is not read"
    assert set(world.table()["dimension"].to_pylist()) == set(DIMENSIONS) - {"PV"}
