#!/usr/bin/env bash
# The port collision of a service mesh, staged in two network namespaces of its own: from the symptom to the proof.
# docs/guide.md tells the story. Root; needs ip, nft and python3. Touches nothing outside its namespaces.
set -euo pipefail
cd "$(dirname "$0")/.."
synscope=${SYNSCOPE_BIN:-target/release/synscope}
for tool in ip nft python3; do
  command -v "$tool" >/dev/null || { echo "no $tool: Debian has it in iproute2, nftables or python3" >&2; exit 1; }
done
[ -x "$synscope" ] || { echo "no $synscope: cargo build --release makes it, SYNSCOPE_BIN names another" >&2; exit 1; }

app=synscope-app-$$ service=synscope-service-$$
work=$(mktemp -d)
cleanup() {
  trap - EXIT
  [ -z "${tracing-}" ] || kill -INT "$tracing" 2>/dev/null || true
  [ -z "${sidecar-}" ] || kill "$sidecar" 2>/dev/null || true
  wait 2>/dev/null || true
  ip netns del "$app" 2>/dev/null || true
  ip netns del "$service" 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT

# Two hosts on a wire.
ip netns add "$app" && ip netns add "$service"
ip -n "$app" link add eth0 type veth peer name eth0 netns "$service"
ip -n "$app" address add 10.117.0.1/24 dev eth0
ip -n "$service" address add 10.117.0.2/24 dev eth0
for host in "$app" "$service"; do
  ip -n "$host" link set lo up
  ip -n "$host" link set eth0 up
done

# As a mesh sets it up: port 80 of the service goes to its sidecar on 15006.
ip netns exec "$service" nft -f - <<'NFT'
table ip mesh {
  chain inbound { type nat hook prerouting priority -100; tcp dport 80 redirect to :15006; }
}
NFT
# As firewalls do it: a reset that belongs to no connection they know is dropped. Without this, the collision costs one
# second and heals itself.
ip netns exec "$app" nft -f - <<'NFT'
table ip firewall {
  chain out { type filter hook output priority 0; tcp flags & rst == rst tcp dport 80 drop; }
}
NFT
# The host forgets what it translated after minutes; here, after a second.
for state in fin_wait close_wait; do
  ip netns exec "$service" sysctl -qw "net.netfilter.nf_conntrack_tcp_timeout_$state=1"
done

# The sidecar answers, closes its half of each connection, and waits for the other half.
cat > "$work/sidecar.py" <<'PY'
import socket
server = socket.create_server(("0.0.0.0", 15006))
held = []
while True:
    connection, _ = server.accept()
    connection.shutdown(socket.SHUT_WR)
    held.append(connection)
PY
# The application connects from one fixed port, so that nobody has to wait a week for the kernel to choose it again.
cat > "$work/app.py" <<'PY'
import socket, sys, time
def connect():
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("10.117.0.1", 41000))
    s.settimeout(4)
    s.connect(("10.117.0.2", 80))
    return s
if sys.argv[1] == "vanish":
    s = connect()
    s.recv(1)  # the sidecar's end of its half
    time.sleep(0.2)
    TCP_REPAIR = 19  # closes without a word to the peer, like a host that loses power
    s.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
    s.close()
else:
    began = time.monotonic()
    try:
        connect()
        print("   connected")
    except OSError as error:
        print(f"   the application: {error!r} after {time.monotonic() - began:.1f} s")
PY
ip netns exec "$service" python3 "$work/sidecar.py" &
sidecar=$!
until ip netns exec "$service" ss -Hltn 2>/dev/null | grep -q :15006; do sleep 0.1; done

echo "1. a client of the service vanishes; the sidecar keeps its half of the connection"
ip netns exec "$app" python3 "$work/app.py" vanish
sleep 2

echo "2. Synscope watches the application's host"
inode=$(ip netns exec "$app" stat -Lc %i /proc/self/ns/net)
"$synscope" trace --output "$work/lines" -o time,comm,local,peer,retx,after,what "netns=$inode" 2> "$work/summary" &
tracing=$!
until grep -qs tracing "$work/summary"; do kill -0 $tracing || { cat "$work/summary" >&2; exit 1; }; sleep 0.1; done

echo "3. the same port is used again: the symptom"
ip netns exec "$app" python3 "$work/app.py" again

echo "4. the proof"
kill -INT $tracing
wait $tracing || true
tracing=
sed 's/^/   /' "$work/lines"
if ! grep -q 'challenge' "$work/lines"; then
  echo "no challenge ACK was seen: the collision did not come about" >&2
  exit 1
fi
echo "   what holds the port at the other end:"
ip netns exec "$service" ss -Htan 'sport = :15006 and dport = :41000' | sed 's/^/   /'
