#!/usr/bin/env bash
# Installs what running all tests needs. Safe to run again; installs only what is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

# nc, ip and nft make the connects that fail; chromium shows the page; qemu boots the kernels; curl asks the server; e2fsprogs
# makes a disk that can be frozen; systemd brings systemd-analyze; dpkg-dev finds what a package depends on.
packages=(chromium curl dpkg-dev e2fsprogs iproute2 netcat-openbsd nftables qemu-system-x86 systemd)
# Kernels of arm64: a Rust compiler that its standard library fits, and a C compiler, which also links.
packages+=(qemu-system-arm rustc-web gcc-aarch64-linux-gnu libc6-dev-arm64-cross)
command -v npm >/dev/null || packages+=(nodejs npm)
# schemathesis lives in an environment of its own, below target/.
python3 -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3-venv)

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "these packages are missing, and only root on a Debian system can install them here:" >&2
    printf '  %s\n' "${missing[@]}" >&2
    exit 1
  fi
  echo "installing ${missing[*]}"
  apt-get update -q
  DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends "${missing[@]}"
fi

for component in rustfmt clippy; do
  cargo "${component/rustfmt/fmt}" --version >/dev/null 2>&1 || rustup component add "$component"
done

if ! cargo deny --version >/dev/null 2>&1; then
  echo "installing cargo-deny (some minutes)"
  cargo install --locked --quiet cargo-deny
fi

# The lock file is the stamp: npm ci runs again only when it has changed.
if ! cmp -s web/package-lock.json web/node_modules/.installed-lock.json; then
  echo "installing npm development packages"
  npm --prefix web ci --no-audit --no-fund --loglevel error
  cp web/package-lock.json web/node_modules/.installed-lock.json
fi
# For every platform: cargo-deny looks at all of them, and works offline.
cargo fetch --locked --quiet
echo "set up"
