"""Reference files of criticality: the shipped figures, the choice of a year, every refusal."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path
from typing import Any

import pytest

from ketenpipe.chain.catalogue import load_reference
from ketenpipe.errors import InputRefused
from ketenpipe.sources.criticality_inputs import (
    END_USES_FILE,
    PARAMETERS_FILE,
    CriticalityInputs,
    load_criticality_inputs,
)
from ketenpipe.sources.places import embedded
from ketenpipe_tests.shared_data import shared_data

SHIPPED = embedded("reference")
PARAMETER_HEAD = "material,node,parameter,value,year,geography,citation,citation_status,note"
USE_HEAD = "material,node,industry,share,year,geography,citation,citation_status,note"
GOOD = {
    "material": "Metal", "node": "", "parameter": "eol_rir", "value": "0.25", "year": "2020", "geography": "EU27",
    "citation": "a book", "citation_status": "read", "note": "",
}  # fmt: skip
USE = {n: v for n, v in GOOD.items() if n not in ("parameter", "value")} | {"industry": "C25", "share": "0.5"}


def put(folder: Path, *rows: dict[str, str], name: str = PARAMETERS_FILE, head: str | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    head = head or (PARAMETER_HEAD if name == PARAMETERS_FILE else USE_HEAD)
    lines = [head, *(",".join(row[column] for column in head.split(",") if column in row) for row in rows)]
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def loaded(folder: Path, *rows: dict[str, str], **more: Any) -> CriticalityInputs:
    return load_criticality_inputs(put(folder, *rows), **more)


def refusal(folder: Path, **more: Any) -> str:
    with pytest.raises(InputRefused) as refused:
        load_criticality_inputs(folder, **more)
    return str(refused.value)


# -- what is shipped ---------------------------------------------------------------------------------------------


def test_the_shipped_figures_are_cited_and_known_to_the_catalogue() -> None:
    reference = load_reference(SHIPPED)
    materials = {n.material for n in reference.nodes.values()} | {p.material for p in reference.production_links}
    held = load_criticality_inputs(SHIPPED, nodes=reference.nodes)
    assert len(held.parameters) == 154
    assert {p.citation_status for p in held.parameters} == {"read"}
    assert all("doi:10.2873/725585" in p.citation and "CritMAT" in p.citation for p in held.parameters)
    assert {p.year for p in held.parameters} == {2023}
    # Materials that no node or code needs may stand in the file, as long as they are the statistic's.
    assert len({p.material for p in held.parameters} - materials) <= 3
    assert held.end_uses == ()
    assert set(held.files) == {PARAMETERS_FILE}
    raw = (SHIPPED / PARAMETERS_FILE).read_bytes()
    assert held.file_sha256[PARAMETERS_FILE] == hashlib.sha256(raw).hexdigest()


def test_some_shipped_figures() -> None:
    held = load_criticality_inputs(SHIPPED)
    tungsten = {n: held.parameter(n, 2024, material="Tungsten (W)") for n in ("eol_rir", "si_sr", "si_ei")}
    assert {n: p.value for n, p in tungsten.items() if p is not None} == {"eol_rir": 0.42, "si_sr": 0.96, "si_ei": 0.95}
    magnesium = held.parameter("eol_rir", 2024, nodes=("magnesium",))
    assert magnesium is not None
    assert magnesium.value == 0.13
    assert held.parameter("si_sr", 2024, material="Rare Earths (REO)") is None
    assert held.parameter("eol_rir", 2024, material="Natural Gas") is None


def test_the_recycling_rates_are_those_of_another_source_too() -> None:
    with shared_data("wmd/hs_code_map.csv").open(newline="", encoding="utf-8") as stream:
        theirs = {row["Sheet_name"]: float(row["EoL-RIR (2023)"]) for row in csv.DictReader(stream)}
    ours = [p for p in load_criticality_inputs(SHIPPED).parameters if p.parameter == "eol_rir" and p.material]
    assert len(ours) == 49
    for parameter in ours:
        assert parameter.value == pytest.approx(theirs[parameter.material]), parameter.material


# -- reading -----------------------------------------------------------------------------------------------------


def test_a_line_as_it_is_read(tmp_path: Path) -> None:
    held = loaded(tmp_path / "a", GOOD | {"note": "row Metal", "value": " 0.25 "})
    (row,) = held.parameters
    assert (row.material, row.node, row.parameter, row.value, row.year) == ("Metal", "", "eol_rir", 0.25, 2020)
    assert (row.geography, row.citation, row.citation_status, row.note) == ("EU27", "a book", "read", "row Metal")
    assert (row.file, row.line) == (str(tmp_path / "a" / PARAMETERS_FILE), 2)


def test_both_files_may_be_absent(tmp_path: Path) -> None:
    held = load_criticality_inputs(tmp_path)
    assert (held.parameters, held.end_uses, held.files) == ((), (), {})
    assert held.parameter("eol_rir", 2020, material="Metal") is None
    assert held.uses(2020, material="Metal") == ()


def test_a_later_folder_replaces_file_by_file(tmp_path: Path) -> None:
    first = put(tmp_path / "a", GOOD)
    put(first, USE, name=END_USES_FILE)
    second = put(tmp_path / "b", GOOD | {"value": "0.5"})
    held = load_criticality_inputs(first, second)
    assert [p.value for p in held.parameters] == [0.5]
    assert [u.share for u in held.end_uses] == [0.5]


def test_the_assessment_of_a_year(tmp_path: Path) -> None:
    rows = [GOOD | {"year": y, "value": v} for y, v in (("2017", "0.1"), ("2020", "0.2"), ("2023", "0.3"))]
    held = loaded(tmp_path / "a", *rows)

    def value(year: int) -> float:
        found = held.parameter("eol_rir", year, material="Metal")
        assert found is not None
        return found.value

    assert [value(y) for y in (2010, 2017, 2019, 2020, 2022, 2023, 2030)] == [0.1, 0.1, 0.1, 0.2, 0.2, 0.3, 0.3]
    assert held.parameter("si_sr", 2020, material="Metal") is None
    assert held.parameter("eol_rir", 2020, material="Other") is None
    assert held.parameter("eol_rir", 2020) is None


def test_a_node_comes_before_a_material(tmp_path: Path) -> None:
    held = loaded(tmp_path / "a", GOOD, GOOD | {"material": "", "node": "sponge", "value": "0.9"})
    found = held.parameter("eol_rir", 2020, nodes=("sponge", "x"), material="Metal")
    assert found is not None
    assert found.value == 0.9
    other = held.parameter("eol_rir", 2020, nodes=("x",), material="Metal")
    assert other is not None
    assert other.value == 0.25


def test_the_end_uses_of_a_year(tmp_path: Path) -> None:
    rows = [USE, USE | {"industry": "C20"}, USE | {"year": "2017", "share": "1"}]
    rows += [USE | {"material": "", "node": "sponge", "industry": "C30"}]
    held = load_criticality_inputs(put(tmp_path / "a", *rows, name=END_USES_FILE))
    assert [(u.industry, u.share) for u in held.uses(2021, material="Metal")] == [("C25", 0.5), ("C20", 0.5)]
    assert [u.share for u in held.uses(2018, material="Metal")] == [1.0]
    assert [u.industry for u in held.uses(2021, nodes=("sponge",), material="Metal")] == ["C30"]


# -- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"material": "", "node": ""}, "it needs either a material or a node."),
        ({"node": "sponge"}, "it needs either a material or a node."),
        ({"parameter": "rir"}, "the parameter 'rir' is unknown; known are eol_rir, si_sr, si_ei."),
        ({"value": "25 %"}, "'25 %' is no share from 0 to 1."),
        ({"value": ""}, "'' is no share from 0 to 1."),
        ({"value": "1.01"}, "'1.01' is no share from 0 to 1."),
        ({"value": "-0.1"}, "'-0.1' is no share from 0 to 1."),
        ({"year": "20"}, "'20' is no year."),
        ({"year": "last"}, "'last' is no year."),
        ({"citation": ""}, "there is no citation."),
        ({"citation_status": "seen"}, "the citation status 'seen' is neither read nor recalled."),
        ({"material": "Mettal"}, "the material 'Mettal' is unknown."),
        ({"material": "", "node": "spongue"}, "the node 'spongue' is unknown."),
    ],
)
def test_a_line_is_refused(tmp_path: Path, change: dict[str, str], sentence: str) -> None:
    folder = put(tmp_path / "a", GOOD | {"year": "2010"}, GOOD | change)
    told = refusal(folder, materials={"Metal"}, nodes={"sponge"})
    assert told == f"{folder / PARAMETERS_FILE}, line 3: {sentence}"


def test_the_bounds_of_a_share_are_in_it(tmp_path: Path) -> None:
    held = loaded(tmp_path / "a", GOOD | {"value": "0"}, GOOD | {"value": "1", "parameter": "si_sr"})
    assert [p.value for p in held.parameters] == [0.0, 1.0]


def test_a_repeated_line_is_refused(tmp_path: Path) -> None:
    folder = put(tmp_path / "a", GOOD, GOOD | {"parameter": "si_sr"}, GOOD | {"value": "0.3"})
    assert refusal(folder).endswith("line 4: 'Metal eol_rir 2020' stands on line 2 already.")
    uses = put(tmp_path / "b", USE, USE | {"share": "0.1"}, name=END_USES_FILE)
    assert refusal(uses).endswith("line 3: 'Metal C25 2020' stands on line 2 already.")


def test_other_columns_are_refused(tmp_path: Path) -> None:
    folder = put(tmp_path / "a", head="material,value")
    assert f"line 1: the columns are not {PARAMETER_HEAD.replace(',', ', ')}; compare it with" in refusal(folder)


def test_end_uses_beyond_one_and_without_an_industry_are_refused(tmp_path: Path) -> None:
    rows = [USE, USE | {"industry": "C20"}, USE | {"industry": "C30", "share": "0.1"}]
    folder = put(tmp_path / "a", *rows, name=END_USES_FILE)
    assert refusal(folder).endswith("line 4: the end uses of Metal in 2020 add up to 1.1, more than 1.")
    whole = put(tmp_path / "b", *rows[:2], name=END_USES_FILE)
    assert len(load_criticality_inputs(whole).end_uses) == 2
    empty = put(tmp_path / "c", USE | {"industry": ""}, name=END_USES_FILE)
    assert refusal(empty).endswith("line 2: the industry is empty.")
    beyond = put(tmp_path / "d", USE | {"share": "2"}, name=END_USES_FILE)
    assert refusal(beyond).endswith("line 2: '2' is no share from 0 to 1.")
