"""What is particular to the Redis store: connections, deadlines and recovery."""

from __future__ import annotations

import logging
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from ssl import create_default_context
from threading import Thread, Timer

import pytest

from riskd.adapters.redis_store import Access, Address, RedisStore
from riskd.adapters.rekeying import Mark
from riskd.core.errors import Unavailable
from riskd.core.history import WEEK, Delta, History
from riskd.core.stored import FORMAT, Change, Swap
from riskd.stores import checks, first_mark
from tests.redis_servers import RedisServer, free_port, refusing, running, until

NOW = 1_800_000_000.0
LATER = NOW + WEEK
PLACES = [b"%08d" % number for number in range(64)]
SUBJECT, DEVICE = PLACES[0] + b"subject.A", PLACES[1] + b"device..A"
PAPER = PLACES[0] + b"unique..R"


def attempts(key: bytes, n: int = 1, expires: float = LATER) -> Delta:
    return Delta(key, NOW, expires, (("attempt", "", n),))


def count(store: RedisStore, key: bytes) -> int:
    (found,), _ = store.read((key,), (), NOW, 1.0)
    return total(found)


def total(history: History) -> int:
    return sum(history.tallies.of("attempt").get("", [])[1:])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    one = RedisServer(tmp_path / "redis")
    with running(one):
        yield one


@pytest.fixture
def store(server: RedisServer) -> Iterator[RedisStore]:
    with closing(RedisStore([server.address], Access())) as opened:
        yield opened


def test_one_round_trip_each(server: RedisServer, store: RedisStore) -> None:
    """A read is one command per place, and a write is one script, whatever their size."""
    deltas = [attempts(place + b"entity..A") for place in PLACES[:5]]
    store.write(deltas, (Swap(PAPER, None, b"text", LATER),), NOW, 1.0)
    server.ask("CONFIG", "RESETSTAT")
    store.write(deltas, (Swap(PAPER, b"text", b"more", LATER),), NOW, 1.0)
    store.read([place + kind for place in PLACES[:5] for kind in (b"entity..A", b"entity..P")], (PAPER,), NOW, 1.0)

    stats = server.ask("INFO", "commandstats")
    assert isinstance(stats, bytes)
    calls = {line.split(b":")[0]: int(line.split(b"calls=")[1].split(b",")[0]) for line in stats.splitlines()[1:]}
    assert calls[b"cmdstat_evalsha"] == 1
    assert calls[b"cmdstat_hmget"] == 5


def test_flushed_redis_scripts_are_loaded_again(server: RedisServer, store: RedisStore) -> None:
    """SCRIPT FLUSH costs one more round trip, no count is lost, and no sweep is left out."""
    assert store.write([attempts(SUBJECT)], (), NOW, 1.0)
    server.ask("SCRIPT", "FLUSH")
    assert store.write([attempts(SUBJECT)], (), NOW, 1.0)
    assert store.held(SUBJECT[:8], NOW, 9) == [SUBJECT]
    assert count(store, SUBJECT) == 2
    server.ask("SCRIPT", "FLUSH")
    assert store.sweep(LATER, 100) == 1


def test_scripts_that_cannot_be_loaded_again_are_reported(server: RedisServer, store: RedisStore) -> None:
    """If the scripts are flushed and the user has lost the right to load them, the error names that right."""
    assert store.write([attempts(SUBJECT)], (), NOW, 1.0)
    server.ask("SCRIPT", "FLUSH")
    with refusing(server, "script|load"), pytest.raises(Unavailable, match=r"NOPERM.*script.*docs/scaling.md"):
        store.write([attempts(SUBJECT)], (), NOW, 1.0)
    assert store.write([attempts(SUBJECT)], (), NOW, 1.0)
    assert count(store, SUBJECT) == 2


def test_a_key_of_another_type_is_reported(server: RedisServer, store: RedisStore) -> None:
    """If something else has written a place, reads and writes of it say so, and other places are not affected."""
    server.ask("SET", f"riskd:{FORMAT}:{SUBJECT[:8].hex()}", "of somebody else")
    for call in (lambda: store.read((SUBJECT,), (), NOW, 1.0), lambda: store.write([attempts(SUBJECT)], (), NOW, 1.0)):
        with pytest.raises(Unavailable, match=r"WRONGTYPE.*what else writes keys that begin with riskd:"):
            call()
    assert store.write([attempts(DEVICE)], (), NOW, 1.0)
    assert count(store, DEVICE) == 1


def test_the_server_frees_what_has_expired(server: RedisServer, store: RedisStore) -> None:
    """The server removes expired records by itself, and a later delta with an earlier expiry shortens nothing."""
    store.write([attempts(SUBJECT, expires=NOW + 0.3), attempts(DEVICE, expires=NOW + 60)], (), NOW, 1.0)
    store.write([attempts(DEVICE, expires=NOW + 0.2)], (), NOW, 1.0)
    assert store.size()[0] == 2

    until(lambda: store.size()[0] == 1)
    assert count(store, SUBJECT) == 0
    assert count(store, DEVICE) == 2


