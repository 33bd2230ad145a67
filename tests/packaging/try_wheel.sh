#!/usr/bin/env bash
# Installs a wheel into a new environment of each supported Python, outside the repository, and trains one method there.
#   UV=path/to/uv tests/packaging/try_wheel.sh dist/ril_bench-0.1.0-py3-none-any.whl
# uv links files from its cache, so the second and the third environment download only the torch of their Python.
set -euo pipefail
wheel=$(realpath "$1")
uv=$(realpath "${UV:-$(command -v uv)}")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"

# Prints the path of a Python of version $1, from the PATH or from the versions that pyenv installed. A shim of pyenv may
# start no Python, so the version of each candidate is checked.
interpreter() {
    local candidate installed=()
    if command -v pyenv >/dev/null; then
        installed=("$(pyenv root)/versions/$1"*/bin/"python$1")
    fi
    for candidate in "python$1" "${installed[@]}"; do
        if "$candidate" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$1')" 2>/dev/null; then
            "$candidate" -c 'import sys; print(sys.executable)'
            return
        fi
    done
    return 1
}

tried=0
for version in 3.11 3.12 3.13; do
    if ! python=$(interpreter "$version"); then
        echo "SKIPPED: the wheel in Python $version: no python$version on the PATH, nor from pyenv"
        continue
    fi
    started=$SECONDS
    "$uv" venv --quiet --python "$python" "env-$version"
    "$uv" --system-certs pip install --quiet --python "env-$version/bin/python" "$wheel"
    installed=$((SECONDS - started))
    bin=env-$version/bin
    "$bin/ril-bench" --version
    "$bin/ril-bench" list > "list-$version.txt"
    grep -q shapes-smoke "list-$version.txt"
    OMP_NUM_THREADS=1 "$bin/ril-bench" run shapes-smoke --method naive --threads 1 --out "runs-$version"
    test -s "runs-$version/shapes-smoke/given/naive/draft/seed-0/report.html"
    echo "the wheel works in Python $version: installed in $installed s, tried in $((SECONDS - started - installed)) s"
    rm -rf "env-$version"
    tried=$((tried + 1))
done
if [ "$tried" = 0 ]; then
    echo "no supported Python was found" >&2
    exit 1
fi
