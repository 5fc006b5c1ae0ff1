#!/usr/bin/env python3
"""Every /* MUTATE: name */ in rdma/ and shim/ has its switch in the model.  tags.py PROTOCOL SOURCE..."""
import re
import subprocess
import sys

program, *sources = sys.argv[1:]
known = set(subprocess.run([program, "--mutations"], check=True, capture_output=True, text=True).stdout.split())
tags = {}
for path in sources:
    with open(path) as f:
        for tag in re.findall(r"/\* MUTATE: (\w+) \*/", f.read()):
            tags[tag] = path
missing = sorted(tag for tag in tags if tag not in known)
for tag in missing:
    print(f"{tags[tag]}: {tag} has no switch in the model")
print(f"{len(tags)} tags, {len(missing)} without a switch")
sys.exit(1 if missing or not tags else 0)
