#!/usr/bin/env python3
"""What the preload gains: each row bare and preloaded in turn, with every pair and the spread.

    tests/bench/net.py                      every row, 7 pairs (31 where the floor is "not below bare")
    tests/bench/net.py --rows pingpong,gloo --pairs 15 --json FILE
    tests/bench/net.py --list               the rows and their floors
    tests/bench/net.py --short              a quick run that fails on wrong results, never on time

One-way rows send the same memory again and again; in "fresh" ones the sender has just written all of it, and the receiver reads it.
A floor is a ratio, bare to preloaded, larger is better, unless the row says otherwise.  It is the median of the pairs' ratios; behind it
stands where the true median lies 95 times of 100 (order statistics: nothing is assumed of how the ratios are spread).
Beside one-way rows stands what the two cores do without any connection: "copy", every byte copied once, by both; "pass", once by
each, through memory that both share.
"""
import argparse
import contextlib
import functools
import json
import math
import os
import pathlib
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(HERE), str(HERE.parent / "frameworks")]
import instructions  # noqa: E402
import pair  # noqa: E402

VENV = ROOT / ".venv/bin/python"
PYTHON = str(VENV) if VENV.exists() else sys.executable
NOT_BELOW = 0.97
DIFFERENCES = {"startup": 3, "idle_cpu": 500}  # ms; us of CPU in two seconds: a quarter of a thousandth
MIN_BYPASS = 0.95
MIN_BYPASS_SHORT = 0.5  # a short run on a busy machine overflows into TCP more often: no timing may decide a test


class Row:
    """One figure of a group; lower: less is better; ucx: how many times UCX's figure is allowed, or asked for."""

    def __init__(self, metric, unit, floor, lower=False, ucx=None):
        self.metric, self.unit, self.floor, self.lower, self.ucx = metric, unit, floor, lower, ucx

    def ratio(self, bare, preloaded):
        return bare / preloaded if self.lower else preloaded / bare

    def against_ucx(self, preloaded, ucx):
        """At least 1 where the goal is met."""
        factor = self.ucx
        return ucx * factor / preloaded if self.lower else preloaded / (ucx * factor)


class Bench:
    def __init__(self, args):
        self.args = args
        self.short = args.short
        self.seconds = 0.1 if args.short else args.seconds
        self.scratch = tempfile.TemporaryDirectory(prefix="bench-")

    def program(self, name):
        built = pathlib.Path(self.args.build, "tests/bench", name)
        if built.exists():
            return str(built)
        own = pathlib.Path(self.scratch.name, name)
        if not own.exists():
            pair.need("cc")
            subprocess.run(["cc", "-O2", "-D_GNU_SOURCE", "-o", own, HERE / f"{name}.c"], check=True)
        return str(own)

    def netbench(self, env, mode, size, pin="pin", seconds=None):
        output = pair.run([self.program("netbench"), mode, size, seconds or self.seconds, pin], env)
        return {k: v for line in output.decode().splitlines() for k, v in json.loads(line).items()}

    def limits(self, size):
        """GB/s of this machine's two cores alone."""
        return {name: self.netbench(os.environ, mode, size, seconds=self.seconds / 4)["gb_s"] for name, mode in (("copy", "limit"), ("pass", "pass"))}


def script(name):
    return [PYTHON, str(HERE / name)]


# -- the groups: each returns {metric: value} for one run in one environment ----------------------

@functools.cache
def need_modules(names):
    if subprocess.run([PYTHON, "-c", f"import {names}"], capture_output=True).returncode:
        pair.skip(f"{PYTHON} cannot import {names}")


def pingpong(mode, **settings):
    def run(bench, env):
        return {f"pingpong_{mode}": bench.netbench({**env, **settings}, mode, 64)["half_us"]}
    return run


def oneway(name, size, mode="oneway"):
    def run(bench, env):
        got = bench.netbench(env, mode, size, seconds=bench.seconds * (3 if size > 1 << 24 else 1))
        return {f"{mode}_{name}": got["gb_s"], f"{mode}_{name}_cpu": got["cpu_s"] / (got["bytes"] / 1e9)}
    return run


def idle(bench, env):
    got = bench.netbench(env, "idle", 20 if bench.short else 100, pin="-")
    return {"idle_cpu": 1e6 * (got["cpu_s"] + got["peer_cpu_s"])}


def two_ranks(argv, env):
    """The outputs of both; started by hand: torchrun's own start would take most of the time."""
    env = dict(env, OMP_NUM_THREADS="1", WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(pair.free_port()))
    ranks = [subprocess.Popen([str(a) for a in argv], env=dict(env, RANK=str(rank)), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, text=True) for rank in range(2)]
    outputs = [rank.communicate(timeout=300)[0] for rank in ranks]
    if any(rank.returncode for rank in ranks):
        raise RuntimeError(f"ranks ended with {[rank.returncode for rank in ranks]}")
    return outputs


