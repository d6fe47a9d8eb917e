#!/usr/bin/env bash
# Has schemathesis ask the real server whatever its OpenAPI document allows, and what it does not. As root: each trace
# that it creates is a real one.
set -euo pipefail
cd "$(dirname "$0")/.."
binary=${SYNSCOPE_BIN:-target/release/synscope}
tools=target/api-test
version=4.32.5

[ "$("$tools/bin/schemathesis" --version 2>/dev/null)" = "schemathesis, version $version" ] || {
  echo "installing schemathesis"
  python3 -m venv "$tools"
  "$tools/bin/pip" install --quiet --disable-pip-version-check "schemathesis==$version"
}

work=$(mktemp -d)
export SYNSCOPE_TOKEN=token-of-the-api-test
export SCHEMATHESIS_HOOKS=$PWD/scripts/test-api-hooks.py
"$binary" serve --listen 127.0.0.1:0 --data-dir "$work/data" --max-traces 4 --starts-per-minute 6000 > "$work/url" 2> "$work/log" &
server=$!
# Refused connects, so that the traces have something to tell.
while sleep 0.1; do : 3<>/dev/tcp/127.0.0.1/1; done 2>/dev/null &
connects=$!
trap 'kill $server $connects 2>/dev/null; wait $server 2>/dev/null || true; rm -rf "$work"' EXIT
until [ -s "$work/url" ]; do
  kill -0 $server || { cat "$work/log" >&2; exit 1; }
  sleep 0.1
done
url=$(sed 's/#.*//' "$work/url")

# A request that fits the schema may still be refused: no such cgroup, no such trace, as many traces as may run.
(cd "$work" && "$OLDPWD/$tools/bin/schemathesis" run "${url}api/v1/openapi.json" \
  --header "Authorization: Bearer $SYNSCOPE_TOKEN" --exclude-checks positive_data_acceptance \
  --max-examples 8 --seed 1 --request-timeout 60 --warnings off --no-color "$@") || {
  echo "--- log of the server ---" >&2
  tail -50 "$work/log" >&2
  exit 1
}
