"""Four processes on one store directory at once: a dashboard, a command, a script and an ingest.

    python bench/team/together.py [--seconds 60]

The dashboard has a page open, the command computes, the script saves contrasts. Each works without a pause until the
time is up. Prints what each did and the waits of the script; exit code 1 when any of them met an error or a saved
contrast is missing.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

IDLE = (
    "document.querySelector('[data-testid=stApp]')?.dataset.testScriptState === 'notRunning' "
    "&& document.querySelector('.stMain h1')"
)
PREDICATES = [
    "--where",
    "k.prompt_id = q.prompt_id",
    "--positive",
    "k.order_id = q.queried_order",
    "--negative",
    "k.order_id <> q.queried_order",
]
SAVE = """
import sys, time
from qkstore import Contrast, open
store, until, waits = open(sys.argv[1]), time.time() + float(sys.argv[2]), []
while time.time() < until:
    start = time.perf_counter()
    store.catalog.save(Contrast(name="busy", positive="k.order_id = q.queried_order", \
negative="k.order_id <> q.queried_order"))
    store.catalog.contrasts()
    waits.append(time.perf_counter() - start)
waits.sort()
print(len(waits), f"{1000 * waits[len(waits) // 2]:.0f} {1000 * waits[-1]:.0f}")
"""
COMPUTE = """
import sys, time
from qkstore.__main__ import main
until, n = time.time() + float(sys.argv[2]), 0
while time.time() < until:
    assert main(["heads", "--store", sys.argv[1], "--run", "synthetic", "--contrast", "order-of-box", "--json"]) == 0
    assert main(["contrasts", "--store", sys.argv[1], "--run", "synthetic"]) == 0
    n += 1
print(n, file=sys.stderr)
"""
INGEST = """
import sys, time
from pathlib import Path
from synthetic import synthetic, write
until, n, data = time.time() + float(sys.argv[2]), 0, synthetic(n=256)
while time.time() < until:
    write(Path(sys.argv[1]), f"run-{n}", data)
    n += 1
print(n)
"""


def start(code: str, store: Path, seconds: float) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    return subprocess.Popen(
        [sys.executable, "-c", code, str(store), str(seconds)],
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def dashboard(store: Path) -> tuple[subprocess.Popen, str]:
    from ports import free_port  # of the tests

    port = free_port()
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)]
    server = subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"QKSTORE": str(store)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    url = f"http://127.0.0.1:{port}"
    until = time.monotonic() + 120
    while time.monotonic() < until and server.poll() is None:
        try:
            urllib.request.urlopen(f"{url}/_stcore/health", timeout=1).read()
            return server, url
        except OSError:
            time.sleep(0.2)
    server.kill()
    raise SystemExit(f"the dashboard did not start: {server.stderr.read()[-500:]}")


def browse(url: str, until: float) -> tuple[int, list[str]]:
    """Open one page after the other until the time is up; returns how many, and the errors that they showed."""
    from playwright.sync_api import sync_playwright

    seen, errors = 0, []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"),
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        page = browser.new_page()
        while time.time() < until:
            name = ("", "heads", "contrasts")[seen % 3]
            page.goto(f"{url}/{name}?run=synthetic&contrast=order-of-box&layer=1&head={seen % 4}")
            page.wait_for_function(IDLE, timeout=60_000)
            errors += [
                e.inner_text()
                for e in page.query_selector_all('[data-testid="stAlertContentError"], [data-testid="stException"]')
            ]
            seen += 1
        browser.close()
    return seen, errors


def main(arguments: list[str] | None = None) -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--seconds", type=float, default=60)
    seconds = options.parse_args(arguments).seconds
    from synthetic import write

    import qkstore

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        write(path, n=512)
        store = qkstore.open(path)
        store.catalog.save(
            qkstore.Contrast(name="order-of-box", where=PREDICATES[1], positive=PREDICATES[3], negative=PREDICATES[5])
        )
        server, url = dashboard(path)
        workers = {
            name: start(code, path, seconds)
            for name, code in (("script", SAVE), ("command", COMPUTE), ("ingest", INGEST))
        }
        pages, errors = browse(url, time.time() + seconds)
        out = {name: worker.communicate(timeout=120) for name, worker in workers.items()}
        server.kill()
        server.wait()
        saved, waits = out["script"][0].split(maxsplit=1) if out["script"][0] else ("0", "")
        versions = [c.version for c in store.catalog.versions("busy")]
        failed = [
            f"{name}: {out[name][1].strip().splitlines()[-1]}" for name, worker in workers.items() if worker.returncode
        ]
        failed += [f"dashboard: {e}" for e in errors]
        if versions != list(range(1, int(saved) + 1)):
            failed.append(f"{saved} contrasts were saved, {len(versions)} are there")
        runs = len(store.runs()) - 1
        if out["ingest"][0].strip() != str(runs):
            failed.append(f"{out['ingest'][0].strip()} runs were ingested, {runs} are there")
    print(
        f"{seconds:.0f} s: {pages} pages opened, {out['command'][1].strip() or 0} rounds of commands, "
        f"{saved} contrasts saved (median, worst wait in ms: {waits.strip()}), {runs} runs ingested"
    )
    print(*failed or ["no error reached anyone, every save is there"], sep="\n")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
