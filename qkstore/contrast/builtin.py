"""The built-in contrasts: the paper's text's, the authors' scripts' (authors/…), and those of known head types."""

from __future__ import annotations

from collections.abc import Sequence

from qkstore.contrast import known
from qkstore.contrast.contrast import Contrast
from qkstore.contrast.fit import misfit
from qkstore.errors import ContrastError, near
from qkstore.run import Run

AUTHOR = "qkstore"
FOUND = "found-"  # how the names begin that labelled discovery gives; they are asked for, or saved, by that
SLOT_AND_BOX = "q.role = 'answer_slot' and q.span_last and k.role = 'box' and k.span_last"
ITEMS = "k.prompt_id = q.prompt_id and q.role = 'answer_slot' and q.span_last and k.role = 'item' and k.span_last"

ORDER = Contrast(
    name="order",
    where=(
        f"k.prompt_id = q.prompt_id and {SLOT_AND_BOX} "
        "and (q.variant = 'fixed' or (q.split = 'test' and q.variant = 'base'))"
    ),
    positive="k.order_id = q.queried_order",
    negative="k.order_id <> q.queried_order",
    description=(
        "Order-ID (section 5.2): the box at the queried order against the other boxes, "
        "from prompts with one set of entities and one queried entity."
    ),
    author=AUTHOR,
)
LEXICAL = Contrast(
    name="lexical",
    where=f"{SLOT_AND_BOX} and q.variant = 'base' and k.order_id = q.queried_order",
    positive="k.prompt_id = q.prompt_id",
    negative="k.prompt_id = q.counterfactual_id",
    description=(
        "Lexical (section 5.2): the queried entity's box against the same box where that entity is replaced; "
        "one query for both keys."
    ),
    author=AUTHOR,
)
REFLEXIVE = Contrast(
    name="reflexive",
    where=f"{SLOT_AND_BOX} and q.variant = 'base' and k.order_id = q.queried_order",
    positive="k.prompt_id = q.prompt_id",
    negative="k.counterfactual_id = q.prompt_id and k.variant = 'reflexive'",
    description=(
        "Reflexive (appendix E): the queried entity's box against another box in its place; one query for both keys."
    ),
    author=AUTHOR,
)
RIGHT_BOX = Contrast(  # in prompts whose entities all differ, so that no one entity stands for all
    name="right-box",
    where=f"k.prompt_id = q.prompt_id and {SLOT_AND_BOX} and q.variant = 'base'",
    positive="k.entity = q.queried_entity",
    negative="k.entity <> q.queried_entity",
    description="The queried entity's box against the other boxes, in base prompts: what chooses binding heads.",
    author=AUTHOR,
)
CATEGORY = Contrast(
    name="category",
    where=ITEMS,
    positive="k.category = q.queried_category",
    negative="k.category <> q.queried_category",
    description=(
        "Category (section 5.1), all queried categories pooled: items of the queried category against the other items."
    ),
    author=AUTHOR,
)

SIGN = "CASE WHEN k.order_id = q.queried_order THEN 1 ELSE -1 END AS sign"
ELSEWHERE = Contrast(  # each query of the train split with one other prompt: its boxes against each other, as in ORDER
    name="order-elsewhere",
    pairs=(
        f"SELECT q.query_row, k.key_row, {SIGN}\n"
        "FROM (SELECT *, row_number() OVER (ORDER BY query_row) AS place FROM q "
        "WHERE variant = 'fixed' AND role = 'answer_slot' AND span_last) AS q\n"
        "JOIN (SELECT *, dense_rank() OVER (ORDER BY prompt_id) AS place FROM k "
        "WHERE variant = 'base' AND split = 'train' AND role = 'box' AND span_last) AS k\n"
        "  ON k.place = q.place\n"
        "LEFT JOIN (SELECT DISTINCT prompt_id, entity FROM k) AS held "
        "ON held.prompt_id = k.prompt_id AND held.entity = q.queried_entity\n"
        "WHERE held.prompt_id IS NULL\n"
        "UNION ALL\n"
        f"SELECT q.query_row, k.key_row, {SIGN}\n"
        "FROM q JOIN k ON k.prompt_id = q.prompt_id "
        f"WHERE {SLOT_AND_BOX} AND q.split = 'test' AND q.variant = 'base'"
    ),
    description=(
        "Order-ID with the boxes of another prompt, one that lacks the queried entity: "
        "no box carries what the query looks for, so nothing leaks."
    ),
    author=AUTHOR,
)

BOXES = (
    ORDER,
    ORDER.replace(
        name="order-centred",
        centring="queries",
        description=ORDER.description + " Queries centred, which removes the leak of the queried entity.",
    ),
    ELSEWHERE,
    LEXICAL,
    LEXICAL.replace(
        name="lexical-centred",
        centring="queries",
        description=LEXICAL.description + " Queries centred, which removes what the mean query makes of noise in keys.",
    ),
    ORDER.replace(
        name="authors/order",
        weighting="query",
        description="The authors' script for order-ID: the mean over negatives is taken per prompt.",
    ),
    LEXICAL.replace(
        name="authors/lexical",
        where=f"k.prompt_id = q.prompt_id and {SLOT_AND_BOX} and k.order_id = q.queried_order",
        positive="q.variant = 'base'",
        negative="q.variant = 'counterfactual'",
        description=(
            "The authors' script for lexical: the negative's query comes from the counterfactual too, "
            "a matched pair again."
        ),
    ),
)


