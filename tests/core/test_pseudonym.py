"""Pseudonyms: keyed, unlinkable across tenants and domains, and free of collisions by construction."""

from __future__ import annotations

from hashlib import blake2b

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from riskd.core.address import parse
from riskd.core.attempt import DOMAINS, Attempt, Device, Network
from riskd.core.pseudonym import ENTITIES, Keys, Layer, Origins, Pseudonyms, short
from riskd.core.recall import RECEIPT
from riskd.core.rekey import moved_key
from riskd.core.stored import PLACE

PEPPER = bytes(range(32))
ONE = Pseudonyms(PEPPER)
quadruples = st.tuples(
    st.text(), st.sampled_from(DOMAINS), st.sampled_from(["subject", "device", "address", "receipt"]), st.text()
)
peppers = st.lists(st.binary(min_size=16, max_size=64), max_size=3)


def keys(attempt: Attempt, values: dict[str, str], pseudonyms: Pseudonyms = ONE) -> Keys:
    address = parse(attempt.network.client_ip)
    assert address is not None
    return pseudonyms.keys(attempt, address, values)


def attempt(
    tenant: str = "", domain: str = "customer", device: Device | None = None, client_ip: str = "81.167.1.2"
) -> Attempt:
    network = Network(client_ip=client_ip)
    return Attempt(domain=domain, subject="anna", journey="login", network=network, tenant=tenant, device=device)


def test_it_is_blake2b_as_published() -> None:
    """A pseudonym is 16 bytes of keyed BLAKE2b (RFC 7693) over an unambiguous encoding of its parts."""
    expected = blake2b(b"4:acmecustomer:subject:anna", digest_size=16, key=PEPPER).digest()

    assert ONE.digest("acme", "customer", "subject", "anna") == expected


@given(quadruples, quadruples)
def test_different_things_have_different_pseudonyms(
    one: tuple[str, str, str, str], other: tuple[str, str, str, str]
) -> None:
    """Two quadruples have the same pseudonym only if they are equal, with and without the cache."""
    assert (ONE.digest(*one) == ONE.digest(*other)) == (one == other)
    assert ONE.common(*one) == ONE.common(*one) == ONE.digest(*one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("a", "customer", "subject", "b"), ("ac", "ustomer", "subject", "b")),
        (("", "customer", "subject", "1:acustomer:subject:b"), ("a", "customer", "subject", "b")),
        (("a:b", "customer", "subject", "c"), ("a", "customer", "subject", "b:c")),
    ],
)
def test_parts_do_not_run_into_one_another(one: tuple[str, str, str, str], other: tuple[str, str, str, str]) -> None:
    """A tenant cannot choose names that collide with those of another tenant."""
    assert ONE.digest(*one) != ONE.digest(*other)


counted = st.tuples(
    st.text(":ab1", max_size=3),
    st.sampled_from(DOMAINS),
    st.from_regex(r"[ab][ab_]?", fullmatch=True),
    st.text(":ab_\0", min_size=1, max_size=3),
)


@given(counted, counted)
@example(("", "customer", "a", "b:c"), ("", "customer", "ab", ":c"))
@example(("a", "customer", "a", "b"), ("", "customer", "a", "a:b"))
def test_counted_values_lie_apart(one: tuple[str, str, str, str], other: tuple[str, str, str, str]) -> None:
    """Nobody chooses a value that counts for another tenant, domain, attribute or value, or for another thing."""

    def key(tenant: str, domain: str, counter: str, value: str) -> bytes:
        return ONE.counter_keys(tenant, domain, {counter: value}, (counter,))[counter]

    assert (key(*one) == key(*other)) == (one == other)
    assert key(*one)[:PLACE] != ONE.digest(one[0], one[1], "subject", f"{other[2]}:{other[3]}")[:PLACE]


def test_the_pepper_is_the_secret() -> None:
    """Another pepper gives another pseudonym."""
    assert Pseudonyms(bytes(32)).digest("", "customer", "subject", "anna") != ONE.digest(
        "", "customer", "subject", "anna"
    )


def test_any_text_has_a_pseudonym() -> None:
    """A lone surrogate, which UTF-8 cannot encode, has a pseudonym as well."""
    assert len(ONE.digest("", "customer", "subject", "\ud800")) == 16


def test_memory_of_common_values_is_bounded() -> None:
    """The cache of common values is bounded."""
    pseudonyms = Pseudonyms(PEPPER)
    for number in range(10_000):
        pseudonyms.common("", "customer", "agent", str(number))

    assert len(pseudonyms._common) <= 4096


