"""Small worlds for the tests of the figures: flows, production, catalogue and governance in a few lines each.

Belongs here: builders only. Every table goes through its contract, so a world that could not be written to disk
cannot be tested either.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from ketenpipe.chain.catalogue import (
    BlocMember,
    Edge,
    Group,
    Node,
    NonProducer,
    ProducerFigure,
    ProductionLink,
    PublicInterest,
    Reference,
    RefiningHub,
    load_reference,
)
from ketenpipe.chain.lookthrough import Exposure, build_exposure
from ketenpipe.chain.tracing import Tracing, build_tracing
from ketenpipe.risk.indicators import World, build_indicators
from ketenpipe.risk.methods import build_flags
from ketenpipe.risk.thresholds import Thresholds, load_thresholds
from ketenpipe.tables.registry import BACI_FLOWS, COUNTRY_RISK, MINING_PRODUCTION

SHIPPED = Path(__file__).resolve().parents[1] / "data" / "reference"
REVISION = "HS92"
FAR = {"BRA": 0.5, "CHN": 0.8, "RUS": 0.9, "USA": 0.2, "ZAF": 0.5}
"""Risks of a few third countries."""

Flow = tuple[Any, ...]


@lru_cache
def thresholds() -> Thresholds:
    """The shipped thresholds."""
    return load_thresholds(SHIPPED)


@lru_cache
def shipped_blocs() -> tuple[BlocMember, ...]:
    """The shipped members of EU27 and EU."""
    return load_reference(SHIPPED).blocs


# -- catalogue -----------------------------------------------------------------------------------------------


def node(name: str, codes: str = "", material: str = "", stage: str = "processing", note: str = "") -> Node:
    """A node; without codes and with a material it is a production statistic."""
    held = tuple(codes.split())
    relation = "same_form" if material else ""
    return Node(name, name.title(), f"{name} nl", stage, held, held, material, relation, note, "", "nodes.csv", 1)


def edge(
    user: str,
    item: str,
    intensity: float | None = None,
    *,
    essential: bool = False,
    group: str = "g",
    status: str = "read",
    evidence: str = "literature",
    confidence: str = "high",
) -> Edge:
    """``item`` goes into ``user``."""
    return Edge(group, user, item, intensity, essential, evidence, confidence, "a book", status, "", "edges.csv", 1)


def essential(user: str, item: str, group: str = "g") -> Edge:
    """An edge of weight 1."""
    return edge(user, item, essential=True, group=group, evidence="textbook")


def link(code: str, material: str, *, same_form: bool = True) -> ProductionLink:
    """The material of a code, in the same form (usable as production) or not."""
    relation = "same_form" if same_form else "contained_metal"
    return ProductionLink(REVISION, code, material, relation, same_form, "why", "a book", "read", "links.csv", 1)


def figure(
    name: str,
    code: str,
    year: int,
    country: str,
    quantity: float | None = None,
    share: float | None = None,
    *,
    unit: str = "t",
    status: str = "read",
) -> ProducerFigure:
    """A row of a producer list."""
    given = unit if quantity is not None else ""
    return ProducerFigure(name, REVISION, code, year, country, quantity, given, share, "form", "a book", status, "l", 1)


def non_producer(country: str, *, name: str = "", stage: str = "", code: str = "") -> NonProducer:
    """A country that makes none."""
    return NonProducer(country, name, stage, code, "no plant", "a book", "read", "non_producers.csv", 1)


def hub(country: str, name: str) -> RefiningHub:
    """A refining hub of a node."""
    return RefiningHub(country, name, "refines scrap", "a book", "read", "hubs.csv", 1)


def bloc(name: str, *members: str) -> tuple[BlocMember, ...]:
    """A bloc with the same members in every year."""
    return tuple(BlocMember(name, m, None, None, "test", "blocs.csv", 1) for m in members)


def catalogue(
    nodes: Iterable[Node] = (),
    edges: Iterable[Edge] = (),
    heads: Mapping[str, str] | None = None,
    *,
    links: Iterable[ProductionLink] = (),
    figures: Iterable[ProducerFigure] = (),
    non_producers: Iterable[NonProducer] = (),
    hubs: Iterable[RefiningHub] = (),
    blocs: Iterable[BlocMember] | None = None,
    interest: float = 1.0,
) -> Reference:
    """A catalogue; ``heads`` maps group to tier-0 node (default: group ``g`` on the first node)."""
    held = {n.node: n for n in nodes}
    if heads is None:
        heads = {"g": next(iter(held))} if held else {}
    groups = {
        g: Group(g, n, g.title(), f"{g} nl", ("safety",), "why", "waarom", "a book", "read", "", "groups.csv", 1)
        for g, n in heads.items()
    }
    return Reference(
        groups=groups,
        nodes=held,
        edges=tuple(edges),
        public_interests={"safety": PublicInterest("safety", "Safety", "Veiligheid", interest, "test", "p.csv", 1)},
        production_links=tuple(links),
        producer_figures=tuple(figures),
        non_producers=tuple(non_producers),
        refining_hubs=tuple(hubs),
        blocs=shipped_blocs() if blocs is None else tuple(blocs),
    )


# -- tables --------------------------------------------------------------------------------------------------


def flows(rows: Iterable[Flow], *, revision: str = REVISION) -> pa.Table:
    """``(year, code, exporter, importer, thousand USD, tonnes or None)``."""
    names = ("year", "code", "exporter", "importer", "value_kusd", "tonnes")
    frame = [dict(zip(names, row, strict=True)) for row in rows]
    for row in frame:
        row |= {"hs_revision": revision, "release": "V1", "value_kusd": _decimal(row["value_kusd"])}
        row["tonnes"] = None if row["tonnes"] is None else float(row["tonnes"])
    return BACI_FLOWS.conform(frame)


def _decimal(value: float) -> Any:
    return pa.scalar(f"{float(value):.3f}").cast(pa.decimal128(18, 3)).as_py()


def mass(year: int, code: str, *routes: tuple[str, str, float], price: float = 10.0) -> list[Flow]:
    """Flows ``(exporter, importer, tonnes)`` at one price in thousand USD a tonne."""
    return [(year, code, i, j, t * price, t) for i, j, t in routes]


def mining(rows: Iterable[tuple[str, str, int, float | None]], unit: str = "t") -> pa.Table:
    """``(material, country, year, quantity)``; in tonnes unless another unit is named."""
    return MINING_PRODUCTION.conform(
        {"material": m, "country": c, "year": y, "quantity": q, "unit": unit, "tonnes": q if unit == "t" else None}
        for m, c, y, q in rows
    )


def scores(
    risks: Mapping[str, float | None], years: Iterable[int], vintages: Mapping[int, str] | None = None
) -> pa.Table:
    """``country_risk`` with the same risks in every year."""
    return COUNTRY_RISK.conform(
        {
            "country": c,
            "year": y,
            "estimate": None if r is None else 2.5 - 5.0 * r,
            "risk": r,
            "dimension": "PV",
            "vintage": (vintages or {}).get(y, "2024 edition"),
        }
        for y in years
        for c, r in risks.items()
    )


# -- a whole run ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """Steps one and two of a small world."""

    reference: Reference
    tracing: Tracing
    exposure: Exposure
    world: World
    indicators: pa.Table
    flags: pa.Table

    def value(self, indicator: str, **where: Any) -> float | None:
        """The value of one indicator row."""
        found: float | None = self.row(indicator, **where)["value"]
        return found

    def row(self, indicator: str, **where: Any) -> dict[str, Any]:
        """One indicator row."""
        return one(self.indicators, indicator=indicator, **where)

    def flag(self, method: str, **where: Any) -> dict[str, Any]:
        """One flag row."""
        return one(self.flags, method=method, **where)

    def vector(self, name: str, focus: str = "NLD", year: int = 2020, group: str = "g") -> dict[str, float]:
        """Origins of a node after the look-through."""
        return vector(self.exposure, name, focus, year, group)


def vector(exposure: Exposure, name: str, focus: str = "NLD", year: int = 2020, group: str = "g") -> dict[str, float]:
    """Origins of a node after the look-through, zeros left out."""
    found = rows(exposure.exposure, node=name, focus=focus, year=year, group=group)
    return {r["country"]: r["share_traced"] for r in found if r["share_traced"] > 0}


def trace(
    table: pa.Table, reference: Reference, foci: tuple[str, ...] = ("NLD",), statistics: pa.Table | None = None
) -> Tracing:
    """Step one."""
    return build_tracing(table, statistics, reference, foci)


def look(
    table: pa.Table,
    reference: Reference,
    foci: tuple[str, ...] = ("NLD",),
    statistics: pa.Table | None = None,
    depth: int = 2,
) -> Exposure:
    """Step one with the look-through."""
    return build_exposure(trace(table, reference, foci, statistics), statistics, reference, foci, depth)


def run(
    table: pa.Table,
    reference: Reference,
    foci: tuple[str, ...] = ("NLD",),
    *,
    statistics: pa.Table | None = None,
    risk: pa.Table | Mapping[str, float | None] | None = None,
    depth: int = 2,
    minimum: float = 0.0,
) -> Run:
    """Steps one and two."""
    years = sorted(set(table.column("year").to_pylist()))
    traced = trace(table, reference, foci, statistics)
    exposure = build_exposure(traced, statistics, reference, foci, depth)
    if risk is None:
        risk = COUNTRY_RISK.empty()
    scored = risk if isinstance(risk, pa.Table) else scores(risk, years)
    world = World(table, traced, exposure, statistics, scored, reference, foci, thresholds())
    flags, indicators = build_flags(world, build_indicators(world), minimum)
    return Run(reference, traced, exposure, world, indicators, flags)


# -- reading back --------------------------------------------------------------------------------------------


def rows(table: pa.Table, **where: Any) -> list[dict[str, Any]]:
    """The rows that match."""
    return [r for r in table.to_pylist() if all(r[k] == v for k, v in where.items())]


def one(table: pa.Table, **where: Any) -> dict[str, Any]:
    """The one row that matches."""
    found = rows(table, **where)
    assert len(found) == 1, (where, len(found), found[:3])
    return found[0]


def matrix(names: list[str], routes: Iterable[tuple[str, str, float]]) -> np.ndarray:
    """``X[i, j]`` from ``(exporter, importer, amount)``."""
    x = np.zeros((len(names), len(names)))
    for i, j, amount in routes:
        x[names.index(i), names.index(j)] += amount
    return x


def frame(table: pa.Table) -> pd.DataFrame:
    """Flows as pandas, value as float."""
    out = table.to_pandas()
    out["v"], out["q"] = out["value_kusd"].astype(float), out["tonnes"]
    return out


# -- a world of chains, run once -----------------------------------------------------------------------------

_CODES = tuple(f"{300000 + n}" for n in range(18))
SAFE, RISKY, PROXY_SAFE, PROXY_RISKY, SMALL, SMALL_RISKY, DARK, MID, DEEP = _CODES[:9]
HUB, FIRST, SECOND, ABSENT, MIXED, RELAYED, PARTLY, PORT, SAID = _CODES[9:]
SCORES = {"CHN": 0.8, "RUS": 0.9, "DEU": 0.1, "USA": 0.2, "NLD": 0.1, "TWN": None}


@lru_cache
def chain_world() -> Run:
    """Groups that each show one case of step two, for NLD in 2020, depth 3.

    Products as NLD sees them (production observed unless the name says proxy; risks of :data:`SCORES`):

    * safe, mid, deep: half DEU, half USA (O1 .5, G2 .15: fails T); they buy risky from CHN
    * risky: all CHN (O1 1, G2 .8: passes T); proxy_risky: all RUS (proxy)
    * small, small_risky: as safe and risky, under 100 t; dark: all TWN, which has no score
    * hubby: NLD makes 600, and buys 300 of CHN's through DEU and 300 through USA
    * relayed: TWN's, all bought from DEU; partly: .75 CHN, .25 TWN; port: .4 CHN, .3 USA, .3 unknown, through DEU
    * said: .8 CHN through BEL, .2 BRA, by a producer list
    * pair: two codes; absent: a code that no source holds; mine_hard, mine_soft: statistics without a code
    """
    nodes = [
        node("safe", SAFE), node("risky", RISKY), node("proxy_safe", PROXY_SAFE), node("proxy_risky", PROXY_RISKY),
        node("small", SMALL), node("small_risky", SMALL_RISKY), node("dark", DARK), node("mid", MID),
        node("deep", DEEP), node("hubby", HUB), node("pair", f"{FIRST} {SECOND}"), node("absent", ABSENT),
        node("mine_hard", material="Hard", stage="extraction"), node("mine_soft", material="Soft", stage="extraction"),
        node("mine_none", material="None known", stage="extraction"), node("mixed", MIXED),
        node("relayed", RELAYED), node("partly", PARTLY), node("port", PORT), node("said", SAID),
        node("mine_listed", stage="extraction", note="no code"),
    ]  # fmt: skip
    edges = [
        edge("safe", "risky", 0.5, group="specific"),
        edge("safe", "risky", 0.05, group="just_heavy"),
        edge("safe", "risky", 0.049, group="too_light"),
        edge("safe", "risky", group="no_intensity"),
        edge("safe", "risky", 0.9, group="recalled", status="recalled"),
        essential("safe", "mine_hard", "world"),
        essential("safe", "mine_soft", "world_soft"),
        essential("safe", "absent", "only_dashed"),
        essential("safe", "absent", "behind_dashed"),
        essential("absent", "risky", "behind_dashed"),
        essential("safe", "mine_none", "no_statistic"),
        essential("risky", "mine_hard", "direct"),
        essential("proxy_safe", "risky", "proxied"),
        essential("proxy_risky", "risky", "proxied_risky"),
        essential("safe", "proxy_risky", "proxied_upstream"),
        essential("small", "risky", "little"),
        essential("small_risky", "risky", "little_risky"),
        essential("dark", "risky", "unscored"),
        essential("dark", "mine_hard", "unscored"),
        essential("safe", "dark", "unscored_upstream"),
        essential("safe", "mid", "far"),
        essential("mid", "deep", "far"),
        essential("deep", "risky", "far"),
        edge("safe", "mid", 0.3, group="link"),
        edge("safe", "risky", 0.1, group="link"),
        edge("safe", "mine_hard", 0.2, group="link"),
        essential("safe", "mixed", "mixed_source"),
        essential("safe", "mine_listed", "listed"),
    ]
    heads = {
        "proxied": "proxy_safe", "proxied_risky": "proxy_risky", "direct": "risky", "little": "small",
        "little_risky": "small_risky", "unscored": "dark", "hub": "hubby", "two_codes": "pair", "alone": "safe",
        "nowhere": "absent", "relayed": "relayed", "partly": "partly", "port": "port", "said": "said",
    }  # fmt: skip
    heads = {g: heads.get(g, "safe") for g in sorted({*heads, *(e.group for e in edges)})}
    materials = {
        SAFE: {"DEU": 9000.0, "USA": 9000.0}, RISKY: {"CHN": 9000.0}, SMALL: {"DEU": 9000.0, "USA": 9000.0},
        SMALL_RISKY: {"CHN": 9000.0}, DARK: {"TWN": 9000.0}, MID: {"DEU": 9000.0, "USA": 9000.0},
        DEEP: {"DEU": 9000.0, "USA": 9000.0}, HUB: {"CHN": 9000.0, "NLD": 600.0}, FIRST: {"CHN": 9000.0},
        SECOND: {"CHN": 9000.0, "USA": 9000.0}, MIXED: {"CHN": 9000.0}, RELAYED: {"TWN": 9000.0},
        PARTLY: {"CHN": 9000.0, "TWN": 9000.0}, PORT: {"CHN": 9000.0, "USA": 9000.0},
    }  # fmt: skip
    half = (("DEU", "NLD", 500.0), ("USA", "NLD", 500.0))
    table = flows(
        [
            *mass(2020, SAFE, *half),
            *mass(2020, RISKY, ("CHN", "DEU", 300), ("CHN", "USA", 300), ("CHN", "NLD", 200), ("CHN", "TWN", 200)),
            *mass(2020, RISKY, ("CHN", "RUS", 100)),
            *mass(2020, PROXY_SAFE, *half),
            *mass(2020, PROXY_RISKY, ("RUS", "DEU", 300), ("RUS", "USA", 300), ("RUS", "NLD", 200)),
            *mass(2020, SMALL, ("DEU", "NLD", 40), ("USA", "NLD", 40)),
            *mass(2020, SMALL_RISKY, ("CHN", "NLD", 50)),
            *mass(2020, DARK, ("TWN", "NLD", 500), ("TWN", "DEU", 500), ("TWN", "USA", 500)),
            *mass(2020, MID, *half),
            *mass(2020, DEEP, *half),
            *mass(2020, HUB, ("CHN", "DEU", 300), ("CHN", "USA", 300), ("DEU", "NLD", 300), ("USA", "NLD", 300)),
            *mass(2020, FIRST, ("CHN", "NLD", 300), ("NLD", "DEU", 50)),
            *mass(2020, SECOND, ("CHN", "NLD", 150), ("USA", "NLD", 150), ("NLD", "DEU", 100)),
            *mass(2020, MIXED, ("CHN", "DEU", 300), ("TWN", "USA", 100)),
            *mass(2020, RELAYED, ("TWN", "DEU", 500), ("DEU", "NLD", 500)),
            *mass(2020, PARTLY, ("CHN", "NLD", 300), ("TWN", "NLD", 100)),
            *mass(2020, SAID, ("CHN", "BEL", 400), ("BEL", "NLD", 400), ("BRA", "NLD", 100)),
            *mass(2020, PORT, ("CHN", "DEU", 400), ("USA", "DEU", 300), ("DEU", "NLD", 1000)),
        ]
    )
    statistics = mining(
        [
            *((f"M{code}", country, 2020, t) for code, made in materials.items() for country, t in made.items()),
            ("Hard", "CHN", 2020, 80.0), ("Hard", "NLD", 2020, 20.0),
            ("Soft", "DEU", 2020, 50.0), ("Soft", "USA", 2020, 50.0),
        ]
    )  # fmt: skip
    reference = catalogue(
        nodes,
        edges,
        heads,
        links=[link(code, f"M{code}") for code in materials],
        figures=[figure("mine_listed", SAFE, 2020, c, share=s) for c, s in (("CHN", 0.5), ("RUS", 0.2))]
        + [figure("said", SAID, 2020, c, 5000.0) for c in ("CHN", "BRA")],
        non_producers=[non_producer("DEU", name="port")],
    )
    return run(table, reference, statistics=statistics, risk=SCORES, depth=3, minimum=1000.0)
