"""The roles of models and their history: every change is recorded and can be rolled back; and signatures."""

from __future__ import annotations

import fcntl
import os
import resource
from errno import ENOSPC
from pathlib import Path
from shutil import copytree

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from riskd.adapters import model_registry
from riskd.adapters.model_file import load_model, read_signature, seal, sign, verified
from riskd.adapters.model_registry import Act, Registry, stage
from riskd.core.attempt import DOMAINS
from riskd.core.errors import InvalidModel, Unavailable
from riskd.core.features import DEFINITIONS
from tests.models.stories import champions

VERSIONS = ("a", "b", "c")


def act(version: str, before: str, **changes: object) -> Act:
    made = Act(time=1.0, actor="kim", act="promote", role="champion", version=version, before=before, reason="better")
    return msgspec.structs.replace(made, **changes)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Models with a champion in every domain, and several versions for customers."""
    champions(tmp_path / "models")
    for version in VERSIONS:
        copytree(tmp_path / "models" / "customer" / "hand-set-4", tmp_path / "models" / "customer" / version)
    return tmp_path / "models"


def test_a_given_role_is_recorded(models: Path) -> None:
    """Giving a role updates the alias, and the history records who, when, why and which checks were passed."""
    registry = Registry(models)
    first = act("a", "hand-set-4")
    second = act("b", "a", forced=("recall class spraying",), time=2.0)
    registry.give("customer", first)
    registry.give("customer", second)

    assert registry.champion("customer") == models / "customer" / "b"
    assert registry.history("customer") == [first, second]
    assert (models / "customer" / "history.jsonl").read_bytes().count(b"\n") == 2


@settings(max_examples=60)
@given(steps=st.lists(st.sampled_from([*VERSIONS, "back"]), max_size=12))
def test_rolling_back_is_a_stack(tmp_path_factory: pytest.TempPathFactory, steps: list[str]) -> None:
    """After any promotions and rollbacks, each rollback restores the previous holder."""
    models = tmp_path_factory.mktemp("models")
    for version in ("origin", *VERSIONS):
        (models / "customer" / version).mkdir(parents=True)
    (models / "customer" / "champion").write_text("origin\n")
    registry, stack = Registry(models), ["origin"]
    for step in steps:
        held = registry.holder("customer", "champion")
        assert held == stack[-1]
        if step != "back":
            registry.give("customer", act(step, held))
            stack.append(step)
        elif len(stack) == 1:
            with pytest.raises(InvalidModel, match="before the present one"):
                registry.before("customer", "champion")
        else:
            registry.give("customer", act(registry.before("customer", "champion"), held, act="rollback"))
            stack.pop()


def test_a_role_that_was_given_by_hand_can_be_rolled_back(models: Path) -> None:
    """If the alias was edited by hand, a rollback restores the last holder in the history."""
    registry = Registry(models)
    registry.give("customer", act("a", "hand-set-4"))
    (models / "customer" / "champion").write_text("c\n")

    assert registry.before("customer", "champion") == "a"


@pytest.mark.parametrize("room", [0, 50], ids=["no room", "room for half a line"])
def test_a_role_that_cannot_be_given_leaves_no_trace(models: Path, room: int) -> None:
    """If the disk is full, neither the role nor the history changes."""
    registry = Registry(models)
    registry.give("customer", act("a", "hand-set-4"))
    acts = registry.history("customer")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = (models / "customer" / "history.jsonl").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + room, limits[1]))
    try:
        with pytest.raises(Unavailable):
            registry.give("customer", act("b", "a"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert registry.history("customer") == acts
    assert registry.holder("customer", "champion") == "a"


@pytest.mark.parametrize("again", [False, True], ids=["never given", "given later"])
def test_an_act_whose_process_died_is_ignored(models: Path, *, again: bool) -> None:
    """If a process died after recording an act but before giving the role, a rollback ignores that act."""
    registry = Registry(models)
    registry.give("customer", act("a", "hand-set-4"))
    with (models / "customer" / "history.jsonl").open("ab") as history:
        history.write(msgspec.json.encode(act("b", "a")) + b"\n")
    if again:
        registry.give("customer", act("b", "a"))

    assert registry.before("customer", "champion") == ("a" if again else "hand-set-4")


def test_a_role_that_cannot_be_moved_leaves_no_trace(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the alias cannot be written, the act is removed from the history."""

    def full(*_: object) -> None:
        raise OSError(ENOSPC, "No space left on device")

    registry = Registry(models)
    registry.give("customer", act("a", "hand-set-4"))
    monkeypatch.setattr(model_registry, "put", full)
    with pytest.raises(Unavailable):
        registry.give("customer", act("b", "a"))
    assert [one.version for one in registry.history("customer")] == ["a"]


