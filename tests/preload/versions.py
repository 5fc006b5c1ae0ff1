#!/usr/bin/env python3
"""Two versions of the protocol meet: libraries built from these sources with other numbers in rdma/wire.h.

    versions.py SOURCE BUILD LIB PROGRAM

BUILD is kept, so that a second run compiles only what has changed.
"""
import os
import re
import shutil
import subprocess
import sys

RUN_PAIR = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness", "run_pair.py")
COPIED = ("meson.build", "meson_options.txt", "shim", "rdma", "gpu", "profiler", "tools", "man", "README.md", "tests", "examples")
# versions that the other library speaks: what is expected, whoever calls
OTHERS = {
    # A newer release that still speaks ours.
    (1, 2): ["net.upgraded==2", "net.bytes_ring|net.bytes_block>=1", "net.fallback.version==0"],
    # One that no longer does.
    (2, 2): ["net.bytes_ring|net.bytes_block==0", "net.fallback.version==1"],
}


def copy_tree(source, tree):
    """With the files' times, so that what has not changed is not built again."""
    os.makedirs(tree, exist_ok=True)
    for name in COPIED:
        path = os.path.join(source, name)
        if os.path.isdir(path):
            shutil.copytree(path, os.path.join(tree, name), dirs_exist_ok=True,
                            ignore=shutil.ignore_patterns("__pycache__", "runs", "debs", "k"))
        else:
            shutil.copy2(path, os.path.join(tree, name))


def speak(source, tree, versions):
    with open(os.path.join(source, "rdma", "wire.h")) as f:
        text = f.read()
    for name, value in zip(("MIN", "MAX"), versions):
        text, n = re.subn(rf"(#define WIRE_VERSION_{name}) \d+", rf"\1 {value}", text)
        assert n == 1, f"WIRE_VERSION_{name} is not where it was"
    with open(os.path.join(tree, "rdma", "wire.h"), "w") as f:
        f.write(text)


def build(tree, to):
    folder = os.path.join(tree, "build")
    if not os.path.exists(os.path.join(folder, "build.ninja")):
        subprocess.run(["meson", "setup", folder, tree, "-Dtests=disabled"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["ninja", "-C", folder, "shim/libdlaccel.so"], check=True, stdout=subprocess.DEVNULL)
    shutil.copy(os.path.join(folder, "shim", "libdlaccel.so"), to)
    return to


def main():
    source, folder, ours, program = map(os.path.abspath, sys.argv[1:])
    tree = os.path.join(folder, "tree")
    copy_tree(source, tree)
    failed = 0
    for versions, expected in OTHERS.items():
        speak(source, tree, versions)
        other = build(tree, os.path.join(folder, "libdlaccel-%d-%d.so" % versions))
        for server, client in ((ours, other), (other, ours)):
            expects = [word for text in expected for word in ("--expect", text)]
            print(f"versions {versions} {'connect' if client == other else 'accept'}", flush=True)
            failed += subprocess.run([sys.executable, RUN_PAIR, "--lib", server, "--client-lib", client,
                                      "--variants", "both", *expects, "--", program]).returncode != 0
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
