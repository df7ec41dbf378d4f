"""`riskd assess`, `riskd outcome` and `riskd demo` as run from a shell."""

from __future__ import annotations

import json
import re
import shlex
import socket
from pathlib import Path

import pytest

from riskd.core.attempt import OUTCOMES
from tests.e2e.service import LONDON, ROOT, Service, riskd, serving
from tests.security.authority import Authority

LOGIN = ("assess", "--domain", "customer", "--subject", "kim", "--journey", "login", "--ip", LONDON)


def test_an_answer_for_people(service: Service, tmp_path: Path) -> None:
    """The text shows the tier, then reasons, then gaps; the exit code is 0."""
    done = riskd(*LOGIN, "--user-agent", "python-requests/2.32.3", "--target", service.address, state=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split()[:2] == ["tier", "STEP_UP"]
    for part in ("AUTOMATED_CLIENT", "The client is a script", "device_id", "not_sent", "coverage"):
        assert part in done.stdout


def test_an_answer_for_programs(service: Service, tmp_path: Path) -> None:
    """`--json` gives a document whose id accepts an outcome."""
    done = riskd(*LOGIN, "--json", "--target", service.address, state=tmp_path)
    answer = json.loads(done.stdout)
    assert done.returncode == 0
    assert 0 < answer["score"] < 1
    assert answer["requirement"]["tier"].startswith("TIER_")
    told = riskd(
        *("outcome", answer["assessmentId"], "challenge_passed", "--amr", "pwd,otp", "--seconds", "9", "--json"),
        *("--target", service.address),
        state=tmp_path,
    )
    assert (told.returncode, told.stderr) == (0, "")
    assert json.loads(told.stdout)["taughtUnits"] > 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((*LOGIN, "--ip", "nowhere"), 2, "  network.client_ip: 'nowhere' is not an address"),
        ((*LOGIN, "--set", "device.colour=red"), 2, "riskd: device.colour: "),
        ((*LOGIN, "--journey", "logon"), 2, "riskd: journey: "),
        ((*LOGIN, "--timeout", "0"), 2, "'0' is not a timeout"),
        (("outcome", "123", OUTCOMES[0]), 2, "riskd: assessment_id: not an assessment id"),
        (("outcome", "0" * 32, OUTCOMES[0]), 1, "NOT_FOUND UNKNOWN_ASSESSMENT"),
        ((*LOGIN, "--target", "127.0.0.1:1"), 3, "riskd: UNAVAILABLE"),
        (("outcome", "0" * 32, OUTCOMES[0], "--target", "127.0.0.1:1"), 3, "riskd: UNAVAILABLE"),
    ],
)
def test_exit_codes(arguments: tuple[str, ...], code: int, said: str, service: Service, tmp_path: Path) -> None:
    """Exit code 2 means bad input, 3 no answer in time, 1 any other error; stderr says which, and stdout is empty."""
    command, *rest = arguments
    done = riskd(command, "--target", service.address, *rest, state=tmp_path)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_service_on_the_other_port_is_named(service: Service, tmp_path: Path) -> None:
    """Asking the port for the subject service names the setting that decides where it is served."""
    done = riskd("subject", "show", "--domain", "customer", "alex", "--target", service.address, state=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "`subjects.serve`" in done.stderr


def test_no_answer_names_the_likeliest_cause(tmp_path: Path) -> None:
    """If the server does not answer, the message names the likely cause: not running, TLS, another authority or another
    host name."""
    authority = Authority()
    cert, key = authority.issue("localhost", hosts=["localhost"]).put(tmp_path / "tls", "server")
    (ours := tmp_path / "ours.pem").write_bytes(authority.certificate)
    (theirs := tmp_path / "theirs.pem").write_bytes(Authority("others").certificate)
    tls = {"RISKD_SERVER__TLS_CERT": cert, "RISKD_SERVER__TLS_KEY": key}
    with serving(tmp_path / "state", settings=tls) as running:
        for flags, hint in (
            ((), "may speak TLS: give --ca"),
            (("--ca", str(theirs)), "the authority that signed the server's certificate"),
            (("--ca", str(ours)), "the server's certificate names another host"),
        ):
            done = riskd(*LOGIN, "--target", running.address, *flags, "--timeout", "5", state=tmp_path)
            assert (done.returncode, done.stdout) == (3, "")
            assert hint in done.stderr, done.stderr
            assert len(done.stderr.splitlines()) == 2
    done = riskd("subject", "show", "--domain", "customer", "alex", state=tmp_path)
    assert done.returncode == 3
    assert "the user of the service and with its settings" in done.stderr


def test_a_server_that_says_nothing_is_given_up(tmp_path: Path) -> None:
    """A silent server is given up at the deadline, with exit code 3."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        target = f"127.0.0.1:{silent.getsockname()[1]}"
        done = riskd(*LOGIN, "--target", target, "--timeout", "0.5", state=tmp_path)

    assert (done.returncode, done.stdout) == (3, "")
    assert "riskd: DEADLINE_EXCEEDED" in done.stderr


def test_the_readme_shows_a_real_answer(tmp_path: Path) -> None:
    """The README's first command prints the answer shown there, except for hashes and ids."""
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    command, shown = re.findall(r"```sh\nriskd (.*)\n```\n\n```text\n(.*?)```", page, re.DOTALL)[0]
    with serving(tmp_path) as service:
        words = shlex.split(command.replace("86.150.20.30", "149.101.100.1"))
        done = riskd(*words, "--target", service.address, state=tmp_path)
    plain = [re.sub(r"[0-9a-f]{16,}| +$", "", text, flags=re.MULTILINE) for text in (done.stdout, shown)]
    assert plain[0] == plain[1]


def chapters(story: str) -> dict[str, list[str]]:
    """The tiers printed in each chapter."""
    tiers = ("BASELINE", "STEP_UP", "PHISHING_RESISTANT", "HARDWARE_BOUND", "IDENTITY_PROOF", "DENY")
    found: dict[str, list[str]] = {}
    lines, title = story.splitlines(), ""
    for before, line in zip(["", *lines], lines, strict=False):
        if not before and line and not line.startswith(" "):
            title = line
        if line.split(" ")[0] in tiers:
            found.setdefault(title, []).append(line.split(" ")[0])
    return found


@pytest.mark.slow
def test_demo_without_geo(tmp_path: Path) -> None:
    """The demo runs without geo databases, with the tiers that it describes and the gaps, and names files to read next.
    What it is told to keep stops when standard input ends."""
    done = riskd("demo", "--no-geo", "--keep", state=tmp_path, settings={"COLUMNS": "200"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "geo none (place and route are gaps; run `riskd geo install`)" in done.stdout
    assert "place (not_installed), route (not_installed)" in done.stdout
    tiers = chapters(done.stdout)
    assert tiers["Six ordinary weeks"] == ["BASELINE"] * 3
    assert tiers["A stuffing run"] == ["DENY", "DENY"]
    assert set(tiers["A stolen cookie"]) <= {"PHISHING_RESISTANT", "HARDWARE_BOUND", "IDENTITY_PROOF", "DENY"}
    named = re.findall(r"^  (\S.*?)  ", done.stdout.partition("\nNext:\n")[2], re.MULTILINE)
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []
    assert done.stdout.endswith("Press Enter to stop the service. \nThe service has stopped.\n")
