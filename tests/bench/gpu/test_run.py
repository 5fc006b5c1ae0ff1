#!/usr/bin/env python3
"""The logic of `run` with workloads of which the outcome is known: test_run.py LIBRARY.

A workload that gives other results preloaded, or fails there, must be called different; one that fails bare, is
not installed, or does not repeat itself must not. And the table has every row, measured or not.
"""
import argparse
import importlib.machinery
import importlib.util
import json
import os
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True

FAKE = '''
import os, sys
name, ours = sys.argv[1], bool(os.environ.get("LD_PRELOAD"))
result, seconds = "aa", 1.0 / 2 if ours else 1.0
if name == "absent":
    print("skip no such framework")
    sys.exit(77)
if name == "fails_bare" or name == "fails_preloaded" and ours:
    sys.exit("it broke")
if os.environ.get("DLACCEL_CUDA_NULL"):
    seconds = 0.25
if name == "differs" and ours:
    result = "bb"
if name == "own_mind":
    result = os.urandom(8).hex()
print("result", result)
print("time", seconds)
'''
# name: ran, repeats, same
WANT = {"equal": (True, True, True), "differs": (True, True, False), "fails_preloaded": (True, True, False),
        "fails_bare": (False, None, None), "absent": (False, None, None), "own_mind": (True, False, False),
        "torch_mlp": (True, True, True)}
MISSED = ("differs", "fails_preloaded")
LAUNCHES = [{"shape": "chain", "same": True, "bare": {"issue_cpu_ns": 900, "issue_wall_ns": 900, "round_us": 1000.0},
             "preloaded": {"issue_cpu_ns": 100, "issue_wall_ns": 100, "round_us": 600.0},
             "null": {"issue_cpu_ns": 90, "issue_wall_ns": 90, "round_us": 100.0},
             "graph": {"issue_cpu_ns": 1, "issue_wall_ns": 1, "round_us": 500.0}}]


