"""Generate `riskd/_proto` from the proto files; with `--check`, only say whether it is up to date.

protoc names a Python module after its proto path: `riskd.v1.risk_pb2`, which would lie inside the
package riskd itself. The modules therefore live below `riskd._proto`, and their imports of each other
are moved there. The proto paths stay as they are: clients, reflection and buf see `riskd/v1/*.proto`.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

SOURCES = Path(__file__).resolve().parent
THIRD_PARTY = SOURCES.parent / "third_party" / "googleapis"
TARGET = SOURCES.parent / "riskd" / "_proto"
SIBLING = re.compile(r"(^from |')riskd\.(v\d+(?: import|\.\w+_pb2'))", re.MULTILINE)


def main() -> int:
    """Write the generated tree, or compare it with what is there; 0 when it is up to date."""
    parser = argparse.ArgumentParser(description="Generate riskd/_proto from the proto files.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the tree differs")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory() as folder:
        run_protoc(Path(folder))
        fresh = {path: moved(text) for path, text in read(Path(folder)).items() if has_content(path, text)}
    fresh |= {parent / "__init__.py": "" for path in fresh for parent in path.parents} | {Path("__init__.py"): ""}
    if check:
        present = read(TARGET)
        stale = [str(path) for path in sorted(fresh | present) if fresh.get(path) != present.get(path)]
        print(f"stale, run `make proto`: {', '.join(stale)}" if stale else "riskd/_proto is up to date")
        return bool(stale)
    write(fresh)
    print(f"{len(fresh)} files in riskd/_proto")
    return 0


def run_protoc(folder: Path) -> None:
    """Compile every proto file into `folder`: messages and services, each with its types."""
    protos = sorted(str(path) for path in SOURCES.rglob("*.proto"))
    command = [
        "protoc",
        f"-I{SOURCES}",
        f"-I{resources.files('grpc_tools') / '_proto'}",
        f"-I{THIRD_PARTY}",
        f"--python_out={folder}",
        f"--pyi_out={folder}",
        f"--grpc_python_out={folder}",
        f"--plugin=protoc-gen-mypy_grpc={Path(sys.executable).with_name('protoc-gen-mypy_grpc')}",
        f"--mypy_grpc_out=quiet,only_sync:{folder}",
        *protos,
    ]
    if protos and protoc.main(command):
        sys.exit("protoc failed")


def read(folder: Path) -> dict[Path, str]:
    """The text of every module and stub below a folder, by its path there."""
    return {path.relative_to(folder): path.read_text() for path in folder.rglob("*.py*") if path.suffix != ".pyc"}


def has_content(path: Path, text: str) -> bool:
    """False for the service module of a proto file that has no service."""
    return not path.stem.endswith("_pb2_grpc") or "Stub" in text


def moved(text: str) -> str:
    """The text of a generated module, naming itself and its siblings by where they live."""
    return SIBLING.sub(r"\1riskd._proto.riskd.\2", text)


def write(modules: dict[Path, str]) -> None:
    """Replace the generated tree."""
    shutil.rmtree(TARGET, ignore_errors=True)
    for path, text in modules.items():
        (TARGET / path).parent.mkdir(parents=True, exist_ok=True)
        (TARGET / path).write_text(text)


if __name__ == "__main__":
    sys.exit(main())
