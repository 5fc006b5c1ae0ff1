"""nginx with two workers: files by sendfile and without, through a proxy, uploads, and wrk's load."""
import os
import re
import signal
import tempfile

import pair

SIZES = (0, 1, 1000, 16384, 65536, 65537, 1 << 20, 5 << 20, 64 << 20)
CONFIG = """
worker_processes 2;
daemon off;
pid {folder}/pid;
error_log {folder}/error.log;
{modules}
events {{ worker_connections 512; }}
http {{
	access_log off;
	client_body_temp_path {folder}/body;
	proxy_temp_path {folder}/proxy;
	fastcgi_temp_path {folder}/fastcgi;
	uwsgi_temp_path {folder}/uwsgi;
	scgi_temp_path {folder}/scgi;
	client_max_body_size 100m;
	server {{
		listen 127.0.0.1:{port} reuseport;
		root {folder}/files;
		location /send/ {{ alias {folder}/files/; sendfile on; tcp_nopush on; }}
		location /copy/ {{ alias {folder}/files/; sendfile off; }}
		location /proxy/ {{ proxy_pass http://127.0.0.1:{port}/send/; }}
		location /direct/ {{ proxy_pass http://127.0.0.1:{port}/copy/; proxy_buffering off; }}
		location /upload/ {{ proxy_pass http://127.0.0.1:{port}/taken; }}
		location /taken {{ return 200 "$content_length\\n"; }}
	}}
}}
"""


def fill(folder):
    os.chmod(folder, 0o755)
    os.mkdir(f"{folder}/files")
    for size in SIZES:
        with open(f"{folder}/files/{size}", "wb") as out:
            out.write(pair.pattern(size, size))


def load(wrk, client, url):
    """No error under load; the number of requests is wrk's business."""
    output = pair.run([wrk, "-t", "2", "-c", "16", "-d", "2s", url], client).decode()
    requests = int(re.search(r"(\d+) requests in", output).group(1))
    assert requests > 0 and "Non-2xx" not in output and "Socket errors" not in output, output
    return "no error"


def exchange(server, client):
    nginx, curl, wrk = pair.need("nginx", "curl", "wrk")
    port = pair.free_port()
    url = f"http://127.0.0.1:{port}"
    results = {}
    with tempfile.TemporaryDirectory(prefix="nginx-") as folder:
        fill(folder)
        user = "user root;" if os.getuid() == 0 else ""
        with open(f"{folder}/nginx.conf", "w") as out:
            out.write(CONFIG.format(folder=folder, port=port, modules=user))
        argv = [nginx, "-p", folder, "-c", f"{folder}/nginx.conf"]
        with pair.serve(argv, server, port, stop=signal.SIGQUIT, log=f"{folder}/log"):
            for way in ("send", "copy", "proxy", "direct"):
                for size in SIZES:
                    got = pair.run([curl, "-sS", "--max-time", "60", f"{url}/{way}/{size}"], client)
                    assert got == pair.pattern(size, size), f"{way}/{size}: {len(got)} wrong bytes"
                    results[f"{way}/{size}"] = pair.digest(got)
                row = [f"{url}/{way}/{size}" for size in SIZES]
                results[f"{way}/row"] = pair.digest(pair.run([curl, "-sS", "--max-time", "60", *row], client))
            for size in SIZES:
                got = pair.run([curl, "-sS", "--max-time", "60", "-X", "POST", "-H", "Expect:", "--data-binary",
                                f"@{folder}/files/{size}", f"{url}/upload/"], client)
                results[f"upload/{size}"] = got.decode()
            part = pair.run([curl, "-sS", "--max-time", "60", "-r", "1000-70000", f"{url}/send/1048576"], client)
            results["range"] = pair.digest(part)
            for target in ("send/1000", "send/65536", "copy/1048576", "proxy/16384"):
                results[f"load/{target}"] = load(wrk, client, f"{url}/{target}")
        with open(f"{folder}/error.log") as log:
            results["errors"] = [line for line in log if "[alert]" in line or "[emerg]" in line]
    return results


if __name__ == "__main__":
    pair.compare(exchange, to_itself=("server only",))  # as its own proxy
