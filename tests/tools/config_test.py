#!/usr/bin/env python3
"""dlaccel config, and that README and the manual have the table as it is."""
import json
import os
import re
import subprocess
import sys

from lib import TOOL, ToolTest, clean_environment, main

SOURCE = os.environ["DLACCEL_SOURCE"]


def rows_of_source():
    """The table as the source has it, read without the tool."""
    with open(os.path.join(SOURCE, "shim/base/settings.def")) as table:
        return re.findall(r'^SETTING\((\w+), \w+, "(\w*)", (.*?), "(.*)"\)$', table.read(), re.M)


class Config(ToolTest):
    def rows(self, *args, **env):
        return json.loads(self.tool("config", "--json", *args, env=env).stdout)

    def test_every_setting_is_there(self):
        rows = {row["name"]: row["doc"] for row in self.rows()}
        want = {"DLACCEL_" + name if name else "DLACCEL": doc for _, name, _, doc in rows_of_source()}
        self.assertGreater(len(want), 10)
        self.assertEqual(rows, want)

    def test_values_and_changes(self):
        rows = {r["name"]: r for r in self.rows(DLACCEL_NET_RING="8M", DLACCEL_CMA="no", DLACCEL_SPIN="1500",
                                                DLACCEL_LOG="info", DLACCEL_DIR="/tmp/x y", DLACCEL_NET_THRESHOLD="64K")}
        self.assertEqual({n: (r["value"], r["default"]) for n, r in rows.items() if r["changed"]},
                         {"DLACCEL_NET_RING": ("8M", "4M"), "DLACCEL_CMA": ("off", "on"), "DLACCEL_SPIN": ("1500us", "50us"),
                          "DLACCEL_LOG": ("info", "off"), "DLACCEL_DIR": ("/tmp/x y", "")})
        done = self.tool("config", "--changed", env={"DLACCEL_CMA": "0"})
        self.assertRegex(done.stdout, r"^DLACCEL_CMA +off +.*\(default on\)\n$")
        self.assertEqual(self.tool("config", "--changed").stdout, "")

    def test_a_key_turns_rdma_on(self):
        for env, value in (({}, "off"), ({"DLACCEL_SECRET_FILE": "/tmp/key"}, "on"), ({"DLACCEL_SECRET_FILE": ""}, "off"),
                           ({"DLACCEL_SECRET_FILE": "/tmp/key", "DLACCEL_RDMA": "0"}, "off"),
                           ({"DLACCEL_RDMA": "off", "DLACCEL_SECRET_FILE": "/tmp/key"}, "off"), ({"DLACCEL_RDMA": "1"}, "on")):
            self.assertEqual(self.rows("rdma", **env)[0]["value"], value, env)

    def test_narrowed(self):
        self.assertEqual([r["name"] for r in self.rows("cma", "DLACCEL_SPIN")], ["DLACCEL_CMA", "DLACCEL_SPIN"])

    def test_unknown_name(self):
        for args in (["nonsense"], ["cma", "nonsense"], ["--json", "nonsense"]):
            done = self.tool("config", *args)
            self.assertEqual((done.returncode, done.stdout), (1, ""), args)
            self.assertIn("no setting 'nonsense'", done.stderr)

    def test_mistakes_show_in_the_status(self):
        done = self.tool("config", env={"DLACCEL_RINGS": "1"})
        self.assertEqual(done.returncode, 1)
        self.assertIn("unused variable DLACCEL_RINGS", done.stderr)
        self.assertEqual(self.tool("config", env={"DLACCEL_CMA": "perhaps"}).returncode, 1)
        self.assertEqual(self.tool("config").returncode, 0)
        long = self.tool("config", env={"DLACCEL_" + "X" * 5000: "\x1b[2J"})
        self.assertEqual(long.returncode, 1)
        self.assertNotIn("\x1b", long.stderr)
        self.assertEqual(self.tool("config", "--nonsense").returncode, 2)

    def test_readme_has_the_table_as_it_is(self):
        with open(os.path.join(SOURCE, "README.md")) as readme:
            text = readme.read()
        begin, end = "<!-- settings: begin (ninja readme) -->\n", "<!-- settings: end -->"
        self.assertEqual((text.count(begin), text.count(end)), (1, 1))
        table = text.split(begin)[1].split(end)[0]
        self.assertEqual(table.strip(), self.tool("config", "--markdown").stdout.strip(),
                         "README.md is behind the table of settings: run `ninja -C build readme`")

    def test_the_forms_do_not_depend_on_the_environment(self):
        for form in ("--markdown", "--man"):
            done = self.tool("config", form, env={"DLACCEL_CMA": "0", "DLACCEL_WRONG": "1"})
            self.assertEqual((done.returncode, done.stdout), (0, self.tool("config", form).stdout))


class Words(ToolTest):
    def test_output_that_cannot_be_written_is_a_failure(self):
        for args in (["config"], ["--version"], ["help"], ["doctor"]):
            with open("/dev/full", "w") as full:
                done = subprocess.run([TOOL, *args], stdout=full, stderr=subprocess.PIPE, text=True, env=clean_environment())
            self.assertEqual(done.returncode, 1, args)
            self.assertIn("No space left", done.stderr)

    def test_version_and_help(self):
        with open(os.path.join(SOURCE, "meson.build")) as build:
            version = re.search(r"version: '([\d.]+)'", build.read()).group(1)
        self.assertEqual(self.tool("--version").stdout, f"dlaccel {version}\n")
        listing = self.tool("help")
        self.assertEqual(listing.returncode, 0)
        commands = re.findall(r"^  (\w+) +\S", listing.stdout, re.M)
        self.assertGreaterEqual(set(commands), {"run", "doctor", "config", "stats", "off", "bisect", "bench", "report"})
        for command in set(commands) - {"help"}:
            done = self.tool("help", command)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertTrue(done.stdout.startswith(f"usage: dlaccel {command} "))
            self.assertEqual(self.tool(command, "--help").stdout, done.stdout)
            wrong = self.tool(command, "--no-such-option")
            self.assertEqual((wrong.returncode, wrong.stdout), (2, ""), command)
            self.assertIn("usage:", wrong.stderr)
        self.assertEqual(self.tool("help", "nonsense").returncode, 2)


if __name__ == "__main__":
    main()
