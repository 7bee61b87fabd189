"""A store of queries and keys in which a contrast is a SQL filter."""

from __future__ import annotations

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

_WHERE = {
    "open": "qkstore.store:open",
    "Store": "qkstore.store:Store",
    "Run": "qkstore.run:Run",
    "Contrast": "qkstore.contrast:Contrast",
    "ContrastiveCovariance": "qkstore.covariance:ContrastiveCovariance",
    "Subspace": "qkstore.subspace:Subspace",
    "heads": "qkstore.analysis.heads:",
    "show": "qkstore.charts.show:show",
}
__all__ = list(_WHERE)


def __getattr__(name: str):
    # Loaded on first use: the SQL worker process imports one module of this package and should start at once.
    if name in _WHERE:
        import pkgutil

        return pkgutil.resolve_name(_WHERE[name])
    raise AttributeError(f"module 'qkstore' has no attribute {name!r}")
