"""The chain catalogue: the shipped files hold, and every kind of broken file is refused in one sentence."""

from __future__ import annotations

import csv
import gzip
import re
from pathlib import Path

import networkx as nx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ketenpipe.chain import catalogue
from ketenpipe.chain.catalogue import Reference, hs_code_labels, load_reference, validate, with_edges
from ketenpipe.errors import InputRefused, WrongUse

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "data" / "reference"
SAMPLE = ROOT / "data" / "sample" / "baci"

SMALL = {
    "public_interests.csv": "interest,name_en,name_nl,weight,source\nfood,Food,Voedsel,0.5,ours\n",
    "groups.csv": (
        "group,node,name_en,name_nl,public_interests,interest_why_en,interest_why_nl,citation,citation_status,"
        "note\nbread,loaf,Bread,Brood,food,eaten,gegeten,A Book (2020),read,\n"
    ),
    "nodes.csv": (
        "node,name_en,name_nl,stage,codes_hs92,codes_hs17,material,material_relation,shared_code_note,note\n"
        "loaf,Loaf,Brood,end_product,190520,190520,,,,\n"
        "flour,Flour,Meel,processing,110100,110100,,,,\n"
        "mine_salt,Salt,Zout,extraction,,,Salt,same_form,,\n"
    ),
    "edges.csv": (
        "group,user,input,intensity,essential,evidence,confidence,citation,citation_status,note\n"
        "bread,loaf,flour,0.6,true,literature,high,A Book (2020),read,\n"
        "bread,flour,mine_salt,,false,textbook,high,Salting,,\n"
    ),
    "production_links.csv": (
        "hs_revision,code,material,relation,same_form,why,citation,citation_status\n"
        "HS92,110100,Flour,same_form,true,flour is flour,A Book (2020),read\n"
    ),
    "producer_lists.csv": (
        "node,hs_revision,code,year,country,quantity,unit,share,form,citation,citation_status\n"
        "flour,HS92,110100,2020,NLD,10,t,0.1,flour,A Book (2020),read\n"
        "flour,HS92,110100,2020,DEU,,,0.2,flour,A Book (2020),recalled\n"
    ),
    "non_producers.csv": (
        "country,node,stage,code,why,citation,citation_status\n"
        "SGP,flour,,,no mill,A Book (2020),read\n"
        "HKG,,,110100,no mill,A Book (2020),read\n"
        "LUX,,processing,,no plant,A Book (2020),read\n"
    ),
    "refining_hubs.csv": "country,node,why,citation,citation_status\nBEL,flour,port,A Book (2020),recalled\n",
    "blocs.csv": "bloc,iso3,from_year,to_year,source\nEU,NLD,1958,,treaty\nEU,GBR,1973,2019,treaty\n",
}
KNOWN = {"HS92": {"190520", "110100", "100190"}, "HS17": {"190520", "110100", "100199"}}


