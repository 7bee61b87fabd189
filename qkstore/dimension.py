"""The dimension of a contrast in one head: its ranks with their uncertainty, and its canonical correlations."""

from __future__ import annotations

from dataclasses import dataclass

from qkstore.analysis import build_split
from qkstore.contrast import Contrast, pairs
from qkstore.covariance import Counts
from qkstore.rank import Canonical, Rank, canonical, ranks, units
from qkstore.run import Run


@dataclass(frozen=True)
class Dimension:
    """One head under one contrast, from the pairs counted here, of the split named here."""

    rank: Rank
    canonical: Canonical
    counts: Counts
    split: str | None
    seed: int

    def to_dict(self) -> dict:
        """What `python -m qkstore rank --json` prints."""
        r = self.rank
        found = {
            "energy": r.energy,
            "statistical": r.statistical,
            "cross_validated": r.cross_validated,
            "weak": r.weak,
            "sentence": r.sentence,
        }
        found |= {"level": r.level, "p_values": list(r.p_values), "n": r.n, "seed": self.seed}
        found |= {"canonical": self.canonical.values.tolist(), "chance": self.canonical.chance}
        return found | self.counts._asdict() | {"split": self.split}


def dimension(run: Run, contrast: Contrast, layer: int, head: int, seed: int = 0) -> Dimension:
    """Ranks and canonical correlations of ΔC in one head, on the split that subspaces are built on.

    Raises ContrastError for an empty side and for too few queries.
    """
    run.layer(layer, head)
    split = build_split(run)
    found = pairs(run, contrast, split)
    query_rows, key_rows, local = found.localise()
    q, k = run.queries(layer, head, query_rows), run.keys(layer, head, key_rows)
    x, c = units(q, k, local, centred=contrast.centring == "queries", summed=contrast.weighting == "sum")
    return Dimension(ranks(x, c, seed=seed), canonical(x, c), found.counts, split, seed)
