"""Reads, checks and writes model bundles: `models/<domain>/<version>/` with `forest.json`, `manifest.json`, `card.md`.

A bundle is data, and no code is loaded from it. Its manifest describes it, names the definition of each feature that it
was made for, and has the hashes of the other files, so that a signature of the manifest covers them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Literal, TypeVar

import msgspec
from msgspec import Struct

from riskd.adapters.model_file.signature import SIGNATURE, signature_problems
from riskd.core.attempt import DOMAINS
from riskd.core.drift import Reference
from riskd.core.errors import InvalidModel, Problem
from riskd.core.forest import Forest
from riskd.core.model import ForestDocument
from riskd.core.score import schema_of
from riskd.host.files import SHARED, atomically, drafting, place

FOREST: Final = "forest.json"
MANIFEST: Final = "manifest.json"
CARD: Final = "card.md"
EVALUATION: Final = "evaluation.json"
REFERENCE: Final = "reference.json"
TRAINING: Final = "training.json"
MAX_BYTES: Final = {
    FOREST: 64 * 2**20,
    MANIFEST: 2**20,
    CARD: 2**20,
    EVALUATION: 16 * 2**20,
    REFERENCE: 4 * 2**20,
    TRAINING: 2**20,
}
"""Largest size of each file. A forest of 5,000 trees with 32 leaves takes 40 MB."""
_NEEDED: Final = (FOREST, CARD)
_HASHED: Final = (*_NEEDED, EVALUATION, REFERENCE, TRAINING)

T = TypeVar("T")


class Manifest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The description of a bundle. `seal` sets `schema`, `features` and `files`; the maker of the bundle sets the rest.

    `created`: an ISO 8601 date. `data`: SHA-256 of the training rows. `code`: the version of riskd that trained it.
    `features`: the definition of each feature that the forest reads. `schema`: a name for all of these definitions
    (`core.score.schema_of`). `files`: the SHA-256 of each other file, hexadecimal.
    """

    name: str
    domain: str
    version: str
    kind: Literal["hand-set", "trained"]
    created: str
    data: str = ""
    code: str = ""
    metrics: dict[str, float] = {}
    schema: str = ""
    features: dict[str, str] = {}
    files: dict[str, str] = {}


def read_manifest(path: Path) -> Manifest:
    """The manifest of the bundle in directory `path`; raises InvalidModel."""
    return _decode(path / MANIFEST, _read(path / MANIFEST), Manifest)


def load_model(path: Path, features: Mapping[str, str], *, domain: str = "", trusted: Sequence[str] = ()) -> Forest:
    """The forest of the bundle in directory `path`.

    `features`: the definition of each feature, in the order of the vector. A definition is any string that changes
    when the meaning does. `domain`, if given, must be that of the bundle. `trusted`: Ed25519 public keys, 64
    hexadecimal digits each; if given, one of them must have signed the bundle.

    Raises InvalidModel for unreadable or too large files, malformed JSON, wrong hashes, a missing or untrusted
    signature, unknown or redefined features, and values out of bounds.
    """
    sealed = _read(path / MANIFEST)
    manifest, raw = _decode(path / MANIFEST, sealed, Manifest), _contents(path)
    problems = [
        *_manifest_problems(path, manifest, domain),
        *_hash_problems(path, manifest, raw),
        *(signature_problems(path, sealed, trusted) if trusted else ()),
    ]
    if problems:
        raise InvalidModel(problems)
    document = _decode(path / FOREST, raw[FOREST], ForestDocument)
    forest = _compile(path, document, features, manifest.version)
    problems = list(_definition_problems(path, manifest, document, features))
    if problems:
        raise InvalidModel(problems)
    return forest


def read_forest(path: Path) -> ForestDocument:
    """The forest of the bundle in directory `path` as a document, not validated; raises InvalidModel."""
    return _decode(path / FOREST, _read(path / FOREST), ForestDocument)


def read_card(path: Path) -> str:
    """The card of the bundle in directory `path`; raises InvalidModel."""
    try:
        return _read(path / CARD).decode()
    except UnicodeDecodeError as error:
        raise InvalidModel([Problem(str(path / CARD), str(error), "save it as UTF-8")]) from error


