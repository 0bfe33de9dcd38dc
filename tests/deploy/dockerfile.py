"""Reads the Dockerfile and .dockerignore as far as the tests need them."""

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

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


def copy_build_context(to: Path) -> None:
    """What `COPY . .` would copy: .dockerignore leaves everything out and then lets some in."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    for rule in rules[1:]:
        if rule.startswith("!"):
            source, target = ROOT / rule[1:], to / rule[1:]
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)


def _split(line: str) -> tuple[str, str]:
    word, _, text = line.partition(" ")
    return word, text
