"""`riskd policy check` and `riskd policy test`: mistakes as a service reports them, cases as a test runner does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from riskd.cli.main import main
from riskd.core.attempt import DOMAINS, JOURNEYS

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "data" / "policies"
BAD = [ROOT / "tests" / "policy_errors" / f"{name}.yaml" for name in ("condition", "age_rises")]


def test_the_shipped_policies_are_right(capsys: pytest.CaptureFixture[str]) -> None:
    """A directory stands for its files; each is printed with its domain and version."""
    assert main(["policy", "check", str(SHIPPED)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[0] for line in lines] == [
        str(SHIPPED / f"{domain}.yaml") for domain in ("customer", "machine", "workforce")
    ]


def test_the_mistakes_of_all_files_are_reported(capsys: pytest.CaptureFixture[str]) -> None:
    """The mistakes of all files are reported with exit code 2; valid files are still listed."""
    assert main(["policy", "check", *map(str, BAD), str(SHIPPED / "machine.yaml")]) == 2
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1
    for file in BAD:
        assert f"riskd: {file}:" in err


def test_a_script_reads_what_is_right_and_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    """`--json` has valid files and mistakes with position and remedy; the exit code is the same."""
    good = SHIPPED / "machine.yaml"
    assert main(["policy", "check", "--json", str(good)]) == 0
    assert [one["domain"] for one in json.loads(capsys.readouterr().out)["right"]] == ["machine"]
    assert main(["policy", "check", "--json", str(BAD[0]), str(good)]) == 2
    told = json.loads(capsys.readouterr().out)
    assert [one["file"] for one in told["right"]] == [str(good)]
    assert [one["where"] for one in told["problems"]] == [str(BAD[0])] * len(told["problems"])
    assert all(one["line"] and one["what"] and one["remedy"] for one in told["problems"])


def test_a_place_without_policies_is_a_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A directory without policies is an error."""
    assert main(["policy", "check", str(tmp_path), str(tmp_path / "none.yaml")]) == 2
    assert capsys.readouterr().err.count("riskd: ") == 2


RULES = """counters: [payee_id]
rules:
  - name: large
    when: '"amount" in attributes && double(attributes["amount"]) > 500.0 && new_device == 1.0'
    then: STEP_UP
    reason: LARGE
    text: A large amount.
    journeys: [payment]
  - name: mule
    when: counted.payee_id.subjects_24h >= 4.0
    then: STEP_UP
    reason: MULE
    text: Many accounts paid this payee.
    journeys: [payment]
"""
COUNTED = """domain: customer
cases:
  - description: Both hit.
    journey: payment
    features: {new_device: 1}
    attributes: {amount: "600"}
    counted: {payee_id.subjects_24h: 5}
    credential: succeeded
    expect: {tier: STEP_UP, hits: [large, mule]}
"""


def counting(folder: Path) -> Path:
    """The shipped policies with two more rules: one reads an attribute, the other one's counter. One case has both."""
    tests = folder / "tests"
    tests.mkdir(parents=True)
    text = (SHIPPED / "customer.yaml").read_text(encoding="utf-8")
    (folder / "customer.yaml").write_text(text.replace("rules:\n", RULES, 1), encoding="utf-8")
    (tests / "customer.yaml").write_text(COUNTED, encoding="utf-8")
    return folder


CASES = """domain: customer
cases:
  - description: Tor is asked.
    journey: login
    features: {tor: 1}
    credential: succeeded
    expect: {tier: STEP_UP, satisfied: false, hits: [tor], reasons: [ANONYMIZER]}
"""


def cases(tmp_path: Path, text: str) -> str:
    file = tmp_path / "cases.yaml"
    file.write_text(text, encoding="utf-8")
    return str(file)


