"""What is fresh stays as it is: a changed source makes anew what depends on it, and nothing else."""

from __future__ import annotations

import ast
import csv
import gzip
import importlib.metadata
import io
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ketenpipe.dag import checks as dag_checks
from ketenpipe.dag import versions as dag_versions
from ketenpipe.dag.assets import chain as chain_assets
from ketenpipe.dag.assets import sources as source_assets
from ketenpipe.dag.graph import graph_of
from ketenpipe.dag.partitions import range_tags
from ketenpipe.dag.resources import Workspace, months_to
from ketenpipe.dag.run import (
    BY,
    COMMAND,
    QUIET,
    Progress,
    Step,
    _batches,
    open_instance,
    run_pipeline,
    stale_steps,
    steps_of,
    unwrapped,
)
from ketenpipe.dag.specs import key
from ketenpipe.dag.versions import READ_BY, Versions, code_fingerprint, parents, read_checked, table_of
from ketenpipe.errors import ContractBroken, KetenpipeError
from ketenpipe.observatory import reader
from ketenpipe.review.ledger import append_decision
from ketenpipe.settings import Settings, load_settings
from ketenpipe.sources.places import embedded
from ketenpipe.tables import checks
from ketenpipe.tables.registry import (
    ARCHIVE,
    BACI_FLOWS,
    CHAIN_EDGES,
    CHAIN_NODES,
    COUNTRY_RISK,
    DOSSIERS,
    EXPOSURE,
    GOVERNANCE,
    INDICATORS,
    INPUT_FILES,
    ORIGIN_MIX,
    PRODUCTION,
    SUPPLY_MIX,
    TRACING,
)
from ketenpipe.tables.store import Store

SOURCES = {
    "archive", "flows", "governance", "mining", "elasticities", "input_output", "concordances", "comtrade_years",
    "comtrade_months", "reconciled_years", "reconciled_months", "coverage", "input_files",
}  # fmt: skip
#: What a changed drop folder always changes: the list of its files, and what is published of it.
LISTED = {
    "archive", "input_files", "grades", "register", "explanations", "pictures", "publishing", "reporting", "catalogue",
}  # fmt: skip
#: What follows from changed scores of governance.
SCORED = {
    "governance", "governance_risk", "nowcast", "product_risk", "product_tiers", "chain_risk", "criticality",
    "industry_risk", "supply_risk", "nowcast_check", "crma", "dossiers", "register", "pictures", "publishing",
    "reporting", "catalogue", "method_agreement", "monte_carlo", "alternatives", "robustness", "substitutability",
    "grades", "validation", "explanations",
}  # fmt: skip
#: What follows from a changed input-output table.
OF_TABLES = {
    "input_output", "industry_layer", "product_tiers", "criticality", "industry_risk", "supply_risk", "nowcast_check",
    "crma", "dossiers", "method_agreement", "monte_carlo", "alternatives", "robustness", "substitutability", "grades",
    "validation", "explanations",
}  # fmt: skip
#: What walks through the chains.
WALKED = {"look_through", "paths", "supply_graph", "shocks"}
#: What follows from a changed year of flows.
TRADED = (
    SCORED - {"governance", "governance_risk", "nowcast", "industry_risk"}
    | {"flows", "origin_tracing", "importers", "export_network"}
    | WALKED
)
#: Steps by year of trade.
BY_YEAR = {
    "flows", "origin_tracing", "product_risk", "product_tiers", "importers", "criticality", "export_network",
    "substitutability",
}  # fmt: skip
#: What reads governance risk year by year.
JUDGED = {
    "product_risk", "product_tiers", "chain_risk", "criticality", "monte_carlo", "alternatives", "substitutability",
}  # fmt: skip


@lru_cache(maxsize=1)
def steps() -> list[Step]:
    """The steps of the graph; they are the same whatever the settings are."""
    return steps_of(graph_of(load_settings()))


