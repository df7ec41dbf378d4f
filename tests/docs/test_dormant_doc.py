"""The rule on dormant accounts in docs/policy.md is valid, and its cases pass."""

from __future__ import annotations

import re
from pathlib import Path

from riskd.adapters.cel_rules import CelCompiler
from riskd.adapters.policy_file import load_cases, read_policy
from riskd.config import data_directory
from riskd.core.features import NAMES
from riskd.offline.policies.cases import run_cases


def test_an_old_account_without_history_is_asked_for_more(tmp_path: Path) -> None:
    """In the shipped policy of customers the rule hits the page's old account and not its new one."""
    page = (Path(__file__).parents[2] / "docs" / "policy.md").read_text(encoding="utf-8")
    rule, cases = re.findall(r"```yaml\n(.*?)```", page.partition("### Dormant accounts\n")[2], re.DOTALL)[:2]
    shipped = (data_directory("policies") / "customer.yaml").read_text(encoding="utf-8")
    assert shipped.count("\nrules:\n") == 1
    policy = read_policy("customer", shipped.replace("rules:\n", rule, 1), CelCompiler(NAMES))
    (tmp_path / "customer.yaml").write_text(cases)
    report = run_cases([load_cases(tmp_path / "customer.yaml", lambda _: policy)])
    assert [result.differences for result in report.results] == [(), ()]
