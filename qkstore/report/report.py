"""The report on runs of the paper's language-model programme: every figure of sections 5.1–5.3, from a store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from qkstore.errors import ContrastError, RunError
from qkstore.report.attribution import attributions
from qkstore.report.components import components
from qkstore.report.document import Chapter, Document, Section
from qkstore.report.heads import heads
from qkstore.report.leak import leak
from qkstore.report.pictures import binding_pictures, category_pictures
from qkstore.report.ranks import binding_ranks, category_ranks, growths
from qkstore.report.study import BOXES, LISTS, Study
from qkstore.report.swaps import lived, swaps
from qkstore.report.variations import dosed, queried, varied
from qkstore.run import Run
from qkstore.run.task import SLOT, TRIED, task
from qkstore.store import Store
from qkstore.store.overview import query_tokens


class Planned(NamedTuple):
    """A section to be made: its name in the progress, and the title under which its absence is explained."""

    name: str
    absent: str
    make: Callable[[Study], Section]


HEADS = Planned("heads", "The map of all heads, the selected ones with intervals", heads)
SWAPS = (
    Planned("swaps", "L4, L9", swaps),
    Planned("lived", "What the catalogue keeps of swaps inside the running model, beside the closed form", lived),
)
VARIATIONS = (
    Planned("queried", "The query's counterpart of the swaps, at the best head", queried),
    Planned("dosed", "Attention as the keys' coordinates are exchanged little by little, at the best head", dosed),
    Planned("varied", "The text's definitions beside those of the authors' scripts", varied),
)
COMPONENTS = Planned(
    "components",
    "What the heads match on, found without labels: components, their names, their swaps",
    components,
)
SECTIONS: dict[str, tuple[Planned, ...]] = {
    LISTS: (
        HEADS,
        Planned("ranks", "L2", category_ranks),
        Planned("pictures", "L3", category_pictures),
        *SWAPS,
        *VARIATIONS,
        COMPONENTS,
    ),
    BOXES: (
        HEADS,
        Planned("ranks", "L6, L7", binding_ranks),
        Planned("leak", "What the order contrast holds of the fixed entity", leak),
        Planned("pictures", "L8", binding_pictures),
        *SWAPS,
        Planned("growths", "L10", growths),
        Planned(
            "attributions",
            "Bars of one prompt, box plots over all, explained shares with intervals, both orders of projection, "
            "random subspaces",
            attributions,
        ),
        *VARIATIONS,
        COMPONENTS,
    ),
}
MAKE = "The command python -m ingest paper makes such a run."
ABSENT = {
    LISTS: f"No run of lists was given, so L1–L4 are absent (the paper's Figures 6, 7 and 19). {MAKE}",
    BOXES: f"No run of boxes was given, so L5–L11 are absent (the paper's Figures 8–10, 16–18 and 20). {MAKE}",
}
ROUNDED = "a value is off by 1 of 65,534 parts of its vector's largest one at most (docs/storage.md)"
BY_CHANCE = "best by chance"
TITLES = {LISTS: "Categories", BOXES: "Binding"}
INTRO = (
    (
        "Every figure and number here is computed from the runs named below. "
        "Heads and subspaces are chosen and built on one split of prompts and judged on the other. "
        "Brackets are 95 % intervals: bootstrap over queries for attention and shares, Wilson for accuracies, "
        "jackknife over queries for what ΔC says; they do not cover another training of the model."
    ),
    (
        "The definitions are the paper's text (Lee, Belinkov, Viégas and Wattenberg, Decomposing Query-Key Feature "
        "Interactions Using Contrastive Covariances, 2026); those of the authors' scripts, where they differ, "
        "stand beside them. The paper's Figures 2–5 and 11–15 are of its toy task and not part of this report."
    ),
)
Progress = Callable[[int, int, str], None]


def report(store: Store, names: Sequence[str], progress: Progress | None = None) -> Document:
    """The document of the named runs, lists first. Raises RunError for a run that is not there, or of another kind."""
    studies = [Study(store, store.run(name)) for name in dict.fromkeys(names)]
    studies.sort(key=lambda s: s.kind != LISTS)
    total, done, chapters = sum(len(SECTIONS[s.kind]) for s in studies), 0, []
    for kind in (LISTS, BOXES):
        of_kind = [s for s in studies if s.kind == kind]
        for study in of_kind:
            sections = []
            for planned in SECTIONS[kind]:
                if progress:
                    progress(done, total, f"{study.run.name}: {planned.name}")
                sections.append(_section(study, planned))
                done += 1
            chapters.append(
                Chapter(study.run.name, f"{TITLES[kind]}: run {study.run.name}", facts(study), tuple(sections))
            )
        if not of_kind:
            chapters.append(
                Chapter(f"no-{kind}", TITLES[kind], {}, (Section(f"no-{kind}-why", "Absent", (ABSENT[kind],)),))
            )
    models = sorted({s.run.model for s in studies})
    return Document(f"Query–key features in {', '.join(models)}", INTRO, tuple(chapters))


def _section(study: Study, planned: Planned) -> Section:
    """A section, or why the run has none: too few prompts, or labels that it lacks."""
    try:
        made = planned.make(study)
    except (ContrastError, RunError) as error:
        return Section(f"{study.run.name}-{planned.name}", planned.absent, (f"This section is absent: {error}.",))
    return made if study.selected or planned is HEADS else _unselected(study, made)


def _unselected(study: Study, made: Section) -> Section:
    """A section of a run that has no head of the kind, which says so above its figures and in its claims."""
    warning = (
        f"No head of this run is selected. These are figures of {study.at}, the best of {len(study.scores)} heads on "
        f"the {study.built} split, where chance alone makes one best; they are evidence of no feature."
    )
    claims = tuple(
        replace(c, measured=f"no head is selected; {study.at}, {BY_CHANCE}: {c.measured}") for c in made.claims
    )
    return replace(made, parts=(warning, *made.parts), claims=claims)


def facts(study: Study) -> dict[str, str]:
    """What a run is, for the top of its chapter."""
    run = study.run
    counts = {
        r["what"]: r["n"]
        for r in run.table(
            "SELECT split || ' ' || coalesce(variant, '') AS what, count(*) AS n FROM prompt GROUP BY 1 ORDER BY 1 DESC"
        ).to_pylist()
    }
    found = task(run)
    return {
        "the task": found.sentence if found else "The run does not say what the model answers.",
        "model": f"{run.model}, {run.architecture}",
        "task": str(run.task),
        "prompts": f"{run.n_prompts:,}: " + ", ".join(f"{what.strip()} {n:,}" for what, n in counts.items()),
        "heads": (
            f"{len(run.layers)} layers stored, {run.n_heads} heads a layer over {run.n_kv_heads} KV heads, "
            f"d_head {run.d_head}"
        ),
        "vectors": f"{run.n_queries:,} queries and {run.n_keys:,} keys a head, {_numbers(run)}",
        "query token": query_tokens(run),
        "built on, judged on": f"{study.built}, {study.judged}",
        "answer slot": _slot(run.settings.get("slot"), run.measures),
        "labelled words": _words(run.measures),
        "weights": str(run.weights_hash)[:12],
        "ingested": f"{run.created:%Y-%m-%d %H:%M} UTC",
    }


def _numbers(run: Run) -> str:
    """The type of the forward pass, and how its vectors are stored where that is another."""
    rounding = run.manifest.rounding
    return f"{run.dtype}; {rounding}: {ROUNDED}" if rounding else run.dtype


def _slot(slot: str | None, measures: dict[str, float]) -> str:
    """Where the model was asked, and how often it answered rightly at each place that was tried."""
    if not slot:
        return "–"  # a run made before there were several
    right = {name.removeprefix(SLOT): share for name, share in measures.items() if name.startswith(SLOT)}
    shares = ", ".join(f"{name} {share:.0%}" for name, share in sorted(right.items(), key=lambda item: -item[1]))
    return (
        f"{slot}: the best on {measures[TRIED]:.0f} train prompts, by what is answered rightly ({shares})"
        if right
        else slot
    )


def _words(measures: dict[str, float]) -> str:
    """How many labelled words the tokenizer splits; a dash for a run that does not say."""
    total, split = measures.get("labelled words"), measures.get("of them more than one token")
    if total is None or split is None:
        return "–"
    return f"{total:,.0f}; {split:,.0f} are more than one token, whose last piece stands for them"
