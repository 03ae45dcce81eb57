"""The archive: one address per content, nothing overwritten, whole or not at all, every fault named."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ketenpipe.errors import DiskFull, InputRefused, WrongUse
from ketenpipe.sources import archive as module
from ketenpipe.sources.archive import Archive, Kept, Provenance
from ketenpipe.sources.places import VintageSpan
from ketenpipe.sources.upstreams import FileRow, Upstreams

NAME = "BACI_HS17_Y2022_V202501.csv"
FLOWS = b"t,i,j,k,v,q\n2022,528,842,010121,12.5,3.1\n"


class Clock:
    """Moves a second each time it is asked."""

    def __init__(self) -> None:
        self.time = datetime(2026, 11, 5, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.time += timedelta(seconds=1)
        return self.time


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path, Clock())


def about(slot: str = "baci/HS17", label: str = "V202501", **more: object) -> Provenance:
    return Provenance(slot=slot, label=label, url="https://example.org/x.zip", licence="L", **more)  # type: ignore[arg-type]


def keep(archive: Archive, content: bytes | Path = FLOWS, name: str = NAME, **more: object) -> Kept:
    return archive.keep("baci", name, content, about(**more))  # type: ignore[arg-type]


def tree(root: Path) -> dict[str, bytes]:
    """Every file of the archive but its own notes."""
    return {
        p.relative_to(root).as_posix(): p.read_bytes()
        for p in sorted(root.rglob("*"))
        if p.is_file() and not p.name.startswith(".")
    }


def upstreams(*slots: str, comtrade: bool = False) -> Upstreams:
    rows = [
        FileRow.model_validate(
            {"source": s.partition("/")[0], "slot": s, "url": "https://x.org/a.csv", "stale_after_days": 1}
        )
        for s in slots
    ]
    return Upstreams(file=tuple(rows), comtrade={} if comtrade else None)


def test_a_file_lies_at_the_address_of_its_content_with_its_sidecar(archive: Archive) -> None:
    kept = keep(
        archive,
        etag='"e"',
        last_modified="then",
        release="V202501",
        hs_revision="HS17",
        vintages=(VintageSpan("old", 1996, 2022),),
        query={"codes": ["260300"]},
    )
    digest = hashlib.sha256(FLOWS).hexdigest()
    path = archive.root / "baci" / f"V202501-{digest[:12]}" / NAME
    assert (kept.state, kept.replaces, kept.file.path) == ("new", None, path)
    assert path.read_bytes() == FLOWS
    assert json.loads(path.with_name(NAME + ".meta.json").read_text()) == {
        "source": "baci",
        "slot": "baci/HS17",
        "label": "V202501",
        "vintage": f"V202501-{digest[:12]}",
        "name": NAME,
        "url": "https://example.org/x.zip",
        "retrieved_at": "2026-11-05T12:00:01.000000Z",
        "sha256": digest,
        "bytes": len(FLOWS),
        "etag": '"e"',
        "last_modified": "then",
        "licence": "L",
        "release": "V202501",
        "vintages": [{"vintage": "old", "from_year": 1996, "to_year": 2022}],
        "hs_revision": "HS17",
        "query": {"codes": ["260300"]},
    }
    assert stat.S_IMODE(path.stat().st_mode) == 0o444
    assert Archive(archive.home).files() == [kept.file]


def test_the_same_bytes_again_leave_everything_as_it_is(archive: Archive) -> None:
    first = keep(archive)
    before = tree(archive.root)
    again = keep(archive, label="V202601")
    assert (again.state, again.file) == ("unchanged", first.file)
    assert tree(archive.root) == before
    assert archive.checked_at("baci/HS17") > first.file.retrieved_at


def test_changed_bytes_under_the_same_name_are_a_new_vintage_beside_the_old(archive: Archive) -> None:
    first = keep(archive)
    second = keep(archive, FLOWS + b"2022,1,2,010121,1,1\n")
    assert (second.state, second.replaces) == ("changed", first.file)
    assert first.file.path.read_bytes() == FLOWS
    assert archive.current() == {"baci/HS17": second.file}
    assert archive.files("baci") == sorted([first.file, second.file], key=lambda f: f.relative)


def test_an_upstream_that_goes_back_makes_the_old_file_current_again(archive: Archive) -> None:
    first = keep(archive)
    second = keep(archive, b"other\n")
    back = keep(archive)
    assert (back.state, back.file, back.replaces) == ("changed", first.file, second.file)
    assert Archive(archive.home).current()["baci/HS17"] == first.file
    assert len(archive.files()) == 2


def test_without_its_notes_the_archive_takes_the_latest_retrieval(archive: Archive) -> None:
    keep(archive)
    second = keep(archive, b"other\n")
    (archive.root / ".state.json").unlink()
    assert archive.current() == {"baci/HS17": second.file}
    assert archive.checked_at("baci/HS17") is None


def test_a_commit_that_was_not_noted_any_more_counts(archive: Archive) -> None:
    """Killed between the rename and the note: the newer file is current all the same."""
    keep(archive)
    noted = (archive.root / ".state.json").read_bytes()
    second = keep(archive, b"other\n")
    (archive.root / ".state.json").write_bytes(noted)
    assert archive.current() == {"baci/HS17": second.file}


def test_equal_bytes_of_two_slots_lie_apart(archive: Archive) -> None:
    first = archive.keep("comtrade", "a.json", b"{}", about("comtrade/M/2026-09/528", "2026-10"))
    second = archive.keep("comtrade", "b.json", b"{}", about("comtrade/M/2026-09/56", "2026-10"))
    assert first.state == second.state == "new"
    assert second.file.vintage.startswith(first.file.vintage + "-")
    assert archive.keep("comtrade", "b.json", b"{}", about("comtrade/M/2026-09/56", "2026-10")).state == "unchanged"
    assert not archive.verify()


def test_a_path_is_moved_in(archive: Archive, tmp_path: Path) -> None:
    part = tmp_path / "x.part"
    for state in ("new", "unchanged"):
        part.write_bytes(FLOWS)
        assert keep(archive, part).state == state
        assert not part.exists()
    assert not archive.verify()


def test_a_path_on_another_disk_is_copied(archive: Archive, tmp_path: Path) -> None:
    shm = Path("/dev/shm")
    if not shm.is_dir() or shm.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second disk here")
    part = shm / f"ketenpipe-{os.getpid()}.part"
    part.write_bytes(FLOWS)
    assert keep(archive, part).file.path.read_bytes() == FLOWS
    assert not part.exists()


def test_what_upstream_said_last_is_remembered_where_the_bytes_are_the_same(archive: Archive) -> None:
    url = "https://example.org/x.zip"
    keep(archive, etag='"1"', query={"codes": ["a"]})
    assert archive.known("baci/HS17", url).etag == '"1"'
    assert archive.last_query("baci/HS17") == {"codes": ["a"]}
    again = keep(archive, etag='"2"', query={"codes": ["a", "b"]})
    assert again.state == "unchanged"
    assert archive.known("baci/HS17", url).etag == '"2"'
    assert archive.last_query("baci/HS17") == {"codes": ["a", "b"]}
    archive.checked(again.file)
    assert archive.known("baci/HS17", url).etag == '"2"'
    assert archive.known("baci/HS17", "https://elsewhere.org") is None
    assert archive.last_query("baci/HS92") is None


@pytest.mark.parametrize(
    ("source", "name", "content", "slot", "label", "said"),
    [
        ("baci", NAME, b"", "baci/HS17", "V1", "the file is empty"),
        ("baci", "../x", b"x", "baci/HS17", "V1", "'../x' cannot be a file's name"),
        ("baci", ".x", b"x", "baci/HS17", "V1", "cannot be a file's name"),
        ("baci", "x.meta.json", b"x", "baci/HS17", "V1", "cannot be a file's name"),
        ("baci", NAME, b"x", "baci/HS17", "../up", "'../up' cannot be the label"),
        ("baci", NAME, b"x", "baci/HS17", "", "'' cannot be the label"),
        ("baci", NAME, b"x", "icio/HS17", "V1", "'icio/HS17' is no slot of baci"),
        ("baci", NAME, b"x", "baci/../x", "V1", "is no slot of baci"),
        ("baci", "x.zip", b"PK\x03\x04broken", "baci/HS17", "V1", "truncated or damaged"),
    ],
)
def test_what_cannot_be_kept_is_refused_and_leaves_nothing(
    archive: Archive, source: str, name: str, content: bytes, slot: str, label: str, said: str
) -> None:
    with pytest.raises(InputRefused) as refused:
        archive.keep(source, name, content, about(slot, label))
    assert said in str(refused.value)
    assert not tree(archive.root)
    assert not list(archive.root.glob(".keeping-*"))


def test_a_source_that_nobody_reads_is_wrong_use(archive: Archive) -> None:
    with pytest.raises(WrongUse, match="'exiobase' is no source"):
        archive.keep("exiobase", "x", b"x", about("exiobase/x"))


def test_a_zip_that_leads_out_is_not_kept(archive: Archive, tmp_path: Path) -> None:
    path = tmp_path / "evil.zip"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("../../etc/passwd", "x")
    with pytest.raises(InputRefused, match=r"evil\.zip, zip entry '../../etc/passwd': the name leads out"):
        archive.keep("baci", "BACI_HS17_V1.zip", path, about())
    assert path.exists()
    assert not archive.files()


def test_a_full_disk_is_told_and_the_path_is_still_there(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one patched write: a real full disk is in test_fetch, this is the sidecar alone that finds no room."""
    part = tmp_path / "x.part"
    part.write_bytes(FLOWS)

    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(module, "_write", full)
    with pytest.raises(DiskFull, match="there is no room"):
        keep(archive, part)
    assert part.read_bytes() == FLOWS
    assert not tree(archive.root)
    assert not list((archive.root / "baci").iterdir())
    assert not list(archive.root.glob(".keeping-*"))


