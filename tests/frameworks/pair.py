"""What the comparisons share: a server and a client, run bare, both preloaded, and mixed.

A comparison is a function exchange(server_env, client_env) that returns what the program did, as a
dictionary. compare() runs it in every mode and every value must be as it was bare. SHIM_LIBRARY
names the library under test; the counters that it leaves at exit show that it was really used.
"""
import contextlib
import hashlib
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import traceback

SKIP = 77
MAGIC = 0x6C6563636163646C
HERE = pathlib.Path(__file__).resolve().parent
# Bytes before a connection is upgraded: small, so that the short exchanges of a test are.
THRESHOLD = "1024"
# name: (server preloaded, client preloaded)
MODES = {"bare": (False, False), "both": (True, True), "server only": (True, False),
         "client only": (False, True)}


def skip(reason):
    print(f"skipped: {reason}")
    sys.exit(SKIP)


def need(*programs):
    """Their paths; skips the test when one is missing. nginx lies in sbin."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    found = [shutil.which(program, path=path) for program in programs]
    if None in found:
        skip(f"{programs[found.index(None)]} is not installed")
    return found if len(found) > 1 else found[0]


def library():
    path = os.environ.get("SHIM_LIBRARY", "")
    if not os.path.exists(path):
        skip(f"SHIM_LIBRARY does not name the library under test: {path!r}")
    return path


def environment(preload, record, threshold=THRESHOLD):
    env = {k: v for k, v in os.environ.items() if not k.startswith("DLACCEL")}
    env["PYTHONPATH"] = str(HERE)
    if preload:
        others = env.get("LD_PRELOAD", "")
        env["LD_PRELOAD"] = f"{library()}:{others}".rstrip(":")
        env["DLACCEL_DIR"] = str(record)
        if threshold:
            env["DLACCEL_NET_THRESHOLD"] = threshold
    return env


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def wait_for_port(port, process, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args} ended with {process.returncode} before it listened")
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        time.sleep(0.05)
    raise TimeoutError(f"{process.args} does not listen on {port}")


@contextlib.contextmanager
def serve(argv, env, port, stop=signal.SIGTERM, ok=(0, -signal.SIGTERM), log=None, cwd=None):
    """A server while the block runs; its end by `stop` and its exit code are part of the test."""
    with open(log or os.devnull, "ab") as out:
        process = subprocess.Popen([str(a) for a in argv], env=env, stdin=subprocess.DEVNULL, stdout=out,
                                   stderr=subprocess.STDOUT, cwd=cwd)
    try:
        wait_for_port(port, process)
        yield process
        if process.poll() is not None:
            raise RuntimeError(f"{argv[0]} died: {process.returncode}")
        process.send_signal(stop)
        code = process.wait(60)
        if code not in ok:
            raise RuntimeError(f"{argv[0]} ended with {code}")
    finally:
        process.kill()
        process.wait()


def run(argv, env, timeout=120, ok=(0,), cwd=None):
    """Output of a client that must end well."""
    done = subprocess.run([str(a) for a in argv], env=env, stdin=subprocess.DEVNULL, timeout=timeout, cwd=cwd,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode not in ok:
        sys.stdout.write(done.stdout.decode(errors="replace")[-4000:])
        sys.stdout.write(done.stderr.decode(errors="replace")[-4000:])
        raise RuntimeError(f"{argv} ended with {done.returncode}")
    return done.stdout


def counters(record):
    """The sum over all processes of the counters in the library's .stats files (shim/base/stats.h)."""
    head, slot = struct.Struct("<QIIII32sQ"), struct.Struct("<40sQ")
    total = {}
    for path in pathlib.Path(record).rglob("*.stats"):
        data = path.read_bytes()
        magic, _, count = head.unpack_from(data)[:3]
        if magic != MAGIC:
            raise RuntimeError(f"{path} is no file of counters")
        for i in range(count):
            name, value = slot.unpack_from(data, head.size + i * slot.size)
            name = name.rstrip(b"\0").decode()
            total[name] = total.get(name, 0) + value
    return total


def moved(count):
    """Payload that went past the kernel, in bytes."""
    return sum(count.get(f"net.bytes_{way}", 0) for way in ("ring", "block", "verbs"))


def summary(count):
    ways = [f"{way} {count.get(f'net.bytes_{way}', 0)}" for way in ("plain", "inline", "ring", "block")]
    fallbacks = [f"{name} {n}" for name, n in count.items() if ".fallback." in name and n]
    return f"upgraded {count.get('net.upgraded', 0)}; bytes: {', '.join(ways)}; {', '.join(fallbacks)}"


def digest(data):
    return hashlib.sha256(data).hexdigest()[:16]


def pattern(size, seed=0):
    """Bytes without a short period, the same in every process."""
    if size <= 1 << 16:
        return hashlib.shake_128(b"%d" % seed).digest(size)
    block = hashlib.shake_128(b"%d" % seed).digest((1 << 16) + 13)
    return (block * (size // len(block) + 1))[:size]


def differences(want, got):
    for key in sorted(set(want) | set(got), key=str):
        if want.get(key) != got.get(key):
            yield f"{key}: bare {want.get(key)!r}, here {got.get(key)!r}"


def attempt(exchange, server, client):
    """What the exchange returned and what went wrong: one mode's failure is not the others' end."""
    try:
        return exchange(server, client), []
    except Exception as error:
        traceback.print_exc()
        return {}, [f"{type(error).__name__}: {error}"]


def unexpected(name, to_itself, count):
    """What the counters of a mode show or lack."""
    upgraded, past_kernel = count.get("net.upgraded", 0), moved(count)
    if name == "both" and not past_kernel:
        return ["no payload went past the kernel"]
    if name != "both" and name not in to_itself and (upgraded or past_kernel):
        return [f"{upgraded} ends upgraded, {past_kernel} bytes past the kernel"]
    return []


def compare(exchange, modes=MODES, to_itself=()):
    """Runs exchange in each mode; exits 1 at a difference or where the library did not what it should.

    With the library at one end only nothing goes past the kernel, except in those modes in which that side connects to itself.
    """
    library()
    want, failed = None, False
    for name, (server, client) in modes.items():
        with tempfile.TemporaryDirectory(prefix="pair-") as record:
            start = time.monotonic()
            got, found = attempt(exchange, environment(server, record), environment(client, record))
            count = counters(record)
        want = want or got
        found += differences(want, got) if got else []
        found += unexpected(name, to_itself, count)
        print(f"{name:12} {len(got)} results, {time.monotonic() - start:.1f} s, "
              f"{'DIFFERENT' if found else 'as bare'}; {summary(count)}", flush=True)
        for line in found[:20]:
            print(f"    {line}")
        failed |= bool(found)
    sys.exit(1 if failed else 0)
