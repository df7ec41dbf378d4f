"""All metrics, with the values of every label. `docs/metrics.md` is generated from this table.

As the vocabularies of labels are bounded, every series has a fixed slot in shared memory (see `memory`). Workers
add to their own slots, and the monitor combines them. The supervisor owns the memory, so counters survive a worker's
restart.
"""

from __future__ import annotations

from typing import Final

from riskd.core.attempt import DOMAINS, EVENTS, JOURNEYS, OUTCOMES
from riskd.core.context import SOURCES, WHYS
from riskd.core.lineup import ACTIVE, CANDIDATE
from riskd.metrics.labels import (
    CAUSES,
    CODES,
    DATABASES,
    FOLDERS,
    METHODS,
    OTHER,
    PARTS,
    SATISFIED,
    STAGES,
    TIERS,
    rows,
    sign_ins,
)
from riskd.metrics.metric import CALL_SECONDS, RULES, SCORES, SHARES, STAGE_SECONDS, Metric

_RPC: Final = ("grpc_type", "grpc_service", "grpc_method")
_METHODS: Final = tuple(method for _, _, method in METHODS if method != OTHER)
_BOOLEANS: Final = ("true", "false")


METRICS: Final = (
    Metric("grpc_server_started_total", "counter", "Calls started.", _RPC, METHODS, sparse=False),
    Metric(
        "grpc_server_handled_total",
        "counter",
        "Calls that have ended, by status code. An answer of DENY counts as OK.",
        (*_RPC, "grpc_code"),
        tuple((*method, code) for method in METHODS for code in (*CODES, OTHER)),
        sparse=False,
    ),
    Metric("grpc_server_msg_received_total", "counter", "Messages received.", _RPC, METHODS, sparse=False),
    Metric("grpc_server_msg_sent_total", "counter", "Messages sent.", _RPC, METHODS, sparse=False),
    Metric(
        "grpc_server_handling_seconds",
        "histogram",
        "Time from the arrival of a call in the worker to its end, in seconds.",
        _RPC,
        METHODS,
        bounds=CALL_SECONDS,
    ),
    Metric(
        "riskd_queue_seconds",
        "histogram",
        "Time that a call waited in the worker's queue, in seconds.",
        ("method",),
        rows(_METHODS),
        bounds=CALL_SECONDS,
    ),
    Metric(
        "riskd_refused_total",
        "counter",
        "Calls refused before any work: too many calls waited (`full`), this one had waited too long (`waited`), "
        "or its caller had left or its deadline had passed (`gone`).",
        ("method", "why"),
        rows(_METHODS, ("full", "waited", "gone")),
        sparse=False,
    ),
    Metric(
        "riskd_assessments_total",
        "counter",
        "Assessments answered, by the required tier and whether the attempt already satisfied it. Attempts that "
        "did not (`false`) are challenged, unless the tier is `BASELINE`; with `DENY` they are denied. With a "
        "`wrong_credential` nobody comes in and nobody is challenged.",
        ("domain", "journey", "tier", "satisfied"),
        rows(DOMAINS, JOURNEYS, TIERS, SATISFIED),
    ),
    Metric(
        "riskd_assessment_seconds",
        "histogram",
        "Time that riskd took to assess an attempt, in seconds.",
        ("domain", "journey"),
        rows(DOMAINS, JOURNEYS),
        bounds=CALL_SECONDS,
    ),
    Metric(
        "riskd_degraded_total",
        "counter",
        "Assessments that were answered although a part of riskd failed.",
        ("domain", "journey"),
        rows(DOMAINS, JOURNEYS),
    ),
    Metric(
        "riskd_causes_total",
        "counter",
        "Causes named in degraded answers: facts that could not be read, a `rule` that failed, a `store` or a "
        "`decision_log` that could not be written.",
        ("cause",),
        rows(CAUSES),
        sparse=False,
    ),
    Metric(
        "riskd_rule_hits_total",
        "counter",
        "Attempts that a rule hit, whether or not it set the tier; `shadow`: whether the rule is in shadow. `rule` has "
        f"the rules of the releases that decide, the candidate's included: {RULES} at most, the others are `other`.",
        ("domain", "rule", "shadow"),
        rows(DOMAINS, (), _BOOLEANS),
        merge="rules",
    ),
    Metric(
        "riskd_restricted_total",
        "counter",
        "Sign-ins that depend on a phone call or a text message: assessments whose requirement nothing else "
        "satisfies, and challenges passed by one (NIST SP 800-63B-4, section 3.2.9).",
        ("domain", "journey", "where"),
        rows(DOMAINS, JOURNEYS, ("assessment", "challenge")),
    ),
    Metric(
        "riskd_withheld_total",
        "counter",
        "Assessments on journeys that are learning, by the tier that was withheld because of it.",
        ("domain", "journey", "tier"),
        rows(DOMAINS, JOURNEYS, TIERS),
    ),
    Metric(
        "riskd_rollout_assessments_total",
        "counter",
        "Assessments answered while a release is rolled out to a share of the subjects, by the role of the "
        "release that decided; tier and `satisfied` as in `riskd_assessments_total`.",
        ("role", "domain", "tier", "satisfied"),
        rows((ACTIVE, CANDIDATE), DOMAINS, TIERS, SATISFIED),
    ),
    Metric(
        "riskd_rollout_degraded_total",
        "counter",
        "The degraded ones among them.",
        ("role", "domain"),
        rows((ACTIVE, CANDIDATE), DOMAINS),
    ),
    Metric(
        "riskd_shadow_assessments_total",
        "counter",
        "Attempts scored by the release in shadow, by how its tier compares with the required one. `dropped`: not"
        " scored, because the worker was too busy.",
        ("domain", "move"),
        rows(DOMAINS, ("same", "stricter", "looser", "dropped")),
    ),
    Metric(
        "riskd_score",
        "histogram",
        "Scores of assessments: the probability, 0 to 1, that the attempt is not the account owner's.",
        ("domain",),
        rows(DOMAINS),
        bounds=SCORES,
    ),
    Metric(
        "riskd_gaps_total",
        "counter",
        "Facts missing from attempts, or taken from stale data, by reason: those that the policy expects, and "
        "those withheld for lack of consent.",
        ("domain", "source", "why"),
        rows(DOMAINS, tuple(SOURCES), tuple(WHYS)),
    ),
    Metric(
        "riskd_coverage",
        "histogram",
        "Share of the sources expected by the policy that an attempt had, 0 to 1.",
        ("domain", "journey"),
        rows(DOMAINS, JOURNEYS),
        bounds=SHARES,
    ),
    Metric(
        "riskd_signal_arrivals_total",
        "counter",
        "Attempts that had this signal, whether the policy expects it or not.",
        ("domain", "source"),
        rows(DOMAINS, tuple(SOURCES)),
        sparse=False,
    ),
    Metric(
        "riskd_signal_arrived_timestamp_seconds",
        "gauge",
        "Unix time at which an attempt last had this signal, in seconds.",
        ("domain", "source"),
        rows(DOMAINS, tuple(SOURCES)),
        merge="latest",
    ),
    Metric(
        "riskd_signal_mattered_timestamp_seconds",
        "gauge",
        "Unix time at which a feature of this signal last moved the log-odds of a score by 0.1 or more, in "
        "seconds. Each worker checks one answer a second, among those above the floor and one in sixteen of the "
        "others.",
        ("domain", "source"),
        rows(DOMAINS, tuple(SOURCES)),
        merge="latest",
    ),
    Metric(
        "riskd_stage_seconds",
        "histogram",
        "Time that one stage of an assessment took, in seconds. `shadow` runs after the answer.",
        ("stage",),
        rows(STAGES),
        bounds=STAGE_SECONDS,
    ),
    Metric(
        "riskd_outcomes_total",
        "counter",
        "Outcomes recorded, by the tier that had been required. Each kind counts once for an assessment.",
        ("domain", "journey", "tier", "kind"),
        rows(DOMAINS, JOURNEYS, TIERS, OUTCOMES),
    ),
    Metric(
        "riskd_security_events_total",
        "counter",
        "Security events that other parties reported about subjects, repeats included.",
        ("domain", "kind"),
        rows(DOMAINS, EVENTS),
    ),
    Metric(
        "riskd_sign_ins_total",
        "counter",
        "Sign-ins that came through (a challenge was passed, a session established or a recovery completed), by "
        "the required tier and the strictest tier known to be met; `NONE` if none is.",
        ("domain", "journey", "required", "achieved", "met"),
        sign_ins(),
    ),
    Metric(
        "riskd_learned_units_total",
        "counter",
        "Units of familiarity learned, and units taken back after fraud.",
        ("domain", "direction"),
        rows(DOMAINS, ("learned", "taken_back")),
    ),
    Metric(
        "riskd_failures_total",
        "counter",
        "Times that a part of riskd failed or was slow, without preventing an answer.",
        ("part",),
        rows(PARTS),
        sparse=False,
    ),
    Metric(
        "riskd_failure_timestamp_seconds",
        "gauge",
        "Unix time at which a part of riskd last failed or was slow, in seconds.",
        ("part",),
        rows(PARTS),
        merge="latest",
    ),
    Metric(
        "riskd_reload_failed",
        "gauge",
        "1 while a worker uses older files because it refused those on disk; the log says why. Otherwise 0.",
        sparse=False,
        merge="max",
    ),
    Metric(
        "riskd_reload_timestamp_seconds",
        "gauge",
        "Unix time of the latest successful load of the files that decide, in seconds; of all workers, the oldest.",
        merge="min",
    ),
    Metric(
        "riskd_store_common_reads_total",
        "counter",
        "Reads of histories of common values (a country, a browser, an ASN), from the worker's cache, where they "
        "stay for some seconds (`memory`), or from the `store`. The hit ratio is the share of `memory`.",
        ("source",),
        rows(("memory", "store")),
        sparse=False,
    ),
    Metric("riskd_store_records", "gauge", "Records in the history store.", merge="max"),
    Metric("riskd_store_bytes", "gauge", "Used size of the history store, bytes.", merge="max"),
    Metric("riskd_store_limit_bytes", "gauge", "Maximum size of the history store, bytes.", merge="max"),
    Metric("riskd_log_segments", "gauge", "Segments of the decision log.", merge="max"),
    Metric("riskd_log_bytes", "gauge", "Size of the decision log, bytes.", merge="max"),
    Metric(
        "riskd_log_compacted_timestamp_seconds",
        "gauge",
        "Unix time at which the last compaction of the decision log ended, in seconds; before the first, the "
        "start of the service.",
        merge="latest",
    ),
    Metric(
        "riskd_log_erasure_asked_timestamp_seconds",
        "gauge",
        "Unix time at which the oldest erasure was requested that the decision log has not completed, in seconds.",
        merge="max",
    ),
    Metric(
        "riskd_disk_used_bytes",
        "gauge",
        "Bytes of the file system below `store.path` (`store`) or `log.dir` (`log`) that riskd can no longer use.",
        ("folder",),
        rows(FOLDERS),
        merge="max",
    ),
    Metric(
        "riskd_disk_size_bytes", "gauge", "Size of that file system, bytes.", ("folder",), rows(FOLDERS), merge="max"
    ),
    Metric(
        "riskd_geo_build_timestamp_seconds",
        "gauge",
        "Unix time at which the oldest copy in use of a geo database was built, in seconds.",
        ("database",),
        rows(DATABASES),
        merge="min",
    ),
    Metric(
        "riskd_tls_start_timestamp_seconds",
        "gauge",
        "Unix time from which the server's certificate in use is valid, in seconds; 0 without TLS.",
        merge="min",
    ),
    Metric(
        "riskd_tls_expiry_timestamp_seconds",
        "gauge",
        "Unix time at which the server's certificate in use expires, in seconds; 0 without TLS.",
        merge="min",
    ),
    Metric(
        "riskd_friction_budget",
        "gauge",
        "Share of good attempts, 0 to 1, that the policy allows to be challenged; 0: none, or a floor above BASELINE.",
        ("domain", "journey"),
        rows(DOMAINS, JOURNEYS),
        merge="max",
    ),
    Metric(
        "riskd_release_info",
        "gauge",
        "1 for each release and model that a worker has loaded, by role: `active`, `candidate` (decides for a "
        "share of the subjects) or `shadow`.",
        ("release", "domain", "model", "role"),
        merge="live",
    ),
    Metric(
        "riskd_drift_psi",
        "gauge",
        "Population stability index of a feature, or of the `score`, between what the active model expects and a "
        "sample of the decision log in which the weight of a line halves every day. 0.1 is worth a look, 0.25 a "
        "large shift.",
        ("domain", "feature"),
        merge="live",
    ),
    Metric(
        "riskd_drift_rows",
        "gauge",
        "Rows that `riskd_drift_psi` is computed from; older rows count in part. Below 1000 it is not computed.",
        ("domain",),
        merge="live",
    ),
    Metric("riskd_store_rebuild_pending", "gauge", "1 while a damaged store is not rebuilt.", merge="live"),
    Metric("riskd_store_rebuild_ratio", "gauge", "Share of a rebuild that is done, 0 to 1.", ("half",), merge="live"),
    Metric("riskd_store_rebuild_lines", "gauge", "Lines that the latest rebuild read.", ("line",), merge="live"),
    Metric("riskd_build_info", "gauge", "1, with the running versions.", ("version", "python"), merge="live"),
    Metric("riskd_workers", "gauge", "Workers that are configured to serve.", merge="live"),
    Metric("riskd_workers_serving", "gauge", "Workers that are serving now.", merge="live"),
    Metric("riskd_worker_restarts_total", "counter", "Processes replaced because they died.", merge="live"),
    Metric(
        "riskd_process_resident_bytes",
        "gauge",
        "Resident memory of a process, in bytes. Pages that processes share count for each.",
        ("process",),
        merge="live",
    ),
    Metric(
        "riskd_process_cpu_seconds_total",
        "counter",
        "CPU time of a process since it was last replaced, user and system, in seconds.",
        ("process",),
        merge="live",
    ),
)
"""Every metric, in the order of the page and of `docs/metrics.md`."""
