"""Shocks: what a country's stop of exports of one node would cut of a focus's supply. For ranking only.

Belongs here: one scenario, and the standard set of them (table ``shocks``). Does not belong here: the matrices of the
chain (:mod:`ketenpipe.chain.steps`), any loss in money, or how likely a scenario is.

**The scenario.** Country c stops a share ``a`` of its exports of what it makes of node m; its own use goes on. In
another country j the supply of m loses ``a O_m[j,c]``: what c made, also where it came through other countries, since
these lost it before. In c itself nothing is lost: what once left and came back now stays. What others made and only
passed through c still comes (it is traced to where it was made); a closed border would cut more: with ``a = 1`` and one
code, ``O_m[j,c] / O_m[c,c]`` instead of ``O_m[j,c]``, equal where c ships on nothing of others.

**Through the chain.** A user of m made in j loses the fraction that its inputs in j lost: the whole of it where the
input is essential, else as much of it as the intensity says; the largest of the essential ones plus the sum of the
others, never above 1. What then is made less in j is missing with everybody who uses j's: ``lost_k = O_k @ made_k``.
The focus loses ``cut = x_0 @ made`` of the group's product; where the node is the product itself, what its own row lost
(a bloc: its members' rows by apparent consumption, as in its supply mix). Nobody substitutes, no stock is used: an
upper bound. A dashed step passes the loss on in the same country. A node with the world production mix cuts the same
of every buyer, the country itself left out.

**Unknown.** ``low`` takes unknown origins for other countries and unknown intensities for 0, ``high`` takes both at
their worst. ``cut`` leaves unknown origins out, and is null where an unknown intensity matters, or where a user on the
way could not be computed.

**Relief.** In country j: what all countries but c and j export and c did not make, less what j buys of that already
(never below 0), as a share of j's supply. That much of j's loss is covered. Where nobody sells c's goods on this is
``S2 * (what c sells to j)`` with S2 of METHOD 2, in tonnes, and j in the place of the focus. For the product itself the
buyer is the focus; a bloc is one buyer that does not count its members' exports. Every country is given the first call
on what others buy today: a lower bound. The truth lies between the two; neither is a forecast.

Source: ours; that a lost essential input stops its user in the same proportion is Leontief's fixed recipe.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ketenpipe.chain.paths import State, path_text
from ketenpipe.chain.steps import Array, Chain, ChainYear, NodeSteps
from ketenpipe.chain.tracing import IMPUTED_SHARE_LOW_CONFIDENCE, UNKNOWN
from ketenpipe.errors import WrongUse
from ketenpipe.sources.countries import country_names, is_known
from ketenpipe.tables.contract import round_significant
from ketenpipe.tables.registry import CONFIDENCE, SHOCKS, SUPPLY_MIX
from ketenpipe.tables.store import Store

WORDS = "ranking only; without substitution = upper bound"
"""What must stand beside every figure of a shock."""
#: Figures nearer than this are the same figure.
SAME = 1e-12
_CODE = re.compile(r"\d{6}", re.ASCII)
# The figures of a scenario: unknown origins and intensities out; unknown intensities in; both in. Each without and
# with relief.
_KNOWN, _ESSENTIAL, _HIGH = 0, 1, 2
_RELIEVED = 3


@dataclass(frozen=True)
class _Loss:
    """What a node loses in each country, for some shocked countries at once.

    Attributes:
        lost: shape (n, shocked, 6): without and with relief, see above.
        made, high: share of a country's supply that the shocked country made, without and with what is of unknown
            origin, shape (n, shocked); 0 in the shocked country.
        spare: what others sell elsewhere and the shocked country did not make, as a share of the supply of each
            country, shape (n, shocked); NaN without trade codes.
    """

    lost: Array
    made: Array
    high: Array
    spare: Array


@dataclass(frozen=True)
class _Trade:
    """One node's trade in the codes that a shock is about, in tonnes.

    Attributes:
        made, unknown: share of a country's supply of the node that comes from the shocked country, (n, shocked), and
            from nobody knows where, (n), in these codes.
        exports, bought: exports and imports in these codes, (n).
        exports_made, exports_unknown: what of the exports comes from there, (n, shocked) and (n).
        supply, eaten: supply and consumption of the whole node, (n).
    """

    made: Array
    unknown: Array
    exports: Array
    exports_made: Array
    exports_unknown: Array
    bought: Array
    supply: Array
    eaten: Array

    def sold(self, shocked: Array, unknown: bool) -> Array:
        """What each country but the shocked one sells abroad and the shocked one did not make, shape (n, shocked).

        Args:
            unknown: whether what is of unknown origin is taken for the shocked country's.
        """
        gone = self.exports_made + (self.exports_unknown[:, np.newaxis] if unknown else 0.0)
        sold = np.maximum(self.exports[:, np.newaxis] - gone, 0.0)
        sold[shocked, np.arange(len(shocked))] = 0.0
        return sold


def shock(
    seen: ChainYear,
    members: Mapping[str, frozenset[str]],
    supply_mix: pa.Table,
    country: str,
    node: str,
    share: float = 1.0,
    foci: Iterable[str] | None = None,
) -> pa.Table:
    """One scenario for every group that has the node (contract ``shocks``), see the module.

    Args:
        seen: the chains of the year.
        members: the countries of each focus in that year, one for a country.
        supply_mix: table of that name (rows of other years are left aside).
        country: who stops exporting, ISO3.
        node: a node of the catalogue, or an HS6 code: then only that code of the nodes that hold it, and the focus's
            own supply of the code beside it.
        share: part of the exports that stops, above 0 and not above 1.
        foci: all by default.

    Raises:
        WrongUse: a country, node or focus that the tables do not know (with what comes near it), a share out of range,
            a node that could not be computed.
    """
    if not 0 < share <= 1:
        raise WrongUse(f"the share that stops must lie above 0 and not above 1, and {share:g} does not")
    wanted = _foci(seen, foci)
    mix = _Mix(supply_mix, seen.year)
    shocked = _country(seen, country)
    code = node if _CODE.fullmatch(node) else None
    rows: list[dict[str, object]] = []
    if code is None:
        for chain, name in _places(seen, node):
            rows += _rows(seen, chain, name, None, shocked, share, dict.fromkeys(wanted, shocked), members, mix)
    else:
        rows += _direct_rows(seen, mix, code, country, share, wanted, members)
        for chain in seen.chains():
            for name, steps in chain.traded.items():
                if code in steps.codes:
                    rows += _rows(seen, chain, name, code, shocked, share, dict.fromkeys(wanted, shocked), members, mix)
        if not rows:
            raise WrongUse(f"nobody in {' or '.join(wanted)} has supply of HS6 code {code} in {seen.year}")
    return SHOCKS.conform(_ranked(rows))


def standard_shocks(
    seen: ChainYear, members: Mapping[str, frozenset[str]], supply_mix: pa.Table, foci: Iterable[str] | None = None
) -> pa.Table:
    """The standard set of scenarios (contract ``shocks``).

    For each focus: every computed node of every group, the product itself included, with the largest country outside
    the focus in its exposure, ``share = 1``. Each such scenario is reckoned for every group that has the node.

    Args:
        seen, members, supply_mix, foci: as for :func:`shock`.
    """
    wanted = _foci(seen, foci)
    mix = _Mix(supply_mix, seen.year)
    scenarios: dict[tuple[str, str], set[int]] = {}
    for focus in wanted:
        inside = seen.index(members[focus])
        for chain in seen.chains():
            if focus not in chain.starts:
                continue
            for node, vector in chain.vectors(focus).items():
                foreign = vector[:-1].copy()
                foreign[inside] = 0.0
                if chain.tier(node) is not None and foreign.any():
                    scenarios.setdefault((focus, node), set()).add(int(foreign.argmax()))
    rows: list[dict[str, object]] = []
    for chain in seen.chains():
        for node in chain.order:
            asked = {f: np.array(sorted(scenarios.get((f, node), ())), dtype=np.intp) for f in wanted}
            shocked = np.array(sorted({int(k) for places in asked.values() for k in places}), dtype=np.intp)
            if chain.tier(node) is not None and len(shocked):
                rows += _rows(seen, chain, node, None, shocked, 1.0, asked, members, mix)
    return SHOCKS.conform(_ranked(rows))


def read_supply_mix(store: Store, year: int) -> pa.Table:
    """What :func:`shock` needs of the stored table ``supply_mix``, one year."""
    return store.read(
        SUPPLY_MIX,
        [str(year)] if SUPPLY_MIX.partitioned else None,
        columns=["focus", "hs_revision", "code", "year", "country", "tonnes", "share_traced"],
        filters=pc.equal(pc.field("year"), year),
    )


class _Mix:
    """The focus's own purchases: tonnes per code, and the traced share of a country."""

    def __init__(self, supply_mix: pa.Table, year: int) -> None:
        held = supply_mix.filter(pc.equal(supply_mix.column("year"), year))
        self._held = held
        bought = held.group_by(["focus", "hs_revision", "code"], use_threads=False).aggregate([("tonnes", "sum")])
        self._bought = {(r["focus"], r["hs_revision"], r["code"]): r["tonnes_sum"] or 0.0 for r in bought.to_pylist()}

    def bought(self, focus: str, revision: str, codes: Iterable[str]) -> float:
        """Tonnes that the focus buys from outside."""
        return float(sum(self._bought.get((focus, revision, c), 0.0) for c in codes))

    def traced(self, code: str) -> list[dict[str, object]]:
        """Rows of one HS6 code, all foci and HS revisions."""
        found: list[dict[str, object]] = self._held.filter(pc.equal(self._held.column("code"), code)).to_pylist()
        return found


