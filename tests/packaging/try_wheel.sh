#!/usr/bin/env bash
# Installs a wheel into a new environment of each supported Python, and trains one method there, away from the repository.
#   UV=path/to/uv tests/packaging/try_wheel.sh dist/ril_bench-0.1.0-py3-none-any.whl
# uv links files from its cache, so the second and the third environment cost what their own torch costs to download.
set -euo pipefail
wheel=$(realpath "$1")
uv=$(realpath "${UV:-$(command -v uv)}")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
tried=0
for version in 3.11 3.12 3.13; do
    python=python$version
    # A shim may be found that starts nothing, so the interpreter is asked.
    if ! "$python" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$version')" 2>/dev/null; then
        echo "SKIPPED: the wheel in Python $version: no $python on the PATH"
        continue
    fi
    started=$SECONDS
    "$uv" venv --quiet --python "$("$python" -c 'import sys; print(sys.executable)')" "env-$version"
    "$uv" pip install --quiet --python "env-$version/bin/python" "$wheel"
    installed=$((SECONDS - started))
    bin=env-$version/bin
    "$bin/ril-bench" --version
    "$bin/ril-bench" list > "list-$version.txt"
    grep -q shapes-smoke "list-$version.txt"
    OMP_NUM_THREADS=1 "$bin/ril-bench" run shapes-smoke --method naive --threads 1 --out "runs-$version"
    "$bin/ril-bench" report "runs-$version" --out "site-$version"
    test -s "site-$version/index.html"
    echo "the wheel works in Python $version: installed in $installed s, tried in $((SECONDS - started - installed)) s"
    rm -rf "env-$version"
    tried=$((tried + 1))
done
if [ "$tried" = 0 ]; then
    echo "no supported Python was found" >&2
    exit 1
fi
