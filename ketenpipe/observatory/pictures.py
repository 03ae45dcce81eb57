"""Pictures of a release: tables in, PNG bytes out (matplotlib without a screen).

Belongs here: the plane of concentration and governance, supplier bars, chains, the lineage of the assets. Does not
belong here: any figure that is not in the tables it is given. Made again from a release with
``python -m ketenpipe.observatory.pictures --home data --out docs/pictures``.
"""

from __future__ import annotations

import argparse
import io
import math
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import matplotlib
import networkx as nx
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image, ImageDraw, ImageFont

from ketenpipe.errors import KetenpipeError
from ketenpipe.observatory import reader
from ketenpipe.observatory.reader import sha256_of
from ketenpipe.tables.store import write_bytes_atomic

#: Cut-offs of the plane (test T); a run passes its own.
HHI_LIMIT, WGI_LIMIT = 0.4, 0.5
#: Reasons for which a node's figures are an indication and no verdict.
UNTOLD = ("export_proxy", "small_or_precious")
#: Countries shown by name in the supplier bars.
TOP = 8

INK, MUTED, GRID, PAPER = "#1f2933", "#6b7785", "#dde3ea", "#ffffff"
BLUE, ORANGE, RED, GREEN, SAND = "#1f5fa8", "#d9822b", "#b3261e", "#2e7d5b", "#f7e4df"
TIER_COLOURS = (BLUE, ORANGE, GREEN, "#7a4fa3", "#8a6d3b")
GROUP_COLOURS = {
    "sources": "#cfe3f7", "chain": "#d6efe0", "risk": "#fbe3cc", "review": "#e6ddf3", "observatory": "#f6d9d5",
}  # fmt: skip

Names = Mapping[tuple[str, str], str]


@dataclass(frozen=True)
class Point:
    """One node on the plane: foreign concentration (O1) and governance risk of the foreign supply (G2)."""

    group: str
    node: str
    tier: int
    hhi: float
    wgi: float
    world_mix: bool
    uncertain: bool


def names_of(labels: pa.Table | None) -> dict[tuple[str, str], str]:
    """``(kind, code) -> English name`` of table ``labels``."""
    if labels is None:
        return {}
    return {(r["kind"], r["code"]): r["name_en"] for r in labels.select(["kind", "code", "name_en"]).to_pylist()}


def latest_year(table: pa.Table, focus: str) -> int | None:
    """The last year that a table has for a focus."""
    years = table.filter(pc.equal(table.column("focus"), focus)).column("year").unique().to_pylist()
    return max(years) if years else None


def plane_points(indicators: pa.Table, focus: str, year: int, group: str | None = None) -> list[Point]:
    """The nodes of a focus and year that have both figures of the plane."""
    wanted = pc.and_(pc.equal(indicators.column("focus"), focus), pc.equal(indicators.column("level"), "node"))
    wanted = pc.and_(wanted, pc.equal(indicators.column("year"), year))
    wanted = pc.and_(wanted, pc.is_in(indicators.column("indicator"), pa.array(["O1", "G2"])))
    wanted = pc.and_(wanted, pc.is_in(indicators.column("basis"), pa.array(["traced", "world_production_mix"])))
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in indicators.filter(wanted).to_pylist():
        if row["measure"] == "v" or row["value"] is None or (group is not None and row["group"] != group):
            continue
        place = found.setdefault(
            (row["group"], row["code"]), {"tier": row["tier"], "basis": row["basis"], "untold": False}
        )
        place[row["indicator"]] = row["value"]
        place["untold"] = place["untold"] or any(why in (row["reason"] or "") for why in UNTOLD)
    return [
        Point(g, n, int(p["tier"] or 0), p["O1"], p["G2"], p["basis"] == "world_production_mix", p["untold"])
        for (g, n), p in sorted(found.items())
        if "O1" in p and "G2" in p
    ]