def _rows(
    seen: ChainYear,
    chain: Chain,
    node: str,
    code: str | None,
    shocked: Array,
    share: float,
    asked: Mapping[str, Array],
    members: Mapping[str, frozenset[str]],
    mix: _Mix,
) -> Iterator[dict[str, object]]:
    """Rows of one node of one group, for some shocked countries; each focus gets those that it asks for."""
    steps = chain.traded.get(node)
    trade = None if steps is None else _trade(steps, shocked, code)
    loss = _world_mix(chain.mixes[node], shocked, share) if trade is None else _at_node(trade, shocked, share)
    head = node == chain.head
    made = None if head else _through(chain, node, loss.lost)
    codes = () if steps is None else (steps.codes if code is None else (code,))
    for focus, start in chain.starts.items():
        if focus not in asked or (focus, node) not in chain.basis:
            continue
        inside = seen.index(members[focus])
        ways = _main_ways(chain, node, loss.made, start, shocked)
        if made is not None:
            cuts, spare = np.einsum("j,jcv->cv", start, made), _at_users(loss, ways)
        else:
            assert trade is not None
            cuts, spare = _own_cut(loss, trade, shocked, inside, len(members[focus]) == 1,
                                   mix.bought(focus, chain.revision, codes))  # fmt: skip
        for k, at in enumerate(shocked):
            if at not in asked[focus]:
                continue
            figures = np.clip(cuts[k], 0.0, 1.0)
            why = []
            sure = np.array([figures[_ESSENTIAL] - figures[_KNOWN], figures[_ESSENTIAL + _RELIEVED] -
                             figures[_RELIEVED]]) <= SAME  # fmt: skip
            if not sure[0]:
                why.append("intensity_unknown")
            if node in chain.broken:
                # What goes on where the chain cannot be walked is at most what is lost at the node.
                sure[:] = False
                why.append("user_not_computed")
                for column in (_HIGH, _HIGH + _RELIEVED):
                    figures[column] = max(figures[column], loss.lost[:, k, column].max())
            if at in inside:
                why.append("country_in_focus")
            if trade is None:
                why.append("no_trade_codes")
            if chain.basis[(focus, node)] == "export_proxy":
                why.append("export_proxy")
            way = ways[k] if figures[_HIGH] > 0 else None
            yield {
                "focus": focus,
                "year": seen.year,
                "scenario": f"{seen.countries[at]}:{code or node}:{share:g}",
                "country": seen.countries[at],
                "node": node,
                "code": code,
                "share": share,
                "group": chain.group,
                "hs_revision": chain.revision,
                "tier": chain.tier(node),
                "cut": float(figures[_KNOWN]) if sure[0] else None,
                "low": float(figures[_KNOWN]),
                "high": float(figures[_HIGH]),
                "cut_with_relief": float(figures[_RELIEVED]) if sure[1] and trade is not None else None,
                "relief_low": None if trade is None else float(figures[_RELIEVED]),
                "relief_high": None if trade is None else float(figures[_HIGH + _RELIEVED]),
                "relief": None if np.isnan(spare[k]) else float(spare[k]),
                "path": None if way is None else path_text(chain, seen.countries, way),
                "basis": chain.basis[(focus, node)],
                "evidence": chain.nodes[node]["evidence"],
                "same_for_every_country": trade is None,
                "confidence": _confidence(chain, node, focus),
                "reason": "; ".join(why) or None,
            }