@dataclass
class Home:
    """A home that holds the sample's last two years, with the drop folder that it was made of."""

    path: Path
    drop: Path

    def settings(self, **other: object) -> Settings:
        own = {"home": self.path, "sources": str(self.drop), "focus": "NLD", "bloc": "EU27", "draws": 100}
        return load_settings(**(own | other))

    def workspace(self, **other: object) -> Workspace:
        return Workspace.of(self.settings(**other))

    def stale(self, **other: object) -> dict[str, list[str | None]]:
        """What a run would make anew, by step: without the folder that Dagster may put before a name."""
        workspace = self.workspace(**other)
        with workspace.pinned():
            stale = stale_steps(steps(), workspace)
        return {name.rsplit("__", 1)[-1]: parts for name, parts in stale.items()}

    def launchpad(self, **other: object) -> dict[str, object]:
        """Values that somebody gives the workspace when launching a run."""
        fields = {name: getattr(self.workspace(**other), name) for name in Workspace.model_fields}
        return {"resources": {"workspace": {"config": {k: v for k, v in fields.items() if v is not None}}}}

    def run(self, **other: object) -> dict[str, list[str]]:
        """Run, and say which steps were done and which were fresh."""
        said: dict[str, list[str]] = {"done": [], "fresh": [], "failed": []}

        def tell(progress: Progress) -> None:
            if progress.kind in said:
                said[progress.kind].append(progress.step)

        run_pipeline(self.settings(**other), tell)
        return said

    def materialise(
        self, *keys: dg.AssetKey, config: dict[str, object] | None = None, tags: dict[str, str] | None = None
    ) -> dg.ExecuteInProcessResult:
        """What a click in the UI does."""
        job = graph_of(self.settings()).resolve_implicit_global_asset_job_def()
        with open_instance(self.path) as instance:
            return job.execute_in_process(
                instance=instance,
                asset_selection=list(keys),
                tags=tags,
                run_config={**QUIET, **(config or {})},
            )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    folder = tmp_path_factory.mktemp("drop")
    for name in ("wgi", "mining", "icio"):
        shutil.copytree(embedded("sample") / name, folder / name)
    (folder / "baci").mkdir()
    for path in (embedded("sample") / "baci").iterdir():
        if "_Y20" not in path.name or "Y2023" in path.name or "Y2024" in path.name:
            shutil.copy(path, folder / "baci")
    made = Home(tmp_path_factory.mktemp("home"), folder)
    made.run()
    return made


@pytest.fixture(autouse=True)
def _whole(home: Home) -> Iterator[None]:
    """Every test leaves the home as it found it: nothing is stale."""
    yield
    assert home.stale() == {}


@contextmanager
def put(path: Path, content: bytes | None, *, beside: bool = True) -> Iterator[None]:
    """A file with other bytes (None: without the file), its sidecar without the old hash; undone at the end."""
    sidecar = path.with_name(path.name + ".meta.json")
    before = {p: p.read_bytes() if p.exists() else None for p in (path, sidecar)}
    try:
        if content is None:
            path.unlink()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        if beside and sidecar.exists():
            meta = json.loads(sidecar.read_text())
            sidecar.write_text(json.dumps({k: v for k, v in meta.items() if k not in ("sha256", "bytes")}))
        yield
    finally:
        for file, old in before.items():
            if old is None:
                file.unlink(missing_ok=True)
            else:
                file.write_bytes(old)


def another_score(path: Path) -> bytes:
    """The governance file with one score changed, as long as before."""
    lines = path.read_text().splitlines()
    at = next(n for n, line in enumerate(lines) if ",CHN," in line and ",2024," in line)
    parts = lines[at].split(",")
    digit = parts[4][-1]
    parts[4] = parts[4][:-1] + ("1" if digit != "1" else "2")
    lines[at] = ",".join(parts)
    return ("\n".join(lines) + "\n").encode()


def wgi(home: Home) -> Path:
    (path,) = (home.drop / "wgi").glob("*.csv")
    return path


# -- sources -------------------------------------------------------------------------------------------------------


def test_nothing_is_made_twice(home: Home) -> None:
    before = sorted(p.name for p in (home.path / "releases").iterdir())
    said = home.run()
    assert said["done"] == []
    assert "Reading trade flows" in said["fresh"]
    assert sorted(p.name for p in (home.path / "releases").iterdir()) == before


def test_changed_governance_leaves_flows_tracing_and_chains_alone(home: Home) -> None:
    with put(wgi(home), another_score(wgi(home))):
        assert set(home.stale()) == SCORED | LISTED


