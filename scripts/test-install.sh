#!/usr/bin/env bash
# Packages the crates, puts them into a copy of the registry as publishing would, and has `cargo install` build Synscope
# from there: what a package leaves out, or takes from the workspace, shows. Changes must be committed.
set -euo pipefail
cd "$(dirname "$0")/.."
fail() { echo "FAILED: $*" >&2; exit 1; }
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

echo "packaging"
unpublished=(--exclude bpf-lab --exclude bytecode-suite --exclude vm-tests)
# What follows builds them.
cargo package --quiet --workspace "${unpublished[@]}" --locked --no-verify
cargo vendor --quiet --locked "$work/registry" > /dev/null
for crate in synscope-ebpf synscope-tracer synscope-web synscope; do
  archive=$(ls -t "$target/package/$crate"-[0-9]*.crate | head -1)
  tar -xzf "$archive" -C "$work/registry"
  sum=$(sha256sum "$archive" | cut -d' ' -f1)
  echo "{\"files\":{},\"package\":\"$sum\"}" > "$work/registry/$(basename "$archive" .crate)/.cargo-checksum.json"
  manifest=$work/registry/$(basename "$archive" .crate)/Cargo.toml
  for field in description license repository readme keywords categories rust-version; do
    grep -q "^$field = " "$manifest" || fail "$crate has no $field"
  done
done

echo "installing"
# Nothing of the workspace is in reach from here; and an installation looks for no configuration beside it.
cd "$work"
cat > config.toml <<CONFIG
[source.crates-io]
replace-with = "copy"
[source.copy]
directory = "$work/registry"
CONFIG
# In a tenth of the time that the optimizer would take, for what is asked for its version and its manual.
CARGO_PROFILE_DEV_DEBUG=false cargo install --debug --config config.toml --quiet --locked --offline --root "$work/root" \
  --target-dir "$target" synscope
version=$("$work/root/bin/synscope" --version)
[ "$version" = "synscope $(sed -n 's/^version = "\(.*\)"/\1/p' "$work"/registry/synscope-[0-9]*/Cargo.toml | head -1)" ] ||
  fail "what was installed says $version"
"$work/root/bin/synscope" man trace > "$work/page"
grep -q 'fail.*on' "$work/page" || fail "what was installed has no manual"
echo "$version installs from a registry"