def _at_users(loss: _Loss, ways: Sequence[tuple[State, ...] | None]) -> Array:
    """S2 where each path meets the node: what is to spare there over what is lost there; NaN where nothing is."""
    out = np.full(len(ways), np.nan)
    for k, way in enumerate(ways):
        if way is not None and loss.lost[way[-2][1], k, _KNOWN] > 0:
            out[k] = loss.spare[way[-2][1], k] / loss.lost[way[-2][1], k, _KNOWN]
    return out


def _confidence(chain: Chain, node: str, focus: str) -> str:
    """The lowest of the edges on the path; low on a proxy or imputed production, at most medium on a world mix."""
    found = [str(chain.nodes[node]["confidence"] or "high")]
    basis, imputed = chain.basis[(focus, node)], chain.imputed[(focus, node)]
    if basis == "export_proxy" or not imputed <= IMPUTED_SHARE_LOW_CONFIDENCE:
        found.append("low")
    elif basis != "observed":
        found.append("medium")
    return max(found, key=CONFIDENCE.index)


def _direct_rows(
    seen: ChainYear,
    mix: _Mix,
    code: str,
    country: str,
    share: float,
    foci: Sequence[str],
    members: Mapping[str, frozenset[str]],
) -> list[dict[str, object]]:
    """The focus's own supply of an HS6 code, whether the catalogue knows the code or not: ``a x_0[c]``."""
    held: dict[tuple[str, str], dict[str, float]] = {}
    for row in mix.traced(code):
        if row["focus"] in foci and isinstance(row["share_traced"], float):
            held.setdefault((str(row["focus"]), str(row["hs_revision"])), {})[str(row["country"])] = row["share_traced"]
    rows = []
    for (focus, revision), shares in sorted(held.items()):
        known, unknown = shares.get(country, 0.0), shares.get(UNKNOWN, 0.0)
        within, alone = country in members[focus], members[focus] == {country}
        # A bloc's row does not say what of a member's make its other members use.
        low, high = (0.0, 0.0) if alone else (0.0 if within else share * known, share * min(known + unknown, 1.0))
        rows.append(
            {
                "focus": focus, "year": seen.year, "scenario": f"{country}:{code}:{share:g}", "country": country,
                "code": code, "share": share, "hs_revision": revision, "tier": 0,
                "cut": None if within and not alone else low, "low": low, "high": high, "basis": "traced",
                "path": f"{code}@{country}" if known > 0 and not alone else None, "same_for_every_country": False,
                "reason": "; ".join([*(["country_in_focus"] if within else []), "relief_not_computed"]),
            }
        )  # fmt: skip
    return rows


