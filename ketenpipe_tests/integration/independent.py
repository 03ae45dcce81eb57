"""A second computation of METHOD.md in plain pandas and NumPy, from the raw files, sharing no code with ketenpipe.

Written from the text of the method alone. Nothing here imports ketenpipe: that is its use.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

TINY = 1e-9  # tonnes; a balance smaller than this is rounding of floats


# ---------------------------------------------------------------- raw files


def _text(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")


@dataclass
class World:
    """Everything that the method reads, in plain frames and arrays."""

    shared: Path
    reference: Path
    years: range
    countries: list[str] = field(default_factory=list)
    position: dict[str, int] = field(default_factory=dict)
    codes: list[str] = field(default_factory=list)
    flows: dict[tuple[int, str], tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    median: dict[tuple[int, str], float] = field(default_factory=dict)
    risk: dict[int, np.ndarray] = field(default_factory=dict)
    mining: pd.DataFrame = field(default_factory=pd.DataFrame)
    links: dict[str, tuple[str, bool]] = field(default_factory=dict)
    kept: dict[tuple[str, int], np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._read_mining()
        self._read_baci()
        self._read_wgi()
        self._read_reference()

    def _read_baci(self) -> None:
        folder = self.shared / "baci"
        names = _text(folder / "country_codes_V202601.csv")
        iso = dict(zip(names.country_code, names.country_iso3, strict=True))
        iso["490"] = "TWN"
        parts = []
        for year in self.years:
            part = _text(folder / f"BACI_HS92_Y{year}_subset74.csv.gz")
            parts.append(part)
        raw = pd.concat(parts, ignore_index=True)
        raw["v"] = pd.to_numeric(raw.v.str.strip())
        raw["q"] = pd.to_numeric(raw.q.str.strip().replace({"NA": "", "nan": ""}), errors="coerce")
        raw["i"] = raw.i.str.strip().map(iso)
        raw["j"] = raw.j.str.strip().map(iso)
        assert raw[["i", "j"]].notna().all().all()
        raw["t"] = raw.t.astype(int)
        raw["k"] = raw.k.str.strip().str.zfill(6)
        self.countries = sorted(set(raw.i) | set(raw.j) | set(self.mining.Country_ISO))
        self.position = {c: n for n, c in enumerate(self.countries)}
        self.codes = sorted(raw.k.unique())
        n = len(self.countries)
        for (year, code), part in raw.groupby(["t", "k"]):
            v, q = np.zeros((n, n)), np.zeros((n, n))
            rows, cols = part.i.map(self.position), part.j.map(self.position)
            np.add.at(v, (rows, cols), part.v)
            np.add.at(q, (rows, cols), part.q.fillna(0.0))
            self.flows[year, code] = (v, q)
            heavy = part[part.q > 0]
            self.median[year, code] = float((heavy.v / heavy.q).median())

    def _read_wgi(self) -> None:
        raw = _text(self.shared / "wgi" / "wgi_pv_estimate_1996_2024.csv")
        raw["Code"] = raw.Code.replace({"R20": "XKX", "S19": "TWN"})
        raw = raw.drop_duplicates(["Code", "year"], keep="last")  # GUY: the later row is Guyana
        raw["estimate"] = pd.to_numeric(raw.estimate, errors="coerce")
        raw = raw[raw.estimate.notna()]
        for year in self.years:
            scores = raw[raw.year == str(year)].set_index("Code").estimate.reindex(self.countries)
            # one place more for UNK, which has no score
            self.risk[year] = np.append(np.clip((2.5 - scores.to_numpy(float)) / 5, 0, 1), np.nan)

    def _read_mining(self) -> None:
        raw = _text(self.shared / "wmd" / "world_mining_data_2018_2024.csv")
        raw = raw[raw.Country_ISO != "DELETE"].copy()
        raw["Country_ISO"] = raw.Country_ISO.replace({"R20": "XKX", "S19": "TWN"})
        raw = raw[~raw.duplicated(["commodity", "Country_ISO", "year"], keep=False)]  # gold of GUY: refuse both
        raw["year"] = raw.year.astype(int)
        raw["production"] = pd.to_numeric(raw.production, errors="coerce")
        self.mining = raw

    def _read_reference(self) -> None:
        links = _text(self.reference / "production_links.csv")
        links = links[links.hs_revision == "HS92"]
        assert not links.code.duplicated().any()
        self.links = {r.code: (r.material, r.same_form == "true") for r in links.itertuples()}
        self.nodes = _text(self.reference / "nodes.csv").set_index("node")
        self.edges = _text(self.reference / "edges.csv")
        self.groups = _text(self.reference / "groups.csv")
        self.blocs = _text(self.reference / "blocs.csv")
        lists = _text(self.reference / "producer_lists.csv")
        self.lists = lists[(lists.hs_revision == "HS92") & (lists.citation_status == "read")]
        self.non: dict[str, set[str]] = {}
        for row in _text(self.reference / "non_producers.csv").itertuples():
            codes = {row.code} if row.code else set()
            if row.node:
                codes |= set(self.nodes.codes_hs92[row.node].split())
            for code in codes:
                self.non.setdefault(code, set()).add(row.country)

    # ------------------------------------------------------------ helpers

    def members(self, focus: str, year: int) -> set[str]:
        part = self.blocs[self.blocs.bloc == focus]
        if part.empty:
            return {focus}
        start = part.from_year.replace("", "0").astype(int)
        end = part.to_year.replace("", "9999").astype(int)
        return set(part.iso3[(start <= year) & (year <= end)])

    def is_bloc(self, focus: str) -> bool:
        return bool((self.blocs.bloc == focus).any())

    def mask(self, members: set[str]) -> np.ndarray:
        return np.array([c in members for c in self.countries])

    def inside(self, focus: str, year: int) -> np.ndarray:
        """The focus's own countries, kept."""
        key = (focus, year)
        if key not in self.kept:
            self.kept[key] = self.mask(self.members(focus, year))
        return self.kept[key]

    def material(self, material: str, year: int) -> tuple[np.ndarray, np.ndarray]:
        """Output per country (NaN: no figure) and whether the statistic lists the country."""
        part = self.mining[(self.mining.commodity == material) & (self.mining.year == year)]
        series = part.set_index("Country_ISO").production
        return series.reindex(self.countries).to_numpy(float), np.isin(self.countries, list(series.index))


