"""curl against python's http.server: every size, several in a row over one connection, uploads refused alike."""
import signal
import sys
import tempfile

import pair

SIZES = (0, 1, 1000, 65535, 65536, 65537, 1 << 20, 5 << 20, 64 << 20)


def fill(folder):
    for size in SIZES:
        with open(f"{folder}/{size}", "wb") as out:
            out.write(pair.pattern(size, size))


def fetch(curl, client, urls, *options):
    return pair.run([curl, "-sS", "--max-time", "60", *options, *urls], client)


def exchange(server, client):
    curl, port = pair.need("curl"), pair.free_port()
    url = f"http://127.0.0.1:{port}"
    argv = [sys.executable, "-m", "http.server", port, "--bind", "127.0.0.1", "--protocol", "HTTP/1.1"]
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        fill(folder)
        with pair.serve([*argv, "--directory", folder], server, port, stop=signal.SIGINT):
            for size in SIZES:
                got = fetch(curl, client, [f"{url}/{size}"])
                assert got == pair.pattern(size, size), f"{size}: {len(got)} bytes, not those of the file"
                results[f"get/{size}"] = pair.digest(got)
            results["row"] = pair.digest(fetch(curl, client, [f"{url}/{size}" for size in SIZES]))
            results["parallel"] = len(fetch(curl, client, [f"{url}/{s}" for s in SIZES], "--parallel"))
            results["head"] = fetch(curl, client, [f"{url}/1048576"], "-I").count(b"Content-Length: 1048576")
            results["slow"] = pair.digest(fetch(curl, client, [f"{url}/1048576"], "--limit-rate", "2M"))
            status = fetch(curl, client, [f"{url}/1"], "-w", "%{http_code}", "-o", "/dev/null",
                           "-T", f"{folder}/5242880")
            results["upload"] = status.decode()
            results["missing"] = fetch(curl, client, [f"{url}/none"], "-w", "%{http_code}", "-o", "/dev/null").decode()
    return results


if __name__ == "__main__":
    pair.compare(exchange)
