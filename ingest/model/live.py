"""Live interventions: the paper's swaps inside the running model, over the closed form's queries and keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import polars as pl
import torch

from ingest.model import effect, sides
from ingest.model.edit import Case, Editor, Edits, Head, Pass, Rows
from ingest.model.effect import Effect, Moved
from ingest.model.model import Model
from qkstore import analysis, intervention
from qkstore.analysis import live
from qkstore.analysis.decomposition.swaps import draw
from qkstore.analysis.live import Features, Live, Outcome
from qkstore.analysis.plans import ComponentGroups, Plan, feature_plans
from qkstore.analysis.targets import Targets, visible_targets
from qkstore.errors import ContrastError, ModelError
from qkstore.intervention import Swap
from qkstore.run import Run
from qkstore.store import Store
from qkstore.store.source import code_key

Progress = Callable[[str, int, int], None]
EQUAL = 32  # prompts of the two passes that ought to be equal


def intervene(
    store: Store,
    run: Run,
    model: Model,
    features: Features,
    heads: Sequence[Head],
    rows: Rows = "last",
    bases: int = 10,
    most: int = 1000,
    seed: int = 0,
    batch_size: int = 32,
    progress: Progress | None = None,
    components: ComponentGroups | None = None,
) -> Live:
    """Swap keys (eq. 8–10) of all `heads` together in the running model.

    They swap in each feature's subspace, in all together, and in random ones; or in groups of the heads' components, in
    all of them, in everything but them, and in random ones; or, of the same keys, in both. `model` is loaded with its
    LM head; queries, originals and targets are those of qkstore.analysis.intervene with the same most and seed, random
    bases too; without features those of qkstore.analysis.decomposition. A result that is in the catalogue already is
    not computed again. Raises ModelError for a model of other weights than the run's, RunError for heads that are not
    there, ContrastError where there is nothing to swap.
    """
    heads = sorted(set(heads))
    asked = question(run, model, features, heads, rows, bases, most, seed, components)
    result = live.kept(store, asked)
    if result is None:
        tell = progress or (lambda *_: None)
        result = _Work(run, model, features, heads, asked, batch_size, tell, components).result()
        live.keep(store, result)
    return result


def question(
    run: Run,
    model: Model,
    features: Features,
    heads: Sequence[Head],
    rows: Rows,
    bases: int,
    most: int,
    seed: int,
    components: ComponentGroups | None = None,
) -> Live:
    """The result without its numbers: all that decides them, checked before anything slow is begun.

    Raises what `check` raises, and ModelError for a model of other weights than the run's.
    """
    check(run, heads, bases)
    if model.weights_hash != run.weights_hash:
        raise ModelError(
            f"run {run.name!r} was made with {run.model!r} of weights {run.weights_hash[:12]}, "
            f"model {model.name!r} has {model.weights_hash[:12]}: give --model the one the run was made with"
        )
    return Live(
        run.name,
        list(run.identity),
        model.weights_hash,
        live.keys(features),
        [f"{layer}:{head}" for layer, head in heads],
        rows,
        model.dtype,
        model.device,
        analysis.judge_split(run),
        most,
        seed,
        bases,
        code=code_key(*live.CODE),
        components=components.told if components else None,
    )


def check(run: Run, heads: Sequence[Head], bases: int) -> None:
    """Check what can be checked without a model.

    Raises ModelError where no head is named, RunError for one that the run does not have, ContrastError for too few
    bases.
    """
    if not heads:
        raise ModelError("no head to edit; choose --heads 1:0,1:2 or --layer 1")
    for layer, head in heads:
        run.layer(layer, head)
    if bases < intervention.LEAST_BASES:
        raise ContrastError(f"a random baseline needs {intervention.LEAST_BASES} or more random subspaces, not {bases}")


class _Work:
    """The computation of one result: all passes over all prompts, then a condition for each plan."""

    def __init__(
        self,
        run: Run,
        model: Model,
        features: Features,
        heads: list[Head],
        asked: Live,
        batch_size: int,
        progress: Progress,
        components: ComponentGroups | None,
    ):
        self.run, self.model, self.heads, self.asked = run, model, heads, asked
        self.batch_size, self.progress = batch_size, progress
        self.editor = Editor(model.net, heads[0][0], asked.rows)
        self.targets = _targets(run, features, heads, asked, components)
        self.plans = _plans(run, features, heads, asked, components)
        self.cases, self.ids = _cases(run, self.targets)
        self.editor.forward.settle([case.ids for case in self.cases])
        self.unanswered = effect.unanswered(run, model.tokenizer, self.targets, self.cases, self.ids)
        every = [(n, head) for n, layer in sorted(self.editor.layers.items()) for head in range(layer.n_heads)]
        self.later = [(n, head) for n, head in every if n > heads[0][0] and (n, head) not in heads]

    def result(self) -> Live:
        batches = sides.batches([len(c.ids) for c in self.cases], self.batch_size, self.editor.forward.sides)
        noise, done = self.noise(), 0
        passes = [{}, *(edits for plan in self.plans for edits in plan.edits)]
        seen = [Effect(len(self.cases), self.heads, self.later) for _ in passes]
        for chosen in batches:
            for shown, into in zip(self.passes_over(chosen, passes), seen, strict=True):
                into.put(chosen, shown, None if self.unanswered else self.ids)
                done += 1
                self.progress("intervene", done, len(batches) * len(passes))
        self.progress("intervene", done, done)
        before, rest = seen[0], iter(seen[1:])
        after = [[next(rest) for _ in plan.edits] for plan in self.plans]
        moved = [self.moved(plan, before, each) for plan, each in zip(self.plans, after, strict=True)]
        half = len(self.plans) // 2  # features, then the random ones of their ranks
        conditions = tuple(
            self.outcome(plan, before, after[i], moved[i], moved[half + i] if i < half else None)
            for i, plan in enumerate(self.plans)
        )
        return replace(
            self.asked,
            n=len(self.cases),
            hidden=self.targets.hidden,
            gap=max(self.gap(each) for each in moved),
            noise=noise,
            unanswered=self.unanswered,
            conditions=conditions,
        )

    def passes_over(self, chosen: Sequence[int], each: Sequence[Edits]) -> Iterator[Pass]:
        cases = [self.cases[i] for i in chosen]
        try:
            yield from self.editor.passes(cases, each)
        except torch.OutOfMemoryError:
            size = f"{len(cases)} prompts of up to {max(len(c.ids) for c in cases)} tokens"
            raise ModelError(f"{size} need more memory than there is; use a smaller --batch-size") from None

    def moved(self, plan: Plan, before: Effect, after: list[Effect]) -> Moved:
        """What each of a plan's edits did."""
        return Moved(
            {h: [effect.swap(before.edited[:, i], a.edited[:, i]) for a in after] for i, h in enumerate(self.heads)},
            {
                h: analysis.swapper(analysis.Head(self.run, *h), self.targets).through([e[h] for e in plan.edits])
                for h in self.heads
            },
            [effect.swap(before.downstream, a.downstream) for a in after] if self.later else None,
        )

    def gap(self, moved: Moved) -> float:
        """The largest |live − closed form| of attention in the first edited layer."""
        first = [head for head in self.heads if head[0] == self.heads[0][0]]
        return max(effect.gap(a, b) for h in first for a, b in zip(moved.live[h], moved.closed[h], strict=True))

    def outcome(
        self, plan: Plan, before: Effect, after: list[Effect], moved: Moved, at_random: Moved | None
    ) -> Outcome:
        """One condition; a feature's beside what random subspaces of its rank did."""
        ranks = {name_of(head): plan.ranks[head] for head in self.heads}

        def told(kind: str) -> dict[str, intervention.Condition]:
            others = getattr(at_random, kind) if at_random else dict.fromkeys(self.heads)
            swaps = getattr(moved, kind)
            return {name_of(h): self.summary(plan, swaps[h], ranks[name_of(h)], others[h]) for h in self.heads}

        others = at_random.downstream if at_random else None
        down = self.summary(plan, moved.downstream, 0, others) if moved.downstream else None
        said = None if self.unanswered else live.answers(before.replies, [a.replies for a in after], self.asked.seed)
        each, bases = effect.later(self.later, before, after), len(after) if plan.random else None
        return Outcome(plan.name, bases, ranks, told("live"), told("closed"), down, each, said)

    def summary(self, plan: Plan, swaps: list[Swap], rank: int, at_random: list[Swap] | None) -> intervention.Condition:
        if plan.random:
            return intervention.random_summary(plan.name, swaps, rank, self.asked.seed)
        made = intervention.summary(plan.name, swaps[0], rank, self.asked.seed)
        return replace(made, beyond=intervention.beyond(swaps[0], at_random, self.asked.seed) if at_random else None)

    def noise(self) -> dict[str, float | None]:
        """The largest differences between two passes without edits that ought to be equal.

        One of them runs beside a longer prompt, by the eager kernel. Whatever an edit does below these is rounding.
        """
        side, first = self.editor.forward.sides, len(self.cases[0].ids)
        chosen = [i for i, c in enumerate(self.cases) if side(len(c.ids)) == side(first)][:EQUAL]
        cases = [self.cases[i] for i in chosen]
        longer = replace(cases[0], ids=cases[0].ids + cases[0].ids[-1:] * 5)
        beside = [longer] if side(len(longer.ids)) == side(first) else []
        pair = [Effect(len(chosen), self.heads, self.later) for _ in range(2)]
        passes = self.editor(cases), self.editor([*cases, *beside], kernel="eager").first(len(cases))
        for shown, into in zip(passes, pair, strict=True):
            into.put(chosen, shown, None if self.unanswered else self.ids)
        attention = np.abs(pair[0].edited - pair[1].edited).max()
        difference = (
            None if self.unanswered else float(np.abs(pair[0].replies.difference - pair[1].replies.difference).max())
        )
        return {"attention": float(attention), "difference": difference}


