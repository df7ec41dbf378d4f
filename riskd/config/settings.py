"""The settings as values. Types, ranges and a line of documentation each are data, for `docs/settings.md`."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

DERIVED: Final = ""
"""Default of a path that follows from another setting; its documentation says which."""

Port = Annotated[int, Meta(ge=0, le=65535)]
Degrees = Annotated[float, Meta(ge=-180, le=180)]


class Secret:
    """Bytes that no repr, log line or JSON document shows."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = value

    def __repr__(self) -> str:
        return "Secret(hidden)" if self._value else "Secret(none)"

    def __bool__(self) -> bool:
        return bool(self._value)

    def reveal(self) -> bytes:
        """The secret itself, for the one place that needs it."""
        return self._value


class Server(Struct, frozen=True, kw_only=True):
    """The gRPC service and its processes."""

    host: Annotated[str, Meta(min_length=1, description="Address to listen on; `0.0.0.0` or `::` for all.")] = (
        "127.0.0.1"
    )
    port: Annotated[Port, Meta(description="Port of the gRPC service; 0 takes a free one.")] = 50551
    workers: Annotated[int, Meta(ge=1, le=256, description="Worker processes that share the port; one a core.")] = 1
    threads: Annotated[
        int,
        Meta(
            ge=0,
            le=64,
            description="Handler threads of a worker, batches apart; two that compute slow each other. "
            "0: 1, or 2 where `store.kind` is `redis`, whose answers they wait for.",
        ),
    ] = 0
    max_concurrent_rpcs: Annotated[
        int,
        Meta(
            ge=1,
            le=100_000,
            description="Sign-ins, or outcomes, that may wait in a worker; further ones are refused at once.",
        ),
    ] = 256
    max_streams: Annotated[int, Meta(ge=0, le=1000, description="Streams of attempts open in a worker at a time.")] = 32
    queue_ms: Annotated[
        int,
        Meta(
            ge=1,
            le=60_000,
            description="Longest wait for a turn, ms: a burst is worked off, what waits longer is refused.",
        ),
    ] = 100
    standing_queue_ms: Annotated[
        int,
        Meta(
            ge=1,
            le=60_000,
            description="The same for sign-ins once more came than could be done in `queue_ms`, the refused included, "
            "and until that is made up for, ms: a long queue would only make all of them late.",
        ),
    ] = 5
    default_timeout_ms: Annotated[
        int,
        Meta(ge=1, le=60_000, description="Longest time for one call, ms; deadlines of clients can shorten it."),
    ] = 100
    max_message_kb: Annotated[
        int, Meta(ge=16, le=65_536, description="Largest request accepted, KiB (a batch is one request).")
    ] = 256
    max_connection_age_s: Annotated[
        int,
        Meta(ge=1, le=86_400, description="Age at which a connection is asked to reconnect, so that load rebalances."),
    ] = 300
    lame_duck_s: Annotated[
        float,
        Meta(ge=0, le=120, description="Time between saying NOT_SERVING and refusing calls, for balancers to notice."),
    ] = 0.0
    grace_s: Annotated[
        float, Meta(ge=0, le=600, description="Time for calls under way to finish when the service stops.")
    ] = 10.0
    watch_s: Annotated[
        float,
        Meta(
            ge=0,
            le=3600,
            description="Time between two looks whether policies, models, lists or geo databases changed, seconds. "
            "What changed and has come to rest is read as at SIGHUP. 0: never.",
        ),
    ] = 5.0
    tls_cert: Annotated[str, Meta(description="PEM certificate chain; empty: plaintext.", extra={"reads": "file"})] = ""
    tls_key: Annotated[str, Meta(description="PEM private key of `tls_cert`.", extra={"reads": "file"})] = ""
    tls_client_ca: Annotated[
        str,
        Meta(description="PEM authorities; given, clients must show a certificate of theirs.", extra={"reads": "file"}),
    ] = ""
    callers: Annotated[
        str,
        Meta(
            description="TOML file of who may call which methods for which tenants (`riskd caller new` prints an "
            "entry); empty: all who reach the port may.",
            extra={"reads": "file"},
        ),
    ] = ""
    insecure: Annotated[
        bool,
        Meta(
            description="Serve in plaintext beyond loopback, for a mesh that encrypts by itself. Else `host` needs "
            "`tls_cert` there, and riskd does not start without."
        ),
    ] = False
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="Least severe event that stderr gets.")
    ] = "info"


class State(Struct, frozen=True, kw_only=True):
    """What riskd itself writes."""

    dir: Annotated[
        str,
        Meta(description="Directory of all that riskd writes, mode 0700 (`$XDG_STATE_HOME/riskd` where that is set)."),
    ] = "~/.local/state/riskd"


class Metrics(Struct, frozen=True, kw_only=True):
    """The HTTP endpoint: `/metrics`, `/healthz`, `/readyz`."""

    host: Annotated[str, Meta(min_length=1, description="Address of the HTTP endpoint.")] = "127.0.0.1"
    port: Annotated[Port, Meta(description="Port of the HTTP endpoint; 0 takes a free one.")] = 9464
    drift_s: Annotated[
        float,
        Meta(
            ge=0,
            le=86_400,
            description="Time between two looks of the monitor at the decision log, for `riskd_drift_psi`, seconds; 0: "
            "none.",
        ),
    ] = 60.0


