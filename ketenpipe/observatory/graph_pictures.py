"""The supply graph of a product group as a picture and in words: mine left, focus right, the choke point marked.

Belongs here: layout, colours and sentences. Does not belong here: any figure that is not in the tables it is given
(:mod:`ketenpipe.chain.supply_graph` makes them).
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import networkx as nx
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, PathPatch, Rectangle
from matplotlib.path import Path as Outline
from PIL import Image

from ketenpipe.chain.supply_graph import FOCUS, REST, Place, newest_years, select_graph
from ketenpipe.chain.tracing import UNKNOWN
from ketenpipe.observatory.pictures import INK, MUTED, PAPER, Names, _font, names_of
from ketenpipe.review.render import reason_words

#: Colours that people with any colour vision tell apart (after Okabe and Ito; recalled), beside hatching and words.
CHOKE, CHOKE_LIGHT, OTHER, OWN, GREY, BANNER = "#c94a00", "#eb9a66", "#8fb8d8", "#4a9a8c", "#c3c9d0", "#fff1d6"
PALE, LINE, LANE_COLOUR = "#e4e9ee", "#aab4bf", "#cfd7df"
#: A foreign country with this share of a node's supply is worth a headline; below, the world mix is looked at too.
WORTH_SAYING = 0.3
#: Sizes in pixels.
BOX, GAP, MARGIN, FOCUS_BOX, HEAD, STACK, LABEL, LANE = 184, 130, 26, 104, 54, 400, 15, 36
DPI = 100
COLOURS = 96
#: From which share on a producer counts in the table in words.
MAIN = 0.05
LOWER_BOUND = (
    "Lower bound: who makes it is inferred from trade. Producers that import more than they export do not show, and a "
    "country that only trades may look like a producer: what is not seen here is not ruled out."
)
HUB = "Hub: scrap or foreign intermediates are really refined there; it is no mine."
#: Stands for the members of the focus together.
OWN_KEY = "_own"


@dataclass(frozen=True)
class Choke:
    """The foreign country on which most hangs.

    Args:
        node, country: the place.
        tier: its tier.
        share: of the node's supply.
        world: the node is on the world production mix.
    """

    node: str
    country: str
    tier: int
    share: float
    world: bool


@dataclass
class _Box:
    """One country (or own, rest, unknown) of a node: share, and where it stands."""

    key: str
    share: float
    count: int = 1
    top: float = 0.0
    height: float = 0.0


@dataclass
class _Stack:
    """The boxes of one node and where they stand."""

    node: str
    column: int
    tier: int
    world: bool
    basis: str
    boxes: list[_Box] = field(default_factory=list)
    left: float = 0.0
    top: float = 0.0
    height: float = 0.0


def choke_point(nodes: pd.DataFrame, members: Collection[str]) -> Choke | None:
    """The foreign country with the largest share of a node.

    Nodes that are specific to the focus come first; the world mix only where nothing specific reaches
    :data:`WORTH_SAYING` and the world mix is larger. None: nothing foreign is known.

    Args:
        nodes: rows of one focus, group and year of ``graph_nodes``.
        members: the countries of the focus; they are no choke point.
    """
    known = nodes[nodes["kind"].isin(("traded", "production")) & ~nodes["country"].isin([UNKNOWN, *members])]
    if known.empty:
        return None
    ranked = known.sort_values(["share", "tier", "node", "country"], ascending=[False, True, True, True])
    own = ranked[~ranked["same_for_every_country"]]
    first = ranked.iloc[0] if own.empty or own["share"].iloc[0] < WORTH_SAYING else own.iloc[0]
    return Choke(
        first["node"], first["country"], int(first["tier"]), float(first["share"]),
        bool(first["same_for_every_country"]),
    )  # fmt: skip


def _unknown_at(nodes: pd.DataFrame, choke: Choke | None) -> float:
    """The share of unknown origin at the choke point's node; of the product where there is no choke point."""
    own = nodes["tier"] == 0 if choke is None else nodes["node"] == choke.node
    return float(nodes.loc[own & (nodes["country"] == UNKNOWN), "share"].sum())


