# PID 1 on the overlay: brings the guest up, then serves jobs that arrive on the control port.
#   run ID         start /out/jobs/ID/cmd in a session of its own
#   kill ID SIG    signal that session's process group
#   off            leave
. /out/vhost/env
exec </dev/null >>/out/console.log 2>&1
mount -t cgroup2 cg /sys/fs/cgroup 2>/dev/null
mount -t tracefs trace /sys/kernel/tracing 2>/dev/null
mount -t debugfs debug /sys/kernel/debug 2>/dev/null
hostname "$VHOST_NAME"
ulimit -l unlimited
ulimit -c 0
ip link set lo up
modprobe -a virtio_console virtio_rng virtio_net

control_port() {
	local name
	for _ in $(seq 200); do
		name=$(grep -l '^vhost.ctl$' /sys/class/virtio-ports/*/name 2>/dev/null)
		[ -n "$name" ] && break
		sleep .05
	done
	name=${name%/name}
	echo "/dev/${name##*/}"
}

# A job's exit code appears by a rename: whoever sees it sees the whole output before it.
job() {
	local dir=/out/jobs/$1 pid
	cd /tmp
	setsid bash "$dir/cmd" >"$dir/stdout" 2>"$dir/stderr" 3>&- &
	pid=$!
	echo $pid >"$dir/pid.new" && mv "$dir/pid.new" "$dir/pid"
	wait $pid
	echo $? >"$dir/rc.new" && mv "$dir/rc.new" "$dir/rc"
}

# Closing and opening the port again loses what the outer side sent in between: one descriptor.
exec 3<>"$(control_port)"
echo "hello $(cut -d' ' -f1 /proc/uptime)" >&3
while read -r verb id arg <&3; do
	case $verb in
	run) job "$id" & ;;
	kill) kill -"$arg" -- -"$(cat "/out/jobs/$id/pid")" ;;
	off) break ;;
	esac
done
dmesg >/out/dmesg
echo o >/proc/sysrq-trigger
sleep 10
