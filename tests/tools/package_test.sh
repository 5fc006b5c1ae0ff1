#!/bin/sh
# Builds the Debian package from a copy of the source, installs it into an empty system of its own, uses it from there, and removes it.
# package_test.sh SOURCE
set -eu
for need in dpkg-buildpackage dh meson ninja; do
	command -v "$need" >/dev/null || { echo "skip: no $need"; exit 77; }
done
source=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/root"
"$source/tests/harness/copy_source.sh" "$source" "$work/source"
unset DLACCEL DLACCEL_TOOL DLACCEL_LIBRARY LD_PRELOAD LD_LIBRARY_PATH CFLAGS LDFLAGS
cd "$work/source"
dpkg-buildpackage -us -uc -b >"$work/log" 2>&1 || { tail -50 "$work/log"; echo "the package does not build"; exit 1; }
set -- "$work"/dlaccel_*.deb
cd "$work"

fail() { echo "FAIL: $*"; exit 1; }
# Installed, into a system of its own that has nothing else.
mkdir -p root/var/lib/dpkg/info root/var/lib/dpkg/updates root/var/lib/dpkg/triggers
: >root/var/lib/dpkg/status
in_root() { dpkg --root="$work/root" --force-not-root --force-depends --force-script-chrootless "$@" >>"$work/log" 2>&1; }
in_root --install "$1" || { tail -20 "$work/log"; fail "the package does not install"; }
in_root --audit && [ "$(dpkg-query --admindir="$work/root/var/lib/dpkg" -W -f '${Status}' dlaccel)" = "install ok installed" ] ||
	{ tail -20 "$work/log"; fail "the package is not installed"; }
tool=$work/root/usr/bin/dlaccel
library=$(find "$work/root/usr/lib" -name libdlaccel.so)
[ -n "$library" ] || fail "no library in the package"
version=$(sed -n "s/^  version: '\(.*\)',/\1/p" "$source/meson.build")
[ "$("$tool" --version)" = "dlaccel $version" ] || fail "--version"
dpkg-deb -f "$1" Version | grep -qx "$version" || fail "the package's version is not the project's"
"$tool" run -- true || fail "run -- true"
[ "$("$tool" run -q -- printenv LD_PRELOAD)" = "$library" ] || fail "run does not preload the package's library"
status=0
"$tool" run -q -- sh -c 'exit 42' || status=$?
[ $status = 42 ] || fail "exit status $status instead of 42"
"$tool" doctor true >doctor.txt || { cat doctor.txt; fail "doctor"; }
"$tool" bench net --rows oneway_64k --pairs 1 --seconds 0.3 >bench.txt || { cat bench.txt; fail "bench net"; }
grep -q 'moved 0 [1-9]' bench.txt || { cat bench.txt; fail "bench net moved nothing"; }
needed=$(objdump -p "$library" | awk '/NEEDED/ { print $2 }' | grep -v '^ld-linux' | tr '\n' ' ')
[ "$needed" = "libc.so.6 " ] || fail "the library needs $needed"
for page in man1/dlaccel.1 man7/libdlaccel.7; do
	gzip -t "$work/root/usr/share/man/$page.gz" || fail "no manual $page"
done
gzip -dc "$work/root/usr/share/man/man7/libdlaccel.7.gz" | grep -q DLACCEL_NET_RING || fail "the manual lacks the settings"
dpkg-deb -f "$1" Depends | grep -q 'libc6' || fail "no dependency on libc6"
in_root --purge dlaccel || { tail -20 "$work/log"; fail "the package cannot be removed"; }
left=$(find "$work/root" -path "$work/root/var" -prune -o ! -type d -print)
[ -z "$left" ] || fail "left behind: $left"
echo "ok: $(basename "$1")"