class Store(Struct, frozen=True, kw_only=True):
    """Where histories are kept."""

    kind: Annotated[
        Literal["lmdb", "redis", "memory"],
        Meta(
            description="`lmdb`: a file that the workers of one machine share; `redis`: servers that many machines "
            "share (Redis 7 or Valkey, Cluster included); `memory`: forgotten at exit, one worker only."
        ),
    ] = "lmdb"
    path: Annotated[str, Meta(description="Directory of the LMDB store; empty: `store` in `state.dir`.")] = DERIVED
    map_size_mb: Annotated[
        int,
        Meta(ge=16, le=16_777_216, description="Most that the LMDB store may grow to, MiB; address space, not disk."),
    ] = 4096
    url: Annotated[
        str,
        Meta(
            description="Servers of the `redis` store: `redis://host:6379`, `rediss://user@host:6379` with TLS, "
            "several nodes of a cluster with commas, `unix:///path`. Never with a password.",
            extra={"accepts": "a URL"},
        ),
    ] = ""
    connections: Annotated[
        int, Meta(ge=1, le=1024, description="Most connections of a worker to each server; a call under way uses one.")
    ] = 16
    connect_timeout_ms: Annotated[
        int,
        Meta(
            ge=10,
            le=60_000,
            description="Time for one connection to be made, TLS included, ms. It is made aside: no call waits longer "
            "than its own deadline.",
        ),
    ] = 1000
    tls_ca: Annotated[
        str,
        Meta(description="PEM authorities of the servers' certificates; empty: the system's.", extra={"reads": "file"}),
    ] = ""
    tls_cert: Annotated[
        str, Meta(description="PEM certificate to show to the servers; empty: none.", extra={"reads": "file"})
    ] = ""
    tls_key: Annotated[str, Meta(description="PEM private key of `tls_cert`.", extra={"reads": "file"})] = ""
    sweep_s: Annotated[
        float, Meta(ge=1, le=86_400, description="Time between two looks for expired records, seconds.")
    ] = 10.0
    rebuild: Annotated[
        bool,
        Meta(
            description="After a damaged LMDB store was set aside, bring back what the decision log has of its "
            "histories, in the background; else `riskd import decision-log` does it.",
        ),
    ] = True


class Geo(Struct, frozen=True, kw_only=True):
    """Databases of addresses. Each is optional: without one its facts are gaps."""

    dir: Annotated[
        str,
        Meta(description="Directory that `riskd geo install` fills (`$RISKD_GEO_DIR`, or `$XDG_DATA_HOME/riskd/geo`)."),
    ] = "~/.local/share/riskd/geo"
    city: Annotated[
        str, Meta(description="City database, MMDB; empty: the one in `geo.dir`.", extra={"reads": "file"})
    ] = DERIVED
    asn: Annotated[
        str, Meta(description="ASN database, MMDB; empty: the one in `geo.dir`.", extra={"reads": "file"})
    ] = DERIVED
    anonymous: Annotated[
        str, Meta(description="Anonymous-IP database, MMDB; empty: the one in `geo.dir`.", extra={"reads": "file"})
    ] = DERIVED
    stale_days: Annotated[
        int,
        Meta(ge=0, le=3650, description="Age of a database from which answers call its facts `stale`, days; 0: never."),
    ] = 45
    edge: Annotated[
        tuple[Degrees, ...],
        Meta(
            max_length=2,
            description="Where `network.rtt` is measured: degrees north and east of the edge that all clients reach. "
            "Empty: not known, or several; then round-trip times say nothing of distances.",
            extra={"accepts": "two numbers, latitude and longitude"},
        ),
    ] = ()


class Release(Struct, frozen=True, kw_only=True):
    """What decides: the releases that were activated on this host; before the first, what two directories hold."""

    policies: Annotated[
        str, Meta(description="Directory of policy files; empty: those packaged with riskd.", extra={"reads": "dir"})
    ] = DERIVED
    models: Annotated[
        str, Meta(description="Directory of model bundles; empty: those packaged with riskd.", extra={"reads": "dir"})
    ] = DERIVED
    dir: Annotated[
        str, Meta(description="Directory of the releases of this host; empty: `releases` in `state.dir`.")
    ] = DERIVED
    keep: Annotated[
        int, Meta(ge=1, le=1000, description="Releases that are kept beside those that have a role, or had the last.")
    ] = 16
    serve: Annotated[
        Literal["socket", "port", "off"],
        Meta(description="Where ReleaseService is served; `socket`, `port` and `off` as in `subjects.serve`."),
    ] = "socket"
    socket: Annotated[str, Meta(description="Path of the Unix socket; empty: `releases.sock` in `state.dir`.")] = (
        DERIVED
    )


