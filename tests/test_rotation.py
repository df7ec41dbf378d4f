"""A rotation of the pepper, step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import astuple, replace

from riskd.config import Secret, Settings, load, obtain_peppers
from riskd.core.errors import InvalidSettings
from riskd.core.history import Delta
from riskd.core.pseudonym import Pseudonyms
from riskd.core.recall import PROFILE
from riskd.core.stored import NOBODY
from riskd.rotation import HEAR_SECONDS, rotate, status
from riskd.stores import open_store
from tests.cases.world import NOW
from tests.redis_servers import RedisServer, running


class Stopped(Exception):
    """The operator stops the command."""


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    """The settings of services that share a Redis server. Two subjects have signed in."""
    server = RedisServer(tmp_path / "redis")
    url, given = f"redis://127.0.0.1:{server.port}", {"state.dir": str(tmp_path), "store.kind": "redis"}
    with running(server):
        made = load(None, {}, {**given, "store.url": url})
        sign_in(made, obtain_peppers(made)[0], "anne", "bert")
        yield made


def sign_in(settings: Settings, pepper: bytes, *subjects: str) -> None:
    """What a service writes that knows this pepper only."""
    keys = [key_of(Pseudonyms(pepper), subject) for subject in subjects]
    with closing(open_store(settings)) as store:
        assert store.write([Delta(key, NOW, 2 * NOW, (("sign_in", "", 1),)) for key in keys], (), NOW, 5.0)


def key_of(pseudonyms: Pseudonyms, subject: str) -> bytes:
    return pseudonyms.digest("", "customer", "subject", subject) + PROFILE


def figures(settings: Settings) -> tuple[int, ...]:
    """Layers of the file, layers of the store, records, and how many are left."""
    return astuple(status(settings))[:4]


def stopping(at: int) -> Callable[[float], None]:
    """A pause, of which the one with this number is the last."""
    left = iter(range(at))

    def pause(_: float) -> None:
        if next(left, None) is None:
            raise Stopped

    return pause


def test_a_rotation_waits_for_services_before_it_moves_and_before_it_ends(settings: Settings) -> None:
    """Before records move, services have time to hear of the new pepper; before the last ones do, to hear of the end.
    What a service that has not heard yet writes in the meantime is moved, too."""
    (old,), waits, told = obtain_peppers(settings), list[tuple[float, tuple[int, ...]]](), list[int]()

    def pause(seconds: float) -> None:
        waits.append((seconds, figures(settings)))
        sign_in(settings, old, f"late {len(waits)}")

    assert figures(settings) == (0, 0, 2, 0)
    assert rotate(settings, pause, told.append) == 4
    assert told[-1] == 4
    patience = settings.store.sweep_s + HEAR_SECONDS
    assert waits == [(patience, (1, 0, 2, 2)), (patience, (1, 1, 3, 0))]
    assert figures(settings) == (1, 1, 4, 0)
    assert rotate(settings, stopping(2), told.append) == 4
    assert figures(settings) == (2, 2, 4, 0)


@pytest.mark.parametrize("at", [0, 1])
def test_a_rotation_that_was_stopped_leaves_nothing_behind(settings: Settings, at: int) -> None:
    """A rotation that is stopped before it moved records goes on with the pepper that it added. One that is stopped
    after that is finished by the next one, which moves what a service has written late before it adds a pepper."""
    (old,) = obtain_peppers(settings)
    with pytest.raises(Stopped):
        rotate(settings, stopping(at), lambda _: None)
    sign_in(settings, old, "late")
    assert rotate(settings, stopping(2), lambda _: None) == 3 + at
    assert figures(settings) == (1 + at, 1 + at, 3, 0)
    peppers = obtain_peppers(settings)
    pseudonyms = Pseudonyms(peppers[0], peppers[1:])
    with closing(open_store(settings)) as store:
        keys = {key for key in store.walk(b"", 99)[0] if not key.startswith(NOBODY)}
    assert keys == {key_of(pseudonyms, subject) for subject in ("anne", "bert", "late")}


def test_a_store_in_memory_is_not_rotated(tmp_path: Path) -> None:
    """A store that only its service can reach is refused, and no pepper is added that nobody moves records to."""
    settings = load(None, {}, {"state.dir": str(tmp_path), "store.kind": "memory"})
    with pytest.raises(InvalidSettings, match=r"store\.kind: a `memory` store exists only in its service"):
        rotate(settings, stopping(0), lambda _: None)
    assert not (tmp_path / "pepper").exists()


def test_a_rotation_with_the_pepper_of_another_store_is_refused(settings: Settings) -> None:
    """If the file is not that of the store, no pepper is added to it, and nothing is moved."""
    rotate(settings, stopping(2), lambda _: None)
    file = Path(settings.state.dir) / "pepper"
    file.write_bytes(b"the pepper of some other store\n")
    with pytest.raises(InvalidSettings, match=r"secrets\.pepper_file: lines are missing"):
        rotate(settings, stopping(0), lambda _: None)
    assert file.read_bytes() == b"the pepper of some other store\n"


def test_the_status_names_where_the_pepper_is(settings: Settings) -> None:
    """The status has the file and who may read it; or the variable of the environment, which has no permissions."""
    file = Path(settings.state.dir) / "pepper"
    file.chmod(0o640)
    assert astuple(status(settings))[4:] == (str(file), "0640")
    given = replace(settings, secrets=replace(settings.secrets, pepper=Secret(b"a pepper of 16 bytes or more")))
    assert astuple(status(given))[4:] == ("RISKD_PEPPER", "")