def gloo(bench, env):
    need_modules("torch")
    first, second = map(json.loads, two_ranks([*script("gloo_bench.py"), 2 if bench.short else 8], env))
    result = {f"gloo_{k}": (first[k] + second[k]) / 2 for k in ("broadcast_ms", "send_ms", "all_reduce_ms")}
    result["gloo_cpu"] = first["bulk_cpu_s_per_gb"] + second["bulk_cpu_s_per_gb"]
    result["gloo_bypass"] = 1 - (first["kernel"] + second["kernel"]) / (first["sent"] + second["sent"])
    return result


def ddp(bench, env):
    need_modules("torch, sklearn")
    output = two_ranks([PYTHON, ROOT / "examples/train_digits.py", "--epochs", 1 if bench.short else 2], env)[0]
    return {"ddp_step": float(re.search(r"^step: ([\d.]+) ms", output, re.M).group(1)),
            "ddp_weights": re.search(r"^weights: sha256 (\w+)", output, re.M).group(1)}


# Freed memory stays with the process; else each call with 4 MiB may hand 8 MiB back to the kernel and fault them in again,
# 5 ms a call: in which runs is decided by how malloc's arenas come to lie, bare and preloaded (perf stat -e page-faults).
KEEP_FREED = {"MALLOC_TRIM_THRESHOLD_": str(1 << 28), "MALLOC_MMAP_THRESHOLD_": str(1 << 28)}


def grpc_unary(name, size, **more):
    def run(bench, env):
        need_modules("grpc")
        port, env = pair.free_port(), dict(env, **more)
        with pair.serve([*script("grpc_bench.py"), "server", port], env, port):
            client = [*script("grpc_bench.py"), "client", port, size, 2 * bench.seconds]
            return {f"grpc_{name}": json.loads(pair.run(client, env))["call_ms"]}
    return run


@contextlib.contextmanager
def redis_server(env):
    port = pair.free_port()
    argv = [pair.need("redis-server"), "--port", port, "--save", "", "--bind", "127.0.0.1"]
    with tempfile.TemporaryDirectory() as folder, pair.serve(argv, env, port, cwd=folder):
        yield port


def redis(name, *options):
    def run(bench, env):
        count = str(int(options[-1]) // 15) if bench.short else options[-1]  # redis-benchmark's clock has milliseconds
        with redis_server(env) as port:
            argv = ["redis-benchmark", "-p", port, "--csv", "-t", "set,get", *options[:-1], "-n", count]
            lines = pair.run(argv, env).decode().splitlines()
        rate = {line.split(",")[0].strip('"').lower(): float(line.split(",")[1].strip('"')) for line in lines[1:]}
        return {f"redis_{name}_{call}": rate[call] for call in ("set", "get")}
    return run


def memcached(bench, env):
    port = pair.free_port()
    argv = [pair.need("memcached"), "-l", "127.0.0.1", "-p", port, "-U", "0", "-u", "root"]
    with pair.serve(argv, env, port):
        output = pair.run([bench.program("kvload"), port, 50, 100, bench.seconds], env)
    return {"memcached": json.loads(output)["requests_s"]}


NGINX = """daemon off; pid {0}/pid; error_log {0}/error.log; worker_processes 2; {2}
events {{ worker_connections 512; }}
http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000;
client_body_temp_path {0}/a; proxy_temp_path {0}/b; fastcgi_temp_path {0}/c; uwsgi_temp_path {0}/d; scgi_temp_path {0}/e;
server {{ listen 127.0.0.1:{1}; root {0}; }} }}
"""


def nginx(name, size):
    def run(bench, env):
        port, program, wrk = pair.free_port(), *pair.need("nginx", "wrk")
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o755)
            pathlib.Path(folder, "file").write_bytes(pair.pattern(size))
            user = "user root;" if os.getuid() == 0 else ""
            pathlib.Path(folder, "conf").write_text(NGINX.format(folder, port, user))
            with pair.serve([program, "-p", folder, "-c", f"{folder}/conf"], env, port, stop=signal.SIGQUIT):
                length = f"{max(1, round(bench.seconds))}s"
                output = pair.run([wrk, "-t1", "-c16", "-d", length, f"http://127.0.0.1:{port}/file"], env).decode()
        if "Non-2xx" in output or "Socket errors" in output:
            raise RuntimeError(output)
        return {f"nginx_{name}": float(re.search(r"Requests/sec:\s+([\d.]+)", output).group(1))}
    return run


