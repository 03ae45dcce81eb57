"""Pictures of the supply graph: the sentence, what is folded and marked, small PNG files, words for the page."""

from __future__ import annotations

import io
from collections.abc import Collection, Sequence
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.text import Text
from PIL import Image

from ketenpipe.chain.supply_graph import FOCUS, REST, Place, SupplyGraph, build_graph_measures
from ketenpipe.errors import WrongUse
from ketenpipe.observatory import graph_pictures
from ketenpipe.observatory.graph_pictures import (
    CHOKE,
    OWN_KEY,
    Choke,
    choke_point,
    draw_graph,
    draw_graphs,
    graph_page_markdown,
    headline,
    second_line,
    without_dashed,
)
from ketenpipe.tables.registry import GRAPH_EDGES, GRAPH_MEASURES, GRAPH_NODES, LABELS

PNG = b"\x89PNG\r\n\x1a\n"
NAMES = {
    ("country", "NLD"): "Netherlands", ("country", "CHN"): "China", ("country", "COD"): "Congo - Kinshasa",
    ("country", "EU27"): "European Union (today's 27)", ("group", "g"): "Rare-earth magnets",
    ("node", "a"): "Magnets of metal", ("node", "b"): "Metals, unwrought (and alloys)",
    ("node", "mine_x"): "Ore mining",
}  # fmt: skip
Shares = dict[str, float]


def graph(
    *chain: tuple[str, str, Shares], focus: str = "NLD", basis: str = "export_proxy", group: str = "g"
) -> SupplyGraph:
    """A chain of nodes ``(node, kind, shares)``, the product first; each user takes the same mix from the next."""
    key = {"focus": focus, "group": group, "year": 2024}
    nodes: list[dict[str, Any]] = [
        {**key, "node": FOCUS, "country": focus, "kind": "focus", "share": 1.0, "same_for_every_country": False}
    ]
    edges: list[dict[str, Any]] = []
    users: tuple[str, Shares] = (FOCUS, {focus: 1.0})
    tier = 0
    for name, kind, shares in chain:
        world = kind == "production"
        own = {**key, "node": name, "kind": kind, "stage": "processing", "same_for_every_country": world}
        own |= {"tier": None if kind == "dashed" else tier, "evidence": "textbook" if tier else None}
        own["basis"] = "world_production_mix" if world else None if kind == "dashed" else basis
        nodes += [{**own, "country": c, "share": s} for c, s in shares.items()]
        flow = {**key, "input": name, "user": users[0], "user_weight": 1.0, "same_for_every_country": world}
        for country, share in shares.items():
            buyers = {country: 1.0} if kind == "dashed" else users[1]
            edges += [
                {**flow, "input_country": country, "user_country": u, "share": share * (w if kind != "dashed" else 1.0)}
                for u, w in buyers.items()
            ]
        users = (name, shares)
        tier += kind != "dashed"
    return SupplyGraph(GRAPH_NODES.conform(nodes), GRAPH_EDGES.conform(edges))


def drawn(made: SupplyGraph, focus: str = "NLD", members: Sequence[str] = (), hubs: Collection[Place] = ()) -> bytes:
    measures = build_graph_measures(made.graph_nodes, made.graph_edges)
    return draw_graph(made.graph_nodes, made.graph_edges, measures, focus, "g", NAMES, members, hubs)


def words(made: SupplyGraph, monkeypatch: pytest.MonkeyPatch, **more: Any) -> tuple[list[Text], bytes]:
    """Every text of the picture, and the picture."""
    kept: list[Any] = []
    real = graph_pictures._small_png
    monkeypatch.setattr(graph_pictures, "_small_png", lambda figure: kept.append(figure) or real(figure))
    content = drawn(made, **more)
    kept[0].canvas.draw()
    return list(kept[0].axes[0].texts), content


THREE = graph(
    ("a", "traded", {"CHN": 0.6, "DEU": 0.25, "NLD": 0.15}),
    ("b", "traded", {"CHN": 0.9, "USA": 0.04, "UNK": 0.06}),
    ("mine_x", "production", {"COD": 0.95, "CHN": 0.05}),
)


# -- the sentence ---------------------------------------------------------------------------------------------


def test_the_choke_point_is_the_largest_foreign_place_that_is_specific() -> None:
    nodes = THREE.graph_nodes.to_pandas()
    assert choke_point(nodes, {"NLD"}) == Choke("b", "CHN", 1, 0.9, False), "not the larger world mix"
    assert choke_point(nodes, {"NLD", "CHN"}) == Choke("mine_x", "COD", 2, 0.95, True), "nothing specific is large"
    assert choke_point(nodes, {"NLD", "CHN", "COD", "DEU", "USA"}) is None, "own and unknown supply is none"


