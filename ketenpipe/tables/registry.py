"""The one registry of table contracts: from here come schemas, checks, the data dictionary, the UI's columns.

Belongs here: every table that is written to disk. Does not belong here: how any of them is computed.
"""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa

from ketenpipe.tables.contract import Column, Table

STRING, INT, YEAR, FLOAT, BOOL = pa.string(), pa.int64(), pa.int32(), pa.float64(), pa.bool_()
MONEY = pa.decimal128(18, 3)

LEVELS = ("hs6", "node", "group", "industry", "set")
MEASURES = ("v", "q", "p", "none")
BASES = (
    "imports",
    "exports",
    "traced",
    "observed",
    "producer_list",
    "export_proxy",
    "world_production_mix",
    "synthetic",
    "icio",
    "reconciled_comtrade",
    "icio_proportional",
    "published",
)
EVIDENCE = ("expert_bom", "literature", "textbook", "icio_proportional", "assumed")
CONFIDENCE = ("high", "medium", "low")
METHODS = (
    "geodep",
    "swd2021",
    "cbs",
    "crma65",
    "tno",
    "ec_criticality",
    "geopolrisk",
    "foreign_input_reliance",
    "node_test",
    "indirect_specific",
    "indirect_global",
)
STAGES = ("extraction", "processing", "component", "assembly", "end_product")
REVIEW_STATES = ("awaiting_sign_off", "signed", "rejected", "reopened")
DECISIONS = ("approve", "reject", "revise")
CHANGE_KINDS = ("new_data", "revised_data", "method", "catalogue", "parameters", "review")

_focus = Column(
    "focus", STRING, "country (ISO3) or bloc (EU27, EU, OECD, ...) whose dependency is meant", nullable=False
)
_year = Column("year", YEAR, "calendar year of the data", nullable=False)
_revision = Column("hs_revision", STRING, "HS revision that the codes belong to, e.g. HS92")
_code = Column("code", STRING, "HS6 code, node, group, industry or method, as the level says")
_confidence = Column("confidence", STRING, "how far the figure carries: high, medium, low", allowed=CONFIDENCE)
_reason = Column("reason", STRING, "why a figure is missing, or what to know about it; null if nothing")
#: What a figure or a verdict is about.
_ITEM = (
    _focus,
    Column("level", STRING, "what the code names", nullable=False, allowed=LEVELS),
    _code,
    _revision,
    Column("group", STRING, "product group; null for the direct view of an HS6 code"),
    Column("tier", INT, "tier in the group; 0 for the direct view of an HS6 code"),
    _year,
)

