"""Settings: precedence, and every refusal one sentence that names the setting."""

from __future__ import annotations

from pathlib import Path

import pytest

from ketenpipe.errors import WrongUse
from ketenpipe.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"KETENPIPE_{name.upper()}", raising=False)


def test_defaults() -> None:
    settings = load_settings()
    assert settings.foci == ("NLD", "EU27")
    assert (settings.sources, settings.depth, settings.years) == ("sample", 2, None)


def test_options_win_over_variables_win_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ketenpipe.toml").write_text('depth = 1\nfocus = "DEU"\nyears = "2020"\n')
    monkeypatch.setenv("KETENPIPE_FOCUS", "fra, bel")
    settings = load_settings(home=tmp_path, years="2018-2019")
    assert settings.depth == 1
    assert settings.focus == ("FRA", "BEL")
    assert settings.years == "2018-2019"


def test_the_environment_is_read_when_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KETENPIPE_HOME", str(tmp_path))
    assert load_settings().home == tmp_path


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"focus": "Netherlands"}, "focus"),
        ({"focus": "N1"}, "focus"),
        ({"bloc": "EU-28"}, "bloc"),
        ({"years": "2024-2018"}, "years"),
        ({"years": "last"}, "years"),
        ({"depth": -1}, "depth"),
        ({"wgi_dimension": "XX"}, "wgi_dimension"),
        ({"minimum_import_kusd": -5}, "minimum_import_kusd"),
        ({"engine": "spark"}, "engine"),
        ({"colour": "blue"}, "colour"),
    ],
)
def test_what_cannot_be_taken(given: dict[str, object], word: str) -> None:
    with pytest.raises(WrongUse, match=word) as caught:
        load_settings(**given)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_an_unreadable_file_is_wrong_use(tmp_path: Path) -> None:
    (tmp_path / "ketenpipe.toml").write_text("depth = = 1")
    with pytest.raises(WrongUse, match="settings cannot be read"):
        load_settings(home=tmp_path)


def test_wanted_years() -> None:
    settings = load_settings(years="2019-2021")
    assert settings.wanted_years([2022, 2018, 2020, 2019]) == [2019, 2020]
    with pytest.raises(WrongUse, match="they hold 2001-2002"):
        settings.wanted_years([2001, 2002])
    with pytest.raises(WrongUse, match="they hold none"):
        settings.wanted_years([])


def test_twice_the_same_focus_is_once() -> None:
    assert load_settings(focus="NLD,NLD,DEU").focus == ("NLD", "DEU")


def test_official_sources_are_computed_for_the_catalogue_unless_all_are_asked_for() -> None:
    assert load_settings().chosen_products == "all"
    assert load_settings(sources="somewhere").chosen_products == "all"
    assert load_settings(sources="official").chosen_products == "all"
    assert load_settings(sources="official", products="catalogue").chosen_products == "catalogue"
    with pytest.raises(WrongUse, match="products"):
        load_settings(products="some")