def headline(
    choke: Choke | None,
    focus: str,
    group: str,
    names: Names,
    unknown: float = 0.0,
    hubs: Collection[Place] = (),
) -> str:
    """The choke point in one sentence.

    Args:
        choke: from :func:`choke_point`.
        focus, group, names: whose, and what things are called.
        unknown: share of unknown origin at the choke point's node; said from :data:`WORTH_SAYING` on.
        hubs: places where scrap or foreign intermediates are refined: no mines, and said so.
    """
    start = f"{_name(names, 'country', focus)}, {_low(_name(names, 'group', group))}"
    end = f"; the origin of {_percent(unknown)} is unknown" if unknown >= WORTH_SAYING else ""
    if choke is None:
        return f"{start}: no foreign origin is known{end}"
    part, where = _percent(choke.share), _name(names, "country", choke.country)
    if (choke.node, choke.country) in hubs:
        where += ", a recycling or refining hub,"
    if choke.world:
        what = f"{part} of world output ({_good(names, choke.node)}), the same for every country"
        return f"{start}: at tier {choke.tier}, {where} has {what}{end}"
    if choke.tier == 0:
        return f"{start}: {where} produces {part} of the supply{end}"
    return f"{start}: at tier {choke.tier}, {where} produces {part} of the {_good(names, choke.node)}{end}"


def second_line(
    measures: pa.Table, focus: str, group: str, members: Collection[str], names: Names, year: int
) -> str | None:
    """Which foreign country most of all flows pass at one step or another, in one sentence; None if none is known."""
    own = _measures_of(measures, focus, group, year)
    rows = [
        r for r in own if r["measure"] == "flow_through_country" and r["target"] is None and r["country"] not in members
    ]
    if not rows:
        return None
    first = max(rows, key=lambda r: (r["value"], r["country"]))
    steps = len({r["target"] for r in own if r["target"] is not None})
    where = _name(names, "country", first["country"])
    if steps == 1:
        return None
    world = " (world mix included)" if any(r["same_for_every_country"] for r in own) else ""
    part = _percent(first["value"])
    return f"Over all {steps} steps{world}, {part} of what reaches the focus passes through {where} at least once"


def _measures_of(measures: pa.Table, focus: str, group: str, year: int) -> list[dict[str, Any]]:
    wanted = pc.and_(pc.equal(measures.column("focus"), focus), pc.equal(measures.column("group"), group))
    rows: list[dict[str, Any]] = measures.filter(pc.and_(wanted, pc.equal(measures.column("year"), year))).to_pylist()
    return rows


# -- the picture ----------------------------------------------------------------------------------------------
def draw_graph(
    graph_nodes: pa.Table,
    graph_edges: pa.Table,
    graph_measures: pa.Table,
    focus: str,
    group: str,
    names: Names | None = None,
    members: Collection[str] = (),
    hubs: Collection[Place] = (),
) -> bytes:
    """The supply graph of one focus and group as PNG: tiers from left to right, countries as boxes, flows as bands.

    Boxes are as high as a country's share of the node's supply, the small ones folded; the choke point is in strong
    colour and in the title. A node on the world mix is hatched and flows out of it in one band. Dashed nodes are not
    drawn: what passes through them goes straight to their users.

    Args:
        graph_nodes, graph_edges, graph_measures: see :mod:`ketenpipe.chain.supply_graph`; the newest year is drawn.
        focus, group: whose.
        names: ``(kind, code) -> name``.
        members: the countries of the focus, where it is a bloc.
        hubs: places where scrap or foreign intermediates are refined: no mines, and said so.

    Raises:
        WrongUse: there is no such graph.
    """
    names = names or {}
    nodes, edges = (select_graph(t, focus, group) for t in (graph_nodes, graph_edges))
    year = int(nodes["year"].iloc[0])
    inside = frozenset(members) or frozenset((focus,))
    flows = without_dashed(nodes, edges)
    choke = choke_point(nodes, inside)
    stacks = _stacks(nodes, flows, inside)
    columns = max(s.column for s in stacks.values()) + 1
    skipping = _skipping(stacks, flows)
    tallest = max(sum(s.column == k for s in stacks.values()) for k in range(columns))
    body = max(STACK + HEAD, tallest * (HEAD + 150))
    width = max(2 * MARGIN + columns * (BOX + GAP) + FOCUS_BOX, 760)
    sentence = headline(choke, focus, group, names, _unknown_at(nodes, choke), hubs)
    title = _wrap(sentence, 17, width - 2 * MARGIN, bold=True)
    second = second_line(graph_measures, focus, group, inside, names, year)
    when = f"Where it is made, {year}, by mass."
    under = _wrap(f"{second}. {when}" if second else when, 13, width - 2 * MARGIN)
    top = 22 + 24 * len(title) + 19 * len(under)
    _place(stacks, flows, columns, top, body, width)
    legend = _legend(stacks, choke, inside, focus, names, width)
    notes = _notes(stacks, hubs, width)
    foot = 18 + 20 * len(legend) + (17 * len(notes) + 12 if notes else 0)
    height = top + body + LANE * len(skipping) + 14 + foot
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor=PAPER)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    for k, line in enumerate(title):
        _text(axes, MARGIN, 26 + 24 * k, line, 17, bold=True)
    for k, line in enumerate(under):
        _text(axes, MARGIN, 28 + 24 * len(title) + 19 * k, line, 13, colour=MUTED)
    goal = _Box(focus, 1.0, top=top + HEAD, height=body - HEAD)
    for k, (item, user) in enumerate(skipping):
        _draw_lane(axes, stacks[item], stacks[user], top + body + 14 + LANE * k)
    _draw_flows(axes, stacks, flows, inside, choke, goal, width, skipping)
    for stack in stacks.values():
        _draw_stack(axes, stack, choke, names, hubs)
    left = width - MARGIN - FOCUS_BOX
    axes.add_patch(Rectangle((left, goal.top), FOCUS_BOX, goal.height, facecolor=INK, zorder=3))
    goes_in = textwrap.wrap(_name(names, "country", focus), 13)
    for k, line in enumerate(goes_in):
        middle = goal.top + goal.height / 2 + 17 * (k - (len(goes_in) - 1) / 2)
        _text(axes, left + FOCUS_BOX / 2, middle, line, 13, colour=PAPER, bold=True, align="center")
    for k, entries in enumerate(legend):
        _draw_legend(axes, entries, height - foot + 12 + 20 * k)
    for k, line in enumerate(notes):
        if k == 0:
            box = (MARGIN - 10, height - 17 * len(notes) - 14)
            axes.add_patch(
                Rectangle(
                    box, width - 2 * MARGIN + 20, 17 * len(notes) + 8, facecolor=BANNER, edgecolor="none", zorder=1
                )
            )
        _text(axes, MARGIN, height - 17 * (len(notes) - k) - 1, line, 12)
    return _small_png(figure)


