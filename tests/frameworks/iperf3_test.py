"""iperf3 in each direction. It does not look at the bytes: that they flow and end is what is tested."""
import json
import time

import pair

RUNS = {
    "forward": ["-n", "256M"],
    "reverse": ["-n", "256M", "-R"],
    "four streams": ["-n", "256M", "-P", "4"],
    "small blocks": ["-n", "4M", "-l", "512"],
    "large blocks": ["-n", "512M", "-l", "1M"],
    "zero copy": ["-n", "128M", "-Z"],
    "paced": ["-t", "2", "-b", "80M"],
    "both ways": ["-t", "2", "--bidir"],
}


def outcome(report):
    """iperf3 counts in whole blocks and stops when the sender is done: no figure of it is exact."""
    sent, received = report["end"]["sum_sent"]["bytes"], report["end"]["sum_received"]["bytes"]
    return 0 < received <= sent


def measure(command, client):
    """A server that still ends the test before, or the probe of its port, says that it is busy."""
    for _ in range(5):
        report = json.loads(pair.run(command, client))
        if "error" not in report:
            return report
        time.sleep(1)
    raise AssertionError(report["error"])


def exchange(server, client):
    iperf, port = pair.need("iperf3"), pair.free_port()
    results = {}
    with pair.serve([iperf, "-s", "-B", "127.0.0.1", "-p", port], server, port, ok=(0, 1, -15)):
        for name, options in RUNS.items():
            results[name] = outcome(measure([iperf, "-c", "127.0.0.1", "-p", port, "-J", *options], client))
    return results


if __name__ == "__main__":
    pair.compare(exchange)
