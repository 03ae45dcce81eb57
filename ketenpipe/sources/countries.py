"""Country codes: BACI's numeric list, the aliases that sources use, ISO codes and names in English and Dutch.

ISO3 is the key of every later table. Taiwan is 490 with ISO3 ``S19`` in BACI and ``TWN`` here; France is 251,
the USA 842, India 699, Switzerland 757: the list shipped with a release decides. Belongs here: who is who.
    Does not belong
here: blocs and their members (reference data).
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import pycountry
from babel import Locale

from ketenpipe.errors import InputRefused
from ketenpipe.sources.opening import base_name, place, read_rows, zip_entries
from ketenpipe.sources.places import Inventory, embedded, release_in

#: Entities that are no ISO 3166 country today but stand in the sources: (English, Dutch).
EXTRA_NAMES: dict[str, tuple[str, str]] = {
    "ANT": ("Netherlands Antilles", "Nederlandse Antillen"),
    "CSK": ("Czechoslovakia", "Tsjecho-Slowakije"),
    "DDR": ("German Democratic Republic", "Duitse Democratische Republiek"),
    "PUS": ("US Miscellaneous Pacific Islands", "Kleine Amerikaanse eilanden in de Stille Oceaan"),
    "R20": ("Europe EFTA, not elsewhere specified", "Europa EVA, niet nader aangeduid"),
    "ROW": ("Rest of the world", "Rest van de wereld"),
    "SCG": ("Serbia and Montenegro", "Servië en Montenegro"),
    "SUN": ("Soviet Union", "Sovjet-Unie"),
    "UNK": ("Unknown origin", "Onbekende herkomst"),
    "XKX": ("Kosovo", "Kosovo"),
    "ZA1": ("Southern African Customs Union", "Zuidelijk-Afrikaanse Douane-unie"),
}


@dataclass(frozen=True)
class Country:
    """A line of BACI's country list, after the alias table. ``iso2`` is None where the list states none."""

    code: int
    name: str
    iso2: str | None
    iso3: str


@dataclass(frozen=True)
class CountryList:
    """BACI's country list of one release: numeric code to country; several codes may share an ISO3 (58 and
    56: BEL)."""

    by_code: Mapping[int, Country]
    path: str
    release: str | None
    note: str | None = None
    iso3: Mapping[int, str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "iso3", {code: country.iso3 for code, country in self.by_code.items()})


@lru_cache(maxsize=8)
def _aliases(path: Path) -> dict[tuple[str, str], str]:
    table: dict[tuple[str, str], str] = {}
    with path.open(encoding="utf-8", newline="") as stream:
        for line, row in enumerate(csv.DictReader(stream), start=2):
            try:
                key, iso3 = (row["source"].strip(), row["code"].strip()), row["iso3"].strip()
            except (KeyError, AttributeError) as broken:
                raise InputRefused(
                    "the alias table needs the columns source, code, iso3, why",
                    path=path,
                    where=f"line {line}",
                ) from broken
            if not re.fullmatch(r"[A-Z0-9]{3}", iso3):
                raise InputRefused(f"'{iso3}' is no three-character country code", path=path, where=f"line {line}")
            if key in table:
                raise InputRefused(f"the alias {key[0]},{key[1]} stands twice", path=path, where=f"line {line}")
            table[key] = iso3
    return table


@lru_cache(maxsize=8192)
def harmonise(iso3: str, source: str) -> str:
    """The project's ISO3 code for a code as a source writes it.

    The table ``country_aliases.csv`` (reference data: source, code, iso3, why) decides, a source's own line
    before the line of every source (``*``). ``R20`` is Kosovo in the governance and mining files and "Europe
    EFTA, nes" in
    BACI: that is why the source counts. A code without an alias comes back as it is.
    """
    table = _aliases(embedded("reference") / "country_aliases.csv")
    code = iso3.strip()
    return table.get((source, code)) or table.get(("*", code)) or code


@lru_cache(maxsize=1)
def iso3_to_iso2() -> dict[str, str]:
    """ISO 3166 alpha-3 to alpha-2, with Kosovo (XKX, XK)."""
    return {c.alpha_3: c.alpha_2 for c in pycountry.countries} | {"XKX": "XK"}


@lru_cache(maxsize=1)
def iso2_to_iso3() -> dict[str, str]:
    """ISO 3166 alpha-2 to alpha-3, with Kosovo (XK, XKX)."""
    return {two: three for three, two in iso3_to_iso2().items()}


def is_known(iso3: str) -> bool:
    """Whether a harmonised code is a country of today, or an entity that the sources are known to carry."""
    return iso3 in iso3_to_iso2() or (iso3 in EXTRA_NAMES and iso3 != "UNK")