def without_dashed(nodes: pd.DataFrame, edges: pd.DataFrame) -> pd.DataFrame:
    """The flows with every dashed node taken out: what flows into it goes on to its users in proportion."""
    columns = ["input", "input_country", "user", "user_country"]
    flows = edges[[*columns, "share"]]
    for dashed in nodes.loc[nodes["kind"] == "dashed", "node"].drop_duplicates():
        out = flows[flows["input"] == dashed]
        into = flows[flows["user"] == dashed]
        leaving = out.groupby("input_country")["share"].transform("sum")
        onward = out.assign(part=out["share"] / leaving)[["input_country", "user", "user_country", "part"]]
        joined = into.drop(columns="user").merge(
            onward.rename(columns={"input_country": "via"}), left_on="user_country", right_on="via",
            suffixes=("_old", ""),
        )  # fmt: skip
        joined["share"] = joined["share"] * joined["part"]
        rest = flows[(flows["input"] != dashed) & (flows["user"] != dashed)]
        flows = pd.concat([rest, joined[[*columns, "share"]]], ignore_index=True)
    return flows.groupby(columns, as_index=False, sort=True)["share"].sum()


def _stacks(nodes: pd.DataFrame, flows: pd.DataFrame, inside: Collection[str]) -> dict[str, _Stack]:
    """The computed nodes by column: as far left as their longest way to the focus, so that all flows run right."""
    graph = nx.DiGraph(zip(flows["user"], flows["input"], strict=True))
    depth = {FOCUS: -1}
    for node in nx.topological_sort(graph):
        depth[node] = max((depth[u] + 1 for u in graph.predecessors(node)), default=-1)
    stacks: dict[str, _Stack] = {}
    for node, rows in nodes[nodes["kind"].isin(("traded", "production"))].groupby("node", sort=True):
        if node not in graph:
            continue
        first = rows.iloc[0]
        stack = _Stack(
            str(node), depth[node], int(first["tier"]), bool(first["same_for_every_country"]), str(first["basis"])
        )
        own = float(rows.loc[rows["country"].isin(inside), "share"].sum())
        unknown = float(rows.loc[rows["country"] == UNKNOWN, "share"].sum())
        others = rows[~rows["country"].isin([UNKNOWN, *inside])].sort_values(
            ["share", "country"], ascending=[False, True]
        )
        stack.boxes = [_Box(str(c), float(s)) for c, s in zip(others["country"], others["share"], strict=True)]
        if own > 0:
            stack.boxes.append(_Box(OWN_KEY, own))
        if unknown > 0:
            stack.boxes.append(_Box(UNKNOWN, unknown))
        stacks[str(node)] = stack
    return stacks