def test_the_shipped_policies_pass_their_cases(capsys: pytest.CaptureFixture[str]) -> None:
    """Every case of every domain passes, cases cover every journey, and every rule is hit by some case."""
    assert main(["policy", "test", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["failed"] == 0
    assert report["passed"] == len(report["results"]) >= 60
    assert report["unproven"] == {domain: [] for domain in DOMAINS}
    seen = {(Path(result["file"]).stem, result["journey"]) for result in report["results"]}
    assert seen == {(domain, journey) for domain in DOMAINS for journey in JOURNEYS}


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("tier: BASELINE", "tier         expected BASELINE, got STEP_UP"),
        ("satisfied: true", "satisfied    expected true, got false"),
        ("hits: []", "hits         +tor"),
        ("hits: [guessing]", "hits         -guessing +tor"),
        ("reasons: []", "reasons      +ANONYMIZER"),
        ("level: high", "level        expected high, got low"),
    ],
)
def test_a_case_that_fails_says_how(wrong: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A failing case gives exit code 1 with file, line, description and the difference."""
    key = wrong.partition(":")[0]
    kept = ", ".join(part for part in ("tier: STEP_UP", "satisfied: false") if not part.startswith(key))
    text = CASES[: CASES.index("expect:")] + f"expect: {{{wrong}{', ' if kept else ''}{kept}}}\n"
    file = cases(tmp_path, text)
    assert main(["policy", "test", file, "--policies", str(SHIPPED)]) == 1
    out = capsys.readouterr().out
    assert f"{file}:3: login: Tor is asked." in out
    assert told in out
    assert "0 passed, 1 failed" in out


def test_a_candidate_can_be_put_to_the_same_cases(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--policies` tests other policies with the same cases, and finds a loosened rule."""
    policy = (SHIPPED / "customer.yaml").read_text(encoding="utf-8")
    (tmp_path / "customer.yaml").write_text(policy.replace("tor == 1.0", "vpn == 1.0"), encoding="utf-8")
    assert main(["policy", "test", cases(tmp_path, CASES), "--policies", str(tmp_path)]) == 1
    assert "hits         -tor" in capsys.readouterr().out


@pytest.mark.parametrize("named", [SHIPPED, SHIPPED / "customer.yaml", SHIPPED / "tests"], ids=["all", "one", "cases"])
def test_a_policy_stands_for_the_cases_beside_it(named: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Naming a policy or its directory runs the cases beside it."""
    assert main(["policy", "test", str(named)]) == 0
    assert f"passed {SHIPPED / 'tests' / 'customer.yaml'}: " in capsys.readouterr().out


def test_riskds_own_cases_are_for_the_policies_that_are_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With `--policies`, only the cases of the domains in that directory are run."""
    (tmp_path / "machine.yaml").write_bytes((SHIPPED / "machine.yaml").read_bytes())
    assert main(["policy", "test", "--policies", str(tmp_path)]) == 0
    assert "customer" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ((SHIPPED / "customer.yaml").read_text(encoding="utf-8"), "is a policy, and has no cases"),
        (CASES, "has cases of the policy {above}/customer.yaml, which is not there"),
    ],
)
def test_missing_cases_or_policies_are_reported(
    text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A policy without cases, or cases without their policy, give one line with what to do."""
    file = cases(tmp_path, text)
    assert main(["policy", "test", file]) == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith(f"riskd: {file}: {said.format(above=tmp_path.parent)} (")
    assert "--policies DIR" in told


def test_mistakes_of_cases_and_policies_are_reported_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Mistakes of cases and policies are reported together, each once, and nothing is run."""
    bad = cases(tmp_path, CASES.replace("tor: 1", "tro: 1"))
    other = tmp_path / "machine.yaml"
    other.write_text(CASES.replace("customer", "machine"), encoding="utf-8")
    assert main(["policy", "test", bad, bad, str(other), "--policies", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == len(set(err.splitlines()))


@pytest.mark.parametrize("way", ["file", "variable of a file", "variable", "flag"])
def test_attributes_are_checked_against_the_settings(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`check` and `test` refuse an attribute that the settings do not declare, wherever a counter, a condition or a
    case names it, and accept those that they declare. The files of the settings need not be here."""
    folder, file = counting(tmp_path / "policies"), tmp_path / "riskd.toml"

    def settings(*names: str) -> list[str]:
        file.write_text(f'[attributes]\nnames = {json.dumps(names)}\n[server]\ncallers = "/not/here.toml"\n')
        if way.startswith("variable"):
            of_file = way == "variable of a file"
            monkeypatch.setenv(
                *(("RISKD_CONFIG", str(file)) if of_file else ("RISKD_ATTRIBUTES__NAMES", ",".join(names)))
            )
            return []
        return ["--config", str(file)] if way == "file" else ["--set", f"attributes.names={','.join(names)}"]

    right = settings("payee_id", "amount")
    assert main(["policy", "check", str(folder), *right]) == 0
    assert main(["policy", "test", str(folder), *right]) == 0
    assert capsys.readouterr().err == ""

    wrong, policy, cases = settings("payee", "amounts"), folder / "customer.yaml", folder / "tests" / "customer.yaml"
    at = (SHIPPED / "customer.yaml").read_text(encoding="utf-8").partition("rules:\n")[0].count("\n") + 1
    counter = f"{policy}:{at}:12: 'payee_id' is no attribute that the settings declare (did you mean payee?)"
    read = [f"{policy}:{at + 3}:{column}: 'amount' is no attribute" for column in (13, 57)]
    assert main(["policy", "check", str(folder), *wrong]) == 2
    for line, told in zip(errors(capsys), [counter, *read], strict=True):
        assert line.startswith(f"riskd: {told}")
    assert main(["policy", "test", str(folder), *wrong]) == 2
    assert all(str(policy) in line for line in errors(capsys))
    policy.write_bytes((SHIPPED / "customer.yaml").read_bytes())
    cases.write_text(COUNTED.partition("    counted")[0] + "    expect: {tier: BASELINE}\n", encoding="utf-8")
    assert main(["policy", "test", str(folder), *wrong]) == 2
    (line,) = errors(capsys)
    assert line.startswith(f"riskd: {cases}:6:18: 'amount' is no attribute that the settings declare")


def errors(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_without_settings_a_line_says_what_was_not_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without settings, `check` accepts every attribute, and names those that a service may refuse."""
    folder = counting(tmp_path)
    assert main(["policy", "check", str(folder)]) == 0
    (line,) = errors(capsys)
    assert line.startswith("riskd: not checked whether these attributes are declared: amount, payee_id (")
    assert main(["policy", "check", "--json", str(folder)]) == 0
    assert json.loads(capsys.readouterr().out)["unchecked_attributes"] == ["amount", "payee_id"]
    assert main(["policy", "check", "--json", str(SHIPPED)]) == 0
    assert json.loads(capsys.readouterr().out)["unchecked_attributes"] == []


def test_settings_that_declare_nothing_are_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A settings file without attributes is that of a service that refuses all of them."""
    file = tmp_path / "riskd.toml"
    file.write_text("[server]\nport = 1\n")
    assert main(["policy", "check", str(counting(tmp_path / "p")), "--config", str(file)]) == 2
    assert len(errors(capsys)) == 3
