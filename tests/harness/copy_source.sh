#!/bin/sh
# What git would carry, committed or not; a release without git is taken whole but for its builds.
# copy_source.sh SOURCE INTO
set -eu
mkdir -p "$2"
if git -C "$1" rev-parse >/dev/null 2>&1; then
	(cd "$1" && git ls-files -z -co --exclude-standard | tar -c --null --ignore-failed-read -T - -f -) | tar -x -C "$2"
else
	tar -c -C "$1" --exclude './build*' . | tar -x -C "$2"
fi