def _skipping(stacks: Mapping[str, _Stack], flows: pd.DataFrame) -> list[tuple[str, str]]:
    """Pairs of nodes whose flow passes over a column; they get a lane of their own."""
    pairs = sorted(set(zip(flows["input"], flows["user"], strict=True)))
    return [(a, b) for a, b in pairs if b != FOCUS and stacks[a].column - stacks[b].column > 1]


def _place(
    stacks: Mapping[str, _Stack], flows: pd.DataFrame, columns: int, top: float, body: float, width: float
) -> None:
    """Where every stack and box stands, inputs near their users; boxes too low for their name are folded into one."""
    users: dict[str, list[str]] = {}
    for item, user in sorted(set(zip(flows["input"], flows["user"], strict=True))):
        users.setdefault(item, []).append(user)

    def beside(stack: _Stack) -> tuple[float, bool, str]:
        middles = [stacks[u].top + stacks[u].height / 2 for u in users[stack.node] if u != FOCUS]
        return (sum(middles) / len(middles) if middles else 0.0, stack.world, stack.node)

    step = (width - 2 * MARGIN - FOCUS_BOX) / columns
    for column in range(columns):
        own = sorted((s for s in stacks.values() if s.column == column), key=beside)
        room = body / len(own)
        for k, stack in enumerate(own):
            stack.left = MARGIN + (columns - 1 - column) * step
            stack.top, stack.height = top + k * room + HEAD, room - HEAD - (0 if k == len(own) - 1 else 10)
            _fold(stack)
            at = stack.top
            for box in stack.boxes:
                box.top, box.height = at, box.share * stack.height
                at += box.height


def _fold(stack: _Stack) -> None:
    """Countries whose box is too low for a name go into one box of others."""
    low = LABEL / stack.height
    special = [b for b in stack.boxes if b.key in (OWN_KEY, UNKNOWN)]
    named = [b for b in stack.boxes if b not in special and b.share >= low]
    small = [b for b in stack.boxes if b not in special and b not in named]
    if len(small) == 1 and not named:
        named, small = small, []
    rest = [_Box(REST, sum(b.share for b in small), len(small))] if small else []
    stack.boxes = [*named, *rest, *special]


def _key(stack: _Stack, country: str, inside: Collection[str]) -> str:
    if country in inside:
        return OWN_KEY
    return country if any(b.key == country for b in stack.boxes) else REST


def _draw_flows(
    axes: Axes,
    stacks: Mapping[str, _Stack],
    flows: pd.DataFrame,
    inside: Collection[str],
    choke: Choke | None,
    goal: _Box,
    width: float,
    skipping: Sequence[tuple[str, str]],
) -> None:
    """The bands between boxes; out of a world mix one band into the whole of its user."""
    inputs: dict[str, list[str]] = {}
    for item, user in sorted(set(zip(flows["input"], flows["user"], strict=True))):
        if user != FOCUS and (item, user) not in skipping:
            inputs.setdefault(user, []).append(item)
    for own in inputs.values():
        own.sort(key=lambda n: stacks[n].top)
    used_out: dict[tuple[str, str], float] = {}
    used_in: dict[tuple[str, str, str], float] = {}
    order = sorted(stacks.values(), key=lambda s: (s.column, s.top))
    for user in [FOCUS, *(s.node for s in order)]:
        for item in [s.node for s in order if s.node in inputs.get(user, [])] if user != FOCUS else [order[0].node]:
            stack = stacks[item]
            part = flows[(flows["input"] == item) & (flows["user"] == user)]
            right = width - MARGIN - FOCUS_BOX if user == FOCUS else stacks[user].left
            if stack.world:
                weight = float(part["share"].sum())
                start = stack.top + sum(v for (n, k), v in used_out.items() if n == item and k == "") * stack.height
                used_out[(item, "")] = used_out.get((item, ""), 0.0) + weight
                below, above = _slot(stacks[user], inputs[user], item)
                _band(
                    axes, stack.left + BOX, start, start + weight * stack.height, right, above, below,
                    PALE, alpha=1.0, hatch=True,
                )  # fmt: skip
                continue
            summed: dict[tuple[str, str], float] = {}
            for country, buyer, share in zip(part["input_country"], part["user_country"], part["share"], strict=True):
                end = FOCUS if user == FOCUS else _key(stacks[user], buyer, inside)
                pair = (_key(stack, country, inside), end)
                summed[pair] = summed.get(pair, 0.0) + share
            ends = [FOCUS] if user == FOCUS else [b.key for b in stacks[user].boxes]
            boxes = {b.key: b for b in stack.boxes}
            for box in stack.boxes:
                for end in ends:
                    share = summed.get((box.key, end), 0.0)
                    if share * stack.height < 0.15:
                        continue
                    out = used_out.get((item, box.key), 0.0)
                    used_out[(item, box.key)] = out + share
                    y0 = boxes[box.key].top + out * stack.height
                    y1, thick = _landing(stacks, inputs, user, item, end, share, summed, goal, used_in)
                    marked = choke is not None and box.key == choke.country
                    colour = (
                        CHOKE
                        if marked
                        else GREY
                        if box.key in (UNKNOWN, REST)
                        else OWN
                        if box.key == OWN_KEY
                        else OTHER
                    )
                    _band(
                        axes, stack.left + BOX, y0, y0 + share * stack.height, right, y1, y1 + thick, colour,
                        alpha=0.42 if marked else 0.36,
                    )  # fmt: skip


