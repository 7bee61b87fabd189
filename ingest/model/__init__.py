"""A model, its captured attention, and edits of it while it runs."""

from ingest.model.model import DTYPES, HUB_SECONDS, Dtype, Model, check_device, load, wrap

__all__ = ["DTYPES", "HUB_SECONDS", "Dtype", "Model", "check_device", "load", "wrap"]
