"""Validation: published figures that can be cited, beside what ketenpipe finds, with the difference and its cause.

Belongs here: reading ``published_figures.csv``, finding ketenpipe's own figure in the tables of a release, judging the
difference, and the page. Does not belong here: computing an indicator, or changing one because a published figure
differs. A published figure that nobody read (``citation_status`` ``recalled``) is shown and judges nothing.
"""

from __future__ import annotations

import base64
import csv
import io
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import jinja2
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ketenpipe.errors import InputRefused
from ketenpipe.observatory.pictures import BLUE, GRID, INK, MUTED, ORANGE, PAPER, RED
from ketenpipe.risk.definitions import REASONS
from ketenpipe.tables.registry import VALIDATION, YEAR

FILE = "published_figures.csv"
PALE = "#b8c0c9"
#: HS revision -> column of the file that lists the codes in it.
CODE_COLUMNS = {"HS92": "codes", "HS17": "codes_hs17"}
#: Quantities that stand in one row of table ``indicators``.
OF_INDICATORS = ("indicator", "method_value", "named_share")
#: Differences are compared with tolerances after rounding: 0.37 - 0.32 is not above 0.05.
DIGITS = 9

Quantity = Literal[
    "indicator", "method_value", "named_share", "import_share", "traced_share", "flagged_share", "flagged_from"
]
Relation = Literal["equal", "above", "below"]
Language = Literal["en", "nl"]


class PublishedFigure(BaseModel):
    """One published figure and where ketenpipe's own stands.

    ``quantity``: ``indicator`` (its value), ``method_value`` (as the publication would have it), ``named_share`` (share
    of the country that the indicator names), ``import_share`` (of the country in the direct imports of all ``codes``
    together), ``traced_share`` (of the country in the traced supply of one code), ``flagged_share`` (of the told HS6
    codes that method ``codes`` flags), ``flagged_from`` (of the flagged HS6 codes, those whose largest supplier is the
    country).
    ``relation``: the published figure is the value itself, or a limit that the value lies above or below.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    figure: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    subject_en: str = Field(min_length=1)
    subject_nl: str = Field(min_length=1)
    quantity: Quantity
    focus: str | None = None
    level: Literal["hs6", "node", "set"]
    codes: str = Field(min_length=1)
    codes_hs17: str | None = None
    indicator: str | None = None
    measure: Literal["v", "q", "p", "none"] | None = None
    country: str | None = None
    year: int
    compared_year: int
    relation: Relation
    value: float
    unit: str = Field(min_length=1)
    tolerance: float = Field(ge=0)
    tolerance_why: str = Field(min_length=1)
    citation: str = Field(min_length=1)
    citation_status: Literal["read", "recalled"]
    opened: str | None = None
    url: str | None = None
    explanation: str | None = None
    explanation_nl: str | None = None

    @field_validator("*", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        text = value.strip() if isinstance(value, str) else value
        return None if text == "" else text

    @model_validator(mode="after")
    def _holds_together(self) -> PublishedFigure:
        needs = {
            "indicator": ("indicator", "measure"),
            "method_value": ("indicator", "measure"),
            "named_share": ("indicator", "measure", "country"),
            "import_share": ("focus", "measure", "country"),
            "traced_share": ("focus", "country"),
            "flagged_share": ("focus",),
            "flagged_from": ("focus", "country"),
        }[self.quantity]
        if lacking := [n for n in needs if getattr(self, n) is None]:
            raise ValueError(f"quantity {self.quantity} needs {' and '.join(lacking)}")
        if self.quantity == "import_share" and self.measure not in ("v", "q"):
            raise ValueError("an import share is by value (v) or by mass (q)")
        if self.level == "hs6":
            for column in CODE_COLUMNS.values():
                for code in (getattr(self, column) or "").split():
                    if not re.fullmatch(r"[0-9]{6}", code):
                        raise ValueError(f"the HS code '{code}' has not six digits")
        if self.quantity == "traced_share" and len(self.codes.split()) != 1:
            raise ValueError("a traced share is of one code: tonnes of different goods do not add up")
        if (self.citation_status == "read") != (self.opened is not None):
            raise ValueError("a figure that was read says when and what was opened, a recalled one cannot")
        if (self.explanation is None) != (self.explanation_nl is None):
            raise ValueError("an explanation stands in both languages")
        return self

    def codes_in(self, hs_revision: str) -> frozenset[str]:
        """The figure's codes in one HS revision; empty where the file has none for it."""
        if hs_revision not in CODE_COLUMNS:
            return frozenset()
        return frozenset((getattr(self, CODE_COLUMNS[hs_revision]) or "").split())

    def shown_codes(self, hs_revision: str | None) -> str:
        """What the figure is about: a node, a method, or codes, in the revision in which they were found."""
        return (
            self.codes if self.level != "hs6" or hs_revision is None else " ".join(sorted(self.codes_in(hs_revision)))
        )

    def holds(self, ours: float) -> bool:
        """Whether ketenpipe's figure is what the publication says, within the tolerance (on it is within)."""
        difference = round(ours - self.value, DIGITS)
        if self.relation == "above":
            return difference > 0
        if self.relation == "below":
            return difference < 0
        return abs(difference) <= self.tolerance