def plane(
    points: Sequence[Point],
    title: str,
    names: Names | None = None,
    *,
    by_tier: bool = True,
    hhi_limit: float = HHI_LIMIT,
    wgi_limit: float = WGI_LIMIT,
) -> bytes:
    """The plane: governance risk across, concentration up, the region of test T shaded.

    Args:
        points: from :func:`plane_points`.
        title: what and whose.
        names: names of groups and nodes.
        by_tier: one panel per tier; else one panel, tiers by colour.
        hhi_limit, wgi_limit: cut-offs of test T; both strict.
    """
    tiers = sorted({p.tier for p in points}) or [0]
    panels = tiers if by_tier else [None]
    figure = Figure(figsize=(1.0 + 5.2 * len(panels), 5.6), dpi=110, facecolor=PAPER, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=12, color=INK, x=0.01, ha="left", weight="bold")
    labels = []
    for column, tier in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), column + 1)
        own = [p for p in points if tier is None or p.tier == tier]
        _plane_panel(axes, own, hhi_limit, wgi_limit, first=column == 0)
        labels.append((axes, _plane_labels(own, names or {}, one_group=not by_tier)))
        if tier is not None:
            word = "the product itself" if tier == 0 else "inputs" if tier == 1 else "inputs of inputs"
            axes.set_title(f"Tier {tier}: {word}", fontsize=10, color=INK, loc="left")
    _plane_legend(figure, points, by_tier)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # the layout stands; solving it again would double the time
    for axes, wanted in labels:
        _place_labels(figure, axes, wanted)
    return _png(figure)


def _plane_panel(axes: Axes, points: Sequence[Point], hhi: float, wgi: float, *, first: bool) -> None:
    _bare(axes)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.03)
    axes.add_patch(Rectangle((wgi, hhi), 1 - wgi, 1.03 - hhi, color=SAND, zorder=0))
    axes.axvline(wgi, color=RED, linewidth=0.8, linestyle=":", zorder=1)
    axes.axhline(hhi, color=RED, linewidth=0.8, linestyle=":", zorder=1)
    axes.set_xlabel("governance risk of the foreign supply (G2)", fontsize=9, color=INK)
    if first:
        axes.set_ylabel("foreign concentration (HHI, O1)", fontsize=9, color=INK)
    for p in points:
        colour = TIER_COLOURS[p.tier % len(TIER_COLOURS)]
        axes.scatter(
            [p.wgi], [p.hhi], s=46, marker="D" if p.world_mix else "o", zorder=3, linewidths=1.3,
            facecolors=PAPER if p.uncertain else colour, edgecolors=colour,
        )  # fmt: skip


def _plane_labels(points: Sequence[Point], names: Names, *, one_group: bool) -> list[tuple[float, float, str]]:
    """Place and text per point: the group at tier 0, else the node (once, if several groups share it)."""
    labels = []
    for p in points:
        kind, code = ("node", p.node) if one_group or p.tier else ("group", p.group)
        labels.append((p.wgi, p.hhi, textwrap.fill(_short(names.get((kind, code), code)), 24)))
    return list(dict.fromkeys(labels))


def _plane_legend(figure: Figure, points: Sequence[Point], by_tier: bool) -> None:
    axes = figure.axes[-1]
    colour = MUTED
    axes.scatter([], [], s=46, marker="o", color=colour, label="specific to the focus")
    if any(p.uncertain for p in points):
        hollow = "hollow: low confidence or an indication only"
        axes.scatter([], [], s=46, marker="o", facecolors=PAPER, edgecolors=colour, label=hollow)
    if any(p.world_mix for p in points):
        axes.scatter([], [], s=46, marker="D", color=colour, label="world mix: same for every country")
    if not by_tier:
        for tier in sorted({p.tier for p in points}):
            axes.scatter([], [], s=46, color=TIER_COLOURS[tier % len(TIER_COLOURS)], label=f"tier {tier}")
    handles, texts = axes.get_legend_handles_labels()
    handles.append(Rectangle((0, 0), 1, 1, color=SAND))
    texts.append("test T: both above their cut-off")
    figure.legend(handles, texts, loc="outside lower left", ncols=min(4, len(texts)), fontsize=8, frameon=False)


