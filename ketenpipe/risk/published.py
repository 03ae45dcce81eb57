"""The named methods as they are published: version, publication, limits, and what each leaves out here.

Belongs here: what a method is, in words and limits. The limits of a published method are frozen with its version,
whatever ``thresholds.toml`` says; the limits of ketenpipe's own methods, and of TNO's plane whose cut-offs are not
public, are configuration. Whoever changes a definition gives it a new version. Does not belong here: judging
(:mod:`ketenpipe.risk.methods`).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal

import pyarrow as pa

from ketenpipe.errors import WrongUse
from ketenpipe.risk.definitions import METHOD_VERSION
from ketenpipe.risk.thresholds import Thresholds
from ketenpipe.tables.registry import NAMED_METHODS

Status = Literal["read", "recalled"]


@dataclass(frozen=True)
class Limit:
    """One figure against its cut-off.

    Args:
        indicator: id of the figure.
        cut: the cut-off.
        at_least: reaching it is enough (``>=``); else it must be exceeded (``>``).
    """

    indicator: str
    cut: float
    at_least: bool = False

    def __str__(self) -> str:
        return f"{self.indicator} {'>=' if self.at_least else '>'} {self.cut:g}"


@dataclass(frozen=True)
class Published:
    """A named method.

    Args:
        method: its name in the tables.
        version: changes with the definition; a published method's begins with the year of the publication.
        frozen: the limits are those of the definition; else they are read from ``thresholds.toml``.
        limits: the frozen limits, in the order of the rule.
        rule: how the limits are put together.
        publication: author or publisher.
        year: of the publication; None where it could not be told.
        citation: in full.
        status: ``read``: a text that states the rule was opened; ``recalled``: from memory and the project's METHOD.
        opened: what was opened, or why it was not.
        leaves_out: what the publication has and ketenpipe does not, or does otherwise.
        leaves_out_nl: the same in Dutch.
        configured: names in ``thresholds.toml`` of limits that are not frozen.
        others: further fixed numbers of the rule (window, bands, shares), by name.
    """

    method: str
    version: str
    frozen: bool
    limits: tuple[Limit, ...]
    rule: str
    publication: str
    year: int | None
    citation: str
    status: Status
    opened: str
    leaves_out: str
    leaves_out_nl: str
    configured: tuple[str, ...] = ()
    others: tuple[tuple[str, float], ...] = field(default=())

    def number(self, name: str) -> float:
        """One of the further numbers of the rule.

        Raises:
            KeyError: the rule has none of that name.
        """
        return dict(self.others)[name]


_OWN = ("ketenpipe", "ketenpipe, METHOD 2 of this project")
_GOVERNANCE_NOTE = (
    "TNO's cut-offs and list of groups are not public: the cut-offs are ketenpipe's and configuration",
    "de grenswaarden en de lijst van groepen van TNO zijn niet openbaar: de grenswaarden zijn van ketenpipe en "
    "instelbaar",
)

PUBLISHED: dict[str, Published] = {
    p.method: p
    for p in (
        Published(
            method="geodep",
            version="2024.1",
            frozen=True,
            limits=(Limit("C1", 0.4), Limit("C2", 0.4), Limit("S1", 1.0)),
            rule="all of them in at least 2 of the 3 years that end in the year",
            publication="CEPII",
            year=2024,
            citation="Lefebvre, K. and Wibaux, P. (2024), Import dependencies: where does the EU stand?, CEPII Policy "
            "Brief 47; GeoDep database, CEPII",
            status="read",
            opened="the GeoDep page of CEPII, with the four criteria, their limits and the value for no exports",
            leaves_out="CEPII publishes its own BACI vintage for 2019 to 2022 and marks strategic sectors; neither is "
            "taken over. A year without imports is unknown, not a year in which the criteria fail",
            leaves_out_nl="CEPII publiceert een eigen BACI-editie voor 2019 tot 2022 en merkt strategische sectoren; "
            "geen van beide is overgenomen. Een jaar zonder invoer is onbekend, geen jaar waarin de criteria falen",
            others=(("years", 2.0), ("window", 3.0)),
        ),
        Published(
            method="swd2021",
            version="2021.1",
            frozen=True,
            limits=(Limit("C1", 0.4), Limit("C5", 0.5), Limit("S1b", 1.0)),
            rule="all of them in the year; focus EU27 only",
            publication="European Commission",
            year=2021,
            citation="European Commission (2021), Strategic dependencies and capacities, Commission staff working "
            "document SWD(2021) 352 final",
            status="recalled",
            opened="only the opening of the document; the limits are those of the project's METHOD",
            leaves_out="the Commission worked on Comext data and then kept the products of sensitive ecosystems; here "
            "every HS6 code of BACI is judged",
            leaves_out_nl="de Commissie werkte met Comext en hield daarna de producten van gevoelige ecosystemen over; "
            "hier wordt elke HS6-code van BACI beoordeeld",
        ),
        Published(
            method="cbs",
            version="2021.1",
            frozen=True,
            limits=(Limit("C1", 0.25),),
            rule="flagged above 0.25 (band high); band moderate above 0.15",
            publication="Statistics Netherlands (CBS)",
            year=2021,
            citation="CBS (2021), Low import dependency in the larger product groups, news release 2021/10, with the "
            "note Import concentration",
            status="read",
            opened="the news release and its note on import concentration",
            leaves_out="CBS leaves out imports for re-export and product groups under 250 million euro, and counts an "
            "index of exactly 0.25 as concentrated; here all imports of an HS6 code count, and on the limit is not "
            "flagged, as everywhere in METHOD 2",
            leaves_out_nl="CBS laat invoer voor wederuitvoer en productgroepen onder 250 miljoen euro weg en noemt een "
            "index van precies 0,25 geconcentreerd; hier telt alle invoer van een HS6-code, en op de grens is geen "
            "signaal, zoals overal in METHOD 2",
            others=(("moderate", 0.15),),
        ),
        Published(
            method="crma65",
            version="2024.1",
            frozen=True,
            limits=(Limit("C4b", 0.65),),
            rule="C4b where production is observed and the confidence is not low, else C4a against the same limit, "
            "marked as proxy",
            publication="European Union",
            year=2024,
            citation="Regulation (EU) 2024/1252 (Critical Raw Materials Act), Article 5(1)(b)",
            status="read",
            opened="the wording of the article in stored reproductions of the regulation",
            leaves_out="the law speaks of the Union's consumption of strategic raw materials at any relevant stage; "
            "here every code, focus and node is held against it, and imports stand in where production is not observed",
            leaves_out_nl="de wet gaat over het verbruik van strategische grondstoffen in de Unie in elk stadium; hier "
            "wordt elke code, elke focus en elke knoop ertegen gehouden, en invoer geldt waar productie niet is "
            "waargenomen",
        ),
        Published(
            method="tno",
            version="1",
            frozen=False,
            limits=(),
            rule="both, over world production of the material",
            publication="TNO",
            year=None,
            citation="TNO Vector, Leveringszekerheid van belangrijke producten is geholpen bij nieuwe methodiek "
            "(vector.tno.nl)",
            status="read",
            opened="the article: two indicators, HHI of production and WGI of the producing countries, two levels "
            "upstream; it gives no cut-offs",
            leaves_out=_GOVERNANCE_NOTE[0],
            leaves_out_nl=_GOVERNANCE_NOTE[1],
            configured=("C3", "G2"),
        ),
        Published(
            method="ec_criticality",
            version="2023.1",
            frozen=True,
            limits=(Limit("G5", 1.0, at_least=True), Limit("EI", 2.8, at_least=True)),
            rule="both; focus EU27 only",
            publication="European Commission",
            year=2023,
            citation="European Commission, Grohol, M. and Veeh, C. (2023), Study on the critical raw materials for the "
            "EU 2023, Table 15; European Commission (2017), Methodology for establishing the EU list of critical raw "
            "materials",
            status="read",
            opened="at second hand: a public text that states both limits (SR >= 1.0 and EI >= 2.8) and names Table 15 "
            "of the study; the study itself could not be opened, of the Commission's own documents only summaries",
            leaves_out="the trade parameter t is left at 1; the Commission judges a material by the riskier of its "
            "stages, extraction or processing, here every code and node stands for its own stage; recycling rates and "
            "substitution indices that could not be read are absent, then supply risk is only bounded; without end "
            "uses of the material economic importance follows input-output recipes and never flags",
            leaves_out_nl="de handelsparameter t blijft op 1; de Commissie beoordeelt een grondstof naar het "
            "risicovolste stadium, winning of verwerking, hier staat elke code en elke knoop voor het eigen stadium; "
            "recyclingpercentages en substitutie-indices die niet gelezen konden worden ontbreken, dan heeft het "
            "aanbodrisico alleen grenzen; zonder eindgebruik van de grondstof volgt het economisch belang "
            "input-outputrecepten en geeft het nooit een signaal",
        ),
        Published(
            method="geopolrisk",
            version="2016.1",
            frozen=True,
            limits=(),
            rule="a rank among the items of a focus, level and year, 1 = largest; no limit; the top quarter is "
            "indicated, which is ketenpipe's convention",
            publication="GeoPolRisk (Gemechu et al.)",
            year=2016,
            citation="Gemechu, E. D., Helbig, C., Sonnemann, G., Thorenz, A. and Tuma, A. (2016), Import-based "
            "indicator for the geopolitical supply risk of raw materials in life cycle sustainability assessments, "
            "Journal of Industrial Ecology 20(1); geopolrisk.org",
            status="read",
            opened="the method page of geopolrisk.org (score = HHI of production times weighted imports); the article "
            "is cited from memory",
            leaves_out="characterisation factors (prices, kilograms) are not computed; materials without production in "
            "the unit of trade have no score",
            leaves_out_nl="karakterisatiefactoren (prijzen, kilo's) worden niet berekend; materialen zonder productie "
            "in de eenheid van de handel hebben geen score",
            others=(("quarter", 0.25),),
        ),
        Published(
            method="foreign_input_reliance",
            version="2023.1",
            frozen=True,
            limits=(Limit("I4", 2.0),),
            rule="for some foreign country with FIR >= 0.01; at level hs6 the verdict of the product's industry, "
            "indicated only",
            publication="Baldwin, Freeman and Theodorakopoulos",
            year=2023,
            citation="Baldwin, R., Freeman, R. and Theodorakopoulos, A. (2023), Hidden Exposure: Measuring US Supply "
            "Chain Reliance, Brookings Papers on Economic Activity 54(2), 79-167",
            status="read",
            opened="the abstract and the authors' summary, with face value and look-through; neither has a cut-off: 2 "
            "and 0.01 are METHOD's",
            leaves_out="the paper flags nothing: the cut-off is ketenpipe's convention. Industries have one recipe for "
            "all their products",
            leaves_out_nl="het artikel geeft geen signalen: de grenswaarde is een conventie van ketenpipe. "
            "Bedrijfstakken hebben één recept voor al hun producten",
            others=(("least_reliance", 0.01),),
        ),
        Published(
            method="node_test",
            version=METHOD_VERSION,
            frozen=False,
            limits=(),
            rule="both, over the traced supply of the focus",
            publication=_OWN[0],
            year=None,
            citation=_OWN[1],
            status="read",
            opened="METHOD of this project",
            leaves_out=_GOVERNANCE_NOTE[0],
            leaves_out_nl=_GOVERNANCE_NOTE[1],
            configured=("T_hhi", "T_wgi"),
        ),
        Published(
            method="indirect_specific",
            version=METHOD_VERSION,
            frozen=False,
            limits=(),
            rule="tier 0 fails the node test, a buyer-specific node of tier 1 or 2 of enough path weight passes it",
            publication=_OWN[0],
            year=None,
            citation=_OWN[1],
            status="read",
            opened="METHOD of this project",
            leaves_out="nodes behind a path of unknown weight are not tested",
            leaves_out_nl="knopen achter een pad van onbekend gewicht worden niet getoetst",
            configured=("T_hhi", "T_wgi", "X1_weight"),
        ),
        Published(
            method="indirect_global",
            version=METHOD_VERSION,
            frozen=False,
            limits=(),
            rule="tier 0 fails the node test, a node of tier 1 or 2 passes TNO's plane of world production",
            publication="TNO, read by ketenpipe",
            year=None,
            citation=_OWN[1],
            status="read",
            opened="METHOD of this project",
            leaves_out="the node's part is equal for every buyer on earth",
            leaves_out_nl="het deel van de knoop is gelijk voor elke koper op aarde",
            configured=("T_hhi", "T_wgi", "C3", "G2"),
        ),
    )
}

_CONFIGURED = {"C3": "C3", "G2": "G2", "T_hhi": "O1", "T_wgi": "G2"}


def limits_of(method: str, thresholds: Thresholds) -> tuple[Limit, ...]:
    """The limits that a method judges by: its own where frozen, else those of the configuration.

    The path weight of ``indirect_specific`` is no limit of a figure and not among them.
    """
    found = PUBLISHED[method]
    if found.frozen:
        return found.limits
    return tuple(Limit(_CONFIGURED[n], getattr(thresholds, n).flag) for n in found.configured if n in _CONFIGURED)


def with_frozen_limits(thresholds: Thresholds) -> Thresholds:
    """The thresholds with the cut-offs of the frozen methods in their places: what published verdicts are drawn by."""
    cut = {(m, limit.indicator): limit.cut for m, held in PUBLISHED.items() if held.frozen for limit in held.limits}
    geodep = PUBLISHED["geodep"]
    updates: dict[str, dict[str, float | int]] = {
        "C1": {"flag": cut["geodep", "C1"], "high": cut["cbs", "C1"]},
        "C2": {"flag": cut["geodep", "C2"]},
        "S1": {"flag": cut["geodep", "S1"]},
        "C5": {"flag": cut["swd2021", "C5"]},
        "S1b": {"flag": cut["swd2021", "S1b"]},
        "C4": {"flag": next(limit.cut for limit in PUBLISHED["crma65"].limits)},
        "P1": {"at_least": int(geodep.number("years")), "window": int(geodep.number("window"))},
    }
    parts = {n: getattr(thresholds, n).model_copy(update=values) for n, values in updates.items()}
    return thresholds.model_copy(update=parts)


def chosen_methods(methods: Collection[str]) -> tuple[str, ...]:
    """The methods that judge, in the order of the registry; all of them where none is named.

    Raises:
        WrongUse: a name that is none.
    """
    if strange := sorted(set(methods) - set(PUBLISHED)):
        raise WrongUse(f"there is no named method '{strange[0]}'; known are {', '.join(PUBLISHED)}")
    return tuple(m for m in PUBLISHED if not methods or m in methods)


def build_named_methods(thresholds: Thresholds, methods: Collection[str] = ()) -> pa.Table:
    """What each named method of this release is (contract ``named_methods``).

    Args:
        thresholds: for the limits that are configuration.
        methods: those that judge; all where none is named.

    Raises:
        WrongUse: a name that is no method.
    """
    on = chosen_methods(methods)
    return NAMED_METHODS.conform(
        {
            "method": p.method,
            "version": p.version,
            "judges": p.method in on,
            "frozen": p.frozen,
            "limits": "; ".join(str(limit) for limit in limits_of(p.method, thresholds)) or None,
            "rule": p.rule,
            "publication": p.publication,
            "publication_year": p.year,
            "citation": p.citation,
            "citation_status": p.status,
            "opened": p.opened,
            "leaves_out": p.leaves_out,
            "leaves_out_nl": p.leaves_out_nl,
        }
        for p in PUBLISHED.values()
    )