def load_published(*directories: Path) -> tuple[PublishedFigure, ...]:
    """Read ``published_figures.csv`` from the last directory that holds one.

    Raises:
        InputRefused: no file, no UTF-8, a column missing or unknown, a line that does not hold together, an id that
            stands twice.
    """
    paths = [d / FILE for d in directories if (d / FILE).exists()]
    if not paths:
        raise InputRefused(f"{FILE} is missing", path=directories[-1] if directories else None)
    path = paths[-1]
    figures: dict[str, PublishedFigure] = {}
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream, restkey="a value beyond the last column")
            for row in reader:
                figure = PublishedFigure.model_validate(row)
                if figure.figure in figures:
                    raise InputRefused(
                        f"figure {figure.figure} stands twice", path=path, where=f"line {reader.line_num}"
                    )
                figures[figure.figure] = figure
    except UnicodeDecodeError as error:
        raise InputRefused(f"is not UTF-8 ({error.reason})", path=path) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        said = first["msg"].removeprefix("Value error, ")
        raise InputRefused(
            f"{place}: {said[0].lower()}{said[1:]}" if place else said,
            path=path,
            where=f"line {reader.line_num}",
            todo="compare it with data/reference/published_figures.csv",
        ) from error
    return tuple(figures.values())


# -- ketenpipe's own figures ----------------------------------------------------------------------------------
@dataclass(frozen=True)
class Needed:
    """Which rows of which tables the validation reads, as filters for ``Store.read``; ``years`` of ``supply_mix``."""

    indicators: pc.Expression
    flags: pc.Expression
    supply_mix: pc.Expression
    years: tuple[int, ...]


def needed(published: Sequence[PublishedFigure]) -> Needed:
    """The rows that :func:`build_validation` looks into: it gives the same from them as from the whole tables."""
    named = [f for f in published if f.quantity in OF_INDICATORS]
    sets = [f for f in published if f.quantity in ("flagged_share", "flagged_from")]
    mixes = [f for f in published if f.quantity in ("import_share", "traced_share")]
    codes = sorted({c for f in mixes for r in CODE_COLUMNS for c in f.codes_in(r)})

    def years(figures: Iterable[PublishedFigure]) -> pc.Expression:
        return pc.field("year").isin(pa.array(sorted({f.compared_year for f in figures}), YEAR))

    def among(column: str, values: Iterable[str | None]) -> pc.Expression:
        return pc.field(column).isin(pa.array(sorted({v for v in values if v is not None}), pa.string()))

    of_sets = (pc.field("level") == "hs6") & among("focus", (f.focus for f in sets)) & years(sets)
    of_names = (
        among("level", (f.level for f in named))
        & among("indicator", (f.indicator for f in named))
        & among("code", (c for f in named for c in (f.codes, *f.codes_in("HS92"), *f.codes_in("HS17"))))
        & years(named)
    )
    top = (pc.field("indicator") == "C1") & (pc.field("measure") == "v")
    return Needed(
        indicators=of_names | (of_sets & top),
        flags=of_sets & among("method", (f.codes for f in sets)),
        supply_mix=among("focus", (f.focus for f in mixes)) & among("code", codes) & years(mixes),
        years=tuple(sorted({f.compared_year for f in mixes})),
    )


