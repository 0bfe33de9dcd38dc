"""The little Markdown that a card needs."""

from collections.abc import Iterable, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; a `|` inside a cell becomes `/`."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def percent(share: float | None) -> str:
    """0.954 as "95.4 %"."""
    return "not measured" if share is None else f"{100 * share:.1f} %"
