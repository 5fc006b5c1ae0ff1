/*
 * The processes that fork has made out of this one, so that before an upgrade it can be asked whether
 * another of them still holds the same socket.  One shared page, mapped at the first fork of a
 * process that tracks connections.
 */
#pragma once
#include <stdbool.h>

void family_before_fork(void);
void family_in_child(void);
/* Does another process of the family have this socket open?  Unsure means yes. */
bool family_holds_too(int fd);
