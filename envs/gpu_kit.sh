#!/usr/bin/env bash
# Gathers into FOLDER the wheels that a bare machine with one GPU, Python 3.12 and PyTorch
# needs to train, without a network: the packages of gpu-kit.txt for Linux on x86-64.
# DeepSpeed has no wheel on PyPI; it is built here, and compiles its operators there.
# Of bitsandbytes the libraries for the CPU and for CUDA 13 are kept.
set -euo pipefail
folder=${1:?usage: gpu_kit.sh FOLDER}
here=$(cd "$(dirname "$0")" && pwd)
most_mb=60

# Prints NAME==VERSION for each package: its version in requirements.txt, if it has none.
pinned() {
    local line
    grep -v '^#' "$here/gpu-kit.txt" | while read -r line; do
        if [[ $line == *==* ]]; then
            echo "$line"
        else
            grep -i "^${line//[-_]/[-_]}==" "$here/../requirements.txt" ||
                echo "error: $line is not in requirements.txt" >&2
        fi
    done
}

packages=$(pinned)
[[ $(wc -w <<<"$packages") == $(grep -vc '^#' "$here/gpu-kit.txt") ]]
platforms=(--platform manylinux2014_x86_64 --platform manylinux1_x86_64)
for glibc in 34 31 28 27 24 17; do platforms+=(--platform "manylinux_2_${glibc}_x86_64"); done

rm -rf "$folder" && mkdir -p "$folder"
# shellcheck disable=SC2046
python -m pip --disable-pip-version-check download --quiet --no-deps --only-binary=:all: \
    --python-version 3.12 --implementation cp "${platforms[@]}" --dest "$folder" \
    $(grep -v '^deepspeed==' <<<"$packages")
DS_BUILD_OPS=0 python -m pip --disable-pip-version-check wheel --quiet --no-deps \
    --no-build-isolation --wheel-dir "$folder" "$(grep '^deepspeed==' <<<"$packages")"

# bitsandbytes brings a library for each CUDA, ROCm and XPU, 43 MB in all.
python - "$folder"/bitsandbytes-*.whl <<'END'
import re, sys, zipfile
from pathlib import Path

whole = Path(sys.argv[1])
slim = whole.with_suffix(".part")
with zipfile.ZipFile(whole) as source, zipfile.ZipFile(slim, "w", zipfile.ZIP_DEFLATED) as target:
    for file in source.infolist():
        if not re.search(r"_(cuda1[12]|rocm|xpu)\w*\.so$", file.filename):
            target.writestr(file, source.read(file))
slim.replace(whole)
END

mb=$(du --apparent-size --block-size=1M --summarize "$folder" | cut -f 1)
echo "$folder: $(find "$folder" -name '*.whl' | wc -l) wheels, $mb MB"
if ((mb > most_mb)); then
    echo "error: more than the $most_mb MB that can be carried to such a machine" >&2
    exit 1
fi
