#!/usr/bin/env bash
# Builds the release binary twice, each time from nothing, and compares: who builds this commit at the same place, with
# the same compiler, gets the same bytes.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR=$PWD/target/reproducible

build() {
  rm -rf "$CARGO_TARGET_DIR"
  cargo build --release --locked --quiet
  sha256sum < "$CARGO_TARGET_DIR/release/synscope" | cut -d' ' -f1
}

first=$(build)
second=$(build)
rm -rf "$CARGO_TARGET_DIR"
rustc --version
echo "first  $first"
echo "second $second"
[ "$first" = "$second" ] || { echo "two builds of one commit differ" >&2; exit 1; }
