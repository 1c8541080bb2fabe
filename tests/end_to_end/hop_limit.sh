#!/usr/bin/env bash
# Runs `check` in the first of three network namespaces, workload - router - imds, while the network between it and the
# simulator in the last fails in several ways. Prints a line for each case: its name, a tab, and JSON.
#
#   tests/end_to_end/hop_limit.sh PROGRAM
#
# hop_limit.rs starts this in namespaces of its own, which end with it. The addresses are reserved for documentation.
set -euo pipefail
program=$1

mount -t tmpfs tmpfs /run
for name in workload router imds; do ip netns add "$name"; done
in_workload() { ip netns exec workload "$@"; }
in_router() { ip netns exec router "$@"; }
in_imds() { ip netns exec imds "$@"; }

# Addresses are usable at once, without duplicate address detection.
for name in workload router imds; do
  ip netns exec "$name" sh -c 'for each in all default; do echo 0 > /proc/sys/net/ipv6/conf/$each/accept_dad; done'
done

ip link add left netns workload type veth peer name left netns router
ip link add right netns router type veth peer name right netns imds
for at in workload:left router:left router:right imds:right; do
  ip -n "${at%:*}" link set "${at#*:}" up
  ip -n "${at%:*}" link set lo up
done
address() { ip -n "$1" address add "$3" dev "$2" ${4:+nodad}; }
address workload left 192.0.2.2/24
address router left 192.0.2.1/24
address router right 198.51.100.1/24
address imds right 198.51.100.2/24
address workload left 2001:db8:1::2/64 nodad
address router left 2001:db8:1::1/64 nodad
address router right 2001:db8:2::1/64 nodad
address imds right 2001:db8:2::2/64 nodad
in_router sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding'
# The router reports each packet that it cannot forward: a resolution tries two connections.
in_router sh -c 'echo 0 > /proc/sys/net/ipv4/icmp_ratelimit; echo 0 > /proc/sys/net/ipv6/icmp/ratelimit'
default_routes() {
  ip -n workload route replace default via 192.0.2.1
  ip -n workload -6 route replace default via 2001:db8:1::1
}
default_routes
ip -n imds route add default via 198.51.100.1
ip -n imds -6 route add default via 2001:db8:2::1

# listening PORT: returns once the simulator listens.
listening() {
  local tries
  for tries in $(seq 400); do
    if in_imds sh -c "grep -qi ':$1 ' /proc/net/tcp /proc/net/tcp6"; then return; fi
    sleep 0.05
  done
  echo "the simulator does not listen after $tries tries" >&2
  exit 1
}
ip netns exec imds "$program" simulate --expose-to-the-network --listen '[::]:80' --control 127.0.0.1:81 > /dev/null &
simulator=$!
listening 0050
listening 0051

# apply TOML: the change is in effect when it returns.
apply() {
  in_imds bash -c 'exec 3<> /dev/tcp/127.0.0.1/81
    printf "POST / HTTP/1.1\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" "${#1}" "$1" >&3
    read -r status <&3; case $status in *" 204 "*) ;; *) echo "$1: $status" >&2; exit 1 ;; esac' apply "$1"
}

v4=http://198.51.100.2
v6='http://[2001:db8:2::2]'
# check NAME ENDPOINT
check() {
  printf '%s\t' "$1"
  in_workload env -i AWS_EC2_METADATA_SERVICE_ENDPOINT="$2" IMDS_EXPORTER_TIMEOUT="${timeout:-1s}" "$program" check --json | tr -d '\n' || true
  printf '\n'
}
both() { check "$1-ipv4" "$v4"; check "$1-ipv6" "$v6"; }

both fine
apply 'hop_limit = 1'
both one-hop
apply 'hop_limit = 2'
both two-hops

# The exporter in steady state: the limit is lowered, so that no token arrives; then it is raised.
ip netns exec workload env -i AWS_EC2_METADATA_SERVICE_ENDPOINT="$v4" IMDS_EXPORTER_LISTEN_ADDRESS=127.0.0.1:9 \
  IMDS_EXPORTER_POLL_INTERVAL=1s IMDS_EXPORTER_LOG=error "$program" > /dev/null &
exporter=$!
# until_scraped NAME LINE: prints the case once a scrape has the line.
until_scraped() {
  local tries
  for tries in $(seq 400); do
    if in_workload bash -c 'exec 3<> /dev/tcp/127.0.0.1/9
      printf "GET /metrics HTTP/1.1\r\nConnection: close\r\n\r\n" >&3; cat <&3' 2> /dev/null | grep -qFx "$2"; then
      printf '%s\t{"seen":true}\n' "$1"
      return
    fi
    sleep 0.05
  done
  printf '%s\t{"seen":false,"tries":%d}\n' "$1" "$tries"
}
until_scraped exporter-fine 'imds_up 1'
apply 'hop_limit = 1'
until_scraped exporter-one-hop 'imds_failure_active{kind="hop_limit",step="token"} 1'
apply 'hop_limit = 2'
until_scraped exporter-recovered 'imds_up 1'
kill "$exporter"

# The router drops packets to the simulator; then packets back are dropped.
ip -n router route add blackhole 198.51.100.2
ip -n router -6 route add blackhole 2001:db8:2::2
both dropped-there
ip -n router route del blackhole 198.51.100.2
ip -n router -6 route del blackhole 2001:db8:2::2
ip -n imds route replace blackhole 192.0.2.2
ip -n imds -6 route replace blackhole 2001:db8:1::2
both dropped-back
ip -n imds route del blackhole 192.0.2.2
ip -n imds -6 route del blackhole 2001:db8:1::2
both packets-again

# The router reports that there is no route. It is so near that its message may arrive before the kernel's `connect`
# call has returned; the kernel then ignores it until it sends the SYN again, a second later.
timeout=3s
ip -n router route add unreachable 198.51.100.2
ip -n router -6 route add unreachable 2001:db8:2::2
both router-unreachable
ip -n router route replace prohibit 198.51.100.2
ip -n router -6 route del unreachable 2001:db8:2::2
ip -n router -6 route add prohibit 2001:db8:2::2
both router-prohibits
ip -n router route del prohibit 198.51.100.2
ip -n router -6 route del prohibit 2001:db8:2::2
timeout=

# The workload has no route.
ip -n workload route del default
ip -n workload -6 route del default
both no-route
default_routes
both route-again
ip -n workload link set left down
both link-down
kill "$simulator"
