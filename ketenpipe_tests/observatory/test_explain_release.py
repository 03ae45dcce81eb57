"""Questions to a release: names and the nearest ones, which row is meant, bytes, the command, the pages."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from typer.testing import CliRunner, Result

from ketenpipe.cli import app
from ketenpipe.errors import KetenpipeError, ReleaseDamaged, WrongUse
from ketenpipe.observatory import reader
from ketenpipe.observatory.explain import build_explanations, read_explained
from ketenpipe.observatory.explain_console import bytes_words, document
from ketenpipe.observatory.explain_release import Answer, Question, SourceFile, answer, checked, named, thresholds_of
from ketenpipe.observatory.pages import page_of
from ketenpipe.review.render import Page, render_html, render_markdown
from ketenpipe.review.state import State
from ketenpipe.settings import Settings
from ketenpipe.tables.registry import (
    BACI_FLOWS,
    CHAIN_NODES,
    COUNTRY_RISK,
    EXPLANATIONS,
    EXPOSURE,
    FLAGS,
    INDICATORS,
    LABELS,
    MINING_PRODUCTION,
    ORIGIN_MIX,
    PATHS,
    PRODUCTION,
    REGISTER,
    SOURCES,
    SUPPLY_MIX,
    TABLES,
    TRACING,
    UNCERTAINTY,
)
from ketenpipe.tables.store import Store
from ketenpipe_tests.observatory.explain_worlds import CONTENT, FILE, METAL, YEARS, home_of, label_rows, tables, world
from ketenpipe_tests.worlds import thresholds


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"KETENPIPE_{name.upper()}", raising=False)
    monkeypatch.setenv("COLUMNS", "120")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = home_of(tmp_path_factory.mktemp("home"), world())
    (folder / "raw" / "baci").mkdir(parents=True)
    (folder / "raw" / FILE).write_bytes(CONTENT)
    return folder


def ask(home: Path, focus: str, code: str, indicator: str, folders: tuple[Path, ...] = (), **where: Any) -> Answer:
    question = Question(focus, code, indicator, **where)
    return answer(reader.latest(home), Store(home), world().reference, question, folders)


def call(home: Path, *arguments: object) -> Result:
    return CliRunner().invoke(app, ["explain", *(str(a) for a in arguments), "--home", str(home)])


def refused(home: Path, *arguments: object) -> str:
    shown = call(home, *arguments)
    assert shown.exit_code == 2, shown.output
    assert "Traceback" not in shown.output + shown.stderr
    assert shown.stderr.count("\n") == 1
    return shown.stderr


# -- names ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("C1", ("indicator", "C1")), ("c1", ("indicator", "C1")), ("hhi_import", ("indicator", "C1")),
        ("Concentration of imports", ("indicator", "C1")), ("concentratie van de invoer", ("indicator", "C1")),
        ("geodep", ("method", "geodep")), ("GeoDep (CEPII)", ("method", "geodep")),
        # A method of that name goes before the indicator whose plain name it is.
        ("indirect_specific", ("method", "indirect_specific")), ("X1", ("indicator", "X1")),
        ("T", ("indicator", "T")), ("node_test", ("method", "node_test")), (" own_share ", ("indicator", "own_share")),
    ],
)  # fmt: skip
def test_names_of_figures_and_methods(name: str, found: tuple[str, str]) -> None:
    assert named(name) == found


def test_wrong_names_say_the_nearest(home: Path) -> None:
    assert re.search(r"no indicator, method or component 'hhi_imprt'; the nearest (is|are) C1 \(hhi_import\)", refused(
        home, "NLD", "g", "hhi_imprt"))  # fmt: skip
    assert re.search(
        r"no indicator, method or component 'zzzzqq'; known are .* and \d+ more", refused(home, "NLD", "g", "zzzzqq")
    )
    assert "has no focus 'DEU'; it has NLD, EU27" in refused(home, "DEU", "g", "C1")
    told = refused(home, "NLD", "10000", "C1")
    assert re.search(rf"knows no code '10000' for NLD; the nearest are .*{METAL} \(Metal, unwrought\)", told)
    assert "knows no code 'Metaalwaar' for NLD; the nearest are g (Metal goods)" in refused(
        home, "NLD", "Metaalwaar", "C1")  # fmt: skip
    assert re.search(r"the release has no hidden_exposure of 100001 for NLD; it has C1, C2, C3", refused(
        home, "NLD", METAL, "hidden_exposure"))  # fmt: skip
    assert "C1 of g for NLD has no year 1999; there is 2018, 2019, 2020" in refused(
        home, "NLD", "g", "C1", "--year", 1999)  # fmt: skip
    assert "C1 of g for NLD has no tier 7; there is 0" in refused(home, "NLD", "g", "C1", "--tier", 7)
    assert "C1 of g for NLD has no group x; there is g" in refused(home, "NLD", "g", "C1", "--group", "x")
    assert "has no measure p; there is q, v" in refused(home, "NLD", "g", "C1", "--measure", "p")
    assert "has no basis traced; there is imports" in refused(home, "NLD", "g", "C1", "--basis", "traced")
    assert "geodep of g for NLD has no measure v; there is none" in refused(
        home, "NLD", "g", "geodep", "--measure", "v")  # fmt: skip
    assert "the code is empty; name a focus, a code and an indicator, such as NLD 810110 C1" in refused(
        home, "NLD", " ", "C1")  # fmt: skip
    assert "there is no component of substitutability 'substitutability.origin'; the nearest" in refused(
        home, "NLD", "g", "substitutability.origin")  # fmt: skip
    assert "has no table 'substitutability'; it has" in refused(home, "NLD", "g", "composite")
    assert "--sources names /no/such/folder, and there is no such folder" in refused(
        home, "NLD", "g", "C1", "--sources", "/no/such/folder")  # fmt: skip
    assert "--language is en or nl, not 'fr'" in refused(home, "NLD", "g", "C1", "--language", "fr")


def test_codes_and_foci_by_name(home: Path) -> None:
    assert ask(home, "netherlands", "metal goods", "C1").row["code"] == "g"
    assert ask(home, "nederland", "Metaalwaren", "C1").row["code"] == "g"
    assert ask(home, "nld", "Metaal", "C1").row["level"] == "node"
    assert ask(home, "nld", "Metal, unwrought", "C1").row["code"] == METAL
    with pytest.raises(WrongUse, match="no focus 'China'"):
        ask(home, "China", "g", "C1")


# -- which row -----------------------------------------------------------------------------------------------


def test_the_usual_row_is_meant_and_the_others_are_told(home: Path) -> None:
    found = ask(home, "NLD", "g", "C1")
    assert {k: found.row[k] for k in ("level", "measure", "basis", "year", "value")} == {
        "level": "group", "measure": "v", "basis": "imports", "year": YEARS[-1], "value": pytest.approx(0.540816327),
    }  # fmt: skip
    assert found.others == ("--measure q",)
    governance = ask(home, "NLD", "g", "G2")
    assert (governance.row["basis"], governance.row["measure"]) == ("traced", "q")
    assert set(governance.others) == {
        "--measure v --basis imports", "--basis imports", "--measure p --basis observed",
    }  # fmt: skip
    assert ask(home, "NLD", "g", "G2", basis="imports").row["measure"] == "v"
    assert ask(home, "NLD", "g", "G2", measure="p").row["basis"] == "observed"
    assert ask(home, "NLD", "g", "C1", year=2018).row["year"] == 2018
    assert ask(home, "NLD", "ore", "O1", tier=1).row["group"] == "g"


def test_a_node_of_several_groups_takes_the_first(home: Path) -> None:
    found = ask(home, "NLD", "mine", "C3")
    assert (found.row["group"], found.row["tier"]) == ("k", 1)
    assert "--group g --tier 2" in found.others
    assert ask(home, "NLD", "mine", "C3", group="g").row["tier"] == 2
    assert ask(home, "NLD", "mine", "C3", tier=2).row["group"] == "g"


# -- the answer ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "indicator"),
    [(METAL, "C1"), (METAL, "C2"), (METAL, "S2"), (METAL, "T"), ("g", "geodep"), ("g", "X1"), ("g", "X2"),
     ("ore", "O1"), ("mine", "C3"), ("salts", "C4b"), ("g", "crma65"), ("g", "indirect_global"), ("geodep", "P2"),
     (METAL, "P1"), ("g", "tno")],
)  # fmt: skip
@pytest.mark.parametrize("focus", ["NLD", "EU27"])
def test_what_the_release_states_comes_out_of_its_tables(home: Path, focus: str, code: str, indicator: str) -> None:
    found = ask(home, focus, code, indicator)
    assert found.reproduces is True
    assert found.release == "2026-03-01.1"
    assert found.manifest_sha256 == reader.latest(home).manifest_sha256
    assert not found.published


def test_without_the_tables_of_the_home(tmp_path: Path) -> None:
    bare = home_of(tmp_path, world(), with_home_tables=False)
    assert ask(bare, "NLD", "g", "C1").reproduces is True
    assert ask(bare, "NLD", "g", "C2").reproduces is None
    assert ask(bare, "NLD", "g", "O1").reproduces is True


def test_flows_that_are_not_those_of_the_release_are_told(home: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(home, other)
    store = Store(other)
    newer = store.read(BACI_FLOWS, ["2020"]).to_pylist()
    changed = [r | {"value_kusd": r["value_kusd"] * (2 if r["importer"] == "USA" else 1)} for r in newer]
    store.write(BACI_FLOWS, BACI_FLOWS.conform(changed), "2020")
    assert ask(other, "NLD", "g", "C2").reproduces is False
    shown = call(other, "NLD", "g", "C2")
    assert shown.exit_code == 1
    assert "does NOT reproduce" in shown.stdout
    assert "the figure does not come out of the rows that it names" in shown.stderr


def test_a_figure_that_was_tampered_with_is_told(tmp_path: Path) -> None:
    changed = [
        r | {"value": 0.2} if (r["indicator"], r["level"]) == ("C1", "group") else r
        for r in world().indicators.to_pylist()
    ]
    found = ask(home_of(tmp_path, world(), indicators=INDICATORS.conform(changed)), "NLD", "g", "C1")
    assert found.reproduces is False


def test_thresholds_are_those_of_the_release(tmp_path: Path, home: Path) -> None:
    limits = thresholds().model_dump(mode="json")
    limits["C1"]["flag"] = 0.6
    other = home_of(tmp_path / "a", world(), parameters={"thresholds": limits})
    assert thresholds_of(reader.latest(other)).C1.flag == 0.6
    turn = [line for line in ask(other, "NLD", "g", "C1").lines if line["part"] == "turn"]
    assert "C1 would be 0.6" in turn[0]["text_en"]
    # GeoDep's own limit is frozen.
    assert "C1 0.5408 > 0.4: yes" in str(ask(other, "NLD", "g", "geodep").lines)
    few = {k: v for k, v in limits.items() if k != "S2"}
    older = home_of(tmp_path / "b", world(), parameters={"thresholds": few})
    assert thresholds_of(reader.latest(older)).S2 == thresholds().S2
    strange = home_of(tmp_path / "c", world(), parameters={"thresholds": {**limits, "C99": {"flag": 1}}})
    with pytest.raises(KetenpipeError, match=r"another version of ketenpipe.*run 'ketenpipe run'"):
        thresholds_of(reader.latest(strange))


def test_a_table_that_is_gone_is_told(home: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(home, other)
    (reader.latest(other).path / "supply_mix.parquet").unlink()
    with pytest.raises(ReleaseDamaged, match=r"supply_mix\.parquet: the table cannot be read"):
        ask(other, "NLD", "g", "C1")


def test_published_lines_are_shown_and_checked_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TABLES, EXPLANATIONS.name, EXPLANATIONS)
    made = build_explanations(tables(world()), world().reference, thresholds())
    marked = [r | {"text_en": "as published"} if r["what"] == "numbers" else r for r in made.to_pylist()]
    other = home_of(tmp_path, world(), explanations=EXPLANATIONS.conform(marked))
    found = ask(other, "NLD", "g", "C1")
    assert found.published
    assert found.reproduces is True
    assert [line["text_en"] for line in found.lines if line["what"] == "numbers"] == ["as published"]
    # What the table does not cover is walked now.
    assert not ask(other, "NLD", "g", "C1", measure="q").published
    assert not ask(other, "NLD", "g", "C1", year=2018).published
    assert ask(other, "NLD", "g", "geodep").published


def test_another_catalogue_is_told(tmp_path: Path, home: Path) -> None:
    assert not [line for line in ask(home, "NLD", "g", "C1").lines if line["what"] == "catalogue"]
    other = home_of(tmp_path, world(), parameters={"catalogue": "0" * 64})
    told = [line for line in ask(other, "NLD", "g", "C1").lines if line["what"] == "catalogue"]
    assert "is not the one of the release: name that with --catalogue" in told[0]["text_en"]
    same = home_of(tmp_path / "same", world(), parameters={"catalogue": world().reference.sha256})
    assert not [line for line in ask(same, "NLD", "g", "C1").lines if line["what"] == "catalogue"]


def test_what_the_table_reads_of_a_home(tmp_path: Path) -> None:
    store = Store(tmp_path)
    given = tables(world())
    for contract in (INDICATORS, FLAGS, SUPPLY_MIX, BACI_FLOWS, TRACING, PRODUCTION, ORIGIN_MIX, EXPOSURE, CHAIN_NODES,
                     PATHS, COUNTRY_RISK, MINING_PRODUCTION, SOURCES, LABELS):  # fmt: skip
        data = given[contract.name]
        for year in YEARS if contract.partitioned else (None,):
            part = data if year is None else data.filter(pc.equal(data.column("year"), year))
            store.write(contract, part, None if year is None else str(year))
    read = read_explained(store, {METAL, "100002", "100003"})
    assert set(read["indicators"].column("level").unique().to_pylist()) == {"group", "node"}
    assert "uncertainty" not in read
    found = build_explanations(read, world().reference, thresholds())
    assert found.equals(build_explanations(given, world().reference, thresholds()))
    few = read_explained(store, {METAL})
    assert few["baci_flows"].column("code").unique().to_pylist() == [METAL]


# -- bytes ---------------------------------------------------------------------------------------------------


def test_source_files_are_hashed_again(tmp_path: Path) -> None:
    rows = [
        {"source": "baci", "file": "baci/a.csv", "sha256": "aa"}, {"source": "mining", "file": "m/z.zip!x.csv",
         "sha256": "bb"}, {"source": "wgi", "file": "wgi/w.csv", "sha256": "cc"},
    ]  # fmt: skip
    for folder, name in (("one", "baci/a.csv"), ("two", "baci/a.csv"), ("two", "m/z.zip")):
        path = tmp_path / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(folder)
    hashes = {tmp_path / "one/baci/a.csv": "other", tmp_path / "two/baci/a.csv": "aa", tmp_path / "two/m/z.zip": "b?"}
    names = ["baci:baci/a.csv", "mining:m/z.zip!x.csv", "wgi:wgi/w.csv"]
    found = checked(rows, names, [tmp_path / "one", tmp_path / "two"], hashes.__getitem__)
    # The one with the right bytes counts, wherever; of an entry the archive is hashed; what is nowhere is not judged.
    assert [(f.holds, f.path) for f in found] == [
        (True, str(tmp_path / "two/baci/a.csv")), (False, str(tmp_path / "two/m/z.zip")), (None, None),
    ]  # fmt: skip
    assert bytes_words(found[0]) == f"still the same bytes: {tmp_path / 'two/baci/a.csv'}"
    assert bytes_words(found[1]).startswith("NO LONGER the same bytes: ")
    assert bytes_words(found[2]) == "not found here, so not checked"
    assert bytes_words(found[0], nl=True).startswith("nog dezelfde bytes: ")
    assert bytes_words(found[1], nl=True).startswith("NIET MEER dezelfde bytes: ")
    assert bytes_words(found[2], nl=True) == "hier niet gevonden, dus niet gecontroleerd"


def test_the_command_hashes_the_archive_and_the_drop_folder(home: Path, tmp_path: Path) -> None:
    found = json.loads(call(home, "NLD", METAL, "C1", "--json").stdout)
    assert [(s["file"], s["same_bytes"]) for s in found["sources"]] == [(FILE, True)]
    assert found["sources"][0]["licence"] == "Etalab 2.0"
    drop = tmp_path / "drop"
    (drop / "baci").mkdir(parents=True)
    (drop / FILE).write_bytes(CONTENT + b"2020,1,2,3,4,5\n")
    other = tmp_path / "other"
    shutil.copytree(home, other)
    shutil.rmtree(other / "raw")
    shown = call(other, "NLD", METAL, "C1", "--sources", drop)
    assert shown.exit_code == 0
    assert re.search(r"NO\s+LONGER\s+the\s+same\s+bytes:", shown.stdout)
    assert json.loads(call(other, "NLD", METAL, "C1", "--json").stdout)["sources"][0]["same_bytes"] is None


# -- the command ---------------------------------------------------------------------------------------------


def test_what_it_prints(home: Path) -> None:
    shown = call(home, "NLD", "g", "C1")
    assert shown.exit_code == 0, shown.output
    heads = ["The figure", "Formula", "Where it comes from", "What is missing", "Source files", "What would have to"]
    assert [h for h in heads if h in shown.stdout] == heads
    assert [shown.stdout.index(h) for h in heads] == sorted(shown.stdout.index(h) for h in heads)
    assert "C1 = 0.6429² + 0.3571² = 0.5408" in shown.stdout
    assert "computed again from the rows below: 0.5408, the same" in shown.stdout
    assert "The release also has: --measure q." in shown.stdout
    assert max(len(line) for line in shown.stdout.splitlines()) <= 120
    dutch = call(home, "NLD", "g", "C1", "--language", "nl").stdout
    assert "Wat er zou moeten veranderen" in dutch
    assert "C1 = 0,6429² + 0,3571² = 0,5408" in dutch


def test_the_same_for_machines(home: Path) -> None:
    found = json.loads(call(home, "NLD", "g", "geodep", "--json").stdout)
    assert (found["release"], found["reproduces"], found["row"]["flagged"]) == ("2026-03-01.1", True, True)
    assert list(found["parts"]) == ["figure", "formula", "input", "flow", "patch", "missing", "source", "turn"]
    assert found["parts"]["turn"][0]["value"] == 2.0
    assert len(found["manifest_sha256"]) == 64


def test_a_home_without_a_release(tmp_path: Path) -> None:
    shown = call(tmp_path, "NLD", "g", "C1")
    assert shown.exit_code == 1
    assert "there is no release yet" in shown.stderr


def test_a_document_of_nothing_computed(home: Path) -> None:
    held = ask(home, "NLD", "g", "C1")
    bare = Answer("r", "m", held.row, (), (SourceFile("f", {"source": "s"}, None, None),), (), False)
    assert bare.reproduces is None
    with pytest.raises(KeyError):
        document(bare)


# -- the page ------------------------------------------------------------------------------------------------

EVIDENCE = json.dumps(
    {"group": "g", "nodes": [], "edges": [],
     "foci": {f: {"year": 2020, "exposure": [], "indicators": [], "flags": [], "crma_monitor": [], "tracing": []}
              for f in ("NLD", "EU27")}}
)  # fmt: skip
STATE = State("g", "awaiting_sign_off", "hash")


def page(explanations: pa.Table | None, uncertainty: pa.Table | None = None) -> Page:
    return page_of("g", home=Path("nowhere"), state=STATE, register=REGISTER.empty(), labels=label_rows(),
                   reference=world().reference, explanations=explanations, uncertainty=uncertainty)  # fmt: skip


def test_the_page_has_a_folded_block_per_focus_in_both_languages() -> None:
    made = build_explanations(tables(world()), world().reference, thresholds())
    html = render_html(EVIDENCE, STATE, page(made))
    assert html.count('<details class="explained">') == 2
    assert html.count("<summary>How these figures come about</summary>") == 2
    assert html.count("<summary>Hoe deze cijfers tot stand komen</summary>") == 2
    assert "C1 = 0.6429² + 0.3571² = 0.5408" in html
    assert "C1 = 0,6429² + 0,3571² = 0,5408" in html
    assert 'class="broken"' not in html
    assert html.index("C1 (Concentration of imports)") < html.index("O1 (Foreign") < html.index("geodep (GeoDep")
    # A source file stands once per focus and language, whatever rests on it; another group's figures stand nowhere.
    assert html.count(f"{FILE}: vintage") == 4
    assert "salts" not in html
    text = render_markdown(EVIDENCE, STATE, page(made))
    assert text.count("### How these figures come about") == 2
    assert text.count("### Hoe deze cijfers tot stand komen") == 2
    assert "| Cijfer | Met de getallen ingevuld | Grootste delen |" in text
    assert "C1 = 0,6429² + 0,3571² = 0,5408" in text
    assert text.count("Bronbestanden:") == 2
    assert "| C1 (Concentration of imports) of Metal goods for Netherlands, 2020: 0.5408" in text


def test_a_figure_that_does_not_come_out_is_marked_on_the_page() -> None:
    made = build_explanations(tables(world()), world().reference, thresholds()).to_pylist()
    broken = [r | {"holds": False} if (r["what"], r["indicator"]) == ("recomputed", "S1") else r for r in made]
    assert render_html(EVIDENCE, STATE, page(EXPLANATIONS.conform(broken))).count('<tr class="broken">') == 4


def test_without_explanations_the_page_is_as_it_was() -> None:
    html = render_html(EVIDENCE, STATE, page(None))
    assert '<details class="explained">' not in html
    assert "come about" not in render_markdown(EVIDENCE, STATE, page(None))
    # Those of another year than the evidence do not stand beside it.
    old = EVIDENCE.replace("2020", "2019")
    made = build_explanations(tables(world()), world().reference, thresholds())
    assert '<details class="explained">' not in render_html(old, STATE, page(made))


def test_the_page_says_how_sure_its_figures_are() -> None:
    base = {"focus": "NLD", "level": "group", "code": "g", "hs_revision": "HS92", "group": "g", "tier": 0, "year": 2020,
            "draws": 1000, "mean": 0.5, "method_version": "1"}  # fmt: skip
    rows = [
        {**base, "indicator": "O1", "measure": "q", "basis": "traced", "value": 0.826, "low": 0.699, "high": 0.885,
         "threshold": 0.4, "flag_share": 1.0, "rank": 5, "rank_low": 3, "rank_high": 7, "ranked": 32,
         "matters_most": "production"},
        {**base, "indicator": "C1", "measure": "v", "basis": "imports", "value": 0.484, "low": 0.449, "high": 0.581,
         "threshold": 0.4, "flag_share": 0.99},
        {**base, "indicator": "T", "measure": "q", "basis": "traced", "value": 1.0, "low": 0.0, "high": 1.0,
         "flag_share": 0.676, "matters_most": "governance", "reason": "path: x; export_proxy"},
        # Unknown, of another group, of a node, of another year, of another basis: none stands on this page.
        {**base, "indicator": "X2", "measure": "q", "basis": "traced", "draws": 0},
        {**base, "indicator": "S1", "measure": "v", "basis": "imports", "value": 9.0, "low": 7.0, "high": 8.0,
         "group": "h", "code": "h"},
        {**base, "indicator": "S1", "measure": "v", "basis": "imports", "value": 9.0, "low": 7.0, "high": 8.0,
         "level": "node"},
        {**base, "indicator": "S1", "measure": "v", "basis": "imports", "value": 9.0, "low": 7.0, "high": 8.0,
         "year": 2019},
        {**base, "indicator": "G2", "measure": "p", "basis": "observed", "value": 9.0, "low": 7.0, "high": 8.0},
    ]  # fmt: skip
    text = render_markdown(EVIDENCE, STATE, page(None, UNCERTAINTY.conform(rows)))
    assert text.count("### How sure these figures are") == 1
    lines = [line for line in text.splitlines() if line.startswith(("| C", "| O", "| T", "| X", "| S1", "| G2"))]
    assert lines == [
        "| C1 Concentration of imports | 0.48 | 0.45 to 0.58 | 0.40 | 99 % | – | 1000 | – |",
        "| O1 Foreign concentration of traced supply | 0.83 | 0.70 to 0.89 | 0.40 | 100 % | 5 of 32 (3 to 7) | 1000 | "
        "production |",
        "| T Node test (plane) | yes (indication) | – | – | yes in 67.6 % | – | 1000 | governance |",
    ]
    html = render_html(EVIDENCE, STATE, page(None, UNCERTAINTY.conform(rows)))
    assert html.count("<h3>How sure these figures are</h3>") == 1
    assert '<td class="n">0.70 to 0.89</td>' in html
    assert "How sure" not in render_html(EVIDENCE, STATE, page(None, UNCERTAINTY.empty()))
    assert "How sure" not in render_html(EVIDENCE, STATE, page(None))