@dataclass(frozen=True)
class _Ours:
    value: float | None = None
    reason: str | None = None
    hs_revision: str | None = None
    vintage: str | None = None


def build_validation(
    indicators: pa.Table, flags: pa.Table, supply_mix: pa.Table, published: Sequence[PublishedFigure]
) -> pa.Table:
    """Every published figure beside ketenpipe's own (contract ``validation``), in the order of the file.

    ``difference = ours - published``, ``ratio = ours / published``; ``within``: ``|difference| <= tolerance``, or on
    the right side of a published limit; null where the figure is recalled or ketenpipe has none (``reason`` says
    why). ``explained``: beyond the tolerance, whether the file states a cause.

    Args:
        indicators, flags, supply_mix: tables of a run, whole or filtered by :func:`needed`.
        published: the figures, see :func:`load_published`.
    """
    wanted = needed(published)
    tables = _Tables(
        indicators.filter(wanted.indicators).to_pylist(),
        flags.filter(wanted.flags).to_pylist(),
        supply_mix.filter(wanted.supply_mix).to_pylist(),
    )
    rows = []
    for position, figure in enumerate(published, start=1):
        ours = tables.of(figure)
        judged = ours.value is not None and figure.citation_status == "read"
        within = figure.holds(ours.value) if judged and ours.value is not None else None
        rows.append(
            {
                "position": position,
                **figure.model_dump(exclude={"value", "codes", "codes_hs17"}),
                "codes": figure.shown_codes(ours.hs_revision),
                "hs_revision": ours.hs_revision,
                "published": figure.value,
                "ours": ours.value,
                "difference": None if ours.value is None else ours.value - figure.value,
                "ratio": None if ours.value is None or figure.value == 0 else ours.value / figure.value,
                "within": within,
                "explained": None if within is not False else figure.explanation is not None,
                "reason": ours.reason,
                "source_vintage": ours.vintage,
            }
        )
    return VALIDATION.conform(rows)


