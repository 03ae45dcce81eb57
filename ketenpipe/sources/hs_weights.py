"""Weights that carry values from one HS revision to another without losing or inventing any.

A concordance says which codes correspond. Where one code meets several, its value is spread by world trade in the
target codes, or evenly where that is not known: ``w[a,b] = V_b / sum_{b' of a} V_b'``. Weights are whole billionths
that sum to one per code (largest remainder), so they survive the nine digits of a table, and converted money keeps its
total to the last thousandth. Trade shares are those of the target codes as wholes: where a target also takes value
from other codes, the split is an assumption, and :func:`ambiguity` says how much rests on it.

Belongs here: weights, chains of them, what they leave uncertain. Does not belong here: reading concordances, converting
reports (:mod:`ketenpipe.sources.reconciliation`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import reduce
from itertools import pairwise, permutations

import networkx as nx
import pyarrow as pa
import pyarrow.compute as pc

from ketenpipe.errors import InputRefused, WrongUse
from ketenpipe.sources.concordance import KINDS, pairs_between
from ketenpipe.tables.registry import HS_WEIGHTS

#: Weights are whole multiples of one billionth.
UNIT = 1_000_000_000


@dataclass(frozen=True)
class HsWeights:
    """Weights between two revisions and what they do not cover.

    Attributes:
        table: contract ``hs_weights``.
        without_target: codes of the old revision that the concordance leads nowhere, in order; their value cannot
            be converted.
        not_reached: codes of the new revision (where a list of them was given) that no code leads to: they will
            show no trade, which is a gap of the concordance and not of the world.
    """

    table: pa.Table
    without_target: tuple[str, ...]
    not_reached: tuple[str, ...] = ()

    @property
    def from_revision(self) -> str:
        """The revision converted from."""
        return str(self.table["from_revision"][0].as_py())

    @property
    def to_revision(self) -> str:
        """The revision converted to."""
        return str(self.table["to_revision"][0].as_py())


def world_trade(
    flows: pa.Table, hs_revision: str, years: Collection[int] | None = None, codes: Iterable[str] = ()
) -> dict[str, Decimal]:
    """World trade per code, thousand USD: ``V_b = sum over years, exporters, importers of v``.

    Args:
        flows: table ``baci_flows``.
        hs_revision: the revision whose codes are meant.
        years: years to sum; None: all.
        codes: codes of a *complete* release: those without a flow are 0. A selection of codes must not be given here,
            for a code that it lacks is unknown and not 0.
    """
    rows = flows.filter(pc.equal(flows["hs_revision"], hs_revision))
    if years is not None:
        rows = rows.filter(pc.is_in(rows["year"], pa.array(sorted(years), rows["year"].type)))
    summed = rows.select(["code", "value_kusd"]).group_by("code").aggregate([("value_kusd", "sum")])
    known = dict.fromkeys(codes, Decimal(0))
    known.update(zip(summed["code"].to_pylist(), summed["value_kusd_sum"].to_pylist(), strict=True))
    return known


def _units(values: Mapping[str, int]) -> dict[str, int]:
    """Whole billionths in the proportion of whole numbers, summing to one (exact: Python's integers)."""
    total = sum(values.values())
    parts = {code: divmod(value * UNIT, total) for code, value in values.items()}
    left = UNIT - sum(whole for whole, _ in parts.values())
    ranked = sorted(parts, key=lambda code: (-parts[code][1], code))
    return {code: parts[code][0] + (code in ranked[:left]) for code in sorted(values)}


def hs_weights(
    pairs: pa.Table,
    trade_by_code: Mapping[str, Decimal | float] | None,
    from_revision: str,
    to_revision: str,
    *,
    from_codes: Iterable[str] = (),
    to_codes: Iterable[str] = (),
    kinds: tuple[str, ...] = KINDS,
) -> HsWeights:
    """Weights from one HS revision to another; those of a code sum to exactly one.

    ``w[a,b] = 1`` where a has one target; ``V_b / sum V`` where world trade of *every* target is known and not all of
    it is 0; else ``1 / number of targets``.

    Args:
        pairs: pairs of codes (:data:`ketenpipe.sources.concordance.CONCORDANCE_SCHEMA`).
        trade_by_code: world trade of codes of the target revision, any unit (:func:`world_trade`); a code that is
            not in it is unknown. None: nothing is known.
        from_revision, to_revision: ``HS22``, ``HS17``, ...; the same twice gives the identity over the codes given.
        from_codes: every code of the old revision; those without a target are reported.
        to_codes: every code of the new revision; those that nothing leads to are reported.
        kinds: kinds of concordance that may be used, best first.

    Raises:
        InputRefused: no concordance leads from one revision to the other, or two do; a world trade that is negative
            or no number.
    """
    codes, goals = sorted(set(from_codes)), sorted(set(to_codes))
    if from_revision == to_revision:
        targets: dict[str, list[str]] = {c: [c] for c in sorted({*codes, *goals})}
        vintage = "identity"
    else:
        found = pairs_between(pairs, from_revision, to_revision, kinds)
        if found is None:
            raise InputRefused(
                f"no concordance leads from {from_revision} to {to_revision}",
                todo="put the United Nations' workbook of the two revisions into concordance/",
            )
        targets = {}
        for a, b in zip(found["from_code"].to_pylist(), found["to_code"].to_pylist(), strict=True):
            targets.setdefault(a, []).append(b)
        vintage = str(found["vintage"][0].as_py())
    if not targets:
        raise WrongUse(f"no codes of {from_revision} were given")
    known = _whole(trade_by_code or {}, {b for bs in targets.values() if len(bs) > 1 for b in bs})
    rows: list[tuple[str, str, float, str]] = []
    for a, bs in targets.items():
        if len(bs) == 1:
            rows.append((a, bs[0], 1.0, "one"))
            continue
        values = {b: known[b] for b in bs if b in known}
        traded = len(values) == len(bs) and sum(values.values()) > 0
        units = _units(values if traded else dict.fromkeys(bs, 1))
        rows += [(a, b, n / UNIT, "trade_shares" if traded else "equal") for b, n in units.items()]
    table = _table(rows, from_revision, to_revision, vintage)
    reached = set(table["to_code"].to_pylist())
    return HsWeights(
        table,
        tuple(c for c in codes if c not in targets),
        tuple(c for c in goals if c not in reached),
    )


def _whole(trade: Mapping[str, Decimal | float], codes: set[str]) -> dict[str, int]:
    """World trade in millionths of its unit, as whole numbers, so that proportions are exact."""
    out: dict[str, int] = {}
    for code in sorted(codes & trade.keys()):
        value = Decimal(str(trade[code]))
        if not value.is_finite() or value < 0:
            raise InputRefused(f"world trade of {code} is {trade[code]}, which is no amount")
        out[code] = int(value * 1_000_000)
    return out


def _table(rows: list[tuple[str, str, float, str]], one: str, two: str, vintage: str) -> pa.Table:
    a, b, weight, basis = zip(*rows, strict=True)
    return HS_WEIGHTS.conform(
        pa.table(
            {
                "from_revision": [one] * len(rows),
                "from_code": pa.array(a, pa.string()),
                "to_revision": [two] * len(rows),
                "to_code": pa.array(b, pa.string()),
                "weight": pa.array(weight, pa.float64()),
                "weight_basis": pa.array(basis, pa.string()),
                "vintage": [vintage] * len(rows),
            }
        )
    )


def _by_code(table: pa.Table) -> dict[str, dict[str, tuple[int, str]]]:
    out: dict[str, dict[str, tuple[int, str]]] = {}
    columns = (table[name].to_pylist() for name in ("from_code", "to_code", "weight", "weight_basis"))
    for a, b, weight, basis in zip(*columns, strict=True):
        out.setdefault(a, {})[b] = (round(weight * UNIT), basis)
    return out


def compose(first: HsWeights, second: HsWeights) -> HsWeights:
    """Chain two sets of weights: ``w[a,c] = sum_b w1[a,b] w2[b,c]``, still summing to one per code.

    A code of which any part ends in a code without a target in the second step has no target itself: spreading the rest
    would invent where that part went. The basis of a chained weight is the weakest on its way (``equal`` below
    ``trade_shares`` below ``one``).

    Raises:
        WrongUse: the second does not begin where the first ends.
    """
    if first.to_revision != second.from_revision:
        raise WrongUse(
            f"weights to {first.to_revision} cannot be followed by weights from {second.from_revision}: the revisions "
            "must meet"
        )
    then = _by_code(second.table)
    rank = {"one": 0, "trade_shares": 1, "equal": 2}
    rows: list[tuple[str, str, float, str]] = []
    lost: list[str] = []
    for a, bs in _by_code(first.table).items():
        if any(b not in then for b, (n, _) in bs.items() if n):
            lost.append(a)
            continue
        exact: dict[str, int] = {}
        bases: dict[str, str] = {}
        for b, (n, basis) in bs.items():
            for c, (m, further) in then.get(b, {}).items():
                exact[c] = exact.get(c, 0) + n * m
                bases[c] = max(bases.get(c, "one"), basis, further, key=rank.__getitem__)
        units = _units(exact)
        rows += [(a, c, n / UNIT, "one" if len(units) == 1 else bases[c]) for c, n in units.items()]
    if not rows:
        raise InputRefused(
            f"no code of {first.from_revision} leads to {second.to_revision} by way of {first.to_revision}"
        )
    vintages = [str(w.table["vintage"][0].as_py()) for w in (first, second)]
    table = _table(rows, first.from_revision, second.to_revision, " > ".join(vintages))
    reached = set(table["to_code"].to_pylist())
    goals = {*second.not_reached, *second.table["to_code"].to_pylist()}
    return HsWeights(table, tuple(sorted({*first.without_target, *lost})), tuple(sorted(goals - reached)))


def weights_into(
    to_revision: str,
    pairs: pa.Table,
    trade_by_code: Mapping[str, Decimal | float] | None,
    *,
    kinds: tuple[str, ...] = KINDS,
) -> list[HsWeights]:
    """Weights from every HS revision that a concordance, or a chain of them, leads from, into one.

    The shortest chain is taken; of equally short ones the first by name. A conversion is never read backwards.

    Args:
        to_revision: e.g. ``HS17``.
        pairs: as in :func:`hs_weights`.
        trade_by_code: world trade of codes of ``to_revision``; the steps in between are split evenly.
        kinds: as in :func:`hs_weights`.

    Returns:
        One set of weights per revision, by name; none where no concordance leads there.
    """
    systems = sorted({*pairs["from_system"].unique().to_pylist(), *pairs["to_system"].unique().to_pylist()})
    revisions = [name for name in systems if name.startswith("HS")]
    graph = nx.DiGraph((a, b) for a, b in permutations(revisions, 2) if pairs_between(pairs, a, b, kinds) is not None)
    if to_revision not in graph:
        return []
    found = []
    for start in sorted(nx.ancestors(graph, to_revision)):
        way = min(nx.all_shortest_paths(graph, start, to_revision))
        trade = {to_revision: trade_by_code}
        chain = [hs_weights(pairs, trade.get(b), a, b, kinds=kinds) for a, b in pairwise(way)]
        found.append(reduce(compose, chain))
    return found


def ambiguity(weights: HsWeights, trade_by_code: Mapping[str, Decimal | float] | None = None) -> pa.Table:
    """How much of a target code's value rests on splits, from 0 (none) to 1 (all), for the data grade.

    ``ambiguity_b = sum_a V_a w[a,b] [a was split] / sum_a V_a w[a,b]`` with ``V_a`` the trade of the old codes; without
    it, or where it is 0, codes count alike (``V_a = 1``).

    Args:
        weights: weights between two revisions.
        trade_by_code: world trade of codes of the *old* revision (:func:`world_trade`); a code not in it counts 0.

    Returns:
        ``hs_revision, code, ambiguity, sources`` (how many old codes feed it), ``weight_basis`` (the weakest).
    """
    rank = {"one": 0, "trade_shares": 1, "equal": 2}
    held = None if trade_by_code is None else {c: float(v) for c, v in trade_by_code.items()}
    seen: dict[str, list[tuple[float, float, str]]] = {}
    for a, bs in _by_code(weights.table).items():
        value = 1.0 if held is None else held.get(a, 0.0)
        for b, (n, basis) in bs.items():
            seen.setdefault(b, []).append((value, n / UNIT, basis))
    out: list[tuple[str, float, int, str]] = []
    for b, parts in sorted(seen.items()):
        amounts = [v * w for v, w, _ in parts]
        if sum(amounts) <= 0:
            amounts = [w for _, w, _ in parts]
        total = sum(amounts)
        split = sum(x for x, (_, _, basis) in zip(amounts, parts, strict=True) if basis != "one")
        # A target that only weights of 0 lead to holds nothing that could be in doubt but the weights themselves.
        share = split / total if total > 0 else 1.0
        out.append((b, share, len(parts), max((p[2] for p in parts), key=rank.__getitem__)))
    code, share_, sources, basis_ = zip(*out, strict=True)
    return pa.table(
        {
            "hs_revision": pa.array([weights.to_revision] * len(out), pa.string()),
            "code": pa.array(code, pa.string()),
            "ambiguity": pa.array(share_, pa.float64()),
            "sources": pa.array(sources, pa.int64()),
            "weight_basis": pa.array(basis_, pa.string()),
        }
    )
