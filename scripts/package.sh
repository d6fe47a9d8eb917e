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
name=synscope_${version}_$architecture
stage=$out/$name
rm -rf "$stage"
mkdir -p "$stage/DEBIAN" "$stage/usr/share/man/man1" "$stage/usr/share/doc/synscope"

install -D -m 0755 "$binary" "$stage/usr/bin/synscope"
install -D -m 0644 deploy/systemd/synscope.service "$stage/usr/lib/systemd/system/synscope.service"
install -m 0644 LICENSE-MIT LICENSE-APACHE "$stage/usr/share/doc/synscope/"
install -m 0644 deploy/debian/copyright "$stage/usr/share/doc/synscope/copyright"
gzip -9nc CHANGELOG.md > "$stage/usr/share/doc/synscope/changelog.gz"
"$binary" man | gzip -9n > "$stage/usr/share/man/man1/synscope.1.gz"
for command in serve trace attach doctor; do
  "$binary" man "$command" > "$out/page" 2>/dev/null || continue
  gzip -9n < "$out/page" > "$stage/usr/share/man/man1/synscope-$command.1.gz"
done
rm -f "$out/page"
for shell in bash:bash-completion/completions/synscope zsh:zsh/vendor-completions/_synscope \
  fish:fish/vendor_completions.d/synscope.fish; do
  file=$stage/usr/share/${shell#*:}
  mkdir -p "$(dirname "$file")"
  "$binary" completions "${shell%%:*}" > "$file"
done

# The newest symbol version of the C library that the binary asks for is the oldest C library that it runs with.
needs=$({ grep -aoE 'GLIBC_2\.[0-9]+' "$binary" || true; } | sort -uV | tail -1 | cut -d_ -f2)
cat > "$stage/DEBIAN/control" <<CONTROL
Package: synscope
Version: $version
Architecture: $architecture
Maintainer: The Synscope contributors <synscope@users.noreply.github.com>
Section: net
Priority: optional
Homepage: https://github.com/synscope/synscope
Installed-Size: $(du -sk "$stage/usr" | cut -f1)
Depends: libc6 (>= ${needs:-2.31}), libgcc-s1, passwd
Description: explains failed TCP connections
 Watches every connect() in the kernel, by eBPF, and stays silent while all is
 well. When an attempt is retried or fails, it tells who tried, where to, from
 which ephemeral port, each SYN retransmit, how it ended, and which code asked.
CONTROL
install -m 0755 deploy/debian/postinst deploy/debian/prerm deploy/debian/postrm "$stage/DEBIAN/"
dpkg-deb --root-owner-group --build -Zxz "$stage" "$out/$name.deb" > /dev/null
ls -sh "$out/$name.deb"
[ "${1-}" != --deb ] || { rm -rf "$stage"; exit 0; }
# The archive runs wherever the kernel does: on other distributions, in an empty container.
install -m 0755 "$static" "$stage/usr/bin/synscope"
tar -C "$stage/usr" --owner=0 --group=0 --sort=name -czf "$out/synscope-$version-$architecture.tar.gz" bin share lib
rm -rf "$stage"
ls -sh "$out"/*.tar.gz
