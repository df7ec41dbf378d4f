"""`riskd model`: printing weights and sealing bundles."""

from __future__ import annotations

from pathlib import Path
from shutil import copytree

import pytest

from riskd.adapters.model_file import load_model, read_card
from riskd.cli.main import main
from riskd.core.errors import InvalidModel
from riskd.core.features import DEFINITIONS
from tests.models.stories import bundle


@pytest.fixture
def edited(tmp_path: Path) -> Path:
    """A copy of a shipped model with one weight changed by hand."""
    path = copytree(bundle("machine"), tmp_path / "hand-set-2")
    forest = path / "forest.json"
    forest.write_text(
        forest.read_text().replace('"values": [0, 3], "missing": 0', '"values": [0, 3.5], "missing": 0', 1)
    )
    return path


def test_an_edited_model_is_refused_until_it_is_sealed(edited: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An edited bundle is refused until it is sealed; sealing also updates the card."""
    with pytest.raises(InvalidModel, match="SHA-256"):
        load_model(edited, DEFINITIONS)

    assert main(["model", "seal", str(edited)]) == 0
    assert "machine hand-set-2" in capsys.readouterr().out
    assert load_model(edited, DEFINITIONS).version == "hand-set-2"
    assert "| `tor` | 0 (0.5), +3.5 |" in read_card(edited)


def test_weights_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """The weights are printed as in the card, one line per feature."""
    assert main(["model", "weights", str(bundle("machine"))]) == 0
    assert capsys.readouterr().out in read_card(bundle("machine"))


def test_a_broken_forest_changes_nothing(edited: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Sealing an invalid forest reports the mistake and writes nothing."""
    forest = edited / "forest.json"
    forest.write_text(forest.read_text().replace('"feature": "tor"', '"feature": "torr"'))
    before = {file.name: file.read_bytes() for file in edited.iterdir()}

    assert main(["model", "seal", str(edited)]) == 2
    assert "did you mean 'tor'?" in capsys.readouterr().err
    assert {file.name: file.read_bytes() for file in edited.iterdir()} == before