class Models(Struct, frozen=True, kw_only=True):
    """Whose models decide."""

    trusted_keys: Annotated[
        tuple[Annotated[str, Meta(pattern="^[0-9a-f]{64}$")], ...],
        Meta(
            max_length=64,
            description="Ed25519 public keys, as `riskd model sign` prints them. Given, each model must be signed by "
            "one of them, or is refused at start, reload and activation; needs the extra `sign`.",
            extra={"accepts": "a list of keys, 64 hexadecimal digits each"},
        ),
    ] = ()


class Log(Struct, frozen=True, kw_only=True):
    """The decision log."""

    dir: Annotated[str, Meta(description="Directory of the segments; empty: `decisions` in `state.dir`.")] = DERIVED
    signals: Annotated[
        Literal["granted", "off"],
        Meta(
            description="Signals of attempts that are recorded. `granted`: those whose purpose was granted, so that "
            "`riskd replay` can work out features that the log does not have; `off`: none."
        ),
    ] = "granted"
    segment_mb: Annotated[int, Meta(ge=1, le=4096, description="Size at which a segment is finished, MiB.")] = 64
    segment_minutes: Annotated[
        int, Meta(ge=1, le=10_080, description="Age at which a segment is finished, minutes.")
    ] = 60
    keep_mb: Annotated[
        int,
        Meta(ge=16, le=1_073_741_824, description="Most that all segments hold, MiB; beyond it the oldest goes."),
    ] = 4096
    keep_days: Annotated[int, Meta(ge=1, le=3650, description="Age at which a finished segment goes, days.")] = 365
    compact_minutes: Annotated[
        int,
        Meta(
            ge=1,
            le=10_080,
            description="Time between two compactions, minutes: erased subjects, and lines older than their policy's "
            "`retention`, leave finished segments.",
        ),
    ] = 60
    dataset: Annotated[
        str,
        Meta(
            description="Where `riskd log compact` keeps the log as a dataset, and `riskd log query` finds it: a "
            "directory, or `s3://bucket/path`, `gs://bucket/path`; empty: nowhere."
        ),
    ] = ""
    slow_ms: Annotated[
        float, Meta(gt=0, le=60_000, description="A write that takes longer is counted as slow, milliseconds.")
    ] = 20.0


class Subjects(Struct, frozen=True, kw_only=True):
    """Summary, export and erasure for subjects: who may assess may not thereby read or erase."""

    serve: Annotated[
        Literal["socket", "port", "off"],
        Meta(
            description="Where SubjectService is served. `socket`: on a Unix socket for riskd's own user alone; "
            "`port`: beside RiskService, to `server.callers` whose methods include it, or to all who reach it: so off "
            "loopback it needs `server.callers` or `server.tls_client_ca`; `off`: nowhere.",
        ),
    ] = "socket"
    socket: Annotated[str, Meta(description="Path of the Unix socket; empty: subjects.sock, in `state.dir`.")] = DERIVED


class Tracing(Struct, frozen=True, kw_only=True):
    """Spans for OpenTelemetry, with the extra `trace`. Attributes name nobody."""

    endpoint: Annotated[
        str,
        Meta(
            description="URL that takes OTLP/HTTP, as `http://127.0.0.1:4318/v1/traces`; empty: no spans.",
            extra={"accepts": "a URL"},
        ),
    ] = ""
    ratio: Annotated[
        float,
        Meta(ge=0, le=1, description="Share of the calls that are traced; a caller that sends `traceparent` decides."),
    ] = 0.01


class Secrets(Struct, frozen=True, kw_only=True):
    """What must not leak; also given whole as `RISKD_PEPPER` and `RISKD_STORE_PASSWORD`."""

    pepper_file: Annotated[
        str,
        Meta(
            description="File with the secret that keys all pseudonyms, 16 to 64 bytes, and a further line for each "
            "rotation; empty, and no `RISKD_PEPPER`: one is made in `state.dir`, for development.",
            extra={"reads": "file"},
        ),
    ] = ""
    store_password_file: Annotated[
        str,
        Meta(
            description="File with the password of the `redis` store; empty, and no `RISKD_STORE_PASSWORD`: none.",
            extra={"reads": "file"},
        ),
    ] = ""
    pepper: Secret = Secret(b"")
    store_password: Secret = Secret(b"")


class Attributes(Struct, frozen=True, kw_only=True):
    """Custom facts for policy rules."""

    names: Annotated[
        tuple[Annotated[str, Meta(pattern="^[a-z][a-z0-9_]{0,62}$")], ...],
        Meta(
            max_length=64,
            description="Custom attributes that attempts may carry; others are refused. Values go to the decision log.",
            extra={"accepts": "a list of names in lower case (letters, digits and _, 63 at most)"},
        ),
    ] = ()


class Settings(Struct, frozen=True, kw_only=True):
    """Everything that a deployment may choose. Made by `load`; all paths are absolute."""

    server: Server = Server()
    state: State = State()
    metrics: Metrics = Metrics()
    store: Store = Store()
    geo: Geo = Geo()
    release: Release = Release()
    models: Models = Models()
    log: Log = Log()
    subjects: Subjects = Subjects()
    tracing: Tracing = Tracing()
    secrets: Secrets = Secrets()
    attributes: Attributes = Attributes()