def test_headlines() -> None:
    assert headline(Choke("b", "CHN", 1, 0.9, False), "NLD", "g", NAMES) == (
        "Netherlands, rare-earth magnets: at tier 1, China produces 90 % of the metals"
    )
    assert headline(Choke("a", "CHN", 0, 0.613, False), "NLD", "g", NAMES) == (
        "Netherlands, rare-earth magnets: China produces 61 % of the supply"
    )
    assert headline(Choke("mine_x", "COD", 2, 0.999, True), "EU27", "g", NAMES) == (
        "European Union, rare-earth magnets: at tier 2, Congo - Kinshasa has >99 % of world output (ore mining), "
        "the same for every country"
    )
    assert headline(None, "NLD", "g", NAMES) == "Netherlands, rare-earth magnets: no foreign origin is known"
    assert headline(Choke("a", "CHN", 0, 0.07, False), "NLD", "g", NAMES, 0.8) == (
        "Netherlands, rare-earth magnets: China produces 7 % of the supply; the origin of 80 % is unknown"
    )
    assert (
        headline(Choke("zzz", "XXX", 1, 0.5, False), "NLD", "qq", {})
        == "NLD, qq: at tier 1, XXX produces 50 % of the zzz"
    )


def test_the_second_line_names_the_country_that_most_passes() -> None:
    measures = build_graph_measures(THREE.graph_nodes, THREE.graph_edges)
    # China: a .6; b .9 and what of the other tenth goes to its a: .9 + .1 * .6 = .96; mine 1 - .95 * .1 * .4 = .962.
    assert second_line(measures, "NLD", "g", {"NLD"}, NAMES, 2024) == (
        "Over all 3 steps (world mix included), 84 % of what reaches the focus passes through China at least once"
    )
    single = graph(("a", "traded", {"CHN": 1.0}))
    alone = build_graph_measures(single.graph_nodes, single.graph_edges)
    assert second_line(alone, "NLD", "g", {"NLD"}, NAMES, 2024) is None, "one step: the title says it already"
    assert second_line(GRAPH_MEASURES.empty(), "NLD", "g", {"NLD"}, NAMES, 2024) is None


# -- what is drawn --------------------------------------------------------------------------------------------


def test_a_picture_is_a_small_png_and_the_same_each_time() -> None:
    content = drawn(THREE)
    assert content.startswith(PNG)
    assert len(content) < 150_000
    assert content == drawn(THREE)
    with Image.open(io.BytesIO(content)) as image:
        assert image.width >= 760
        shown = image.convert("RGB")
        colours = {c for _, c in shown.getcolors(maxcolors=2**24) or []}
    strong = tuple(int(CHOKE[k : k + 2], 16) for k in (1, 3, 5))
    assert min(sum(abs(a - b) for a, b in zip(c, strong, strict=True)) for c in colours) < 12, (
        "the choke point is marked"
    )


def test_what_the_picture_says(monkeypatch: pytest.MonkeyPatch) -> None:
    texts, _ = words(THREE, monkeypatch)
    said = [t.get_text() for t in texts]
    assert said[0] == "Netherlands, rare-earth magnets: at tier 1, China produces 90 % of the metals"
    assert "tier 2, the same for every country" in said
    assert "the product (tier 0), inferred from trade" in said
    assert {"China", "90 %", "unknown origin", "own production", "15 %", "choke point (China)"} <= set(said)
    assert "hatched: world mix, the same for every country" in said
    assert any(s.startswith("Lower bound: who makes it is inferred from trade.") for s in said)


def test_no_banner_where_production_is_observed(monkeypatch: pytest.MonkeyPatch) -> None:
    texts, _ = words(graph(("a", "traded", {"CHN": 0.2, "DEU": 0.8}), basis="observed"), monkeypatch)
    said = [t.get_text() for t in texts]
    assert not any("Lower bound" in s for s in said)
    assert "the product (tier 0), production statistic" in said