def test_dead_documents_do_not_pile_up(server: RedisServer, store: RedisStore) -> None:
    """Expired replies of a frequent subject are removed, so that its hash stays small."""
    for number in range(720):
        now = NOW + 3600 * number
        reply = Swap(PLACES[0] + b"%08dY" % number, None, b"answer", now + 86_400)
        assert store.write([], [reply], now, 1.0)

    fields = server.ask("HLEN", f"riskd:{FORMAT}:{PLACES[0].hex()}")
    assert isinstance(fields, int)
    assert 24 <= fields <= 100


def test_a_record_of_another_program_is_unavailable(server: RedisServer, store: RedisStore) -> None:
    """A record that another program wrote under our key raises Unavailable."""
    for content in (b"", b"\x7fexpires\xc1"):
        server.ask("HSET", f"riskd:{FORMAT}:{SUBJECT[:8].hex()}", SUBJECT[8:], content)
        with pytest.raises(Unavailable, match="was not written by riskd"):
            store.read((SUBJECT,), (), NOW, 1.0)


def test_commands_larger_than_any_buffer_arrive_whole(store: RedisStore) -> None:
    """Commands and answers larger than any socket buffer arrive whole, or end at the deadline."""
    whole_megabytes(store)
    with pytest.raises(Unavailable):
        store.write([], [Swap(PAPER, None, bytes(200 << 20), LATER)], NOW, 0.02)
    assert store.write([attempts(SUBJECT)], (), NOW, 5.0), "it uses another connection"


def whole_megabytes(store: RedisStore) -> None:
    document = Random(3).randbytes(8 << 20)
    assert store.write([], [Swap(PAPER, None, document, LATER)], NOW, 20.0)
    assert store.read((), (PAPER,), NOW, 20.0) == ([], [document])
    assert store.erase([PAPER]) == 1


def test_swaps_of_two_places_are_a_mistake_of_the_program(store: RedisStore) -> None:
    """Swaps in two places in one write raise ValueError, because a cluster cannot change them together."""
    swaps = [Swap(place + b"R", None, b"text", LATER) for place in PLACES[:2]]
    with pytest.raises(ValueError, match="share a place"):
        store.write((), swaps, NOW, 1.0)


