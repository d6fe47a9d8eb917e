#!/usr/bin/env bash
# Holds the container file, the Kubernetes manifests and the systemd unit against what their own tools expect. Nothing is
# built or started.
set -euo pipefail
cd "$(dirname "$0")/.."
fail() { echo "FAILED: $*" >&2; exit 1; }
tools=target/lint-tools
cmp -s scripts/lint-tools.txt "$tools/installed" || {
  echo "fetching hadolint and kubernetes-validate"
  python3 -m venv "$tools"
  "$tools/bin/pip" install --quiet --disable-pip-version-check -r scripts/lint-tools.txt
  cp scripts/lint-tools.txt "$tools/installed"
}

echo "container file"
"$tools/bin/hadolint" deploy/Containerfile

echo "Kubernetes manifests"
# The ServiceMonitor is a resource of the Prometheus operator, whose schema is not among those of Kubernetes.
"$tools/bin/kubernetes-validate" --strict --quiet deploy/kubernetes/synscope.yaml deploy/kubernetes/collector.yaml
"$tools/bin/python" - <<'PYTHON'
import yaml
documents = {}
for name in ("synscope", "collector", "servicemonitor"):
    with open(f"deploy/kubernetes/{name}.yaml") as file:
        for document in yaml.safe_load_all(file):
            documents[document["kind"], document["metadata"]["name"]] = document

def container(name):
    return documents["DaemonSet", name]["spec"]["template"]["spec"]["containers"][0]

# Least privileges: what the systemd unit has, and no more.
with open("deploy/systemd/synscope.service") as file:
    unit = dict(line.strip().split("=", 1) for line in file if "=" in line and not line.startswith("#"))
given = set(container("synscope")["securityContext"]["capabilities"]["add"])
assert given == {name.removeprefix("CAP_") for name in unit["CapabilityBoundingSet"].split()}, given
# What one sends, the other takes; what one offers, the other scrapes.
config = yaml.safe_load(documents["ConfigMap", "synscope-collector"]["data"]["config.yaml"])
takes = config["receivers"]["otlp"]["protocols"]["http"]["endpoint"]
assert f"http://{takes}" in container("synscope")["args"], takes
service = documents["Service", "synscope-collector"]
monitor = documents["ServiceMonitor", "synscope"]["spec"]
assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
assert monitor["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]
assert config["exporters"]["prometheus"]["endpoint"].endswith(f":{service['spec']['ports'][0]['port']}")
for pipeline in config["service"]["pipelines"].values():
    for kind in ("receivers", "processors", "exporters"):
        assert set(pipeline[kind]) <= set(config[kind]), pipeline
PYTHON

echo "systemd unit"
if command -v systemd-analyze > /dev/null; then
  unit=deploy/systemd/synscope.service
  exposure=$(systemd-analyze security --offline=true --no-pager "$unit" |
    sed -n 's/.*exposure level.*: \([0-9.]*\) .*/\1/p')
  awk -v found="$exposure" 'BEGIN { exit !(found > 0 && found <= 2.5) }' || fail "exposure is ${exposure:-unknown}"
  echo "exposure is $exposure"
elif [ -n "${CI-}" ]; then
  fail "systemd-analyze is missing"
else
  echo "skipped: no systemd-analyze here"
fi
echo "what is deployed is well-formed"
