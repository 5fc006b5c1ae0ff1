"""The library's counters as a run left them in its folder (DLACCEL_DIR)."""
import os
import struct


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
