#!/usr/bin/env python3
"""tinygrad, unmodified, trains four models on the simulated device: the same as its CPU backend within
float tolerance, and bit for bit the same with TinyJit (CUDA graphs) under random delays.

Usage: tinygrad_test.py DIRECTORY-OF-LIBCUDA [PYTHON...]; the first Python that has the pinned tinygrad is
taken. Exit 77 when there is none. To make one: python3 -m venv .venv && .venv/bin/pip install -r requirements.txt
"""
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
PROBE = "import tinygrad, sklearn, importlib.metadata as m; assert m.version('tinygrad') == '0.14.0'"
COMPARE = """
import sys, numpy as np
cpu, plain, jit = (np.load(p) for p in sys.argv[1:])
assert set(cpu) == set(plain) == set(jit) and len(cpu.files) > 20, "not the same arrays"
for k in cpu:
    assert np.isfinite(plain[k]).all(), k
    assert np.allclose(cpu[k], plain[k], rtol=1e-3, atol=2e-4), (k, float(np.abs(cpu[k] - plain[k]).max()))
    assert np.array_equal(plain[k], jit[k]), (k, "differs under TinyJit", float(np.abs(plain[k] - jit[k]).max()))
for k in (k for k in cpu if k.endswith(".loss")):
    assert len(set(cpu[k].tolist())) == len(cpu[k]), (k, "nothing was trained")
print("same:", len(cpu.files), "arrays")
"""


def find_python(candidates):
    for py in candidates + [sys.executable]:
        if os.path.exists(py) and not subprocess.run([py, "-c", PROBE], stderr=subprocess.DEVNULL).returncode:
            return py
    print("skipped: no Python here has tinygrad 0.14.0 and scikit-learn (see requirements.txt)")
    sys.exit(77)


def train(py, tmp, name, *args, **env):
    out = os.path.join(tmp, name + ".npz")
    print(f"-- {name}", flush=True)
    subprocess.run([py, os.path.join(HERE, "tinygrad_train.py"), "--steps", "3", "--out", out, *args], check=True,
                   env={**os.environ, "CACHEDB": os.path.join(tmp, "cache.db"), **env})
    return out


def main():
    lib, py = sys.argv[1], find_python(sys.argv[2:])
    # PARALLEL=0: its compiling workers have nothing to do, PTX is text that it writes itself.
    cuda = {"DEV": "CUDA", "PARALLEL": "0", "LD_LIBRARY_PATH": lib, "SIMCUDA_STRICT": "1"}
    with tempfile.TemporaryDirectory() as tmp:
        stats = os.path.join(tmp, "stats")
        plain = train(py, tmp, "cuda", **cuda, SIMCUDA_STATS=stats)
        launches = dict(l.split()[1:] for l in open(stats) if l.startswith("call "))
        assert int(launches["cuLaunchKernel"]) > 500, "the kernels did not run on the simulated device"
        jit = train(py, tmp, "jit", "--jit", **cuda, SIMCUDA_SEED="3", SIMCUDA_STATS=stats)
        assert any(l.startswith("call cuGraphLaunch ") for l in open(stats)), "TinyJit made no graph"
        cpu = train(py, tmp, "cpu", DEV="CPU")
        subprocess.run([py, "-c", COMPARE, cpu, plain, jit], check=True)


main()