BACI_FLOWS = Table(
    "baci_flows",
    "sources",
    "One bilateral flow of one product in one year, as reconciled by BACI",
    (
        Column("hs_revision", STRING, "HS revision of the release", nullable=False),
        _year,
        Column("code", STRING, "HS6 code, six characters", nullable=False),
        Column("exporter", STRING, "exporting country, ISO3 (TWN for BACI 490)", nullable=False),
        Column("importer", STRING, "importing country, ISO3", nullable=False),
        Column("value_kusd", MONEY, "value of the flow", unit="thousand USD", nullable=False, source="CEPII BACI v"),
        Column("tonnes", FLOAT, "quantity; null where BACI has none", unit="t", minimum=0, source="CEPII BACI q"),
        Column("release", STRING, "BACI release", nullable=False),
    ),
    ("hs_revision", "year", "code", "importer", "exporter"),
    partitioned=True,
)
GOVERNANCE = Table(
    "governance",
    "sources",
    "One governance estimate of one country, year and dimension",
    (
        Column("country", STRING, "ISO3", nullable=False),
        _year,
        Column("dimension", STRING, "WGI dimension", nullable=False, allowed=("VA", "PV", "GE", "RQ", "RL", "CC")),
        Column("estimate", FLOAT, "WGI estimate, about -2.5 to 2.5, higher is better", unit="WGI points"),
        Column(
            "standard_error",
            FLOAT,
            "published standard error of the estimate; null where the source has none",
            unit="WGI points",
            minimum=0,
        ),
        Column("vintage", STRING, "edition whose method made the estimate", nullable=False),
    ),
    ("country", "year", "dimension"),
)
MINING_PRODUCTION = Table(
    "mining_production",
    "sources",
    "Production of one material in one country and year",
    (
        Column("material", STRING, "commodity as the statistic names it", nullable=False),
        Column("country", STRING, "ISO3; total rows are not countries and not here", nullable=False),
        _year,
        Column("quantity", FLOAT, "production; null where the country is listed without a figure", minimum=0),
        Column("unit", STRING, "unit as published", nullable=False),
        Column("tonnes", FLOAT, "the quantity in tonnes; null if the unit is no mass", unit="t", minimum=0),
        Column("vintage", STRING, "edition of the statistic"),
    ),
    ("material", "country", "year"),
)
COMTRADE_COLUMNS = (
    Column("period", STRING, "year (2024) or month (2026-09) that is reported on", nullable=False),
    Column(
        "hs_revision",
        STRING,
        "HS revision that the reporter used, e.g. HS22; null where the file has lost it",
    ),
    Column("code", STRING, "HS6 code as reported, six characters", nullable=False),
    Column("reporter", STRING, "country that reports, ISO3 (TWN for Other Asia, nes)", nullable=False),
    Column("partner", STRING, "country of origin (imports) or of destination (exports), ISO3", nullable=False),
    Column("flow", STRING, "M: import, CIF; X: export, FOB", nullable=False, allowed=("M", "X")),
    Column(
        "value_kusd", MONEY, "value as reported", unit="thousand USD", nullable=False, source="UN Comtrade primaryValue"
    ),
    Column(
        "tonnes", FLOAT, "net weight; null where none is reported", unit="t", minimum=0, source="UN Comtrade netWgt"
    ),
    Column("weight_estimated", BOOL, "whether the UN estimated the net weight; null where the file does not say"),
    Column(
        "maximum_per_key",
        BOOL,
        "true where the file had lost its mode columns and the largest row of the key stands for the total",
        nullable=False,
    ),
    Column("vintage", STRING, "when the dataset was released or retrieved", nullable=False),
)
COMTRADE_ANNUAL = Table(
    "comtrade_annual",
    "sources",
    "What one country reported of its trade in one product with one partner in one year (UN Comtrade; not released)",
    COMTRADE_COLUMNS,
    ("period", "code", "reporter", "partner", "flow"),
    partitioned=True,
)
COMTRADE_MONTHLY = Table(
    "comtrade_monthly",
    "sources",
    "What one country reported of its trade in one product with one partner in one month (UN Comtrade; not released)",
    COMTRADE_COLUMNS,
    ("period", "code", "reporter", "partner", "flow"),
    partitioned=True,
)
_frequency = Column("frequency", STRING, "A: a year per dataset, M: a month", nullable=False, allowed=("A", "M"))
COMTRADE_AVAILABILITY = Table(
    "comtrade_availability",
    "sources",
    "One dataset that UN Comtrade holds: what one country has reported of one year or month",
    (
        _frequency,
        Column("period", STRING, "year (2024) or month (2026-09)", nullable=False),
        Column("reporter", STRING, "country that reports, ISO3 (TWN for Other Asia, nes)", nullable=False),
        Column("classification", STRING, "classification of the report, H0 (HS92) to H6 (HS22)"),
        Column("total_records", INT, "rows of the dataset, all codes, partners and modes", unit="rows", minimum=0),
        Column("dataset_checksum", STRING, "UN Comtrade's checksum; another one is a new revision", nullable=False),
        Column("first_released", STRING, "when the dataset was first released (ISO 8601)"),
        Column("last_released", STRING, "when it was last released (ISO 8601)"),
        Column("retrieved_at", STRING, "when UN Comtrade was asked (ISO 8601, UTC)", nullable=False),
    ),
    ("frequency", "period", "reporter"),
)
REPORTING_COVERAGE = Table(
    "reporting_coverage",
    "sources",
    "Whether one country has reported one year or month to UN Comtrade, and whether it is waited for",
    (
        _frequency,
        Column("period", STRING, "year (2024) or month (2026-09)", nullable=False),
        Column("reporter", STRING, "country, ISO3", nullable=False),
        Column(
            "status",
            STRING,
            "reported; awaited: not yet, but it reported most of the comparable earlier periods; irregular: it "
            "reported some of them and is not waited for; never: no dataset for years, known from its "
            "partners",
            nullable=False,
            allowed=("reported", "awaited", "irregular", "never"),
        ),
        Column(
            "weight",
            FLOAT,
            "its share of the trade of all who are expected to report; null where it is not expected",
            unit="share",
            minimum=0,
            maximum=1,
        ),
        Column("reason", STRING, "what the status rests on", nullable=False),
    ),
    ("frequency", "period", "reporter"),
    released=True,
)
HS_WEIGHTS = Table(
    "hs_weights",
    "sources",
    "How the value of one code of an HS revision is spread over the codes of another; weights of a code sum to 1",
    (
        Column("from_revision", STRING, "HS revision converted from", nullable=False),
        Column("from_code", STRING, "HS6 code in it", nullable=False),
        Column("to_revision", STRING, "HS revision converted to", nullable=False),
        Column("to_code", STRING, "HS6 code in it", nullable=False),
        Column(
            "weight",
            FLOAT,
            "share of the value that goes to this code",
            unit="share",
            nullable=False,
            minimum=0,
            maximum=1,
        ),
        Column(
            "weight_basis",
            STRING,
            "one: the only code; trade_shares: by world trade of the codes; equal: nothing known, split evenly",
            nullable=False,
            allowed=("one", "trade_shares", "equal"),
        ),
        Column("vintage", STRING, "the concordance that pairs them", nullable=False),
    ),
    ("from_revision", "from_code", "to_revision", "to_code"),
)
RECONCILED_COLUMNS = (
    Column("period", STRING, "year (2024) or month (2026-09)", nullable=False),
    Column("hs_revision", STRING, "HS revision of the code", nullable=False),
    Column("code", STRING, "HS6 code, six characters", nullable=False),
    Column("exporter", STRING, "exporting country, ISO3", nullable=False),
    Column("importer", STRING, "importing country, ISO3", nullable=False),
    Column("value_kusd", MONEY, "reconciled value, FOB", unit="thousand USD", nullable=False),
    Column("tonnes", FLOAT, "reconciled quantity; null where neither side has one", unit="t", minimum=0),
    Column(
        "sides",
        STRING,
        "who reported: both, importer or exporter only (mirror data)",
        nullable=False,
        allowed=("both", "importer", "exporter"),
    ),
    Column("freight_margin", FLOAT, "CIF over FOB, taken off the importer's report", unit="ratio", minimum=1),
    Column(
        "importer_weight", FLOAT, "weight of the importer's report", unit="share", nullable=False, minimum=0, maximum=1
    ),
    Column(
        "mirror_gap", FLOAT, "ln(importer's report as FOB / exporter's report); null with one side", unit="log ratio"
    ),
    Column("vintage", STRING, "vintages of the reports behind it", nullable=False),
)
RECONCILED_ANNUAL = Table(
    "reconciled_annual",
    "sources",
    "One bilateral flow of one product in one year, reconciled from both partners' reports",
    RECONCILED_COLUMNS,
    ("period", "hs_revision", "code", "importer", "exporter"),
    partitioned=True,
)
RECONCILED_MONTHLY = Table(
    "reconciled_monthly",
    "sources",
    "One bilateral flow of one product in one month, reconciled from both partners' reports",
    RECONCILED_COLUMNS,
    ("period", "hs_revision", "code", "importer", "exporter"),
    partitioned=True,
)
FREIGHT_MARGINS = Table(
    "freight_margins",
    "sources",
    "One term of the freight margin (CIF over FOB), estimated from what both partners reported in a window",
    (
        Column("window", STRING, "periods pooled, e.g. 2024 or 2025-10..2026-09", nullable=False),
        Column("hs_revision", STRING, "HS revision of the codes", nullable=False),
        Column(
            "term",
            STRING,
            "world: the median; product, exporter, importer, pair: what is added to it",
            nullable=False,
            allowed=("world", "product", "exporter", "importer", "pair"),
        ),
        Column("code", STRING, "HS6 code, for a product"),
        Column("exporter", STRING, "exporting country, ISO3, for an exporter or a pair"),
        Column("importer", STRING, "importing country, ISO3, for an importer or a pair"),
        Column(
            "log_margin",
            FLOAT,
            "the term, shrunk; terms add up to ln of the margin; null where no pair shows a margin",
            unit="log ratio",
        ),
        Column("margin", FLOAT, "CIF over FOB with this term alone upon the world's, bounded", unit="ratio", minimum=1),
        Column(
            "unit_value_kusd_per_t", FLOAT, "world median unit value, for a product", unit="thousand USD/t", minimum=0
        ),
        Column("observations", INT, "mirrored flows behind the term", unit="flows", nullable=False, minimum=0),
    ),
    ("window", "hs_revision", "term", "code", "exporter", "importer"),
)
REPORTER_RELIABILITY = Table(
    "reporter_reliability",
    "sources",
    "How far one country's reports on one side lie from what its partners' reports let expect, in a window",
    (
        Column("window", STRING, "periods pooled, e.g. 2024 or 2025-10..2026-09", nullable=False),
        Column("hs_revision", STRING, "HS revision of the codes", nullable=False),
        Column("country", STRING, "reporting country, ISO3", nullable=False),
        Column("side", STRING, "whether as importer or as exporter", nullable=False, allowed=("importer", "exporter")),
        Column(
            "variance",
            FLOAT,
            "the reporter's own part of the squared mirror gap, shrunk to the mean",
            unit="log ratio squared",
            nullable=False,
            minimum=0,
        ),
        Column(
            "own_share",
            FLOAT,
            "how much of it the reporter's own flows decide, the rest is the mean",
            unit="share",
            nullable=False,
            minimum=0,
            maximum=1,
        ),
        Column(
            "weight_against_mean",
            FLOAT,
            "weight of its report beside an average partner's",
            unit="share",
            nullable=False,
            minimum=0,
            maximum=1,
        ),
        Column(
            "mean_gap",
            FLOAT,
            "mean of ln(its report / the partner's), both FOB, each gap bounded; above 0: it reports more",
            unit="log ratio",
            nullable=False,
        ),
        Column("observations", INT, "mirrored flows behind it", unit="flows", nullable=False, minimum=1),
    ),
    ("window", "hs_revision", "country", "side"),
)
#: What the reconciled flows of each frequency rest on, one file a period.
MARGINS_ANNUAL, MARGINS_MONTHLY = (
    replace(FREIGHT_MARGINS, name=n, partitioned=True) for n in ("margins_annual", "margins_monthly")
)
RELIABILITY_ANNUAL, RELIABILITY_MONTHLY = (
    replace(REPORTER_RELIABILITY, name=n, partitioned=True) for n in ("reliability_annual", "reliability_monthly")
)
ICIO_ACCOUNTS = Table(
    "icio_accounts",
    "sources",
    "The accounts of one industry of one country in one input-output table",
    (
        _year,
        Column("country", STRING, "country or region of the table, folded (CN1, CN2 into CHN)", nullable=False),
        Column("industry", STRING, "industry of the table", nullable=False),
        Column("output", FLOAT, "gross output at basic prices", unit="million USD"),
        Column("value_added", FLOAT, "value added", unit="million USD"),
        Column("taxes_less_subsidies", FLOAT, "on products used", unit="million USD"),
        Column("inputs", FLOAT, "intermediate inputs bought", unit="million USD"),
        Column("inputs_foreign", FLOAT, "those from other countries", unit="million USD"),
        Column("sales", FLOAT, "intermediate sales", unit="million USD"),
        Column("final_demand", FLOAT, "sales to final demand, as output minus intermediate sales", unit="million USD"),
        Column("edition", STRING, "layout of the table", nullable=False),
        Column("vintage", STRING, "edition and release", nullable=False),
        Column("synthetic", BOOL, "made up: nothing that rests on it may flag", nullable=False),
    ),
    ("year", "country", "industry"),
    partitioned=True,
)
ICIO_AUDIT = Table(
    "icio_audit",
    "sources",
    "One accounting check of one input-output table",
    (
        _year,
        Column(
            "file", STRING, "the table's file below the sources folder (an entry of a zip after '!')", nullable=False
        ),
        Column("check", STRING, "name of the check", nullable=False),
        Column("severity", STRING, "what a failure does", nullable=False, allowed=("blocking", "warning")),
        Column("passed", BOOL, "whether it holds", nullable=False),
        Column("value", FLOAT, "what was measured"),
        Column("limit", FLOAT, "what it is held against"),
        Column("unit", STRING, "unit of both"),
        Column("where", STRING, "the worst row, column or cell"),
        Column("sentence", STRING, "what was found, in words", nullable=False),
        Column("edition", STRING, "layout of the table", nullable=False),
        Column("vintage", STRING, "edition and release", nullable=False),
    ),
    ("year", "check"),
    partitioned=True,
)
ARCHIVE = Table(
    "archive",
    "sources",
    "One file of the sources as it is held: of the archive when they are the official ones",
    (
        Column("source", STRING, "baci, comtrade, icio, wgi, mining, concordance", nullable=False),
        Column("file", STRING, "path below the sources folder, or below raw/", nullable=False),
        Column("slot", STRING, "what the file is for; the newest file of a slot is used. Null in a drop folder"),
        Column("current", BOOL, "whether the run reads it; an older vintage of its slot is kept but not read",
               nullable=False),
        Column("vintage", STRING, "release, edition or month, with the beginning of the file's hash"),
        Column("sha256", STRING, "hash of the file's bytes", nullable=False),
        Column("bytes", INT, "size", unit="bytes", nullable=False),
        Column("licence", STRING, "licence as the source states it"),
        Column("producer", STRING, "who made the data"),
        Column("url", STRING, "where it came from"),
        Column("retrieved_at", STRING, "when it was fetched, ISO 8601"),
    ),
    ("source", "file"),
)  # fmt: skip
INPUT_FILES = Table(
    "input_files",
    "sources",
    "One input file as read",
    (
        Column("source", STRING, "baci, wgi, mining, icio, concordance, comtrade, reference", nullable=False),
        Column("file", STRING, "path below the sources folder (an entry of a zip after '!')", nullable=False),
        Column("vintage", STRING, "release or edition; several joined by '; '"),
        Column("from_year", YEAR, "first year held"),
        Column("to_year", YEAR, "last year held"),
        Column("sha256", STRING, "hash of the file's bytes"),
        Column("bytes", INT, "size", unit="bytes"),
        Column("licence", STRING, "licence as the source states it"),
        Column("producer", STRING, "who made the data"),
        Column("citation", STRING, "how to cite it"),
        Column("url", STRING, "where it is published"),
        Column("rows_read", INT, "rows taken", unit="rows"),
        Column("rows_refused", INT, "rows left out, with the reason", unit="rows"),
        Column("reason", STRING, "why rows or the whole file were left out"),
    ),
    ("source", "file"),
)
CHAIN_NODES = Table(
    "chain_nodes",
    "chain",
    "One node of one product group's chain, as used",
    (
        Column("group", STRING, "product group", nullable=False),
        Column("node", STRING, "node of the catalogue", nullable=False),
        Column("tier", INT, "distance from the group's product in computed steps; null for a dashed or cut-off node"),
        Column("stage", STRING, "stage of the chain", nullable=False, allowed=STAGES),
        Column("hs_revision", STRING, "HS revision used for the group; null if it cannot be computed"),
        Column("codes", STRING, "HS6 codes of the node in that revision, space-separated"),
        Column("codes_in_sources", STRING, "those of them that the sources hold"),
        Column("material", STRING, "production statistic tied to the node"),
        Column(
            "status",
            STRING,
            "traded: computed from flows; production: world production mix; dashed: passes its users' mix through; "
            "cut_off: deeper than the look-through goes; missing: cannot be computed",
            nullable=False,
            allowed=("traded", "production", "dashed", "cut_off", "missing"),
        ),
        Column(
            "path_weight",
            FLOAT,
            "largest product of intensities on a path; null where one is empty",
            minimum=0,
            maximum=1,
        ),
        Column("path", STRING, "that path, from the product to the node"),
        Column("evidence", STRING, "weakest evidence on the path", allowed=EVIDENCE),
        Column("confidence", STRING, "lowest confidence on the path", allowed=CONFIDENCE),
        Column("shared_code_note", STRING, "what the statistic cannot split"),
        Column("amendments", STRING, "experts' corrections that apply; null if none"),
    ),
    ("group", "node"),
    released=True,
)
CHAIN_EDGES = Table(
    "chain_edges",
    "chain",
    "One edge of one product group's chain: the input goes into the user",
    (
        Column("group", STRING, "product group", nullable=False),
        Column("user", STRING, "node that uses the input", nullable=False),
        Column("input", STRING, "node that goes into the user", nullable=False),
        Column("intensity", FLOAT, "cost or mass share of the input", unit="share", minimum=0, maximum=1),
        Column("essential", BOOL, "whether the user cannot be made without it", nullable=False),
        Column("evidence", STRING, "class of evidence", nullable=False, allowed=EVIDENCE),
        Column("confidence", STRING, "confidence in the edge", nullable=False, allowed=CONFIDENCE),
        Column("citation", STRING, "where it is stated", nullable=False),
        Column(
            "citation_status", STRING, "read: the text was opened; recalled: it was not", allowed=("read", "recalled")
        ),
        Column("amendments", STRING, "experts' corrections that apply; null if none"),
    ),
    ("group", "user", "input"),
    released=True,
)
PRODUCTION = Table(
    "production",
    "chain",
    "Production of one product in one country and year as used by the tracing",
    (
        _revision,
        Column("code", STRING, "HS6 code", nullable=False),
        _year,
        Column("measure", STRING, "v or q", nullable=False, allowed=("v", "q")),
        Column("country", STRING, "ISO3", nullable=False),
        Column("basis", STRING, "observed, producer_list or export_proxy", nullable=False, allowed=BASES),
        Column("production", FLOAT, "production as used, raised to balance where exports exceed supply", minimum=0),
        Column("unknown_origin", FLOAT, "what a non-producer exports beyond its imports", minimum=0),
        Column("imputed", FLOAT, "part of the production that is imputed", unit="share", minimum=0, maximum=1),
        Column("supply", FLOAT, "production + unknown origin + imports", minimum=0),
        Column("exports", FLOAT, "exports", minimum=0),
    ),
    ("year", "hs_revision", "code", "measure", "country"),
    partitioned=True,
)
ORIGIN_MIX = Table(
    "origin_mix",
    "chain",
    "Share of one country's supply of one product that was made in another (rows of the supply-mix matrix O)",
    (
        _revision,
        Column("code", STRING, "HS6 code", nullable=False),
        _year,
        Column("country", STRING, "whose supply", nullable=False),
        Column("origin", STRING, "where it was made; UNK if unknown", nullable=False),
        Column("share", FLOAT, "share of the supply, in tonnes", unit="share", nullable=False, minimum=0, maximum=1),
    ),
    ("year", "hs_revision", "code", "country", "origin"),
    partitioned=True,
)
TRACING = Table(
    "tracing",
    "chain",
    "How one focus's supply of one product was traced",
    (
        _focus,
        _revision,
        Column("code", STRING, "HS6 code", nullable=False),
        _year,
        Column("measure", STRING, "v or q", nullable=False, allowed=("v", "q")),
        Column("basis", STRING, "basis of the production", allowed=BASES),
        Column("supply", FLOAT, "supply of the focus (t or thousand USD)", minimum=0),
        Column("consumption", FLOAT, "supply minus exports, never below 0", minimum=0),
        Column("own_share", FLOAT, "share of the supply made in the focus itself", unit="share", minimum=0, maximum=1),
        Column("unknown_share", FLOAT, "share of unknown origin", unit="share", minimum=0, maximum=1),
        Column("imputed_share", FLOAT, "share that rests on imputed production", unit="share", minimum=0, maximum=1),
        Column(
            "dropped_member_share",
            FLOAT,
            "share of a bloc's supply held by members with weight 0",
            minimum=0,
            maximum=1,
        ),
        Column("value_without_mass", FLOAT, "share of the imports' value that has no tonnes", minimum=0, maximum=1),
        Column("median_unit_value", FLOAT, "median of all flows of the code", unit="thousand USD/t", minimum=0),
        Column(
            "row_residual",
            FLOAT,
            "the errors of the traced shares sum to at most this; it bounds |their sum - 1| too; null without a row",
            minimum=0,
        ),
        Column("small_or_precious", BOOL, "under 100 t or above 1 million USD a tonne: nothing is cleared"),
        _confidence,
        _reason,
    ),
    ("year", "focus", "hs_revision", "code", "measure"),
    partitioned=True,
)
SUPPLY_MIX = Table(
    "supply_mix",
    "chain",
    "Who supplies what to the focus, directly and traced to where it was made",
    (
        _focus,
        Column("code", STRING, "HS6 code", nullable=False),
        _revision,
        _year,
        Column("country", STRING, "supplier (direct) and maker (traced); UNK for unknown origin", nullable=False),
        Column("rank", INT, "rank by import value; null for a maker without direct imports", minimum=1),
        Column("value_kusd", FLOAT, "direct imports", unit="thousand USD", minimum=0, source="CEPII BACI"),
        Column(
            "tonnes",
            FLOAT,
            "direct imports; flows without a quantity left out",
            unit="t",
            minimum=0,
            source="CEPII BACI",
        ),
        Column("share_direct", FLOAT, "share of the import value", unit="share", minimum=0, maximum=1),
        Column("share_direct_q", FLOAT, "share of the import mass", unit="share", minimum=0, maximum=1),
        Column(
            "share_traced",
            FLOAT,
            "share of the supply, by mass, own production included",
            unit="share",
            minimum=0,
            maximum=1,
        ),
        Column("share_traced_v", FLOAT, "the same by value", unit="share", minimum=0, maximum=1),
    ),
    ("year", "focus", "hs_revision", "code", "country"),
    released=True,
    partitioned=True,
)
EXPOSURE = Table(
    "exposure",
    "chain",
    "Where one node of a group's chain comes from, seen from the focus",
    (
        _focus,
        Column("group", STRING, "product group", nullable=False),
        Column("node", STRING, "node of the chain", nullable=False),
        Column("tier", INT, "0 for the product itself, 1 and 2 upstream", nullable=False, minimum=0),
        _year,
        Column("hs_revision", STRING, "HS revision used for the group", nullable=False),
        Column("country", STRING, "country of origin; UNK if unknown", nullable=False),
        Column(
            "share_direct",
            FLOAT,
            "share of the focus's own imports of the node's codes, by value",
            minimum=0,
            maximum=1,
        ),
        Column("share_traced", FLOAT, "share after tracing and look-through, by mass", minimum=0, maximum=1),
        Column("low", FLOAT, "lowest share that the unknown part allows", minimum=0, maximum=1),
        Column("high", FLOAT, "highest share that the unknown part allows", minimum=0, maximum=1),
        Column(
            "path_weight",
            FLOAT,
            "largest path weight to the node; null where an intensity is empty",
            minimum=0,
            maximum=1,
        ),
        Column("basis", STRING, "basis of the node's production", nullable=False, allowed=BASES),
        Column("imputed_share", FLOAT, "share that rests on imputed production at this node", minimum=0, maximum=1),
        Column("evidence", STRING, "weakest evidence on the path; null at tier 0", allowed=EVIDENCE),
        Column(
            "same_for_every_country", BOOL, "true where the world production mix stands for every buyer", nullable=False
        ),
    ),
    ("focus", "group", "node", "year", "country"),
    released=True,
)
PATHS = Table(
    "paths",
    "chain",
    "One sequence of countries through which an upstream node of a group reaches the focus, largest first",
    (
        _focus,
        Column("group", STRING, "product group", nullable=False),
        Column("node", STRING, "node of the chain, tier 1 or deeper", nullable=False),
        Column("tier", INT, "tier of the node", nullable=False, minimum=1),
        _year,
        Column("hs_revision", STRING, "HS revision used for the group", nullable=False),
        Column("rank", INT, "rank by share, 1 the largest", nullable=False, minimum=1),
        Column(
            "path",
            STRING,
            "node@country of each step from the focus upstream, ' <- ' between; a step in brackets has no country of "
            "its own: its codes are not in the sources, or the node at the end has the world production mix",
            nullable=False,
        ),
        Column("nodes", STRING, "the nodes of the path, space-separated", nullable=False),
        Column("countries", STRING, "where each of them was made, space-separated; - for a step in brackets",
               nullable=False),
        Column("origin", STRING, "where the path ends, ISO3; UNK if unknown", nullable=False),
        Column("share", FLOAT, "share of the node's supply that comes this way: the product of the path's steps",
               unit="share", nullable=False, minimum=0, maximum=1),
        Column("origin_exposure", FLOAT, "share of the node's supply from the origin by any path, see table exposure",
               unit="share", minimum=0, maximum=1),
        Column("cumulative", FLOAT, "sum of the shares up to this rank", unit="share", nullable=False, minimum=0,
               maximum=1),
        Column("explained", FLOAT, "sum of the shares of all paths listed for the node", unit="share", nullable=False,
               minimum=0, maximum=1),
        Column("residual", FLOAT, "sum of the shares of all paths that are not listed", unit="share", nullable=False,
               minimum=0, maximum=1),
        Column("bound", FLOAT, "no path that is not listed has a larger share; 0 where all are listed", unit="share",
               nullable=False, minimum=0, maximum=1),
        Column("basis", STRING, "weakest basis of the production along the path", nullable=False, allowed=BASES),
        Column("evidence", STRING, "weakest evidence along the path", allowed=EVIDENCE),
        Column(
            "same_for_every_country", BOOL, "true where the world production mix stands for every buyer", nullable=False
        ),
    ),
    ("focus", "group", "node", "year", "rank"),
    released=True,
)  # fmt: skip
_graph_year = Column(
    "year", YEAR, "calendar year of the data; by default the newest one that the group has", nullable=False
)
GRAPH_NODES = Table(
    "graph_nodes",
    "chain",
    "One place of a group's supply graph: one node of the chain in one country, seen from the focus",
    (
        _focus,
        Column("group", STRING, "product group", nullable=False),
        _graph_year,
        Column(
            "node", STRING, "node of the chain; _focus is the focus itself, into which tier 0 flows", nullable=False
        ),
        Column("country", STRING, "where it is made; UNK if unknown; of _focus the focus's own code", nullable=False),
        Column("tier", INT, "tier of the node; null for a dashed node (no tier) and for _focus", minimum=0),
        Column("stage", STRING, "stage of the chain; null for _focus", allowed=STAGES),
        Column(
            "kind",
            STRING,
            "traded: computed from flows; production: world production mix; dashed: passes its users' mix through; "
            "focus: the focus itself",
            nullable=False,
            allowed=("traded", "production", "dashed", "focus"),
        ),
        Column(
            "share",
            FLOAT,
            "share of the node's supply, as it reaches the focus, that is made in the country; 1 for _focus",
            unit="share",
            nullable=False,
            minimum=0,
            maximum=1,
        ),
        Column(
            "value_kusd",
            MONEY,
            "the focus's direct imports of the node's codes from the country, at tier 0; null upstream, where no "
            "figure says how much of a flow reaches the focus, and where nothing is bought from the maker directly",
            unit="thousand USD",
            source="CEPII BACI v",
        ),
        Column("basis", STRING, "basis of the node's production; null for a dashed node and _focus", allowed=BASES),
        Column("evidence", STRING, "weakest evidence on the path; null at tier 0", allowed=EVIDENCE),
        Column(
            "same_for_every_country", BOOL, "true where the world production mix stands for every buyer", nullable=False
        ),
    ),
    ("focus", "group", "year", "node", "country"),
    released=True,
)
GRAPH_EDGES = Table(
    "graph_edges",
    "chain",
    "One flow of a group's supply graph: the input made in one country goes into the user made in another",
    (
        _focus,
        Column("group", STRING, "product group", nullable=False),
        _graph_year,
        Column("input", STRING, "node that goes in", nullable=False),
        Column("input_country", STRING, "where it is made; UNK if unknown", nullable=False),
        Column("user", STRING, "node that it goes into; _focus from tier 0 on to the focus", nullable=False),
        Column("user_country", STRING, "where the user is made; of _focus the focus's own code", nullable=False),
        Column(
            "share",
            FLOAT,
            "share of the input's whole supply, as it reaches the focus, that takes this way; all flows out of a place "
            "add up to the place's share, all flows of an input to 1",
            unit="share",
            nullable=False,
            minimum=0,
            maximum=1,
        ),
        Column(
            "user_weight",
            FLOAT,
            "part of the input that is reckoned to go to this user (1 where there is one user)",
            unit="share",
            nullable=False,
            minimum=0,
            maximum=1,
        ),
        Column(
            "evidence", STRING, "evidence that the input goes into the user; null on to the focus", allowed=EVIDENCE
        ),
        Column(
            "same_for_every_country", BOOL, "true where the world production mix stands for every buyer", nullable=False
        ),
    ),
    ("focus", "group", "year", "input", "input_country", "user", "user_country"),
    released=True,
)
GRAPH_MEASURE_NAMES = ("flow_through", "flow_through_country", "articulation", "node_cut", "min_cut")
GRAPH_MEASURES = Table(
    "graph_measures",
    "chain",
    "Where a group's supply graph is narrow: one figure about one place, one country or one cut",
    (
        _focus,
        Column("group", STRING, "product group", nullable=False),
        _graph_year,
        Column(
            "measure",
            STRING,
            "flow_through: share of the flow that passes the place; flow_through_country: that passes the country at "
            "any node; articulation: 1 for a place without which no known producer reaches the focus; node_cut: fewest "
            "places whose failure cuts off every known producer; min_cut: most that known producers can deliver when "
            "every place delivers what passes it now, and the places that bind",
            nullable=False,
            allowed=GRAPH_MEASURE_NAMES,
        ),
        Column("target", STRING, "node whose producers are meant; null: all computed nodes, each weighing the same"),
        Column(
            "threshold",
            FLOAT,
            "suppliers count from this share of the whole and of their user's supply on; null: all count",
            unit="share",
            minimum=0,
            maximum=1,
        ),
        Column("node", STRING, "node of the place; null where the row is about a country or a cut"),
        Column("country", STRING, "country of the place; null where the row is about a cut"),
        Column("value", FLOAT, "share of the flow, or number of places (node_cut)", minimum=0),
        Column(
            "rest",
            FLOAT,
            "share of the target's supply that the threshold or an unknown producer leaves out",
            unit="share",
            minimum=0,
            maximum=1,
        ),
        Column("places", STRING, "the places of the cut, node@country, space-separated; the largest first"),
        Column("basis", STRING, "basis of the target's production; null for all nodes together", allowed=BASES),
        Column("evidence", STRING, "weakest evidence on the target's path; null at tier 0", allowed=EVIDENCE),
        Column(
            "same_for_every_country",
            BOOL,
            "true where the target's producers are the world production mix, the same for every buyer",
            nullable=False,
        ),
        _reason,
    ),
    ("focus", "group", "year", "measure", "target", "threshold", "node", "country"),
    released=True,
)
INDUSTRY_EXPOSURE = Table(
    "industry_exposure",
    "chain",
    "How far an industry of the focus leans on one country, at face value and through all tiers",
    (
        _focus,
        Column("industry", STRING, "industry of the input-output table", nullable=False),
        Column("country", STRING, "supplying (or buying) country or region of the table", nullable=False),
        _year,
        Column("face_value", FLOAT, "FV: share of direct inputs", unit="share", minimum=0, maximum=1),
        Column(
            "look_through",
            FLOAT,
            "FIR: share of all direct and indirect inputs (L-I)",
            unit="share",
            minimum=0,
            maximum=1,
        ),
        Column(
            "market_side",
            FLOAT,
            "FMR: share of all direct and indirect sales (Ghosh)",
            unit="share",
            minimum=0,
            maximum=1,
        ),
        Column("face_value_foreign", FLOAT, "FV among foreign origins only", unit="share", minimum=0, maximum=1),
        Column("look_through_foreign", FLOAT, "FIR among foreign origins only", unit="share", minimum=0, maximum=1),
        Column("hidden_ratio", FLOAT, "FIR/FV, both among foreign origins; null where FIR < 0.01 or FV = 0", minimum=0),
        Column(
            "members_without_region",
            STRING,
            "members of the bloc that the table has no region of: they are within its rest of the world, which counts "
            "abroad; null where it has them all",
        ),
        Column("basis", STRING, "icio, or synthetic where the table is no real economy", nullable=False, allowed=BASES),
        _reason,
    ),
    ("focus", "industry", "country", "year"),
    released=True,
)
INDUSTRY_TIERS = Table(
    "industry_tiers",
    "chain",
    "Share of an industry's foreign look-through that arises at each tier; the tail is tier -1",
    (
        _focus,
        Column("industry", STRING, "industry of the input-output table", nullable=False),
        Column("country", STRING, "supplying country or region of the table", nullable=False),
        _year,
        Column("tier", INT, "1 = direct inputs, 2 = inputs of inputs, ...; -1 = all deeper tiers", nullable=False),
        Column("share", FLOAT, "share of the look-through of that country", unit="share", minimum=0, maximum=1),
        Column("basis", STRING, "icio or synthetic", nullable=False, allowed=BASES),
    ),
    ("focus", "industry", "country", "year", "tier"),
    released=True,
)
INDUSTRY_MEASURE_NAMES = (
    "upstreamness",
    "downstreamness",
    "propagation_length",
    "content_hhi",
    "content_top_supplier",
    "face_value_hhi",
    "face_value_top_supplier",
    "value_added_content",
    "value_added_hhi",
    "extraction_leontief",
    "extraction_ghosh",
)
INDUSTRY_MEASURES = Table(
    "industry_measures",
    "chain",
    "One measure of one industry of the focus, towards a country or a supplying industry where the measure names one",
    (
        _focus,
        Column("industry", STRING, "industry of the focus; null where the measure is of the focus as a whole"),
        Column("country", STRING, "supplying country or region of the table; null where the measure names none"),
        Column("partner_industry", STRING, "supplying industry, of all countries; null where the measure names none"),
        _year,
        Column(
            "measure",
            STRING,
            "upstreamness (steps to final use), downstreamness (steps from primary inputs), propagation_length (mean "
            "steps from supplier to user), content_hhi and face_value_hhi (HHI of foreign look-through and direct "
            "inputs) with their top suppliers, value_added_content and value_added_hhi (by country of value added, own "
            "included), extraction_leontief (the supplier's loss of market) and extraction_ghosh (the user's loss of "
            "inputs) when its deliveries to the focus fall away; the last two are ranks only",
            nullable=False,
            allowed=INDUSTRY_MEASURE_NAMES,
        ),
        Column("value", FLOAT, "the figure, steps or a share as the measure says; null with a reason", minimum=0),
        Column(
            "rank",
            INT,
            "1 = largest, equal values share a rank; among the focus's industries, or among the countries (or "
            "supplying industries) of one industry where the measure names them",
            minimum=1,
        ),
        Column("basis", STRING, "icio, or synthetic where the table is no real economy", nullable=False, allowed=BASES),
        _reason,
    ),
    ("focus", "industry", "country", "partner_industry", "year", "measure"),
    released=True,
)
INDUSTRY_COEFFICIENTS = Table(
    "industry_coefficients",
    "chain",
    "Inverse-important coefficients: the deliveries anywhere in the world to which an industry's lean on abroad reacts "
    "most",
    (
        _focus,
        Column("industry", STRING, "industry of the focus", nullable=False),
        _year,
        Column("rank", INT, "1 = largest absolute elasticity", nullable=False, minimum=1),
        Column("supplier_country", STRING, "country or region that delivers", nullable=False),
        Column("supplier_industry", STRING, "industry that delivers", nullable=False),
        Column("user_country", STRING, "country or region that is delivered to", nullable=False),
        Column("user_industry", STRING, "industry that is delivered to", nullable=False),
        Column("coefficient", FLOAT, "deliveries per unit of the user's output", unit="share", nullable=False),
        Column(
            "elasticity",
            FLOAT,
            "percent by which the foreign share of all direct and indirect inputs moves if the coefficient is 1 "
            "percent larger; negative where it makes the industry lean less on abroad",
            nullable=False,
        ),
        Column("basis", STRING, "icio or synthetic", nullable=False, allowed=BASES),
    ),
    ("focus", "industry", "year", "rank"),
    released=True,
)
PRODUCT_INDUSTRIES = Table(
    "product_industries",
    "chain",
    "The industry of one HS6 code: how products join the input-output tables",
    (
        Column("hs_revision", STRING, "HS revision of the code", nullable=False),
        Column("code", STRING, "HS6 code, six characters", nullable=False),
        Column("industry", STRING, "industry of the input-output edition", nullable=False),
        Column("edition", STRING, "edition whose industries are meant", nullable=False),
        Column(
            "method",
            STRING,
            "how it was assigned: isic3 (by the product's ISIC Rev.3 class), reviewed (by a rule with its reason), "
            "heading, converted (as the codes of another HS revision that convert to it)",
            nullable=False,
        ),
        Column("also", STRING, "other industries that the code holds goods of; null if none"),
    ),
    ("hs_revision", "code"),
    released=True,
)
_recipe_year = Column("recipe_year", YEAR, "year of the input-output table that was used", nullable=False)
PRODUCT_USES = Table(
    "product_uses",
    "chain",
    "A product from a country in the inputs of an industry of the focus: deliveries of the input-output table split "
    "over products by import value",
    (
        _focus,
        Column("hs_revision", STRING, "HS revision of the products", nullable=False),
        Column("industry", STRING, "industry of the focus that uses them", nullable=False),
        _year,
        _recipe_year,
        Column("rank", INT, "1 = largest; the rest comes last", nullable=False, minimum=1),
        Column(
            "kind",
            STRING,
            "product: an HS6 code from a country; industry: a delivery that does not split, the reason says why; own: "
            "a delivery of an industry of the focus itself, never split; rest: all foreign inputs that are not listed",
            nullable=False,
            allowed=("product", "industry", "own", "rest"),
        ),
        Column("country", STRING, "country or region of the table that delivers; null for the rest"),
        Column("supplier_industry", STRING, "industry that makes the product; null for the rest"),
        Column("code", STRING, "HS6 code; null where the delivery is not split"),
        Column(
            "value_kusd",
            MONEY,
            "part of the delivery, at basic prices; with the rest the column adds up to the industry's foreign inputs",
            unit="thousand USD",
            nullable=False,
        ),
        Column(
            "share", FLOAT, "share of the industry's foreign intermediate inputs; null for own deliveries", unit="share"
        ),
        Column("basis", STRING, "icio_proportional", nullable=False, allowed=BASES),
        Column("evidence", STRING, "icio_proportional", nullable=False, allowed=EVIDENCE),
        _reason,
    ),
    ("focus", "hs_revision", "industry", "year", "rank"),
    released=True,
    partitioned=True,
)
PRODUCT_JOIN = Table(
    "product_join",
    "chain",
    "What the join of one year's HS6 imports and an input-output table holds of either side, and what it does not",
    (
        _focus,
        Column("hs_revision", STRING, "HS revision of the products", nullable=False),
        _year,
        _recipe_year,
        Column("edition", STRING, "edition of the input-output table", nullable=False),
        Column("imports_kusd", MONEY, "all imports of the focus", unit="thousand USD", nullable=False),
        Column("joined_kusd", MONEY, "imports that a delivery is split by", unit="thousand USD", nullable=False),
        Column(
            "unmapped_kusd", MONEY, "imports without an industry or without a region", unit="thousand USD",
            nullable=False,
        ),
        Column("unmapped_share", FLOAT, "their share of all imports", unit="share", minimum=0, maximum=1),
        Column("no_industry_kusd", MONEY, "imports of codes without an industry", unit="thousand USD", nullable=False),
        Column(
            "no_region_kusd", MONEY, "imports from where the table has no region", unit="thousand USD", nullable=False
        ),
        Column(
            "without_delivery_kusd",
            MONEY,
            "imports with an industry and a region that delivers nothing to an industry of the focus (final use only)",
            unit="thousand USD",
            nullable=False,
        ),
        Column(
            "inputs_kusd", MONEY, "foreign intermediate inputs of the focus's industries", unit="thousand USD",
            nullable=False,
        ),
        Column("inputs_split_kusd", MONEY, "of these, split over products", unit="thousand USD", nullable=False),
        Column(
            "inputs_no_imports_kusd", MONEY, "of these, whole: none of the industry's products is imported from there",
            unit="thousand USD", nullable=False,
        ),
        Column(
            "inputs_no_product_kusd", MONEY, "of these, whole: the industry has no products (services)",
            unit="thousand USD", nullable=False,
        ),
        Column("codes", INT, "codes in the supply mix of the focus", nullable=False, minimum=0),
        Column("codes_without_industry", INT, "imported codes without an industry", nullable=False, minimum=0),
        Column(
            "codes_with_recipe",
            INT,
            "codes that the catalogue has a recipe for: it overrides the industry's",
            nullable=False,
            minimum=0,
        ),
        _reason,
    ),
    ("focus", "hs_revision", "year"),
    released=True,
    partitioned=True,
)  # fmt: skip
PRODUCT_TIERS = Table(
    "product_tiers",
    "chain",
    "Where the inputs of one product probably come from, by the recipe of its industry: the largest inputs, the rest, "
    "and what is of unknown origin; products with a recipe in the catalogue are left out",
    (
        _focus,
        _revision,
        Column("code", STRING, "HS6 code", nullable=False),
        _year,
        _recipe_year,
        Column("tier", INT, "1 = inputs, 2 = inputs of inputs", nullable=False, minimum=1),
        Column("rank", INT, "1 = largest; the rest and unknown origin come last", nullable=False, minimum=1),
        Column("country", STRING, "country or region that makes the input; UNK if unknown; null for the rest"),
        Column("industry", STRING, "industry that makes the input; null for the rest and for unknown origin"),
        Column("share", FLOAT, "share of all inputs at that tier", unit="share", nullable=False, minimum=0, maximum=1),
        Column("basis", STRING, "icio_proportional", nullable=False, allowed=BASES),
        Column("evidence", STRING, "icio_proportional", nullable=False, allowed=EVIDENCE),
        _reason,
    ),
    ("focus", "hs_revision", "code", "year", "tier", "rank"),
    released=True,
    partitioned=True,
)
COUNTRY_RISK = Table(
    "country_risk",
    "risk",
    "G1: governance risk of one country and year",
    (
        Column("country", STRING, "ISO3", nullable=False),
        _year,
        Column("estimate", FLOAT, "WGI estimate used", unit="WGI points"),
        Column(
            "standard_error",
            FLOAT,
            "published standard error of the estimate; of a mean of six the mean of the six errors; null where the "
            "source has none",
            unit="WGI points",
            minimum=0,
        ),
        Column(
            "risk",
            FLOAT,
            "clip((2.5 - estimate)/5, 0, 1)",
            unit="index 0-1",
            minimum=0,
            maximum=1,
            source="World Bank WGI",
        ),
        Column("dimension", STRING, "WGI dimension used: mean6, or one of VA PV GE RQ RL CC", nullable=False),
        Column("vintage", STRING, "WGI edition", nullable=False),
    ),
    ("country", "year"),
    released=True,
)
INDICATORS = Table(
    "indicators",
    "risk",
    "One figure: an indicator of METHOD 2 for one focus, product, node or group, and year",
    (
        *_ITEM,
        Column("indicator", STRING, "id of the indicator, see the labels table", nullable=False),
        Column("measure", STRING, "v value, q mass, p production, none", nullable=False, allowed=MEASURES),
        Column("basis", STRING, "what the figure rests on", nullable=False, allowed=BASES),
        Column("value", FLOAT, "the figure; null means unknown, and the reason says why"),
        Column("unit", STRING, "unit of the figure", nullable=False),
        Column("low", FLOAT, "lowest value that the unknown part allows"),
        Column("high", FLOAT, "highest value that the unknown part allows"),
        Column("method_value", FLOAT, "the value as the published method would have it, sentinels included"),
        Column(
            "coverage", FLOAT, "share of the mix that has the data the figure needs", unit="share", minimum=0, maximum=1
        ),
        Column("country", STRING, "the country that the figure names: top supplier, top producer, hidden origin"),
        Column("country_share", FLOAT, "its share of the mix in question", unit="share", minimum=0, maximum=1),
        Column("worst_code", STRING, "a node of several codes: the worst code; a chain figure: the node it names"),
        Column("worst_value", FLOAT, "value of the worst code"),
        _reason,
        _confidence,
        Column("source_vintage", STRING, "vintages of the sources that the figure rests on"),
        Column("method_version", STRING, "version of the method", nullable=False),
    ),
    ("year", "focus", "level", "code", "hs_revision", "group", "tier", "indicator", "measure", "basis"),
    released=True,
)
PRODUCT_INDICATORS = replace(
    INDICATORS,
    name="product_indicators",
    description="One figure of level hs6 that a year's data give, for every HS6 code: what indicators is made of",
    released=False,
    partitioned=True,
)
CHAIN_INDICATORS = replace(
    INDICATORS,
    name="chain_indicators",
    description="One figure of a node, a group or its chain, of all years: what indicators is made of",
    released=False,
)
NETWORK_INDICATORS = replace(
    INDICATORS,
    name="network_indicators",
    description="One figure of the network of a product's world trade, the same for every focus: what indicators is "
    "made of",
    released=False,
    partitioned=True,
)
SUBSTITUTION_DIMENSIONS = ("domestic", "supplier", "product", "time", "composite")
SUBSTITUTABILITY = Table(
    "substitutability",
    "risk",
    "One component of how easily a focus could replace its supply of a product or node, or the composite of them",
    (
        _focus,
        Column("level", STRING, "what the code names", nullable=False, allowed=("hs6", "node", "group")),
        _code,
        _revision,
        Column("group", STRING, "product group; null for the direct view of an HS6 code"),
        Column("tier", INT, "tier in the group; 0 for the direct view of an HS6 code"),
        _year,
        Column(
            "dimension",
            STRING,
            "where a substitute would come from; composite for the mean of all",
            nullable=False,
            allowed=SUBSTITUTION_DIMENSIONS,
        ),
        Column("component", STRING, "id of the component, see the labels table", nullable=False),
        Column("measure", STRING, "v value, q mass, p production, none", nullable=False, allowed=MEASURES),
        Column("value", FLOAT, "the figure; null means unknown, and the reason says why"),
        Column("unit", STRING, "unit of the figure", nullable=False),
        Column("score", FLOAT, "0 easily substituted, 1 hardly; null: not in the composite", minimum=0, maximum=1),
        Column("weight", FLOAT, "weight in the composite, all of them sum to 1", unit="share", minimum=0, maximum=1),
        Column("low", FLOAT, "lowest value that the unknown part allows; composite: low end under drawn weights"),
        Column("high", FLOAT, "highest value that the unknown part allows; composite: high end under drawn weights"),
        Column("coverage", FLOAT, "composite: share of the weight that is there", unit="share", minimum=0, maximum=1),
        Column("matters_most", STRING, "composite: the component that moves it most when it is left out"),
        Column("without", FLOAT, "composite: what it is without that component", minimum=0, maximum=1),
        _reason,
        _confidence,
        Column("source", STRING, "where the component and its weight come from", nullable=False),
        Column("source_vintage", STRING, "vintages of the sources that the figure rests on"),
        Column("method_version", STRING, "version of the method", nullable=False),
    ),
    ("year", "focus", "level", "code", "hs_revision", "group", "tier", "dimension", "component"),
    released=True,
    partitioned=True,
    group="substitutability",
)
FLAGS = Table(
    "flags",
    "risk",
    "One verdict of one named method",
    (
        *_ITEM,
        Column("method", STRING, "named method", nullable=False, allowed=METHODS),
        Column("flagged", BOOL, "the verdict; null: cannot be told, and the reason says why"),
        Column("indicated", BOOL, "what the figures suggest where the verdict cannot be told (export proxy)"),
        Column("band", STRING, "for banded methods: low, moderate or high", allowed=("low", "moderate", "high")),
        Column(
            "agreement",
            FLOAT,
            "share of the alternatives that give the same verdict",
            unit="share",
            minimum=0,
            maximum=1,
        ),
        Column("alternatives", INT, "number of alternatives tried", minimum=0),
        Column("flips_on", STRING, "the alternatives under which the verdict turns"),
        Column("below_minimum", BOOL, "imports below the minimum value: the flag does not count"),
        Column("rank", INT, "for methods that rank: 1 = largest, equal figures share a rank", minimum=1),
        Column("ranked", INT, "how many items of the focus, level, HS revision and year have a rank", minimum=0),
        Column("country", STRING, "the country that the deciding figure names, where it names one"),
        Column(
            "decided_by",
            STRING,
            "id of the indicator whose margin decides: where all criteria hold the one nearest to its limit, where "
            "some fail the failing one farthest from it",
        ),
        Column("decided_value", FLOAT, "the figure of that indicator, sentinels included"),
        Column("decided_limit", FLOAT, "its limit in the method; null for a rank"),
        Column("decided_at", STRING, "the node whose figure decides, where it is another than the row's own"),
        _reason,
        Column("method_version", STRING, "version of the method", nullable=False),
    ),
    ("year", "focus", "level", "code", "hs_revision", "group", "tier", "method"),
    released=True,
)
NAMED_METHODS = Table(
    "named_methods",
    "risk",
    "What one named method is: version, limits, publication, and what it leaves out here",
    (
        Column("method", STRING, "named method", nullable=False, allowed=METHODS),
        Column("version", STRING, "version of its definition", nullable=False),
        Column("judges", BOOL, "whether it is switched on in this release", nullable=False),
        Column("frozen", BOOL, "the limits are frozen with the version; else they are configuration", nullable=False),
        Column("limits", STRING, "figures against their limits, ids of the indicators; null where there is none"),
        Column("rule", STRING, "how the limits are put together", nullable=False),
        Column("publication", STRING, "author or publisher", nullable=False),
        Column("publication_year", YEAR, "year of the publication; null where it could not be told"),
        Column("citation", STRING, "the publication in full", nullable=False),
        Column(
            "citation_status", STRING, "read: a text that states the rule was opened; recalled: from memory",
            nullable=False, allowed=("read", "recalled"),
        ),
        Column("opened", STRING, "what was opened, or why it was not", nullable=False),
        Column("leaves_out", STRING, "what the publication has and is done otherwise here", nullable=False),
        Column("leaves_out_nl", STRING, "the same in Dutch", nullable=False),
    ),
    ("method",),
    released=True,
)  # fmt: skip
METHOD_AGREEMENT = Table(
    "method_agreement",
    "risk",
    "How far two named methods flag the same items of one focus, level, HS revision and year; items that only one of "
    "them judges are left out, and no minimum value enters",
    (
        _focus,
        Column("level", STRING, "what the items are", nullable=False, allowed=LEVELS),
        _revision,
        _year,
        Column("method_a", STRING, "the first method", nullable=False, allowed=METHODS),
        Column("method_b", STRING, "the second method", nullable=False, allowed=METHODS),
        Column("flagged_by_both", INT, "items that both flag", nullable=False, minimum=0),
        Column("only_a", INT, "items that the first flags and the second does not", nullable=False, minimum=0),
        Column("only_b", INT, "items that the second flags and the first does not", nullable=False, minimum=0),
        Column("neither", INT, "items that neither flags", nullable=False, minimum=0),
        Column("untold", INT, "items on which one of them or both cannot tell", nullable=False, minimum=0),
        Column(
            "jaccard", FLOAT, "flagged_by_both / (flagged_by_both + only_a + only_b); null where neither flags any",
            unit="share", minimum=0, maximum=1,
        ),
        Column("flagged_by_both_indicated", INT, "as flagged_by_both, an indication standing in for what cannot be "
               "told", nullable=False, minimum=0),
        Column("only_a_indicated", INT, "as only_a, with indications", nullable=False, minimum=0),
        Column("only_b_indicated", INT, "as only_b, with indications", nullable=False, minimum=0),
        Column("jaccard_indicated", FLOAT, "as jaccard, with indications", unit="share", minimum=0, maximum=1),
    ),
    ("year", "focus", "level", "hs_revision", "method_a", "method_b"),
    released=True,
)  # fmt: skip
METHOD_DIFFERENCES = Table(
    "method_differences",
    "risk",
    "One item of the newest year on which named methods that can tell disagree, and why",
    (
        *_ITEM,
        Column("flagging", STRING, "methods that flag it", nullable=False),
        Column("not_flagging", STRING, "methods that do not", nullable=False),
        Column("untold", STRING, "methods that cannot tell; null if none"),
        Column("why", STRING, "per method the figures against their limits", nullable=False),
        Column("why_nl", STRING, "the same in Dutch", nullable=False),
    ),
    ("year", "focus", "level", "code", "hs_revision", "group", "tier"),
    released=True,
)
INDUSTRY_INDICATORS = replace(
    INDICATORS,
    name="industry_indicators",
    description="One figure of an industry of the focus (I1 to I6): what indicators is made of",
    released=False,
)
#: What else the inputs of a verdict could have been; see :mod:`ketenpipe.risk.alternatives`.
ALTERNATIVE_INPUTS = (
    "three_year_window",
    "other_measure",
    "direct_instead_of_traced",
    "export_basis",
    "governance_minus_se",
    "governance_plus_se",
    "intensities_halved",
    "intensities_raised",
    "without_patches",
    "other_revision",
)
ALTERNATIVES = Table(
    "alternatives",
    "risk",
    "One verdict of one named method under one alternative to the inputs, beside the published one",
    (
        *_ITEM,
        Column("method", STRING, "named method", nullable=False, allowed=METHODS),
        Column("alternative", STRING, "what is different", nullable=False, allowed=ALTERNATIVE_INPUTS),
        Column("flagged", BOOL, "the verdict under the alternative; null: cannot be told"),
        Column("indicated", BOOL, "what the figures suggest under it where the verdict cannot be told"),
        Column("base_flagged", BOOL, "the published verdict; null: cannot be told"),
        Column("base_indicated", BOOL, "what the published figures suggest where the verdict cannot be told"),
        Column(
            "agrees",
            BOOL,
            "whether both say the same, told or indicated; null where one of them says nothing, see reason",
        ),
        Column(
            "counted",
            BOOL,
            "whether it counts in the agreement: not where it asks another question (the other measure) or where the "
            "flags count the same alternative already",
            nullable=False,
        ),
        Column(
            "indicator",
            STRING,
            "the figure that decides the published verdict: of those held against a limit the one that stands lowest "
            "against its own",
        ),
        Column("node", STRING, "the node that the figure is of, where it is not the one of the row"),
        Column("value", FLOAT, "that figure under the alternative"),
        Column("base_value", FLOAT, "the published figure"),
        Column("threshold", FLOAT, "what it is held against"),
        _reason,
    ),
    ("year", "focus", "level", "code", "hs_revision", "group", "tier", "method", "alternative"),
    released=True,
)
ROBUSTNESS = Table(
    "robustness",
    "risk",
    "Whether one verdict of one named method survives the uncertainty of its inputs, and why or why not",
    (
        *_ITEM,
        Column("method", STRING, "named method", nullable=False, allowed=METHODS),
        Column("flagged", BOOL, "the verdict; null: cannot be told"),
        Column("indicated", BOOL, "what the figures suggest where the verdict cannot be told"),
        Column("draws", INT, "number of draws of the inputs; null where none were made of this verdict", minimum=0),
        Column(
            "draw_agreement",
            FLOAT,
            "share of the draws that give the same verdict; null without draws or without a verdict",
            unit="share",
            minimum=0,
            maximum=1,
        ),
        Column(
            "alternatives",
            INT,
            "number of alternatives that count and can be compared: those of flags and those of alternatives",
            nullable=False,
            minimum=0,
        ),
        Column(
            "agreement",
            FLOAT,
            "share of them that give the same verdict; null where there are none",
            unit="share",
            minimum=0,
            maximum=1,
        ),
        Column(
            "matters_most",
            STRING,
            "the alternative that turns the verdict, of several the one nearest to the published inputs; where none "
            "does, the one that moves the deciding figure most, measured by its limit",
        ),
        Column("turns", BOOL, "whether that alternative turns the verdict; null where there is none"),
        Column(
            "robust",
            BOOL,
            "both shares reach the cut-off of the thresholds; false where one does not; null: cannot be told",
        ),
        Column("reason", STRING, "why it is or is not robust, in a sentence", nullable=False),
        Column("reason_nl", STRING, "the same in Dutch", nullable=False),
    ),
    ("year", "focus", "level", "code", "hs_revision", "group", "tier", "method"),
    released=True,
)
SHOCKS = Table(
    "shocks",
    "risk",
    "What a country's stop of exports of one node would cut of one group's supply to the focus: for ranking only, "
    "never a loss in money",
    (
        _focus,
        _year,
        Column("scenario", STRING, "country:node:share, e.g. CHN:rare_earth_metals:1", nullable=False),
        Column("country", STRING, "country that stops exporting what it makes, ISO3", nullable=False),
        Column("node", STRING, "node whose exports stop; null for an HS6 code seen by itself"),
        Column("code", STRING, "HS6 code whose exports stop; null where it is the whole node"),
        Column("share", FLOAT, "part of the exports that stops", unit="share", nullable=False, minimum=0, maximum=1),
        Column("group", STRING, "product group that is hit; null for an HS6 code seen by itself"),
        _revision,
        Column("tier", INT, "tier of the node in the group; 0: the product itself", nullable=False, minimum=0),
        Column(
            "cut",
            FLOAT,
            "share of the focus's supply of the group's product that is cut, without substitution: an upper bound; "
            "what is of unknown origin left out; null where it hangs on an intensity that nobody has read",
            unit="share",
            minimum=0,
            maximum=1,
        ),
        Column("low", FLOAT, "the cut if unknown origins are other countries, and unknown intensities 0", unit="share",
               nullable=False, minimum=0, maximum=1),
        Column("high", FLOAT, "the cut if unknown origins are the country, and inputs of unknown intensity essential",
               unit="share", nullable=False, minimum=0, maximum=1),
        Column(
            "cut_with_relief",
            FLOAT,
            "what is left of the cut if the users in each country had the first call on everything that others sell "
            "elsewhere: a lower bound, since they would compete; null without trade codes",
            unit="share",
            minimum=0,
            maximum=1,
        ),
        Column("relief_low", FLOAT, "low of cut_with_relief", unit="share", minimum=0, maximum=1),
        Column("relief_high", FLOAT, "high of cut_with_relief", unit="share", minimum=0, maximum=1),
        Column(
            "relief",
            FLOAT,
            "S2 where the path meets the node: what others sell elsewhere, and the country did not make, over what is "
            "lost there, both in tonnes; null without trade codes or where nothing is lost",
            unit="ratio",
            minimum=0,
        ),
        Column("path", STRING, "the way by which most of the cut reaches the focus; null where nothing is cut"),
        Column("rank", INT, "rank of the cut among the rows of the focus and year, 1 the largest; ties share a rank",
               minimum=1),
        Column("basis", STRING, "basis of the node's production", nullable=False, allowed=BASES),
        Column("evidence", STRING, "weakest evidence on the way to the node; null at tier 0", allowed=EVIDENCE),
        Column(
            "same_for_every_country",
            BOOL,
            "true where the node has the world production mix, the same for every buyer",
            nullable=False,
        ),
        _confidence,
        _reason,
    ),
    ("focus", "year", "scenario", "group", "node", "hs_revision"),
    released=True,
)  # fmt: skip
IMPORTERS = Table(
    "importers",
    "risk",
    "The direct indicators of one importer and product in one year, by value, so that every importer can be compared",
    (
        Column("hs_revision", STRING, "HS revision that the codes belong to, e.g. HS92", nullable=False),
        _year,
        Column("code", STRING, "HS6 code, six characters", nullable=False),
        Column("importer", STRING, "importing country, ISO3", nullable=False),
        Column("imports_kusd", MONEY, "imports from all others", unit="thousand USD", nullable=False),
        Column("suppliers", INT, "countries that it buys from", unit="countries", nullable=False, minimum=1),
        Column("top_supplier", STRING, "largest of them, the first in the alphabet of equals", nullable=False),
        Column("top_share", FLOAT, "its share of the imports", unit="share", nullable=False, minimum=0, maximum=1),
        Column("C1", FLOAT, "concentration of imports", unit="index 0-1", nullable=False, minimum=0, maximum=1),
        Column("C2", FLOAT, "concentration of world exports of the product", unit="index 0-1", minimum=0, maximum=1),
        Column(
            "C4a",
            FLOAT,
            "share of the largest origin outside the importer and the EU27; 0 where there is none",
            unit="share",
            nullable=False,
            minimum=0,
            maximum=1,
        ),
        Column("C4a_country", STRING, "that origin, ISO3; null where all origins are in the EU27"),
        Column("C5", FLOAT, "share from outside the EU27", unit="share", nullable=False, minimum=0, maximum=1),
        Column("S1", FLOAT, "imports over exports; null where it exports nothing", unit="ratio", minimum=0),
        Column(
            "c1_rank",
            FLOAT,
            "share of the product's importers whose C1 is lower",
            unit="share",
            nullable=False,
            minimum=0,
            maximum=1,
        ),
        _reason,
    ),
    ("hs_revision", "year", "code", "importer"),
    partitioned=True,
)
NOWCAST = Table(
    "nowcast",
    "risk",
    "One direct indicator over twelve months of reconciled UN Comtrade reports: how recent months extend BACI",
    (
        _focus,
        Column("level", STRING, "what the code names", nullable=False, allowed=LEVELS),
        Column("code", STRING, "HS6 code", nullable=False),
        Column("hs_revision", STRING, "HS revision that the code belongs to", nullable=False),
        Column("frequency", STRING, "A: a calendar year of annual reports; M: twelve months", nullable=False,
               allowed=("A", "M")),
        Column("window_start", STRING, "first month, e.g. 2025-10", nullable=False),
        Column("window_end", STRING, "last month, e.g. 2026-09", nullable=False),
        Column("months", INT, "months of the window that hold any report", unit="months", nullable=False, minimum=0,
               maximum=12),
        Column("indicator", STRING, "id of the indicator, see the labels table", nullable=False),
        Column("measure", STRING, "v value, q mass, p production, none", nullable=False, allowed=MEASURES),
        Column("basis", STRING, "always reconciled_comtrade", nullable=False, allowed=("reconciled_comtrade",)),
        Column("value", FLOAT, "the figure; null means unknown, and the reason says why"),
        Column("unit", STRING, "unit of the figure", nullable=False),
        Column("country", STRING, "the country that the figure names, e.g. the top supplier"),
        Column("country_share", FLOAT, "its share", unit="share", minimum=0, maximum=1),
        Column("mirror_share", FLOAT, "share of the focus's imports known from the exporters' reports only",
               unit="share", minimum=0, maximum=1),
        Column("reported_share", FLOAT, "share of the trade behind the figure that one of the partners has reported: "
               "imports of the focus, for C2 of the world; null in a window that lacks months", unit="share",
               minimum=0, maximum=1),
        Column("coverage", FLOAT, "share of the mix that has the data the figure needs", unit="share", minimum=0,
               maximum=1),
        _reason,
        Column("source_vintage", STRING, "vintages of the sources that the figure rests on"),
        Column("method_version", STRING, "version of the method", nullable=False),
    ),
    ("focus", "level", "code", "hs_revision", "frequency", "window_end", "indicator", "measure"),
    released=True,
)  # fmt: skip
NOWCAST_CHECK = Table(
    "nowcast_check",
    "risk",
    "How far one indicator on annual reconciled flows lies from BACI's, over the codes of a focus and year",
    (
        _focus,
        Column("hs_revision", STRING, "HS revision that the codes belong to", nullable=False),
        _year,
        Column("indicator", STRING, "id of the indicator, see the labels table", nullable=False),
        Column("measure", STRING, "v value, q mass, p production, none", nullable=False, allowed=MEASURES),
        Column("codes", INT, "codes for which both have a figure", unit="codes", nullable=False, minimum=0),
        Column("only_baci", INT, "codes for which only BACI has one", unit="codes", nullable=False, minimum=0),
        Column("only_nowcast", INT, "codes for which only the nowcast has one", unit="codes", nullable=False,
               minimum=0),
        Column("median_difference", FLOAT, "median of nowcast - BACI, in the unit of the indicator"),
        Column("p90_difference", FLOAT, "90th percentile of the size of the difference", minimum=0),
        Column("median_ratio", FLOAT, "median of nowcast / BACI, where BACI's figure is not 0", unit="ratio",
               minimum=0),
        Column("total_ratio", FLOAT, "M: sum of the nowcast over sum of BACI", unit="ratio", minimum=0),
        Column("same_country_share", FLOAT, "share of the codes with the same country named", unit="share", minimum=0,
               maximum=1),
        Column("same_side_share", FLOAT, "share of the codes on the same side of the indicator's cut-off",
               unit="share", minimum=0, maximum=1),
        Column("worst_code", STRING, "HS6 code that differs most (M: by its ratio)"),
        Column("worst_baci", FLOAT, "BACI's figure of it"),
        Column("worst_nowcast", FLOAT, "the nowcast's figure of it"),
    ),
    ("focus", "hs_revision", "year", "indicator", "measure"),
    released=True,
)  # fmt: skip
CRMA_MONITOR = Table(
    "crma_monitor",
    "observatory",
    "CRMA benchmark of one material at one stage: the top third country against 65 %",
    (
        _focus,
        Column("group", STRING, "product group", nullable=False),
        Column("material", STRING, "node of the catalogue", nullable=False),
        Column("stage", STRING, "stage of the chain", nullable=False, allowed=STAGES),
        _year,
        Column("top_country", STRING, "largest third country of the imports"),
        Column("share_imports", FLOAT, "its share of all imports (C4a)", unit="share", minimum=0, maximum=1),
        Column("top_country_traced", STRING, "largest third country of the traced supply"),
        Column("share_traced", FLOAT, "its share of the traced supply (C4b)", unit="share", minimum=0, maximum=1),
        Column("threshold", FLOAT, "benchmark of the regulation", unit="share", nullable=False),
        Column("exceeds", BOOL, "strictly above the benchmark; null: cannot be told"),
        Column(
            "decided_on",
            STRING,
            "traced where production is observed, else imports (proxy)",
            allowed=("traced", "imports"),
        ),
        _confidence,
        _reason,
    ),
    ("focus", "group", "material", "year"),
    released=True,
)
GRADE_DIMENSIONS = (
    "coverage",
    "vintage_age",
    "patch_share",
    "mass",
    "production_basis",
    "concordance",
    "chain_evidence",
    "shared_code",
)
DATA_GRADES = Table(
    "data_grades",
    "observatory",
    "How good the data of one product group are on one dimension, for one focus and its newest year; the points of all "
    "dimensions together make the grade",
    (
        _focus,
        Column("group", STRING, "product group", nullable=False),
        Column("dimension", STRING, "what is graded, see data/reference/grades.toml", nullable=False,
               allowed=GRADE_DIMENSIONS),
        Column("year", YEAR, "year of the group's newest figures; null if it cannot be computed"),
        Column("measured", FLOAT, "the figure that the rule looks at; null where there is none, the sentence says why"),
        Column("unit", STRING, "unit of that figure", nullable=False),
        Column("points", INT, "steps that the dimension takes off the grade", nullable=False, minimum=0),
        Column("sentence_en", STRING, "what was found, in words", nullable=False),
        Column("sentence_nl", STRING, "the same in Dutch", nullable=False),
        Column("rule_en", STRING, "the rule that gave the points", nullable=False),
        Column("rule_nl", STRING, "the same in Dutch", nullable=False),
        Column("total_points", INT, "points of all dimensions of the group", nullable=False, minimum=0),
        Column("grade", STRING, "the group's grade: A (best) to E", nullable=False, allowed=("A", "B", "C", "D", "E")),
    ),
    ("focus", "group", "dimension"),
    released=True,
)  # fmt: skip
VALIDATION = Table(
    "validation",
    "observatory",
    "One published figure that can be cited, beside ketenpipe's own",
    (
        Column("figure", STRING, "id in data/reference/published_figures.csv", nullable=False),
        Column("position", INT, "its number on the page, in the order of the file", nullable=False, minimum=1),
        Column("subject_en", STRING, "what the figure is", nullable=False),
        Column("subject_nl", STRING, "the same in Dutch", nullable=False),
        Column("quantity", STRING, "how ketenpipe's figure is found", nullable=False,
               allowed=("indicator", "method_value", "named_share", "import_share", "traced_share", "flagged_share",
                        "flagged_from")),
        Column("focus", STRING, "country or bloc; null where the figure is the world's"),
        Column("level", STRING, "what the codes name", nullable=False, allowed=LEVELS),
        Column("codes", STRING, "HS6 codes, space-separated, a node, or a method", nullable=False),
        _revision,
        Column("indicator", STRING, "id of the indicator, where it is one"),
        Column("measure", STRING, "v value, q mass, p production, none", allowed=MEASURES),
        Column("country", STRING, "whose share is meant"),
        Column("year", YEAR, "year of the published figure", nullable=False),
        Column("compared_year", YEAR, "year of ketenpipe's figure", nullable=False),
        Column("relation", STRING, "equal: the published value; above, below: a published limit", nullable=False,
               allowed=("equal", "above", "below")),
        Column("published", FLOAT, "the published figure", nullable=False),
        Column("unit", STRING, "unit of both figures", nullable=False),
        Column("ours", FLOAT, "ketenpipe's figure; null means that the run has none, and the reason says why"),
        Column("difference", FLOAT, "ours minus published"),
        Column("ratio", FLOAT, "ours over published; null where published is 0", unit="ratio"),
        Column("tolerance", FLOAT, "largest difference that needs no cause, in the unit of the figure",
               nullable=False, minimum=0),
        Column("tolerance_why", STRING, "why so much", nullable=False),
        Column("within", BOOL, "whether the difference is within the tolerance, or on the right side of a limit; null: "
               "not judged, because the figure was not read or ours is missing"),
        Column("explained", BOOL, "beyond the tolerance: whether a cause is stated; null where there is none to state"),
        Column("explanation", STRING, "the cause, cited or reasoned"),
        Column("explanation_nl", STRING, "the cause in Dutch"),
        Column("citation", STRING, "where it was published", nullable=False),
        Column("citation_status", STRING, "read: the text was opened; recalled: from memory, judges nothing",
               nullable=False, allowed=("read", "recalled")),
        Column("opened", STRING, "when and what was opened"),
        Column("url", STRING, "where it was read"),
        _reason,
        Column("source_vintage", STRING, "vintages of the sources that ketenpipe's figure rests on"),
    ),
    ("figure",),
    released=True,
)  # fmt: skip
DOSSIERS = Table(
    "dossiers",
    "review",
    "The evidence of one group, as the expert signs it",
    (
        Column("group", STRING, "product group", nullable=False),
        Column("evidence_hash", STRING, "SHA-256 of the canonical evidence", nullable=False),
        Column("evidence", STRING, "the evidence as canonical JSON text", nullable=False),
    ),
    ("group",),
)
REGISTER = Table(
    "register",
    "observatory",
    "The verdict on one product group for one focus",
    (
        _focus,
        Column("group", STRING, "product group", nullable=False),
        Column("year", YEAR, "year of the verdict; null if the group cannot be computed"),
        Column("direct_flag", BOOL, "direct dependency; null: cannot be told"),
        Column("indirect_specific", BOOL, "X1; null: cannot be told"),
        Column("indirect_global", BOOL, "X1g, equal for every buyer; null: cannot be told"),
        Column("indication", STRING, "what the figures suggest where a flag cannot be told"),
        Column("verdict", STRING, "the verdict in words", nullable=False),
        Column("verdict_nl", STRING, "the verdict in Dutch", nullable=False),
        Column(
            "hhi",
            FLOAT,
            "foreign concentration of the traced supply of the product itself (O1)",
            unit="index 0-1",
            minimum=0,
            maximum=1,
        ),
        Column("wgi", FLOAT, "governance risk of that foreign supply (G2)", unit="index 0-1", minimum=0, maximum=1),
        Column(
            "weakest_node", STRING, "node that the verdict rests on, else the one with the largest weakest-link value"
        ),
        Column("weakest_country", STRING, "its largest foreign origin"),
        Column("weakest_path", STRING, "path from the product to that node"),
        Column("robust", BOOL, "whether the verdict survives the alternatives; null where nothing can be told"),
        Column("robust_reason", STRING, "why it is or is not, per flag behind the verdict"),
        Column("robust_reason_nl", STRING, "the same in Dutch"),
        Column("data_grade", STRING, "A (best) to E", allowed=("A", "B", "C", "D", "E")),
        Column("data_grade_reason", STRING, "why not A"),
        Column("priority", INT, "rank for the experts' attention, 1 first; ties share a rank", minimum=1),
        Column(
            "priority_score", FLOAT, "public interest x economic weight x risk", unit="index 0-1", minimum=0, maximum=1
        ),
        Column("priority_reason", STRING, "what the rank is made of"),
        Column("imports_kusd", FLOAT, "imports of the product (bloc: from outside)", unit="thousand USD", minimum=0),
        Column("review_status", STRING, "state of the dossier", nullable=False, allowed=REVIEW_STATES),
        Column("provisional", BOOL, "true until an expert has signed this very evidence", nullable=False),
        Column("evidence_hash", STRING, "hash of the evidence", nullable=False),
        Column("signed_role", STRING, "role of the expert who signed"),
        Column("signed_on", STRING, "date of the signature, ISO 8601"),
    ),
    ("focus", "group"),
    released=True,
)
REVIEW_DECISIONS = Table(
    "review_decisions",
    "review",
    "One decision of an expert; names stay in the home's review folder",
    (
        Column("sequence", INT, "running number in the ledger", nullable=False, minimum=1),
        Column("group", STRING, "product group", nullable=False),
        Column("decision", STRING, "approve, reject or revise", nullable=False, allowed=DECISIONS),
        Column("evidence_hash", STRING, "the evidence that was judged", nullable=False),
        Column("release", STRING, "release in which the evidence was read"),
        Column("role", STRING, "role of the expert", nullable=False),
        Column("date", STRING, "date of the decision, ISO 8601", nullable=False),
        Column("rationale", STRING, "the reason, where the expert made it public"),
    ),
    ("sequence",),
    released=True,
)
CHANGES = Table(
    "changes",
    "observatory",
    "What differs from the previous release",
    (
        _focus,
        Column("level", STRING, "what the code names", nullable=False, allowed=LEVELS),
        _code,
        Column("year", YEAR, "calendar year of the data"),
        Column("what", STRING, "the indicator, method or column that changed", nullable=False),
        Column("before", STRING, "what the previous release said; null if it did not say"),
        Column("after", STRING, "what this one says; null if it does not say"),
        Column("kind", STRING, "why it changed", nullable=False, allowed=CHANGE_KINDS),
    ),
    (),
    released=True,
)
EXPLANATION_PARTS = ("figure", "formula", "input", "flow", "patch", "missing", "source", "turn")
EXPLANATIONS = Table(
    "explanations",
    "observatory",
    "One line of how a headline figure or verdict of a group comes about, in its newest year",
    (
        _focus,
        Column("level", STRING, "what the code names", nullable=False, allowed=LEVELS),
        _code,
        _revision,
        Column("group", STRING, "product group", nullable=False),
        Column("tier", INT, "tier in the group"),
        _year,
        Column("indicator", STRING, "id of the indicator, or name of the method, see the labels table", nullable=False),
        Column("measure", STRING, "v value, q mass, p production, none; null for a method", allowed=MEASURES),
        Column("basis", STRING, "what the figure rests on; null for a method", allowed=BASES),
        Column("position", INT, "place of the line in the explanation", nullable=False, minimum=1),
        Column(
            "part",
            STRING,
            "figure: the figure and whether it was computed again; formula: with the numbers put in; input: other "
            "figures it is made of; flow: the largest suppliers, makers, exporters or paths; patch: what stands in for "
            "data; missing: what is not there, and why; source: a file; turn: what would have to change for the flag "
            "to turn",
            nullable=False,
            allowed=EXPLANATION_PARTS,
        ),
        Column("what", STRING, "what the line is about: a supplier, an input, a kind of patch, a file", nullable=False),
        Column("value", FLOAT, "figure of the line; null where it is words only"),
        Column("unit", STRING, "unit of the figure"),
        Column("country", STRING, "the country that the line names"),
        Column("text_en", STRING, "the line in English", nullable=False),
        Column("text_nl", STRING, "the line in Dutch", nullable=False),
        Column("holds", BOOL, "of a check, whether it held: the figure computed again is the one stated"),
    ),
    ("focus", "level", "code", "hs_revision", "group", "tier", "year", "indicator", "measure", "basis", "position"),
    released=True,
)
LABELS = Table(
    "labels",
    "observatory",
    "Names and meanings of every code that the release uses",
    (
        Column(
            "kind",
            STRING,
            "what is named",
            nullable=False,
            allowed=("country", "product", "node", "group", "indicator", "component", "method", "industry"),
        ),
        Column("code", STRING, "the code", nullable=False),
        _revision,
        Column("name_en", STRING, "name in English", nullable=False),
        Column("name_nl", STRING, "name in Dutch; null where none is known"),
        Column("unit", STRING, "unit, for indicators"),
        Column("formula", STRING, "formula, for indicators and methods"),
        Column("threshold", STRING, "threshold, for indicators and methods"),
        Column("source", STRING, "where name, formula or threshold come from"),
        Column("note_en", STRING, "what a statistic cannot split, for products, nodes and groups"),
        Column("note_nl", STRING, "the same in Dutch"),
    ),
    ("kind", "code", "hs_revision"),
    released=True,
)
SOURCES = Table(
    "sources",
    "observatory",
    "Every input file of the release",
    INPUT_FILES.columns,
    ("source", "file"),
    released=True,
)

