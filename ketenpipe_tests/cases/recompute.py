"""A second way to the figures that are kept as cases: plain Python and NumPy on the embedded files.

Nothing here imports ketenpipe: that is its use. ``python -m ketenpipe_tests.cases.recompute`` prints the cases as JSON
files hold them; ``--write`` writes them, which is only right after a new sample or a new catalogue.
"""

from __future__ import annotations

import csv
import gzip
import json
import sys
from collections import defaultdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

DATA = Path(__file__).resolve().parents[2] / "data"
CASES = Path(__file__).resolve().parent
YEARS = tuple(range(2018, 2025))
FOCI = ("EU27", "NLD")
OTHER_CODES = {"S19": "TWN", "R20": "XKX", "ROM": "ROU"}

Flows = dict[str, dict[tuple[str, str], tuple[float, float]]]
"""HS6 code -> (exporter, importer) -> thousand USD, tonnes."""


# -- the files --------------------------------------------------------------------------------------------------


def _rows(path: Path) -> list[dict[str, str]]:
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8-sig")
    return list(csv.DictReader(text.splitlines()))


@lru_cache
def flows(year: int) -> Flows:
    """The trade of a year; a flow without a quantity weighs nothing."""
    names = _rows(DATA / "sample" / "baci" / "country_codes_V202401b.csv")
    iso = {r["country_code"]: OTHER_CODES.get(r["country_iso3"], r["country_iso3"]) for r in names}
    held: Flows = defaultdict(dict)
    for r in _rows(DATA / "sample" / "baci" / f"BACI_HS92_Y{year}_subset71.csv.gz"):
        key = (iso[r["i"].strip()], iso[r["j"].strip()])
        mass = r["q"].strip()
        value, tonnes = held[r["k"].strip()].get(key, (0.0, 0.0))
        held[r["k"].strip()][key] = (value + float(r["v"]), tonnes + (0.0 if mass in ("", "NA") else float(mass)))
    return held


@lru_cache
def codes() -> tuple[str, ...]:
    """Every HS6 code of the sample."""
    return tuple(sorted({code for year in YEARS for code in flows(year)}))


@lru_cache
def production() -> dict[tuple[str, int], dict[str, float | None]]:
    """(material, year) -> country -> output as published; None where it is listed without a figure."""
    held: dict[tuple[str, int], dict[str, float | None]] = defaultdict(dict)
    twice: set[tuple[str, int, str]] = set()
    for r in _rows(DATA / "sample" / "mining" / "world_mining_data_2018_2024_selection.csv"):
        if r["Country_ISO"] == "DELETE":  # the total
            continue
        key, country = (r["commodity"], int(r["year"])), OTHER_CODES.get(r["Country_ISO"], r["Country_ISO"])
        if country in held[key]:
            twice.add((*key, country))
        held[key][country] = float(r["production"]) if r["production"] not in ("", "NA") else None
    for material, year, country in twice:
        del held[material, year][country]
    return held


@lru_cache
def risk(year: int) -> dict[str, float]:
    """Governance risk of the countries with a score; Guyana stands twice, the later row is hers."""
    held = {}
    for r in _rows(DATA / "sample" / "wgi" / "wgi_pv_estimate_1996_2024.csv"):
        if int(r["year"]) == year and r["estimate"] not in ("", "NA"):
            score = (2.5 - float(r["estimate"])) / 5
            held[OTHER_CODES.get(r["Code"], r["Code"])] = min(1.0, max(0.0, score))
    return held


@lru_cache
def eu27() -> frozenset[str]:
    """Today's members."""
    return frozenset(r["iso3"] for r in _rows(DATA / "reference" / "blocs.csv") if r["bloc"] == "EU27")


def material_of(code: str) -> str | None:
    """The production statistic of an HS92 code."""
    links = _rows(DATA / "reference" / "production_links.csv")
    return next((r["material"] for r in links if r["hs_revision"] == "HS92" and r["code"] == code), None)


# -- the figures --------------------------------------------------------------------------------------------------


def concentration(parts: dict[str, float]) -> float | None:
    """Sum of squared shares."""
    whole = sum(parts.values())
    return sum((p / whole) ** 2 for p in parts.values()) if whole > 0 else None