def _targets(
    run: Run, features: Features, heads: Sequence[Head], asked: Live, components: ComponentGroups | None
) -> Targets:
    """The keys that swap: those of the features' contrasts, without features those that the heads chose."""
    if not features:
        assert components is not None, "there are features, components, or both"
        return draw(list(components.found.values()), asked.most, asked.seed)
    contrasts = tuple(c for cs in features.values() for c in cs)
    edited = [run.layer(layer) for layer in sorted({layer for layer, _ in heads})]
    return visible_targets(run, contrasts, edited, asked.split, asked.most, asked.seed)


def _plans(
    run: Run, features: Features, heads: Sequence[Head], asked: Live, components: ComponentGroups | None
) -> list[Plan]:
    """What is swapped, features before groups of components; then the random ones of each, in the same order."""
    plans: list[Plan] = []
    if features:
        spaces = {head: analysis.subspaces(run, features, *head) for head in heads}
        plans = feature_plans(run.d_head, spaces, asked.bases, asked.seed)
    if components:
        plans += components.plans(asked.bases, asked.seed)
    return sorted(plans, key=lambda plan: plan.random)


def _cases(run: Run, targets: Targets) -> tuple[list[Case], np.ndarray]:
    """The prompt of every query with its positions, and (n, 2) token ids of its original and target key."""
    prompts, places = run.query_places[0][targets.query], run.key_places[1]
    sql = "SELECT prompt_id, pos, token_id FROM token WHERE prompt_id IN (SELECT unnest(?)) ORDER BY prompt_id, pos"
    tokens = pl.from_arrow(run.table(sql, [np.unique(prompts).tolist()]))
    ids = {int(prompt): part["token_id"].to_list() for (prompt,), part in tokens.group_by("prompt_id")}
    each = zip(
        prompts, run.query_places[1][targets.query], places[targets.original], places[targets.target], strict=True
    )
    cases = [Case(ids[int(prompt)], int(query), int(original), int(aimed)) for prompt, query, original, aimed in each]
    return cases, np.array([(c.ids[c.original], c.ids[c.target]) for c in cases], np.int64)


def name_of(head: Head) -> str:
    return f"{head[0]}:{head[1]}"
