"""A study: one run of the paper's language-model programme, its selected heads, and what several sections ask of it."""

from __future__ import annotations

from contextlib import suppress
from functools import cached_property

from qkstore import analysis
from qkstore.analysis import Contrasts, decomposition, heads, live
from qkstore.analysis.evidence import Evidence, evidence
from qkstore.analysis.heads import HeadScore, binding_heads, filter_heads
from qkstore.analysis.live import Live
from qkstore.analysis.variations import Variant, variants
from qkstore.contrast import Contrast
from qkstore.errors import ContrastError, RunError
from qkstore.interval import PARTS
from qkstore.run import Run
from qkstore.store import Store
from qkstore.text import head_name, split_name

LISTS, BOXES = "lists", "boxes"
SPAN = "category:*"
FIVE = ("fruit", "animal", "vehicle", "drink", "countr")  # the five categories of section 5.1, as their names begin
MOST_HEADS = 12  # of a run, that are shown


class Study:
    """A run with the results that are asked for again and again, each computed once.

    Raises RunError for a run that is of neither kind.
    """

    def __init__(self, store: Store, run: Run):
        self.store, self.run, self.named = store, run, store.features(run)
        self.kind = LISTS if SPAN in self.named else BOXES if {"order", "lexical"} <= set(self.named) else None
        if self.kind is None:
            raise RunError(
                f"run {run.name!r} is no run of lists or boxes, which is what the report is about; "
                "`python -m ingest paper` makes such runs"
            )
        self._evidence: dict[tuple, Evidence] = {}
        self._variants: dict[tuple, list[Variant]] = {}
        self._components: dict[tuple, decomposition.Study] = {}

    def one(self, name: str) -> Contrast:
        """The contrast of a name."""
        return self.named[name][0]

    @cached_property
    def contrast(self) -> Contrast:
        """The contrast that selects heads: attention on queried items, or on the right box."""
        return heads.scored_by(self.named, SPAN if self.kind == LISTS else "order")

    @cached_property
    def scores(self) -> list[HeadScore]:
        return heads.kept(self.store, self.run, self.contrast)

    @cached_property
    def selected(self) -> list[HeadScore]:
        """Every head that the run's rule selects, best first."""
        return filter_heads(self.scores) if self.kind == LISTS else binding_heads(self.scores)

    @cached_property
    def heads(self) -> list[HeadScore]:
        """Those that are shown: at most MOST_HEADS of the selected ones, or the best head where none is."""
        return self.selected[:MOST_HEADS] or [heads.best(self.scores)]

    @property
    def best(self) -> HeadScore:
        return self.heads[0]

    @cached_property
    def categories(self) -> dict[str, Contrast]:
        """{name: contrast} of every category of a lists run."""
        return {c.name.removeprefix("category:"): c for c in self.named[SPAN]}

    @cached_property
    def five(self) -> dict[str, Contrast]:
        """The paper's five categories where the run has them, filled up in alphabetical order."""
        papers = [name for start in FIVE for name in self.categories if name.lower().startswith(start)]
        return {name: self.categories[name] for name in list(dict.fromkeys([*papers, *self.categories]))[:5]}

    @property
    def features(self) -> dict[str, Contrasts]:
        """What is swapped: order and lexical, or the span of the five categories."""
        if self.kind == LISTS:
            return {f"{len(self.five)} categories": tuple(self.five.values())}
        return {name: self.named[name] for name in ("order", "lexical")}

    def evidence(self, name: str, head: HeadScore) -> Evidence:
        key = name, head.layer, head.head
        if key not in self._evidence:
            self._evidence[key] = evidence(self.run, self.one(name), head.layer, head.head)
        return self._evidence[key]

    def variants(self, head: HeadScore) -> list[Variant]:
        """The text's definitions beside those of the authors' scripts.

        An empty list where the run has no contrast that both define.
        """
        at = head.layer, head.head
        if at not in self._variants:
            with suppress(ContrastError):
                self._variants[at] = variants(self.run, self.named, *at)
        return self._variants.get(at, [])

    def components(self, head: HeadScore) -> decomposition.Study:
        """What a head matches on, found without labels. Raises ContrastError where it has nothing to choose."""
        at = head.layer, head.head
        if at not in self._components:
            self._components[at] = decomposition.kept_study(self.store, self.run, *at)
        return self._components[at]

    def live(self) -> Live | None:
        """The kept live result of this run's features that is of the best head, and of the most queries."""
        features = {SPAN: self.named[SPAN]} if self.kind == LISTS else self.features
        kept = live.results(self.store, self.run, features, f"{self.best.layer}:{self.best.head}")
        return max(kept, key=lambda r: r.n, default=None)

    @property
    def at(self) -> str:
        """The best head's name, as figures and claims have it."""
        return head_name(self.best.layer, self.best.head)

    @property
    def judged(self) -> str:
        return split_name(analysis.judge_split(self.run))

    @property
    def built(self) -> str:
        return split_name(analysis.build_split(self.run))


def enough(n: int, what: str) -> None:
    """Raise ContrastError where there are fewer than PARTS of what a section is about: no interval comes of them."""
    if n < PARTS:
        raise ContrastError(f"too few {what} (n = {n}); an interval takes {PARTS} or more")
