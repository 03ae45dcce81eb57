"""All official sources on one stand-in server, made of the embedded sample and of made-up UN Comtrade reports.

Belongs here: what is served, and the ``upstreams.toml`` that points at it. The made-up reports are the sample's own
flows, the importer's with 5 % freight on top, spread evenly over the months.
"""

from __future__ import annotations

import csv
import gzip
import io
import zipfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from ketenpipe.sources.comtrade_api import comtrade_config, wanted_periods
from ketenpipe.sources.places import embedded
from ketenpipe_tests.upstream.comtrade import ISO, Comtrade, Trade
from ketenpipe_tests.upstream.server import Upstream

KEY = "a-good-key"
RELEASE = "V202501"
CODES = ("282200", "810510", "280530")
FREIGHT = 1.05
YEARS = (2023, 2024)
SECTION = {
    "annual_years": 2,
    "monthly_months": 13,
    "lag_months": 2,
    "seconds_between_calls": 0.0,
    "key_page": "http://127.0.0.1/keys",
}


def baci_zip(years: tuple[int, ...] = YEARS, release: str = RELEASE) -> bytes:
    """The sample's year files as a release zip."""
    sample = embedded("sample") / "baci"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for year in years:
            (path,) = sample.glob(f"BACI_HS92_Y{year}_*.csv.gz")
            stamped = zipfile.ZipInfo(f"BACI_HS92_Y{year}_{release}.csv", (2026, 1, 1, 0, 0, 0))
            archive.writestr(stamped, gzip.decompress(path.read_bytes()), zipfile.ZIP_DEFLATED)
        for kind in ("country_codes", "product_codes_HS92"):
            (path,) = sample.glob(f"{kind}_V*.csv")
            stamped = zipfile.ZipInfo(f"{kind}_{release}.csv", (2026, 1, 1, 0, 0, 0))
            archive.writestr(stamped, path.read_bytes(), zipfile.ZIP_DEFLATED)
    return out.getvalue()


def reports(year: int, periods: list[str]) -> list[Trade]:
    """The sample's flows of some codes among the stand-in's countries as both partners report them."""
    sample = embedded("sample") / "baci"
    (path,) = sample.glob(f"BACI_HS92_Y{year}_*.csv.gz")
    countries = {c for c in ISO if ISO[c] not in ("W00", "_X ", "EUR")}
    found = []
    for row in csv.DictReader(io.StringIO(gzip.decompress(path.read_bytes()).decode())):
        i, j, k = int(row["i"]), int(row["j"]), row["k"]
        if k not in CODES or i not in countries or j not in countries:
            continue
        value, tonnes = float(row["v"]) * 1000, row["q"].strip()
        for period in periods:
            part = 1 if len(period) == 4 else 12
            weight = float(tonnes) * 1000 / part if tonnes not in ("", "NA") else None
            name = period.replace("-", "")
            found.append(Trade(name, i, "X", k, j, round(value / part, 2), weight, "H0"))
            found.append(Trade(name, j, "M", k, i, round(value * FREIGHT / part, 2), weight, "H0"))
    return found


@dataclass
class Official:
    """The sources as they are served; change what is served and fetch again."""

    server: Upstream
    comtrade: Comtrade = field(init=False)

    def __post_init__(self) -> None:
        config = comtrade_config({"base": self.server.url, **SECTION})
        periods = wanted_periods(config, datetime.now(UTC))
        self.comtrade = Comtrade(reports(2024, periods))
        self.server.handle("/", self.comtrade)
        sample = embedded("sample")
        self.baci(baci_zip())
        self.server.serve("/wgi.csv", (sample / "wgi" / "wgi_pv_estimate_1996_2024.csv").read_bytes())
        (mining,) = (sample / "mining").glob("*.csv")
        self.server.serve("/world_mining_data.csv", mining.read_bytes())
        (icio,) = (sample / "icio").glob("*.csv.gz")
        self.server.serve("/2022_SML_SYNTHETIC.csv.gz", icio.read_bytes())

    def baci(self, content: bytes, release: str = RELEASE) -> None:
        """Serve a release and link to it."""
        name = f"BACI_HS92_{release}.zip"
        self.server.serve(f"/baci/{name}", content)
        self.server.serve("/baci/page.html", f'<html><a href="{name}">BACI</a></html>'.encode())

    def write(self, home: Path) -> None:
        """Put an ``upstreams.toml`` that points here under a home."""
        url = self.server.url
        rows = [
            ("baci", "baci/HS92", f"newest_of = {{ page = '{url}/baci/page.html', pattern = "
             "'BACI_HS92_(V\\d{6}[a-z]?)\\.zip' }\nhs_revision = 'HS92'"),
            ("wgi", "wgi/PV", f"url = '{url}/wgi.csv'\nlabel = '2024'\nvintages = "
             "[{ vintage = 'old', from_year = 1996, to_year = 2022 }, "
             "{ vintage = 'new', from_year = 2023, to_year = 2030 }]"),
            ("mining", "mining/wmd", f"url = '{url}/world_mining_data.csv'\nlabel = '2026'"),
            ("icio", "icio/SML", f"url = '{url}/2022_SML_SYNTHETIC.csv.gz'\nlabel = 'synthetic'"),
        ]  # fmt: skip
        text = "".join(
            f"[[file]]\nsource = '{source}'\nslot = '{slot}'\n{more}\nlicence = 'a licence'\nstale_after_days = 45\n\n"
            for source, slot, more in rows
        )
        section = {"base": url, **SECTION}
        text += "[comtrade]\n" + "".join(
            f"{k} = {v!r}\n" if not isinstance(v, str) else f"{k} = '{v}'\n" for k, v in section.items()
        )
        folder = home / "reference"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "upstreams.toml").write_text(text)
