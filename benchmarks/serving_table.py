"""The table of benchmarks/results/serving.json in service/README.md, between its marks.

.venv/bin/python benchmarks/serving_table.py
"""

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks/results/serving.json"
README = ROOT / "service/README.md"
BEGIN, END = "<!-- serving: made by benchmarks/serving.py -->", "<!-- end of serving -->"
NAMES = {
    "ours": "this service",
    "plain": "FastAPI, `def`, 2 workers, no batching",
    "litserve": "LitServe {litserve}",
    "triton": "Triton, Python backend, 2 instances (PyTriton {nvidia-pytriton})",
}
CLIENTS = (1, 8, 32, 64)


def table(result: dict[str, Any]) -> str:
    """Requests/s of one PNG by clients, and what else was measured, as Markdown."""
    systems, memory = result["systems"], result["memory_mib"]
    columns = [f"{n} client{'s' * (n > 1)}" for n in CLIENTS]
    lines = [
        f"| one PNG, requests/s (p50 / p99 ms) | {' | '.join(columns)} | CPU ms a request at 32 "
        "| memory, MiB |",
        "|---" * (len(CLIENTS) + 3) + "|",
    ]
    for name, label in NAMES.items():
        if name in memory:
            loads = [systems[name][f"png_{n}"] for n in CLIENTS]
            cells = [f"{x['rps']:,.0f} ({x['p50_ms']:.1f} / {x['p99_ms']:.1f})" for x in loads]
            cells += [f"{systems[name]['png_32']['cpu_ms']:.2f}", f"{memory[name]:.0f}"]
            lines.append(f"| {label.format(**result['versions'])} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", _summary(result)])


def _summary(result: dict[str, Any]) -> str:
    ratios, ours = result["ratios"], result["systems"]["ours"]
    plain = " / ".join(f"{ratios['ours/plain'][f'png_{n}']:.2f}" for n in CLIENTS)
    note = f" {result['note']}" if result.get("note") else ""
    load = " and ".join(f"{value:g}" for value in result["load_average"])
    npy, share = ours["npy64_4"]["rps"] * 64, ratios["ours/bare"]["npy64_4"]
    return (
        f"That is {plain} times plain FastAPI. 64 images as npy: {npy:,.0f} images/s, {share:.2f} "
        "of a bare ONNX Runtime loop; `/traverse` of ten dimensions in eleven steps: "
        f"{ours['traverse_1']['p50_ms']:.0f} ms; idle {result['idle_cpu_percent']['ours']:g} % of "
        f"a core. Medians of {result['rounds']} rounds of {result['seconds']:g} s in turns; "
        f"{result['machine']}; Python {result['versions']['python']}; wrk on the same cores; "
        f"load average {load} before and after; {result['date']}.{note}"
    )


def write_table(result: dict[str, Any], readme: Path = README) -> None:
    """Put the table between the marks.

    Raises:
        SystemExit: the marks are not there.
    """
    text = readme.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise SystemExit(f"error: `{readme}` must hold the marks `{BEGIN}` and `{END}`")
    before, rest = text.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    readme.write_text(f"{before}{BEGIN}\n{table(result)}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    write_table(json.loads(RESULT.read_text(encoding="utf-8")))
