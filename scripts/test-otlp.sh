#!/usr/bin/env bash
# Has a real OpenTelemetry collector (rotel, from PyPI) take what a real server exports. Root.
set -euo pipefail
cd "$(dirname "$0")/.."
binary=$(realpath "${SYNSCOPE_BIN:-target/release/synscope}")
fail() { echo "FAILED: $*" >&2; exit 1; }

# One file, pinned by its digest.
tools=$PWD/target/rotel
collector=$tools/rotel-agent
[ -x "$collector" ] || {
  echo "fetching rotel"
  python3 -m venv "$tools"
  "$tools/bin/pip" install --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
    -r scripts/rotel.txt
  install -m 0755 "$tools"/lib/python3*/site-packages/rotel/rotel-agent "$collector"
}

work=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
port=$(free_port)
start_collector() {
  "$collector" start --otlp-http-endpoint "127.0.0.1:$port" --otlp-grpc-endpoint "127.0.0.1:$(free_port)" \
    --pid-file "$work/pid" --exporter blackhole --debug-log traces --debug-log metrics --debug-log-verbosity detailed \
    >> "$work/collected" 2>&1 &
  collecting=$!
  pids+=("$collecting")
}
export SYNSCOPE_TOKEN=token-of-the-export-test OTEL_METRIC_EXPORT_INTERVAL=500 OTEL_RESOURCE_ATTRIBUTES=host.name=node-7
start_server() {
  rm -f "$work/url"
  "$binary" serve --listen 127.0.0.1:0 --data-dir "$work/data" --otlp "http://127.0.0.1:$port" \
    > "$work/url" 2>> "$work/log" &
  server=$!
  pids+=("$server")
  until [ -s "$work/url" ]; do kill -0 "$server" || fail "$(cat "$work/log")"; sleep 0.1; done
  url=$(sed 's|/#.*||' "$work/url")
  ask -o /dev/null -d '{"filter": {"peer_port": 83}}' "$url/api/v1/traces"
}
ask() { curl -sS --fail-with-body -H "Authorization: Bearer $SYNSCOPE_TOKEN" -H 'Content-Type: application/json' "$@"; }
figure() { ask "$url/metrics" | awk -v name="$1" '$1 == name { print $2 }'; }
# Waits until a figure has this value.
has() {
  for _ in $(seq 300); do
    [ "$(figure "$1")" = "$2" ] && return
    sleep 0.1
  done
  fail "$1 is not $2: $(ask "$url/metrics" | grep otlp); $(tail -3 "$work/log")"
}
refuse() { (: < /dev/tcp/127.0.0.1/83) 2>/dev/null || true; }
collected() {
  for _ in $(seq 100); do
    grep -qF -- "$1" "$work/collected" && return
    sleep 0.1
  done
  fail "the collector was not told: $1"
}

echo "a failed attempt is a span"
start_collector
start_server
refuse
has synscope_otlp_spans_sent_total 1
for line in 'Name           : tcp.connect' 'host.name: Str(node-7)' 'network.peer.port: Int(83)' \
  'tcp.connect.cause: Str(refused)' 'error.type: Str(ECONNREFUSED)' 'Name: synscope_tcp_connect_duration'; do
  collected "$line"
done

echo "a collector that was away for a moment gets what it missed"
kill "$collecting"
wait "$collecting" || true
refuse
sleep 1.5
start_collector
has synscope_otlp_spans_sent_total 2
has 'synscope_otlp_spans_lost_total{stage="collector"}' 0

echo "what nobody took is counted"
kill "$collecting"
wait "$collecting" || true
python3 -c '
import http.server, sys
class Refuses(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_error(400)
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Refuses).serve_forever()' "$port" &
pids+=($!)
refuse
refuse
has 'synscope_otlp_spans_lost_total{stage="collector"}' 2
grep -q 'spans are lost' "$work/log" || fail "a loss is not in the log"
has synscope_otlp_spans_sent_total 2
kill "$server"
wait "$server" || fail "it did not end well: $(tail -3 "$work/log")"
echo "the export is right"
