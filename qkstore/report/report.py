"""The report on runs of the paper's language-model programme: every figure of sections 5.1–5.3, from a store."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from qkstore.errors import ContrastError, RunError
from qkstore.report.attribution import attributions
from qkstore.report.document import Chapter, Document, Section
from qkstore.report.heads import heads
from qkstore.report.leak import leak
from qkstore.report.pictures import binding_pictures as box_pictures
from qkstore.report.pictures import category_pictures
from qkstore.report.ranks import binding_ranks as box_ranks
from qkstore.report.ranks import category_ranks, growths
from qkstore.report.study import BOXES, LISTS, Study
from qkstore.report.swaps import lived, swaps
from qkstore.report.variations import dosed, queried, varied
from qkstore.store import Store
from qkstore.store.overview import query_tokens

SECTIONS: dict[str, tuple[Callable[[Study], Section], ...]] = {
    LISTS: (heads, category_ranks, category_pictures, swaps, lived, queried, dosed, varied),
    BOXES: (heads, box_ranks, leak, box_pictures, swaps, lived, growths, attributions, queried, dosed, varied),
}
MAKE = "The command python -m ingest paper makes such a run."
ABSENT = {
    LISTS: f"No run of lists was given, so L1–L4 are absent (the paper's Figures 6, 7 and 19). {MAKE}",
    BOXES: f"No run of boxes was given, so L5–L11 are absent (the paper's Figures 8–10, 16–18 and 20). {MAKE}",
}
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
            for make in SECTIONS[kind]:
                if progress:
                    progress(done, total, f"{study.run.name}: {make.__name__}")
                sections.append(_section(study, make))
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


def _section(study: Study, make: Callable[[Study], Section]) -> Section:
    """A section, or why the run has none: too few prompts, or labels that it lacks."""
    try:
        return make(study)
    except (ContrastError, RunError) as error:
        title = (make.__doc__ or make.__name__).split(":")[0].rstrip(".")
        return Section(f"{study.run.name}-{make.__name__}", title, (f"This section is absent: {error}.",))


def facts(study: Study) -> dict[str, str]:
    """What a run is, for the top of its chapter."""
    run = study.run
    counts = {
        r["what"]: r["n"]
        for r in run.table(
            "SELECT split || ' ' || coalesce(variant, '') AS what, count(*) AS n FROM prompt GROUP BY 1 ORDER BY 1 DESC"
        ).to_pylist()
    }
    return {
        "model": f"{run.model}, {run.architecture}",
        "task": str(run.task),
        "prompts": f"{run.n_prompts:,}: " + ", ".join(f"{what.strip()} {n:,}" for what, n in counts.items()),
        "heads": (
            f"{len(run.layers)} layers stored, {run.n_heads} heads a layer over {run.n_kv_heads} KV heads, "
            f"d_head {run.d_head}"
        ),
        "vectors": f"{run.n_queries:,} queries and {run.n_keys:,} keys a head, {run.dtype}",
        "query token": query_tokens(run),
        "built on, judged on": f"{study.built}, {study.judged}",
        "weights": str(run.weights_hash)[:12],
        "ingested": str(run.created),
    }