class _Tables:
    """The rows of a run, ready to be looked up."""

    def __init__(
        self, indicators: list[dict[str, Any]], flags: list[dict[str, Any]], supply_mix: list[dict[str, Any]]
    ) -> None:
        self.indicators = sorted(
            indicators, key=lambda r: (r["focus"], r["hs_revision"] or "", r["group"] or "", r["tier"] or 0, r["basis"])
        )
        self.flags = flags
        self.supply_mix = supply_mix

    def of(self, figure: PublishedFigure) -> _Ours:
        if figure.quantity in OF_INDICATORS:
            return self._indicator(figure)
        if figure.quantity in ("import_share", "traced_share"):
            return self._mix(figure)
        return self._set(figure)

    def _indicator(self, figure: PublishedFigure) -> _Ours:
        found = [
            r
            for r in self.indicators
            if (r["level"], r["indicator"], r["measure"], r["year"])
            == (figure.level, figure.indicator, figure.measure, figure.compared_year)
            and figure.focus in (None, r["focus"])
            and (r["code"] in figure.codes_in(r["hs_revision"]) if figure.level == "hs6" else r["code"] == figure.codes)
        ]
        column = "method_value" if figure.quantity == "method_value" else "value"
        row = next((r for r in found if r[column] is not None), found[0] if found else None)
        if row is None:
            return _Ours(reason="not_in_run")
        if row[column] is None:
            return _Ours(None, row["reason"] or "not_in_run", row["hs_revision"], row["source_vintage"])
        if figure.quantity != "named_share":
            return _Ours(row[column], None, row["hs_revision"], row["source_vintage"])
        if row["country"] != figure.country:
            return _Ours(None, f"other_country_named; {row['country']}", row["hs_revision"], row["source_vintage"])
        return _Ours(row["country_share"], None, row["hs_revision"], row["source_vintage"])

    def _mix(self, figure: PublishedFigure) -> _Ours:
        for revision in CODE_COLUMNS:
            codes = figure.codes_in(revision)
            rows = [
                r
                for r in self.supply_mix
                if (r["focus"], r["year"], r["hs_revision"]) == (figure.focus, figure.compared_year, revision)
                and r["code"] in codes
            ]
            if not rows:
                continue
            if figure.quantity == "traced_share":
                shares = {r["country"]: r["share_traced"] for r in rows if r["share_traced"] is not None}
                # A country without a line supplies none of a supply that is known: that is a true zero.
                return _Ours(
                    shares.get(figure.country or "", 0.0) if shares else None,
                    None if shares else "no_supply",
                    revision,
                )
            column = "value_kusd" if figure.measure == "v" else "tonnes"
            whole = sum(r[column] or 0.0 for r in rows)
            if not whole > 0:
                return _Ours(None, "no_imports" if figure.measure == "v" else "no_mass", revision)
            return _Ours(sum(r[column] or 0.0 for r in rows if r["country"] == figure.country) / whole, None, revision)
        return _Ours(reason="not_in_run")

    def _set(self, figure: PublishedFigure) -> _Ours:
        of_set = [
            r
            for r in self.flags
            if (r["focus"], r["method"], r["year"]) == (figure.focus, figure.codes, figure.compared_year)
        ]
        if not of_set:
            return _Ours(reason="not_in_run")
        told = [r for r in of_set if r["flagged"] is not None]
        flagged = {(r["hs_revision"], r["code"]) for r in told if r["flagged"]}
        if figure.quantity == "flagged_share":
            return _Ours(len(flagged) / len(told)) if told else _Ours(reason="nothing_told")
        if not flagged:
            return _Ours(reason="nothing_flagged" if told else "nothing_told")
        from_there = {
            (r["hs_revision"], r["code"])
            for r in self.indicators
            if (r["level"], r["indicator"], r["measure"], r["focus"], r["year"], r["country"])
            == ("hs6", "C1", "v", figure.focus, figure.compared_year, figure.country)
        }
        return _Ours(len(flagged & from_there) / len(flagged))


def unexplained(validation: pa.Table) -> list[str]:
    """One sentence for each read figure that differs by more than its tolerance without a stated cause."""
    return [
        f"{r['figure']}: published {r['published']:.4g}, ketenpipe {r['ours']:.4g}, tolerance {r['tolerance']:.4g}"
        for r in validation.to_pylist()
        if r["explained"] is False
    ]


