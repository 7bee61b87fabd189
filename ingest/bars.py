"""Progress bars on stderr: one a stage of an ingest."""

from __future__ import annotations

import sys

from tqdm import tqdm


class Bars:
    """A progress callback (stage, done, total) that draws one bar for each stage in turn.

    It is silent where stderr is no terminal.
    """

    def __init__(self):
        self.stage, self.bar = None, None

    def __enter__(self) -> Bars:
        return self

    def __exit__(self, *exc) -> None:
        if self.bar is not None:
            self.bar.close()

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage != self.stage:
            self.__exit__()
            self.stage, self.bar = stage, tqdm(total=total, desc=stage, file=sys.stderr, disable=None, mininterval=0.2)
        self.bar.update(done - self.bar.n)