def test_a_challenger_that_becomes_champion_is_challenger_no_more(models: Path) -> None:
    """A challenger promoted to champion loses the first role; a challenger without a predecessor can be withdrawn."""
    registry = Registry(models)
    registry.give("customer", act("a", "", role="challenger"))
    assert registry.before("customer", "challenger") == ""
    registry.give("customer", act("a", "hand-set-4"))

    assert registry.holder("customer", "challenger") == ""
    registry.give("customer", act("b", "", role="challenger"))
    registry.give("customer", act("", "b", role="challenger", act="rollback"))
    assert not (models / "customer" / "challenger").exists()


def test_only_an_existing_version_gets_a_role(models: Path) -> None:
    """A name that is no version, or that leads elsewhere, gets no role, and nothing is written."""
    registry = Registry(models)
    for name in ("d", "../machine/hand-set-2", "champion", ""):
        with pytest.raises(InvalidModel, match=r"versions: a, b, c, hand-set-4; release\.models"):
            registry.path("customer", name)
    with pytest.raises(InvalidModel):
        registry.give("customer", act("d", "hand-set-4"))

    assert registry.history("customer") == []
    assert registry.holder("customer", "champion") == "hand-set-4"


def test_an_alias_that_leads_elsewhere_is_refused(models: Path) -> None:
    """The alias must name one of the version directories beside it."""
    for said in ("../machine/hand-set-2", "", "gone"):
        (models / "customer" / "champion").write_text(said)
        with pytest.raises(InvalidModel, match="there is no version"):
            Registry(models).champion("customer")


def test_a_file_that_cannot_be_read_is_named_once_with_the_reason(models: Path) -> None:
    """The message names the file, the reason and the remedy, and no error number."""
    for name, read in (("champion", Registry.champion), ("history.jsonl", Registry.history)):
        file = models / "customer" / name
        file.unlink(missing_ok=True)
        file.mkdir()
        with pytest.raises(InvalidModel) as refused:
            read(Registry(models), "customer")
        (problem,) = refused.value.problems
        assert (problem.where, problem.what) == (str(file), "cannot be read: Is a directory")
        assert problem.remedy


