"""Model bundles: what is written can be read, and each kind of damage is refused with its place and a remedy."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from shutil import copytree, rmtree

import msgspec
import pytest

from riskd.adapters.model_file import MAX_BYTES, Manifest, load_model, read_manifest, render, seal, write_bundle
from riskd.core.errors import InvalidModel
from riskd.core.forest import Forest
from riskd.core.model import ForestDocument, Split, Steps
from riskd.core.score import schema_of
from tests.faults.disks import largest_file

FEATURES = {"unused": "1", "failures": "2", "novelty": "1"}
DOCUMENT = ForestDocument(
    baseline=-3.0,
    references={"failures": 0.0, "novelty": None},
    calibration=((-4.0, 0.01), (0.0, 0.5), (4.0, 0.9)),
    steps=(Steps(feature="failures", cuts=(0.0, 3.0), values=(0.0, 0.5, 2.0), missing=0.0, note="guessing"),),
    trees=(
        (
            Split(feature="novelty", threshold=0.1 + 0.2, missing_left=True, left=1, right=2),
            -0.1,
            Split(feature="failures", threshold=None, missing_left=False, left=3, right=4),
            1.0 / 3.0,
            0.0,
        ),
    ),
)
MANIFEST = Manifest(name="starter", domain="customer", version="7", kind="hand-set", created="2026-01-31")
VECTOR = (0.0, 4.0, 0.9)
ROOM = 1 << 16
"""The largest file size, to simulate a full disk."""


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "customer" / "7"
    write_bundle(path, DOCUMENT, "# starter\n", MANIFEST, FEATURES)
    return path


@pytest.fixture
def bundle(sound: Path, tmp_path: Path) -> Path:
    return copytree(sound, tmp_path / "bundle")


def test_a_written_bundle_can_be_loaded(bundle: Path) -> None:
    """A written bundle loads with the same scores, version and feature schema."""
    forest = load_model(bundle, FEATURES, domain="customer")

    assert forest.score(VECTOR) == pytest.approx((-2.0 / 3.0, 0.5 - 0.49 * (2.0 / 3.0) / 4.0))
    assert forest.feature_names == ("unused", "failures", "novelty")
    assert forest.version == "7"
    assert forest.schema == schema_of({"failures": "2", "novelty": "1"})


def test_the_documented_example_is_a_forest() -> None:
    """The JSON in docs/models.md loads and scores."""
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
    example = msgspec.json.decode(page.split("```json\n")[1].split("```")[0], type=ForestDocument)

    assert Forest(example, example.features()).score([4.0, 1.0]) == pytest.approx((-1.0, 0.26894142))


def test_rendering_is_exact_and_a_line_a_thing(bundle: Path) -> None:
    """A rendered forest decodes to the same forest, with one line per step function, node and knot."""
    text = (bundle / "forest.json").read_text()

    assert msgspec.json.decode(text, type=ForestDocument) == DOCUMENT
    assert [line.strip() for line in text.splitlines() if "guessing" in line or "0.30000000000000004" in line] == [
        '{"feature": "failures", "cuts": [0.0, 3.0], "values": [0.0, 0.5, 2.0], "missing": 0.0, "note": "guessing"}',
        '{"feature": "novelty", "threshold": 0.30000000000000004, "missing_left": true, "left": 1, "right": 2},',
    ]


def test_a_sealed_manifest_has_only_what_the_model_uses(bundle: Path) -> None:
    """Sealing adds only the definitions of used features, their schema, and a hash for each file."""
    manifest = read_manifest(bundle)

    assert manifest.features == {"failures": "2", "novelty": "1"}
    assert sorted(manifest.files) == ["card.md", "forest.json"]
    assert manifest.schema == schema_of(manifest.features)
    assert msgspec.structs.replace(manifest, features={}, files={}, schema="") == MANIFEST


def test_a_reviewed_change_is_sealed(bundle: Path) -> None:
    """An edited bundle is refused until it is sealed again."""
    (bundle / "forest.json").write_bytes(render(msgspec.structs.replace(DOCUMENT, baseline=-5.0)))
    with pytest.raises(InvalidModel, match="seal the bundle again"):
        load_model(bundle, FEATURES)
    seal(bundle, FEATURES)

    assert load_model(bundle, FEATURES).score(VECTOR)[0] == -5.0 + 2.0 + 1.0 / 3.0


def test_new_features_do_not_disturb_old_models(bundle: Path) -> None:
    """New features, and changes to features that a model does not use, do not affect it."""
    grown = {"first": "1", **FEATURES, "unused": "2", "last": "1"}

    assert load_model(bundle, grown).score((9.0, *VECTOR, 9.0)) == load_model(bundle, FEATURES).score(VECTOR)


def test_a_version_is_never_written_twice(bundle: Path) -> None:
    """Writing to an existing bundle is refused."""
    with pytest.raises(InvalidModel, match="exists already"):
        write_bundle(bundle, DOCUMENT, "", MANIFEST, FEATURES)


def test_a_bundle_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    """On a full disk, writing a bundle fails with a remedy and leaves nothing behind."""
    large = {"evaluation.json": bytes(2 * ROOM)}
    with largest_file(ROOM), pytest.raises(InvalidModel, match=r"/new: cannot be written: File too large \(check that"):
        write_bundle(tmp_path / "models" / "new", DOCUMENT, "", MANIFEST, FEATURES, beside=large)
    assert list((tmp_path / "models").iterdir()) == []


@pytest.mark.parametrize("name", ["evaluation.json", "reference.json", "card.md"])
def test_a_bundle_that_cannot_be_sealed_is_unchanged(bundle: Path, name: str) -> None:
    """If sealing fails on a full disk, the served bundle is unchanged and still matches its manifest."""
    seal(bundle, FEATURES, beside={"evaluation.json": b"{}"})
    before = {file.name: file.read_bytes() for file in bundle.iterdir()}
    large = "x" * 2 * ROOM
    card, beside = (large, {}) if name == "card.md" else (None, {name: large.encode()})
    with largest_file(ROOM), pytest.raises(InvalidModel, match="cannot be written: File too large"):
        seal(bundle, FEATURES, card=card, beside={"training.json": b"{}", **beside})
    assert {file.name: file.read_bytes() for file in bundle.iterdir()} == before
    assert load_model(bundle, FEATURES).version == "7"


def test_a_bad_forest_is_neither_written_nor_sealed(bundle: Path, tmp_path: Path) -> None:
    """An invalid forest is neither written nor sealed."""
    bad = msgspec.structs.replace(DOCUMENT, baseline=1e9)
    with pytest.raises(InvalidModel):
        write_bundle(tmp_path / "new", bad, "", MANIFEST, FEATURES)
    before = (bundle / "manifest.json").read_bytes()
    (bundle / "forest.json").write_bytes(render(bad))
    with pytest.raises(InvalidModel):
        seal(bundle, FEATURES)

    assert not (tmp_path / "new").exists()
    assert (bundle / "manifest.json").read_bytes() == before


Damage = Callable[[Path], object]


def text(name: str, old: str, new: str) -> Damage:
    def damage(bundle: Path) -> None:
        content = (bundle / name).read_text()
        assert old in content
        (bundle / name).write_text(content.replace(old, new, 1))

    return damage


def resealed(old: str, new: str) -> Damage:
    """Damage to the forest with a matching hash."""

    def damage(bundle: Path) -> None:
        text("forest.json", old, new)(bundle)
        manifest = json.loads((bundle / "manifest.json").read_text())
        manifest["files"]["forest.json"] = hashlib.sha256((bundle / "forest.json").read_bytes()).hexdigest()
        (bundle / "manifest.json").write_text(json.dumps(manifest))

    return damage


def content(name: str, raw: bytes) -> Damage:
    return lambda bundle: (bundle / name).write_bytes(raw)


def both(first: Damage, second: Damage) -> Damage:
    return lambda bundle: (first(bundle), second(bundle))


MEND, FORMAT, SEAL = "fix the JSON here", "see the format in docs/models.md", "seal the bundle again"
DAMAGE: dict[str, tuple[Damage, list[tuple[str, str, str]]]] = {
    "no bundle": (rmtree, [("", "is not a model bundle", "name the directory of one")]),
    "no forest": (lambda b: (b / "forest.json").unlink(), [("forest.json", "No such file", "restore the bundle")]),
    "no card": (lambda b: (b / "card.md").unlink(), [("card.md", "No such file", "restore the bundle")]),
    "a huge manifest": (
        content("manifest.json", b" " * (MAX_BYTES["manifest.json"] + 1)),
        [("manifest.json", "larger than 1048576 bytes", "smaller")],
    ),
    "manifest cut short": (content("manifest.json", b'{\n  "name": "x'), [("manifest.json:2:13", "truncated", MEND)]),
    "manifest malformed": (
        content("manifest.json", b'{\n  "name": x}'),
        [("manifest.json:2:11", "malformed", MEND)],
    ),
    "manifest not text": (content("manifest.json", b'{\n"\xff"}'), [("manifest.json:2:2", "not UTF-8", MEND)]),
    "manifest with a stray field": (
        text("manifest.json", '"name"', '"nmae"'),
        [("manifest.json", "unknown field `nmae`", FORMAT)],
    ),
    "manifest of another kind": (text("manifest.json", "hand-set", "magic"), [("manifest.json", "$.kind", FORMAT)]),
    "manifest of no domain": (
        text("manifest.json", "customer", "cats"),
        [("manifest.json: domain", "there is no identity domain 'cats'", "customer, workforce, machine")],
    ),
    "manifest of another domain": (
        text("manifest.json", "customer", "workforce"),
        [("manifest.json: domain", "the model is for 'workforce', not for 'customer'", "its own model")],
    ),
    "one bit of the forest": (text("forest.json", "2.0", "3.0"), [("forest.json", "has the SHA-256", SEAL)]),
    "forest and card": (
        both(text("forest.json", "2.0", "3.0"), text("card.md", "starter", "ender")),
        [("forest.json", "has the SHA-256", SEAL), ("card.md", "has the SHA-256", SEAL)],
    ),
    "card and domain": (
        both(text("card.md", "starter", "ender"), text("manifest.json", "customer", "machine")),
        [
            ("manifest.json: domain", "the model is for 'machine'", "its own model"),
            ("card.md", "has the SHA-256", SEAL),
        ],
    ),
    "never sealed": (
        text("manifest.json", "forest.json", "fores.json"),
        [("fores.json", "the manifest lists it", "restore it"), ("forest.json", "says none", SEAL)],
    ),
    "a file of which the manifest says nothing": (
        content("evaluation.json", b"{}"),
        [("evaluation.json", "the manifest says none", SEAL)],
    ),
    "forest malformed": (
        resealed('"missing_left": true', '"missing_left": yes'),
        [("forest.json:15:80", "malformed", MEND)],
    ),
    "forest of wrong type": (resealed("-3.0", '"low"'), [("forest.json", "`$.baseline`", FORMAT)]),
    "forest of another format": (resealed("forest/1", "forest/9"), [("forest.json", "`$.format`", FORMAT)]),
    "not a number": (resealed("-3.0", "NaN"), [("forest.json:3:", "malformed", MEND)]),
    "number out of range": (resealed("-3.0", "1e999"), [("forest.json", "out of range", FORMAT)]),
    "values out of bounds": (
        resealed("-3.0", "-3e9"),
        [("forest.json: baseline", "is not a log-odds", "from -1000 to 1000")],
    ),
    "a child in a circle": (
        resealed('"left": 1', '"left": 0'),
        [
            ("forest.json: trees[0][0].left", "does not come after", "children after their parent"),
            ("forest.json: trees[0]", "nodes [1] do not have one parent", "exactly once"),
        ],
    ),
    "unknown features": (
        resealed('"feature": "novelty"', '"feature": "novelti"'),
        [
            ("forest.json: features", "no feature is called 'novelti'", "did you mean 'novelty'?"),
            ("forest.json: references", "'novelti' has no reference", "usual value"),
        ],
    ),
    "features that mean something else": (
        text("manifest.json", '"failures": "2"', '"failures": "1"'),
        [
            (
                "manifest.json: features.failures",
                "made for the definition '1', but this version of riskd has '2'",
                "train",
            )
        ],
    ),
}


@pytest.mark.parametrize(("damage", "expected"), DAMAGE.values(), ids=DAMAGE.keys())
def test_damage_is_refused(bundle: Path, damage: Damage, expected: list[tuple[str, str, str]]) -> None:
    """A damaged bundle is refused; each problem has the file, the place, what is wrong and a remedy."""
    damage(bundle)
    with pytest.raises(InvalidModel) as caught:
        load_model(bundle, FEATURES, domain="customer")

    assert len(caught.value.problems) == len(expected)
    for problem, (where, what, remedy) in zip(caught.value.problems, expected, strict=True):
        assert str(problem).startswith(f"{bundle}/{where}" if where else f"{bundle}: ")
        assert what in problem.what
        assert remedy in problem.remedy