def test_a_file_changed_in_place_with_its_size_and_time_kept_is_seen(home: Home) -> None:
    path = wgi(home)
    content, before = another_score(path), path.stat()
    with put(path, path.read_bytes()):  # the sidecar without its hash
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        home.stale()
        path.write_bytes(content)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
        assert set(home.stale()) == SCORED | LISTED


def test_a_changed_year_reads_that_year_only(home: Home) -> None:
    (path,) = (home.drop / "baci").glob("*Y2024*.csv.gz")
    text = gzip.decompress(path.read_bytes()).decode().splitlines()
    with put(path, gzip.compress(("\n".join(text[:-1]) + "\n").encode())):
        stale = home.stale()
    assert stale["flows"] == ["2024"]
    # The newest year's trade weighs the concordances.
    assert set(stale) == TRADED | LISTED | {"concordances"}
    (path,) = (home.drop / "baci").glob("*Y2023*.csv.gz")
    text = gzip.decompress(path.read_bytes()).decode().splitlines()
    with put(path, gzip.compress(("\n".join(text[:-1]) + "\n").encode())):
        stale = home.stale()
    assert stale["flows"] == ["2023"]
    assert set(stale) == TRADED | LISTED


def test_a_list_of_countries_is_part_of_every_year(home: Home) -> None:
    (path,) = (home.drop / "baci").glob("country_codes*.csv")
    with put(path, path.read_bytes().rstrip() + b"\n\n"):
        assert home.stale()["flows"] == ["2023", "2024"]


def test_a_sidecar_is_part_of_its_table(home: Home) -> None:
    sidecar = next((home.drop / "wgi").glob("*.meta.json"))
    meta = json.loads(sidecar.read_text())
    meta["vintages"][0]["vintage"] = "another name"
    with put(sidecar, json.dumps(meta).encode(), beside=False):
        assert set(home.stale()) == SCORED | LISTED


def test_layouts_of_the_folder_are_part_of_its_tables(home: Home) -> None:
    shipped = json.loads((Path(source_assets.__file__).parents[2] / "sources" / "icio_layouts.json").read_text())
    row = {**shipped["layouts"][0], "edition": "of my own"}
    with put(home.drop / "icio" / "icio_layouts.json", json.dumps({"layouts": [row]}).encode()):
        stale = home.stale()
    assert stale["input_output"] == ["2022"]
    assert set(stale) == OF_TABLES | LISTED


def test_a_table_of_another_year_leaves_the_audited_ones_alone(home: Home) -> None:
    (path,) = (home.drop / "icio").glob("*2022*.csv.gz")
    with put(path.with_name(path.name.replace("2022", "2021")), path.read_bytes()):
        stale = home.stale()
    assert stale["input_output"] == ["2021"]
    assert set(stale) == OF_TABLES | LISTED


def test_a_file_that_no_reader_takes_is_listed_and_changes_nothing_else(home: Home) -> None:
    with put(home.drop / "wgi" / "notes.docx", b"x"):
        stale = home.stale()
    assert set(stale) == LISTED


