"""Pictures: the right points in the right place, real PNG files, nothing drawn where there is nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import networkx as nx
import pyarrow as pa
import pytest

from ketenpipe.observatory import pictures
from ketenpipe.tables.registry import CHAIN_EDGES, CHAIN_NODES, EXPOSURE, INDICATORS

PNG = b"\x89PNG\r\n\x1a\n"


def figure(node: str, indicator: str, value: float | None, **more: Any) -> dict[str, Any]:
    return {
        "focus": "NLD", "level": "node", "code": node, "hs_revision": "HS92", "group": "g", "tier": 0, "year": 2024,
        "indicator": indicator, "measure": "q", "basis": "traced", "value": value, "unit": "index 0-1",
        "method_version": "1", **more,
    }  # fmt: skip


@pytest.fixture
def indicators() -> pa.Table:
    mix = {"tier": 1, "basis": "world_production_mix", "measure": "p"}
    return INDICATORS.conform(
        [
            figure("a", "O1", 0.6), figure("a", "G2", 0.7),
            figure("a", "O1", 0.1, measure="v"), figure("a", "G2", 0.1, measure="v"),
            figure("mine", "O1", 0.5, **mix), figure("mine", "G2", 0.4, **mix),
            figure("b", "O1", 0.3, reason="export_proxy"), figure("b", "G2", 0.2),
            figure("c", "O1", 0.3), figure("c", "G2", None),
            figure("a", "O1", 0.9, year=2023), figure("a", "G2", 0.9, year=2023),
        ]
    )  # fmt: skip


def shares(country: str, direct: float | None, traced: float | None, **more: Any) -> dict[str, Any]:
    return {
        "focus": "NLD", "group": "g", "node": "a", "tier": 0, "year": 2024, "hs_revision": "HS92", "country": country,
        "share_direct": direct, "share_traced": traced, "basis": "export_proxy",
        "same_for_every_country": False, **more,
    }  # fmt: skip


@pytest.fixture
def exposure() -> pa.Table:
    return EXPOSURE.conform([shares("BEL", 0.9, 0.1), shares("NOR", None, 0.7), shares("UNK", None, 0.2)])


def test_points_are_the_nodes_with_both_figures(indicators: pa.Table) -> None:
    points = {p.node: p for p in pictures.plane_points(indicators, "NLD", 2024)}
    assert set(points) == {"a", "b", "mine"}
    assert (points["a"].hhi, points["a"].wgi, points["a"].world_mix, points["a"].uncertain) == (0.6, 0.7, False, False)
    assert points["mine"].world_mix
    assert points["mine"].tier == 1
    assert points["b"].uncertain
    assert pictures.plane_points(indicators, "DEU", 2024) == []
    assert pictures.plane_points(indicators, "NLD", 2024, group="other") == []


def test_planes_are_png_and_the_same_each_time(indicators: pa.Table) -> None:
    points = pictures.plane_points(indicators, "NLD", 2024)
    drawn = pictures.plane(points, "Netherlands", {("group", "g"): "A group with a rather long name of many words"})
    assert drawn.startswith(PNG)
    assert drawn == pictures.plane(
        points, "Netherlands", {("group", "g"): "A group with a rather long name of many words"}
    )
    assert pictures.plane(points, "One panel", by_tier=False).startswith(PNG)
    assert pictures.plane([], "Nothing").startswith(PNG)


def test_labels_do_not_cover_each_other() -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    drawing = Figure(figsize=(6, 6), dpi=100)
    FigureCanvasAgg(drawing)
    axes = drawing.add_subplot()
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    wanted = [(0.5 + 0.01 * k, 0.5, f"group number {k}") for k in range(12)]
    pictures._place_labels(drawing, axes, wanted)
    drawing.canvas.draw()
    boxes = [Text.get_window_extent(t) for t in axes.texts]  # of the text alone, without its line
    assert len(boxes) == 12
    for k, one in enumerate(boxes):
        for other in boxes[k + 1 :]:
            assert not one.overlaps(other)


def test_supplier_bars(exposure: pa.Table) -> None:
    drawn = pictures.suppliers(exposure, "g", ["NLD", "EU27"], {("country", "NOR"): "Norway"})
    assert drawn is not None
    assert drawn.startswith(PNG)
    assert len(drawn) < 100_000
    assert pictures.suppliers(exposure, "other", ["NLD"]) is None
    lines = pictures._supplier_lines(exposure.to_pylist(), {("country", "NOR"): "Norway"})
    assert lines == [("BEL", 0.9, 0.1), ("Norway", 0.0, 0.7), ("unknown origin", 0.0, 0.2)]


def test_many_suppliers_end_in_others() -> None:
    rows = [shares(f"A{chr(65 + k)}A", 0.05, 0.05) for k in range(20)]
    lines = pictures._supplier_lines(rows, {})
    assert len(lines) == pictures.TOP + 1
    assert lines[-1][0] == "12 others"
    assert sum(line[1] for line in lines) == pytest.approx(1)


def test_chain() -> None:
    node = {"group": "g", "hs_revision": "HS92", "stage": "processing"}
    nodes = CHAIN_NODES.conform(
        [
            {**node, "node": "a", "tier": 0, "status": "traded"},
            {**node, "node": "b", "tier": None, "status": "dashed"},
            {**node, "node": "mine", "tier": 1, "status": "production"},
        ]
    )
    edge = {"group": "g", "essential": True, "evidence": "textbook", "confidence": "high", "citation": "x"}
    edges = CHAIN_EDGES.conform(
        [
            {**edge, "user": "a", "input": "b"},
            {**edge, "user": "b", "input": "mine", "intensity": 0.3, "essential": False},
        ]
    )
    drawn = pictures.chain(nodes, edges, "g")
    assert drawn is not None
    assert drawn.startswith(PNG)
    assert pictures.chain(nodes, edges, "other") is None


def test_layers_run_to_the_right() -> None:
    graph = nx.DiGraph([("a", "b"), ("b", "c"), ("a", "c"), ("d", "c")])
    assert pictures._layers(graph) == [["a", "d"], ["b"], ["c"]]
    places = pictures._layout(graph, pictures._layers(graph))
    assert all(places[x][0] < places[y][0] for x, y in graph.edges)
    assert pictures.lineage(graph).startswith(PNG)


def test_drawn_once(tmp_path: Path) -> None:
    calls = []

    def draw() -> dict[str, bytes]:
        calls.append(1)
        return {"a.png": PNG}

    (tmp_path / "old.png").write_bytes(b"old")
    for made_of in ("x", "x", "y"):
        assert pictures.drawn_once(tmp_path, made_of, draw) == {"a.png": PNG}
    assert len(calls) == 2
    assert not (tmp_path / "old.png").exists()


def test_the_command_refuses_in_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pictures.main(["--home", str(tmp_path), "--out", str(tmp_path)]) == 1
    assert "no release yet" in capsys.readouterr().err
