#!/usr/bin/env bash
# Builds the BPF object. `build.sh` replaces the committed object and its manifest; `build.sh --check`
# builds beside it and compares the bytes, where the manifest's tool versions are present.
#
# A stable rustc 1.96 with a prebuilt core for bpfel-unknown-none comes from Debian's rustc-web packages, so
# no nightly and no rust-src are needed; bpf-linker is built once, against the LLVM of the same compiler.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
tools="$root/target/bytecode-tools"
object="$here/prebuilt/synscope-programs.bpf.o"
manifest="$here/prebuilt/manifest.toml"
packages=(rustc-web cargo-web libstd-rust-web-dev-bpf llvm-22 llvm-22-dev)
linker_version=0.13.0
rustc=/usr/bin/rustc
cargo=/usr/bin/cargo

setup() {
  if ! dpkg -s "${packages[@]}" >/dev/null 2>&1; then
    echo "installing ${packages[*]}" >&2
    if [ "$(id -u)" != 0 ]; then
      echo "not root: install these packages first: ${packages[*]}" >&2
      exit 1
    fi
    apt-get update -q >&2
    apt-get install -yq --no-install-recommends "${packages[@]}" >&2
  fi
  if [ "$("$tools/bin/bpf-linker" --version 2>/dev/null)" != "bpf-linker $linker_version" ]; then
    echo "building bpf-linker $linker_version (about a minute)" >&2
    LLVM_PREFIX=/usr/lib/llvm-22 cargo install --locked --root "$tools" bpf-linker \
      --version "$linker_version" --no-default-features --features llvm-22 >&2
  fi
}

# Compiles into $1. Paths are remapped so that two checkouts give the same bytes. Without `expand-memcpy-in-order` memory is
# cleared by stores; with it, by calls of a function that does so byte by byte.
compile() {
  local out=$1 target="$root/target/bytecode"
  local cargo_home=${CARGO_HOME:-$HOME/.cargo}
  (
    cd "$root"
    export RUSTC_BOOTSTRAP=1 RUSTC=$rustc PATH="$tools/bin:$PATH"
    export RUSTFLAGS="-C linker=bpf-linker -C target-cpu=v2 -C debuginfo=2 -C link-arg=--btf \
      -C link-arg=--disable-expand-memcpy-in-order \
      --remap-path-prefix=$root=synscope --remap-path-prefix=$cargo_home=cargo"
    "$cargo" build --quiet --release --locked --package synscope-ebpf --features programs \
      --bin synscope-programs --target bpfel-unknown-none --target-dir "$target" \
      --config 'profile.release.strip=false' --config 'profile.release.lto=false' >&2
  )
  /usr/lib/llvm-22/bin/llvm-objcopy --strip-debug \
    "$target/bpfel-unknown-none/release/synscope-programs" "$out"
}

# One hash over everything that the object is made of; the same computation stands in tests/manifest.rs.
hash_sources() {
  (cd "$here" && find src Cargo.toml build.sh -type f | LC_ALL=C sort | xargs sha256sum | sha256sum | cut -d' ' -f1)
}

write_manifest() {
  cat >"$manifest" <<EOF
# Written by build.sh together with the object; tests/manifest.rs compares it with both.
object_sha256 = "$(sha256sum "$object" | cut -d' ' -f1)"
sources_sha256 = "$(hash_sources)"
rustc = "$($rustc --version)"
bpf_linker = "$linker_version"
aya_ebpf = "$(sed -n '/^name = "aya-ebpf"$/{n;s/version = "\(.*\)"/\1/p}' "$root/Cargo.lock")"
EOF
}

check() {
  local fresh="$root/target/bytecode/fresh.bpf.o"
  if ! grep -qF "rustc = \"$($rustc --version)\"" "$manifest"; then
    echo "this machine has $($rustc --version), the manifest another: bytes cannot be compared" >&2
    exit 1
  fi
  compile "$fresh"
  cmp "$fresh" "$object" && echo "the committed object is what these sources compile to"
}

setup
if [ "${1:-}" = --check ]; then
  check
else
  compile "$object"
  write_manifest
  echo "$object: $(stat -c %s "$object") bytes"
fi