# -- the page ---------------------------------------------------------------------------------------------------
WORDS: dict[str, tuple[str, str]] = {
    "title": ("ketenpipe beside published figures", "ketenpipe naast gepubliceerde cijfers"),
    "intro": (
        "Each line is a figure that somebody else published, with ketenpipe's own from this release. Difference is "
        "ketenpipe minus published. Where the difference exceeds the stated tolerance, the cause is given. Nothing in "
        "ketenpipe is fitted to these figures.",
        "Elke regel is een cijfer dat iemand anders publiceerde, met dat van ketenpipe uit deze release. Verschil is "
        "ketenpipe min gepubliceerd. Waar het verschil groter is dan de vermelde tolerantie staat de oorzaak erbij. "
        "Niets in ketenpipe is op deze cijfers afgesteld.",
    ),
    "within": ("within tolerance", "binnen de tolerantie"),
    "beyond": ("beyond it, explained", "erbuiten, verklaard"),
    "unexplained": ("beyond it, not explained", "erbuiten, niet verklaard"),
    "missing": ("not in this run", "niet in deze run"),
    "recalled": ("not read, judges nothing", "niet gelezen, oordeelt niets"),
    "number": ("No.", "Nr."),
    "what": ("What", "Wat"),
    "year": ("Year", "Jaar"),
    "published": ("Published", "Gepubliceerd"),
    "ours": ("ketenpipe", "ketenpipe"),
    "difference": ("Difference", "Verschil"),
    "ratio": ("Ratio", "Verhouding"),
    "tolerance": ("Tolerance", "Tolerantie"),
    "verdict": ("Verdict", "Oordeel"),
    "source": ("Source", "Bron"),
    "above": ("above", "boven"),
    "below": ("below", "onder"),
    "compared": ("compared with", "vergeleken met"),
    "opened": ("opened", "geopend"),
    "share": ("Shares of world production", "Aandelen in de wereldproductie"),
    "index": ("Concentration of world production", "Concentratie van de wereldproductie"),
    "criticality": ("The EC's supply risk", "Aanbodrisico volgens de EC"),
    "imports": ("Shares of imports and of supply", "Aandelen in invoer en aanbod"),
    "sets": ("Flagged products", "Aangewezen producten"),
    "chart": (
        "Published (across) against ketenpipe (up). On the line both are equal; a number points to a line of the "
        "tables that is beyond its tolerance.",
        "Gepubliceerd (horizontaal) tegen ketenpipe (verticaal). Op de lijn zijn beide gelijk; een nummer verwijst "
        "naar een regel van de tabellen die buiten de tolerantie valt.",
    ),
    "note": (
        "A source was read where it says opened; most were read in an excerpt, and many report a statistic at second "
        "hand. A figure from memory is grey and moves nothing.",
        "Een bron is gelezen waar geopend staat; de meeste zijn in een uittreksel gelezen, en vele geven een "
        "statistiek uit de tweede hand. Een cijfer uit het geheugen is grijs en beweegt niets.",
    ),
}
#: Unit of the EC's supply risk, which needs an axis of its own.
CRITICALITY_SCALE = "index 0-10"
#: Sections of the page, in their order.
SECTIONS = ("share", "index", "criticality", "imports", "sets")


def section_of(row: Mapping[str, Any]) -> str:
    """The section of the page in which a row of table ``validation`` stands."""
    if row["quantity"] in ("import_share", "traced_share") or row["indicator"] == "IR":
        return "imports"
    if row["unit"] == CRITICALITY_SCALE:
        return "criticality"
    if row["level"] == "set":
        return "sets"
    return "share" if row["quantity"] == "named_share" else "index"


def state_of(row: Mapping[str, Any]) -> str:
    """``within``, ``beyond`` (explained), ``unexplained``, ``missing`` or ``recalled``."""
    if row["citation_status"] == "recalled":
        return "recalled"
    if row["ours"] is None:
        return "missing"
    if row["within"]:
        return "within"
    return "beyond" if row["explained"] else "unexplained"


def render_validation(validation: pa.Table, release: str | None = None, language: Language = "en") -> str:
    """The page: one HTML file without outside resources, its chart inside.

    Args:
        validation: table ``validation``.
        release: id of the release that it belongs to, for the heading.
        language: of the words; citations stay as they are.
    """
    column = 0 if language == "en" else 1
    words = {name: pair[column] for name, pair in WORDS.items()}
    rows = sorted(validation.to_pylist(), key=lambda r: r["position"])
    numbers = {r["figure"]: f"{words['number'].lower()} {r['position']}" for r in rows}
    shown = [_shown(r, words, column, numbers) for r in rows]
    counts = Counter(r["state"] for r in shown)
    page = (
        _environment()
        .get_template("validation.html.j2")
        .render(
            language=language,
            words=words,
            release=release,
            counts=[
                (words[s], s, counts[s])
                for s in ("within", "beyond", "unexplained", "missing", "recalled")
                if counts[s]
            ],
            sections=[(words[s], [r for r in shown if r["section"] == s]) for s in SECTIONS],
            chart=base64.b64encode(draw_validation(validation, language)).decode(),
        )
    )
    return page.rstrip() + "\n"