def test_what_a_killed_run_left_is_finished_or_removed(archive: Archive) -> None:
    file = keep(archive).file
    vintage = file.path.parent
    # Killed just before the rename: everything is there, under the name of building.
    whole = archive.root / ".keeping-a"
    vintage.rename(whole)
    # Killed before the file was moved in, and with half a file.
    for name, content in ((".keeping-b", None), (".keeping-c", FLOWS[:9])):
        building = archive.root / name
        building.mkdir()
        (building / f"{NAME}.meta.json").write_bytes((whole / f"{NAME}.meta.json").read_bytes())
        if content is not None:
            (building / NAME).write_bytes(content)
    (archive.root / ".keeping-d").mkdir()
    (archive.root / "..state.json.xyz").write_bytes(b"{")
    again = Archive(archive.home)
    assert again.files() == []
    again.recover()
    assert [f.path for f in again.files()] == [file.path]
    assert not again.verify()
    assert not list(archive.root.glob(".keeping-*"))
    assert not (archive.root / "..state.json.xyz").exists()


def test_verify_names_each_fault_once(archive: Archive) -> None:
    def fresh(content: bytes) -> Path:
        return keep(archive, content).file.path

    good, flipped, short, gone, orphan = (fresh(b"%d%s" % (n, FLOWS)) for n in range(5))
    for path in (flipped, short):
        path.chmod(0o644)
    flipped.write_bytes(b"9" + flipped.read_bytes()[1:])
    short.write_bytes(short.read_bytes()[:-5])
    gone.unlink()
    orphan.with_name(NAME + ".meta.json").unlink()
    torn = fresh(b"torn").with_name(NAME + ".meta.json")
    lying = fresh(b"lying").with_name(NAME + ".meta.json")
    moved = fresh(b"moved").parent
    for path in (torn, lying):
        path.chmod(0o644)
    torn.write_text("{")
    lying.write_text(lying.read_text().replace('"baci/HS17"', '""'))
    moved = moved.rename(moved.with_name("V209901-" + moved.name[-12:]))
    (good.parent / "notes.txt").write_text("x")
    (archive.root / "baci" / "stray.csv").write_text("x")
    (archive.root / "baci" / "empty").mkdir()
    (archive.root / "unknown").mkdir()
    seen: list[str] = []
    problems = {p.path: p.sentence for p in Archive(archive.home).verify(tell=lambda f: seen.append(f.vintage))}
    relative = {p: p.relative_to(archive.root).as_posix() for p in (flipped, short, gone, orphan)}
    digest = hashlib.sha256(flipped.read_bytes()).hexdigest()[:12]
    assert problems.pop(relative[flipped]) == (
        f"raw/{relative[flipped]}: the file has sha256 {digest}... where its sidecar states "
        f"{flipped.parent.name[-12:]}...; remove the folder and fetch again."
    )
    assert f"the file has {len(FLOWS) - 4} bytes where its sidecar states {len(FLOWS) + 1}" in problems.pop(
        relative[short]
    )
    assert "is gone, its sidecar is there: remove the folder and fetch again." in problems.pop(relative[gone])
    assert "has no sidecar: move it away and fetch again." in problems.pop(relative[orphan])
    assert "has no sidecar" in problems.pop(f"baci/{good.parent.name}/notes.txt")
    assert "not readable as JSON" in problems.pop(f"baci/{torn.parent.name}/{torn.name}")
    assert "the sidecar lacks 'slot'" in problems.pop(f"baci/{lying.parent.name}/{lying.name}")
    assert "it lies at 'V209901-" in problems.pop(f"baci/{moved.name}/{NAME}.meta.json")
    assert problems.pop("baci/stray.csv") == "raw/baci/stray.csv lies outside a vintage: move it away."
    assert problems.pop("baci/empty") == "raw/baci/empty is empty: remove it."
    assert problems.pop("unknown") == "raw/unknown belongs to no source: move it away."
    assert not problems
    assert good.parent.name in seen
    with pytest.raises(WrongUse, match=r"no source 'icio' \(it holds baci\)"):
        archive.verify("icio")


