# Every thread of a program, and every thread of the kernel that cannot be woken: state and kernel stack. Who has
# RDMA devices open.
cat /proc/uptime /proc/loadavg
for t in /proc/[0-9]*/task/[0-9]*; do
	state=$(sed 's/.*) \(.\).*/\1/' "$t/stat")
	[ -s "$t/cmdline" ] || [ "$state" = D ] || continue
	echo "${t#/proc/} $(cat "$t/comm") $state"
	sed 's/^\[<0>\] /    /' "$t/stack"
done 2>/dev/null
ls -l /proc/[0-9]*/fd 2>/dev/null | grep -E '^/proc|infiniband|rdma'
grep -l uverbs /proc/[0-9]*/maps 2>/dev/null
rdma resource show
dmesg | tail -n 150