def _shown(row: Mapping[str, Any], words: Mapping[str, str], column: int, numbers: Mapping[str, str]) -> dict[str, Any]:
    limit = {"equal": "", "above": words["above"] + " ", "below": words["below"] + " "}[row["relation"]]
    reasons = [part for part in (row["reason"] or "").split("; ") if part]
    why = "; ".join(REASONS[r][column] if r in REASONS else r for r in reasons)
    explanation = row["explanation"] if column == 0 else row["explanation_nl"]
    # An explanation names another figure by its id; a reader of the page knows it by its number.
    explanation = re.sub(r"\b(?:figure|cijfer) (\w+)", lambda m: numbers.get(m[1], m[0]), explanation or "")
    state = state_of(row)
    return {
        "number": row["position"],
        "subject": row["subject_en"] if column == 0 else row["subject_nl"],
        "year": row["year"],
        "compared": row["compared_year"] if row["compared_year"] != row["year"] else None,
        "published": limit + _number(row["published"]),
        "ours": _number(row["ours"]),
        "difference": _number(row["difference"], signed=True),
        "ratio": _number(row["ratio"]),
        "tolerance": _number(row["tolerance"]) if row["relation"] == "equal" else "",
        "tolerance_why": row["tolerance_why"],
        "state": state,
        "verdict": words[state],
        "why": why,
        "explanation": explanation if state in ("beyond", "recalled") else None,
        "citation": row["citation"],
        "url": row["url"],
        "opened": row["opened"],
        "section": section_of(row),
    }


def _number(value: float | None, *, signed: bool = False) -> str:
    if value is None:
        return "–"
    return f"{value:+.3f}" if signed else f"{value:.3f}"


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("ketenpipe.observatory", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )


#: Colour and marker of a point by what was judged.
LOOKS = {
    "within": (BLUE, "o"),
    "beyond": (ORANGE, "D"),
    "unexplained": (RED, "X"),
    "recalled": (PALE, "s"),
}


def chart_of(validation: pa.Table, language: Language = "en") -> Figure:
    """Published (across) against ketenpipe's figures (up), one panel per section that has any.

    What is beyond its tolerance bears its number. A panel runs from 0 to 1, or as far as its figures need.
    """
    column = 0 if language == "en" else 1
    rows = [r for r in validation.to_pylist() if r["ours"] is not None]
    sections = [s for s in SECTIONS if any(section_of(r) == s for r in rows)] or [SECTIONS[0]]
    figure = Figure(figsize=(4.0 * len(sections), 4.3), dpi=110, facecolor=PAPER)
    FigureCanvasAgg(figure)
    for index, section in enumerate(sections, start=1):
        axes = figure.add_subplot(1, len(sections), index)
        own = [r for r in rows if section_of(r) == section]
        limit = math.ceil(max([1.0, *(max(r["published"], r["ours"]) for r in own)]))
        axes.plot([0, limit], [0, limit], color=MUTED, linewidth=0.9, zorder=1)
        for row in own:
            point, state = (row["published"], row["ours"]), state_of(row)
            colour, marker = LOOKS[state]
            axes.scatter(*point, s=34, color=colour, marker=marker, zorder=3, alpha=0.9, clip_on=False)
            if state in ("beyond", "unexplained"):
                beside = {"xytext": (5, -9), "textcoords": "offset points"}
                axes.annotate(str(row["position"]), point, fontsize=8, color=INK, **beside)
        axes.set(xlim=(0, limit), ylim=(0, limit), aspect="equal")
        axes.set_title(WORDS[section][column], fontsize=9.5, color=INK)
        axes.set_xlabel(WORDS["published"][column], fontsize=8.5, color=INK)
        axes.set_ylabel(WORDS["ours"][column], fontsize=8.5, color=INK)
        axes.tick_params(labelsize=7.5, colors=INK)
        axes.grid(color=GRID, linewidth=0.6)
        axes.set_axisbelow(True)
    figure.tight_layout()
    return figure


def draw_validation(validation: pa.Table, language: Language = "en") -> bytes:
    """:func:`chart_of` as PNG."""
    sink = io.BytesIO()
    chart_of(validation, language).savefig(sink, format="png", facecolor=PAPER, metadata={"Software": None})
    return sink.getvalue()