def _place_labels(figure: Figure, axes: Axes, labels: Sequence[tuple[float, float, str]]) -> None:
    """Put each label where it covers no point and no other label, with a thin line where it had to move away."""
    scale = figure.dpi / 72
    frame = axes.get_window_extent()
    spots = [tuple(axes.transData.transform((x, y))) for x, y, _ in labels]
    taken = [(x - 5 * scale, y - 5 * scale, x + 5 * scale, y + 5 * scale) for x, y in spots]
    turns = np.arange(16) * math.pi / 8
    size = 7.0
    for (x, y, text), (px, py) in sorted(zip(labels, spots, strict=True), key=lambda i: (-i[1][1], i[1][0])):
        lines = text.split("\n")
        width = max(len(line) for line in lines) * size * 0.6 * scale
        height = len(lines) * size * 1.3 * scale
        best: tuple[float, tuple[float, float]] | None = None
        others = np.array(taken)
        for step in range(7, 130, 7):
            cx = px + np.cos(turns) * (step * scale + width / 2)
            cy = py + np.sin(turns) * (step * scale + height / 2)
            left, right, low, high = cx - width / 2, cx + width / 2, cy - height / 2, cy + height / 2
            outside = (
                np.maximum(0.0, frame.x0 - left) + np.maximum(0.0, right - frame.x1)
                + np.maximum(0.0, frame.y0 - low) + np.maximum(0.0, high - frame.y1)
            )  # fmt: skip
            wide = np.minimum(right[:, None], others[None, :, 2]) - np.maximum(left[:, None], others[None, :, 0])
            tall = np.minimum(high[:, None], others[None, :, 3]) - np.maximum(low[:, None], others[None, :, 1])
            covered = (np.maximum(wide, 0.0) * np.maximum(tall, 0.0)).sum(axis=1)
            cost = 40 * outside + covered + step * scale
            at = int(cost.argmin())
            if best is None or cost[at] < best[0]:
                best = (float(cost[at]), (float(cx[at]), float(cy[at])))
            if best[0] <= step * scale + 1:
                break
        if best is None:  # pragma: no cover - the loops above always try one place
            continue
        cx, cy = best[1]
        taken.append((cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2))
        dx, dy = axes.transData.inverted().transform((cx, cy))
        far = math.hypot(cx - px, cy - py) > width / 2 + 14 * scale
        axes.annotate(
            text, (x, y), xytext=(dx, dy), fontsize=size, color=INK, ha="center", va="center", zorder=4,
            arrowprops={"arrowstyle": "-", "color": MUTED, "linewidth": 0.5} if far else None, annotation_clip=False,
        )  # fmt: skip


def suppliers(exposure: pa.Table, group: str, foci: Sequence[str], names: Names | None = None) -> bytes | None:
    """Who supplies the product itself: direct imports (by value) beside traced origin (by mass), per focus.

    Returns:
        None where the exposure has nothing at tier 0 of the group.
    """
    names = names or {}
    rows = exposure.filter(pc.and_(pc.equal(exposure.column("group"), group), pc.equal(exposure.column("tier"), 0)))
    shown = [f for f in foci if f in set(rows.column("focus").to_pylist())]
    if not shown:
        return None
    width, height = 540, 420
    image = Image.new("RGB", (width * len(shown), height), PAPER)
    pen = ImageDraw.Draw(image)
    title = f"{names.get(('group', group), group)}: who supplies, directly and traced"
    pen.text((12, 20), title, fill=INK, font=_font(15, bold=True), anchor="lm")
    for column, focus in enumerate(shown):
        year = latest_year(rows, focus)
        own = [r for r in rows.to_pylist() if r["focus"] == focus and r["year"] == year]
        caption = f"{names.get(('country', focus), focus)}, {year}"
        _bars(pen, column * width, caption, _supplier_lines(own, names))
    for at, (colour, words) in enumerate(((BLUE, "direct imports, by value"), (ORANGE, "traced to origin, by mass"))):
        pen.rectangle((14 + 190 * at, height - 18, 36 + 190 * at, height - 10), fill=colour)
        pen.text((43 + 190 * at, height - 14), words, fill=INK, font=_font(11), anchor="lm")
    sink = io.BytesIO()
    image.save(sink, format="png")
    return sink.getvalue()


def _supplier_lines(rows: list[dict[str, Any]], names: Names) -> list[tuple[str, float, float]]:
    """Name, direct and traced share of the largest suppliers, the others in one line."""
    ranked = sorted(rows, key=lambda r: (-max(r["share_direct"] or 0.0, r["share_traced"] or 0.0), r["country"]))
    top, rest = ranked[:TOP], ranked[TOP:]
    lines = [
        (
            names.get(("country", r["country"]), "unknown origin" if r["country"] == "UNK" else r["country"]),
            r["share_direct"] or 0.0,
            r["share_traced"] or 0.0,
        )
        for r in top
    ]
    if rest:
        direct, traced = (sum(r[c] or 0.0 for r in rest) for c in ("share_direct", "share_traced"))
        lines.append((f"{len(rest)} others", direct, traced))
    return lines


