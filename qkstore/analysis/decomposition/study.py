"""A study of one head: its components with names, held-out correlations and swaps, as a result that can be kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from qkstore.analysis.decomposition.claim import Claim, claim, claims, sentence
from qkstore.analysis.decomposition.found import HeadComponents, components
from qkstore.analysis.decomposition.names import Names, names
from qkstore.analysis.decomposition.scored import Scored
from qkstore.analysis.decomposition.sight import default_where, untested
from qkstore.analysis.decomposition.swaps import ALL, ComponentSwaps, swaps
from qkstore.components import STRONG, Number
from qkstore.errors import ContrastError, StoreError
from qkstore.intervention import Condition
from qkstore.run import Run
from qkstore.store import Store
from qkstore.store.catalog.rows import built
from qkstore.store.source import code_key
from qkstore.text import estimate, head_name, number, p_value, split_name, spread

Progress = Callable[[int, int], None]
STEPS = 3  # found, named, swapped


@dataclass(frozen=True)
class Study:
    """What is known of one head's components, by name and number: all of it goes through JSON.

    number: value, interval, clear, held, chance, p_value and n, as qkstore.components.Number has them. rows: one for
    each component, unnamed ones first: component, rho and rho_ci on the judged split, share of the logit gap, name,
    label, side, explained, p, named, mixed, second, the best label of each side (query, key, agreement), all labels,
    high, low, gap and gap_ci (logits that its swap turns beyond random ones), moved and moved_ci (attention, so),
    clear, matches and claim (of decomposition.claim; clear ones first of those without a name). swaps: None where
    nothing can be swapped, as not_swapped says. left_out: own and first (pairs), few and elsewhere (queries), on the
    built split. tried: labels; untried: {label: why}. n_named: queries that names rest on. warning: what the judged
    split has in common with the built one, in a sentence; '' where that is nothing.
    """

    run: str
    layer: int
    head: int
    where: str
    asked: int | None
    seed: int
    number: dict[str, Any]
    rows: list[dict[str, Any]]
    swaps: dict[str, Any] | None
    not_swapped: str
    left_out: dict[str, int]
    tried: list[str]
    untried: dict[str, str]
    n_built: int
    n_judged: int
    n_named: int
    deals: int
    built_on: str | None
    judged_on: str | None
    mean_share: float
    rotated: bool
    warning: str

    def __repr__(self) -> str:
        return f"Study({self.run!r}, layer={self.layer}, head={self.head}, {len(self.rows)} components)"

    def to_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)

    @classmethod
    def from_dict(cls, row: dict[str, Any]) -> Study:
        """From to_dict, also after a way through JSON."""
        return cls(**row)

    @property
    def by_component(self) -> list[dict[str, Any]]:
        """The rows in the order of the components."""
        return sorted(self.rows, key=lambda row: row["component"])

    @property
    def unnamed(self) -> list[dict[str, Any]]:
        """The rows of components that no label explains."""
        return [row for row in self.rows if not row["named"]]

    def condition(self, name: str) -> dict[str, Any] | None:
        """The swap of that name: a component's number, `all`, `all others` or `random N`."""
        return next((c for c in self.swaps["conditions"] if c["name"] == name), None) if self.swaps else None

    @property
    def headline(self) -> str:
        """How many components, how sure, how many are told from chance, and how many have a name."""
        (low, high), many, unnamed = self.number["interval"], len(self.rows), len(self.unnamed)
        told = f"{head_name(self.layer, self.head)}: {many} component{'' if many == 1 else 's'}"
        if not many:
            return f"{told} ({self.number['n']:,} queries)"
        named = "all named by a label" if not unnamed else f"{unnamed} that no label explains"
        asked = f" asked for, of {self.number['value']}" if self.asked is not None else ""
        clear = sum(one.clear for one in self.claims.values())
        return f"{told}{asked} [{low}, {high}], {clear or 'none'} clear of chance, {named}"

    @property
    def sentences(self) -> list[str]:
        """What tells features from chance, beside each other: held-out correlations, labels, and swaps."""
        of_rows = [self._judged(), self._named(), self._swapped(), sentence(self.rows)] if self.rows else []
        return [self._number(), *of_rows, self._left()]

    @property
    def claims(self) -> dict[int, Claim]:
        """{component: what can be said of it}, by a rule; see decomposition.claim."""
        return claims(self.rows)

    @property
    def naming(self) -> str:
        """What labels explain, and of how many components that is told from chance: the two belong together."""
        return f"{self._named()}. {sentence(self.rows)}"

    def _number(self) -> str:
        of, deals = self.number, len(self.number["null"])
        low, high = of["interval"]
        return (
            f"On {of['n']:,} queries of the {split_name(self.built_on)} split {of['value']} components [{low}, {high}] "
            f"have a correlation above {STRONG} on prompts that they were not fitted on; {of['clear']} are above the "
            f"{number(of['chance'], 2)} that pairing queries anew gives ({p_value(of['p_value'], deals)})"
        )

    def _judged(self) -> str:
        rho = [row["rho"] for row in self.rows]
        return (
            f"On {self.n_judged:,} queries of the {split_name(self.judged_on)} split the correlations of the "
            f"{len(rho)} are {spread(rho, 2)}"
        )

    def _named(self) -> str:
        if not self.tried:
            return "There is no label to try, so that none has a name: read their extreme prompts"
        named = [row["explained"] for row in self.rows if row["named"]]
        told = f"labels explain {spread(named, 2)} of the variance of {len(named)}" if named else "labels explain none"
        return (
            f"Of {len(self.tried)} labels tried on {self.n_named:,} queries, {told}, beyond what labels dealt anew do"
        )

    def _swapped(self) -> str:
        moved = self.condition(ALL)
        if moved is None:
            return f"Nothing was swapped: {self.not_swapped}"
        by_chance = self.condition(f"random {moved['rank']}")
        assert by_chance is not None, "each size of a group has its random baseline"
        value, *interval = moved["beyond"]["delta_p"]
        return (
            f"Swapping all {moved['rank']} moves attention on the chosen key and on another from "
            f"{number(moved['original_before'], 2)} / {number(moved['target_before'], 2)} to "
            f"{number(moved['original_after'], 2)} / {number(moved['target_after'], 2)} ({moved['n']:,} queries); "
            f"as many random dimensions to {number(by_chance['original_after'], 2)} / "
            f"{number(by_chance['target_after'], 2)}: the other gains {estimate(value, interval, 2)} beyond them"
        )

    def _left(self) -> str:
        out = self.left_out
        return (
            f"Left out: {out['own']:,} keys of a query's own token and {out['first']:,} first tokens without a role; "
            f"{out['few']:,} queries with fewer than two keys, {out['elsewhere']:,} whose attention is elsewhere"
        )


