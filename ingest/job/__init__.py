"""An ingest: prompts through a model into a run of the store, batch by batch, resumable, by one process or several."""

from ingest.job.job import Options, Progress, check_new, ingest, run_path
from ingest.job.ranks import Share
from ingest.job.record import code_version, libraries
from qkstore.sql.memory import bytes_of

__all__ = [
    "Options",
    "Progress",
    "Share",
    "bytes_of",
    "check_new",
    "code_version",
    "ingest",
    "libraries",
    "run_path",
]
