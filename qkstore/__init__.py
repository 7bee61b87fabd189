"""A store of queries and keys in which a contrast is a SQL filter."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from qkstore.analysis import heads
    from qkstore.charts.show import show
    from qkstore.contrast import Contrast
    from qkstore.covariance import ContrastiveCovariance
    from qkstore.run import Run
    from qkstore.store import Store, open
    from qkstore.subspace import Subspace

_WHERE = {  # module:name, or module: for the module itself
    "open": "qkstore.store:open",
    "Store": "qkstore.store:Store",
    "Run": "qkstore.run:Run",
    "Contrast": "qkstore.contrast:Contrast",
    "ContrastiveCovariance": "qkstore.covariance:ContrastiveCovariance",
    "Subspace": "qkstore.subspace:Subspace",
    "heads": "qkstore.analysis.heads:",
    "analysis": "qkstore.analysis:",
    "charts": "qkstore.charts:",
    "report": "qkstore.report:",
    "toy": "qkstore.toy:",
    "show": "qkstore.charts.show:show",
}
__all__ = list(_WHERE)

_NOW_IN = {  # a module: those of version 0.1.0 that went into it
    "qkstore.analysis.attribution": "distribution",
    "qkstore.analysis.evidence": "comparison dimension evidence growth",
    "qkstore.analysis.export": "export",
    "qkstore.analysis.head": "digest",
    "qkstore.analysis.heads": "heads ranking selection",
    "qkstore.analysis.live": "live",
    "qkstore.analysis.points": "cloud",
    "qkstore.analysis.swaps": "query_swap",
    "qkstore.analysis.targets": "target",
    "qkstore.analysis.variations": "dose variant",
    "qkstore.charts.curves": "curves",
    "qkstore.charts": "grid live_chart palette report_chart scatter",
    "qkstore.cli": "act argument output",
    "qkstore.contrast": "builtin check example label sentence",
    "qkstore.interval": "jackknife",
    "qkstore.projection": "balance",
    "qkstore.rank": "canonical",
    "qkstore.report": (
        "document drawing page report_attribution report_boxes report_heads report_leak report_lists report_swaps study"
    ),
    "qkstore.run": "incoming schema",
    "qkstore.sql": "child grammar guard worker",
    "qkstore.store": "archive catalog overview",
    "qkstore.text": "quoted visible",
    "qkstore.toy": "toy_points toy_ranks toy_report",
}
_MOVED = {old: new for new, several in _NOW_IN.items() for old in several.split()}


def __getattr__(name: str):
    # Loaded on first use: the SQL worker process imports one module of this package and should start at once.
    if name in _WHERE:
        import pkgutil

        return pkgutil.resolve_name(_WHERE[name])
    if name in _MOVED:
        raise AttributeError(f"qkstore.{name} has moved: it is in {_MOVED[name]} now")
    raise AttributeError(f"module 'qkstore' has no attribute {name!r}")


class _Moved:
    """The last that Python asks for a module: says where one of an earlier version has gone."""

    @staticmethod
    def find_spec(name: str, path=None, target=None) -> None:
        package, _, old = name.partition(".")
        if package == "qkstore" and old in _MOVED:
            raise ModuleNotFoundError(f"qkstore.{old} has moved: it is in {_MOVED[old]} now")


sys.meta_path.append(_Moved)