def write(folder: Path, **changes: str) -> Path:
    """The small reference in a folder; keyword ``groups=...`` replaces groups.csv."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in SMALL.items():
        (folder / name).write_text(changes.get(name.removesuffix(".csv"), text), encoding="utf-8")
    return folder


def edited(name: str, old: str, new: str) -> dict[str, str]:
    text = SMALL[f"{name}.csv"]
    assert text.count(old) == 1, (name, old)
    return {name: text.replace(old, new)}


def appended(name: str, line: str) -> dict[str, str]:
    return {name: SMALL[f"{name}.csv"] + line + "\n"}


def check(*folders: Path) -> Reference:
    reference = load_reference(*folders)
    validate(reference, KNOWN, {"Salt", "Flour"})
    return reference


# -- the shipped reference ----------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def shipped() -> Reference:
    return load_reference(SHIPPED)


def test_the_shipped_reference_is_valid(shipped: Reference) -> None:
    validate(shipped, hs_code_labels(SHIPPED))
    assert shipped.left_out == ()
    assert len(shipped.groups) >= 24


def test_the_shipped_materials_are_those_of_the_statistic(shipped: Reference) -> None:
    path = ROOT.parent / "shared" / "data" / "wmd" / "world_mining_data_2018_2024.csv"
    if not path.exists():
        pytest.skip("the folder ../shared/data with the mining statistic is not here")
    with path.open(encoding="utf-8", newline="") as text:
        rows = list(csv.DictReader(text))
    validate(shipped, hs_code_labels(SHIPPED), {row["commodity"] for row in rows})
    produced = {(r["Country_ISO"], r["commodity"]) for r in rows if float(r["production"] or 0) > 0}
    for line in shipped.non_producers:
        node = shipped.nodes[line.node]
        material = node.material or {"cobalt_intermediates": "Cobalt"}.get(line.node, "")
        assert (line.country, material) not in produced, (line.country, line.node)


def test_at_least_twelve_groups_compute_from_the_sample(shipped: Reference) -> None:
    files = sorted(SAMPLE.glob("BACI_HS92_Y2023*.csv.gz")) or sorted(SAMPLE.glob("BACI_HS92_*.csv.gz"))
    if not files:
        pytest.skip("the embedded BACI sample is not here")
    with gzip.open(files[0], "rt", encoding="utf-8", newline="") as text:
        sample = {row["k"].strip() for row in csv.DictReader(text)}
    computable = [
        group
        for group, line in shipped.groups.items()
        if not shipped.is_dashed(line.node, "HS92", sample)
        and all(code in sample for code in shipped.codes(line.node, "HS92"))
    ]
    assert len(computable) >= 21
    chained = [g for g in computable if len(shipped.nodes_of(g)) > 1]
    assert {"rare_earths", "lithium", "cobalt", "tungsten", "vanadium", "aluminium"} <= set(chained)
    assert len(chained) >= 12
    assert shipped.is_dashed("alumina", "HS92", sample)
    assert shipped.is_dashed("tungstates", "HS92", sample)
    assert not shipped.is_dashed("mine_cobalt", "HS92", sample)


def test_every_group_and_node_has_both_names(shipped: Reference) -> None:
    for line in [*shipped.groups.values(), *shipped.nodes.values()]:
        assert line.name_en
        assert line.name_nl
    for group in shipped.groups.values():
        assert group.interest_why_en
        assert group.interest_why_nl


def test_the_hs17_groups_have_hs17_codes_throughout(shipped: Reference) -> None:
    for node in shipped.nodes.values():
        assert node.codes_hs17 or node.is_statistic, node.node
        assert node.shared_code_note or node.codes_hs92 or node.is_statistic, node.node


def test_no_mine_stands_upstream_of_a_mined_form(shipped: Reference) -> None:
    mined = {n for n, node in shipped.nodes.items() if node.stage == "extraction" and not node.is_statistic}
    assert not [e for e in shipped.edges if e.user in mined and e.input.startswith("mine_")]


def test_figures_in_the_shipped_reference_were_read(shipped: Reference) -> None:
    for edge in shipped.edges:
        if edge.intensity is not None:
            assert edge.citation_status == "read"
            assert "http" in edge.citation
            assert edge.note
    for figure in shipped.producer_figures:
        assert figure.citation_status == "read"
        assert "http" in figure.citation


def test_content_statistics_are_never_production(shipped: Reference) -> None:
    same = {link.material for link in shipped.production_links if link.same_form}
    content = {"Copper", "Nickel", "Manganese", "Tungsten (W)", "Cobalt", "Rare Earths (REO)", "Fluorspar"}
    assert not same & content
    link = shipped.production_link("260600", "HS92")
    assert link is not None
    assert link.same_form
    assert link.file.endswith("production_links.csv")
    assert link.line > 1
    assert shipped.production_link("260600", "HS07") is None


def test_blocs(shipped: Reference) -> None:
    assert {"EU", "EU27"} <= set(shipped.bloc_names)
    assert len(shipped.bloc_members("EU27", 1995)) == 27
    sizes = {1995: 15, 2003: 15, 2004: 25, 2006: 25, 2007: 27, 2012: 27, 2013: 28, 2019: 28, 2020: 27, 2024: 27}
    assert {year: len(shipped.bloc_members("EU", year)) for year in sizes} == sizes
    assert "GBR" in shipped.bloc_members("EU", 2019)
    assert "GBR" not in shipped.bloc_members("EU", 2020)
    assert shipped.bloc_members("EU", 2024) == shipped.bloc_members("EU27", 2024)
    with pytest.raises(WrongUse, match=r"the bloc EU28 is not defined; known are ASEAN, .*EU, EU27"):
        shipped.bloc_members("EU28", 2020)


def test_non_producers_and_hubs(shipped: Reference) -> None:
    assert {"NLD", "BEL", "LUX", "HKG", "SGP"} <= set(shipped.non_producer_countries("260400", "HS92"))
    assert set(shipped.non_producer_countries("810510", "HS92")) == {"NAM", "MOZ", "TZA"}
    assert set(shipped.non_producer_countries("810520", "HS17")) == {"NAM", "MOZ", "TZA"}
    assert "NLD" not in shipped.non_producer_countries("271121", "HS92")
    assert "BEL" in shipped.non_producer_countries("271121", "HS92")
    assert {"BEL", "GBR"} <= set(shipped.hub_countries("platinum_unwrought"))


def test_shares_repeated_for_codes_and_revisions_count_once(shipped: Reference) -> None:
    assert shipped.producer_shares("rare_earth_compounds", 2023) == {"CHN": 0.92, "MYS": 0.05}
    assert shipped.producer_shares("rare_earth_compounds", 2022) == {}
    lists = {(f.node, f.year) for f in shipped.producer_figures}
    for node, year in lists:
        shares = shipped.producer_shares(node, year)
        assert 0 < sum(shares.values()) <= 1
        # a partial list whose lower bound does not flag would look like a finding
        assert sum(share**2 for share in shares.values()) > 0.4


def test_code_lists(shipped: Reference) -> None:
    labels = hs_code_labels(SHIPPED)
    assert set(labels) == {"HS92", "HS17"}
    assert len(labels["HS92"]) > 5000
    assert len(labels["HS17"]) > 5300
    assert labels["HS17"]["010121"].startswith("Horses")
    assert all(re.fullmatch(r"\d{6}|9999AA", code) for code in [*labels["HS92"], *labels["HS17"]])


# -- the small reference ------------------------------------------------------------------------------------
def test_the_small_reference(tmp_path: Path) -> None:
    reference = check(write(tmp_path))
    graph = reference.graph("bread")
    assert graph.graph == {"group": "bread", "tier0": "loaf"}
    assert graph.edges["loaf", "flour"]["weight"] == 1.0
    assert graph.edges["loaf", "flour"]["intensity"] == 0.6
    assert graph.edges["flour", "mine_salt"]["weight"] is None
    assert graph.edges["flour", "mine_salt"]["line"] == 3
    assert graph.nodes["mine_salt"] == {
        "stage": "extraction",
        "material": "Salt",
        "is_statistic": True,
        "tier": 2,
    }
    assert reference.nodes_of("bread") == ("loaf", "flour", "mine_salt")
    assert reference.codes("flour", "HS92") == ("110100",)
    assert reference.codes("flour", "HS07") == ()
    assert [f.country for f in reference.producer_list("110100", "HS92", 2020)] == ["NLD"]
    assert reference.producer_list("110100", "HS92", 2021) == ()
    assert set(reference.non_producer_countries("110100", "HS92")) == {"SGP", "HKG", "LUX"}
    assert set(reference.non_producer_countries("190520", "HS92")) == set()
    assert reference.hub_countries("flour") == {"BEL": "port"}
    assert reference.nodes_with_code("110100", "HS17") == ("flour",)


def test_a_recalled_figure_weighs_nothing(tmp_path: Path) -> None:
    line = "bread,loaf,mine_salt,0.02,false,literature,low,A Book (2020),read,"
    reference = check(write(tmp_path, **appended("edges", line)))
    read = reference.graph("bread").edges["loaf", "mine_salt"]
    assert read["weight"] == 0.02
    line = "bread,loaf,mine_salt,0.02,false,assumed,low,A guess of ours,,"
    reference = check(write(tmp_path, **appended("edges", line)))
    assert reference.graph("bread").edges["loaf", "mine_salt"]["weight"] is None


def test_a_later_directory_overrides_file_by_file(tmp_path: Path) -> None:
    base, mine = write(tmp_path / "base"), tmp_path / "mine"
    mine.mkdir()
    (mine / "blocs.csv").write_text("bloc,iso3,from_year,to_year,source\nBENELUX,NLD,,,ours\n", encoding="utf-8")
    reference = check(base, mine)
    assert reference.bloc_names == ("BENELUX",)
    assert reference.files["blocs.csv"] == str(mine / "blocs.csv")
    assert reference.files["nodes.csv"] == str(base / "nodes.csv")


def test_inherited_lines_without_a_group_are_left_out_and_told(tmp_path: Path) -> None:
    base, mine = write(tmp_path / "base"), tmp_path / "mine"
    mine.mkdir()
    head = SMALL["groups.csv"].splitlines()[0]
    (mine / "groups.csv").write_text(
        f"{head}\nmeal,flour,Meal,Meel,food,eaten,gegeten,A Book (2020),read,\n", encoding="utf-8"
    )
    (mine / "edges.csv").write_text(
        SMALL["edges.csv"].splitlines()[0] + "\nmeal,flour,mine_salt,,false,textbook,high,Salting,,\n",
        encoding="utf-8",
    )
    reference = check(base, mine)
    assert set(reference.nodes) == {"flour", "mine_salt"}
    assert any("1 inherited line(s) left out, no group uses the node" in told for told in reference.left_out)
    (mine / "edges.csv").unlink()
    line = "meal,flour,mine_salt,,false,textbook,high,Salting,,\n"
    (base / "edges.csv").write_text(SMALL["edges.csv"] + line, encoding="utf-8")
    reference = check(base, mine)
    assert {e.group for e in reference.edges} == {"meal"}
    assert any("2 inherited line(s) left out, their group is not defined" in t for t in reference.left_out)


def test_amended_edges_are_validated_like_the_others(tmp_path: Path) -> None:
    reference = check(write(tmp_path))
    amended = with_edges(reference, reference.edges[:1])
    with pytest.raises(InputRefused, match=r"nodes\.csv, line 4: the node 'mine_salt' is used by no group"):
        validate(amended, KNOWN)
    assert reference.sha256 != amended.sha256


def test_the_hash_is_of_the_content(tmp_path: Path) -> None:
    first = load_reference(write(tmp_path / "a"))
    lines = SMALL["nodes.csv"].splitlines(keepends=True)
    turned = load_reference(write(tmp_path / "b", nodes="".join([lines[0], *reversed(lines[1:])])))
    assert first.sha256 == turned.sha256
    assert first.file_sha256["nodes.csv"] != turned.file_sha256["nodes.csv"]
    assert first.file_sha256["edges.csv"] == turned.file_sha256["edges.csv"]
    other = load_reference(write(tmp_path / "c", **edited("edges", "0.6", "0.7")))
    assert other.sha256 != first.sha256


def test_excel_byte_order_mark_and_blank_lines_are_accepted(tmp_path: Path) -> None:
    folder = write(tmp_path)
    (folder / "blocs.csv").write_bytes(b"\xef\xbb\xbf" + SMALL["blocs.csv"].replace("\n", "\r\n\r\n").encode())
    reference = check(folder)
    assert reference.bloc_members("EU", 2019) == {"NLD", "GBR"}
    assert [member.line for member in reference.blocs] == [3, 5]


# -- refusals: one sentence with file, line and group ---------------------------------------------------------
REFUSALS = {
    "unknown code": (
        edited("nodes", "110100,110100", "110199,110100"),
        "nodes.csv, line 3, group 'bread'",
        "the node 'flour' holds the code 110199, which HS92 does not know",
    ),
    "leading zero lost": (
        edited("nodes", "110100,110100", "10121,110100"),
        "nodes.csv, line 3",
        "codes_hs92: the HS code '10121' has not six digits; the leading zero is lost",
    ),
    "malformed code": (
        edited("nodes", "110100,110100", "11.01,110100"),
        "nodes.csv, line 3",
        "codes_hs92: the HS code '11.01' has not six digits",
    ),
    "code twice": (
        edited("nodes", "110100,110100", "110100 110100,110100"),
        "nodes.csv, line 3",
        "a code stands twice",
    ),
    "cycle": (
        appended("edges", "bread,mine_salt,loaf,,true,textbook,high,Odd,,"),
        "edges.csv, line 2, group 'bread'",
        "the chain runs in a circle: loaf -> flour -> mine_salt -> loaf",
    ),
    "undefined node": (
        appended("edges", "bread,loaf,yeast,,true,textbook,high,Rising,,"),
        "edges.csv, line 4, group 'bread'",
        "the edge yeast -> loaf speaks of the undefined node 'yeast'",
    ),
    "unused node": (
        appended("nodes", "oven,Oven,Oven,component,100190,,,,,"),
        "nodes.csv, line 5",
        "the node 'oven' is used by no group and no edge",
    ),
    "intensity range": (
        edited("edges", "0.6", "1.6"),
        "edges.csv, line 2, group 'bread'",
        "intensity: 1.6 lies outside 0-1",
    ),
    "intensity word": (
        edited("edges", "0.6", "much"),
        "edges.csv, line 2, group 'bread'",
        "intensity: 'much' is not a number",
    ),
    "intensity nan": (
        edited("edges", "0.6", "nan"),
        "edges.csv, line 2, group 'bread'",
        "intensity: 'nan' is not a number",
    ),
    "missing citation": (
        edited("edges", "Salting", ""),
        "edges.csv, line 3, group 'bread'",
        "the edge mine_salt -> flour has no citation",
    ),
    "missing status": (
        edited("edges", "A Book (2020),read", "A Book (2020),"),
        "edges.csv, line 2, group 'bread'",
        "has no citation status",
    ),
    "unread figure": (
        edited("edges", "A Book (2020),read", "A Book (2020),recalled"),
        "edges.csv, line 2, group 'bread'",
        "has a figure whose source was not read",
    ),
    "textbook figure": (
        edited("edges", "mine_salt,,false", "mine_salt,0.1,false"),
        "edges.csv, line 3, group 'bread'",
        "evidence textbook carries none",
    ),
    "evidence": (
        edited("edges", "textbook", "hearsay"),
        "edges.csv, line 3, group 'bread'",
        "evidence: the evidence 'hearsay' is unknown; known are expert_bom",
    ),
    "confidence": (
        edited("edges", "literature,high", "literature,sure"),
        "edges.csv, line 2, group 'bread'",
        "confidence: the confidence 'sure' is unknown",
    ),
    "status": (
        edited("edges", "(2020),read", "(2020),seen"),
        "edges.csv, line 2, group 'bread'",
        "citation_status: the citation status 'seen' is unknown; known are read, recalled",
    ),
    "essential": (
        edited("edges", "false", "maybe"),
        "edges.csv, line 3, group 'bread'",
        "essential: 'maybe' is neither true nor false",
    ),
    "stage": (
        edited("nodes", "processing", "baking"),
        "nodes.csv, line 3",
        "stage: the stage 'baking' is unknown; known are extraction",
    ),
    "interest": (
        edited("groups", "Brood,food,", "Brood,food;fun,"),
        "groups.csv, line 2, group 'bread'",
        "the public interest 'fun' is unknown; known are food",
    ),
    "group citation": (
        edited("groups", "A Book (2020),read", ","),
        "groups.csv, line 2, group 'bread'",
        "the public interest has no citation",
    ),
    "duplicate node": (
        appended("nodes", "flour,Flour,Meel,processing,110100,,,,,"),
        "nodes.csv, line 5",
        "'flour' stands on line 3 already",
    ),
    "duplicate group": (
        appended("groups", "bread,loaf,B,B,food,x,y,Book,read,"),
        "groups.csv, line 3, group 'bread'",
        "'bread' stands on line 2 already",
    ),
    "duplicate edge": (
        appended("edges", "bread,loaf,flour,,true,textbook,high,Baking,,"),
        "edges.csv, line 4, group 'bread'",
        "'bread loaf flour' stands on line 2 already",
    ),
    "tier 0": (
        edited("groups", "bread,loaf", "bread,cake"),
        "groups.csv, line 2, group 'bread'",
        "the tier-0 node 'cake' is not defined",
    ),
    "unreached": (
        edited("groups", "bread,loaf", "bread,flour"),
        "edges.csv, line 2, group 'bread'",
        "the edge flour -> loaf is not reached from the tier-0 node 'flour'",
    ),
    "undefined group": (
        appended("edges", "cake,loaf,flour,,true,textbook,high,Baking,,"),
        "edges.csv, line 4, group 'cake'",
        "the group 'cake' is not defined",
    ),
    "own input": (
        edited("nodes", "190520,190520", "190520 110100,190520"),
        "edges.csv, line 2, group 'bread'",
        "the code 110100 (HS92) stands in 'loaf' and in its own input 'flour'",
    ),
    "statistic id": (
        {
            "nodes": SMALL["nodes.csv"].replace("mine_salt", "salt"),
            "edges": SMALL["edges.csv"].replace("mine_salt", "salt"),
        },
        "nodes.csv, line 4, group 'bread'",
        "its id must start with mine_",
    ),
    "empty node": (
        edited("nodes", ",Salt,same_form,,", ",,,,"),
        "nodes.csv, line 4, group 'bread'",
        "has neither codes nor a material",
    ),
    "material alone": (
        edited("nodes", "Salt,same_form", "Salt,"),
        "nodes.csv, line 4, group 'bread'",
        "needs both a material and its relation, or neither",
    ),
    "unknown material": (
        edited("nodes", "Salt,same_form", "Gravel,same_form"),
        "nodes.csv, line 4, group 'bread'",
        "the material 'Gravel' is not in the production statistic",
    ),
    "relation": (
        edited("production_links", "same_form,true", "broader,true"),
        "production_links.csv, line 2",
        "relation 'broader' and same_form true contradict each other",
    ),
    "two materials": (
        appended("production_links", "HS92,110100,Salt,broader,false,why,Book,read"),
        "production_links.csv, line 3",
        "'HS92 110100' stands on line 2 already",
    ),
    "link code": (
        edited("production_links", "110100", "110199"),
        "production_links.csv, line 2",
        "the code 110199 is not known to HS92",
    ),
    "link citation": (
        edited("production_links", "A Book (2020),read", ",read"),
        "production_links.csv, line 2",
        "the link of 110100 has no citation",
    ),
    "revision": (
        edited("production_links", "HS92", "HS93"),
        "production_links.csv, line 2",
        "hs_revision: the HS revision 'HS93' is unknown; known are HS92, HS17",
    ),
    "year": (
        edited("producer_lists", "2020,NLD", "20x0,NLD"),
        "producer_lists.csv, line 2",
        "year: '20x0' is not a year",
    ),
    "quantity": (
        edited("producer_lists", "NLD,10,t", "NLD,ten,t"),
        "producer_lists.csv, line 2",
        "quantity: 'ten' is not a number",
    ),
    "negative": (
        edited("producer_lists", "NLD,10,t", "NLD,-10,t"),
        "producer_lists.csv, line 2",
        "quantity: the quantity -10 is negative",
    ),
    "unit": (
        edited("producer_lists", "NLD,10,t", "NLD,10,"),
        "producer_lists.csv, line 2",
        "a quantity needs its unit",
    ),
    "share": (edited("producer_lists", "0.2", "20"), "producer_lists.csv, line 3", "share: 20 lies outside 0-1"),
    "shares": (
        edited("producer_lists", "0.2", "0.95"),
        "producer_lists.csv, line 3",
        "the shares of 110100 in 2020 add up to more than 1",
    ),
    "no figure": (
        edited("producer_lists", "DEU,,,0.2", "DEU,,,"),
        "producer_lists.csv, line 3",
        "there is neither a quantity nor a share",
    ),
    "list code": (
        edited("producer_lists", "flour,HS92,110100,2020,DEU", "flour,HS92,190520,2020,DEU"),
        "producer_lists.csv, line 3",
        "the code 190520 (HS92) is not one of the node 'flour'",
    ),
    "country": (
        edited("producer_lists", "DEU", "Germany"),
        "producer_lists.csv, line 3",
        "country: 'Germany' is not an ISO3 country code",
    ),
    "unknown origin": (
        edited("non_producers", "SGP", "UNK"),
        "non_producers.csv, line 2",
        "country: 'UNK' is not an ISO3 country code",
    ),
    "non-producer of nothing": (
        edited("non_producers", "HKG,,,110100", "HKG,,,"),
        "non_producers.csv, line 3",
        "for HKG neither a node nor a code nor a stage is given",
    ),
    "non-producer node": (
        edited("non_producers", "SGP,flour", "SGP,yeast"),
        "non_producers.csv, line 2",
        "the node 'yeast' is not defined",
    ),
    "non-producer code": (
        edited("non_producers", "110100", "110199"),
        "non_producers.csv, line 3",
        "the code 110199 is not known",
    ),
    "hub node": (
        edited("refining_hubs", "BEL,flour", "BEL,yeast"),
        "refining_hubs.csv, line 2",
        "the node 'yeast' is not defined",
    ),
    "bloc years": (edited("blocs", "1973,2019", "2019,1973"), "blocs.csv, line 3", "GBR leaves EU before it joins"),
    "weight": (edited("public_interests", "0.5", "5"), "public_interests.csv, line 2", "weight: 5 lies outside 0-1"),
    "no weight": (edited("public_interests", "0.5", ""), "public_interests.csv, line 2", "weight: it is empty"),
    "field count": (
        edited("blocs", "NLD,1958,,treaty", "NLD,1958,treaty"),
        "blocs.csv, line 2",
        "4 fields where the header has 5",
    ),
    "name": (edited("groups", "Bread,Brood", "Bread,"), "groups.csv, line 2, group 'bread'", "name_nl is empty"),
    "id": (edited("groups", "bread,loaf", "Bread roll,loaf"), "groups.csv, line 2", "group: 'Bread roll' is not an id"),
    "column": (
        {"blocs": "bloc,iso3,from_year,source\nEU,NLD,1958,treaty\n"},
        "blocs.csv, line 1",
        "the column 'to_year' is missing",
    ),
    "semicolons": (
        {"blocs": SMALL["blocs.csv"].replace(",", ";")},
        "blocs.csv, line 1",
        "the columns must be separated by commas, not semicolons",
    ),
    "quotes": ({"blocs": SMALL["blocs.csv"] + 'EU,"FRA,1958,,treaty\n'}, "blocs.csv, line 4", "the CSV cannot be read"),
    "empty": ({"blocs": ""}, "blocs.csv", "the file is empty"),
    "header only": (
        {"groups": SMALL["groups.csv"].splitlines()[0] + "\n"},
        "groups.csv",
        "the file holds no line below its header",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals_name_file_line_and_group(tmp_path: Path, case: str) -> None:
    changes, place, what = REFUSALS[case]
    with pytest.raises(InputRefused) as refused:
        check(write(tmp_path, **changes))
    sentence = str(refused.value)
    assert f"{tmp_path / place.split(',')[0]}{place.removeprefix(place.split(',')[0])}" in sentence
    assert what in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence


def test_a_file_that_is_not_utf8(tmp_path: Path) -> None:
    folder = write(tmp_path)
    (folder / "groups.csv").write_bytes(SMALL["groups.csv"].replace("Brood", "Bröd").encode("latin-1"))
    with pytest.raises(InputRefused, match=r"groups\.csv, line 2: the file is not UTF-8; save it as UTF-8\."):
        check(folder)


def test_a_missing_file(tmp_path: Path) -> None:
    folder = write(tmp_path)
    (folder / "edges.csv").unlink()
    with pytest.raises(InputRefused, match=r"the reference file edges\.csv is missing"):
        check(folder)


def test_all_problems_are_collected_and_counted(tmp_path: Path) -> None:
    text = SMALL["edges.csv"].replace("0.6", "2").replace("textbook", "hearsay").replace("false", "no")
    with pytest.raises(InputRefused, match=r"\(and 2 more problems in the reference data\)") as refused:
        check(write(tmp_path, edges=text))
    assert [str(p).split(": ", 1)[1] for p in refused.value.problems] == [  # type: ignore[attr-defined]
        "intensity: 2 lies outside 0-1",
        "essential: 'no' is neither true nor false",
        f"evidence: the evidence 'hearsay' is unknown; known are {', '.join(catalogue.EVIDENCE)}",
    ]
    assert refused.value.exit_code == 3


def test_code_lists_are_padded_and_refused(tmp_path: Path) -> None:
    (tmp_path / "hs_codes").mkdir()
    path = tmp_path / "hs_codes" / "product_codes_HS17_V1.csv"
    path.write_text("code,description\n10121,Horses\n", encoding="utf-8")
    assert hs_code_labels(tmp_path) == {"HS17": {"010121": "Horses"}}
    path.write_text("code,description\nhorse,Horses\n", encoding="utf-8")
    with pytest.raises(InputRefused, match=r"product_codes_HS17_V1\.csv, line 2: this is not a code"):
        hs_code_labels(tmp_path)
    path.write_text("code,description\n", encoding="utf-8")
    with pytest.raises(InputRefused, match="holds no line below its header"):
        hs_code_labels(tmp_path)


# -- property: whatever the edges, what validates is a directed acyclic graph reached from tier 0 -------------
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pairs=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12, unique=True))
def test_what_validates_is_acyclic_and_connected(tmp_path: Path, pairs: list[tuple[int, int]]) -> None:
    used = sorted({0} | {n for pair in pairs for n in pair})
    nodes = SMALL["nodes.csv"].splitlines()[0] + "\n"
    nodes += "".join(f"n{i},N,N,processing,10000{i},10000{i},,,,\n" for i in used)
    edges = SMALL["edges.csv"].splitlines()[0] + "\n"
    edges += "".join(f"bread,n{u},n{i},,true,textbook,high,Step,,\n" for u, i in pairs)
    head = {name: text.splitlines()[0] + "\n" for name, text in SMALL.items()}
    write(
        tmp_path,
        nodes=nodes,
        edges=edges,
        groups=SMALL["groups.csv"].replace("bread,loaf", "bread,n0"),
        **{n.removesuffix(".csv"): head[n] for n in ("producer_lists.csv", "non_producers.csv", "refining_hubs.csv")},
    )
    reference = load_reference(tmp_path)
    graph = nx.DiGraph(pairs)
    graph.add_node(0)
    sound = nx.is_directed_acyclic_graph(graph) and nx.descendants(graph, 0) | {0} == set(graph)
    if sound:
        validate(reference)
        assert nx.is_directed_acyclic_graph(reference.graph("bread"))
    else:
        with pytest.raises(InputRefused, match=r"runs in a circle|is not reached from"):
            validate(reference)
