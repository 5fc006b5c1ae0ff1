#!/usr/bin/env python3
"""cuda_abi.h against NVIDIA's cuda.h: every constant, size and offset in abi_rows.def, every error code,
and every entry's declaration. Exit 77 where no cuda.h or no C compiler is found."""
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAM = """
#include <stddef.h>
#include <stdio.h>
#include %s
int main(void)
{
#define NUM(n) printf("%%s %%lld\\n", #n, (long long)(n));
#define SIZE(t) printf("sizeof %%s %%zu\\n", #t, sizeof(t));
#define AT(t, f) printf("offset %%s.%%s %%zu\\n", #t, #f, offsetof(t, f));
#include "abi_rows.def"
#undef NUM
#define ERR(name, value, text) printf("%%s %%lld\\n", #name, (long long)(name));
#include "errors.def"
}
"""


def find_header():
    roots = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), *sorted(glob.glob("/usr/local/cuda*"), reverse=True)]
    nvcc = shutil.which("nvcc")
    if nvcc:
        roots.append(os.path.dirname(os.path.dirname(os.path.realpath(nvcc))))
    for root in filter(None, roots):
        for d in glob.glob(os.path.join(root, "include")) + glob.glob(os.path.join(root, "targets/*/include")):
            if os.path.exists(os.path.join(d, "cuda.h")):
                return d
    return None


def table(cc, tmp, header, *include):
    src, exe = os.path.join(tmp, "abi.c"), os.path.join(tmp, "abi")
    open(src, "w").write(PROGRAM % header)
    subprocess.run([cc, "-w", "-I", HERE, *include, "-o", exe, src], check=True)
    return subprocess.run([exe], check=True, capture_output=True, text=True).stdout.splitlines()


def undeclared(real):
    """Exported symbols that the real header does not know, other than the per-thread twins."""
    text = open(os.path.join(real, "cuda.h")).read()
    names = re.findall(r"^(?:STREAM_)?ENTRY\(\w+, (\w+),", open(os.path.join(HERE, "entries.def")).read(), re.M)
    return [n for n in names if not re.search(rf"\b{n}\b", text) and not re.search(rf"\b{re.sub('_v[0-9]+$', '', n)}\b", text)]


real, cc = find_header(), shutil.which("cc") or shutil.which("gcc")
if not real or not cc:
    print("skipped: no cuda.h to compare with, or no C compiler")
    sys.exit(77)
with tempfile.TemporaryDirectory() as tmp:
    ours, theirs = table(cc, tmp, '"cuda_abi.h"'), table(cc, tmp, "<cuda.h>", "-I", real)
bad = [f"{a} | {b}" for a, b in zip(ours, theirs) if a != b] + undeclared(real)
print(f"compared {len(ours)} rows with {real}", *bad, sep="\n")
sys.exit(bool(bad) or len(ours) != len(theirs) or len(ours) < 200)
