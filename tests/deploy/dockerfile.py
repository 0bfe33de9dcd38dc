"""Reads the Dockerfile, and loads programs, as far as the tests need them."""

import importlib.util
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Stage:
    """One build stage: its base and its instructions, in order."""

    base: str
    instructions: tuple[tuple[str, str], ...]

    def all(self, name: str) -> list[str]:
        """The arguments of every instruction of this name."""
        return [text for instruction, text in self.instructions if instruction == name]

    def one(self, name: str) -> str:
        """The arguments of the only instruction of this name."""
        (text,) = self.all(name)
        return text

    def command(self, name: str) -> list[str]:
        """The words of an instruction in exec form."""
        words: list[str] = json.loads(re.sub(r"^.*?CMD (?=\[)", "", self.one(name)))
        return words


def read_stages() -> dict[str, Stage]:
    """Every stage of the Dockerfile by name."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    stages: dict[str, Stage] = {}
    for block in "\n".join(lines).split("\nFROM ")[1:]:
        head, *rest = block.splitlines()
        base, name = re.fullmatch(r"(\S+) AS (\S+)", head).groups()  # type: ignore[union-attr]
        pairs = tuple((word, " ".join(text.split())) for word, text in map(_split, rest))
        stages[name] = Stage(base, pairs)
    return stages


def script(path: str) -> Any:
    """A program of this repository that is no module, such as `deploy/image_size.py`."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def _split(line: str) -> tuple[str, str]:
    word, _, text = line.partition(" ")
    return word, text
