#!/usr/bin/env bash
# The wheel on Python 3.13, where this machine has one: installed without torch, every module imported, a few minutes of tests.
set -euo pipefail
for python in "$(command -v python3.13 || true)" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.13*/bin/python; do
  if [ -x "$python" ] && "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 13))' 2>/dev/null; then break; fi
  python=
done
if [ -z "$python" ]; then
  echo "no Python 3.13 here: not tried"
  exit 0
fi
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
echo "trying the wheel on $("$python" --version)"
"$python" -m venv "$place/venv"
.venv/bin/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir "$place" .
"$place/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile ${PIP_EXTRA:-} \
  -c setup/constraints.txt "$place"/qkstore-*.whl pytest pytest-xdist
(cd "$place" && venv/bin/python -P - <<'EVERY') # from another folder: what is imported is what was installed
import importlib, pkgutil, qkstore, dashboard

for package in (qkstore, dashboard):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
print(f"qkstore {qkstore.__version__} at {qkstore.__file__}: every module imports")
EVERY
"$place/venv/bin/python" -m pytest -n 2 tests/front tests/cli -m "not slow" --ignore tests/front/test_rank.py # that one trains heads