def study(
    run: Run,
    layer: int,
    head: int,
    where: str | None = None,
    n: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    of: HeadComponents | None = None,
) -> Study:
    """Find a head's components, name them by the labels there are, and swap them: the whole of it.

    Arguments as in `components`; progress(done, total) after each of STEPS steps. of: what `components` gives for them,
    where it is at hand. Raises what `components` does.
    """

    def step(done: int) -> None:
        if progress:
            progress(done, STEPS)

    of = components(run, layer, head, where, n, seed=seed) if of is None else of
    step(1)
    named = names(Scored.of_head(of), seed=seed)
    step(2)
    swapped, why = _swaps(of, seed)
    step(3)
    return told(of, named, swapped, why, n, seed)


def told(
    of: HeadComponents, named: Names, swapped: ComponentSwaps | None, why: str, asked: int | None, seed: int
) -> Study:
    """The study of components that were found, named and swapped already."""
    conditions = {c.name: c for c in swapped.conditions} if swapped else {}
    rows = [_row(of, named, conditions.get(str(j)), j) for j in range(len(of))]
    return Study(
        run=of.head.run.name,
        layer=of.head.layer,
        head=of.head.head,
        where=of.where or default_where(of.head.run),
        asked=asked,
        seed=seed,
        number=_number(of.found.number),
        rows=sorted(rows, key=lambda row: (row["named"], not (row["named"] or row["clear"]), row["component"])),
        swaps=json.loads(json.dumps(swapped.to_dict())) if swapped else None,  # as it comes back when it was kept
        not_swapped=why,
        left_out={**of.left_out._asdict(), "few": of.train.few, "elsewhere": of.train.elsewhere},
        tried=named.tried,
        untried=dict(named.left),
        n_built=len(of.train),
        n_judged=len(of.test),
        n_named=named.n,
        deals=named.deals,
        built_on=of.built.split,
        judged_on=of.judged.split,
        mean_share=of.found.mean_share,
        rotated=of.found.rotated,
        warning=of.judged.copies.told(of.judged.split) or untested(of.head.run),
    )


def kept_study(
    store: Store,
    run: Run,
    layer: int,
    head: int,
    where: str | None = None,
    n: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    of: HeadComponents | None = None,
) -> Study:
    """What `study` gives, computed once for all who use the store: its catalogue keeps it."""
    key = asked(run, layer, head, where, n, seed)
    if found := built(Study.from_dict, store.catalog.result(key)):
        return found
    found = study(run, layer, head, where, n, seed, progress, of)
    with suppress(StoreError):  # a store that one may only read still answers
        made = {"content": run.digest, "code": code_key()[:16]}
        store.catalog.keep_result(key, "components", run.name, head_name(layer, head), found.to_dict(), **made)
    return found


def asked(run: Run, layer: int, head: int, where: str | None = None, n: int | None = None, seed: int = 0) -> str:
    """What a study is kept under: a hash of all that decides it."""
    question = ("components", run.identity, layer, head, where or default_where(run), n, seed, code_key())
    return hashlib.sha256(repr(question).encode()).hexdigest()


def _swaps(of: HeadComponents, seed: int) -> tuple[ComponentSwaps | None, str]:
    try:
        return swaps(of, seed=seed), ""
    except ContrastError as error:
        return None, str(error)


def _number(of: Number) -> dict[str, Any]:
    return {
        "value": of.value,
        "interval": list(of.interval),
        "clear": of.clear,
        "held": of.held.tolist(),
        "null": of.null.tolist(),
        "chance": of.chance,
        "p_value": of.p_value,
        "n": of.n,
    }


def _row(of: HeadComponents, named: Names, swapped: Condition | None, j: int) -> dict[str, Any]:
    name = named.names[j].to_dict()
    best = name.pop("best")
    beyond = (swapped and swapped.beyond) or {}
    gap, moved = beyond.get("gap_gain"), beyond.get("delta_p")
    row = {
        "component": j,
        "rho": float(of.rho[j]),
        "rho_ci": of.rho_ci[j].tolist(),
        "share": float(of.found.share[j]),
        **name,
        "label": best and best["label"],
        "side": best and best["side"],
        "explained": best and best["explained"],
        "p": best and best["p"],
        "gap": gap and gap[0],
        "gap_ci": gap and list(gap[1:]),
        "moved": moved and moved[0],
        "moved_ci": moved and list(moved[1:]),
    }
    said = claim(row)
    return row | {"clear": said.clear, "matches": said.matches, "claim": said.told}
