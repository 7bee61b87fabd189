"""Queries and keys of a toy head in one latent's subspace: the cube of signs, the sphere of Gaussians (Fig. 3, 12)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl

from qkstore.analysis import Points, judge_split, subspace
from qkstore.contrast.builtin import latent
from qkstore.errors import RunError
from qkstore.projection import balanced, pca, project, sample
from qkstore.run import Run
from qkstore.toy.toy import HEAD, LAYER, number, toy


class Centroids(NamedTuple):
    """Shares of n queries that are at the key centroid of their own code.

    attended: its q · c is the largest of all centroids. nearest: it is the nearest one. balanced: it is the nearest one
    in the balanced basis (see qkstore.projection.balanced), whereas `nearest` depends on what training left open.
    flipped: as attended, with the sign of the first u alone turned, which must destroy it.
    """

    attended: float
    nearest: float
    balanced: float
    flipped: float
    n: int


def centroids(run: Run, factor: str) -> Centroids:
    """Of the queries of the contexts, in the subspace of latent z1 or z2.

    Raises RunError for a run that is no toy run, or whose latents are Gaussian: those have no codes.
    """
    number(run, factor)
    if not toy(run).discrete:
        raise RunError(f"run {run.name!r} has Gaussian latents: no two keys share a value, so there are no centroids")
    (q, queries), (k, keys), _ = _projected(run, factor)
    return clusters(q, k, queries["code"].to_numpy(), keys["code"].to_numpy())


def clusters(q: np.ndarray, k: np.ndarray, z_q: np.ndarray, z_k: np.ndarray) -> Centroids:
    """q: (n, r), k: (m, r) in a subspace; z_q: (n,), z_k: (m,) their codes."""
    turned = q * np.where(np.arange(q.shape[1]) == 0, -1, 1)
    picked = [
        _nearest(*side, z_k, near)
        for side, near in (((q, k), False), ((q, k), True), (balanced(q, k), True), ((turned, k), False))
    ]
    return Centroids(*(float(np.mean(codes == z_q)) for codes in picked), len(q))


def _nearest(q: np.ndarray, k: np.ndarray, z_k: np.ndarray, near: bool) -> np.ndarray:
    """(n,) the code whose mean key c is nearest to each query, or has the largest q · c."""
    codes, code = np.unique(z_k, return_inverse=True)
    centre = np.zeros((len(codes), k.shape[1]))
    np.add.at(centre, code, k)
    centre /= np.bincount(code)[:, None]
    score = q @ centre.T
    return codes[(2 * score - np.sum(centre**2, axis=1) if near else score).argmax(axis=1)]


def points(run: Run, factor: str, balance: bool = False, most: int = 4000, seed: int = 0) -> Points:
    """Joint PCA of queries and keys of the contexts in the subspace of latent z1 or z2; balance: in the balanced basis.

    Grouped by the signs of the latent's first three coordinates, as 0 and 1: groups that are numbers are all drawn, on
    a ramp. Raises RunError for a run that is no toy run.
    """
    (q, queries), (k, keys), rank = _projected(run, factor)
    joint = pca(*(balanced(q, k) if balance else (q, k)))
    total = len(q) + len(k)
    parts = []
    for side, xyz, labels in (("query", joint.query, queries), ("key", joint.key, keys)):
        kept = sample(labels["group"].to_numpy(), max(1, most * len(labels) // total), seed)
        xyz = np.pad(xyz[kept], ((0, 0), (0, 3 - xyz.shape[1])))
        axes = [pl.Series(name, xyz[:, i]) for i, name in enumerate("xyz")]
        parts.append(labels[kept].select(pl.lit(side).alias("side"), *axes, "group", "prompt_id", "text"))
    table = pl.concat(parts)
    return Points(table, joint.explained.tolist(), len(table), total, judge_split(run), rank)


def _projected(run: Run, factor: str):
    """(coordinates, labels) of queries and of keys of the contexts, and the rank of the subspace."""
    i = number(run, factor)
    space = subspace(run, (latent(factor),), LAYER, HEAD)
    labels = {}
    for side in ("query", "key"):
        sql = (
            f"SELECT {side}_row AS row, prompt_id, token AS text, {factor} AS code, "
            f"translate(signs{i}, '+-', '10') AS \"group\" FROM {side[0]}"
        )
        labels[side] = pl.from_arrow(run.table(f"{sql} WHERE variant = 'context' ORDER BY row"))
    rows = {side: table["row"].to_numpy() for side, table in labels.items()}
    q, k = project(run.queries(LAYER, HEAD, rows["query"]), run.keys(LAYER, HEAD, rows["key"]), space)
    return (q, labels["query"]), (k, labels["key"]), space.rank
