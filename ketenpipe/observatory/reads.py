"""What each later step reads of the tables that hold every HS6 code and year: as filters for ``Store.read``.

Belongs here: which rows are enough for which step. With them a step's result is the one that it has from the whole
table; row groups without a match are not read. Does not belong here: what the steps make of them.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from ketenpipe.chain.catalogue import Reference
from ketenpipe.review.dossier import HS6_FLAGS, HS6_INDICATORS
from ketenpipe.risk.indicators import WORSE_HIGH
from ketenpipe.risk.nowcast import DIRECT
from ketenpipe.risk.world import catalogue_codes
from ketenpipe.tables.registry import YEAR

#: Register: ``indicators`` and ``flags`` of the groups; it reads no tracing.
REGISTER = pc.field("level") == "group"
#: CRMA monitor.
CRMA_INDICATORS = (pc.field("level") == "node") & pc.field("indicator").isin(["C4a", "C4b"])
CRMA_FLAGS = (pc.field("level") == "node") & (pc.field("method") == "crma65")
#: Pictures of the plane.
PICTURES = (pc.field("level") == "node") & pc.field("indicator").isin(["O1", "G2"])


def worst_codes(reference: Reference) -> pc.Expression:
    """Of a year's figures of level hs6 what :func:`ketenpipe.risk.indicators.build_chain_indicators` reads."""
    return pc.field("indicator").isin(WORSE_HIGH) & _of_catalogue(reference)


def dossier_indicators(reference: Reference) -> pc.Expression:
    """Of ``indicators`` what the dossiers read: groups and nodes, and persistence of the catalogue's codes."""
    of_codes = (pc.field("level") == "hs6") & pc.field("indicator").isin(sorted(HS6_INDICATORS))
    return pc.field("level").isin(["group", "node"]) | (of_codes & _of_catalogue(reference))


def dossier_flags(reference: Reference) -> pc.Expression:
    """Of ``flags`` what the dossiers read: groups and nodes, and geodep of the catalogue's codes."""
    of_codes = (pc.field("level") == "hs6") & pc.field("method").isin(sorted(HS6_FLAGS))
    return pc.field("level").isin(["group", "node"]) | (of_codes & _of_catalogue(reference))


def nowcast_check(nowcast: pa.Table) -> pc.Expression:
    """Of ``indicators`` what stands beside the nowcast's annual figures: its foci and years, BACI's direct figures.

    Every code counts: the check says how many only BACI has.
    """
    annual = nowcast.filter(pc.field("frequency") == "A")
    years = sorted({int(w[:4]) for w in annual.column("window_end").unique().to_pylist()})
    foci = sorted(annual.column("focus").unique().to_pylist())
    return (
        (pc.field("level") == "hs6")
        & pc.field("basis").isin(["imports", "exports"])
        & pc.field("indicator").isin(sorted(DIRECT))
        & pc.field("focus").isin(pa.array(foci, pa.string()))
        & pc.field("year").isin(pa.array(years, YEAR))
    )


def _of_catalogue(reference: Reference) -> pc.Expression:
    return pc.field("code").isin(pa.array(sorted(catalogue_codes(reference)), pa.string()))
