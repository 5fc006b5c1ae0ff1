#include "peer.h"

#include "dlaccel.h"
#include "secret.h"
#include "settings.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct way {
	struct sockaddr_storage to, from;
	char to_text[INET6_ADDRSTRLEN], from_text[INET6_ADDRSTRLEN];
	char netdev[IF_NAMESIZE];
	char device[64], state[64];
};

static const void *address_of(const struct sockaddr_storage *a)
{
	return a->ss_family == AF_INET6 ? (const void *)&((const struct sockaddr_in6 *)a)->sin6_addr
					: (const void *)&((const struct sockaddr_in *)a)->sin_addr;
}

static size_t address_bytes(const struct sockaddr_storage *a)
{
	return a->ss_family == AF_INET6 ? 16 : 4;
}

static bool same_address(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
	return a->ss_family == b->ss_family && !memcmp(address_of(a), address_of(b), address_bytes(a));
}

/* The kernel's choice of a source address; nothing is sent. */
static bool route(const struct addrinfo *to, struct way *w)
{
	int fd = socket(to->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(w->from);
	bool ok = fd >= 0 && !connect(fd, to->ai_addr, to->ai_addrlen) && !getsockname(fd, (struct sockaddr *)&w->from, &len);

	if (fd >= 0)
		close(fd);
	if (!ok)
		return false;
	memcpy(&w->to, to->ai_addr, to->ai_addrlen);
	inet_ntop(to->ai_family, address_of(&w->to), w->to_text, sizeof(w->to_text));
	inet_ntop(to->ai_family, address_of(&w->from), w->from_text, sizeof(w->from_text));
	return true;
}

static bool resolve(const char *host, struct way *w)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list, *a;
	bool ok = false;

	if (getaddrinfo(host, "9", &hints, &list))
		return false;
	for (a = list; a && !ok; a = a->ai_next)
		ok = route(a, w);
	freeaddrinfo(list);
	return ok;
}

static void find_netdev(struct way *w)
{
	struct ifaddrs *list, *i;

	if (getifaddrs(&list))
		return;
	for (i = list; i; i = i->ifa_next)
		if (i->ifa_addr && i->ifa_addr->sa_family == w->from.ss_family &&
		    same_address((struct sockaddr_storage *)i->ifa_addr, &w->from))
			snprintf(w->netdev, sizeof(w->netdev), "%s", i->ifa_name);
	freeifaddrs(list);
}

/* Does a port of this device stand on the network device? */
static bool stands_on(const char *device, const char *netdev, char *ret_state, size_t room)
{
	char path[512], name[64];

	for (int i = 0; i < 64; i++) {
		snprintf(path, sizeof(path), "/sys/class/infiniband/%s/ports/1/gid_attrs/ndevs/%d", device, i);
		if (read_text(path, name, sizeof(name)))
			continue;
		name[strcspn(name, "\n")] = 0;
		if (strcmp(name, netdev))
			continue;
		snprintf(path, sizeof(path), "/sys/class/infiniband/%s/ports/1/state", device);
		if (read_text(path, ret_state, room))
			*ret_state = 0;
		ret_state[strcspn(ret_state, "\n")] = 0;
		return true;
	}
	return false;
}

static void find_device(struct way *w)
{
	DIR *dir = opendir("/sys/class/infiniband");
	struct dirent *entry;

	while (dir && !w->device[0] && (entry = readdir(dir)))
		if (entry->d_name[0] != '.' && stands_on(entry->d_name, w->netdev, w->state, sizeof(w->state)))
			snprintf(w->device, sizeof(w->device), "%.63s", entry->d_name);
	if (dir)
		closedir(dir);
}

bool peer_has_rdma(const char *host, char *ret_text, size_t room)
{
	struct way w = { 0 };
	uint8_t key[SECRET_MOST];
	size_t bytes;
	const char *unfit = secret_read(settings.secret_file, key, &bytes);

	if (!resolve(host, &w)) {
		snprintf(ret_text, room, "%s cannot be resolved, or there is no route", host);
		return false;
	}
	if (same_address(&w.to, &w.from)) {
		snprintf(ret_text, room, "%s is this host: shared memory", w.to_text);
		return false;
	}
	find_netdev(&w);
	find_device(&w);
	if (!w.device[0])
		snprintf(ret_text, room, "%s from %s by %s: no RDMA device stands there, so TCP", w.to_text, w.from_text, w.netdev);
	else if (!strstr(w.state, "ACTIVE"))
		snprintf(ret_text, room, "%s from %s by %s: %s, but its port is %s", w.to_text, w.from_text, w.netdev, w.device, w.state);
	else if (!setting_lists(settings.rdma_devices, w.device))
		snprintf(ret_text, room, "%s from %s by %s: %s, but DLACCEL_RDMA_DEVICES=%s does not name it", w.to_text, w.from_text,
			w.netdev, w.device, settings.rdma_devices);
	else if (access("/dev/infiniband/rdma_cm", R_OK | W_OK))
		snprintf(ret_text, room, "%s by %s: no access to /dev/infiniband/rdma_cm (module rdma_ucm)", w.to_text, w.device);
	else if (unfit)
		snprintf(ret_text, room, "%s by %s: RDMA is off, DLACCEL_SECRET_FILE %s", w.to_text, w.device, unfit);
	else
		return snprintf(ret_text, room, "%s from %s by %s: %s; the other end needs one too", w.to_text, w.from_text,
			       w.netdev, w.device) > 0;
	return false;
}