def test_an_empty_archive_has_no_faults(archive: Archive) -> None:
    assert archive.verify() == archive.files() == []
    assert archive.current() == {}


def test_a_damaged_file_is_kept_again_beside_itself(archive: Archive) -> None:
    first = keep(archive).file
    first.path.unlink()
    again = keep(archive)
    assert again.file.path.read_bytes() == FLOWS
    assert again.file.path != first.path
    assert archive.current()["baci/HS17"] == again.file


def test_the_inventory_is_the_current_file_of_every_slot_in_use(archive: Archive) -> None:
    keep(archive, hs_revision="HS17", release="V202501")
    second = keep(archive, FLOWS + b"2022,1,2,010121,1,1\n", hs_revision="HS17", release="V202501").file
    keep(archive, slot="baci/HS92", name="BACI_HS92_Y2022_V202501.csv")
    archive.keep("wgi", "GOV_WGI_PV.EST.json", b"[]", about("wgi/PV", "2026-11"))
    archive.keep("mining", "deck.pdf", b"x", about("mining/deck", "2026-11"))
    archive.keep("comtrade", "C_M_HS_202609_528.json.gz", b"\x1f\x8b", about("comtrade/M/2026-09/528", "x"))
    inventory = archive.inventory(upstreams("baci/HS17", "wgi/PV", "mining/deck"))
    found = [(f.source, f.kind, f.year, f.release, f.relative, f.sha256) for f in inventory.files]
    assert found[0] == ("baci", "flows", 2022, "V202501", second.relative, second.sha256)
    assert [f[0] for f in found] == ["baci", "wgi"]
    assert inventory.files[0].sidecar.licence == "L"
    assert inventory.files[0].sidecar_from == "beside"
    assert [u.relative.rpartition("/")[2] for u in inventory.unrecognised] == ["deck.pdf"]
    assert inventory.root == archive.root
    with_comtrade = archive.inventory(upstreams("baci/HS17", comtrade=True))
    assert {f.source for f in with_comtrade.files} | {u.relative[:8] for u in with_comtrade.unrecognised} >= {"baci"}
    assert "comtrade" in {f.source for f in with_comtrade.files} | {
        u.relative.partition("/")[0] for u in with_comtrade.unrecognised
    }


