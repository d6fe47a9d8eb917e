#!/usr/bin/env bash
# Makes the Debian package and the archive of the static binary, below target/package; with --deb the former only. The
# binaries are SYNSCOPE_BIN and SYNSCOPE_STATIC, or those of `just build` and `just build-static`.
set -euo pipefail
cd "$(dirname "$0")/.."
binary=${SYNSCOPE_BIN:-target/release/synscope}
static=${SYNSCOPE_STATIC:-target/x86_64-unknown-linux-gnu/release/synscope}
[ "${1-}" = --deb ] || ! readelf --program-headers "$static" | grep -q INTERP || { echo "$static is not static" >&2; exit 1; }
version=$("$binary" --version | cut -d' ' -f2)
architecture=$(dpkg --print-architecture)
out=target/package

if ! cargo deb --version >/dev/null 2>&1; then
  echo "installing cargo-deb (some minutes)"
  cargo install --locked --quiet cargo-deb
fi

# What lies below /usr. server/Cargo.toml takes the package's files from here.
stage=$out/usr
rm -rf "$stage"
mkdir -p "$stage/share/man/man1"
install -D -m 0755 "$binary" "$stage/bin/synscope"
install -D -m 0644 deploy/systemd/synscope.service "$stage/lib/systemd/system/synscope.service"
install -D -m 0644 -t "$stage/share/doc/synscope" LICENSE-MIT LICENSE-APACHE deploy/debian/copyright
gzip -9nc CHANGELOG.md > "$stage/share/doc/synscope/changelog.gz"
"$binary" man | gzip -9n > "$stage/share/man/man1/synscope.1.gz"
for command in serve trace attach doctor; do
  "$binary" man "$command" | gzip -9n > "$stage/share/man/man1/synscope-$command.1.gz"
done
for shell in bash:bash-completion/completions/synscope zsh:zsh/vendor-completions/_synscope \
  fish:fish/vendor_completions.d/synscope.fish; do
  file=$stage/share/${shell#*:}
  mkdir -p "$(dirname "$file")"
  "$binary" completions "${shell%%:*}" > "$file"
done

package=$out/synscope_${version}_$architecture.deb
cargo deb --locked --package synscope --no-build --no-strip --quiet --output "$package"
ls -sh "$package"
[ "${1-}" != --deb ] || exit 0
# The archive runs wherever the kernel does: on other distributions, in an empty container.
install -m 0755 "$static" "$stage/bin/synscope"
archive=$out/synscope-$version-$architecture.tar.gz
tar -C "$stage" --owner=0 --group=0 --sort=name -czf "$archive" bin share lib
ls -sh "$archive"
