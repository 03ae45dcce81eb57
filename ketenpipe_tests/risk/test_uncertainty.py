"""The error model: what is shipped, which file counts, and every refusal."""

from __future__ import annotations

from pathlib import Path

import pytest

from ketenpipe.errors import InputRefused
from ketenpipe.risk.uncertainty import Uncertainty, load_uncertainty
from ketenpipe.sources.places import embedded

SHIPPED = embedded("reference")


def test_what_is_shipped_is_complete_and_says_what_stands_behind_it() -> None:
    model = load_uncertainty(SHIPPED)
    status = {name: getattr(model, name).status for name in Uncertainty.model_fields}
    assert status == {
        "flows_v": "measured", "flows_q": "measured", "production_observed": "assumed", "production_listed": "assumed",
        "production_imputed": "assumed", "governance": "read", "intensities": "assumed", "input_output": "assumed",
    }  # fmt: skip
    assert model.flows_v.log_sd == 0.28
    assert model.governance.standard_error == 0.22
    # A convention says that it is one.
    for name, word in status.items():
        assert ("convention" in getattr(model, name).source) == (word == "assumed")


def test_the_last_folder_with_a_file_counts(tmp_path: Path) -> None:
    text = (SHIPPED / "uncertainty.toml").read_text(encoding="utf-8")
    (tmp_path / "uncertainty.toml").write_text(text.replace("log_sd = 0.5", "log_sd = 0.75"), encoding="utf-8")
    assert load_uncertainty(SHIPPED, tmp_path).production_imputed.log_sd == 0.75
    assert load_uncertainty(tmp_path, SHIPPED).production_imputed.log_sd == 0.5
    assert load_uncertainty(SHIPPED, tmp_path / "none").production_imputed.log_sd == 0.5


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (
            "log_sd = 0.5",
            "log_sd = -0.1",
            "error model production_imputed.log_sd: input should be greater than or equal",
        ),
        (
            "log_sd = 0.5",
            "log_sd = 3.01",
            "error model production_imputed.log_sd: input should be less than or equal to 3",
        ),
        ("standard_error = 0.22", "standard_error = 6", "error model governance.standard_error: input should be less"),
        (
            "standard_error = 0.22",
            "standard_error = -1",
            "error model governance.standard_error: input should be greater",
        ),
        ("[intensities]", "[flavours]", "error model intensities: field required"),
        ('status = "read"', 'status = "sure"', "error model governance.status: input should be 'measured', 'read'"),
        ("log_sd = 0.5", "log_sd = ", "is not readable TOML"),
    ],
)
def test_refusals_name_the_file_the_place_and_what_to_do(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    text = (SHIPPED / "uncertainty.toml").read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "uncertainty.toml").write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(InputRefused) as refused:
        load_uncertainty(tmp_path)
    told = str(refused.value)
    assert told.startswith(str(tmp_path / "uncertainty.toml"))
    assert sentence in told
    if "TOML" not in sentence:
        assert told.endswith("; compare it with data/reference/uncertainty.toml.")


def test_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputRefused, match=r"uncertainty.toml is missing\."):
        load_uncertainty(tmp_path)
    with pytest.raises(InputRefused, match=r"^uncertainty.toml is missing\.$"):
        load_uncertainty()


def test_a_source_is_never_empty(tmp_path: Path) -> None:
    text = (SHIPPED / "uncertainty.toml").read_text(encoding="utf-8")
    start = text.index('source = "as flows_v')
    broken = text[:start] + 'source = ""' + text[text.index("\n", start) :]
    (tmp_path / "uncertainty.toml").write_text(broken, encoding="utf-8")
    with pytest.raises(InputRefused, match=r"error model flows_q.source: string should have at least 1 character"):
        load_uncertainty(tmp_path)