def read_evaluation(path: Path) -> bytes | None:
    """`evaluation.json` of the bundle in directory `path`, None if it has none; raises InvalidModel."""
    return _read(path / EVALUATION) if (path / EVALUATION).exists() else None


def read_training(path: Path) -> bytes | None:
    """`training.json` of the bundle in directory `path`, None if it has none; raises InvalidModel."""
    return _read(path / TRAINING) if (path / TRAINING).exists() else None


def read_reference(path: Path) -> Reference | None:
    """`reference.json` of the bundle in directory `path`, None if it has none; raises InvalidModel."""
    file = path / REFERENCE
    return _decode(file, _read(file), Reference) if file.exists() else None


def seal(
    path: Path, features: Mapping[str, str], *, card: str | None = None, beside: Mapping[str, bytes] | None = None
) -> Manifest:
    """Update the manifest of the bundle in `path`: the hashes of its files, and its features with their definitions.

    `card`: a new card. `beside`: new contents of `EVALUATION`, `REFERENCE` and `TRAINING`. Removes an existing
    signature. Raises InvalidModel, and changes nothing, if the forest is invalid or a file cannot be written.
    """
    try:
        return _sealed(path, features, card, beside or {})
    except OSError as error:
        raise _not_written(path, error) from error


def _sealed(path: Path, features: Mapping[str, str], card: str | None, beside: Mapping[str, bytes]) -> Manifest:
    manifest = read_manifest(path)
    raw = _contents(path)
    document = _decode(path / FOREST, raw[FOREST], ForestDocument)
    _compile(path, document, features, manifest.version)
    changed = {**beside, **({} if card is None else {CARD: card.encode()})}
    used = {name: features[name] for name in document.features()}
    sealed = msgspec.structs.replace(
        manifest,
        features=used,
        schema=schema_of(used),
        files={name: _sha256(content) for name, content in {**raw, **changed}.items()},
    )
    content = msgspec.json.format(msgspec.json.encode(sealed), indent=2) + b"\n"
    _replace(path, {MANIFEST: content, **changed})
    (path / SIGNATURE).unlink(missing_ok=True)
    return sealed


def _replace(path: Path, contents: Mapping[str, bytes]) -> None:
    """Replace files of a bundle, after all of them were written to temporary files. The first one is replaced last."""
    with ExitStack() as written:
        for name, content in contents.items():
            file = written.enter_context(atomically(path / name, SHARED))
            file.write(content)
            file.flush()


def write_bundle(
    path: Path,
    document: ForestDocument,
    card: str,
    manifest: Manifest,
    features: Mapping[str, str],
    *,
    beside: Mapping[str, bytes] | None = None,
) -> Manifest:
    """Write a new bundle into directory `path` and seal it. `beside`: see `seal`.

    Raises InvalidModel if the forest is invalid, if the bundle exists (a version never changes its meaning), or if it
    cannot be written; then nothing of it is left.
    """
    if path.exists():
        raise InvalidModel([Problem(str(path), "exists already", "give the model a new version")])
    _compile(path, document, features, manifest.version)
    try:
        with drafting(path.parent) as draft:
            made = draft / path.name
            made.mkdir()
            (made / FOREST).write_bytes(render(document))
            (made / CARD).write_text(card, encoding="utf-8")
            (made / MANIFEST).write_bytes(msgspec.json.encode(manifest))
            sealed = _sealed(made, features, None, beside or {})
            place(made, path)
    except OSError as error:
        raise _not_written(path, error) from error
    return sealed


def _not_written(path: Path, error: OSError) -> InvalidModel:
    what, remedy = f"cannot be written: {error.strerror}", "check that the disk has space and this user may write there"
    return InvalidModel([Problem(str(path), what, remedy)])


def render(document: ForestDocument) -> bytes:
    """The document as JSON with one step function, node or knot a line, for readable diffs."""
    fields = [f'  "{name}": {_render(value, "  ")}' for name, value in msgspec.to_builtins(document).items()]
    return ("{\n" + ",\n".join(fields) + "\n}\n").encode()