def hhi(shares: np.ndarray) -> float:
    return float((shares**2).sum())


def mean_risk(shares: np.ndarray, risk: np.ndarray) -> float | None:
    """G2: unscored countries dropped, the rest renormalised."""
    scored = ~np.isnan(risk[: len(shares)])
    total = shares[scored].sum()
    return float((shares[scored] * risk[: len(shares)][scored]).sum() / total) if total > 0 else None


def squared_risk(shares: np.ndarray, risk: np.ndarray) -> float:
    """sum_c share_c^2 * risk_c over scored countries, nothing renormalised."""
    return float(np.nansum(shares**2 * risk[: len(shares)]))


# ---------------------------------------------------------------- section 2, direct


def direct(world: World, focus: str, x: np.ndarray, year: int) -> dict:
    """C1, C2, C4a, C5, S1, S1b, S2, G2, G3 of imports and the direct mix, from one matrix of flows."""
    inside, eu27 = world.inside(focus, year), world.inside("EU27", year)
    bloc = world.is_bloc(focus)
    into = x[:, inside].sum(axis=1)
    imports = np.where(inside, 0.0, into)  # extra-bloc; a country's own row is empty
    total = imports.sum()
    exports = x.sum(axis=1)
    if bloc:
        outside = np.where(np.outer(inside, inside), 0.0, x).sum(axis=1)
        exports = np.append(outside[~inside], outside[inside].sum())
    outgoing = x[inside][:, ~inside].sum() if bloc else x[inside].sum()
    out: dict = {
        "imports": total,
        "C2": hhi(exports / exports.sum()) if exports.sum() > 0 else None,
        "S1": total / outgoing if outgoing > 0 else None,
        "S1_flag": None if total == outgoing == 0 else bool(outgoing == 0 or total / outgoing > 1),
        "C5": into[~inside if bloc else ~eu27].sum() / into.sum() if into.sum() > 0 else None,
    }
    if focus == "EU27":
        shipped = x[inside].sum()
        out["S1b"] = total / shipped if shipped > 0 else None
        out["S1b_flag"] = None if total == shipped == 0 else bool(shipped == 0 or total / shipped > 1)
    if not total > 0:
        return {**out, **dict.fromkeys(("C1", "C4a", "S2", "G2", "G3", "mix"))}
    shares = imports / total
    top = int(np.argmax(imports))
    others = ~inside
    others[top] = False
    return {
        **out,
        "mix": shares,
        "C1": hhi(shares),
        "C4a": float(shares[~inside & ~eu27].max()),
        "S2": x[others][:, ~inside].sum() / imports[top],
        "G2": mean_risk(shares, world.risk[year]),
        "G3": 10 * squared_risk(shares, world.risk[year]),
    }