def _slot(stack: _Stack, items: Sequence[str], item: str) -> tuple[float, float]:
    """Lower and upper end of the part of a whole stack's left side that belongs to one input."""
    step = stack.height / len(items)
    at = stack.top + step * items.index(item)
    return at + step, at


def _landing(
    stacks: Mapping[str, _Stack],
    inputs: Mapping[str, Sequence[str]],
    user: str,
    item: str,
    end: str,
    share: float,
    summed: Mapping[tuple[str, str], float],
    goal: _Box,
    used_in: dict[tuple[str, str, str], float],
) -> tuple[float, float]:
    """Where a band arrives and how thick: inputs of a box share its left side equally."""
    whole = sum(v for (_, e), v in summed.items() if e == end)
    if user == FOCUS:
        top, height = goal.top, goal.height
    else:
        box = next(b for b in stacks[user].boxes if b.key == end)
        items = inputs[user]
        height = box.height / len(items)
        top = box.top + height * items.index(item)
    taken = used_in.get((user, item, end), 0.0)
    used_in[(user, item, end)] = taken + share
    return top + taken / whole * height, share / whole * height


def _band(
    axes: Axes,
    x0: float,
    top0: float,
    bottom0: float,
    x1: float,
    top1: float,
    bottom1: float,
    colour: str,
    *,
    alpha: float,
    hatch: bool = False,
) -> None:
    middle = (x0 + x1) / 2
    points = [
        (x0, top0), (middle, top0), (middle, top1), (x1, top1),
        (x1, bottom1), (middle, bottom1), (middle, bottom0), (x0, bottom0), (x0, top0),
    ]  # fmt: skip
    codes = [
        Outline.MOVETO, Outline.CURVE4, Outline.CURVE4, Outline.CURVE4,
        Outline.LINETO, Outline.CURVE4, Outline.CURVE4, Outline.CURVE4, Outline.CLOSEPOLY,
    ]  # fmt: skip
    axes.add_patch(
        PathPatch(
            Outline(points, codes), facecolor=colour, alpha=alpha, linewidth=0, zorder=2,
            edgecolor=LINE if hatch else "none", hatch="//" if hatch else None,
        )
    )  # fmt: skip


def _draw_lane(axes: Axes, item: _Stack, user: _Stack, y: float) -> None:
    """A flow that passes over a column runs below everything, in one band."""
    x0, x1 = item.left + BOX, user.left
    low, high = item.top + item.height - 6, user.top + user.height - 6
    points = [
        (x0, low), (x0 + 55, low), (x0 + 15, y), (x0 + 70, y), (x1 - 70, y), (x1 - 15, y), (x1 - 55, high), (x1, high),
    ]  # fmt: skip
    codes = [
        Outline.MOVETO, Outline.CURVE4, Outline.CURVE4, Outline.CURVE4, Outline.LINETO,
        Outline.CURVE4, Outline.CURVE4, Outline.CURVE4,
    ]  # fmt: skip
    axes.add_patch(
        PathPatch(
            Outline(points, codes), facecolor="none", edgecolor=LANE_COLOUR, linewidth=8, zorder=1, capstyle="butt"
        )
    )
    words = "straight on, without the step between"
    _text(axes, (x0 + x1) / 2, y + 15, words, 11, colour=MUTED, align="center")


