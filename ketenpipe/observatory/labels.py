"""Labels: names in English and Dutch of every code that a release uses, with units, formulas, thresholds."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import pyarrow as pa

from ketenpipe.chain.catalogue import Reference
from ketenpipe.observatory.grades import SharedGood, Splits
from ketenpipe.risk.definitions import COMPONENTS, INDICATORS, METHODS
from ketenpipe.risk.thresholds import Thresholds
from ketenpipe.sources.countries import country_names
from ketenpipe.tables.registry import LABELS

OWN_NAMES = {
    "UNK": ("Unknown origin", "Onbekende oorsprong"),
    "EU27": ("European Union (today's 27)", "Europese Unie (de huidige 27)"),
    "EU": ("European Union (members of the year)", "Europese Unie (leden van dat jaar)"),
    "ASEAN": ("Association of Southeast Asian Nations", "Associatie van Zuidoost-Aziatische Naties"),
    "BENELUX": ("Benelux", "Benelux"),
    "BRICS": ("BRICS", "BRICS"),
    "CPTPP": ("Trans-Pacific Partnership (CPTPP)", "Trans-Pacifisch Partnerschap (CPTPP)"),
    "EEA": ("European Economic Area", "Europese Economische Ruimte"),
    "EFTA": ("European Free Trade Association", "Europese Vrijhandelsassociatie"),
    "G7": ("Group of Seven", "Groep van Zeven"),
    "GCC": ("Gulf Cooperation Council", "Samenwerkingsraad van de Golf"),
    "MERCOSUR": ("Mercosur", "Mercosur"),
    "NAFTA": ("North American Free Trade Agreement", "Noord-Amerikaanse Vrijhandelsovereenkomst"),
    "OECD": ("OECD", "OESO"),
    "USMCA": ("United States-Mexico-Canada Agreement", "Overeenkomst tussen de VS, Mexico en Canada"),
}
_THRESHOLDS = {
    "C1": "C1", "C2": "C2", "C3": "C3", "C4a": "C4", "C4b": "C4", "C5": "C5", "S1": "S1", "S1b": "S1b", "S2": "S2",
    "G2": "G2", "O1": "O1", "T": "T_hhi",
}  # fmt: skip


def build_labels(
    tables: Mapping[str, pa.Table],
    reference: Reference,
    products: Mapping[str, Mapping[str, str]],
    thresholds: Thresholds,
    *,
    countries: Collection[str] = (),
    codes: Collection[tuple[str, str]] = (),
    goods: Sequence[SharedGood] = (),
) -> pa.Table:
    """Names of all countries, products, nodes, groups, industries, indicators and methods of the given tables.

    Args:
        tables: ``supply_mix``, ``exposure``, ``industry_exposure`` as far as they are there.
        reference: the catalogue, for groups, nodes and their codes.
        products: HS revision -> code -> English description (there is no Dutch list of HS6 names in the sources).
        thresholds: for the threshold of each indicator.
        countries: further countries and blocs in use, of tables that are not given because they are large.
        codes: further (HS revision, HS6 code) in use.
        goods: what codes join (``shared_codes.csv``), for the notes on products, nodes and groups.
    """
    rows: list[dict[str, object]] = []
    splits = Splits(reference, goods)
    names = country_names()
    used = set(countries) | {
        c for t in ("supply_mix", "exposure", "industry_exposure") if t in tables for c in _values(tables[t], "country")
    }
    used |= {f for t in ("supply_mix", "exposure") if t in tables for f in _values(tables[t], "focus")}
    for country in sorted(used | {"UNK"}):
        english, dutch = OWN_NAMES.get(country) or names.get(country) or (country, None)
        source = "ketenpipe" if country in OWN_NAMES else "Unicode CLDR" if country in names else None
        rows.append({"kind": "country", "code": country, "name_en": english, "name_nl": dutch, "source": source})
    held = set(codes)
    if "supply_mix" in tables:
        pairs = tables["supply_mix"].select(["hs_revision", "code"]).group_by(["hs_revision", "code"]).aggregate([])
        held |= set(zip(pairs.column("hs_revision").to_pylist(), pairs.column("code").to_pylist(), strict=True))
    for node in reference.nodes.values():
        for revision in ("HS92", "HS17"):
            held |= {(revision, c) for c in node.codes(revision)}
    for revision, code in sorted(held):
        name = products.get(revision, {}).get(code)
        rows.append(
            {
                "kind": "product",
                "code": code,
                "hs_revision": revision,
                "name_en": name or f"HS {code}",
                "source": f"CEPII BACI product list {revision}" if name else None,
                **_note(splits.of_codes([(revision, code)])),
            }
        )
    for node in reference.nodes.values():
        rows.append(
            {
                "kind": "node",
                "code": node.node,
                "name_en": node.name_en,
                "name_nl": node.name_nl,
                "source": "data/reference/nodes.csv",
                **_note(splits.of_node(node.node)),
            }
        )
    for group in reference.groups.values():
        rows.append(
            {
                "kind": "group",
                "code": group.group,
                "name_en": group.name_en,
                "name_nl": group.name_nl,
                "source": "data/reference/groups.csv",
                **_note(splits.of_node(group.node)),
            }
        )
    if "industry_exposure" in tables:
        for industry in sorted(set(_values(tables["industry_exposure"], "industry"))):
            rows.append(
                {
                    "kind": "industry",
                    "code": industry,
                    "name_en": f"Industry {industry}",
                    "name_nl": f"Bedrijfstak {industry}",
                    "source": "code of the input-output table",
                }
            )
    for identifier, entry in INDICATORS.items():
        limit = getattr(thresholds, _THRESHOLDS[identifier]) if identifier in _THRESHOLDS else None
        told = None if limit is None else f"{'<' if limit.below else '>'} {limit.flag:g} ({limit.source})"
        if identifier == "T":
            told = f"O1 > {thresholds.T_hhi.flag:g} and G2 > {thresholds.T_wgi.flag:g} ({thresholds.T_hhi.source})"
        elif identifier == "P1":
            told = f">= {thresholds.P1.at_least} of {thresholds.P1.window} years ({thresholds.P1.source})"
        elif identifier == "P2":
            told = f"alert > {thresholds.P2.alert:g} ({thresholds.P2.source})"
        elif identifier in ("G5", "EI"):
            told = f">= {getattr(thresholds, identifier).at_least:g} ({getattr(thresholds, identifier).source})"
        elif identifier == "S3":
            told = f"lowest {thresholds.S3.quantile:.0%} of products ({thresholds.S3.source})"
        elif identifier == "X1":
            told = f"path weight >= {thresholds.X1_weight.at_least:g} ({thresholds.X1_weight.source})"
        rows.append(
            {
                "kind": "indicator",
                "code": identifier,
                "name_en": f"{entry.name_en} ({entry.name})",
                "name_nl": entry.name_nl,
                "unit": entry.unit,
                "formula": entry.formula,
                "threshold": told,
                "source": entry.source,
            }
        )
    for identifier, entry in COMPONENTS.items():
        rows.append(
            {
                "kind": "component",
                "code": identifier,
                "name_en": entry.name_en,
                "name_nl": entry.name_nl,
                "unit": entry.unit,
                "formula": entry.formula,
                "source": entry.source,
            }
        )
    for identifier, entry in METHODS.items():
        rows.append(
            {
                "kind": "method",
                "code": identifier,
                "name_en": entry.name_en,
                "name_nl": entry.name_nl,
                "unit": entry.unit,
                "formula": entry.formula,
                "source": entry.source,
            }
        )
    return LABELS.conform(rows)


def _note(sentences: Sequence[tuple[str, str]]) -> dict[str, object]:
    """The two columns of what a statistic cannot split; null where it splits everything."""
    return {
        "note_en": "; ".join(s[0] for s in sentences) or None,
        "note_nl": "; ".join(s[1] for s in sentences) or None,
    }


def _values(table: pa.Table, column: str) -> Iterable[str]:
    return [str(v) for v in table.column(column).unique().to_pylist() if v is not None]