def production_risk(world: World, material: str, year: int) -> dict:
    """C3 with its G2 and G3: the statistic over countries with a figure, totals and nulls left out."""
    p = np.nan_to_num(world.material(material, year)[0])
    if not p.sum() > 0:
        return {"C3": None, "G2": None, "G3": None, "mix": None}
    shares, risk = p / p.sum(), world.risk[year]
    return {"C3": hhi(shares), "G2": mean_risk(shares, risk), "G3": 10 * squared_risk(shares, risk), "mix": shares}


# ---------------------------------------------------------------- section 1, tracing


@dataclass
class Traced:
    """Origins of one code (or of several combined): rows are countries, columns countries and UNK."""

    shares: np.ndarray  # NaN rows: no supply
    supply: np.ndarray
    consumption: np.ndarray
    imputed: np.ndarray  # imputed share of each row
    basis: str


def trace(world: World, code: str, year: int, measure: str = "q") -> Traced:
    x = world.flows[year, code][0 if measure == "v" else 1]
    n = len(world.countries)
    exports, imports = x.sum(axis=1), x.sum(axis=0)
    proxy = np.maximum(0.0, exports - imports)

    material, same_form = world.links.get(code, ("", False))
    figures, listed = world.material(material, year)
    if same_form and measure == "q" and not np.isnan(figures).all():
        basis = "observed"
        missing = listed & np.isnan(figures)
        p = np.where(missing, proxy, np.nan_to_num(figures))
        d = missing.astype(float)
    else:
        basis = "export_proxy"
        p, d = proxy.copy(), np.ones(n)

    barred = world.mask(world.non.get(code, set()))
    p[barred] = d[barred] = 0.0
    unknown = np.where(barred, proxy, 0.0)
    short = exports - imports - p
    for at in np.flatnonzero(~barred & (short > TINY)):
        p[at] += short[at]
        d[at] = max(d[at], short[at] / p[at])

    supply = p + unknown + imports
    reached = p > 0  # fed by production, directly or through trade
    while True:
        more = reached | (x[reached] > 0).any(axis=0)
        if (more == reached).all():
            break
        reached = more
    has = supply > 0
    z = x.T  # Z[j, i] = X[i, j]
    a = np.divide(z, supply[None, :], out=np.zeros_like(z), where=has[None, :])
    r, lost = np.flatnonzero(reached & has), np.flatnonzero(~reached & has)
    right = np.zeros((len(r), n + 1))
    right[np.arange(len(r)), r] = p[r]
    right[:, n] = unknown[r] + z[np.ix_(r, lost)].sum(axis=1)
    shares = np.full((n, n + 1), np.nan)
    shares[r] = np.linalg.solve(np.eye(len(r)) - a[np.ix_(r, r)], right) / supply[r, None]
    shares[lost] = 0.0
    shares[lost, n] = 1.0
    eaten = np.maximum(0.0, supply - exports)
    eaten[eaten < 1e-9 * supply] = 0.0  # rounding of floats is no consumption
    return Traced(shares, supply, eaten, shares @ np.append(d, 0.0), basis)