def test_one_act_at_a_time_and_none_that_is_late(models: Path) -> None:
    """An act is refused while another process changes a role, or if the role has changed since it was read."""
    registry = Registry(models)
    descriptor = os.open(models / "customer" / ".registry", os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(InvalidModel, match="another process is changing a role"):
        registry.give("customer", act("a", "hand-set-4"))
    os.close(descriptor)
    registry.give("customer", act("a", "hand-set-4"))
    with pytest.raises(InvalidModel, match="the champion is now a, not hand-set-4"):
        registry.give("customer", act("b", "hand-set-4"))


def test_staging_takes_challengers_or_champions(models: Path, tmp_path: Path) -> None:
    """Staging takes each domain's challenger, or else its champion; it is refused if no domain has a challenger."""
    registry = Registry(models)
    with pytest.raises(InvalidModel, match="no identity domain has a challenger"):
        stage(models, tmp_path / "none")
    registry.give("customer", act("b", "", role="challenger"))

    assert stage(models, tmp_path / "staged") == {"customer": "b"}
    staged = Registry(tmp_path / "staged")
    assert [staged.champion(domain).name for domain in DOMAINS] == ["b", "hand-set-3", "hand-set-2"]
    assert staged.versions("customer") == ["b"]


@pytest.fixture
def key(tmp_path: Path) -> Path:
    file = tmp_path / "key.pem"
    file.write_bytes(pem(Ed25519PrivateKey.generate()))
    return file


def pem(private: Ed25519PrivateKey | X25519PrivateKey) -> bytes:
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def signed(path: Path, key: Path) -> str:
    return sign(path, (path / "manifest.json").read_bytes(), key).key


def test_a_signed_bundle_is_served_where_its_key_is_trusted(models: Path, key: Path) -> None:
    """A signed bundle loads if its key is among the trusted ones, or if no signature is required."""
    bundle = models / "customer" / "a"
    public = signed(bundle, key)

    assert load_model(bundle, DEFINITIONS, trusted=["00" * 32, public]).version == "hand-set-4"
    assert load_model(bundle, DEFINITIONS).version == "hand-set-4"


def unsigned(bundle: Path) -> None:
    (bundle / "signature.json").unlink()


def edited(bundle: Path) -> None:
    """Somebody changes the forest and seals it, which removes the signature."""
    forest = bundle / "forest.json"
    forest.write_text(forest.read_text().replace('"missing": 0', '"missing": 0.0', 1))
    seal(bundle, DEFINITIONS)


def resealed_with_the_old_signature(bundle: Path) -> None:
    """Somebody changes the forest, seals it, and restores the old signature."""
    before = (bundle / "signature.json").read_bytes()
    edited(bundle)
    (bundle / "signature.json").write_bytes(before)


def of_another(bundle: Path) -> None:
    other = bundle.parent / "other.pem"
    other.write_bytes(pem(Ed25519PrivateKey.generate()))
    signed(bundle, other)


def claimed(bundle: Path) -> None:
    """Another key's signature that claims to be by the trusted key."""
    mine = read_signature(bundle)
    of_another(bundle)
    theirs = read_signature(bundle)
    assert mine is not None
    assert theirs is not None
    forged = msgspec.structs.replace(theirs, key=mine.key)
    (bundle / "signature.json").write_bytes(msgspec.json.encode(forged))


FORGERIES = {
    "not signed": (unsigned, "is missing, and models.trusted_keys requires"),
    "sealed again": (edited, "is missing"),
    "changed": (resealed_with_the_old_signature, "does not match manifest.json"),
    "another key": (of_another, "which is not in models.trusted_keys"),
    "another's name": (claimed, "does not match manifest.json"),
    "no signature": (lambda bundle: (bundle / "signature.json").write_text("{}"), "is not a signature"),
    "no bytes": (lambda bundle: (bundle / "signature.json").write_bytes(b"\xff"), "is not a signature"),
}


@pytest.mark.parametrize(("forge", "expected"), FORGERIES.values(), ids=FORGERIES.keys())
def test_a_forgery_is_refused_with_its_remedy(models: Path, key: Path, forge: object, expected: str) -> None:
    """A forged signature is refused with the file and a remedy."""
    bundle = models / "customer" / "a"
    public = signed(bundle, key)
    assert callable(forge)
    forge(bundle)
    with pytest.raises(InvalidModel, match=expected) as caught:
        load_model(bundle, DEFINITIONS, trusted=[public])

    (problem,) = caught.value.problems
    assert str(problem).startswith(f"{bundle}/signature.json")
    assert "sign" in problem.remedy


def test_a_changed_byte_is_seen(models: Path, key: Path) -> None:
    """A change to any file invalidates the signature."""
    bundle = models / "customer" / "a"
    public = signed(bundle, key)
    for name in ("forest.json", "card.md", "manifest.json"):
        whole = (bundle / name).read_bytes()
        (bundle / name).write_bytes(whole + b"\n")
        with pytest.raises(InvalidModel):
            load_model(bundle, DEFINITIONS, trusted=[public])
        (bundle / name).write_bytes(whole)

    assert load_model(bundle, DEFINITIONS, trusted=[public]).version == "hand-set-4"


def test_any_tool_can_check_a_signature(models: Path, key: Path) -> None:
    """The signature is plain Ed25519 over the bytes of manifest.json."""
    bundle = models / "customer" / "a"
    signed(bundle, key)
    found = read_signature(bundle)
    assert found is not None

    assert verified(found, (bundle / "manifest.json").read_bytes())
    assert not verified(found, b"")
    assert not verified(msgspec.structs.replace(found, key="00"), (bundle / "manifest.json").read_bytes())


@pytest.mark.parametrize("content", [b"", b"no key", pem(X25519PrivateKey.generate())], ids=["empty", "text", "x25519"])
def test_only_an_ed25519_key_can_sign(models: Path, key: Path, content: bytes) -> None:
    """A file that is no Ed25519 key is refused with how to make one."""
    key.write_bytes(content)
    with pytest.raises(InvalidModel, match="openssl genpkey -algorithm ed25519"):
        signed(models / "customer" / "a", key)

    assert not (models / "customer" / "a" / "signature.json").exists()
