"""Why a recorded decision was what it was, as far as only the policy that made it can say."""

from __future__ import annotations

from msgspec.structs import replace

from riskd.core.features import NAMES
from riskd.core.policy import Policy
from riskd.offline.on_record import OnRecord, reasons_of
from riskd.offline.policies.redecide import redecide
from riskd.offline.policies.tally import causes_of


def by_policy(found: OnRecord, policy: Policy) -> OnRecord:
    """The same, with the sentences of the rules that hit, and what required the tier.

    `policy`: that of the record's release. A record with other features has no vector for its rules to read, and is
    returned as it is.
    """
    one = found.assessment
    if one is None or len(one.vector) != len(NAMES):
        return found
    again = redecide(policy, one)
    said = {reason.code: reason.text for reason in again.ruling.reasons}
    return replace(found, reasons=reasons_of(one, said), required_by=causes_of(policy, one.score, again))
