#!/bin/sh
# run.sh FOLDER TARGET SECONDS [OPTION…]: builds a target with coverage, by a stable compiler, and runs it for so long. FOLDER is
# the crate that is fuzzed, below kernel/crates.
set -eu
cd "$(dirname "$0")"
folder=$1 target=$2 seconds=$3
shift 3
host=$(rustc -vV | sed -n 's/^host: //p')
RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table -Ccodegen-units=1" \
  cargo build --release --features "$folder" --bin "$target" --target "$host"
mkdir -p "corpus/$target" "artifacts/$target" "seeds/$target"
exec "${CARGO_TARGET_DIR:-target}/$host/release/$target" \
  "-artifact_prefix=artifacts/$target/" -max_total_time="$seconds" "$@" "corpus/$target" "seeds/$target"