def _side(code: str, year: int, focus: str, measure: int) -> tuple[dict[str, float], float, float, dict[str, float]]:
    """Imports by origin, exports, imports from inside the bloc, and the world's exports by exporter."""
    inside = eu27() if focus == "EU27" else frozenset({focus})
    imports: dict[str, float] = defaultdict(float)
    world: dict[str, float] = defaultdict(float)
    exports = intra = 0.0
    for (exporter, importer), amounts in flows(year).get(code, {}).items():
        amount = amounts[measure]
        if exporter in inside and importer in inside:
            intra += amount
            continue
        world[focus if exporter in inside else exporter] += amount
        if importer in inside:
            imports[exporter] += amount
        elif exporter in inside:
            exports += amount
    return imports, exports, intra, world


def sourcing(code: str, year: int, focus: str) -> dict[str, dict[str, float]]:
    """Shares of the three largest suppliers, by value and by mass."""
    found = {}
    for name, measure in (("v", 0), ("q", 1)):
        imports = _side(code, year, focus, measure)[0]
        whole = sum(imports.values())
        largest = sorted(imports.items(), key=lambda item: (-item[1], item[0]))[:3]
        found[name] = {country: round(amount / whole, 6) for country, amount in largest}
    return found


def production_concentration(material: str, year: int) -> dict[str, Any]:
    """HHI of world production, the largest producer and its share."""
    made = {c: q for c, q in production()[material, year].items() if q}
    whole = sum(made.values())
    largest = min(made, key=lambda c: (-made[c], c))
    hhi = sum((q / whole) ** 2 for q in made.values())
    return {"hhi": round(hhi, 6), "country": largest, "share": round(made[largest] / whole, 6)}


# -- the named methods ----------------------------------------------------------------------------------------------


@lru_cache
def _conjunction(code: str, year: int, focus: str) -> bool | None:
    """GeoDep's three criteria in one year; None without imports or without the year."""
    if year not in YEARS:
        return None
    imports, exports, _, world = _side(code, year, focus, 0)
    bought = sum(imports.values())
    if not bought > 0:
        return None
    one, two = concentration(imports), concentration(world)
    return bool(one and two and one > 0.4 and two > 0.4 and (exports == 0 or bought / exports > 1))


def geodep(code: str, year: int, focus: str) -> bool | None:
    """At least two of the three years; None where unknown years could make it two."""
    window = [_conjunction(code, y, focus) for y in (year - 2, year - 1, year)]
    if window.count(True) >= 2:
        return True
    return None if window.count(True) + window.count(None) >= 2 else False


def swd2021(code: str, year: int, focus: str) -> bool | None:
    """CDI1, CDI2 and CDI3 of the Commission, for the EU27 only."""
    if focus != "EU27":
        return None
    imports, exports, intra, _ = _side(code, year, focus, 0)
    bought = sum(imports.values())
    if not bought > 0:
        return None
    sold = exports + intra
    high = concentration(imports)
    return bool(high and high > 0.4 and bought / (bought + intra) > 0.5 and (sold == 0 or bought / sold > 1))


def cbs(code: str, year: int, focus: str) -> bool | None:
    """The upper band of CBS."""
    found = concentration(_side(code, year, focus, 0)[0])
    return None if found is None else found > 0.25


def tno(code: str, year: int, focus: str) -> bool | None:
    """Concentration and governance of world production, the same for every focus."""
    material = material_of(code)
    made = {c: q for c, q in production().get((material or "", year), {}).items() if q}
    scores = risk(year)
    scored = {c: q for c, q in made.items() if c in scores}
    found = concentration(made)
    if found is None or not scored:
        return None
    governance = sum(q * scores[c] for c, q in scored.items()) / sum(scored.values())
    return found > 0.4 and governance > 0.5


METHODS = {"geodep": geodep, "swd2021": swd2021, "cbs": cbs, "tno": tno}


def flagged_sets() -> dict[str, Any]:
    """Method -> focus -> year -> the flagged codes, and those of which nothing can be told."""
    found: dict[str, Any] = {}
    for name, method in METHODS.items():
        for focus in FOCI if name != "swd2021" else ("EU27",):
            for year in YEARS:
                told = {code: method(code, year, focus) for code in codes() if name != "tno" or material_of(code)}
                found.setdefault(name, {}).setdefault(focus, {})[str(year)] = {
                    "flagged": [c for c, verdict in told.items() if verdict],
                    "untold": [c for c, verdict in told.items() if verdict is None],
                }
    return found