def test_connections_are_bounded(server: RedisServer) -> None:
    """Eight threads share two connections, lose nothing, and open no third."""
    most = []
    with closing(RedisStore([server.address], Access(), 2)) as store:

        def hammer() -> None:
            for _ in range(50):
                store.write([attempts(SUBJECT)], (), NOW, 10.0)

        threads = [Thread(target=hammer) for _ in range(8)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            clients = server.ask("CLIENT", "LIST")
            assert isinstance(clients, bytes)
            most.append(clients.count(b"name=riskd"))
            time.sleep(0.005)

        assert count(store, SUBJECT) == 400
        assert max(most) <= 2


def test_acknowledged_writes_survive_a_redis_kill(tmp_path: Path) -> None:
    """With `appendfsync always`, a server killed under load keeps every acknowledged count, and the store recovers by
    itself."""
    server = RedisServer(tmp_path / "redis", save=True)
    with running(server), closing(RedisStore([server.address], Access())) as store:
        acknowledged = 0
        killer = Timer(0.3, server.kill)
        killer.start()
        while killer.is_alive():
            acknowledged += written(store, SUBJECT)
        server.start()
        until(lambda: written(store, DEVICE))

        assert acknowledged > 0
        assert count(store, SUBJECT) in (acknowledged, acknowledged + 1)


def test_a_walk_does_not_pass_over_a_restart(tmp_path: Path) -> None:
    """A server that was restarted orders its keys anew, so a walk that went on would miss some: it has to be started
    again. Sweeps start again by themselves."""
    server = RedisServer(tmp_path / "redis", save=True)
    keys = [b"%08d" % number + b"entity..A" for number in range(300)]
    with running(server), closing(RedisStore([server.address], Access())) as store:
        assert store.write([attempts(key, expires=NOW + 100) for key in keys], (), NOW, 5.0)
        _, cursor = store.walk(b"", 100)
        store.sweep(NOW, 100)
        server.kill()
        server.start()
        until(lambda: written(store, SUBJECT))
        with pytest.raises(Unavailable, match="restarted during the walk"):
            store.walk(cursor, 100)
        assert set(store.walk(b"", 1000)[0]) == {*keys, SUBJECT}
        assert sum(store.sweep(NOW + 100, 100) for _ in range(10)) == len(keys)


def test_a_sweep_goes_on_where_a_process_of_another_machine_stopped(tmp_path: Path) -> None:
    """Machines that share a server may have different names for it."""
    server, keys = RedisServer(tmp_path / "redis"), [b"%08d" % number + b"entity..A" for number in range(300)]
    other = Address("localhost", server.port)
    with (
        running(server),
        closing(RedisStore([server.address], Access())) as here,
        closing(RedisStore([other], Access())) as there,
    ):
        assert here.write([attempts(key, expires=NOW + 100) for key in keys], (), NOW, 5.0)
        gone = here.sweep(NOW + 100, 100)
        there.swept = here.swept
        assert gone + there.sweep(NOW + 100, 1000) == len(keys)


def test_a_sweep_that_cannot_read_where_the_last_one_stopped_begins_anew(tmp_path: Path) -> None:
    """A note on it that is damaged, or of another version of riskd, does not end all sweeps."""
    server, keys = RedisServer(tmp_path / "redis"), [b"%08d" % number + b"entity..A" for number in range(20)]
    with running(server), closing(RedisStore([server.address], Access())) as store:
        assert store.write([attempts(key, expires=NOW + 100) for key in keys], (), NOW, 5.0)
        store.swept = b"00000007entity..A"
        assert store.sweep(NOW + 100, 1000) == len(keys)


def written(store: RedisStore, key: bytes, timeout: float = 0.2) -> bool:
    try:
        return store.write([attempts(key)], (), NOW, timeout)
    except Unavailable:
        return False


def test_unix_socket(tmp_path: Path) -> None:
    """A Unix socket can be used as an address."""
    path = tmp_path / "redis.sock"
    with (
        running(RedisServer(tmp_path / "redis", "--unixsocket", str(path))),
        closing(RedisStore([Address(path=str(path))], Access(database=3))) as store,
    ):
        assert store.write([attempts(SUBJECT)], (), NOW, 1.0)
        assert count(store, SUBJECT) == 1


def test_tls_user_and_password(tmp_path: Path) -> None:
    """The store connects with TLS and a user that may access only riskd's keys; a server of another authority is
    refused."""
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    openssl = shutil.which("openssl")
    assert openssl is not None
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, *names, "-out", str(certificate), "-keyout", str(key)], check=True, capture_output=True)
    tls_port = free_port()
    files = ["--tls-cert-file", str(certificate), "--tls-key-file", str(key), "--tls-auth-clients", "no"]
    server = RedisServer(tmp_path / "redis", "--tls-port", str(tls_port), *files)
    with running(server):
        server.ask("ACL", "SETUSER", "risk", "on", ">hush", "~riskd:*", *RIGHTS)
        address, password = Address("127.0.0.1", tls_port), b"hush"
        trusted = Access(username="risk", password=password, tls=create_default_context(cafile=str(certificate)))
        with closing(RedisStore([address], trusted)) as store:
            whole_megabytes(store)
            assert store.write([attempts(SUBJECT)], (Swap(PAPER, None, b"text", LATER),), NOW, 2.0)
            assert store.held(PLACES[0], NOW, 9) == [SUBJECT, PAPER]
            assert store.size()[0] == 1
            assert set(store.walk(b"", 10)[0]) == {SUBJECT, PAPER}
            (record,) = store.load([PAPER])
            assert store.replace([Change(PAPER, record, None)])
            assert store.erase([SUBJECT]) == 1
            assert "hush" not in repr(trusted)
        wary = Access(username="risk", password=password, tls=create_default_context())
        with (
            closing(RedisStore([address], wary)) as store,
            pytest.raises(Unavailable, match="certificate verify failed"),
        ):
            store.read((SUBJECT,), (), NOW, 2.0)


RIGHTS = (
    *("-@all", "+@connection", "+hmget", "+hdel", "+evalsha", "+script|load", "+dbsize", "+info", "+cluster|slots"),
    *("+hget", "+hset", "+hscan", "+hrandfield", "+pttl", "+pexpire"),
    *("+scan", "+hkeys", "+time"),
)
"""The rights that docs/scaling.md lists."""


def test_random_histories_stay_small_on_the_server(server: RedisServer, store: RedisStore) -> None:
    """A subject's hash with its receipts takes a few kilobytes, as the server reports."""
    random = Random(5)
    for number in range(40):
        counts = tuple((table, str(random.randrange(6)), 1) for table in ("country", "agent", "hour", "device"))
        receipt = Swap(PLACES[0] + b"%08dR" % number, None, bytes(600), LATER)
        store.write([Delta(SUBJECT, NOW, LATER, counts)], [receipt], NOW, 1.0)
    used = server.ask("MEMORY", "USAGE", f"riskd:{FORMAT}:{PLACES[0].hex()}", "SAMPLES", 0)

    assert isinstance(used, int)
    assert used < 40 * 800 + 2000


def test_a_store_begins_beside_other_data(
    server: RedisServer, store: RedisStore, caplog: pytest.LogCaptureFixture
) -> None:
    """A store that has no records yet notes its peppers and says that it begins, although the server holds records of
    another format and other data. So peppers that were rotated are no obstacle, and wrong ones are refused later."""
    server.ask("SET", "somebody", "else")
    server.ask("HSET", f"riskd:{FORMAT - 1}:{PLACES[0].hex()}", "entity..A", "older")
    peppers = [b"%d" % number * 16 for number in range(3)]
    with caplog.at_level(logging.INFO):
        begun = first_mark(store, peppers)
        assert first_mark(store, peppers) == begun == Mark(2, checks(peppers))
    assert [each.message for each in caplog.records] == ["store_begun"]