def test_many_small_countries_are_others_and_nothing_overlaps_or_leaves_the_picture(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    many = {f"C{k:02d}": 0.01 for k in range(40)}
    made = graph(
        ("a", "traded", {**many, "CHN": 0.6}),
        ("b", "traded", {**many, "COD": 0.6}),
        ("mine_x", "production", {"COD": 1.0}),
    )
    texts, _ = words(made, monkeypatch)
    assert sum(t.get_text() == "40 others" for t in texts) == 2
    frame = texts[0].figure.bbox
    boxes = [(t.get_text(), Text.get_window_extent(t)) for t in texts]
    for k, (one, box) in enumerate(boxes):
        assert box.x0 >= 0, one
        assert box.x1 <= frame.width, one
        assert box.y0 >= 0, one
        assert box.y1 <= frame.height, one
        for other, second in boxes[k + 1 :]:
            assert not box.overlaps(second), (one, other)


def test_long_names_are_cut_within_their_box(monkeypatch: pytest.MonkeyPatch) -> None:
    long = {("country", "CHN"): "A country with a name that no box can hold in one line", ("node", "a"): "word " * 30}
    monkeypatch.setattr("ketenpipe_tests.observatory.test_graph_pictures.NAMES", {**NAMES, **long})
    texts, _ = words(THREE, monkeypatch)
    assert any(t.get_text().endswith("…") for t in texts)
    assert all(Text.get_window_extent(t).x1 <= t.figure.bbox.width for t in texts)


def test_a_refining_hub_is_no_mine_and_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    hubs = {("b", "CHN"), ("a", "DEU")}
    texts, _ = words(THREE, monkeypatch, hubs=hubs)
    said = [t.get_text() for t in texts]
    title = " ".join(said[:2])
    assert "at tier 1, China, a recycling or refining hub, produces 90 % of the metals" in title
    assert {"China (hub)", "DEU (hub)", "China"} <= set(said), "at the other steps China is no hub"
    assert any("it is no mine" in s for s in said)
    measures = build_graph_measures(THREE.graph_nodes, THREE.graph_edges)
    assert "China, a recycling or refining hub, produces" in graph_page_markdown(
        THREE.graph_nodes, measures, "g", NAMES, hubs=hubs
    )


def test_the_members_of_a_bloc_are_one_box(monkeypatch: pytest.MonkeyPatch) -> None:
    made = graph(("a", "traded", {"CHN": 0.3, "DEU": 0.4, "FRA": 0.3}), focus="EU27")
    texts, _ = words(made, monkeypatch, focus="EU27", members=("DEU", "FRA"))
    said = [t.get_text() for t in texts]
    assert said[0] == "European Union, rare-earth magnets: China produces 30 % of the supply"
    assert {"own production", "70 %", "made within the bloc"} <= set(said)
    assert "DEU" not in said


def test_unknown_only(monkeypatch: pytest.MonkeyPatch) -> None:
    texts, _ = words(graph(("a", "traded", {"CHN": 1.0}), ("b", "traded", {"UNK": 1.0})), monkeypatch)
    assert "unknown origin" in [t.get_text() for t in texts]
    texts, content = words(graph(("a", "traded", {"UNK": 1.0})), monkeypatch)
    assert content.startswith(PNG)
    title = f"{texts[0].get_text()} {texts[1].get_text()}"
    assert title.endswith(": no foreign origin is known; the origin of 100 % is unknown")


def test_dashed_nodes_are_passed_over() -> None:
    made = graph(
        ("a", "traded", {"CHN": 0.5, "DEU": 0.5}),
        ("d", "dashed", {"CHN": 0.5, "DEU": 0.5}),
        ("b", "traded", {"COD": 1.0}),
    )
    flows = without_dashed(made.graph_nodes.to_pandas(), made.graph_edges.to_pandas())
    assert set(flows["input"]) | set(flows["user"]) == {"a", "b", FOCUS}
    own = flows[flows["input"] == "b"].set_index(["input_country", "user", "user_country"])["share"].to_dict()
    assert own == pytest.approx({("COD", "a", "CHN"): 0.5, ("COD", "a", "DEU"): 0.5})
    assert drawn(made).startswith(PNG)
    twice = graph(
        ("a", "traded", {"CHN": 1.0}), ("d", "dashed", {"CHN": 1.0}), ("e", "dashed", {"CHN": 1.0}),
        ("b", "traded", {"COD": 1.0}),
    )  # fmt: skip
    flows = without_dashed(twice.graph_nodes.to_pandas(), twice.graph_edges.to_pandas())
    assert set(zip(flows["input"], flows["user"], strict=True)) == {("a", FOCUS), ("b", "a")}


def test_a_flow_that_passes_over_a_column_has_a_lane_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    edges = THREE.graph_edges.to_pandas()
    direct = edges[edges["input"] == "mine_x"].copy()
    edges.loc[edges["input"] == "mine_x", ["share", "user_weight"]] *= 0.5
    direct = direct[direct["user_country"] == "CHN"].assign(user="a", user_weight=0.5)
    direct["share"] *= 0.5 / direct["share"].sum()
    both = SupplyGraph(THREE.graph_nodes, GRAPH_EDGES.conform(pd.concat([edges, direct])))
    texts, content = words(both, monkeypatch)
    assert content.startswith(PNG)
    assert "straight on, without the step between" in [t.get_text() for t in texts]


def test_a_node_that_nothing_joins_to_the_focus_is_not_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = GRAPH_EDGES.conform(THREE.graph_edges.to_pandas().query("input != 'mine_x'"))
    texts, _ = words(SupplyGraph(THREE.graph_nodes, alone), monkeypatch)
    assert "Ore mining" not in [t.get_text() for t in texts]


MIXES = st.dictionaries(st.sampled_from(["CHN", "COD", "NLD", "DEU", "UNK", "USA"]), st.integers(1, 50), min_size=1)


@settings(max_examples=8, deadline=None)
@given(st.lists(MIXES, min_size=1, max_size=4), st.data())
def test_any_chain_can_be_drawn(mixes: list[dict[str, int]], data: st.DataObject) -> None:
    chain = []
    for k, mix in enumerate(mixes):
        kind = "traded" if k == 0 else data.draw(st.sampled_from(["traded", "production"]))
        chain.append((f"n{k}", kind, {c: v / sum(mix.values()) for c, v in mix.items()}))
    assert drawn(graph(*chain)).startswith(PNG)


def test_folding_keeps_the_sum() -> None:
    stack = graph_pictures._Stack("a", 0, 0, False, "observed", height=300.0)
    boxes = [("AAA", 0.5), ("BBB", 0.02), ("CCC", 0.03), (OWN_KEY, 0.01), ("UNK", 0.44)]
    stack.boxes = [graph_pictures._Box(k, s) for k, s in boxes]
    graph_pictures._fold(stack)
    assert [(b.key, b.count) for b in stack.boxes] == [("AAA", 1), (REST, 2), (OWN_KEY, 1), ("UNK", 1)]
    assert sum(b.share for b in stack.boxes) == pytest.approx(1.0)


# -- all of them, and in words --------------------------------------------------------------------------------


def both() -> dict[str, pa.Table]:
    made = [THREE, graph(("a", "traded", {"CHN": 1.0}), focus="EU27"), graph(("a", "traded", {"COD": 1.0}), group="h")]
    nodes, edges = (pa.concat_tables(getattr(m, t) for m in made) for t in ("graph_nodes", "graph_edges"))
    return {
        "graph_nodes": GRAPH_NODES.conform(nodes), "graph_edges": GRAPH_EDGES.conform(edges),
        "graph_measures": build_graph_measures(nodes, edges),
        "labels": LABELS.conform(
            [{"kind": k, "code": c, "name_en": n, "name_nl": n, "source": "test"} for (k, c), n in NAMES.items()]
        ),
    }  # fmt: skip


def test_all_pictures_by_name() -> None:
    made = draw_graphs(both(), {"EU27": {"DEU", "FRA"}})
    assert list(made) == ["graph_EU27_g.png", "graph_NLD_g.png", "graph_NLD_h.png"]
    assert all(content.startswith(PNG) for content in made.values())
    without = {name: table for name, table in both().items() if name != "labels"}
    assert draw_graphs(without)["graph_NLD_h.png"] != made["graph_NLD_h.png"], "codes where there are no names"
    empty = {
        "graph_nodes": GRAPH_NODES.empty(),
        "graph_edges": GRAPH_EDGES.empty(),
        "graph_measures": GRAPH_MEASURES.empty(),
    }
    assert draw_graphs(empty) == {}


def test_a_graph_that_is_not_there_is_refused() -> None:
    tables = both()
    with pytest.raises(WrongUse, match=r"there is no supply graph of group 'zz' for NLD\."):
        draw_graph(tables["graph_nodes"], tables["graph_edges"], tables["graph_measures"], "NLD", "zz")


def test_the_page_in_words() -> None:
    tables = both()
    text = graph_page_markdown(tables["graph_nodes"], tables["graph_measures"], "g", NAMES, {"EU27": ("DEU",)})
    assert text.count("| step |") == 2
    assert "**Netherlands, rare-earth magnets: at tier 1, China produces 90 % of the metals.**" in text
    assert (
        "| Metals, unwrought (and alloys), tier 1 | China, 90 % | China (metals) | 1: China (metals) | 10 % |" in text
    )
    assert "| Ore mining, tier 2, the world's mix | Congo - Kinshasa, 95 % |" in text
    assert "**European Union, rare-earth magnets: China produces 100 % of the supply.**" in text
    assert "Lower bound" in text
    assert text.endswith("\n")
    assert graph_page_markdown(tables["graph_nodes"], tables["graph_measures"], "zz", NAMES) == ""


def test_the_page_says_why_a_cut_is_not_there() -> None:
    made = graph(("a", "traded", {"UNK": 1.0}))
    text = graph_page_markdown(made.graph_nodes, build_graph_measures(made.graph_nodes, made.graph_edges), "g", NAMES)
    assert "| none known | nobody | no known producer that counts is joined to the focus |" in text
    piped = graph(("a", "traded", {"CHN": 1.0}))
    measures = build_graph_measures(piped.graph_nodes, piped.graph_edges)
    cell = graph_page_markdown(piped.graph_nodes, measures, "g", {**NAMES, ("node", "a"): "x|y <z>"})
    assert r"x\|y &lt;z>" in cell