def load():
    loader = importlib.machinery.SourceFileLoader("bench_run", os.path.join(HERE, "run"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("bench_run", loader))
    loader.exec_module(module)
    return module


def same(what, found, want):
    if found != want:
        sys.exit(f"{what}: {found!r}, not {want!r}")


def outcomes(run, machine):
    """Of each workload; and a report of it alone is wrong only where the library is to blame."""
    rows = {name: run.one(name, lambda n=name: run.framework(machine, n)) for name in WANT}
    for name, want in WANT.items():
        r = rows[name]
        same(name, (r["ran"], r.get("repeats"), r.get("same")), want)
        same(f"a report of {name}", run.wrong({"programs": [r], "launches": LAUNCHES}), name in MISSED)
        same(f"what is said of {name}", "DIFFERENT" in run.outcome(r), name in MISSED)
        assert r["ran"] or r["why"], name
    return rows


def table(run, rows, tmp):
    path = os.path.join(tmp, "report.json")
    report = {"simulated": False, "launches": LAUNCHES, "programs": [rows["torch_mlp"], rows["absent"]],
              "device": "a device", "driver": 1, "date": "today"}
    run.write(report, path)
    written = json.load(open(path))
    same("keys", {frozenset(v) for v in written["verdicts"]}, {frozenset(("row", "figure", "floor", "met", "why"))})
    for v in written["verdicts"]:
        same(f"that {v['row']} has a figure or a reason", v["figure"] is None, bool(v["why"]))
    found = {v["row"]: (v["floor"], v["met"]) for v in written["verdicts"]}
    for row, want in {"CPU time of the launching thread a launch, times less": (5, True),
                      "1,000 dependent kernels: a captured graph, speed-up": (None, None),
                      "1,000 dependent kernels: of a captured graph's gain": (0.85, False),
                      "torch_mlp: null-launch bound, as a speed-up": (None, None),
                      "torch_mlp: of the null-launch bound": (0.7, False),
                      "torch_lstm: of the null-launch bound": (0.7, None),
                      "torch_gpt: of the null-launch bound": (0.7, None),
                      "training steps, of 3, that gain 1.15x": (2, False),
                      "torch_resnet50: speed": (0.99, None)}.items():
        same(row, found.get(row), want)
    for name in ("torch_compile", "jax", "cupy", "triton", "tinygrad", "pycuda"):
        same(name, found.get(f"{name}: speed"), (0.98, None))
    figures = {v["row"]: v["figure"] for v in written["verdicts"]}
    same("the bound", figures["torch_mlp: null-launch bound, as a speed-up"], 4.0)
    same("its share", round(figures["torch_mlp: of the null-launch bound"], 3), 0.667)
    same("the share of a graph's gain", round(figures["1,000 dependent kernels: of a captured graph's gain"], 3), 0.8)


def different(run, rows):
    """However fast, what gives other results has met nothing."""
    fast = {**rows["torch_mlp"], "same": False, "ratio": 9.0, "of_bound": 0.9}
    chain = {**LAUNCHES[0], "same": False, "preloaded": {**LAUNCHES[0]["bare"], "issue_cpu_ns": 1, "round_us": 1.0}}
    rows = run.verdicts([chain], [{**fast, "program": name} for name in run.workloads.WORKLOADS])
    same("rows that are met", [v["row"] for v in rows if v["met"]], [])
    same("rows that say why not", sum(v["why"] == "results are not the same" for v in rows),
         sum(v["floor"] is not None for v in rows) + len(run.LAUNCH_BOUND) - 1)


ERRORS = """#!/bin/sh
echo fine 0
echo odd_driver 1
[ "$LD_PRELOAD" ] && echo missed $MISSED || echo missed 0
exit 1
"""
LAUNCH = """#!/bin/sh
[ "$LD_PRELOAD" ] && exit 139
echo '{"memory": "1", "issue_cpu_ns": 1, "issue_wall_ns": 1, "round_us": 1.0}'
"""


def script(folder, name, text):
    path = os.path.join(folder, name)
    with open(path, "w") as f:
        f.write(text)
    os.chmod(path, 0o755)
    return path


def c_programs(run, machine, tmp):
    """A case that fails bare is left out, one that fails only preloaded is the library's fault; so is a launch."""
    script(tmp, "errors", ERRORS)
    for missed in "01":
        os.environ["MISSED"] = missed
        r = run.error_cases(machine, tmp, [])
        same("cases", (r["ran"], r["cases"], r["same"]), (True, 2, missed == "0"))
        same("a report of cases", run.wrong({"programs": [r], "launches": []}), missed == "1")
    args = run.Launches(library=machine.library, program=script(tmp, "launch", LAUNCH), driver=None, launches=1,
                        rounds=1, warm=1, pairs=1, machine=machine)
    report = {"launches": []}
    r = run.launch_shape(machine, args, "chain", report)
    same("launches that die preloaded", (r["ran"], r["same"], report["launches"]), (True, False, []))
    machine.end = 0
    r = run.one("chain", lambda: run.launch_shape(machine, args, "chain", report))
    same("launches without time", (r["ran"], r["why"]), (False, "no time was left"))
    assert all(v["why"] for v in run.verdicts([], [])), "a table of nothing has a reason in every row"


def arguments(run, machine, tmp):
    """A real device is spared what CUDA leaves undefined."""
    for name in ("fuzz", "errors"):
        script(tmp, name, "#!/bin/sh\necho with $* >&2\nexit 1\n")
    for simulated, want in (True, ["with 1 400", "with"]), (False, ["with 1 400 valid", "with defined"]):
        rows = dict(run.programs(machine, argparse.Namespace(program=os.path.join(tmp, "x")), {"simulated": simulated}, False))
        same(f"arguments, simulated {simulated}", [rows[f"C: {n}"]()["why"] for n in ("fuzz", "errors")], want)


HANGS = """#!/bin/sh
if [ ! "$LD_PRELOAD$SILENT" ]; then
	[ "$1" ] && echo '{"memory": "1"}' || echo fine 0
	exit 0
fi
sleep 600 &
echo $! > "$0.pid"
wait
"""


def at_the_end(run, *left):
    """A machine that has as much time at each look, and then none."""
    class Ending(run.Machine):
        def left(self):
            if not seconds:
                raise run.OutOfTime
            return seconds.pop(0)

    seconds = list(left)
    return Ending("/nowhere", None, 0)


def wait_for_death(path):
    """Of a process, if it came so far: gone, or nobody has asked for its status."""
    pid = open(path).read().strip() if os.path.exists(path) else ""
    stat = f"/proc/{pid or 'none'}/stat"
    while os.path.exists(stat) and open(stat).read().rsplit(") ", 1)[1][0] not in "ZX":
        time.sleep(0.01)


def deadline(run, tmp):
    """What the end of the time cuts short is not different: nothing is known of it. Nor is a device that keeps silent."""
    programs = {name: script(tmp, name, HANGS) for name in ("errors", "fuzz", "launch", "workloads")}
    with open(os.path.join(tmp, "workloads.py"), "w") as f:
        f.write(f"import os\nos.environ.get('LD_PRELOAD') and os.execl({programs['workloads']!r}, 'x')\n" + FAKE)
    args = run.Launches(library="/nowhere", program=programs["launch"], driver=None, launches=1, rounds=1, warm=1, pairs=1)
    for name, function in {"workloads": lambda m: run.framework(m, "equal"),
                           "fuzz": lambda m: run.c_program(m, tmp, "fuzz", []),
                           "errors": lambda m: run.error_cases(m, tmp, []),
                           "launch": lambda m: run.launch_shape(m, args, "chain", {"launches": []})}.items():
        args.machine = at_the_end(run, 60, 1)
        r = run.one(name, lambda: function(args.machine))
        same(f"{name} at the end of the time", (r["ran"], r["why"]), (False, "no time was left"))
        if name != "launch":
            wait_for_death(programs[name] + ".pid")
    r = run.one("fuzz", lambda: run.c_program(at_the_end(run, 60, 1, 60), tmp, "fuzz", []))
    same("what hangs though there is time", (r["ran"], r["same"]), (True, False))
    args.machine, os.environ["SILENT"] = at_the_end(run, 1), "1"
    try:
        sys.exit(f"a silent device: {run.new_report(args)}")
    except SystemExit as e:
        same("a silent device", e.code, run.NO_DEVICE)


def main():
    run = load()
    with tempfile.TemporaryDirectory() as tmp:
        with open(os.path.join(tmp, "workloads.py"), "w") as f:
            f.write(FAKE)
        run.HERE = tmp
        rows = outcomes(run, run.Machine(os.path.abspath(sys.argv[1]), None, time.monotonic() + 540))
        table(run, rows, tmp)
        different(run, rows)
        c_programs(run, run.Machine(os.path.abspath(sys.argv[1]), None, time.monotonic() + 540), tmp)
        arguments(run, run.Machine(os.path.abspath(sys.argv[1]), None, time.monotonic() + 540), tmp)
        deadline(run, tmp)
    for name in ("run", "workloads.py"):
        with open(os.path.join(HERE, name)) as f:
            compile(f.read(), name, "exec")
    print(f"{len(rows)} workloads judged as they are, the table complete")


if __name__ == "__main__":
    main()
