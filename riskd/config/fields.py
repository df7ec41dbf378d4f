"""Descriptions of all settings, derived from the types in `settings`, for the documentation and the sources."""

from __future__ import annotations

from typing import Final, Literal, get_args, get_origin, get_type_hints

from msgspec import Meta, Struct

from riskd.config.settings import Settings


class Field(Struct, frozen=True):
    """The description of a setting. `accepts`: the accepted values, as text.

    `path`: `file` or `dir` if the value is the path of one that must exist and be readable, `made` if riskd makes what
    it is the path of, else ''. `in_state`: the name in `state.dir` that an empty value stands for, if any.
    """

    section: str
    name: str
    type: object
    default: object
    doc: str
    accepts: str
    path: str
    in_state: str

    @property
    def key(self) -> str:
        """`section.name`, as in the TOML file."""
        return f"{self.section}.{self.name}"

    @property
    def variable(self) -> str:
        """The environment variable."""
        return f"RISKD_{self.section}__{self.name}".upper()


def _metas(annotated: object) -> tuple[Meta, ...]:
    return tuple(meta for meta in get_args(annotated)[1:] if isinstance(meta, Meta))


def _extra(metas: tuple[Meta, ...], name: str) -> str:
    return next((meta.extra[name] for meta in metas if meta.extra and name in meta.extra), "")


def _accepts(annotated: object, metas: tuple[Meta, ...]) -> str:
    plain = get_args(annotated)[0]
    if get_origin(plain) is Literal:
        return " or ".join(f"`{choice}`" for choice in get_args(plain))
    if text := _extra(metas, "accepts"):
        return text
    low = next((meta.ge for meta in metas if meta.ge is not None), None)
    high = next((meta.le for meta in metas if meta.le is not None), None)
    kind = {bool: "true or false", int: "an integer", float: "a number", str: "text"}[plain]
    if high is None:
        return kind
    return f"{kind}, {low} to {high}" if low is not None else f"{kind} above 0, to {high}"


def _fields() -> dict[str, Field]:
    found = {}
    for section, kind in get_type_hints(Settings).items():
        for name, annotated in get_type_hints(kind, include_extras=True).items():
            metas = _metas(annotated)
            doc = "".join(meta.description or "" for meta in metas)
            if doc:
                default, accepts = getattr(kind(), name), _accepts(annotated, metas)
                path, in_state = _extra(metas, "path"), _extra(metas, "in_state")
                field = Field(section, name, annotated, default, doc, accepts, path, in_state)
                found[field.key] = field
    return found


FIELDS: Final = _fields()
"""Every setting by its key, in the order of the documentation."""
