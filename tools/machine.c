#include "machine.h"

#include "dlaccel.h"

#include <dirent.h>
#include <string.h>
#include <unistd.h>

void machine_rdma(char *ret_names, size_t room)
{
	DIR *dir = opendir("/sys/class/infiniband");
	struct dirent *entry;
	size_t n = 0;

	ret_names[0] = 0;
	while (dir && n < room && (entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			n += (size_t)snprintf(ret_names + n, room - n, "%s%s", n ? ", " : "", entry->d_name);
	if (dir)
		closedir(dir);
	plain_text(ret_names);
}

/* "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  ...": the first word with a dot. */
void machine_cuda(char *ret_version, size_t room)
{
	char text[512], *save, *word;

	ret_version[0] = 0;
	if (read_text("/proc/driver/nvidia/version", text, sizeof(text)))
		return;
	for (word = strtok_r(text, " \t\n", &save); word; word = strtok_r(NULL, " \t\n", &save))
		if (*word >= '0' && *word <= '9' && strchr(word, '.')) {
			snprintf(ret_version, room, "%s", plain_text(word));
			return;
		}
}

void machine_name(char *ret_name, size_t room)
{
	if (gethostname(ret_name, room))
		ret_name[0] = 0;
	ret_name[room - 1] = 0;
	for (char *p = plain_text(ret_name); *p; p++)
		if (*p == '/')
			*p = '_';
}