def test_without_a_trade_source_the_inventory_names_the_fetch(archive: Archive) -> None:
    for _ in range(2):
        with pytest.raises(InputRefused, match=r"no trade source: the archive holds no BACI file .* sources fetch"):
            archive.inventory(upstreams("baci/HS17"))
        archive.keep("wgi", "a.json", b"[]", about("wgi/PV"))


def test_the_inventory_trusts_a_hash_only_while_size_and_time_stand(archive: Archive) -> None:
    file = keep(archive).file
    ups = upstreams("baci/HS17")
    archive.inventory(ups)
    hashed: list[Path] = []
    real = module.sha256_of

    def counting(path: Path) -> str:
        hashed.append(path)
        return real(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "sha256_of", counting)
        Archive(archive.home).inventory(ups)
        assert hashed == []
        os.utime(file.path, (1, 1))
        Archive(archive.home).inventory(ups)
        Archive(archive.home).inventory(ups)
        assert hashed == [file.path]
    file.path.chmod(0o644)
    file.path.write_bytes(b"x" + FLOWS[1:])
    with pytest.raises(InputRefused, match=r"has sha256 .* where its sidecar states .*; remove its folder and run"):
        archive.inventory(ups)
    file.path.unlink()
    with pytest.raises(InputRefused, match="the archived file is gone; remove its folder and run"):
        archive.inventory(ups)


def test_notes_that_cannot_be_read_are_named(archive: Archive) -> None:
    keep(archive)
    (archive.root / ".state.json").write_text("{")
    with pytest.raises(InputRefused, match=r"\.state\.json: not readable as JSON .* delete it"):
        archive.current()


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["baci/HS17", "baci/HS92"]), st.sampled_from([b"a", b"b", b"c"])), max_size=8)
)
def test_any_series_of_fetches_keeps_every_content_once_and_the_last_one_current(
    tmp_path_factory: pytest.TempPathFactory, series: list[tuple[str, bytes]]
) -> None:
    archive = Archive(tmp_path_factory.mktemp("home"), Clock())
    last: dict[str, bytes] = {}
    for slot, content in series:
        kept = keep(archive, content, slot=slot)
        assert kept.state == ("new" if slot not in last else "unchanged" if last[slot] == content else "changed")
        last[slot] = content
    again = Archive(archive.home)
    assert {(f.slot, f.path.read_bytes()) for f in again.files()} == set(series)
    assert len(again.files()) == len(set(series))
    assert {slot: f.path.read_bytes() for slot, f in again.current().items()} == last
    assert not again.verify()
