"""The settings as values. Types, ranges and a line of documentation each are data, for `docs/settings.md`."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from riskd.config.secret import Secret
from riskd.core.bounds import ATTRIBUTE

DERIVED: Final = ""
"""Default of a path that follows from another setting; its documentation says which."""

Port = Annotated[int, Meta(ge=0, le=65535)]
File = Annotated[str, Meta(extra={"path": "file"})]
"""The path of a file that must exist."""
Folder = Annotated[str, Meta(extra={"path": "dir"})]
"""The path of a directory that must exist."""
Made = Annotated[str, Meta(extra={"path": "made"})]
"""The path of something that riskd makes if it does not exist."""
Degrees = Annotated[float, Meta(ge=-180, le=180)]


def _in_state(name: str, what: str) -> Meta:
    """For the path of something that riskd makes, in `state.dir` by default."""
    return Meta(description=f"{what}; `state.dir`/{name} if empty.", extra={"path": "made", "in_state": name})


class Server(Struct, frozen=True, kw_only=True):
    """The gRPC service and its processes."""

    host: Annotated[str, Meta(min_length=1, description="Address to listen on; `0.0.0.0` or `::` is all.")] = (
        "127.0.0.1"
    )
    port: Annotated[Port, Meta(description="Port of the gRPC service; 0 takes a free one.")] = 50551
    workers: Annotated[int, Meta(ge=1, le=256, description="Worker processes sharing the port; one per core.")] = 1
    threads: Annotated[
        int,
        Meta(
            ge=0,
            le=64,
            description="Handler threads of a worker, not counting batches. Threads that compute slow each other "
            "down. 0 means 1, or 2 if `store.kind` is `redis`, because threads then wait for the servers.",
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
    max_streams: Annotated[int, Meta(ge=0, le=1000, description="Maximum number of open streams in a worker.")] = 32
    queue_ms: Annotated[
        int,
        Meta(
            ge=1,
            le=60_000,
            description="Longest time that a call may wait in the queue, ms; calls that would wait longer are refused.",
        ),
    ] = 100
    standing_queue_ms: Annotated[
        int,
        Meta(
            ge=1,
            le=60_000,
            description="The same for sign-ins, ms, once more have arrived (refused ones included) than the worker "
            "can handle in `queue_ms`, and until it has caught up. A long queue would only make all of "
            "them late.",
        ),
    ] = 5
    default_timeout_ms: Annotated[
        int, Meta(ge=1, le=60_000, description="Longest time for one call, ms; a client's deadline can shorten it.")
    ] = 100
    max_message_kb: Annotated[
        int, Meta(ge=16, le=65_536, description="Largest request accepted, KiB (a batch is one request).")
    ] = 256
    max_connection_age_s: Annotated[
        int,
        Meta(ge=1, le=86_400, description="Age at which a client is asked to reconnect, to rebalance load; seconds."),
    ] = 300
    lame_duck_s: Annotated[
        float,
        Meta(ge=0, le=120, description="Time from NOT_SERVING to refusing calls, for balancers to react; seconds."),
    ] = 0.0
    grace_s: Annotated[
        float, Meta(ge=0, le=600, description="Time for calls to finish when the service stops, seconds.")
    ] = 10.0
    watch_s: Annotated[
        float,
        Meta(
            ge=0,
            le=3600,
            description="Interval at which riskd checks policies, models, lists and geo databases for changes, "
            "seconds. Changed files that have settled are reloaded, as at SIGHUP. 0 means never.",
        ),
    ] = 5.0
    tls_cert: Annotated[File, Meta(description="PEM certificate chain; plaintext if empty.")] = ""
    tls_key: Annotated[File, Meta(description="PEM private key of `tls_cert`.")] = ""
    tls_client_ca: Annotated[
        File, Meta(description="PEM authorities. If set, clients must present a certificate of theirs.")
    ] = ""
    callers: Annotated[
        File,
        Meta(
            description="TOML file that says who may call which methods for which tenants (`riskd caller new` prints "
            "an entry). If empty, everybody who reaches the port may call."
        ),
    ] = ""
    insecure: Annotated[
        bool,
        Meta(
            description="Serve in plaintext beyond loopback, for a mesh that encrypts by itself. Otherwise riskd "
            "starts on such a `host` only with `tls_cert`."
        ),
    ] = False
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="Least severe events to write to stderr.")
    ] = "info"


class State(Struct, frozen=True, kw_only=True):
    """Files that riskd writes."""

    dir: Annotated[
        Made, Meta(description="Directory of all that riskd writes, mode 0700; `$XDG_STATE_HOME/riskd` if that is set.")
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
            description="Interval at which `riskd_drift_psi` is computed from the log, seconds; 0: never.",
        ),
    ] = 60.0


class Store(Struct, frozen=True, kw_only=True):
    """Where histories are kept."""

    kind: Annotated[
        Literal["lmdb", "redis", "memory"],
        Meta(
            description="`lmdb`: a file that the workers of one machine share. `redis`: servers that many machines "
            "share (Redis 7 or Valkey, Cluster included). `memory`: lost at exit, for one worker only."
        ),
    ] = "lmdb"
    path: Annotated[str, _in_state("store", "Directory of the LMDB store")] = DERIVED
    map_size_mb: Annotated[
        int,
        Meta(
            ge=16,
            le=16_777_216,
            description="Maximum size of the LMDB store, MiB. It reserves address space, not disk.",
        ),
    ] = 4096
    url: Annotated[
        str,
        Meta(
            description="Servers of the `redis` store, without a password: `redis://host:6379`, "
            "`rediss://user@host:6379` for TLS, or `unix:///path`; separate the nodes of a cluster by "
            "commas.",
            extra={"accepts": "a URL"},
        ),
    ] = ""
    connections: Annotated[
        int, Meta(ge=1, le=1024, description="Maximum connections of a worker to each server; each call uses one.")
    ] = 16
    connect_timeout_ms: Annotated[
        int,
        Meta(
            ge=10,
            le=60_000,
            description="Time limit for making one connection, TLS included, ms. Connections are made in the "
            "background, so no call waits beyond its own deadline.",
        ),
    ] = 1000
    tls_ca: Annotated[File, Meta(description="PEM authorities of the servers; the system's if empty.")] = ""
    tls_cert: Annotated[File, Meta(description="PEM certificate to present to the servers, if any.")] = ""
    tls_key: Annotated[File, Meta(description="PEM private key of `tls_cert`.")] = ""
    sweep_s: Annotated[
        float, Meta(ge=1, le=86_400, description="Interval at which expired records are deleted, seconds.")
    ] = 10.0
    rebuild: Annotated[
        bool,
        Meta(
            description="After a damaged LMDB store was set aside, rebuild its histories from the decision log in the"
            " background. If false, run `riskd import decision-log` instead."
        ),
    ] = True


class Geo(Struct, frozen=True, kw_only=True):
    """Databases of addresses. Each is optional; without one, the facts that it would give are gaps."""

    dir: Annotated[
        Made,
        Meta(description="Directory that `riskd geo install` fills (`$RISKD_GEO_DIR`, or `$XDG_DATA_HOME/riskd/geo`)."),
    ] = "~/.local/share/riskd/geo"
    city: Annotated[File, Meta(description="City database, MMDB; the one in `geo.dir` if empty.")] = DERIVED
    asn: Annotated[File, Meta(description="ASN database, MMDB; the one in `geo.dir` if empty.")] = DERIVED
    anonymous: Annotated[File, Meta(description="Anonymous-IP database, MMDB; the one in `geo.dir` if empty.")] = (
        DERIVED
    )
    stale_days: Annotated[
        int,
        Meta(ge=0, le=3650, description="Age from which answers call facts of a database `stale`, days; 0: never."),
    ] = 45
    edge: Annotated[
        tuple[Degrees, ...],
        Meta(
            max_length=2,
            description="Where `network.rtt` is measured: degrees north and east of the edge that all clients reach. "
            "Leave it empty if the place is unknown or there are several; riskd then infers no distance "
            "from round-trip times.",
            extra={"accepts": "two numbers, latitude and longitude"},
        ),
    ] = ()


class Release(Struct, frozen=True, kw_only=True):
    """What decides: the release that was activated on this host or, until one is, the files in two directories."""

    policies: Annotated[Folder, Meta(description="Directory of policy files; the shipped ones if empty.")] = DERIVED
    models: Annotated[Folder, Meta(description="Directory of model bundles; the shipped ones if empty.")] = DERIVED
    dir: Annotated[str, _in_state("releases", "Directory of the releases")] = DERIVED
    keep: Annotated[
        int,
        Meta(
            ge=1,
            le=1000,
            description="Releases to keep besides those that have a role, or had one before the last activation.",
        ),
    ] = 16
    serve: Annotated[
        Literal["socket", "port", "off"],
        Meta(description="Where ReleaseService is served: `socket`, `port` or `off`, as in `subjects.serve`."),
    ] = "socket"
    socket: Annotated[str, _in_state("releases.sock", "Path of the Unix socket")] = DERIVED


class Models(Struct, frozen=True, kw_only=True):
    """Which models may decide."""

    trusted_keys: Annotated[
        tuple[Annotated[str, Meta(pattern="^[0-9a-f]{64}$")], ...],
        Meta(
            max_length=64,
            description="Ed25519 public keys, as `riskd model sign` prints them. If set, riskd refuses every model "
            "that none of them signed, at start, reload and activation. Needs the extra `sign`.",
            extra={"accepts": "a list of keys, 64 hexadecimal digits each"},
        ),
    ] = ()


class Log(Struct, frozen=True, kw_only=True):
    """The decision log."""

    dir: Annotated[str, _in_state("decisions", "Directory of the segments")] = DERIVED
    signals: Annotated[
        Literal["granted", "off"],
        Meta(
            description="Signals of attempts to record. `granted`: those whose purpose was granted, so that `riskd "
            "replay` can compute features that the log does not have. `off`: none."
        ),
    ] = "granted"
    segment_mb: Annotated[int, Meta(ge=1, le=4096, description="Size at which a segment is finished, MiB.")] = 64
    segment_minutes: Annotated[
        int, Meta(ge=1, le=10_080, description="Age at which a segment is finished, minutes.")
    ] = 60
    keep_mb: Annotated[
        int,
        Meta(
            ge=16,
            le=1_073_741_824,
            description="Maximum size of all segments, MiB; beyond it riskd deletes the oldest.",
        ),
    ] = 4096
    keep_days: Annotated[int, Meta(ge=1, le=3650, description="Maximum age of finished segments, days.")] = 365
    compact_minutes: Annotated[
        int,
        Meta(
            ge=1,
            le=10_080,
            description="Interval between compactions, minutes. A compaction removes from finished segments the lines"
            " of erased subjects and lines older than their policy's `retention`.",
        ),
    ] = 60
    dataset: Annotated[
        Made,
        Meta(
            description="Where `riskd log compact` keeps the log as a dataset and `riskd log query` finds it: a "
            "directory, `s3://bucket/path` or `gs://bucket/path`. Empty means nowhere."
        ),
    ] = ""
    slow_ms: Annotated[
        float, Meta(gt=0, le=60_000, description="A write that takes longer than this counts as slow, milliseconds.")
    ] = 20.0


class Subjects(Struct, frozen=True, kw_only=True):
    """Summary, export and erasure for subjects. Permission to assess does not include them."""

    serve: Annotated[
        Literal["socket", "port", "off"],
        Meta(
            description="Where SubjectService is served. `socket`: on a Unix socket, for riskd's own user only. "
            "`port`: beside RiskService, to those `server.callers` whose methods include it; without "
            "callers to everybody who reaches it, so off loopback it needs `server.callers` or "
            "`server.tls_client_ca`. `off`: nowhere."
        ),
    ] = "socket"
    socket: Annotated[str, _in_state("subjects.sock", "Path of the Unix socket")] = DERIVED


class Tracing(Struct, frozen=True, kw_only=True):
    """Spans for OpenTelemetry, with the extra `trace`. Their attributes identify nobody."""

    endpoint: Annotated[
        str,
        Meta(
            description="URL that accepts OTLP/HTTP, such as `http://127.0.0.1:4318/v1/traces`; no spans if empty.",
            extra={"accepts": "a URL"},
        ),
    ] = ""
    ratio: Annotated[
        float, Meta(ge=0, le=1, description="Share of calls to trace; a caller's `traceparent` overrides it.")
    ] = 0.01


class Secrets(Struct, frozen=True, kw_only=True):
    """Secrets. `RISKD_PEPPER` and `RISKD_STORE_PASSWORD` can hold them instead of files."""

    pepper_file: Annotated[
        File,
        Meta(
            description="File with the secret that keys all pseudonyms, 16 to 64 bytes, and one more line for each "
            "rotation. If it is empty and `RISKD_PEPPER` is not set, riskd creates one in `state.dir`, "
            "for development."
        ),
    ] = ""
    store_password_file: Annotated[
        File, Meta(description="File with the password of the `redis` store; if empty, `RISKD_STORE_PASSWORD`, if any.")
    ] = ""
    pepper: Secret = Secret(b"")
    store_password: Secret = Secret(b"")


class Attributes(Struct, frozen=True, kw_only=True):
    """Custom facts for policy rules."""

    names: Annotated[
        tuple[Annotated[str, Meta(pattern=f"^{ATTRIBUTE}$")], ...],
        Meta(
            max_length=64,
            description="Custom attributes that attempts may carry; others are refused. Values go to the decision log. "
            "Conditions read them, and a policy can count them.",
            extra={
                "accepts": "a list of names in lower case (letters, digits and _, 63 at most), except false, in, "
                "null and true"
            },
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
