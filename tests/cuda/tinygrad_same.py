#!/usr/bin/env python3
"""tinygrad, unmodified, on the simulated device: the same weights bare and preloaded, bit for bit.

tinygrad_same.py LIBRARY DRIVER_FOLDER TRAIN_SCRIPT PYTHON...: the first Python that has the pinned
tinygrad is taken; exit status 77 when there is none (tests/sim/cuda/requirements.txt says what to install).
"""
import os
import subprocess
import sys
import tempfile

from counted import counters

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


def train(py, script, out, jit, **env):
    subprocess.run([py, script, "--steps", "6", "--out", out,
                    *(["--jit"] if jit else [])], check=True,
                   env={**os.environ, "DEV": "CUDA", "SIMCUDA_STRICT": "1", **env})


def main():
    library, driver, script = sys.argv[1:4]
    py = find_python(sys.argv[4:])
    for jit in (False, True):
        with tempfile.TemporaryDirectory() as tmp:
            bare, ours = (os.path.join(tmp, n + ".npz") for n in ("bare", "ours"))
            common = {"LD_LIBRARY_PATH": driver, "CACHEDB": os.path.join(tmp, "cache.db"), "LD_PRELOAD": ""}
            train(py, script, bare, jit, **common)
            train(py, script, ours, jit, **{**common, "LD_PRELOAD": library, "DLACCEL_DIR": tmp,
                                       "DLACCEL_CUDA_WAIT": "1s", "DLACCEL_CUDA_ADAPT": "0"})
            subprocess.run([py, "-c", COMPARE, bare, ours], check=True)
            seen = counters(tmp)
            print(seen)
            # With TinyJit most launches are in tinygrad's own graphs.
            if seen.get("cuda.submissions", 0) < (10 if jit else 100) or not (jit or seen.get("cuda.batched")):
                raise SystemExit("hardly anything was deferred or batched: this run proves nothing")


main()