def _bars(pen: ImageDraw.ImageDraw, left: int, caption: str, lines: Sequence[tuple[str, float, float]]) -> None:
    """One panel of bars. Drawn by hand: matplotlib takes fifty times as long, for every group of every run."""
    zero, full, top, bottom = left + 150, left + 490, 66, 372
    pen.text((zero, 48), caption, fill=INK, font=_font(13), anchor="lm")
    for quarter in range(5):
        x = zero + (full - zero) * quarter // 4
        pen.line((x, top, x, bottom), fill=GRID if quarter else MUTED)
        pen.text((x, bottom + 11), f"{25 * quarter}%", fill=INK, font=_font(11), anchor="mm")
    step = (bottom - top) / (TOP + 1)
    thick = int(step * 0.36)
    for at, (name, direct, traced) in enumerate(lines):
        middle = int(top + step * (at + 0.5))
        pen.text((zero - 8, middle), _short(name, 22), fill=INK, font=_font(11), anchor="rm")
        for share, colour, y in ((direct, BLUE, middle - thick), (traced, ORANGE, middle + 1)):
            end = zero + round((full - zero) * min(share, 1.0))
            if end > zero:
                pen.rectangle((zero, y, end, y + thick - 1), fill=colour)
            text = "<1%" if 0 < share < 0.005 else f"{share:.0%}"
            pen.text((end + 5, y + thick // 2), text, fill=MUTED, font=_font(10), anchor="lm")


@lru_cache
def _font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """The font that comes with matplotlib, so that the pictures look the same everywhere."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, size)


def chain(nodes: pa.Table, edges: pa.Table, group: str, names: Names | None = None) -> bytes | None:
    """The chain of a group, the product left, its inputs to the right; dashed steps dashed.

    Returns:
        None where the group has no node.
    """
    names = names or {}
    rows = nodes.filter(pc.equal(nodes.column("group"), group)).to_pylist()
    if not rows:
        return None
    links = edges.filter(pc.equal(edges.column("group"), group)).to_pylist()
    graph = nx.DiGraph((e["user"], e["input"]) for e in links)
    graph.add_nodes_from(r["node"] for r in rows)
    layers = _layers(graph)
    places = _layout(graph, layers)
    tallest = max(len(layer) for layer in layers)
    figure = Figure(figsize=(1 + 2.7 * len(layers), 0.8 + 1.05 * tallest), dpi=100, facecolor=PAPER)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1.05 * tallest / (0.8 + 1.05 * tallest)))
    axes.set_axis_off()
    axes.set_xlim(-0.55, len(layers) - 0.45)
    axes.set_ylim(-tallest / 2 - 0.1, tallest / 2 + 0.1)
    title = f"{names.get(('group', group), group)}: what goes into what"
    figure.text(0.012, 1 - 0.35 / (0.8 + 1.05 * tallest), title, fontsize=11, color=INK, weight="bold")
    status = {r["node"]: r["status"] for r in rows}
    for e in links:
        (x0, y0), (x1, y1) = places[e["user"]], places[e["input"]]
        line = "-" if e["essential"] or e["intensity"] is not None else ":"
        axes.annotate(
            "", (x0 + 0.42, y0), xytext=(x1 - 0.42, y1),
            arrowprops={"arrowstyle": "-|>", "color": MUTED, "linewidth": 1.0, "linestyle": line},
        )  # fmt: skip
        if e["intensity"] is not None and not e["essential"]:
            axes.text((x0 + x1) / 2, (y0 + y1) / 2, f"{e['intensity']:.0%}", fontsize=7, color=MUTED, ha="center")
    for r in rows:
        x, y = places[r["node"]]
        computed = r["status"] in ("traded", "production")
        colour = TIER_COLOURS[int(r["tier"] or 0) % len(TIER_COLOURS)] if computed else MUTED
        axes.add_patch(
            Rectangle((x - 0.42, y - 0.36), 0.84, 0.72, facecolor=PAPER, edgecolor=colour, zorder=2,
                      linewidth=1.6 if computed else 1.0, linestyle="-" if computed else "--")
        )  # fmt: skip
        name = textwrap.fill(_short(names.get(("node", r["node"]), r["node"]), 46), 22)
        note = {
            "traded": f"tier {r['tier']}", "production": f"tier {r['tier']}, same for every country",
            "dashed": "not in the sources: passed through", "cut_off": "deeper than the look-through",
            "missing": "cannot be computed",
        }[status[r["node"]]]  # fmt: skip
        axes.text(x, y + 0.05, name, ha="center", va="center", fontsize=7.5, color=INK, zorder=3)
        axes.text(x, y - 0.29, note, ha="center", va="center", fontsize=6, color=colour, zorder=3)
    return _png(figure)


def lineage(graph: nx.DiGraph, title: str = "What is made of what") -> bytes:
    """The graph of the assets, left to right, coloured by group of the method.

    Args:
        graph: nodes with attribute ``group`` (folder of the method), edges from input to output.
    """
    layers = _layers(graph)
    places = _layout(graph, layers)
    tallest = max(len(layer) for layer in layers)
    figure = Figure(
        figsize=(0.6 + 1.5 * len(layers), 1.4 + 0.7 * tallest), dpi=110, facecolor=PAPER, layout="constrained"
    )
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_axis_off()
    axes.set_xlim(-0.6, len(layers) - 0.4)
    axes.set_ylim(-tallest / 2 - 0.4, tallest / 2 + 0.4)
    figure.suptitle(title, fontsize=12, color=INK, x=0.01, ha="left", weight="bold")
    for a, b in graph.edges:
        (x0, y0), (x1, y1) = places[a], places[b]
        axes.annotate(
            "", (x1 - 0.43, y1), xytext=(x0 + 0.43, y0), zorder=1,
            arrowprops={"arrowstyle": "-|>", "color": "#9aa5b1", "linewidth": 0.7,
                        "connectionstyle": "arc3,rad=0.04"},
        )  # fmt: skip
    for node, attributes in graph.nodes(data=True):
        x, y = places[node]
        colour = GROUP_COLOURS.get(attributes.get("group", ""), GRID)
        axes.add_patch(
            Rectangle((x - 0.43, y - 0.3), 0.86, 0.6, facecolor=colour, edgecolor=MUTED, linewidth=0.7, zorder=2)
        )
        axes.text(x, y, textwrap.fill(node.split("/")[-1].replace("_", " "), 16), ha="center", va="center", fontsize=8,
                  color=INK, zorder=3)  # fmt: skip
    groups = list(dict.fromkeys(a.get("group", "") for _, a in graph.nodes(data=True)))
    order = [g for g in GROUP_COLOURS if g in groups]
    handles = [Rectangle((0, 0), 1, 1, facecolor=GROUP_COLOURS[g], edgecolor=MUTED) for g in order]
    figure.legend(handles, order, loc="outside lower left", ncols=len(order), fontsize=9, frameon=False)
    return _png(figure)


def _layers(graph: nx.DiGraph) -> list[list[str]]:
    """Nodes by the longest way from a start, so that every edge runs to the right."""
    depth: dict[str, int] = {}
    for node in nx.topological_sort(graph):
        depth[node] = max((depth[p] + 1 for p in graph.predecessors(node)), default=0)
    return [sorted(n for n, d in depth.items() if d == level) for level in range(max(depth.values(), default=0) + 1)]


def _layout(graph: nx.DiGraph, layers: list[list[str]]) -> dict[str, tuple[float, float]]:
    """Places: layer across; within a layer ordered by the mean height of the neighbours (few sweeps)."""
    order = [list(layer) for layer in layers]
    height: dict[str, float] = {}

    def place(layer: list[str]) -> None:
        for at, node in enumerate(layer):
            height[node] = (len(layer) - 1) / 2 - at

    for layer in order:
        place(layer)
    for sweep in range(6):
        for layer in order if sweep % 2 == 0 else reversed(order):
            near = graph.predecessors if sweep % 2 == 0 else graph.successors

            def middle(node: str, near: Any = near) -> tuple[float, str]:
                around = [height[n] for n in near(node)]
                return (-(sum(around) / len(around)) if around else -height[node], node)

            layer.sort(key=middle)
            place(layer)
    return {n: (float(x), height[n]) for x, layer in enumerate(order) for n in layer}


def _short(text: str, most: int = 40) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def _bare(axes: Axes) -> None:
    axes.set_axisbelow(True)
    axes.grid(color=GRID, linewidth=0.6)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(MUTED)
    axes.tick_params(colors=INK, labelsize=8, length=2)


def _png(figure: Figure) -> bytes:
    sink = io.BytesIO()
    figure.savefig(sink, format="png", facecolor=PAPER, metadata={"Software": None})
    return sink.getvalue()


def preview(content: bytes, width: int = 1400) -> bytes:
    """A picture small enough for the event log of the Dagster UI: narrower, in 48 colours."""
    with Image.open(io.BytesIO(content)) as image:
        height = round(image.height * min(width / image.width, 1.0))
        small = image.convert("RGB").resize((min(width, image.width), height), Image.Resampling.LANCZOS)
    sink = io.BytesIO()
    small.quantize(48, dither=Image.Dither.NONE).save(sink, format="png", optimize=True)
    return sink.getvalue()


def draw_all(
    tables: Mapping[str, pa.Table], *, hhi_limit: float = HHI_LIMIT, wgi_limit: float = WGI_LIMIT
) -> dict[str, bytes]:
    """Every picture of a release, by file name.

    ``plane_<focus>.png``, ``suppliers_<group>.png``, ``chain_<group>.png``; what cannot be drawn is absent.

    Args:
        tables: ``indicators, exposure, chain_nodes, chain_edges, labels`` of one release.
        hhi_limit, wgi_limit: cut-offs of test T.
    """
    indicators, exposure = tables["indicators"], tables["exposure"]
    names = names_of(tables.get("labels"))
    foci = sorted(indicators.column("focus").unique().to_pylist())
    drawn: dict[str, bytes] = {}
    for focus in foci:
        year = latest_year(exposure, focus)
        points = plane_points(indicators, focus, year) if year is not None else []
        if points:
            title = f"{names.get(('country', focus), focus)} {year}: concentration and governance, tier by tier"
            drawn[f"plane_{focus}.png"] = plane(points, title, names, hhi_limit=hhi_limit, wgi_limit=wgi_limit)
    for group in sorted(set(tables["chain_nodes"].column("group").to_pylist())):
        bars = suppliers(exposure, group, foci, names)
        if bars is not None:
            drawn[f"suppliers_{group}.png"] = bars
        picture = chain(tables["chain_nodes"], tables["chain_edges"], group, names)
        if picture is not None:
            drawn[f"chain_{group}.png"] = picture
    return drawn


#: What the pictures of a folder were made of.
NOTE = "made_of.txt"


def drawn_once(folder: Path, fingerprint: str, draw: Callable[[], dict[str, bytes]]) -> dict[str, bytes]:
    """The pictures of a folder, drawn anew only where they were made of something else.

    Args:
        folder: where they are kept; pictures of an earlier state are removed.
        fingerprint: of everything they are made of.
        draw: makes them.
    """
    note = folder / NOTE
    whole = f"{fingerprint} matplotlib {matplotlib.__version__} {sha256_of(Path(__file__))}\n"
    if note.exists() and note.read_text(encoding="utf-8") == whole:
        return {p.name: p.read_bytes() for p in sorted(folder.glob("*.png"))}
    note.unlink(missing_ok=True)
    for old in folder.glob("*.png"):
        old.unlink()
    drawn = draw()
    for name, content in drawn.items():
        write_bytes_atomic(folder / name, content)
    write_bytes_atomic(note, whole.encode())
    return drawn


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the pictures of a home's latest release into a folder."""
    parser = argparse.ArgumentParser(prog="python -m ketenpipe.observatory.pictures", description=main.__doc__)
    parser.add_argument("--home", type=Path, default=Path("data"), help="home whose latest release is drawn")
    parser.add_argument("--out", type=Path, required=True, help="folder for the PNG files")
    parser.add_argument("--only", nargs="*", help="file names to draw (default: all)")
    given = parser.parse_args(arguments)
    try:
        release = reader.latest(given.home)
        needed = ("indicators", "exposure", "chain_nodes", "chain_edges", "labels")
        drawn = draw_all({name: release.read(name) for name in needed})
        wanted: Iterable[str] = given.only or drawn
        for name in wanted:
            if name not in drawn:
                raise KetenpipeError(f"there is no picture {name}; there are {', '.join(drawn)}")
            write_bytes_atomic(given.out / name, drawn[name])
    except KetenpipeError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