def _draw_stack(axes: Axes, stack: _Stack, choke: Choke | None, names: Names, hubs: Collection[Place]) -> None:
    lines = _wrap(_name(names, "node", stack.node), 13, BOX + 34, bold=True)
    if len(lines) > 2:
        lines = [lines[0], _fit(" ".join(lines[1:]), 13, BOX + 34, bold=True)]
    note = "the same for every country" if stack.world else {
        "observed": "production statistic", "producer_list": "list of producers",
    }.get(stack.basis, "inferred from trade")  # fmt: skip
    for k, line in enumerate(lines):
        _text(axes, stack.left, stack.top - 10 - 16 * (len(lines) - k), line, 13, bold=True)
    tier = "the product (tier 0)" if stack.tier == 0 else f"tier {stack.tier}"
    _text(axes, stack.left, stack.top - 9, f"{tier}, {note}", 11, colour=MUTED)
    for box in stack.boxes:
        country = choke is not None and box.key == choke.country
        marked = country and choke is not None and box.key == choke.country and stack.node == choke.node
        colour = (
            CHOKE if marked else CHOKE_LIGHT if country
            else GREY if box.key in (UNKNOWN, REST) else OWN if box.key == OWN_KEY else OTHER
        )  # fmt: skip
        axes.add_patch(
            Rectangle(
                (stack.left, box.top), BOX, box.height, facecolor=colour, edgecolor=PAPER, linewidth=0.8, zorder=3,
                hatch="//" if stack.world else None,
            )
        )  # fmt: skip
        if marked:
            axes.add_patch(
                FancyBboxPatch(
                    (stack.left - 2, box.top - 1), BOX + 4, box.height + 2, boxstyle="square,pad=0", facecolor="none",
                    edgecolor=INK, linewidth=2.2, zorder=5,
                )
            )  # fmt: skip
        if box.height < LABEL - 2:
            continue
        _label(axes, stack, box, names, strong=marked, hub=(stack.node, box.key) in hubs)


def _label(axes: Axes, stack: _Stack, box: _Box, names: Names, *, strong: bool, hub: bool) -> None:
    name = {
        OWN_KEY: "own production", UNKNOWN: "unknown origin",
        REST: "1 other" if box.count == 1 else f"{box.count} others",
    }.get(box.key, _name(names, "country", box.key))  # fmt: skip
    name += " (hub)" if hub else ""
    part = _percent(box.share)
    room = BOX - 16 - _font(12, bold=strong).getlength(part) - 6
    y = box.top + box.height / 2
    colour = PAPER if strong else INK
    if stack.world:
        axes.add_patch(
            Rectangle((stack.left + 3, y - 8), BOX - 6, 16, facecolor=CHOKE if strong else PAPER, alpha=0.85, zorder=4)
        )
    _text(axes, stack.left + 8, y, _fit(name, 12, room, bold=strong), 12, colour=colour, bold=strong, zorder=6)
    _text(axes, stack.left + BOX - 8, y, part, 12, colour=colour, bold=strong, align="right", zorder=6)


Entry = tuple[str, str, bool]


def _legend(
    stacks: Mapping[str, _Stack],
    choke: Choke | None,
    inside: Collection[str],
    focus: str,
    names: Names,
    width: float,
) -> list[list[Entry]]:
    """Colour, words and whether hatched of what can be seen, in lines that fit."""
    seen = {b.key for s in stacks.values() for b in s.boxes if b.height >= 1}
    entries: list[Entry] = []
    if choke is not None:
        where = _name(names, "country", choke.country)
        what = "choke point" if choke.share >= WORTH_SAYING else "largest foreign producer"
        entries.append((CHOKE, f"{what} ({where})", False))
        if any(b.key == choke.country and s.node != choke.node for s in stacks.values() for b in s.boxes):
            entries.append((CHOKE_LIGHT, f"{where} at other steps", False))
    if seen - {OWN_KEY, REST, UNKNOWN, "" if choke is None else choke.country}:
        entries.append((OTHER, "other countries", False))
    if OWN_KEY in seen:
        made = "made within the bloc" if len(inside) > 1 else f"made in {_name(names, 'country', focus)}"
        entries.append((OWN, made, False))
    if grey := [w for k, w in ((REST, "small ones together"), (UNKNOWN, "unknown origin")) if k in seen]:
        entries.append((GREY, ", ".join(grey), False))
    if any(s.world for s in stacks.values()):
        entries.append((PALE, "hatched: world mix, the same for every country", True))
    lines: list[list[Entry]] = [[]]
    x = float(MARGIN)
    for entry in entries:
        x += 48 + _font(12).getlength(entry[1])
        if x > width and lines[-1]:
            lines.append([])
            x = MARGIN + 48 + _font(12).getlength(entry[1])
        lines[-1].append(entry)
    return lines