def test_a_file_that_changes_while_it_is_read_leaves_a_stale_table(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    real, path = source_assets.read_wgi, wgi(home)
    before = path.read_bytes()
    with put(path, path.read_bytes()):

        def read(inventory: object) -> object:
            found = real(inventory)  # type: ignore[arg-type]
            path.write_bytes(another_score(path))
            return found

        monkeypatch.setattr(source_assets, "read_wgi", read)
        home.materialise(key(GOVERNANCE))
        monkeypatch.undo()
        assert "governance" in home.stale()
        path.write_bytes(before)
    assert "governance" in home.stale()  # the sidecar has its hash again
    home.materialise(key(GOVERNANCE))


# -- settings and catalogue ----------------------------------------------------------------------------------------


#: What follows from changed indicators and flags.
JUDGING = {"method_agreement", "robustness", "grades", "validation", "explanations"}
ALL_BUT_SOURCES = {
    *WALKED, *JUDGED, *JUDGING, "origin_tracing", "export_network", "industry_layer", "industry_risk",
    "governance_risk", "nowcast", "nowcast_check", "supply_risk", "crma", "dossiers", "register", "pictures",
    "publishing", "reporting", "catalogue",
}  # fmt: skip
#: What looks at the nodes of the chains.
OF_NODES = {"criticality", "export_network", "monte_carlo", "alternatives", "substitutability"}
END = {"publishing", "reporting", "catalogue"}
#: What follows from other draws.
DRAWN = {"monte_carlo", "robustness", "substitutability", "register", "pictures", "explanations"} | END
REVIEWED = {"supply_risk", "nowcast_check", "crma", "dossiers", "register", "pictures"} | JUDGING | END


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ({"focus": "DEU"}, ALL_BUT_SOURCES - {"governance_risk"}),
        ({"bloc": "OECD"}, ALL_BUT_SOURCES - {"governance_risk"}),
        ({"depth": 1}, WALKED | {"chain_risk"} | OF_NODES | REVIEWED),
        ({"wgi_dimension": "PV"}, {"governance_risk", "nowcast", "industry_risk"} | JUDGED | REVIEWED),
        ({"minimum_import_kusd": 5.0}, REVIEWED | {"alternatives"}),
        ({"products": "catalogue"}, {"origin_tracing", "importers", "export_network"} | JUDGED | WALKED | REVIEWED),
        ({"products": "all"}, set()),
        ({"seed": 1}, DRAWN),
        ({"draws": 10}, DRAWN),
        ({"partners": "EU27"}, {"substitutability"} | END),
        ({"methods": "geodep"}, REVIEWED | {"alternatives"}),
        ({"fetch": False}, set()),
        ({"years": "2023-2024"}, set()),
        # 2024 stays the newest year, which weighs the concordances; what the chains are is found out over all years
        ({"years": "2024"}, TRADED - BY_YEAR | OF_NODES | {"input_files"}),
        ({"years": "2023"}, TRADED - BY_YEAR | OF_NODES | {"input_files", "concordances"}),
    ],
    ids=lambda value: str(sorted(value) if isinstance(value, set) else value),
)
def test_a_setting_makes_anew_what_reads_it(home: Home, other: dict[str, object], expected: set[str]) -> None:
    assert set(home.stale(**other)) == expected


def test_the_settings_that_steps_read_are_those_that_count() -> None:
    """Every mention of a setting within an asset's function stands in the list that fingerprints go by."""
    folder = Path(chain_assets.__file__).parent
    fields = set(Settings.model_fields)
    products = {"products"}
    means = {"foci": {"focus", "bloc"}, "flows": products, "flows_of": products, "chosen_products": products}
    # What places hold and how it is fetched; the years are partitions.
    not_content = {"home", "sources", "catalogue", "fetch", "comtrade_key", "years", "engine", "work"}
    graph = graph_of(load_settings()).resolve_asset_graph()
    made_by: dict[str, list[dg.AssetKey]] = {}
    for asset in graph.materializable_asset_keys:
        made_by.setdefault(graph.get(asset).assets_def.op.name.rsplit("__", 1)[-1], []).append(asset)
    seen = set()
    for name in ("chain", "risk", "review", "observatory"):
        body = ast.parse((folder / f"{name}.py").read_text()).body
        helpers = {node.name: node for node in body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
        for node in body:
            if not isinstance(node, ast.FunctionDef) or node.name not in made_by:
                continue
            read: set[str] = set()
            named = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
            asked = [node, *(helpers[n] for n in sorted(named & (set(helpers) - set(made_by))))]
            for part in (part for one in asked for part in ast.walk(one)):
                if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name | ast.Attribute):
                    owner = part.value.id if isinstance(part.value, ast.Name) else part.value.attr
                    if owner in ("workspace", "_workspace", "settings"):
                        read |= means.get(part.attr, {part.attr} & fields)
            for asset in made_by[node.name]:
                seen.add(asset.path[-1])
                inputs = {p.path[-1] for p in parents()[asset]}
                needs = (read - not_content) | ({"products"} if BACI_FLOWS.name in inputs else set())
                assert needs <= set(READ_BY[asset.path[-1]]), asset
    assert seen == set(READ_BY)


def test_every_asset_is_known_to_the_fingerprints() -> None:
    assert {k.path[-1] for k in parents() if k.path[0] != "sources"} == set(READ_BY)


