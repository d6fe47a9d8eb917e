#!/usr/bin/env bash
# Writes the bill of materials of the server's binary, as CycloneDX: sbom.sh FILE
set -euo pipefail
cd "$(dirname "$0")/.."
file=$1

if ! cargo cyclonedx --version >/dev/null 2>&1; then
  echo "installing cargo-cyclonedx (some minutes)"
  cargo install --locked --quiet cargo-cyclonedx
fi

# It writes one beside the manifest of every member of the workspace, and names the directory of the checkout.
trap 'cargo metadata --no-deps --format-version 1 | grep -o "\"manifest_path\":\"[^\"]*/" | cut -d\" -f4 |
  while read -r directory; do rm -f "$directory/of-this-build.json"; done' EXIT
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) cargo cyclonedx --quiet --format json --manifest-path server/Cargo.toml \
  --target "$(rustc -vV | sed -n 's/^host: //p')" --override-filename of-this-build
sed "s|$PWD/||g" server/of-this-build.json > "$file"
echo "$file: $(grep -c '"purl": "pkg:cargo' "$file") packages"