def _draw_legend(axes: Axes, entries: Sequence[Entry], y: float) -> None:
    x = float(MARGIN)
    for colour, words, hatch in entries:
        axes.add_patch(
            Rectangle((x, y - 6), 20, 12, facecolor=colour, edgecolor=LINE if hatch else "none", linewidth=0,
                      hatch="///" if hatch else None)
        )  # fmt: skip
        _text(axes, x + 26, y, words, 12)
        x += 48 + _font(12).getlength(words)


def _notes(stacks: Mapping[str, _Stack], hubs: Collection[Place], width: float) -> list[str]:
    words = []
    if any(s.basis == "export_proxy" for s in stacks.values()):
        words.append(LOWER_BOUND)
    if any((s.node, b.key) in hubs for s in stacks.values() for b in s.boxes):
        words.append(HUB)
    return _wrap(" ".join(words), 12, width - 2 * MARGIN)


def _text(
    axes: Axes,
    x: float,
    y: float,
    words: str,
    size: float,
    *,
    colour: str = INK,
    bold: bool = False,
    align: str = "left",
    zorder: float = 6,
) -> None:
    axes.text(
        x, y, words, fontsize=size * 72 / DPI, color=colour, weight="bold" if bold else "normal", ha=align,
        va="center_baseline", zorder=zorder,
    )  # fmt: skip


def _wrap(words: str, size: int, width: float, *, bold: bool = False) -> list[str]:
    """Lines that fit a width in pixels."""
    font = _font(size, bold=bold)
    lines: list[str] = []
    for word in words.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _fit(words: str, size: int, width: float, *, bold: bool = False) -> str:
    """The words, cut with an ellipsis where they are too long."""
    font = _font(size, bold=bold)
    if font.getlength(words) <= width:
        return words
    while words and font.getlength(f"{words}…") > width:
        words = words[:-1].rstrip()
    return f"{words}…"


def _name(names: Names, kind: str, code: str) -> str:
    fallback = "unknown origin" if code == UNKNOWN else code
    return names.get((kind, code), fallback).replace(" (today's 27)", "")


def _good(names: Names, node: str) -> str:
    """The name of a node within a sentence, without what stands after a comma or in brackets."""
    return _low(_name(names, "node", node).split(" (")[0].split(",")[0])


def _cell(words: str) -> str:
    """Text that may stand in a cell of a Markdown table."""
    return words.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def _low(name: str) -> str:
    """A name within a sentence: no capital, unless it is an abbreviation."""
    return name[:1].lower() + name[1:] if len(name) > 1 and name[1].islower() else name


def _percent(share: float) -> str:
    return "<1 %" if 0 < share < 0.005 else ">99 %" if 0.995 <= share < 1 - 1e-9 else f"{share:.0%}".replace("%", " %")


def _small_png(figure: Figure) -> bytes:
    """PNG in few colours: a tenth of the bytes, and nobody sees it."""
    raw = io.BytesIO()
    figure.savefig(raw, format="png", facecolor=PAPER, metadata={"Software": None})
    sink = io.BytesIO()
    with Image.open(raw) as image:
        image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(sink, format="png", optimize=True)
    return sink.getvalue()


# -- in words --------------------------------------------------------------------------------------------------
def graph_page_markdown(
    graph_nodes: pa.Table,
    graph_measures: pa.Table,
    group: str,
    names: Names | None = None,
    members: Mapping[str, Collection[str]] | None = None,
    hubs: Collection[Place] = (),
) -> str:
    """Where a group's supply graph is narrow, as a table in Markdown with a sentence on each focus; newest year.

    Args:
        graph_nodes, graph_measures: see :mod:`ketenpipe.chain.supply_graph`.
        group: whose page.
        names: ``(kind, code) -> name``.
        members: bloc -> its countries, of the blocs among the foci.
        hubs: places where scrap or foreign intermediates are refined.

    Returns:
        Nothing (an empty text) where the group has no supply graph.
    """
    names = names or {}
    parts: list[str] = []
    for focus, own in sorted(newest_years(graph_nodes)):
        if own != group:
            continue
        inside = frozenset((members or {}).get(focus, ())) or frozenset((focus,))
        nodes = select_graph(graph_nodes, focus, group)
        parts += _page_of_focus(nodes, graph_measures, focus, group, inside, names, hubs)
    return "\n".join(parts).rstrip() + "\n" if parts else ""