class Recomputation:
    """Keeps the tracings and offers what the comparison asks for."""

    def __init__(self, shared: Path, reference: Path, years: range) -> None:
        self.world = World(shared, reference, years)
        self._kept: dict[tuple, Traced] = {}

    def traced(self, codes: tuple[str, ...], year: int, measure: str = "q") -> Traced | None:
        """Rows of several codes combined by the row country's consumption, where that is 0 by its supply."""
        key = (codes, year, measure)
        if key not in self._kept:
            if len(codes) == 1:
                self._kept[key] = trace(self.world, codes[0], year, measure)
            else:
                parts = [t for k in codes if (t := self.traced((k,), year, measure)) is not None]
                eaten, supply = sum(t.consumption for t in parts), sum(t.supply for t in parts)
                shares = np.zeros_like(parts[0].shares)
                imputed = np.zeros_like(parts[0].imputed)
                for t in parts:
                    with np.errstate(divide="ignore", invalid="ignore"):
                        w = np.nan_to_num(np.where(eaten > 0, t.consumption / eaten, t.supply / supply))
                    shares += w[:, None] * np.nan_to_num(t.shares)
                    imputed += w * np.nan_to_num(t.imputed)
                shares[supply <= 0] = imputed[supply <= 0] = np.nan
                basis = "observed" if all(t.basis == "observed" for t in parts) else "export_proxy"
                self._kept[key] = Traced(shares, supply, eaten, imputed, basis)
        return self._kept[key]

    def own_vector(self, codes: tuple[str, ...], focus: str, year: int, measure: str = "q") -> dict | None:
        """The focus's row; a bloc's members weighted by apparent consumption. None: null."""
        t = self.traced(codes, year, measure)
        inside = self.world.inside(focus, year)
        weight = np.where(inside, t.consumption if self.world.is_bloc(focus) else t.supply, 0.0)
        if not weight.sum() > 0:
            return None
        weight = weight / weight.sum()
        return {
            "x": weight @ np.nan_to_num(t.shares),
            "imputed": float(weight @ np.nan_to_num(t.imputed)),
            "basis": t.basis,
        }

    def of_vector(self, x: np.ndarray, focus: str, year: int) -> dict:
        """O1, C4b, G2, T and the term of X2, of a vector that ends with UNK."""
        world = self.world
        inside, eu27, risk = world.inside(focus, year), world.inside("EU27", year), world.risk[year]
        unk, foreign = float(x[-1]), np.where(inside, 0.0, x[:-1])
        raised = foreign.copy()
        if foreign.max() > 0:
            raised[foreign.argmax()] += unk
        third = float(np.where(eu27, 0.0, foreign).max())
        g2 = mean_risk(foreign, risk)
        high = hhi(raised) if foreign.max() > 0 else unk**2
        return {
            "O1": hhi(foreign),
            "O1_high": high,
            "O1r": hhi(foreign / foreign.sum()) if foreign.sum() > 0 else None,
            "C4b": third,
            "C4b_high": third + unk,
            "G2": g2,
            "T": bool(hhi(foreign) > 0.4 and (g2 or 0) > 0.5),
            "x2": squared_risk(foreign, risk),
            "own": float(x[:-1][inside].sum()),
            "unk": unk,
        }

    # -------------------------------------------------------- look-through

    def codes(self, node: str) -> tuple[str, ...]:
        return tuple(k for k in self.world.nodes.codes_hs92[node].split() if k in self.world.codes)

    def kind(self, node: str) -> str:
        if self.codes(node):
            return "traded"
        return "mine" if node.startswith("mine_") else "dashed"

    def walk(self, group: str, focus: str, year: int, depth: int = 2) -> dict[str, dict] | None:
        """Every node of a group to the depth: vector, tier, path weight, basis, imputed share."""
        world = self.world
        root = world.groups.set_index("group").node[group]
        edges = world.edges[world.edges.group == group]
        start = self.own_vector(self.codes(root), focus, year) if self.kind(root) == "traded" else None
        if start is None:
            return None
        out: dict[str, dict] = {root: {**start, "tier": 0, "weight": 1.0, "kind": "traded"}}
        waiting = [n for n in dict.fromkeys(edges.input) if n != root]
        while waiting:  # a node's turn comes once all of its users in this group are done
            node = next(n for n in waiting if not set(edges.user[edges.input == n]) & set(waiting))
            waiting.remove(node)
            kind = self.kind(node)
            step = 0 if kind == "dashed" else 1
            ways: list[tuple[dict, float | None]] = []
            for edge in edges[edges.input == node].itertuples():
                user = out.get(edge.user)
                if user is None or user["tier"] + step > depth or user["kind"] == "mine":
                    continue
                own = 1.0 if edge.essential == "true" else (float(edge.intensity) if edge.intensity else None)
                ways.append((user, None if own is None or user["weight"] is None else own * user["weight"]))
            if not ways:
                continue
            known = [(u, w) for u, w in ways if w]
            used = known or [(u, 1.0) for u, _ in ways]
            mean = sum(u["x"] * w for u, w in used) / sum(w for _, w in used)
            item: dict = {
                "tier": min(u["tier"] for u, _ in ways) + step,
                "weight": max((w for _, w in ways if w is not None), default=None),
                "kind": kind,
            }
            if kind == "dashed":
                item.update(x=mean, basis="assumed")
            elif kind == "mine":
                mix = production_risk(world, world.nodes.material[node], year)["mix"]
                if mix is None:
                    continue
                item.update(x=np.append(mix, 0.0), imputed=0.0, basis="world_production_mix")
            else:
                t = self.traced(self.codes(node), year)
                known_rows = ~np.isnan(t.shares).any(axis=1)
                x = mean[:-1][known_rows] @ t.shares[known_rows]
                x[-1] += mean[-1] + mean[:-1][~known_rows].sum()  # UNK stays UNK; no supply of the input: unknown
                imputed = float(mean[:-1][known_rows] @ t.imputed[known_rows])
                item.update(x=x, imputed=imputed, basis=t.basis)
            out[node] = item
        return out

    def node_production(self, node: str, year: int) -> dict:
        """C3 and G2 of a node: its own statistic, else the one material that its codes are forms of."""
        material = self.world.nodes.material[node]
        if not material:
            found = {self.world.links[k][0] for k in self.codes(node) if k in self.world.links}
            material = found.pop() if len(found) == 1 else ""
        return production_risk(self.world, material, year)

    def group(self, group: str, focus: str, year: int) -> dict | None:
        """X1, X1g, X2 and the hidden exposure of a group, as the figures have it (proxy or not)."""
        nodes = self.walk(group, focus, year)
        if nodes is None:
            return None
        inside = np.append(self.world.inside(focus, year), True)  # UNK is no foreign country either
        root, *upstream = nodes
        x0 = nodes[root]["x"]
        nodes = {n: item for n, item in nodes.items() if item["kind"] != "dashed"}
        for item in nodes.values():
            item["of"] = self.of_vector(item["x"], focus, year)
        traded = {n: item for n, item in nodes.items() if item["kind"] == "traded"}
        fails = not nodes[root]["of"]["T"]
        above = [i for n, i in traded.items() if n != root]
        made = [self.node_production(n, year) for n in upstream if n in nodes]
        links = {
            kind: [i["weight"] * i["of"]["x2"] for i in nodes.values() if i["kind"] == kind and i["weight"] is not None]
            for kind in ("traded", "mine")
        }
        return {
            "nodes": nodes,
            "T": not fails,
            "X1": fails and any(i["of"]["T"] and (i["weight"] or 0) >= 0.05 for i in above),
            "X1g": fails and any((m["C3"] or 0) > 0.4 and (m["G2"] or 0) > 0.5 for m in made),
            "X2": max(links["traded"]),
            "X2_global": max(links["mine"], default=None),
            "hidden": max((float((i["x"] - x0)[~inside].max()) for i in above), default=None),
        }


# ---------------------------------------------------------------- named methods


def criteria(d: dict) -> bool | None:
    """C1, C2 and S1 together in one year; unknown without imports."""
    return bool(d["C1"] > 0.4 and d["C2"] > 0.4 and d["S1_flag"]) if d["imports"] > 0 else None


def geodep(by_year: dict[int, bool | None], year: int) -> bool | None:
    """At least two of three years; None where unknown years could still make it two."""
    window = [by_year.get(y) for y in (year - 2, year - 1, year)]
    if window.count(True) >= 2:
        return True
    return None if window.count(True) + window.count(None) >= 2 else False