def test_memory_of_tenants_is_bounded() -> None:
    """The cache of tenants is bounded, and an evicted entry is computed again."""
    pseudonyms = Pseudonyms(PEPPER)
    found = [pseudonyms.digest(str(number), "customer", "device", "x") for number in range(5_000)]

    assert len(pseudonyms._tags) <= 4096
    assert pseudonyms.digest("0", "customer", "device", "x") == found[0]


@given(st.binary(min_size=16, max_size=16))
def test_a_short_one_is_eight_letters(digest: bytes) -> None:
    """A short pseudonym is the first 48 bits as eight characters of base64."""
    assert len(short(digest)) == 8
    assert short(digest) == short(digest[:6] + bytes(10))
    assert short(digest) != short(bytes([digest[0] ^ 1]) + digest[1:])


def test_keys_differ_by_tenant_domain_and_kind() -> None:
    """The same person in another tenant or domain has other keys, and no two kinds share a key."""
    device = Device(device_id="x", fingerprint="x")
    several = [
        keys(attempt(tenant=tenant, domain=domain, device=device), {"country": "NO", "asn": "NO"})
        for tenant in ("", "acme")
        for domain in ("customer", "workforce")
    ]
    own = [key for one in several for key in (one.subject, one.domain, one.asn, *one.popularity.values())]
    entities = [key for one in several for key in (one.address, one.network, one.device, one.fingerprint)]

    assert len({*own, *entities}) == 4 * 8
    assert {len(key) for key in own} == {16}
    assert {len(key) for key in entities} == {8}


@given(peppers, st.sampled_from(ENTITIES), st.text(), st.text())
def test_an_entitys_pseudonym_follows_from_its_short_one(
    layers: list[bytes], kind: str, tenant: str, value: str
) -> None:
    """Under any number of layers, an entity's pseudonym follows from its short one in the log, tenant, domain and
    table."""
    many = Pseudonyms(PEPPER, layers)
    found = many.digest(tenant, "customer", kind, value)
    plain = Pseudonyms(PEPPER).at_each_layer(tenant, "customer", kind, value)

    assert many.from_short(tenant, "customer", kind, short(found)) == found
    assert (len(found), plain) == (8 + len(layers) % 2, [ONE.digest(tenant, "customer", kind, value)])


@given(peppers, st.integers(0, 3), st.binary(min_size=16, max_size=16))
def test_a_receipt_is_found_wherever_layers_have_moved_it(later: list[bytes], since: int, given_out: bytes) -> None:
    """For each number of layers at the time an id was issued, the receipt's key is found, moved under all later
    layers."""
    then, layers, name = later[:since], later[since:], given_out.hex()
    key = Pseudonyms(PEPPER, then).receipt_pseudonyms(name)[0] + RECEIPT
    for layer in layers:
        key = moved_key(key, Layer(layer))

    papers = Pseudonyms(PEPPER, later).receipt_pseudonyms(name)
    assert papers[len(layers)] + RECEIPT == key
    assert len(set(papers)) == len(later) + 1


@given(st.sampled_from([8, 9, 16, 17]), st.binary(min_size=17, max_size=17))
def test_a_layer_is_keyed_and_shows_in_the_length(size: int, digest: bytes) -> None:
    """A layer hides what is below it from anyone without its pepper, in full, by place and in short; the length shows
    its parity. Equal prefixes stay equal."""
    one, other, found = Layer(PEPPER), Layer(bytes(32)), digest[:size]
    over, theirs, place = one.over(found), other.over(found), found[:PLACE] if size >= 16 else found[6:PLACE]

    assert len(over) == {8: 9, 9: 8, 16: 17, 17: 16}[size]
    assert over[:6] == blake2b(found[:6], digest_size=6, key=PEPPER).digest() != theirs[:6]
    assert over[6:PLACE] == blake2b(place, digest_size=2, key=PEPPER).digest()
    assert one.over_short(short(found)) == short(over)
    assert size < 16 or (one.over_place(place) == over[:PLACE] and over[PLACE:] != theirs[PLACE:])


def test_origins_remember_the_latest_and_not_all() -> None:
    """Origins keep at least the latest 32,768 entries, and at most twice as many."""
    origins, many = Origins(), 8 * 4096
    for number in range(3 * many):
        origins.note(number.to_bytes(4), bytes(4))
        assert origins.before(max(number - many + 1, 0).to_bytes(4)) == bytes(4)

    assert len(origins._newer) + len(origins._older) <= 2 * many
    assert origins.before((0).to_bytes(4)) is None


