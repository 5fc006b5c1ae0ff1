# Sourced by quickstart and check: packages, the virtual environment and the build.
# Settings, all optional: PYTHON (the interpreter for .venv), TORCH_VERSION (2.13.0), TORCH_PIP_ARGS (options
# for pip where PyTorch is installed, an index for example); pip's own PIP_* variables work as always.

say() { printf '%s\n' "$*"; }
step() { printf '\n== %s\n' "$*"; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		die "needs root or sudo for: $*"
	fi
}

# The dpkg lock can be waited for with an option; the lock on the package lists cannot, so repeat.
apt_do() {
	local try
	for try in 1 2 3 4 5 6 7 8 9 10; do
		as_root env DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=a \
			apt-get -q -y -o DPkg::Lock::Timeout=300 "$@" </dev/null && return
		[ "$try" = 10 ] || { say "apt-get $1 failed, trying again in ${try}0 s"; sleep "${try}0"; }
	done
	return 1
}

installed() { dpkg-query -W -f '${db:Status-Status}\n' "$1" 2>/dev/null | grep -qx installed; }

# Touches apt only when something is missing: works offline on a machine that has everything.
apt_need() {
	local pkg missing=()
	for pkg; do installed "$pkg" || missing+=("$pkg"); done
	[ ${#missing[@]} = 0 ] && return
	command -v apt-get >/dev/null || die "no apt-get here; install by hand: ${missing[*]}"
	say "installing: ${missing[*]}"
	apt_do update >"$log" 2>&1 || say "apt-get update failed, going on with the lists that are here"
	apt_do install --no-install-recommends "${missing[@]}" >"$log" 2>&1 || { tail -20 "$log"; die "apt-get install failed"; }
}

can_venv() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

venv_need() {
	[ -x .venv/bin/python ] && .venv/bin/python -c 'import pip' 2>/dev/null && return
	local python=${PYTHON:-python3}
	can_venv "$python" || { apt_need python3 python3-venv; python=/usr/bin/python3; }
	say "virtual environment: .venv ($("$python" -V))"
	# An interpreter that already has PyTorch lends it to the environment: no second download.
	if "$python" -c 'import torch.distributed' 2>/dev/null; then
		"$python" -m venv --clear --system-site-packages .venv
	else
		"$python" -m venv --clear .venv
	fi
}

# pip_need MODULE REQUIREMENT [pip option...]: installs when the module cannot be imported.
pip_need() {
	local module=$1 requirement=$2
	shift 2
	.venv/bin/python -c "import $module" 2>/dev/null && return
	say "pip: $requirement"
	.venv/bin/python -m pip install --disable-pip-version-check --progress-bar off -q "$@" "$requirement" </dev/null ||
		die "pip could not install $requirement"
}

torch_need() {
	local args=()
	read -ra args <<<"${TORCH_PIP_ARGS:-}"
	if ! .venv/bin/python -c 'import torch' 2>/dev/null; then
		say "PyTorch next. The default build for x86-64 brings CUDA and is some gigabytes; to take a"
		say "CPU build instead set TORCH_PIP_ARGS to its index, as pytorch.org shows it."
	fi
	pip_need numpy numpy
	pip_need torch "torch==${TORCH_VERSION:-2.13.0}" ${args[@]+"${args[@]}"}
	.venv/bin/python -c 'import torch.distributed as d; assert d.is_gloo_available()' ||
		die "this PyTorch has no gloo backend"
}

# Distributions older than Debian 12 ship a meson that is too old for the project.
meson_need() {
	local have
	have=$(meson --version 2>/dev/null || echo 0)
	if dpkg --compare-versions "$have" ge 1.0.0; then
		meson=meson
	else
		pip_need mesonbuild 'meson>=1.0'
		meson=$PWD/.venv/bin/meson
	fi
}

# build_in DIR [meson option...]
build_in() {
	local dir=$1
	shift
	[ ! -f "$dir/build.ninja" ] || set -- --reconfigure "$@"
	"$meson" setup "$dir" "$@" >"$log" 2>&1 || { cat "$log"; die "meson setup failed"; }
	"$meson" compile -C "$dir" >"$log" 2>&1 || { tail -40 "$log"; die "the build failed"; }
}