def _render(value: object, indent: str) -> str:
    if isinstance(value, list | tuple) and any(isinstance(item, list | tuple | dict) for item in value):
        items = [f"\n{indent}  {_render(item, indent + '  ')}" for item in value]
        return "[" + ",".join(items) + f"\n{indent}]"
    return json.dumps(value, ensure_ascii=False)


def _contents(path: Path) -> dict[str, bytes]:
    """The files whose hashes the manifest has: forest and card, and the optional ones that exist."""
    return {name: _read(path / name) for name in _HASHED if name in _NEEDED or (path / name).exists()}


def _read(file: Path) -> bytes:
    bound = MAX_BYTES[file.name]
    try:
        with file.open("rb") as stream:
            raw = stream.read(bound + 1)
    except OSError as error:
        if not any((file.parent / name).exists() for name in (FOREST, MANIFEST)):
            what, remedy = "is not a model bundle", "name the directory of one, such as models/customer/hand-set-4"
            raise InvalidModel([Problem(str(file.parent), what, remedy)]) from error
        what = f"cannot be read: {error.strerror}"
        raise InvalidModel([Problem(str(file), what, "restore the bundle from its source")]) from error
    if len(raw) > bound:
        raise InvalidModel([Problem(str(file), f"is larger than {bound} bytes", "train fewer or smaller trees")])
    return raw


def _decode(file: Path, raw: bytes, kind: type[T]) -> T:
    try:
        raw.decode()
        return msgspec.json.decode(raw, type=kind)
    except UnicodeDecodeError as error:
        what, byte = "is not UTF-8", error.start
    except msgspec.ValidationError as error:
        raise InvalidModel([Problem(str(file), str(error), "see the format in docs/models.md")]) from error
    except msgspec.DecodeError as error:
        at = re.search(r"\(byte (\d+)\)", str(error))
        what, byte = str(error), int(at[1]) if at else len(raw)
    line, column = raw.count(b"\n", 0, byte) + 1, byte - raw.rfind(b"\n", 0, byte)
    raise InvalidModel([Problem(str(file), what, "fix the JSON here", line, column)])


def _compile(path: Path, document: ForestDocument, features: Mapping[str, str], version: str) -> Forest:
    schema = schema_of({name: features.get(name, "") for name in document.features()})
    try:
        return Forest(document, tuple(features), schema=schema, version=version)
    except InvalidModel as error:
        file = path / FOREST
        raise InvalidModel([Problem(f"{file}: {p.where}", p.what, p.remedy) for p in error.problems]) from error


def _manifest_problems(path: Path, manifest: Manifest, domain: str) -> Iterator[Problem]:
    if manifest.domain not in DOMAINS:
        what, remedy = f"there is no identity domain '{manifest.domain}'", f"write one of {', '.join(DOMAINS)}"
        yield Problem(f"{path / MANIFEST}: domain", what, remedy)
    elif domain and manifest.domain != domain:
        what = f"the model is for '{manifest.domain}', not for '{domain}'"
        yield Problem(f"{path / MANIFEST}: domain", what, "give each identity domain its own model")


def _hash_problems(path: Path, manifest: Manifest, raw: Mapping[str, bytes]) -> Iterator[Problem]:
    for name in sorted(manifest.files.keys() - raw.keys()):
        yield Problem(str(path / name), "is missing, but the manifest lists it", "restore it, or seal the bundle again")
    for name, content in raw.items():
        stated = manifest.files.get(name, "none")
        if _sha256(content) != stated:
            what = f"has the SHA-256 {_sha256(content)}, but the manifest says {stated}"
            yield Problem(str(path / name), what, "restore the file, or review the change and seal the bundle again")


def _definition_problems(
    path: Path, manifest: Manifest, document: ForestDocument, features: Mapping[str, str]
) -> Iterator[Problem]:
    for name in document.features():
        made_for = manifest.features.get(name, "none")
        if made_for != features[name]:
            what = f"made for the definition '{made_for}', but this version of riskd has '{features[name]}'"
            remedy = "train the model again, or review what the change means for it, then seal the bundle again"
            yield Problem(f"{path / MANIFEST}: features.{name}", what, remedy)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