# -- the loss at the node ------------------------------------------------------------------------------------


def _trade(steps: NodeSteps, shocked: Array, code: str | None) -> _Trade:
    taken = [
        (w, p) for c, w, p in zip(steps.codes, steps.weights, steps.parts, strict=True) if code is None or c == code
    ]
    n = len(steps.origins)
    without = ~steps.weights.any(axis=0)
    unknown = without.astype(float)
    made, exports, bought = np.zeros((n, len(shocked))), np.zeros(n), np.zeros(n)
    exports_made, exports_unknown = np.zeros((n, len(shocked))), np.zeros(n)
    for w, p in taken:
        made += w[:, np.newaxis] * p.origins[:, shocked]
        unknown += w * p.origins[:, -1]
        exports += p.exports
        exports_made += p.exports[:, np.newaxis] * p.origins[:, shocked]
        exports_unknown += p.exports * p.origins[:, -1]
        bought += p.bought
    supply, eaten = (np.sum([getattr(p, what) for p in steps.parts], axis=0) for what in ("supply", "eaten"))
    return _Trade(made, unknown, exports, exports_made, exports_unknown, bought, supply, eaten)


def _at_node(trade: _Trade, shocked: Array, share: float) -> _Loss:
    """What the supply of the node loses in each country, without and with relief."""
    columns = np.arange(len(shocked))
    made = trade.made.copy()
    high = np.minimum(made + trade.unknown[:, np.newaxis], 1.0)
    made[shocked, columns] = 0.0
    high[shocked, columns] = 0.0
    spare = [_spare(trade, shocked, part, unknown) for part, unknown in ((made, False), (high, True))]
    # What is unknown may stand in the country's own supply and not in what it buys: that frees nothing.
    spare[1] = np.minimum(spare[0], spare[1])
    lost = share * np.stack([made, made, high], axis=2)
    relieved = np.maximum(lost - np.stack([spare[0], spare[0], spare[1]], axis=2), 0.0)
    return _Loss(np.concatenate([lost, relieved], axis=2), made, high, spare[0])


