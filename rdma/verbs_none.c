/* Built without rdma-core's headers: nobody is met on other hosts. */
#include "meeting.h"

#include <errno.h>

bool verbs_may_meet(const struct tuple *t)
{
	return false;
}

int verbs_meet_open(const struct tuple *t, int role, struct meeting **ret_meeting)
{
	return -ENODEV;
}

int verbs_meet_take(struct meeting *m, int role, struct stream **ret_stream)
{
	return -EPERM;
}

void verbs_meet_close(struct meeting *m)
{
}

void verbs_after_fork(void)
{
}