# -- tracing --------------------------------------------------------------------------------------------------------


def no_makers(code: str) -> frozenset[str]:
    """Countries that make none of an HS92 code."""
    nodes = _rows(DATA / "reference" / "nodes.csv")
    held = {r["node"] for r in nodes if code in r["codes_hs92"].split()}
    lines = _rows(DATA / "reference" / "non_producers.csv")
    return frozenset(r["country"] for r in lines if r["node"] in held or r["code"] == code)


def traced(code: str, year: int, focus: str) -> dict[str, float]:
    """Where the focus's supply of one code was made, by mass, from an observed statistic of the same form.

    ``x = p + u + imports``, ``R = (I - A)^-1 [diag(p), u]`` with ``A[j, i] = X[i, j] / x_i``, shares ``R[j, c] / x_j``.
    Where a country exports more than it has, its production is raised until it can (a listed country without a figure
    starts at 0); what a country that makes none ships beyond its imports is ``u``, of unknown origin. A bloc is weighed
    by the apparent consumption of its members.
    """
    listed = production()[material_of(code) or "", year]
    traders = {c for pair in flows(year)[code] for c in pair}
    names = sorted(traders | {c for c, q in listed.items() if q})
    at = {c: n for n, c in enumerate(names)}
    shipped = np.zeros((len(names), len(names)))
    for (exporter, importer), (_, tonnes) in flows(year)[code].items():
        shipped[at[exporter], at[importer]] += tonnes
    bought, sold = shipped.sum(axis=0), shipped.sum(axis=1)
    makes = np.array([c not in no_makers(code) for c in names])
    made = np.array([listed.get(c) or 0.0 for c in names]) * makes
    lacking = np.maximum(0.0, sold - made - bought)
    made, unknown = made + lacking * makes, lacking * ~makes
    supply = made + unknown + bought
    held = supply > 0
    a = (shipped[np.ix_(held, held)] / supply[held][:, None]).T
    sources = np.column_stack([np.diag(made[held]), unknown[held]])
    rows = np.linalg.solve(np.eye(len(a)) - a, sources) / supply[held][:, None]
    kept = [c for c in names if held[at[c]]]
    inside = eu27() if focus == "EU27" else {focus}
    weights = {c: max(0.0, supply[at[c]] - sold[at[c]]) if focus == "EU27" else 1.0 for c in kept if c in inside}
    whole = sum(weights.values())
    mix = sum(rows[kept.index(c)] * (w / whole) for c, w in weights.items())
    return {c: float(share) for c, share in zip([*kept, "UNK"], mix, strict=True) if share > 1e-9}


# -- freezing -------------------------------------------------------------------------------------------------------

MATERIALS = (
    "Aluminium", "Baryte", "Bauxite", "Boron Minerals", "Cobalt", "Graphite", "Lithium (Li2O)", "Magnesite",
    "Niobium (Nb2O5)", "Platinum", "Rare Earths (REO)", "Tungsten (W)",
)  # fmt: skip
SOURCED = ("252890", "270900", "271111", "283691", "720293", "810600")
TRACED = {
    "hidden_origin": ("270210", 2021, "NLD"),
    "false_alarm": ("251910", 2024, "EU27"),
}


def cases() -> dict[str, Any]:
    """Everything that is kept, by file name."""
    return {
        "production_hhi.json": {
            m: {str(y): production_concentration(m, y) for y in YEARS if production().get((m, y))} for m in MATERIALS
        },
        "sourcing_shares.json": {
            focus: {code: {str(y): sourcing(code, y, focus) for y in YEARS} for code in SOURCED} for focus in FOCI
        },
        "flagged_sets.json": flagged_sets(),
        "traced_mixes.json": {
            name: {
                "code": code,
                "year": year,
                "focus": focus,
                "direct": sourcing(code, year, focus)["q"],
                "traced": {
                    c: round(s, 6) for c, s in sorted(traced(code, year, focus).items(), key=lambda i: -i[1])[:5]
                },
            }
            for name, (code, year, focus) in TRACED.items()
        },
    }


if __name__ == "__main__":
    for name, content in cases().items():
        text = json.dumps(content, indent=1, sort_keys=True) + "\n"
        if "--write" in sys.argv:
            (CASES / name).write_text(text, encoding="utf-8")
        else:
            print(f"{name}: {len(text)} bytes")