def _spare(trade: _Trade, shocked: Array, made: Array, unknown: bool) -> Array:
    """What others than a country and the shocked one sell, less what the country buys of it, as a share of its supply.

    Args:
        made: share of each country's supply that the shocked country made, shape (n, shocked).
        unknown: whether what is of unknown origin is taken for the shocked country's.
    """
    sold = trade.sold(shocked, unknown)
    supply = trade.supply[:, np.newaxis]
    already = np.maximum(trade.bought[:, np.newaxis] - made * supply, 0.0)
    spare = np.maximum(sold.sum(axis=0) - sold - already, 0.0)
    return np.divide(spare, supply, out=np.zeros_like(spare), where=supply > 0)


def _world_mix(mix: Array, shocked: Array, share: float) -> _Loss:
    """A node that no code isolates: every buyer but the country itself loses the same; nobody can say what is sold."""
    made = np.repeat(mix[shocked][np.newaxis, :], len(mix), axis=0)
    high = np.minimum(made + mix[-1], 1.0)
    made[shocked, np.arange(len(shocked))] = 0.0
    high[shocked, np.arange(len(shocked))] = 0.0
    # A user of unknown place may be in the country itself.
    made[-1] = 0.0
    lost = share * np.stack([made, made, high], axis=2)
    return _Loss(np.concatenate([lost, lost], axis=2), made, high, np.full(made.shape, np.nan))