def test_secrets_change_nothing(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    without = Versions(home.workspace()).own(key(INDICATORS), None)
    monkeypatch.setenv("KETENPIPE_COMTRADE_KEY", "hush")
    workspace = home.workspace()
    assert Versions(workspace).own(key(INDICATORS), None) == without
    assert "hush" not in repr(workspace) + str(workspace.model_dump())
    assert workspace.comtrade_key() is not None


def test_lists_of_the_home_and_of_a_given_folder_count(home: Home, tmp_path: Path) -> None:
    shipped = (embedded("reference") / "thresholds.toml").read_bytes()
    other = shipped.replace(b"0.40", b"0.41", 1)
    with put(home.path / "reference" / "thresholds.toml", other):
        assert (
            set(home.stale())
            == {"governance_risk", "nowcast", "shocks", "importers", "export_network", "industry_risk"}
            | JUDGED
            | REVIEWED
        )
        (tmp_path / "thresholds.toml").write_bytes(shipped)
        assert (
            set(home.stale(catalogue=tmp_path))
            == {"governance_risk", "nowcast", "shocks", "importers", "export_network", "industry_risk"}
            | JUDGED
            | REVIEWED
        )
    # Figures of others are input files: the release states their hash.
    with put(home.path / "reference" / "material_parameters.csv", b"other"):
        assert {"input_files", "criticality"} <= set(home.stale())
    (home.path / "reference").rmdir()
    lines = list(csv.reader(io.StringIO((embedded("reference") / "edges.csv").read_text(encoding="utf-8"))))
    at = lines[0].index("confidence")
    row = next(n for n, line in enumerate(lines) if line[at] == "low")
    for place, confidence in ((tmp_path / "a", "medium"), (tmp_path / "b", "high")):
        place.mkdir()
        text = io.StringIO()
        csv.writer(text).writerows(
            [*lines[:row], [*lines[row][:at], confidence, *lines[row][at + 1 :]], *lines[row + 1 :]]
        )
        (place / "edges.csv").write_text(text.getvalue(), encoding="utf-8")
    one, two = (home.workspace(catalogue=tmp_path / name) for name in ("a", "b"))
    assert Versions(one).wanted(key(INDICATORS)) != Versions(two).wanted(key(INDICATORS))
    assert ALL_BUT_SOURCES - {"governance_risk"} <= set(home.stale(catalogue=tmp_path / "a"))


def test_a_decision_makes_anew_only_review_and_observatory(home: Home) -> None:
    dossier = Store(home.path).read(DOSSIERS).to_pylist()[0]
    said = {"reviewer": "A. Person", "role": "tester", "rationale": "read it", "evidence": dossier["evidence"]}
    try:
        append_decision(home.path, group=dossier["group"], decision="approve", **said)
        assert set(home.stale()) == {"dossiers", "register", "explanations", "pictures"} | END
        edge = next(e for e in home.workspace().reference().edges if e.confidence != "low")
        amendment = {"user": edge.user, "input": edge.input, "confidence": "low"}
        append_decision(home.path, group=edge.group, decision="revise", amendment=amendment, **said)
        assert {"origin_tracing", "look_through"} <= set(home.stale())
        assert not (SOURCES - {"archive", "input_files"}) & set(home.stale())
    finally:
        shutil.rmtree(home.path / "review")


@pytest.mark.parametrize(
    ("library", "folders"),
    [("babel", {"review", "observatory"}), ("numpy", {"sources", "chain", "risk", "review", "observatory"})],
)
def test_another_version_of_a_library_makes_anew_what_may_depend_on_it(
    monkeypatch: pytest.MonkeyPatch, library: str, folders: set[str]
) -> None:
    def now() -> dict[str, str]:
        return {f: code_fingerprint.__wrapped__(f) for f in ("sources", "chain", "risk", "review", "observatory")}

    real, before = importlib.metadata.version, now()
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.0" if name == library else real(name))
    assert {f for f, value in now().items() if value != before[f]} == folders


# -- what lies in the home -----------------------------------------------------------------------------------------


def test_a_table_that_was_removed_is_made_again(home: Home) -> None:
    path = Store(home.path).path(GOVERNANCE)
    content, before = path.read_bytes(), path.stat()
    path.unlink()
    assert set(home.stale()) == {"governance"}
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # another file with the same bytes


def test_a_table_that_was_edited_by_hand_is_made_again(home: Home) -> None:
    """Also where the tool that wrote it kept the metadata, the size and the time."""
    path = Store(home.path).path(COUNTRY_RISK)
    content, before = path.read_bytes(), path.stat()
    table = pq.read_table(path)
    risk = table.column("risk").to_pylist()
    risk[0] = 0.123
    edited = table.set_column(table.schema.get_field_index("risk"), table.schema.field("risk"), pa.array(risk))
    try:
        pq.write_table(edited, path)
        assert pq.read_schema(path).metadata[dag_versions.FINGERPRINT]
        assert set(home.stale()) == {"governance_risk"}
        path.write_bytes(content[:-9] + b"x" + content[-8:])
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert set(home.stale()) == {"governance_risk"}
        # What is made of it meanwhile is not taken for what would be made of the real one.
        pq.write_table(edited, path)
        versions = Versions(home.workspace())
        assert versions.made_now(key(INDICATORS)) != versions.wanted(key(INDICATORS))
    finally:
        path.write_bytes(content)


def test_a_year_put_in_another_years_place_is_made_again(home: Home) -> None:
    store = Store(home.path)
    path, other = store.path(BACI_FLOWS, "2023"), store.path(BACI_FLOWS, "2024")
    content = path.read_bytes()
    path.write_bytes(other.read_bytes())
    assert home.stale() == {"flows": ["2023"]}
    path.write_bytes(content)


def test_a_home_that_was_moved_is_as_fresh_as_before(home: Home, tmp_path: Path) -> None:
    shutil.copytree(home.path, tmp_path / "copy")
    moved = Home(tmp_path / "copy", home.drop)
    assert moved.stale() == {}


def test_a_table_that_was_never_checked_is_made_again(home: Home) -> None:
    """A run killed between a table and its check."""
    record = home.path / "tables" / "checked.json"
    kept = record.read_bytes()
    known = json.loads(kept)
    record.write_text(
        json.dumps({k: v for k, v in known.items() if k not in ("chain/exposure", "sources/baci_flows@2023")})
    )
    try:
        assert home.stale() == {"look_through": [None], "flows": ["2023"]}
    finally:
        record.write_bytes(kept)


def test_a_record_of_checks_that_cannot_be_read_is_said(home: Home) -> None:
    record = home.path / "tables" / "checked.json"
    kept = record.read_bytes()
    try:
        for broken in ("[1", "[1]", '{"a": {"made_of": "x"}}'):
            record.write_text(broken)
            with pytest.raises(KetenpipeError, match=r"checked\.json: not readable .* remove it"):
                home.stale()
        record.write_text('{"risk/flags": "a hash, as an earlier version wrote it"}')
        assert "supply_risk" in home.stale()
    finally:
        record.write_bytes(kept)
    assert read_checked(home.workspace())


def test_a_picture_or_a_release_that_is_gone_is_made_again(home: Home) -> None:
    picture = next((home.path / "tables" / "observatory" / "pictures").glob("plane_*.png"))
    content = picture.read_bytes()
    picture.unlink()
    assert set(home.stale()) == {"pictures"} | END
    picture.write_bytes(content)
    latest = reader.latest(home.path)
    aside = home.path / "aside"
    latest.path.rename(aside)
    assert set(home.stale()) == END
    aside.rename(latest.path)
    (home.path / "ketenpipe.duckdb").rename(aside)
    assert set(home.stale()) == {"catalogue"}
    aside.rename(home.path / "ketenpipe.duckdb")


def test_the_release_does_not_carry_fingerprints(home: Home) -> None:
    for path in (home.path / "releases").rglob("*.parquet"):
        assert not [k for k in pq.read_schema(path).metadata or {} if k.startswith(b"ketenpipe.")], path


# -- the UI in between ---------------------------------------------------------------------------------------------


def test_a_launch_with_other_settings_is_not_taken_for_the_commands_own(home: Home) -> None:
    """The IO manager writes down the settings that the asset had, also those of the launchpad."""
    try:
        home.materialise(key(COUNTRY_RISK), config=home.launchpad(wgi_dimension="PV"))
        assert set(Store(home.path).read(COUNTRY_RISK).column("dimension").to_pylist()) == {"PV"}
        assert set(home.stale()) == {"governance_risk"}
        assert "governance_risk" not in home.stale(wgi_dimension="PV")
        sentence = (
            "table country_risk was not made of the sources, the catalogue and the settings as they are now, or did "
            "not pass its checks, so it is not published as if it were; run 'ketenpipe run', or materialise what is "
            "stale with its checks and publish again."
        )
        with pytest.raises(KetenpipeError) as caught:
            home.materialise(dg.AssetKey(["observatory", "release"]))
        assert str(unwrapped(caught.value)) == sentence
    finally:
        home.materialise(key(COUNTRY_RISK))


def test_a_year_of_other_sources_in_the_same_home_is_not_read(home: Home) -> None:
    """From the drop folder to the sample and back: 2022 stays in the store, and nothing looks at it."""
    stale = home.stale(sources="sample")
    assert stale["flows"] == ["2018", "2019", "2020", "2021", "2022"]  # 2023 and 2024 are the same files
    other = home.launchpad(sources="sample")
    home.materialise(key(BACI_FLOWS), config=other, tags=dict(range_tags(("2022", "2022"))))
    store = Store(home.path)
    assert store.partitions(BACI_FLOWS) == ["2022", "2023", "2024"]
    traced = tuple(key(t) for t in (PRODUCTION, ORIGIN_MIX, TRACING, SUPPLY_MIX))
    home.materialise(*traced, config=other, tags=dict(range_tags(("2022", "2022"))))
    assert store.partitions(PRODUCTION) == ["2022", "2023", "2024"]
    assert home.stale() == {}
    home.materialise(key(CHAIN_NODES), key(CHAIN_EDGES), key(EXPOSURE))
    assert set(store.read(EXPOSURE).column("year").to_pylist()) == {2023, 2024}
    for table in (BACI_FLOWS, PRODUCTION, ORIGIN_MIX, TRACING, SUPPLY_MIX):
        store.path(table, "2022").unlink()


def test_an_old_year_that_is_read_again_freshens_no_source(home: Home) -> None:
    def looked_at(instance: dg.DagsterInstance) -> float:
        event = instance.get_latest_materialization_event(key(ARCHIVE))
        assert event is not None
        return event.timestamp

    with open_instance(home.path) as instance:
        before = looked_at(instance)
    home.materialise(key(BACI_FLOWS), tags=dict(range_tags(("2023", "2023"))))
    with open_instance(home.path) as instance:
        assert looked_at(instance) == before


# -- failures ------------------------------------------------------------------------------------------------------


def test_a_table_that_failed_its_check_is_not_fresh(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Store(home.path).path(GOVERNANCE)
    path.unlink()
    broken = checks.CheckResult("one_vintage_per_year", False, "made up", 1, {"year": 2024})
    audit = dag_checks.AUDITS["governance"][1][0]

    def refuse(_: object) -> checks.CheckResult:
        return broken

    refuse.__name__ = audit.check.__name__
    refuse.__doc__ = audit.check.__doc__
    changed = {**dag_checks.AUDITS, "governance": ((GOVERNANCE,), (dag_checks.Audit(GOVERNANCE, refuse),))}
    monkeypatch.setattr(dag_checks, "AUDITS", changed)
    for _ in range(2):
        with pytest.raises(ContractBroken, match=r"one_vintage_per_year of sources/governance: made up"):
            home.run()
    monkeypatch.undo()
    assert home.stale() == {"governance": [None]}
    assert home.run()["done"] == ["Reading governance scores"]


def test_one_year_that_fails_its_check_does_not_put_the_others_in_doubt(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, looked_at = Store.check, []

    def check(self: Store, table: object, partition: str | None = None) -> int:
        looked_at.append(partition)
        if partition == "2023":
            raise ContractBroken("table baci_flows: made up")
        return real(self, table, partition)  # type: ignore[arg-type]

    record = home.path / "tables" / "checked.json"
    kept = record.read_bytes()
    try:
        record.write_text(json.dumps({k: v for k, v in json.loads(kept).items() if k != "sources/baci_flows@2023"}))
        monkeypatch.setattr(Store, "check", check)
        with pytest.raises(ContractBroken, match=r"schema_and_keys of sources/baci_flows: table baci_flows: made up"):
            home.run()
        assert looked_at == ["2023"]  # 2024 is as it was checked before
        assert home.stale() == {"flows": ["2023"]}
        monkeypatch.undo()
        assert home.run()["done"] == ["Reading trade flows"]
    finally:
        monkeypatch.undo()
        if home.stale():
            record.write_bytes(kept)


def test_what_was_finished_before_a_failure_is_kept(
    tmp_path: Path, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last of three runs fails: the next time only what it had not finished is made."""
    other = Home(tmp_path, home.drop)

    def fail(*_: object, **__: object) -> None:
        raise KetenpipeError("made up")

    monkeypatch.setattr(chain_assets, "trace_year", fail)
    with pytest.raises(KetenpipeError, match="made up"):
        other.run()
    monkeypatch.undo()
    stale = other.stale()
    assert "flows" not in stale
    assert "origin_tracing" in stale
    assert "publishing" in stale
    assert not (tmp_path / "releases").exists()


def test_a_killed_run_is_said_to_be_over_by_the_next_one(home: Home) -> None:
    with open_instance(home.path) as instance:
        job = graph_of(home.settings()).resolve_implicit_global_asset_job_def()
        killed = instance.create_run_for_job(job, tags={BY: COMMAND}, status=dg.DagsterRunStatus.STARTED)
        of_others = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
        home.run()
        assert instance.get_run_by_id(killed.run_id).status == dg.DagsterRunStatus.FAILURE  # type: ignore[union-attr]
        assert instance.get_run_by_id(of_others.run_id).status == dg.DagsterRunStatus.STARTED  # type: ignore[union-attr]


# -- what runs when ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> dg.Definitions:
    return graph_of(load_settings(home=tmp_path_factory.mktemp("empty")))


def batches(definitions: dg.Definitions, *stale: str) -> list[tuple[set[str], str | None]]:
    steps = steps_of(definitions)
    everything = {s.name for s in steps}
    chosen = set(stale) or everything
    assert chosen <= everything
    found = _batches(steps, {name: ["x"] for name in chosen}, definitions.resolve_asset_graph())
    return [(names, scheme and scheme.what) for names, scheme in found]


def test_one_run_per_scheme_and_what_is_needed_first(definitions: dg.Definitions) -> None:
    found = batches(definitions)
    seen: set[str] = set()
    steps: dict[str, Step] = {s.name: s for s in steps_of(definitions)}
    maker = {k: s.name for s in steps.values() for k in s.assets}
    for names, _ in found:
        for name in names:
            needed = {maker[p] for k in steps[name].assets for p in parents()[k] if maker[p] != name}
            assert needed <= seen | names
        seen |= names
    assert seen == set(steps)
    # What looks at the nodes of the chains comes after them, in a second run over the years.
    assert len([1 for _, what in found if what == "BACI flows"]) == 2
    assert found[-1][1] is None


def test_without_reports_there_are_six_runs(definitions: dg.Definitions) -> None:
    steps = {s.name for s in steps_of(definitions)} - {
        "comtrade_years", "comtrade_months", "reconciled_years", "reconciled_months"
    }  # fmt: skip
    assert [what for _, what in batches(definitions, *sorted(steps))] == [
        None, "input-output tables", "BACI flows", None, "BACI flows", None
    ]  # fmt: skip


def test_a_step_alone(definitions: dg.Definitions) -> None:
    assert batches(definitions, "flows") == [({"flows"}, "BACI flows")]


def test_months_of_a_window() -> None:
    assert months_to("2026-02", 3) == ["2025-12", "2026-01", "2026-02"]
    assert len(months_to("2026-09")) == 12
    assert months_to("2026-09")[0] == "2025-10"


def test_parents_are_those_of_the_graph(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    assert {k: set(v) for k, v in parents().items()} == {
        k: set(graph.get(k).parent_keys) for k in graph.materializable_asset_keys
    }
    assert key(BACI_FLOWS) in parents()[key(INPUT_FILES)]
    assert {k.to_user_string() for k in parents() if table_of(k) is None} == {
        "observatory/catalogue", "observatory/pictures", "observatory/release"
    }  # fmt: skip
