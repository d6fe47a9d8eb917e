#!/usr/bin/env bash
# Fuzzes everything that reads bytes from outside, each target for so many seconds: fuzz.sh [SECONDS] [TARGET ...]
# Corpora grow in target/fuzz; a crash ends the run and leaves its input there.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-60}
shift || true
wanted=" $* "
root=$PWD
known=

if ! cargo +nightly --version >/dev/null 2>&1; then
  echo "fuzzing needs a nightly toolchain: rustup toolchain install nightly" >&2
  exit 1
fi
if ! cargo fuzz --version >/dev/null 2>&1; then
  echo "installing cargo-fuzz"
  cargo install --locked --quiet cargo-fuzz
fi

# What a target starts from beside its own seeds.
more_seeds() {
  case $1 in
    btf) echo ebpf/programs/tests/suite/fixtures ;;
    object) echo ebpf/programs/prebuilt ;;
  esac
}

for fuzz in ebpf/fuzz server/fuzz; do
  for target in $(cargo +nightly fuzz list --fuzz-dir "$fuzz"); do
    [[ $wanted == "  " || $wanted == *" $target "* ]] || continue
    known=yes
    corpus=target/fuzz/corpus/$target
    mkdir -p "$corpus" "target/fuzz/artifacts/$target"
    echo "== $target: $seconds s"
    # Connections leave something to the runtime's threads, freed a moment later: looking for leaks after each input would
    # take all the time.
    # shellcheck disable=SC2046 # no name holds a blank
    cargo +nightly fuzz run --fuzz-dir "$fuzz" --target-dir "$root/target/fuzz/build" "$target" \
      "$corpus" "$fuzz/seeds/$target" $(more_seeds "$target") -- \
      -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -malloc_limit_mb=512 -detect_leaks=0 \
      -artifact_prefix="target/fuzz/artifacts/$target/" -print_final_stats=1 -verbosity=0 |& grep -v "Recommended dictionary\|# Uses:"
  done
done
[[ $known ]] || { echo "there is no such target:$wanted" >&2; exit 1; }
echo "no target crashed"
