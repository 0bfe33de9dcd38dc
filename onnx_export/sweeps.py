"""What a sweep of one relevant dimension really does: measured by encoding the decoded sweep again.

A dimension need not read back as it was set: where a posterior has several modes, a sweep turns
back or moves another factor. This says how far, and claims nothing that was not measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnx_export.inputs import Floats, Samples
from onnx_export.markdown import table
from onnx_export.verify import Engine
from service.models.artifact import Dimension

N_BASES = 16
STEPS = 21
NOTABLE_PERCENT = 10.0


@dataclass(frozen=True)
class Sweep:
    """One dimension swept from its 1 % to its 99 % quantile; medians over the images it starts at.

    All in percent of a dimension's own range.

    Attributes:
        name: of the dimension.
        covered: how much of the range the value that is read back goes through.
        reversal: how far it goes back against its own direction, at most, on the way.
        others: how far each other relevant dimension moves between its extremes on the way.
    """

    name: str
    covered: float
    reversal: float
    others: dict[str, float]


def measure_sweeps(
    reference: Engine, images: Samples, dimensions: Sequence[Dimension]
) -> list[Sweep]:
    """Sweep each of `dimensions` at images spread over `images`, decode, and encode again.

    Args:
        reference: the model.
        images: uint8, or rows of numbers.
        dimensions: the relevant ones.
    """
    bases = reference.encode(np.ascontiguousarray(images[:: max(1, len(images) // N_BASES)]))[0]
    if not np.isfinite(bases).all():
        return []  # A broken run, exported by force.
    return [
        _sweep(reference, bases[:N_BASES], swept, dimensions, is_image=images.dtype == np.uint8)
        for swept in dimensions
    ]


def sweep_section(sweeps: Sequence[Sweep]) -> str:
    """The part of the model card: a table, and a sentence on each dimension that is not clean."""
    if not sweeps:
        return ""
    rows = [
        (
            sweep.name,
            f"{sweep.covered:.0f} %",
            f"{sweep.reversal:.0f} %",
            _most_moved(sweep),
        )
        for sweep in sweeps
    ]
    header = ("swept", "read back", "turns back by", "moves most beside it")
    remarks = [f"- {remark}" for sweep in sweeps if (remark := _remark(sweep))]
    clean = f"No sweep turns back or moves another factor by {NOTABLE_PERCENT:.0f} % or more."
    return (
        f"## Sweeps\n\n{table(header, rows)}\n\nEach relevant dimension was swept from its 1 % to "
        f"its 99 % quantile at {N_BASES} training samples, decoded, and encoded again. Percent "
        "of a dimension's own range, median over the samples.\n\n"
        + ("\n".join(remarks) if remarks else clean)
    )


def _sweep(
    reference: Engine,
    bases: Floats,
    swept: Dimension,
    dimensions: Sequence[Dimension],
    *,
    is_image: bool,
) -> Sweep:
    low, high = swept.mu_quantiles.p1, swept.mu_quantiles.p99
    z = np.repeat(bases[:, None], STEPS, axis=1)  # (bases, steps, latent_dim)
    z[:, :, swept.dim] = np.linspace(low, high, STEPS)
    decoded = reference.decode(z.reshape(-1, z.shape[-1]))
    samples = (np.nan_to_num(decoded) * 255).round().astype(np.uint8) if is_image else decoded
    found = reference.encode(samples)[0].reshape(z.shape)  # (bases, steps, latent_dim)
    percents = {
        dim.name: 100 * found[:, :, dim.dim] / max(_range(dim), 1e-12) for dim in dimensions
    }
    own = percents[swept.name]
    return Sweep(
        name=swept.name,
        covered=_median_spread(own),
        reversal=float(np.median([_reversal(values) for values in own])),
        others={name: _median_spread(p) for name, p in percents.items() if name != swept.name},
    )


def _reversal(values: Floats) -> float:
    """How far `values` fall below what they had reached, in the direction in which they rise."""
    rising = values if values[-1] >= values[0] else -values
    return float((np.maximum.accumulate(rising) - rising).max())


def _median_spread(values: Floats) -> float:
    """(bases, steps) to the median over bases of the largest minus the smallest value."""
    return float(np.median(np.ptp(values, axis=1)))


def _range(dim: Dimension) -> float:
    return dim.mu_quantiles.p99 - dim.mu_quantiles.p1


def _most_moved(sweep: Sweep) -> str:
    if not sweep.others:
        return ""
    name = max(sweep.others, key=lambda other: sweep.others[other])
    return f"{name} by {sweep.others[name]:.0f} %"


def _remark(sweep: Sweep) -> str:
    parts = []
    if sweep.reversal >= NOTABLE_PERCENT:
        parts.append(f"turns back by {sweep.reversal:.0f} % of its own range on the way")
    moved = ", ".join(
        f"`{name}` by {percent:.0f} %"
        for name, percent in sorted(sweep.others.items(), key=lambda item: -item[1])
        if percent >= NOTABLE_PERCENT
    )
    if moved:
        parts.append(f"moves {moved} of its range")
    return f"A sweep of `{sweep.name}` {' and '.join(parts)}." if parts else ""
