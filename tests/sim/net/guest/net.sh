# Network and soft-RoCE inside a guest; sourced by Guest.net().
#
# Two hosts in one guest: va 10.1.0.1 and vb 10.1.0.2 are the ends of a veth pair, both in the
# initial network namespace, because rxe carries traffic in no other (6.1 and 6.12). Policy routing
# makes packets cross the pair that the kernel would deliver at once as local; a socket that is
# bound to neither address is taken for one of the other host.

veth_rules() {
	ip rule add pref 10 iif va lookup local
	ip rule add pref 11 iif vb lookup local
	ip rule add pref 12 from 10.1.0.1 to 10.1.0.1 lookup local
	ip rule add pref 13 from 10.1.0.2 to 10.1.0.2 lookup local
	ip rule add pref 20 from 10.1.0.1 to 10.1.0.2 lookup 101
	ip rule add pref 21 from 10.1.0.2 to 10.1.0.1 lookup 102
	ip rule add pref 22 oif va to 10.1.0.2 lookup 101
	ip rule add pref 23 oif vb to 10.1.0.1 lookup 102
	ip rule add pref 30 iif lo to 10.1.0.2 lookup 101
	ip rule add pref 31 iif lo to 10.1.0.1 lookup 102
	ip rule add pref 100 lookup local
	ip rule del pref 0
}

# Routes and neighbours vanish with the link: repeated after every `up`. Neighbours are fixed
# because rdma_resolve_addr loses an ARP answer that comes back within its own call, and then
# sleeps for its whole limit.
veth_paths() {
	ip route replace 10.1.0.2 dev va src 10.1.0.1 table 101
	ip route replace 10.1.0.1 dev vb src 10.1.0.2 table 102
	ip neigh replace 10.1.0.2 lladdr "$(cat /sys/class/net/vb/address)" dev va nud permanent
	ip neigh replace 10.1.0.1 lladdr "$(cat /sys/class/net/va/address)" dev vb nud permanent
}

veth_hosts() { # [MTU]
	local d
	modprobe -a veth rdma_rxe rdma_ucm ib_umad sch_netem || return 1
	veth_rules
	ip link add va mtu "${1:-9000}" type veth peer name vb mtu "${1:-9000}" || return 1
	sysctl -qw net.ipv4.conf.all.rp_filter=0
	for d in va vb; do
		sysctl -qw net.ipv4.conf.$d.rp_filter=0 net.ipv4.conf.$d.accept_local=1 \
			net.ipv4.conf.$d.arp_ignore=1 net.ipv4.conf.$d.arp_announce=2 \
			net.ipv6.conf.$d.disable_ipv6=1
	done
	ip addr add 10.1.0.1/32 dev va
	ip addr add 10.1.0.2/32 dev vb
	ip link set va up
	ip link set vb up
	veth_paths
	rdma_add rxea va && rdma_add rxeb vb
}

# fd00::N and fe80::N as 10.1.0.N; what is link-local crosses the pair by itself.
veth_ipv6() {
	local d
	ip -6 rule add pref 10 iif va lookup local
	ip -6 rule add pref 11 iif vb lookup local
	ip -6 rule add pref 12 from fd00::1 to fd00::1 lookup local
	ip -6 rule add pref 13 from fd00::2 to fd00::2 lookup local
	ip -6 rule add pref 20 from fd00::1 to fd00::2 lookup 101
	ip -6 rule add pref 21 from fd00::2 to fd00::1 lookup 102
	ip -6 rule add pref 22 oif va to fd00::2 lookup 101
	ip -6 rule add pref 23 oif vb to fd00::1 lookup 102
	ip -6 rule add pref 30 iif lo to fd00::2 lookup 101
	ip -6 rule add pref 31 iif lo to fd00::1 lookup 102
	ip -6 rule add pref 100 lookup local
	ip -6 rule del pref 0
	for d in va vb; do
		sysctl -qw net.ipv6.conf.$d.accept_dad=0 net.ipv6.conf.$d.disable_ipv6=0
	done
	veth_end6 va 1 vb 2 101 && veth_end6 vb 2 va 1 102
	gid_wait rxea fd00 1 && gid_wait rxea fe80 1 && gid_wait rxeb fd00 2 && gid_wait rxeb fe80 2
}

veth_end6() { # NETDEV NUMBER PEER ITS-NUMBER TABLE
	local mac
	mac=$(cat "/sys/class/net/$3/address")
	ip -6 addr add "fd00::$2/128" dev "$1" nodad
	ip -6 addr add "fe80::$2/64" dev "$1" nodad
	ip -6 route replace "fd00::$4" dev "$1" src "fd00::$2" table "$5"
	ip -6 neigh replace "fd00::$4" lladdr "$mac" dev "$1" nud permanent
	ip -6 neigh replace "fe80::$4" lladdr "$mac" dev "$1" nud permanent
}

gid_wait() { # DEVICE PREFIX NUMBER: until PREFIX::NUMBER is one of its identifiers
	local i
	for i in $(seq 200); do
		grep -q "^$2:0000:.*:000$3\$" /sys/class/infiniband/$1/ports/1/gids/* 2>/dev/null && return 0
		sleep .05
	done
	echo "$1 has no identifier $2::$3" >&2
	return 1
}

nic_host() { # ADDRESS/LENGTH fd00::NUMBER [MTU]
	modprobe -a virtio_net rdma_rxe rdma_ucm ib_umad sch_netem || return 1
	ip addr add "$1" dev eth0
	ip -6 addr add "$2/64" dev eth0 nodad
	ip link set eth0 mtu "${3:-9000}" up
	rdma_add rxe0 eth0 && gid_wait rxe0 fd00 "${2##*:}"
}

rdma_active() { # DEVICE
	local i
	for i in $(seq 200); do
		rdma link show "$1/1" 2>/dev/null | grep -q 'state ACTIVE' && return 0
		sleep .05
	done
	echo "$1 did not become active" >&2
	return 1
}

rdma_add() { # DEVICE NETDEV
	rdma link add "$1" type rxe netdev "$2" && rdma_active "$1"
}

rdma_del() { # DEVICE; returns when the programs that hold it have let it go
	rdma link delete "$1"
}

link_down() { ip link set "$1" down; }

link_up() { # NETDEV
	ip link set "$1" up
	case $1 in va | vb) veth_paths ;; esac
}

# loss NETDEV PERCENT: of what leaves by it; 0 takes it off again
loss() {
	tc qdisc del dev "$1" root 2>/dev/null
	[ "$2" = 0 ] || tc qdisc add dev "$1" root netem loss "$2%"
}

counter() { # DEVICE NAME
	cat "/sys/class/infiniband/$1/ports/1/hw_counters/$2"
}

gid_index() { # DEVICE ADDRESS: of the RoCE v2 identifier that carries the address
	local hex f
	hex=$(printf '%02x%02x:%02x%02x' ${2//./ })
	for f in /sys/class/infiniband/$1/ports/1/gids/*; do
		grep -q "ffff:$hex\$" "$f" && echo "${f##*/}" && return 0
	done
	return 1
}

next_region() { # DEVICE GID-INDEX: the number that the kernel gives to the registration that is made now
	local n pid
	ibv_rc_pingpong -d "$1" -g "$2" >/dev/null &
	pid=$!
	until [ -n "$n" ]; do
		kill -0 $pid || return 1
		n=$(rdma resource show mr dev "$1" | sed -n "s/.* mrn \([0-9]*\) .* pid $pid .*/\1/p")
	done
	kill -KILL $pid
	wait $pid 2>/dev/null
	echo "$n"
}
