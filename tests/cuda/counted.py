"""What a run on the simulated device left: the library's counters in its folder (DLACCEL_DIR), and how to keep it busy."""
import os
import struct


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
