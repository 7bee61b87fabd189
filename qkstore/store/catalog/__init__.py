"""The catalogue: the part of a store that changes. A DuckDB file for one directory, PostgreSQL for a team."""

from qkstore.store.catalog.catalog import Catalog
from qkstore.store.catalog.rows import Version, full_name

__all__ = ["Catalog", "Version", "full_name"]
