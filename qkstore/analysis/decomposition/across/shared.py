"""Which heads of a run read the same feature: their components, clustered by what they score alike."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np

from qkstore.analysis.decomposition.across.counted import HeadCount
from qkstore.analysis.decomposition.found import sights
from qkstore.analysis.decomposition.sight import Sight, default_where
from qkstore.analysis.head import Head
from qkstore.analysis.heads.group import groups
from qkstore.components import STRONG, AttentionContrast, components
from qkstore.components.likeness import clustered, likeness
from qkstore.errors import ContrastError, StoreError
from qkstore.run import Run
from qkstore.store import Store
from qkstore.store.catalog.rows import built
from qkstore.store.source import code_key

KIND = "clusters of components"
QUERIES, KEYS = 2_000, 4_000  # of the judged split, at most, that scores are compared on
MOST = 3_000  # components: their likenesses to each other take 36 MB
REPAIRS = 19
At = tuple[int, int]  # (layer, head)
Progress = Callable[[int, int], None]  # called with (heads done, heads in all)


class Member(NamedTuple):
    """One component of a cluster: of layer, head, its number there, and its correlation on the judged split."""

    cluster: int
    layer: int
    head: int
    component: int
    rho: float


@dataclass(frozen=True)
class Clusters:
    """Components of all heads of a run, in clusters of those that score the same queries and keys alike.

    members: of cluster 0, the largest, first. within: (clusters,) the smallest likeness between two of a cluster, 1 of
    one alone. threshold, chance: see qkstore.components.likeness. left_out: components that had no room. n_queries,
    n_keys: that scores were compared on, of split.
    """

    members: tuple[Member, ...]
    within: tuple[float, ...]
    threshold: float
    chance: float
    repairs: int
    left_out: int
    n_queries: int
    n_keys: int
    split: str | None

    def __len__(self) -> int:
        return len(self.within)

    def of(self, cluster: int) -> list[Member]:
        """The components of a cluster."""
        return [m for m in self.members if m.cluster == cluster]

    @property
    def shared(self) -> list[int]:
        """The clusters that several heads have a part in, the largest first."""
        return [c for c in range(len(self)) if len({(m.layer, m.head) for m in self.of(c)}) > 1]

    def to_dict(self) -> dict:
        return asdict(self) | {"members": [list(m) for m in self.members]}

    @classmethod
    def from_dict(cls, found: dict) -> Clusters:
        """From to_dict, also after a way through JSON."""
        return cls(**found | {"members": tuple(Member(*m) for m in found["members"]), "within": tuple(found["within"])})


def clusters(
    run: Run,
    rows: Sequence[HeadCount],
    where: str | None = None,
    repairs: int = REPAIRS,
    seed: int = 0,
    progress: Progress | None = None,
) -> Clusters:
    """Cluster the components of all heads by what they score alike, on queries and keys of the judged split.

    rows: what `counts` says of the run under the same condition and seed. Only components whose correlation on the
    judged split is above STRONG have a part, MOST of them at most, those of the largest correlations. repairs: times
    that prompts are paired anew, which tells how alike chance makes the two most alike ones. Raises ContrastError where
    no component is left.
    """
    from threadpoolctl import threadpool_limits

    strong = sorted(((rho, r.layer, r.head, j) for r in rows for j, rho in enumerate(r.rho) if rho > STRONG))[::-1]
    if not strong:
        raise ContrastError(f"no head of run {run.name!r} has a component that its judged split confirms")
    kept = sorted((layer, head, j, rho) for rho, layer, head, j in strong[:MOST])
    heads = list(dict.fromkeys(m[:2] for m in kept))
    counted = {(r.layer, r.head): r.number for r in rows if (r.layer, r.head) in heads}
    built_on, judged = sights(run, where)
    sample, columns = Sample.of(judged, seed), []
    with threadpool_limits(1, "blas"):
        for done, (at, *sides) in enumerate(_scores(built_on, sample, counted, seed), 1):
            columns.append([side[:, [m[2] for m in kept if m[:2] == at]] for side in sides])
            if progress:
                progress(done, len(heads))
        query, key = (np.concatenate(side, axis=1) for side in zip(*columns, strict=True))
        whose = np.array([heads.index(m[:2]) for m in kept])
        found = likeness(query, key, whose, [sample.anew(repair, seed) for repair in range(repairs)])
        number = clustered(found.value, found.threshold)
    members = [Member(int(c), *m) for c, m in zip(number, kept, strict=True)]
    places = [np.flatnonzero(number == c) for c in range(number.max() + 1)]
    within = [float(found.value[np.ix_(at, at)].min()) for at in places]
    return Clusters(
        tuple(sorted(members)), tuple(within), found.threshold, found.chance, repairs, len(strong) - len(kept),
        len(query), len(key), sample.split,
    )  # fmt: skip


def kept_clusters(
    store: Store,
    run: Run,
    rows: Sequence[HeadCount],
    where: str | None = None,
    repairs: int = REPAIRS,
    seed: int = 0,
    progress: Progress | None = None,
) -> Clusters:
    """The same as `clusters`, computed once for all who use a store: its catalogue keeps it."""
    if found := known_clusters(store, run, rows, where, repairs, seed):
        return found
    asked = clusters_key(run, rows, where, repairs, seed)
    made = clusters(run, rows, where, repairs, seed, progress)
    with suppress(StoreError):  # a store that one may only read still answers
        store.catalog.keep_result(asked, KIND, run.name, "", made.to_dict(), content=run.digest, code=code_key()[:16])
    return made


def known_clusters(
    store: Store,
    run: Run,
    rows: Sequence[HeadCount],
    where: str | None = None,
    repairs: int = REPAIRS,
    seed: int = 0,
) -> Clusters | None:
    """What a catalogue keeps of `clusters`, or None."""
    return built(Clusters.from_dict, store.catalog.result(clusters_key(run, rows, where, repairs, seed)))


def clusters_key(
    run: Run, rows: Sequence[HeadCount], where: str | None = None, repairs: int = REPAIRS, seed: int = 0
) -> str:
    """What the clusters are kept under: a hash of all that decides them, which names do not."""
    of = [(row.layer, row.head, row.number, row.rho) for row in rows]
    decided = (KIND, run.identity, where or default_where(run), of, repairs, seed, code_key())
    return hashlib.sha256(repr(decided).encode()).hexdigest()


@dataclass(frozen=True)
class Sample:
    """Queries and keys of a split that scores are compared on: those of whole prompts, drawn at random.

    query: (n,), key: (l,) rows of the store, prompt after prompt. queries, keys: their places in blocks of prompts of
    one shape, (b, i) and (b, j).
    """

    query: np.ndarray
    key: np.ndarray
    queries: tuple[np.ndarray, ...]
    keys: tuple[np.ndarray, ...]
    split: str | None

    @classmethod
    def of(cls, sight: Sight, seed: int = 0) -> Sample:
        """At most QUERIES queries and KEYS keys, without unlabelled first tokens, which `sight` leaves out too."""
        rng = np.random.default_rng(seed)
        query, queries = _drawn([b.query for b in sight.blocks], QUERIES, rng)
        key, keys = _drawn([_choosable(sight, b.key) for b in sight.blocks], KEYS, rng)
        return cls(query, key, queries, keys, sight.split)

    def anew(self, repair: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """The (n,) queries and (l,) keys that take the places of these when prompts of one shape are shifted.

        A prompt whose shape no other one has keeps its place, which makes chance larger.
        """
        rng = np.random.default_rng([seed, repair])
        return _shifted(self.queries, rng), _shifted(self.keys, rng)

    def centred(self, scores: np.ndarray) -> np.ndarray:
        """Scores of the keys, (l, r), less their mean over each prompt."""
        centred = np.empty_like(scores)
        for at in self.keys:
            centred[at] = scores[at] - scores[at].mean(axis=1, keepdims=True)
        return centred


def _choosable(sight: Sight, key: np.ndarray) -> np.ndarray:
    """(b, j) keys of prompts of one shape without the column of first tokens that have no role."""
    first = (sight.run.key_places[1][key] == 0) & sight.unlabelled[key]
    return key[:, ~first.any(axis=0)]


def _drawn(blocks: Sequence[np.ndarray], most: int, rng: np.random.Generator) -> tuple[np.ndarray, tuple]:
    """Rows of whole prompts, `most` at most but two prompts at the least; and each block's places among them."""
    of = np.repeat(np.arange(len(blocks)), [len(b) for b in blocks])
    order = rng.permutation(len(of))
    sizes = np.array([b.shape[1] for b in blocks])[of]
    room = np.cumsum(sizes[order]) <= most
    room[:2] = True
    taken = np.zeros(len(of), bool)
    taken[order[room]] = True
    rows = [b[taken[of == i]] for i, b in enumerate(blocks)]
    ends = np.cumsum([0, *(r.size for r in rows)])
    places = tuple(np.arange(start, start + r.size).reshape(r.shape) for start, r in zip(ends, rows) if r.size)
    return np.concatenate([r.ravel() for r in rows]), places


def _shifted(places: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    shifts = [int(rng.integers(1, len(at))) if len(at) > 1 else 0 for at in places]
    return np.concatenate([np.roll(at, shift, axis=0).ravel() for at, shift in zip(places, shifts, strict=True)])


def _scores(
    built_on: Sight, sample: Sample, counted: Mapping[At, int], seed: int
) -> Iterator[tuple[At, np.ndarray, np.ndarray]]:
    """Each head of counted: {(layer, head): number of its components} with its (n, r) query and (l, r) key scores."""
    run = built_on.run
    for layer, heads in ((layer, heads) for layer in run.layers for heads in groups(run)):
        due = [h for h in heads if (layer, h) in counted]
        k = run.keys(layer, heads[0], np.arange(run.n_keys)) if due else None
        for at in (Head(run, layer, h) for h in due):
            choices, n = built_on.read(at, k), counted[layer, at.head]
            found = components(AttentionContrast(run.d_head, 0, seed).update(choices), choices, n, seed)
            rows = np.sort(sample.query)
            query = at.queries(rows)[np.searchsorted(rows, sample.query)]
            yield (layer, at.head), found.query_scores(query), sample.centred(found.key_scores(k[sample.key]))