def startup(bench, env):
    times = []
    for _ in range(3 if bench.short else 9):
        start = time.perf_counter()
        pair.run([PYTHON, "-c", "pass"], env)
        times.append(1e3 * (time.perf_counter() - start))
    return {"startup": statistics.median(times)}


# -- UCX in the same run -------------------------------------------------------------------------

def ucx_run(test, size, count, tls):
    """(median latency in us, bandwidth in GB/s)"""
    port, env = pair.free_port(), {**os.environ, "UCX_TLS": tls}
    base = ["ucx_perftest", "-p", str(port)]
    server = subprocess.Popen(["taskset", "-c", "0", *base], env=env, stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(50):
            time.sleep(0.1)
            done = subprocess.run(["taskset", "-c", "1", *base, "127.0.0.1", "-t", test, "-s", str(size), "-n",
                                   str(count), "-f", "-v"], env=env, capture_output=True, text=True, timeout=120)
            if done.returncode == 0:
                break
        row = done.stdout.strip().splitlines()[-1].split(",")
        return float(row[1]), float(row[5]) * (1 << 20) / 1e9
    finally:
        server.kill()
        server.wait()


def ucx_latency(bench):
    return ucx_run("tag_lat", 64, 100000 if not bench.short else 1000, "posix")[0]


def ucx_bandwidth(size):
    def run(bench):
        count = max(20, min(20000, (4 << 30) // size)) if not bench.short else 10
        return max(ucx_run("tag_bw", size, count, tls)[1] for tls in ("posix", "posix,cma"))
    return run


# group: (function, its rows, UCX's figure)
GROUPS = {
    "pingpong_blocking": (pingpong("blocking"), [Row("pingpong_blocking", "us", 10, True, ucx=4)], ucx_latency),
    "pingpong_epoll": (pingpong("epoll"), [Row("pingpong_epoll", "us", 5, True)], None),
    "pingpong_poll": (pingpong("poll"), [Row("pingpong_poll", "us", 5, True)], None),
    # upgraded in spite of waits that show nothing
    "pingpong_rawepoll": (pingpong("rawepoll", DLACCEL_NET_THRESHOLD="1"), [Row("pingpong_rawepoll", "us", NOT_BELOW, True)], None),
    "oneway_1k": (oneway("1k", 1024), [Row("oneway_1k", "GB/s", NOT_BELOW)], None),
    "oneway_64k": (oneway("64k", 1 << 16), [Row("oneway_64k", "GB/s", 3, ucx=1),
                                            Row("oneway_64k_cpu", "s/GB", 1 / 0.6, True)], ucx_bandwidth(1 << 16)),
    "oneway_1m": (oneway("1m", 1 << 20), [Row("oneway_1m", "GB/s", 3, ucx=1),
                                          Row("oneway_1m_cpu", "s/GB", 1 / 0.6, True)], ucx_bandwidth(1 << 20)),
    "oneway_64m": (oneway("64m", 1 << 26), [Row("oneway_64m", "GB/s", 2.5, ucx=1.2),
                                            Row("oneway_64m_cpu", "s/GB", 1 / 0.6, True)], ucx_bandwidth(1 << 26)),
    "fresh_64k": (oneway("64k", 1 << 16, "fresh"), [Row("fresh_64k", "GB/s", 1.5)], None),
    "fresh_8m": (oneway("8m", 1 << 23, "fresh"), [Row("fresh_8m", "GB/s", 1.5)], None),
    "gloo": (gloo, [Row("gloo_broadcast_ms", "ms", 2, True), Row("gloo_send_ms", "ms", 2, True),
                    Row("gloo_all_reduce_ms", "ms", 1.5, True), Row("gloo_cpu", "s/GB", 1 / 0.6, True)], None),
    "ddp": (ddp, [Row("ddp_step", "ms", 1.25, True)], None),
    "grpc_4m": (grpc_unary("4m", 4 << 20), [Row("grpc_4m", "ms", 1.15, True)], None),
    "grpc_kept_4m": (grpc_unary("kept_4m", 4 << 20, **KEEP_FREED), [Row("grpc_kept_4m", "ms", 1.15, True)], None),
    "grpc_64": (grpc_unary("64", 64), [Row("grpc_64", "ms", NOT_BELOW, True)], None),
    "redis_usual": (redis("usual", "100000"), [Row("redis_usual_set", "1/s", NOT_BELOW),
                                         Row("redis_usual_get", "1/s", NOT_BELOW)], None),
    "redis_pipelined": (redis("pipelined", "-P", "32", "1000000"),
                        [Row("redis_pipelined_set", "1/s", NOT_BELOW), Row("redis_pipelined_get", "1/s", NOT_BELOW)], None),
    "redis_1m": (redis("1m", "-d", str(1 << 20), "3000"), [Row("redis_1m_set", "1/s", 1.3),
                                                          Row("redis_1m_get", "1/s", 1.3)], None),
    "memcached": (memcached, [Row("memcached", "1/s", NOT_BELOW)], None),
    "nginx_1k": (nginx("1k", 1000), [Row("nginx_1k", "1/s", NOT_BELOW)], None),
    "nginx_64k": (nginx("64k", 1 << 16), [Row("nginx_64k", "1/s", NOT_BELOW)], None),
    "startup": (startup, [Row("startup", "ms", None, True)], None),
    "idle": (idle, [Row("idle_cpu", "us", None, True)], None),
}


LIMITED = {"oneway_64k": 1 << 16, "oneway_1m": 1 << 20, "oneway_64m": 1 << 26}  # bytes of a message


def once(bench, run, preload):
    with tempfile.TemporaryDirectory(prefix="bench-") as record:
        got = run(bench, pair.environment(preload, record, threshold=None))
        got["moved"] = pair.moved(pair.counters(record))
    return got


def spread(values):
    values = sorted(values)
    return f"{statistics.median(values):.4g} ({values[0]:.4g} to {values[-1]:.4g})"


def difference(bare, preloaded):
    return statistics.median(y - x for x, y in zip(bare, preloaded))


def interval(values):
    """What holds their median 95 times of 100: as many of the n are left out at each end as n coins hardly ever show fewer heads."""
    n, out, chance = len(values), 0, 0.0
    while chance + math.comb(n, out) / 2 ** n <= 0.025:
        chance += math.comb(n, out) / 2 ** n
        out += 1
    left = max(out - 1, 0)  # fewer than six values hold nothing that surely
    return sorted(values)[left], sorted(values)[n - 1 - left]


def judge(row, bare, preloaded, ucx):
    """(ratio and its interval or None, met): medians of the pairs' ratios; of start-up and idle, of their differences."""
    b = statistics.median(preloaded)
    if row.metric in DIFFERENCES:
        return None, None, difference(bare, preloaded) <= DIFFERENCES[row.metric]
    ratios = [row.ratio(x, y) for x, y in zip(bare, preloaded)]
    ratio = statistics.median(ratios)
    met = ratio >= row.floor
    if ucx and row.ucx:
        met &= row.against_ucx(b, statistics.median(ucx)) >= 1
    return ratio, interval(ratios), met


def measure(bench, name, pairs):
    run, rows, ucx = GROUPS[name]
    if not shutil.which("ucx_perftest"):
        ucx = None
    bare, preloaded, reference, limits = [], [], [], []
    for i in range(pairs):
        order = (False, True) if i % 2 == 0 else (True, False)
        for preload in order:
            (preloaded if preload else bare).append(once(bench, run, preload))
        if ucx:
            reference.append(ucx(bench))
        if name in LIMITED:
            limits.append(bench.limits(LIMITED[name]))
        shown = {k: (bare[-1][k], preloaded[-1][k]) for k in bare[-1]}
        print(f"{name} pair {i + 1}/{pairs}: " + "; ".join(
            f"{k} {a:.5g} {b:.5g}" if isinstance(a, (int, float)) else f"{k} {'equal' if a == b else 'DIFFERENT'}"
            for k, (a, b) in shown.items()) + (f"; ucx {reference[-1]:.5g}" if ucx else "") + "".join(f"; {k} {v:.5g}" for last in limits[-1:] for k, v in last.items()), flush=True)
    results = [conclude(bench, row, bare, preloaded, reference) for row in rows]
    if limits:
        results[0]["limits"] = {k: [one[k] for one in limits] for k in limits[0]}
        print("  the cores alone: " + ", ".join(f"{k} {spread(v)} GB/s" for k, v in results[0]["limits"].items()), flush=True)
    return results, bare, preloaded


def conclude(bench, row, bare, preloaded, reference):
    a, b = [r[row.metric] for r in bare], [r[row.metric] for r in preloaded]
    against = reference if row.ucx else []
    ratio, within, met = judge(row, a, b, against)
    result = {"row": row.metric, "unit": row.unit, "bare": a, "preloaded": b, "ucx": against, "ratio": ratio, "interval": within,
              "floor": row.floor, "ucx_factor": row.ucx, "met": met}
    print(f"  {row.metric:22} bare {spread(a)} {row.unit}, preloaded {spread(b)}"
          + (f", ucx {spread(against)}" if against else "")
          + (f", {ratio:.2f}x ({within[0]:.2f} to {within[1]:.2f}; floor {row.floor:.2f})" if ratio else f", {difference(a, b):+.4g} (at most {DIFFERENCES[row.metric]})") + ("" if met or bench.short else "  BELOW"), flush=True)
    return result


def count_instructions(bench):
    rows = []
    pair.need("valgrind")
    found = instructions.measure(bench.program("foreign"), pair.library())
    for call, (bare, preloaded) in found.items():
        met = preloaded - bare <= instructions.LIMIT
        print(f"  {call:22} {bare:.1f} instructions bare, {preloaded:.1f} preloaded{'' if met else '  BELOW'}")
        rows.append({"row": f"foreign_{call}", "unit": "instructions", "bare": [bare], "preloaded": [preloaded],
                     "floor": instructions.LIMIT, "ratio": None, "ucx": [], "met": met})
    return rows


def wrong(name, bare, preloaded, min_bypass):
    """What no noise can excuse."""
    for a, b in zip(bare, preloaded):
        if "ddp_weights" in a and a["ddp_weights"] != b["ddp_weights"]:
            yield f"{name}: the trained weights differ"
        if "gloo_bypass" in a and a["gloo_bypass"] > 0.05:
            yield f"{name}: {a['gloo_bypass']:.1%} of the bare run's payload is missing in TCP_INFO: the measure is wrong"
        if "gloo_bypass" in b and b["gloo_bypass"] < min_bypass:
            yield f"{name}: only {b['gloo_bypass']:.1%} of the payload went past the kernel (TCP_INFO)"
        if name.startswith(("oneway", "fresh", "gloo", "ddp")) and not b["moved"]:
            yield f"{name}: nothing went past the kernel"


def machine():
    cpu = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    return {"cpu": cpu.group(1) if cpu else platform.processor(), "cores": os.cpu_count(), "kernel": platform.release(),
            "libc": " ".join(platform.libc_ver()), "python": platform.python_version(),
            "load": os.getloadavg()[0], "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}


def chosen(text):
    names = [*GROUPS, "foreign"]
    wanted = [w for w in text.split(",") if w]
    unknown = [w for w in wanted if not any(n.startswith(w) for n in names)]
    if unknown:
        sys.exit(f"no such row: {', '.join(unknown)}; the rows: {', '.join(names)}")
    return [n for n in names if not wanted or any(n.startswith(w) for w in wanted)]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="", help="beginnings of names, separated by commas")
    parser.add_argument("--pairs", type=int)
    parser.add_argument("--seconds", type=float, default=1.0, help="length of one measurement")
    parser.add_argument("--json")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--build", default=os.environ.get("BENCH_BUILD", str(ROOT / "build")))
    return parser.parse_args()


def pairs_of(name, args):
    strict = any(row.floor == NOT_BELOW for row in GROUPS[name][1])
    return 1 if args.short else args.pairs or (31 if strict else 7)


def run_all(bench, names):
    rows, faults = [], []
    for name in names:
        try:
            if name == "foreign":
                rows += count_instructions(bench)
                continue
            found, bare, preloaded = measure(bench, name, pairs_of(name, bench.args))
        except SystemExit:  # by pair.skip, which has said what is missing
            if bench.short:
                raise
            print(f"  {name} is left out")
            continue
        rows += found
        faults += wrong(name, bare, preloaded, MIN_BYPASS_SHORT if bench.short else MIN_BYPASS)
    return rows, faults


def main():
    args = arguments()
    args.build = os.path.abspath(args.build)  # servers run in folders of their own
    names = chosen(args.rows)
    if args.short and not args.rows:
        names.remove("foreign")  # a test of its own
        need_modules("torch, sklearn, grpc")
    if args.list:
        for name in names:
            for row in GROUPS.get(name, (0, [], 0))[1]:
                print(f"{name:20} {row.metric:22} floor {row.floor} {f'and {row.ucx} x UCX' if row.ucx else ''}")
        return 0
    os.environ.setdefault("SHIM_LIBRARY", str(pathlib.Path(args.build, "shim/libdlaccel.so")))
    info = machine()
    print(f"{info['cpu']}, {info['cores']} cores, Linux {info['kernel']}, load {info['load']:.2f}")
    rows, faults = run_all(Bench(args), names)
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps({"machine": info, "rows": rows, "faults": faults}, indent=1))
    met = sum(row["met"] for row in rows)
    print(f"{met} of {len(rows)} rows reach their floor" if not args.short else f"{len(rows)} rows ran")
    for fault in faults:
        print(f"WRONG: {fault}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
