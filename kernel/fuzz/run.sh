#!/bin/sh
# run.sh TARGET SECONDS: builds a target with coverage, by a stable compiler, and runs it for so long.
set -eu
cd "$(dirname "$0")"
RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table -Ccodegen-units=1" \
  cargo build --release --bin "$1" --target "$(rustc -vV | sed -n 's/^host: //p')"
mkdir -p "corpus/$1" "artifacts/$1"
exec "${CARGO_TARGET_DIR:-target}/$(rustc -vV | sed -n 's/^host: //p')/release/$1" \
  "-artifact_prefix=artifacts/$1/" -max_total_time="$2" "corpus/$1"
