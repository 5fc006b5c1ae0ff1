#!/usr/bin/env python3
"""Runs report_sample and reads every report as another program would."""

import collections
import html.parser
import json
import pathlib
import re
import subprocess
import sys
import tempfile

VOID = {"meta", "rect", "br"}


def check(holds, text):
    if not holds:
        raise SystemExit(f"FAILED: {text}")


class Page(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.tags, self.text, self.attributes = [], collections.Counter(), [], []

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.attributes += attrs
        self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags[tag] += 1

    def handle_endtag(self, tag):
        while self.open and self.open[-1] in VOID and self.open[-1] != tag:
            self.open.pop()
        check(self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}")
        self.open.pop()

    def handle_data(self, data):
        self.text.append(data)


def check_json(data, want, recorded):
    report = json.loads(data)
    check(report["format"] == "dlaccel-report" and report["version"] == 1, "format")
    check(report["program"] == 'train <&> "one".py', report["program"])
    check(report["finished"] is True and report["torn"] == 0 and report["overwritten"] == 0, "whole")
    check(report["calls"] == {"seen": want["calls"], "handled": want["handled"]}, report["calls"])
    check(report["device_busy_ns"] == want["kernel_ns"], "device time")
    check(sum(k["count"] for k in report["kernels"]) == want["kernels"], "kernels")
    check(sum(k["total_ns"] for k in report["kernels"]) == want["kernel_ns"], "kernel time")
    totals = [k["total_ns"] for k in report["kernels"]]
    check(totals == sorted(totals, reverse=True), "kernels by time")
    check("<script>alert(1)</script>" in [k["name"] for k in report["kernels"]], "odd name")
    n = want["steps"]
    check(report["socket_bytes"] == {"kernel": 30 * n, "shm": 1000000 * n, "verbs": 2000 * n}, "bytes")
    check(report["waits"] == {"count": n, "total_ns": 12345 * n}, "waits")
    check(report["batches"] == {"count": n, "operations": 512 * n}, "batches")
    check(report["fallbacks"] == [{"name": "cooperative", "count": n, "total_ns": 0}], "fallbacks")
    steps = report["steps"]
    check(steps["derived"] is not recorded, "derived")
    check({s["operations"] for s in steps["list"]} == {want["operations"]}, "operations of a step")
    whole = sorted(s["dur_ns"] for s in steps["list"] if s["whole"] and not s["off"])
    check(steps["on"]["count"] == len(whole) and steps["on"]["median_ns"] == whole[len(whole) // 2],
          "median")
    if recorded:
        check(steps["count"] == n and steps["off"]["count"] == n // 2, "recorded steps")
    else:
        check(n - 9 <= steps["count"] < n, f"{steps['count']} steps found of {n}")
        for a, b in zip(steps["list"], steps["list"][1:]):
            check(a["start_ns"] + a["dur_ns"] == b["start_ns"], "a gap between steps")
    return report


def check_tracks(events):
    tracks = collections.defaultdict(list)
    for e in events:
        if e["ph"] == "X":
            tracks[e["pid"], e["tid"]].append((round(e["ts"] * 1000), round(e["dur"] * 1000)))
    for where, spans in tracks.items():
        spans.sort()
        for (a, dur), (b, _) in zip(spans, spans[1:]):
            check(a + dur <= b + 1, f"overlap on {where}: {a}+{dur} and {b}")
    return tracks


def check_chrome(data, want, report):
    trace = json.loads(data)
    events = trace["traceEvents"]
    tracks = check_tracks(events)
    check(trace["schemaVersion"] == 1 and trace["dlaccel"]["not_drawn"] == 0, "head")
    by_cat = collections.Counter(e.get("cat") for e in events if e["ph"] == "X")
    check(by_cat["kernel"] == want["kernels"], "kernels")
    kernels = {e["args"]["correlation"]: e for e in events if e.get("cat") == "kernel"}
    check(len(kernels) == want["kernels"], "a correlation each")
    calls = {e["args"]["correlation"]: e for e in events
             if e.get("cat") == "cuda_runtime" and e["name"] == "cuLaunchKernel"}
    check(calls.keys() == kernels.keys(), "each kernel has its call")
    for c, k in kernels.items():
        check(k["ts"] >= calls[c]["ts"], "a kernel before its call")
        check(k["args"]["stream"] in (7, 8, 9) and k["args"]["device"] == 0 and k["pid"] == 0, "stream")
        check(k["tid"] % 1000000 == k["args"]["stream"], "track of a stream")
        check(len(k["args"]["grid"]) == 3 and k["args"]["block"] == [128, 1, 1], "shape")
    check(any(tid >= 1000000 for _, tid in tracks), "overlaps in the sample need a further lane")
    flows = collections.Counter((e["ph"], e["id"]) for e in events if e.get("cat") == "ac2g")
    check(len(flows) == 2 * want["kernels"] and set(flows.values()) == {1}, "arrows")
    steps = [e for e in events if e["ph"] == "X" and re.fullmatch(r"ProfilerStep#\d+", e["name"])]
    check([int(e["name"][13:]) for e in steps] == list(range(report["steps"]["count"])), "steps")
    names = {(e["pid"], e["tid"]) for e in events if e["ph"] == "M" and e["name"] == "thread_name"}
    check(names >= tracks.keys(), "a track without a name")


def check_html(data, report):
    page = Page()
    page.feed(data)
    page.close()
    check(page.open == [], f"left open: {page.open}")
    check(page.tags["script"] == page.tags["link"] == page.tags["img"] == page.tags["iframe"] == 0, "loads")
    for name, value in page.attributes:
        check(name not in ("src", "href") and not name.startswith("on"), f"attribute {name}={value}")
    check("http" not in data and "url(" not in data and "@import" not in data, "network")
    check(page.tags["svg"] == 3, f"{page.tags['svg']} drawings")
    bars = page.tags["rect"]
    check(bars > report["steps"]["count"] + min(15, len(report["kernels"])), f"{bars} bars")
    text = "".join(page.text)
    check("<script>alert(1)</script>" in text and 'train <&> "one".py' in text, "names as text")


def check_text(data, want, report):
    check(f"calls     {want['handled']} of {want['calls']} handled" in data, data)
    check(f"steps     {report['steps']['count']}" in data, data)
    if report["steps"]["derived"]:
        check(f"of {want['operations']} operations ({report['steps']['anchors']} anchors)" in data, data)
    check(f"n={report['steps']['on']['count']}" in data, data)
    check("by shared memory" in data and "cooperative" in data, data)


def main():
    for trace in ("vision-a", "nccl"):
        for mode in ("recorded", "derived"):
            with tempfile.TemporaryDirectory(prefix="dlaccel-report-") as folder:
                subprocess.run([sys.argv[1], trace, folder, mode], check=True, timeout=60)
                here = pathlib.Path(folder)
                want = {k: int(v) for k, v in (l.split() for l in (here / "want").read_text().splitlines())}
                report = check_json((here / "json").read_text(), want, mode == "recorded")
                check_chrome((here / "chrome").read_text(), want, report)
                check_html((here / "html").read_text(), report)
                check_text((here / "text").read_text(), want, report)
            print(f"{trace} {mode}: {report['steps']['count']} steps, {want['kernels']} kernels")


main()
