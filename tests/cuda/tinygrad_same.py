#!/usr/bin/env python3
"""tinygrad, unmodified, on the simulated device: the same weights bare and preloaded, bit for bit.

A model that trains for some steps must have most of its launches in graphs, in virtual time: in real time the device
is idle while tinygrad thinks.

tinygrad_same.py LIBRARY DRIVER_FOLDER TRAIN_SCRIPT PYTHON...: the first Python that has the pinned
tinygrad is taken; exit status 77 when there is none (tests/sim/cuda/requirements.txt says what to install).
"""
import os
import subprocess
import sys
import tempfile

from counted import busy_device, calls, counters, mostly_in_graphs, told

PROBE = "import tinygrad, sklearn, importlib.metadata as m; assert m.version('tinygrad') == '0.14.0'"
COMPARE = """
import sys, numpy as np
one, other = (np.load(p) for p in sys.argv[1:])
assert set(one) == set(other) and len(one.files) > 4, "not the same arrays"
for k in one:
    assert one[k].tobytes() == other[k].tobytes(), (k, float(np.abs(one[k] - other[k]).max()))
print(len(one.files), "arrays the same")
"""


def find_python(candidates):
    for py in [*candidates, sys.executable]:
        if os.path.exists(py) and not subprocess.run([py, "-c", PROBE], stderr=subprocess.DEVNULL).returncode:
            return py
    print("no Python here has tinygrad 0.14.0 and scikit-learn")
    sys.exit(77)


def train(py, script, out, args, **env):
    """Returns how often which entry of the driver was called. PARALLEL=0: its compiling workers have nothing to do."""
    stats = out + ".calls"
    subprocess.run([py, script, "--out", out, *args.split()], check=True,
                   env={**os.environ, "DEV": "CUDA", "PARALLEL": "0", "SIMCUDA_STRICT": "1", "SIMCUDA_STATS": stats, **env})
    return calls(stats)


def both(library, driver, script, py, args, busy):
    """The library's counters, and what the driver was called for bare and preloaded."""
    with tempfile.TemporaryDirectory() as tmp:
        bare, ours = (os.path.join(tmp, n + ".npz") for n in ("bare", "ours"))
        common = {"LD_LIBRARY_PATH": driver, "CACHEDB": os.path.join(tmp, "cache.db"), "LD_PRELOAD": "",
                  **(busy_device(tmp) if busy else {})}
        heard = [train(py, script, bare, args, **common),
                 train(py, script, ours, args, **{**common, "LD_PRELOAD": library, "DLACCEL_DIR": tmp,
                                                  "DLACCEL_CUDA_WAIT": "30s" if busy else "1s", "DLACCEL_CUDA_ADAPT": "0"})]
        subprocess.run([py, "-c", COMPARE, bare, ours], check=True)
        return counters(tmp), *heard


def deferred(seen, bare, ours):
    return seen.get("cuda.submissions", 0) >= 100 and told(ours) <= told(bare)


def left_alone(seen, bare, ours):
    """With TinyJit a step that comes back is a graph of tinygrad's own: each launch of one is counted and passed."""
    of_program, of_ours = seen.get("cuda.program_graphs", 0), seen.get("cuda.graph_launches", 0)
    return of_program >= 10 and of_program == bare["cuGraphLaunch"] and \
        ours["cuGraphLaunch"] == of_program + of_ours and \
        seen.get("cuda.submissions", 0) >= 10 and told(ours) <= told(bare)


# Arguments of the script, whether in virtual time on a device that is always busy, and what must have happened
RUNS = [("--models mlp --steps 20", True, mostly_in_graphs),
        ("--models conv,lstm,transformer --steps 2", False, deferred),
        ("--steps 3 --jit", False, left_alone)]


def main():
    library, driver, script = sys.argv[1:4]
    py = find_python(sys.argv[4:])
    for args, busy, enough in RUNS:
        seen, bare, ours = both(library, driver, script, py, args, busy)
        print(f"{args}: the driver was told of launches {told(bare)} times bare, {told(ours)} times preloaded, "
              f"{bare.get('cuGraphLaunch', 0)} and {ours.get('cuGraphLaunch', 0)} of them graphs, {seen}", flush=True)
        if not enough(seen, bare, ours):
            raise SystemExit("too little was deferred or batched")


main()
