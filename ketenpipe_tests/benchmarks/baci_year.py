"""Makes years shaped like BACI's: made-up flows between real country codes in real product codes, from a seed.

Each pair of countries trades each product with a chance that grows with the size of both and of the product, so
that a few countries and products hold most rows, as in BACI (5,000 products, 226 countries, 11.3 million rows a
year, 5 % of the quantities ``NA``, numbers with leading blanks and three decimals, rows by exporter, importer and
product). The same arguments give the same text.
"""

from __future__ import annotations

import csv
import io
import os
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from ketenpipe.sources.countries import read_country_list
from ketenpipe.sources.places import embedded

#: Rows of a real year.
FULL_ROWS = 11_300_000
PRODUCTS = 5_000
COUNTRIES = 226
RELEASE = "V202401b"
REVISION = "HS92"
MISSING_SHARE = 0.05
#: Numbers are padded with blanks to this width.
WIDTH = 9

_Floats = npt.NDArray[np.float64]


def cache() -> Path:
    """Where made-up files are kept between runs: in the system's temporary folder, never in the project."""
    return Path(tempfile.gettempdir()) / "ketenpipe-benchmarks"


def country_codes() -> list[int]:
    """The first 226 numeric codes of the embedded country list that do not share their ISO3, in order."""
    (path,) = sorted((embedded("sample") / "baci").glob("country_codes_*.csv"))
    by_iso3: dict[str, int] = {}
    for country in read_country_list(path).by_code.values():
        by_iso3[country.iso3] = country.code
    return sorted(by_iso3.values())[:COUNTRIES]


def product_codes() -> list[str]:
    """The first 5,000 codes of the embedded HS92 list, six characters each, in order."""
    (path,) = sorted((embedded("reference") / "hs_codes").glob(f"product_codes_{REVISION}_*.csv"))
    with path.open(encoding="utf-8", newline="") as stream:
        codes = [row["code"].strip().zfill(6) for row in csv.DictReader(stream)]
    return sorted(c for c in codes if c.isdigit())[:PRODUCTS]


def _size(rng: np.random.Generator, n: int, spread: float) -> _Floats:
    drawn: _Floats = rng.lognormal(0.0, spread, n)
    return drawn / drawn.mean()


def year_batches(rows: int = FULL_ROWS, year: int = 2022, seed: int = 1) -> Iterator[pa.Table]:
    """The rows of a year, one exporter after the other, as text columns ``t,i,j,k,v,q``.

    Args:
        rows: about so many (within 1 % for a full year).
        year: stands in column ``t`` and seeds the draws together with ``seed``.
        seed: of the generator.
    """
    rng = np.random.default_rng([seed, year])
    countries = np.array(country_codes(), dtype=np.int32)
    codes = pa.array(product_codes())
    n, m = len(countries), len(codes)
    exports, imports, products = _size(rng, n, 1.6), _size(rng, n, 1.1), _size(rng, m, 0.9)
    # The level of the chances that gives the wanted rows, by the sum over some 200 products in order of size.
    pairs = np.multiply.outer(exports, imports)
    np.fill_diagonal(pairs, 0.0)
    some = np.sort(products)[m // 400 :: max(m // 200, 1)]
    level = 0.0
    for step in 2.0 ** np.arange(12, -24, -1):
        if np.minimum((level + step) * pairs[:, :, None] * some, 0.98).sum() * m / some.size < rows:
            level += step
    for at in range(n):
        chance = np.minimum(level * pairs[at][:, None] * products[None, :], 0.98).astype(np.float32)
        importer, product = np.nonzero(rng.random((n, m), dtype=np.float32) < chance)
        found = importer.size
        if not found:
            continue
        scale = np.sqrt(exports[at] * imports[importer] * products[product])
        thousandths = np.maximum(rng.lognormal(3.2, 2.4, found) * scale * 1000, 1).astype(np.int64)
        per_kusd = rng.lognormal(-1.0, 1.5, found)
        grams = np.maximum(thousandths * per_kusd, 1).astype(np.int64)
        missing = rng.random(found) < MISSING_SHARE
        yield pa.table(
            {
                "t": pa.repeat(pa.scalar(year, pa.int32()), found),
                "i": pa.repeat(pa.scalar(int(countries[at]), pa.int32()), found),
                "j": pa.array(countries[importer]),
                "k": codes.take(pa.array(product)),
                "v": _number(thousandths),
                "q": pc.if_else(pa.array(missing), pa.scalar("NA"), _number(grams)),
            }
        )


def _number(thousandths: npt.NDArray[np.int64]) -> pa.Array:
    wide = np.zeros((thousandths.size, 2), dtype="<i8")
    wide[:, 0] = thousandths
    exact = pa.Array.from_buffers(pa.decimal128(18, 3), thousandths.size, [None, pa.py_buffer(wide)])
    return pc.ascii_lpad(exact.cast(pa.string()), WIDTH)


def release_zip(rows: int = FULL_ROWS, years: tuple[int, ...] = (2022,), seed: int = 1) -> Path:
    """A release zip as CEPII packs it, made once and kept: year files, country list and product list.

    Returns:
        ``<cache>/<rows>-<years>-<seed>/baci/BACI_HS92_V202401b.zip``; its second parent is a drop folder.
    """
    folder = cache() / f"{rows}-{'-'.join(map(str, years))}-{seed}" / "baci"
    path = folder / f"BACI_{REVISION}_{RELEASE}.zip"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    handle, unfinished = tempfile.mkstemp(dir=folder, prefix=".", suffix=".part")
    os.close(handle)
    try:
        with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
            for year in years:
                with archive.open(entry_of(year), "w", force_zip64=True) as sink:
                    sink.write(b"t,i,j,k,v,q\n")
                    for table in year_batches(rows, year, seed):
                        text = io.BytesIO()
                        pacsv.write_csv(table, text, pacsv.WriteOptions(include_header=False, quoting_style="none"))
                        sink.write(text.getbuffer())
            (countries,) = sorted((embedded("sample") / "baci").glob("country_codes_*.csv"))
            (products,) = sorted((embedded("reference") / "hs_codes").glob(f"product_codes_{REVISION}_*.csv"))
            archive.write(countries, f"country_codes_{RELEASE}.csv")
            archive.write(products, f"product_codes_{REVISION}_{RELEASE}.csv")
        Path(unfinished).replace(path)
    except BaseException:
        Path(unfinished).unlink(missing_ok=True)
        raise
    return path


def entry_of(year: int) -> str:
    """The name of a year within the zip."""
    return f"BACI_{REVISION}_Y{year}_{RELEASE}.csv"