def _own_cut(
    loss: _Loss, trade: _Trade, shocked: Array, inside: Array, single: bool, bought: float
) -> tuple[Array, Array]:
    """The product itself: what the focus's own row loses, shape (shocked, 6), and S2 of the focus, shape (shocked).

    A bloc is one buyer: its members' rows by apparent consumption, and what others than its members sell.

    Args:
        inside: places of the focus's members.
        single: whether the focus is a country.
        bought: tonnes that a bloc buys from outside.
    """
    if single:
        cut, spare = loss.lost[inside[0]], loss.spare[inside[0]]
    else:
        eaten = np.zeros(len(trade.eaten))
        eaten[inside] = trade.eaten[inside]
        total = float(eaten.sum())
        cut = np.einsum("j,jcv->cv", eaten / total, loss.lost)
        free = []
        for made, unknown in ((loss.made, False), (loss.high, True)):
            sold = trade.sold(shocked, unknown)
            sold[inside] = 0.0
            already = np.maximum(bought - eaten @ made, 0.0)
            free.append(np.maximum(sold.sum(axis=0) - already, 0.0) / total)
        spare = free[0]
        least = np.minimum(spare, free[1])
        cut[:, _RELIEVED:] = np.maximum(cut[:, :_RELIEVED] - np.stack([spare, spare, least], axis=1), 0.0)
    ratio = np.full(len(shocked), np.nan)
    np.divide(spare, cut[:, _KNOWN], out=ratio, where=cut[:, _KNOWN] > 0)
    return cut, ratio


# -- through the chain ---------------------------------------------------------------------------------------


def _through(chain: Chain, node: str, lost: Array) -> Array:
    """What is made less of the group's product in each country, shape (n, shocked, 6).

    Args:
        lost: what the supply of ``node`` loses in each country, shape (n, shocked, 6).
    """
    worst = np.array([0.0, 1.0, 1.0, 0.0, 1.0, 1.0])
    losses = {node: lost}
    for user in reversed(chain.order):
        inputs = [i for i in chain.inputs(user) if i in losses]
        if not inputs or user in chain.mixes:
            continue
        whole, part = np.zeros_like(lost), np.zeros_like(lost)
        for item in inputs:
            edge = chain.edges[(user, item)]
            if edge.essential:
                np.maximum(whole, losses[item], out=whole)
            else:
                part += (worst if edge.weight is None else edge.weight) * losses[item]
        made = np.minimum(whole + part, 1.0)
        if user == chain.head:
            return made
        if user in chain.traded:
            made = (chain.traded[user].origins @ made.reshape(len(made), -1)).reshape(made.shape)
        losses[user] = made
    return np.zeros_like(lost)


def _main_ways(chain: Chain, node: str, made: Array, start: Array, shocked: Array) -> list[tuple[State, ...] | None]:
    """For each shocked country the single path with the largest part in the cut; None where there is none.

    An unknown intensity counts as 1 here: the steps by which a cut comes do not depend on it.

    Args:
        made: share of each country's supply of the node that the shocked country made, shape (n, shocked).
        start: ``x_0``, shape (n).
        shocked: places of the shocked countries.
    """
    if node == chain.head:
        return [((node, int(k)),) if start[k] > 0 else None for k in shocked]
    best: dict[str, Array] = {chain.head: start}
    came: dict[str, tuple[list[str], Array, Array]] = {}
    for item in chain.order[1:]:
        users = [u for u in best if (u, item) in chain.edges]
        if item in chain.mixes or not users or item == node:
            continue
        which, at_user = _largest_user(chain, best, users, item)
        place = np.arange(len(start))
        if item in chain.traded:
            flows = at_user[:, np.newaxis] * chain.traded[item].origins
            place, at_user = flows.argmax(axis=0), flows.max(axis=0)
        best[item], came[item] = at_user, (users, which, place)
    users = [u for u in best if (u, node) in chain.edges]
    if not users:
        return [None] * len(shocked)
    which, at_user = _largest_user(chain, best, users, node)
    ways: list[tuple[State, ...] | None] = []
    for k, column in zip(shocked, made.T, strict=True):
        at = int((at_user * column).argmax())
        way: list[State] = [(node, int(k)), (users[which[at]], at)]
        while way[-1][0] != chain.head:
            item, here = way[-1]
            callers, caller, places = came[item]
            at_caller = int(places[here])
            way.append((callers[caller[at_caller]], at_caller))
        ways.append(tuple(reversed(way)) if at_user[at] * column[at] > 0 else None)
    return ways


