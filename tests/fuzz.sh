#!/bin/bash
# Runs one libFuzzer target: tests/fuzz.sh NAME SECONDS FOLDER. It starts from the committed corpus,
# tests/fuzz/corpus/NAME, which is only read; what it finds goes to FOLDER.
set -uo pipefail
cd "$(dirname "$0")/.."
name=$1 seconds=$2 folder=$3
mkdir -p "$folder/found"
corpus=("$folder/found")
[ ! -d "tests/fuzz/corpus/$name" ] || corpus+=("tests/fuzz/corpus/$name")
if "build/fuzz/tests/fuzz/${name}_fuzz" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 \
    -artifact_prefix="$folder/" "${corpus[@]}"; then
    echo "ok $name"
else
    echo "FAIL $name: the input that did it is in $folder"
    exit 1
fi
