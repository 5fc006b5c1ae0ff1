#include "rendezvous.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handshake.h"

static void fill_address(uint8_t *addr, const struct sockaddr_in *in)
{
	memset(addr, 0, 10);
	memset(addr + 10, 0xff, 2);
	memcpy(addr + 12, &in->sin_addr, 4);
}

void tuple_read(int fd, int role, struct tuple *ret_tuple)
{
	struct sockaddr_in me, peer;
	socklen_t len = sizeof(me);
	const struct sockaddr_in *from = role ? &peer : &me, *to = role ? &me : &peer;

	if (getsockname(fd, (void *)&me, &len) || getpeername(fd, (void *)&peer, &len))
		abort();
	fill_address(ret_tuple->connect_addr, from);
	fill_address(ret_tuple->accept_addr, to);
	ret_tuple->connect_port = from->sin_port;
	ret_tuple->accept_port = to->sin_port;
}

void boot_id_read(uint8_t *ret_id)
{
	FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");
	unsigned v;

	for (int i = 0; i < 16 && fscanf(f, "%2x", &v) == 1; i++) {
		int c = fgetc(f);

		ret_id[i] = v;
		if (c != '-' && c != EOF)
			ungetc(c, f);
	}
	fclose(f);
}

socklen_t rendezvous_name(int fd, int role, struct sockaddr_un *ret_name)
{
	struct tuple tuple;
	const uint8_t *t = (const uint8_t *)&tuple;
	uint8_t boot[16] = { 0 };
	char *p;

	tuple_read(fd, role, &tuple);
	memset(ret_name, 0, sizeof(*ret_name));
	ret_name->sun_family = AF_UNIX;
	p = ret_name->sun_path + 1 + sprintf(ret_name->sun_path + 1, "dlaccel.");
	for (size_t i = 0; i < TUPLE_BYTES; i++)
		p += sprintf(p, "%02x", t[i]);
	boot_id_read(boot);
	for (int i = 0; i < 8; i++)
		p += sprintf(p, "%02x", boot[i]);
	return p - (char *)ret_name;
}
