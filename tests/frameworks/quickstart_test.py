"""README's first command, from a copy of the source: it trains bare and accelerated, one pair of runs of one epoch, and says
what it must; what it leaves is a report's input.

The copy is set up without tests beforehand, which quickstart keeps: they are no part of what it shows, and most of its build.
"""
import os
import pathlib
import re
import subprocess
import tempfile

import pair

SOURCE = pair.HERE.parent.parent


def copy_source(into):
    subprocess.run([SOURCE / "tests/harness/copy_source.sh", SOURCE, into], check=True)
    (into / ".venv").unlink(missing_ok=True)
    (into / ".venv").symlink_to(SOURCE / ".venv")


def command(folder, *argv, **env):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DLACCEL", "LD_PRELOAD", "MESON"))}
    done = subprocess.run([str(a) for a in argv], cwd=folder, env=dict(kept, **env), stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(done.stdout, flush=True)
    assert done.returncode == 0, f"{argv[0]} ended with {done.returncode}"
    return done.stdout


def main():
    if not (SOURCE / ".venv/bin/python").exists():
        pair.skip("no virtual environment: run tools/check")
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch, "source")
        left = folder / "dlaccel.quickstart"
        copy_source(folder)
        command(folder, "meson", "setup", "build", "-Dtests=disabled")
        said = command(folder, "tools/quickstart", PAIRS="1", EPOCHS="1")
        report = command(folder, "build/tools/dlaccel", "report", left / "run.1")
        count = pair.counters(left / "run.1")
        weights = [re.findall("^weights: sha256 (.+)$", (left / f"{way}.1.log").read_text(), re.M) for way in ("bare", "dlaccel")]
    assert weights[0] and weights[0] == weights[1], weights
    assert "bit for bit equal in all 2 runs" in said and "times as fast" in said
    assert re.search(r"^ *pair 1 of 1: bare [\d.]+ ms a step, dlaccel [\d.]+ ms a step$", said, re.M), "no step times"
    assert any(line in said for line in report.splitlines() if "ring" in line or "TCP" in line), "not which way the bytes went"
    assert re.search(r"next: build/tools/dlaccel report dlaccel\.quickstart/run\.1$", said, re.M), "no next command"
    assert pair.moved(count) > count["net.bytes_plain"], count
    assert len(re.findall(r"^ +\d+ +python .* 1 of \d+$", report, re.M)) == 2, report  # the ranks, beside torchrun's agent


if __name__ == "__main__":
    main()
