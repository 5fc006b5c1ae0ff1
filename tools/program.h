/*
 * A program as the kernel and the loader will see it: found in PATH, followed through its #! lines
 * to the ELF file that really runs, and what in that file stands in the way of a preloaded library.
 */
#pragma once
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

struct elf_info {
	bool is_elf, is_64, same_machine, dynamic, go;
	uint16_t machine;
	char loader[256]; /* PT_INTERP, "" if there is none */
};

/* 0 or -errno; a file that is no ELF file gives 0 with is_elf false. */
int elf_read(const char *path, struct elf_info *ret);

enum { SCRIPT_DEPTH = 5 };

struct program {
	unsigned depth;                       /* #! lines followed */
	char runs[SCRIPT_DEPTH + 1][PATH_MAX]; /* path, its interpreter, ...; [depth] is the ELF file */
	struct elf_info elf;
	bool privileged; /* set-user-id, set-group-id or capabilities that change who it runs as */
};

/* -ENOENT: not found; -EACCES: found, but not executable: it or the interpreter it names, runs[depth]. */
int program_find(const char *name, struct program *ret);

/* The name without its folders. */
const char *base_name(const char *path);

/*
 * What keeps the library out of the program, NULL if nothing does.  *ret_harmful: preloading would
 * not just be ignored but break it or make it noisy.
 */
const char *program_obstacle(const struct program *program, bool *ret_harmful);

/*
 * Where a part of dlaccel lies: `built`, from the tool's folder in a build, or `installed`, where
 * `meson install` put it, also when the whole tree was moved.  0 or -ENOENT.
 */
int part_find(const char *built, const char *installed, char ret_path[PATH_MAX]);
int library_find(char ret_path[PATH_MAX]);

/* LD_PRELOAD divides at spaces and colons and has no way to write them. */
bool library_is_nameable(const char *path);
