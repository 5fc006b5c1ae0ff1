/*
 * A device that is removed is let go of.  A kernel whose driver cannot take a device from a process waits until
 * all have closed it, and librdmacm keeps it open behind its last id; nor is a process without ids told.  Thread only.
 */
#include "log.h"
#include "sys.h"
#include "verbs.h"
#include "verbs_api.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>

/* An id of ours on each device that librdmacm has opened for us: it gets the event. */
struct watch {
	struct watch *next;
	struct rdma_cm_id *id;
	struct ibv_context *context;
};

static struct watch *watches;

static struct watch **find(const struct ibv_context *context)
{
	struct watch **p = &watches;

	while (*p && (*p)->context != context)
		p = &(*p)->next;
	return p;
}

static bool bind_beside(struct rdma_cm_id *id, const struct rdma_cm_id *other)
{
	struct sockaddr_storage at = other->route.addr.src_storage;

	((struct sockaddr_in *)&at)->sin_port = 0; /* at the same place for both families */
	return !verbs.rdma_bind_addr(id, (struct sockaddr *)&at) && id->verbs == other->verbs;
}

void device_watch(const struct rdma_cm_id *on)
{
	if (!on->verbs || *find(on->verbs))
		return;
	struct watch *w = calloc(1, sizeof(*w));
	if (!w || verbs.rdma_create_id(thread_channel(), &w->id, NULL, RDMA_PS_TCP)) {
		free(w);
		return;
	}
	if (!bind_beside(w->id, on)) {
		log_info("RDMA: nobody will say when the device is removed");
		verbs.rdma_destroy_id(w->id);
		free(w);
		return;
	}
	w->context = on->verbs;
	w->next = watches;
	watches = w;
}

static void close_behind(int fd)
{
	long null = sys_call(SYS_openat, AT_FDCWD, "/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0)
		return;
	sys_call(SYS_dup3, null, fd, O_CLOEXEC);
	sys_call(SYS_close, null);
}

/* librdmacm closes the numbers when it next looks for a device and finds this one gone. */
void device_leave(struct ibv_context *context)
{
	struct watch **p = find(context), *w = *p;

	if (w) {
		*p = w->next;
		verbs.rdma_destroy_id(w->id);
		free(w);
	}
	close_behind(context->async_fd);
	close_behind(context->cmd_fd);
}
