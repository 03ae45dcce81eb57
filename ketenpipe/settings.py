"""One typed settings object: from ``KETENPIPE_*`` variables and an optional ``ketenpipe.toml`` in the home.

The only place where the environment is read, and only when :func:`load_settings` is called.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from ketenpipe.errors import WrongUse

#: Settings that are never shown, logged or handed to Dagster.
SECRETS = ("comtrade_key",)
#: ``spark://host:port``, several masters of one cluster with commas between them.
SPARK_MASTER = re.compile(r"spark://(?P<hosts>[^\s/,:]+:\d{1,5}(?:,[^\s/,:]+:\d{1,5})*)", re.ASCII)


class Settings(BaseSettings):
    """What a run needs to know. Every field can be set as ``KETENPIPE_<FIELD>``."""

    model_config = SettingsConfigDict(env_prefix="KETENPIPE_", extra="forbid", frozen=True)

    home: Path = Field(
        Path("data"),
        description="everything written goes under it: a folder, or s3://bucket/prefix?endpoint_override=&scheme=&region=",
    )
    work: Path | None = Field(
        None, description="of a home on an S3 store: folder of this machine for what needs a disk (default: user cache)"
    )
    sources: str = Field(
        "sample", description="'sample', 'official' (fetched into raw/) or a drop folder of files in native layouts"
    )
    focus: Annotated[tuple[str, ...], NoDecode] = Field(("NLD",), description="countries (ISO3)")
    bloc: Annotated[tuple[str, ...], NoDecode] = Field(
        ("EU27",), description="blocs of blocs.csv: EU27 (today's 27), EU (members of the year), OECD, ..."
    )
    years: str | None = Field(None, description="2018-2024, 2022 or empty for every year of the sources")
    catalogue: Path | None = Field(None, description="folder that overrides data/reference file by file")
    depth: int = Field(2, ge=0, le=10, description="tiers of the look-through")
    wgi_dimension: Literal["mean6", "VA", "PV", "GE", "RQ", "RL", "CC"] = Field(
        "mean6", description="mean of six where all are there, else political stability"
    )
    minimum_import_kusd: float = Field(1000.0, ge=0, description="flags on smaller imports do not count (thousand USD)")
    seed: int = Field(20260101, description="seed of everything random")
    draws: int = Field(
        1000, ge=0, le=10_000, description="Monte Carlo draws behind every interval; 0 for none (1,000 take about 1 GB)"
    )
    methods: Annotated[tuple[str, ...], NoDecode] = Field((), description="named methods that judge (default: all)")
    partners: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="blocs of blocs.csv or countries whose supply counts as friendly (table substitutability)"
    )
    products: Literal["all", "catalogue"] | None = Field(
        None, description="HS6 codes that are computed: all (by default), or the catalogue's"
    )
    fetch: bool = Field(True, description="whether a run on the official sources first fetches what changed")
    engine: str = Field(
        "duckdb", description="what runs the flow formulas: duckdb, or a Spark cluster spark://host:port"
    )
    comtrade_key: SecretStr | None = Field(None, description="key of the UN Comtrade API; a secret, shown nowhere")

    @field_validator("methods", mode="before")
    @classmethod
    def _lower(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip().lower() for part in re.split(r"[,\s]+", value) if part.strip())
        return value

    @field_validator("focus", "bloc", "partners", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip().upper() for part in re.split(r"[,\s]+", value) if part.strip())
        return value

    @field_validator("focus")
    @classmethod
    def _countries(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for code in value:
            if not re.fullmatch(r"[A-Z]{3}", code):
                raise ValueError(f"'{code}' is not a country code of three letters (ISO 3166, e.g. NLD)")
        return tuple(dict.fromkeys(value))

    @field_validator("bloc")
    @classmethod
    def _blocs(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        # Which blocs there are is reference data: the catalogue refuses an unknown one by name.
        for code in value:
            if not re.fullmatch(r"[A-Z][A-Z0-9_]*", code):
                raise ValueError(f"'{code}' is not the name of a bloc (capitals and digits, e.g. EU27)")
        return tuple(dict.fromkeys(value))

    @field_validator("engine")
    @classmethod
    def _engine(cls, value: str) -> str:
        if value != "duckdb" and not SPARK_MASTER.fullmatch(value):
            raise ValueError(
                f"'{value}' is no engine: it is duckdb, or the master of a Spark cluster as spark://host:port"
            )
        return value

    @field_validator("years")
    @classmethod
    def _years(cls, value: str | None) -> str | None:
        if value is None or not value.strip():
            return None
        found = re.fullmatch(r"\s*(\d{4})\s*(?:-\s*(\d{4})\s*)?", value)
        if not found or (found[2] and int(found[2]) < int(found[1])):
            raise ValueError(f"'{value}' is no year or span of years such as 2018-2024")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings, env_settings, TomlConfigSettingsSource(settings_cls))

    @property
    def foci(self) -> tuple[str, ...]:
        """Countries, then blocs."""
        return (*self.focus, *self.bloc)

    @property
    def chosen_products(self) -> Literal["all", "catalogue"]:
        """Which HS6 codes are computed."""
        return self.products or "all"

    def wanted_years(self, available: list[int]) -> list[int]:
        """The years of the sources that this run takes.

        Raises:
            WrongUse: none of the wanted years is in the sources.
        """
        if self.years is None:
            return sorted(available)
        first, _, last = (part.strip() for part in self.years.partition("-"))
        chosen = [y for y in sorted(available) if int(first) <= y <= int(last or first)]
        if not chosen:
            held = f"{min(available)}-{max(available)}" if available else "none"
            raise WrongUse(f"the sources hold no year of {self.years} (they hold {held})")
        return chosen


def load_settings(**overrides: Any) -> Settings:
    """Read the settings: overrides win over ``KETENPIPE_*``, which win over ``<home>/ketenpipe.toml``.

    Raises:
        WrongUse: a value that cannot be taken, in one sentence that names the setting.
    """
    given = {k: v for k, v in overrides.items() if v is not None and v != ()}
    try:
        first = Settings(**given)
        file = (first.work or first.home) / "ketenpipe.toml"
        if not file.exists():
            return first

        class _WithFile(Settings):
            model_config = SettingsConfigDict(**{**Settings.model_config, "toml_file": file})

        return Settings(**{**_WithFile(**given).model_dump(), **given})
    except ValidationError as error:
        problem = error.errors()[0]
        name = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        raise WrongUse(f"setting '{name}': {message}") from error
    except (OSError, ValueError) as error:
        raise WrongUse(f"the settings cannot be read: {error}") from error