@given(peppers.filter(len), st.sampled_from([*ENTITIES, "subject", "issuer"]), st.binary(min_size=16, max_size=16))
def test_origins_know_what_was_there_before_the_last_layer(layers: list[bytes], kind: str, given_out: bytes) -> None:
    """Origins give what a pseudonym, its place and each possible place of a receipt were before the last layer."""
    origins, quadruple, name = Origins(), ("acme", "customer", kind, "x"), given_out.hex()
    now, before = Pseudonyms(PEPPER, layers, origins), Pseudonyms(PEPPER, layers[:-1])
    found, former = now.digest(*quadruple), before.digest(*quadruple)

    assert origins.before(found) == former
    if kind not in ENTITIES:
        assert origins.before(found[:PLACE]) == former[:PLACE]
    for paper, earlier in zip(now.receipt_pseudonyms(name)[1:], before.receipt_pseudonyms(name), strict=True):
        assert origins.before(paper[:PLACE]) == earlier[:PLACE]


@given(peppers, st.sampled_from([*ENTITIES, "issuer"]), st.text(), st.text())
def test_a_short_pseudonym_shows_its_number_of_layers(layers: list[bytes], kind: str, tenant: str, value: str) -> None:
    """A short pseudonym shows under how many layers it was made; it matches no other value."""
    many = Pseudonyms(PEPPER, layers)
    once = [Pseudonyms(PEPPER, layers[:age]).digest(tenant, "customer", kind, value) for age in range(len(layers) + 1)]

    assert many.at_each_layer(tenant, "customer", kind, value) == once
    for age, digest in enumerate(once):
        assert many.layers_under(tenant, "customer", kind, value, short(digest)) == age
        assert many.layers_under(tenant, "customer", kind, f"{value}!", short(digest)) is None


def test_entities_of_the_same_short_pseudonym_lie_apart() -> None:
    """Entities with equal short pseudonyms in different tenants, domains or tables have different pseudonyms."""
    scopes = [(tenant, domain, kind) for tenant in ("", "acme", "a") for domain in DOMAINS for kind in ENTITIES]

    assert len({ONE.from_short(*scope, "AAAAAAAA") for scope in scopes}) == len(scopes) == 36


def test_absent_things_have_no_history() -> None:
    """Without a device, fingerprint or operator there is no key; only present values have a popularity."""
    found = keys(attempt(), {"country": "NO"})

    assert (found.device, found.fingerprint, found.asn) == (b"", b"", b"")
    assert set(found.popularity) == {"country"}
    values = {"country": "NO"}
    silent = keys(attempt(device=Device()), values)
    assert (silent.device, silent.fingerprint) == (b"", b"")
    assert set(values) == {"country", "address", "network"}


@given(peppers)
def test_layers_keep_the_short_pseudonym_of_a_shared_value(layers: list[bytes]) -> None:
    """A user agent keeps its short pseudonym under every layer, and the key of its record is moved under the layers."""
    values, later = {"agent": "Mozilla/5.0"}, {"agent": "Mozilla/5.0"}
    found, above = keys(attempt(), values), keys(attempt(), later, Pseudonyms(PEPPER, layers))
    moved = found.popularity["agent"]
    for layer in map(Layer, layers):
        moved = layer.over(moved)

    assert later["agent"] == values["agent"]
    assert above.popularity["agent"] == moved


def test_values_that_identify_are_replaced() -> None:
    """In stored values, address, network, agent, device, fingerprint and issuer are short pseudonyms."""
    values = {"agent": "Mozilla/5.0 (very rare)", "issuer": "https://idp.example", "country": "NO"}
    found = keys(attempt(device=Device(device_id="cookie", fingerprint="print")), values)

    assert values.pop("country") == "NO"
    assert set(values) == {"address", "network", "agent", "device", "fingerprint", "issuer"}
    assert all(len(value) == 8 for value in values.values())
    assert values["device"] == short(found.device)
    assert values["address"] == short(found.address)


def test_addresses_of_one_network_share_its_history() -> None:
    """Two addresses in one /24 have different address keys and the same network key."""
    one = keys(attempt(), {})
    neighbour = keys(
        Attempt(domain="customer", subject="b", journey="login", network=Network(client_ip="81.167.1.9")), {}
    )

    assert one.address != neighbour.address
    assert one.network == neighbour.network
