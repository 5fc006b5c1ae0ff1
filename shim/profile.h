/*
 * Connects the hooks' probes to the recorder: with DLACCEL_DIR, the first transfers of a process are
 * written to <dir>/<pid>.record, then no more.
 */
#pragma once

/* First relevant use; idempotent. */
void profile_activate(void);
void profile_after_fork(void);
void profile_close(void);
