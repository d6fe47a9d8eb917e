#!/usr/bin/env bash
# Has a real Prometheus scrape a real server, and asks it. Root; Prometheus is Debian's package, unpacked below target/
# where it is not installed, so that no daemon is set up.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
binary=$(realpath "${SYNSCOPE_BIN:-target/release/synscope}")
tools=$root/target/prometheus

if ! command -v promtool prometheus >/dev/null; then
  [ -x "$tools/usr/bin/promtool" ] || {
    echo "unpacking Debian's prometheus"
    mkdir -p "$tools"
    # What is to be had is known only once somebody has asked.
    (cd "$tools" && { apt-get download -qq prometheus 2>/dev/null || { apt-get update -qq && apt-get download -qq prometheus; }; } &&
      dpkg-deb -x prometheus_*.deb . && rm prometheus_*.deb)
  }
  PATH=$tools/usr/bin:$PATH
fi

fail() { echo "FAILED: $*" >&2; exit 1; }

echo "alert rules and scrape configuration"
(cd deploy/prometheus && promtool check rules synscope.rules.yml && promtool test rules synscope.test.yml) > /dev/null

work=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT
export SYNSCOPE_TOKEN=token-of-the-metrics-test
"$binary" serve --listen 127.0.0.1:0 --data-dir "$work/data" > "$work/url" 2> "$work/log" &
pids+=($!)
until [ -s "$work/url" ]; do
  kill -0 "${pids[0]}" || { cat "$work/log" >&2; exit 1; }
  sleep 0.1
done
url=$(sed 's|/#.*||' "$work/url")
ask() { curl -sS --fail-with-body -H "Authorization: Bearer $SYNSCOPE_TOKEN" "$@"; }
figures() { ask "$url/metrics"; }
# The value of a series, as it is exposed.
figure() { figures | awk -v name="$1" '$1 == name { print $2 }'; }
refuse() { (: < "/dev/tcp/127.0.0.1/$1") 2>/dev/null || true; }

echo "what is exposed"
[ "$(curl -so /dev/null -w '%{http_code}' "$url/metrics")" = 401 ] || fail "metrics without a token"
figures > "$work/text"
promtool check metrics < "$work/text" || fail "promtool finds fault"
# The dashboard and the rules ask for nothing that is not there.
grep -oEh '\b(synscope_[a-z_]+|process_[a-z_]+)\b' deploy/grafana/synscope.json deploy/prometheus/synscope.rules.yml |
  sort -u | while read -r name; do
    grep -q "^$name[{ ]" "$work/text" || fail "$name is asked for, but not exposed"
  done
# The reference knows all that is exposed; of processes it names the kind.
sed -n 's/^# TYPE \(synscope_[a-z_]*\) .*/\1/p' "$work/text" | while read -r name; do
  grep -q "$name" docs/reference.md || fail "$name is exposed, but not in docs/reference.md"
done

echo "what adds up"
id=$(ask -X POST -H 'Content-Type: application/json' -d '{"filter": {"peer_port": 81}}' "$url/api/v1/traces" |
  sed 's/.*"id":"\([^"]*\)".*/\1/')
failures='synscope_tcp_connect_failures_total{cause="refused"}'
for _ in 1 2 3; do refuse 81; done
refuse 82
for _ in $(seq 100); do
  [ "$(figure "$failures")" = 3 ] && break
  sleep 0.1
done
[ "$(figure "$failures")" = 3 ] || fail "three were refused, but: $(figures | grep -F failures)"
[ "$(figure 'synscope_traces{state="running"}')" = 1 ] || fail "one trace runs"
ask -X DELETE "$url/api/v1/traces/$id"
[ "$(figure "$failures")" = 3 ] || fail "a counter went down when its trace was deleted"
[ "$(figure 'synscope_traces{state="running"}')" = 0 ] || fail "no trace runs any more"

echo "what Prometheus makes of it"
printf %s "$SYNSCOPE_TOKEN" > "$work/token"
cp deploy/prometheus/synscope.rules.yml "$work"
sed -e "s|/etc/prometheus/synscope.token|$work/token|" -e "s|127.0.0.1:7117|${url#http://}|" \
  -e '1i global: {scrape_interval: 1s, evaluation_interval: 1s}' deploy/prometheus/scrape.yml > "$work/prometheus.yml"
promtool check config "$work/prometheus.yml" > /dev/null
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
prometheus --config.file="$work/prometheus.yml" --storage.tsdb.path="$work/tsdb" \
  --web.listen-address="127.0.0.1:$port" 2> "$work/prometheus.log" &
pids+=($!)
# Waits until a query has this value.
has() {
  for _ in $(seq 300); do
    promtool query instant "http://127.0.0.1:$port" "$1" 2>/dev/null | grep -q "=> $2 @" && return
    sleep 0.1
  done
  tail -5 "$work/prometheus.log" >&2
  fail "$1 is not $2: $(promtool query instant "http://127.0.0.1:$port" "$1")"
}
has 'up{job="synscope"}' 1
has "$failures" 3
has 'count(ALERTS{alertname="SynscopeTracesNothing", alertstate="pending"})' 1
# Prometheus asks for OpenMetrics; what it takes from there has its types.
curl -sS "http://127.0.0.1:$port/api/v1/metadata?metric=synscope_tcp_connect_failures" | grep -q '"type":"counter"' ||
  curl -sS "http://127.0.0.1:$port/api/v1/targets/metadata?metric=synscope_tcp_connect_failures_total" |
  grep -q '"type":"counter"' || fail "the type of a counter is lost"
echo "metrics are right"
