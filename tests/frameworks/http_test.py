"""curl against python's http.server: every size both ways, several in a row over one connection, a refused method.

The server keeps what is uploaded. http.server itself refuses a PUT unread and closes, which races with the upload:
curl ends with a broken pipe, bare too, when its next send comes after the close (strace with 5 ms before each send).
"""
import contextlib
import hashlib
import http.server
import signal
import sys
import tempfile

import pair

SIZES = (0, 1, 1000, 65535, 65536, 65537, 1 << 20, 5 << 20, 64 << 20)


class Keeper(http.server.SimpleHTTPRequestHandler):
    """Serves the folder it runs in; answers an upload with the digest of what it read."""
    protocol_version = "HTTP/1.1"

    def do_PUT(self):
        digest = hashlib.sha256(self.rfile.read(int(self.headers["Content-Length"]))).hexdigest()[:16].encode()
        self.send_response(201)
        self.send_header("Content-Length", str(len(digest)))
        self.end_headers()
        self.wfile.write(digest)


def keep(port):
    with contextlib.suppress(KeyboardInterrupt):
        http.server.ThreadingHTTPServer(("127.0.0.1", port), Keeper).serve_forever()


def fill(folder):
    for size in SIZES:
        with open(f"{folder}/{size}", "wb") as out:
            out.write(pair.pattern(size, size))


def fetch(curl, client, urls, *options):
    return pair.run([curl, "-sS", "--max-time", "60", *options, *urls], client)


def exchange(server, client):
    curl, port = pair.need("curl"), pair.free_port()
    url = f"http://127.0.0.1:{port}"
    argv = [sys.executable, __file__, port]
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        fill(folder)
        with pair.serve(argv, server, port, stop=signal.SIGINT, cwd=folder):
            for size in SIZES:
                got = fetch(curl, client, [f"{url}/{size}"])
                assert got == pair.pattern(size, size), f"{size}: {len(got)} bytes, not those of the file"
                results[f"get/{size}"] = pair.digest(got)
            results["row"] = pair.digest(fetch(curl, client, [f"{url}/{size}" for size in SIZES]))
            results["parallel"] = len(fetch(curl, client, [f"{url}/{s}" for s in SIZES], "--parallel"))
            results["head"] = fetch(curl, client, [f"{url}/1048576"], "-I").count(b"Content-Length: 1048576")
            results["slow"] = pair.digest(fetch(curl, client, [f"{url}/1048576"], "--limit-rate", "2M"))
            for size in SIZES:
                got = fetch(curl, client, [f"{url}/{size}"], "-T", f"{folder}/{size}").decode()
                assert got == pair.digest(pair.pattern(size, size)), f"{size} uploaded: digest {got}"
                results[f"put/{size}"] = got
            results["refused"] = fetch(curl, client, [f"{url}/1"], "-X", "DELETE", "-w", "%{http_code}", "-o",
                                       "/dev/null").decode()
            results["missing"] = fetch(curl, client, [f"{url}/none"], "-w", "%{http_code}", "-o", "/dev/null").decode()
    return results


if __name__ == "__main__":
    if len(sys.argv) > 1:
        keep(int(sys.argv[1]))
        sys.exit()
    pair.compare(exchange)