TIER_INDICATORS = replace(
    INDICATORS,
    name="tier_indicators",
    description="One indicative figure of what goes into an HS6 code, by the recipe of its industry: what indicators "
    "is made of",
    released=False,
    partitioned=True,
)
TIER_FLAGS = replace(
    FLAGS,
    name="tier_flags",
    description="What an indicative figure suggests about what goes into an HS6 code: what flags is made of",
    released=False,
    partitioned=True,
)
ELASTICITY = Table(
    "elasticity",
    "sources",
    "Trade elasticity of one product: how far its suppliers can stand in for one another (CEPII ProTEE)",
    (
        Column("hs_revision", STRING, "HS revision of the code", nullable=False),
        Column("code", STRING, "HS6 code, six characters", nullable=False),
        Column(
            "elasticity",
            FLOAT,
            "elasticity of imports to the tariff, as the file has it; negative; minus it is the elasticity of "
            "substitution between origins; null where the file has none",
            source="CEPII ProTEE",
        ),
        Column("significant", BOOL, "false where the source calls it not significant at 1 %", nullable=False),
        Column(
            "positive",
            BOOL,
            "true where the source found a positive one, which has no meaning; it may have put another figure there",
            nullable=False,
        ),
        Column("vintage", STRING, "version of the data set", nullable=False),
    ),
    ("hs_revision", "code"),
)
CRITICALITY_INDICATORS = replace(
    INDICATORS,
    name="criticality_indicators",
    description="One figure of criticality (S3, S4, IR, G4, G5, EI) of an HS6 code, node or group: what indicators is "
    "made of",
    released=False,
    partitioned=True,
)
INPUT_FAMILIES = ("flows", "production", "governance", "intensities", "input_output")
UNCERTAINTY = Table(
    "uncertainty",
    "risk",
    "What a Monte Carlo says of one figure of the indicators: every input off by its own error, in every draw",
    (
        *_ITEM,
        Column("indicator", STRING, "id of the indicator, see the labels table", nullable=False),
        Column("measure", STRING, "v value, q mass, p production, none", nullable=False, allowed=MEASURES),
        Column("basis", STRING, "what the figure rests on", nullable=False, allowed=BASES),
        Column("value", FLOAT, "the published figure, computed again without errors; null: the reason says why"),
        Column("draws", INT, "draws in which the figure could be had", nullable=False, minimum=0),
        Column("low", FLOAT, "5 % of the draws lie below"),
        Column("high", FLOAT, "5 % of the draws lie above"),
        Column("mean", FLOAT, "mean of the draws"),
        Column("threshold", FLOAT, "threshold of the indicator; null where it has none"),
        Column(
            "flag_share",
            FLOAT,
            "share of the draws beyond the threshold; of a figure that is 0 or 1 (T, X1, X1g) the share that are 1",
            unit="share",
            minimum=0,
            maximum=1,
        ),
        Column(
            "rank",
            INT,
            "rank among those of its focus, revision and year, 1 the worst; of G4 that of geopolrisk, by its score",
            minimum=1,
        ),
        Column("rank_low", INT, "5 % of the draws rank it up to here", minimum=1),
        Column("rank_high", INT, "95 % of the draws rank it up to here", minimum=1),
        Column("ranked", INT, "how many are ranked", minimum=1),
        Column(
            "matters_most",
            STRING,
            "family of inputs whose errors alone move the figure most; null where none does",
            allowed=INPUT_FAMILIES,
        ),
        _reason,
        Column("method_version", STRING, "version of the method", nullable=False),
    ),
    INDICATORS.key,
    released=True,
)
DRAWN_VERDICTS = Table(
    "drawn_verdicts",
    "risk",
    "How often one named method flags in a Monte Carlo",
    (
        *_ITEM,
        Column("method", STRING, "named method", nullable=False, allowed=METHODS),
        Column("draws", INT, "number of draws", nullable=False, minimum=0),
        Column(
            "flagged_share",
            FLOAT,
            "share of the draws whose figures pass the test, of those in which they can be had; null without any",
            unit="share",
            minimum=0,
            maximum=1,
        ),
        Column(
            "verdict_share",
            FLOAT,
            "share of the draws whose figures give a verdict, told or not: flagged_share is of these",
            unit="share",
            minimum=0,
            maximum=1,
        ),
        Column(
            "told_share",
            FLOAT,
            "share of the draws in which the verdict may be told, by the same rules as flags.flagged",
            unit="share",
            minimum=0,
            maximum=1,
        ),
        Column("method_version", STRING, "version of the method", nullable=False),
    ),
    FLAGS.key,
)
TABLES: dict[str, Table] = {
    t.name: t
    for t in (
        BACI_FLOWS,
        ARCHIVE,
        COMTRADE_ANNUAL,
        COMTRADE_MONTHLY,
        REPORTING_COVERAGE,
        HS_WEIGHTS,
        RECONCILED_ANNUAL,
        RECONCILED_MONTHLY,
        ICIO_ACCOUNTS,
        MARGINS_ANNUAL,
        MARGINS_MONTHLY,
        RELIABILITY_ANNUAL,
        RELIABILITY_MONTHLY,
        ICIO_AUDIT,
        NOWCAST,
        NOWCAST_CHECK,
        GOVERNANCE,
        MINING_PRODUCTION,
        ELASTICITY,
        INPUT_FILES,
        CHAIN_NODES,
        CHAIN_EDGES,
        PRODUCTION,
        ORIGIN_MIX,
        TRACING,
        SUPPLY_MIX,
        EXPOSURE,
        PATHS,
        GRAPH_NODES,
        GRAPH_EDGES,
        GRAPH_MEASURES,
        SHOCKS,
        INDUSTRY_EXPOSURE,
        INDUSTRY_TIERS,
        INDUSTRY_MEASURES,
        INDUSTRY_COEFFICIENTS,
        PRODUCT_INDUSTRIES,
        PRODUCT_USES,
        PRODUCT_JOIN,
        PRODUCT_TIERS,
        COUNTRY_RISK,
        PRODUCT_INDICATORS,
        CHAIN_INDICATORS,
        TIER_INDICATORS,
        TIER_FLAGS,
        IMPORTERS,
        CRITICALITY_INDICATORS,
        NETWORK_INDICATORS,
        INDUSTRY_INDICATORS,
        INDICATORS,
        FLAGS,
        NAMED_METHODS,
        METHOD_AGREEMENT,
        METHOD_DIFFERENCES,
        UNCERTAINTY,
        DRAWN_VERDICTS,
        ALTERNATIVES,
        ROBUSTNESS,
        SUBSTITUTABILITY,
        DOSSIERS,
        REVIEW_DECISIONS,
        DATA_GRADES,
        REGISTER,
        CRMA_MONITOR,
        VALIDATION,
        EXPLANATIONS,
        CHANGES,
        LABELS,
        SOURCES,
    )
}
RELEASED: tuple[Table, ...] = tuple(t for t in TABLES.values() if t.released)


def data_dictionary() -> str:
    """The data dictionary as Markdown: every released table, column, type, unit and meaning."""
    parts = [
        "# Data dictionary",
        "",
        "Made from the registry (`ketenpipe/tables/registry.py`); do not edit by hand.",
        "",
    ]
    for table in RELEASED:
        parts += [f"## {table.name}", "", f"{table.description}. Key: {', '.join(table.key) or 'none'}.", ""]
        parts += ["| column | type | unit | meaning |", "|---|---|---|---|"]
        for c in table.columns:
            values = f" One of: {', '.join(c.allowed)}." if c.allowed else ""
            null = "" if c.nullable else " Never null."
            parts.append(f"| `{c.name}` | {c.type} | {c.unit or ''} | {c.description}.{values}{null} |")
        parts.append("")
    return "\n".join(parts)