@lru_cache(maxsize=1)
def country_names() -> dict[str, tuple[str, str]]:
    """ISO3 to (English, Dutch) name, from CLDR through Babel; entities without an ISO code from a short list
    here."""
    english, dutch = Locale.parse("en").territories, Locale.parse("nl").territories
    names = {
        three: (str(english.get(two, three)), str(dutch.get(two, english.get(two, three))))
        for three, two in sorted(iso3_to_iso2().items())
    }
    return names | EXTRA_NAMES


def repair_mojibake(name: str) -> str:
    """A name whose UTF-8 bytes were once read as Latin-1 (``CuraÃ§ao``) put right; any other comes back as it
    is."""
    if not re.search("[ÂÃÅ]", name):
        return name
    for encoding in ("latin-1", "cp1252"):
        try:
            return name.encode(encoding).decode("utf-8")
        except UnicodeError:
            continue
    return name


_COLUMNS = {
    "code": ("country_code",),
    "name": ("country_name", "country_name_full", "country_name_abbreviation"),
    "iso2": ("country_iso2", "iso_2digit_alpha"),
    "iso3": ("country_iso3", "iso_3digit_alpha"),
}


def read_country_list(path: Path, entry: str | None = None) -> CountryList:
    """Reads ``country_codes_V*.csv``, either header generation.

    Namibia's iso2 ``NA`` is text here, never a null; a blank iso2 is None (but Namibia's, which careless
    tools lose, is restored from ISO 3166). Names broken by a wrong encoding are repaired.

    Raises:
        InputRefused: a missing column, a code that is no number, a code twice, no ISO3.
    """
    header, rows = read_rows(path, entry)
    lower = [h.lower() for h in header]
    where = f"zip entry {entry}, " if entry else ""
    at: dict[str, int] = {}
    for key, names in _COLUMNS.items():
        found = next((lower.index(n) for n in names if n in lower), None)
        if found is None:
            raise InputRefused(
                f"column '{names[0]}' is missing (found: {', '.join(header)})",
                path=path,
                where=where.rstrip(", ") or None,
                todo="use the country list shipped with the release",
            )
        at[key] = found
    countries: dict[int, Country] = {}
    for line, row in rows:
        code_text, iso3 = row[at["code"]].strip(), row[at["iso3"]].strip()
        if not code_text.isdigit():
            raise InputRefused(f"the country code '{code_text}' is no number", path=path, where=f"{where}line {line}")
        code = int(code_text)
        if code in countries:
            raise InputRefused(f"the country code {code} stands twice", path=path, where=f"{where}line {line}")
        if not re.fullmatch(r"[A-Z0-9]{3}", iso3) and code != 490:
            raise InputRefused(
                f"the ISO3 code '{iso3}' of country {code} is not three characters",
                path=path,
                where=f"{where}line {line}",
            )
        three = "TWN" if code == 490 else harmonise(iso3, "baci")
        two = row[at["iso2"]].strip() or iso3_to_iso2().get(three)
        countries[code] = Country(code, repair_mojibake(row[at["name"]].strip()), two or None, three)
    if not countries:
        raise InputRefused("the country list holds no rows", path=path, where=where.rstrip(", ") or None)
    return CountryList(countries, place(path, entry), release_in(base_name(entry) if entry else path.name))


def country_list(inventory: Inventory, release: str | None = None) -> CountryList:
    """The country list for a BACI release: that of the same release, else the newest, with a note.

    Args:
        inventory: what the sources folder holds; lists inside zips count.
        release: the release of the flows, e.g. ``V202401b``; None or unknown takes the newest.

    Returns:
        The list; where the folder has none, the one embedded with the sample, with a note.
    """
    found: list[tuple[str | None, Path, str | None]] = [
        (f.release, f.path, None) for f in inventory.of("baci", "countries")
    ]
    for archive in inventory.of("baci", "archive"):
        for entry in zip_entries(archive.path):
            if re.match(r"country_codes.*\.csv(\.gz)?$", base_name(entry), re.I):
                found.append((release_in(base_name(entry)) or archive.release, archive.path, entry))
    same = [item for item in found if release is not None and item[0] == release]
    if same:
        return read_country_list(same[0][1], same[0][2])
    if found:
        newest, path, inside = max(found, key=lambda item: (item[0] or "", str(item[1])))
        chosen = read_country_list(path, inside)
        used = base_name(inside) if inside else path.name
        note = f"no country list of release {release or 'unknown'}: {used} is used"
        return CountryList(chosen.by_code, chosen.path, newest, note)
    own = sorted((embedded("sample") / "baci").glob("country_codes_*.csv"))
    if not own:
        raise InputRefused("no BACI country list", path=inventory.root, todo="put country_codes_V*.csv into baci/")
    chosen = read_country_list(own[-1])
    return CountryList(
        chosen.by_code,
        chosen.path,
        chosen.release,
        f"no country list among the sources: the embedded {own[-1].name} is used",
    )