def _page_of_focus(
    nodes: pd.DataFrame,
    measures: pa.Table,
    focus: str,
    group: str,
    inside: Collection[str],
    names: Names,
    hubs: Collection[Place],
) -> list[str]:
    year = int(nodes["year"].iloc[0])
    own = _measures_of(measures, focus, group, year)
    choke = choke_point(nodes, inside)
    lines = [f"**{_cell(headline(choke, focus, group, names, _unknown_at(nodes, choke), hubs))}.**"]
    if second := second_line(measures, focus, group, inside, names, year):
        lines.append(f"{_cell(second)}.")
    lines += [
        "",
        "| step | largest foreign producer | without whom nothing arrives | fewest that must fail | left out |",
    ]
    lines.append("|---|---|---|---|---|")
    computed = nodes[nodes["kind"].isin(("traded", "production"))].sort_values(["tier", "node"])
    for node, rows in computed.groupby("node", sort=False):
        world = bool(rows["same_for_every_country"].iloc[0])
        foreign = rows[~rows["country"].isin([UNKNOWN, *inside])].sort_values(
            ["share", "country"], ascending=[False, True]
        )
        most = (
            "none known" if foreign.empty else _share_words(names, foreign["country"].iloc[0], foreign["share"].iloc[0])
        )
        told = [r for r in own if r["target"] == node and r["threshold"] == MAIN]
        cut = next((r for r in told if r["measure"] == "node_cut"), None)
        alone = [
            f"{_name(names, 'country', r['country'])} ({_good(names, r['node'])})"
            for r in told
            if r["measure"] == "articulation"
        ]
        blind = next((r["reason"] for r in told if r["reason"] == "rest_over_half"), None)
        if blind is not None:
            alone, must, rest = [reason_words(blind)], reason_words(blind), _percent(told[0]["rest"])
        elif cut is None or cut["value"] is None:
            must, rest = reason_words(cut["reason"]) if cut else reason_words("no_user_with_known_origins"), ""
        else:
            places = [p.split("@") for p in cut["places"].split()]
            must = f"{len(places)}: " + ", ".join(
                f"{_name(names, 'country', c)} ({_good(names, n)})" for n, c in places
            )
            rest = _percent(cut["rest"])
        what = f"{_name(names, 'node', str(node))}, tier {int(rows['tier'].iloc[0])}"
        what += ", the world's mix" if world else ""
        cells = [what, most, ", ".join(alone) or "nobody", must, rest]
        lines.append("| " + " | ".join(_cell(c) for c in cells) + " |")
    lines.append("")
    lines.append(
        f"Year {year}, by mass. In the last three columns only producers of at least {_percent(MAIN)} of a step's "
        "supply, and of their user's, count; the last one says what that and unknown producers leave out."
    )
    if (nodes["basis"] == "export_proxy").any():
        lines += ["", LOWER_BOUND]
    return [*lines, ""]


def _share_words(names: Names, country: str, share: float) -> str:
    return f"{_name(names, 'country', country)}, {_percent(share)}"


def draw_graphs(
    tables: Mapping[str, pa.Table],
    members: Mapping[str, Collection[str]] | None = None,
    hubs: Collection[Place] = (),
) -> dict[str, bytes]:
    """``graph_<focus>_<group>.png`` of every focus and group that has a supply graph.

    Args:
        tables: ``graph_nodes, graph_edges, graph_measures`` and, if there, ``labels`` of one release.
        members: bloc -> its countries, of the blocs among the foci.
        hubs: places where scrap or foreign intermediates are refined.
    """
    names = names_of(tables.get("labels"))
    drawn: dict[str, bytes] = {}
    for focus, group in sorted(newest_years(tables["graph_nodes"])):
        drawn[f"graph_{focus}_{group}.png"] = draw_graph(
            tables["graph_nodes"], tables["graph_edges"], tables["graph_measures"], focus, group, names,
            (members or {}).get(focus, ()), hubs,
        )  # fmt: skip
    return drawn