def latent(name: str, variant: str = "triplet") -> Contrast:
    """Return the contrast of one latent (z1 or z2) of a toy head: keys with the query's value of it against others.

    Section 3. It is built on the prompts of `variant` that vary this latent, and judged in whole contexts, where only
    the key that is sought is positive, as others may share the value by chance. variant: "triplet", or "exact" for
    triplets that share everything else too.
    """
    return Contrast(
        name=name if variant == "triplet" else f"{variant}/{name}",
        where=(
            "k.prompt_id = q.prompt_id "
            f"and ((q.variant = '{variant}' and q.factor = '{name}') or q.variant = 'context') "
            f"and (k.side = 'positive' or k.{name} <> q.{name})"
        ),
        positive=f"k.{name} = q.{name}",
        negative=f"k.{name} <> q.{name}",
        description=f"Latent {name} of a toy head (section 3): from triplets whose two keys share "
        + (
            "the other latent."
            if variant == "triplet"
            else "everything else, payload and noise too, so that ΔC has no noise."
        ),
        author=AUTHOR,
    )


LATENTS = (latent("z1"), latent("z2"), latent("z1", "exact"), latent("z2", "exact"))


def category(name: str | int | float | bool) -> Contrast:
    """Return the contrast of one category (section 5.1): its items against the others, in prompts that ask for it."""
    value = str(name).replace("'", "''")
    return CATEGORY.replace(
        name=f"category:{name}",
        where=f"{ITEMS} and q.queried_category = '{value}'",
        description=f"Category {name} (section 5.1): its items against the other items, in prompts that ask for it.",
    )


def authors_category(name: str | int | float | bool) -> Contrast:
    """Return the authors' script's contrast of one category: positives and negatives are summed, not averaged."""
    return category(name).replace(
        name=f"authors/category:{name}",
        weighting="sum",
        description=f"The authors' script for category {name}: sums over items where the text takes expectations.",
    )


def chooser(contrast: Contrast) -> Contrast:
    """Return the contrast whose pairs choose the heads for another: the right box for the binding ones, else itself.

    The order contrasts are built on prompts of one queried entity, and what finds its box need not find others';
    the lexical ones have two keys a query, of which chance picks the right one half of the time.
    """
    return RIGHT_BOX if contrast.key in {c.key for c in (*BOXES, REFLEXIVE)} else contrast


def taken(name: str) -> bool:
    """Return whether a name is a built-in contrast's on any run.

    A contrast saved under such a name would replace the built-in for everybody.
    """
    return (
        name in {CATEGORY.name, *(c.name for c in (*BOXES, REFLEXIVE, *LATENTS, *known.KNOWN))}
        or name.startswith(("authors/", "category:"))
        or name.endswith(":*")
    )


def contrasts(run: Run) -> list[Contrast]:
    """Return the built-in contrasts whose labels the run has, then those of known head types, if it has every key."""
    q, k = set(run.columns["q"]), set(run.columns["k"])
    built_in: list[Contrast] = []
    if {"queried_order", "counterfactual_id"} <= q and "order_id" in k:
        built_in += BOXES
        built_in += [REFLEXIVE] * ("reflexive" in run.values("variant", "q"))
    if {"factor", "z1", "z2"} <= q and "side" in k:
        built_in += LATENTS
    if "queried_category" in q and "category" in k:
        names = run.values("queried_category", "q")
        built_in += [CATEGORY, *(category(n) for n in names), *(authors_category(n) for n in names)]
    return built_in + known.contrasts(run)


def features(run: Run, saved: Sequence[Contrast] = ()) -> dict[str, tuple[Contrast, ...]]:
    """Return {name: its contrasts} of everything that can be asked of a run: built-in, and saved that fit it.

    A name has one contrast, except `category:*`, which has those of all categories: their subspaces' span. A saved
    contrast hides a built-in of its name, in that span too.
    """
    built_in = [c.name for c in contrasts(run)]
    named: dict[str, tuple[Contrast, ...]] = {
        c.name: (c,) for c in (*contrasts(run), *(c for c in saved if not misfit(run, c)))
    }
    members = tuple(named[name][0] for name in built_in if name.startswith("category:"))
    if members:
        named.setdefault("category:*", members)
    return named


def feature(run: Run, name: str, saved: Sequence[Contrast] = ()) -> tuple[Contrast, ...]:
    """Return the contrasts that a name stands for, one or several (see `features`).

    Raises ContrastError, with what the run lacks for one of a known head type, or the names there are.
    """
    named = features(run, saved)
    if name in named:
        return named[name]
    if reason := name in known.BY_NAME and known.lacking(run, known.BY_NAME[name]):
        raise ContrastError(f"contrast {name!r} does not fit run {run.name!r}: {reason}")
    if (base := name.rpartition("@")[0]) in {c.name for c in contrasts(run)}:
        raise ContrastError(f"contrast {base!r} is built in and has no versions, so no {name!r}: leave out the @")
    unsaved = f"; python -m qkstore discover --run {run.name} --save {name} saves it, if it was found"
    told = unsaved if name.startswith(FOUND) else ""
    raise ContrastError(f"no contrast {name!r} for run {run.name!r}; {near(name, named)}{told}")
