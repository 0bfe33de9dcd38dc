"""A configuration as text: TOML read with overrides and clear errors, and written back."""

import difflib
import hashlib
import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from training.config import Config
from training.errors import ConfigError


def load_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read a TOML file and apply `section.key=value` overrides.

    Raises:
        ConfigError: The file is missing or not TOML, or a key or value breaks a rule.
    """
    return parse_config(read_tables(path, overrides), origin=str(path))


def read_tables(path: Path | None, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The plain tables of a TOML file, or none, with overrides applied; nothing is checked yet.

    Raises:
        ConfigError: The file is missing or not TOML, or an override is none.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8")) if path else {}
    except OSError as error:
        raise ConfigError(f"cannot read the configuration `{path}`: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"`{path}` is not valid TOML: {error}") from error
    for override in overrides:
        _apply(override, tables)
    return tables


def parse_config(tables: dict[str, Any], *, origin: str) -> Config:
    """Check plain tables; `origin` names their source in an error.

    Raises:
        ConfigError: A key is unknown or a value breaks a rule.
    """
    try:
        return Config.model_validate(tables)
    except ValidationError as error:
        lines = dict.fromkeys(_explain(item) for item in _apt([dict(e) for e in error.errors()]))
        raise ConfigError(f"{origin}: " + "; ".join(lines)) from error


def config_sha256(config: Config) -> str:
    """Hash of the resolved configuration, independent of key order and comments."""
    return hashlib.sha256(config_json(config).encode()).hexdigest()


def config_json(config: Config) -> str:
    """The configuration as one line of JSON with sorted keys."""
    return json.dumps(config.model_dump(mode="json"), sort_keys=True)


def config_tables(config: Config) -> dict[str, dict[str, Any]]:
    """The configuration as the plain tables that `parse_config` reads back to an equal one."""
    return config.model_dump(mode="json", exclude_none=True)


def config_toml(config: Config) -> str:
    """The configuration as TOML that `load_config` reads back to an equal one."""
    lines: list[str] = []
    for section, values in config_tables(config).items():
        lines += [
            f"[{section}]",
            *(f"{key} = {_toml_value(value)}" for key, value in values.items()),
        ]
        lines.append("")
    return "\n".join(lines)


def _toml_value(value: Any) -> str:
    """JSON is TOML but for two things: escapes are whole characters, and DEL is one of them."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _apply(override: str, tables: dict[str, Any]) -> None:
    name, equals, text = override.partition("=")
    section, dot, key = name.strip().partition(".")
    if not (equals and dot and section and key):
        raise ConfigError(
            f"an override is `section.key=value`: got `{override}`; "
            "for example `--set run.batch_size=32`"
        )
    table = tables.setdefault(section, {})
    if not isinstance(table, dict):
        raise ConfigError(f"`{section}` must be a table, `[{section}]`: got {table!r}")
    table[key] = _parse_value(text.strip())


def _parse_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text  # A bare word needs no quotes on a command line.


def _apt(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without what a value of another type should be, where its own type has a complaint too."""
    typed = {_dotted(item["loc"]) for item in items if not item["type"].endswith("_type")}
    return [
        item
        for item in items
        if not item["type"].endswith("_type") or _dotted(item["loc"]) not in typed
    ]


def _explain(item: dict[str, Any]) -> str:
    """One sentence for one pydantic error: where, what rule, what was received."""
    where = _dotted(item["loc"])
    if item["type"] == "extra_forbidden":
        return _explain_unknown(item["loc"])
    if item["type"] == "value_error":
        return f"{f'`{where}`: ' if where else ''}{item['ctx']['error']}"
    return f"`{where}`: {item['msg'].lower()}: got {item['input']!r}"


def _dotted(loc: tuple[str | int, ...]) -> str:
    """`section.key`; the deeper parts name branches of a union that the user did not write."""
    return ".".join(str(part) for part in loc[:2])


def _explain_unknown(loc: tuple[str | int, ...]) -> str:
    *parents, key = (str(part) for part in loc)
    model: type[BaseModel] = Config
    for parent in parents:
        annotation = model.model_fields[parent].annotation
        assert isinstance(annotation, type)
        model = annotation
    valid = list(model.model_fields)
    near = difflib.get_close_matches(key, valid, n=1, cutoff=0.5)
    hint = f"did you mean `{near[0]}`?" if near else f"valid keys: {', '.join(valid)}"
    return f"unknown key `{'.'.join([*parents, key])}`; {hint}"
