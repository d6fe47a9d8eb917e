#!/usr/bin/env bash
# Installs the Debian package, runs what its unit says as the unit's user with the unit's capabilities, traces through
# it, and removes it. As root, where no Synscope is installed. systemd need not run: setpriv stands in for it, so what the
# unit says of file systems and system calls is judged by systemd-analyze alone.
set -euo pipefail
cd "$(dirname "$0")/.."
fail() { echo "FAILED: $*" >&2; exit 1; }
package=$(ls -t target/package/synscope_*.deb | head -1)
unit=/usr/lib/systemd/system/synscope.service
if dpkg-query -W synscope 2>/dev/null || [ -e /var/lib/synscope ]; then
  why="a Synscope is installed here, or its /var/lib/synscope is left: purging the package would remove it"
  [ -z "${CI-}" ] || fail "$why"
  echo "skipped: $why"
  exit
fi
work=$(mktemp -d)
trap '[ -z "${server-}" ] || kill "$server" 2>/dev/null || true; dpkg --purge synscope > /dev/null 2>&1 || true; rm -rf "$work"' EXIT

dpkg -i "$package" > "$work/dpkg" || fail "$(cat "$work/dpkg")"
exposure=$(systemd-analyze security --offline=true --no-pager "$unit" | sed -n 's/.*exposure level.*: \([0-9.]*\) .*/\1/p')
awk -v found="$exposure" 'BEGIN { exit !(found > 0 && found <= 2.5) }' || fail "exposure is $exposure"
systemd-analyze verify --man=no "$unit" || fail "systemd finds fault with the unit"
# Small systems leave man pages out when they unpack.
dpkg-deb --contents "$package" > "$work/contents"
grep -q /man1/synscope-trace.1.gz "$work/contents" || fail "no man page"
bash -n /usr/share/bash-completion/completions/synscope

setting() { sed -n "s/^$1=//p" "$unit"; }
capabilities=$(setting AmbientCapabilities | sed 's/CAP_/+/g; s/ /,/g' | tr 'A-Z' 'a-z')
[ "$(setting AmbientCapabilities)" = "$(setting CapabilityBoundingSet)" ] || fail "capabilities differ"
user=$(setting User)
read -ra command <<< "$(setting ExecStart)"
as_unit=(setpriv --reuid="$user" --regid="$user" --clear-groups --inh-caps="-all,$capabilities"
  --ambient-caps="-all,$capabilities" --bounding-set="-all,$capabilities" --no-new-privs)
# Any free port, so that a running Synscope is not disturbed.
"${as_unit[@]}" "${command[@]}" --listen 127.0.0.1:0 > "$work/url" 2> "$work/log" &
server=$!
for _ in $(seq 100); do [ -s "$work/url" ] && break; kill -0 $server || fail "$(cat "$work/log")"; sleep 0.1; done
url=$(sed 's|/#.*||' "$work/url")
token=$(cat "$(setting StateDirectory | sed 's|^|/var/lib/|')/token")
[ "$(stat -c %U:%a /var/lib/synscope/token)" = "$user:600" ] || fail "the token is not its user's alone"
ask() { curl -sS --fail-with-body -H "Authorization: Bearer $token" -H 'Content-Type: application/json' "$@"; }
trace=$(ask -d '{"filter": {"peer_port": 83}}' "$url/api/v1/traces") || fail "$trace; $(cat "$work/log")"
id=$(sed 's/.*"id":"\([^"]*\)".*/\1/' <<< "$trace")
(: < /dev/tcp/127.0.0.1/83) 2>/dev/null || true
for _ in $(seq 100); do
  ask "$url/api/v1/traces/$id/events" > "$work/events"
  grep -q '"cause":"refused"' "$work/events" && break
  sleep 0.1
done
grep -q '"cause":"refused"' "$work/events" || fail "the refused connect was not told: $(cat "$work/events")"
kill $server
wait $server || fail "it did not end well: $(cat "$work/log")"
server=

dpkg --purge synscope > /dev/null
[ ! -e /usr/bin/synscope ] && [ ! -e /var/lib/synscope ] && ! getent passwd synscope > /dev/null ||
  fail "something of the package was left behind"
echo "the package works"