def _largest_user(chain: Chain, best: Mapping[str, Array], users: list[str], item: str) -> tuple[Array, Array]:
    """Which user in each country has most of the focus's supply behind it, and how much it passes on, shapes (n)."""
    weights = [1.0 if (w := chain.edges[(u, item)].weight) is None else w for u in users]
    arriving = np.array([w * best[u] for u, w in zip(users, weights, strict=True)])
    return arriving.argmax(axis=0), arriving.max(axis=0)


# -- who and what is asked for -------------------------------------------------------------------------------


def _foci(seen: ChainYear, foci: Iterable[str] | None) -> tuple[str, ...]:
    wanted = seen.foci if foci is None else tuple(dict.fromkeys(foci))
    if strange := [f for f in wanted if f not in seen.foci]:
        raise WrongUse(
            f"the tables have no focus {strange[0]} (they have {', '.join(seen.foci)}); 'ketenpipe run' takes --focus "
            "for countries and --bloc for blocs"
        )
    return wanted


def _country(seen: ChainYear, country: str) -> Array:
    if country == UNKNOWN or not is_known(country):
        near = _near_countries(seen, country)
        raise WrongUse(f"there is no country '{country}'" + (f"; did you mean {near}?" if near else ""))
    found = seen.index([country])
    if not len(found):
        raise WrongUse(f"no source of {seen.year} shows {country} making or trading anything that a chain needs")
    return found


def _near_countries(seen: ChainYear, country: str) -> str:
    """Countries of the tables whose code or English name comes near, e.g. ``CHN (China)``."""
    names = country_names()
    held = {c: names.get(c, (c, c))[0] for c in seen.countries if c != UNKNOWN}
    by_word = {name.casefold(): c for c, name in held.items()} | {c.casefold(): c for c in held}
    near = difflib.get_close_matches(country.casefold(), by_word, n=3, cutoff=0.6)
    return " or ".join(dict.fromkeys(f"{by_word[w]} ({held[by_word[w]]})" for w in near))


def _places(seen: ChainYear, node: str) -> list[tuple[Chain, str]]:
    """The groups in which a node was computed."""
    names = sorted({n for _, n in seen.nodes})
    if node not in names:
        near = difflib.get_close_matches(node, names, n=3, cutoff=0.5)
        near = near or [n for n in names if node and node in n][:3]
        raise WrongUse(f"the catalogue has no node '{node}'" + (f"; did you mean {' or '.join(near)}?" if near else ""))
    found = [(chain, node) for chain in seen.chains() if node in chain.order and chain.tier(node) is not None]
    if not found:
        states = {str(r["status"]) for (_, n), r in seen.nodes.items() if n == node}
        why = next((words for state, words in _NOT_COMPUTED.items() if state in states), _NOT_COMPUTED["missing"])
        raise WrongUse(f"node {node} could not be computed in {seen.year}: {why}")
    return found


_NOT_COMPUTED = {
    "cut_off": "it lies deeper than the look-through of the run goes (setting depth)",
    "dashed": "the sources hold none of its codes, so nothing says who exports it",
    "missing": "no source holds its codes or its production, or the product that it goes into",
}


def _ranked(rows: Iterable[dict[str, object]]) -> list[dict[str, object]]:
    """Ranks within each focus and year by the cut, largest first; the same figure has the same rank."""
    out = list(rows)
    by_focus: dict[object, list[float]] = {}
    for row in out:
        if isinstance(row["cut"], float):
            row["cut"] = float(round_significant(np.array([row["cut"]]))[0])
            by_focus.setdefault(row["focus"], []).append(row["cut"])
    place = {f: {c: k for k, c in reversed(list(enumerate(sorted(cs, reverse=True), 1)))} for f, cs in by_focus.items()}
    for row in out:
        row["rank"] = place[row["focus"]][row["cut"]] if isinstance(row["cut"], float) else None
    return out
