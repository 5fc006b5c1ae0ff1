"""What a run on the simulated device left: the library's counters in its folder (DLACCEL_DIR), and how to keep it busy."""
import os
import struct


PERCENT = 50  # of the launches, at least, must go in graphs
# Kernels of a millisecond, in virtual time: else the device would be idle as often as the machine has other work.
COSTS = "call:cuStreamQuery 0\nkernel 1000000\n"


def busy_device(folder):
    """Settings of the simulated device; its file of costs is written into the folder."""
    path = os.path.join(folder, "costs")
    with open(path, "w") as f:
        f.write(COSTS)
    return {"SIMCUDA_CLOCK": "virtual", "SIMCUDA_COST": path}


def counters(folder):
    """Of all processes together: a name of 40 bytes and a value, side by side."""
    seen = {}
    for name in os.listdir(folder):
        if not name.endswith(".stats"):
            continue
        with open(os.path.join(folder, name), "rb") as f:
            data = f.read()
        for at in range(0, len(data) - 48, 8):
            if data[at:at + 5] == b"cuda.":
                text = data[at:at + 40].split(b"\0")[0].decode()
                seen[text] = seen.get(text, 0) + struct.unpack_from("<Q", data, at + 40)[0]
    return {k: v for k, v in seen.items() if v}


def calls(stats):
    """How often which entry of the driver was called."""
    with open(stats) as f:
        lines = [line.split() for line in f if line.startswith("call ")]
    return {name: int(n) for _, name, n in lines}


def told(calls):
    """How often the driver was told of launches."""
    return sum(calls.get(name, 0) for name in ("cuLaunchKernel", "cuLaunchKernelEx", "cuGraphLaunch"))


def mostly_in_graphs(seen, bare, ours):
    bare, ours = told(bare), told(ours)
    share = 100 * seen.get("cuda.batched", 0) / max(1, seen.get("cuda.launches", 0))
    print(f"{share:.0f}% of {seen.get('cuda.launches', 0)} launches in graphs; the driver was told of them {bare} "
          f"times bare, {ours} times preloaded")
    return share >= PERCENT and ours < bare and 100 - 100 * ours / bare >= PERCENT / 2
