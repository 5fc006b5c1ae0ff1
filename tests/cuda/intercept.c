/*
 * Every road to the driver, preloaded: which address the program gets, and which entry of the driver
 * a call through it reaches. Argument: "on", or "off" (DLACCEL_CUDA=0: the driver's own addresses).
 */
#include "check.h"
#include "driver.h"
#include "stub.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <string.h>

typedef CUresult any_fn(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t);

static void *driver;
static bool on;

static bool is_ours(const void *p)
{
	Dl_info info;

	return dladdr(p, &info) && strstr(info.dli_fname, "libdlaccel");
}

static bool should_be_hooked(unsigned row)
{
	return on && gpu_barrier_class[row] != BARRIER_PASS;
}

static bool is_noted(unsigned row)
{
	switch (row) {
	case ROW_cuCtxGetCurrent:
	case ROW_cuCtxSetCurrent:
	case ROW_cuCtxPushCurrent_v2:
	case ROW_cuCtxPopCurrent_v2:
	case ROW_cuStreamGetCtx:
	case ROW_cuFuncGetParamInfo:
	case ROW_cuThreadExchangeStreamCaptureMode:
	case ROW_cuMemGetAddressRange_v2:
	case ROW_cuPointerGetAttribute:
	case ROW_cuGetProcAddress:
	case ROW_cuGetProcAddress_v2:
		return false;
	}
	return true;
}

static void reaches(unsigned row, void *p)
{
	if (!is_noted(row))
		return;
	stub.count = 0;
	CHECK_EQ(((any_fn *)p)(0, 0, 0, 0, 0, 0), 1);
	CHECK_EQ(stub.count, 1);
	CHECK_EQ(stub.call[0].row, row);
}

static void by_dlsym(unsigned row)
{
	const char *name = cuda_rows[row].name;
	void *p = dlsym(driver, name);

	CHECK(p);
	CHECK_EQ(is_ours(p), should_be_hooked(row));
	CHECK(dlsym(RTLD_DEFAULT, name) == p);
	reaches(row, p);
}

static void by_name_and_version(unsigned row)
{
	fn_cuGetProcAddress *v1 = (fn_cuGetProcAddress *)dlsym(driver, "cuGetProcAddress");
	fn_cuGetProcAddress_v2 *v2 = (fn_cuGetProcAddress_v2 *)dlsym(driver, "cuGetProcAddress_v2");
	const struct cuda_row_info *r = &cuda_rows[row];
	void *p = NULL, *p2 = NULL;
	int status;

	CHECK_EQ(v1(r->symbol, &p, r->version, r->per_thread ? 2 : 1), 0);
	CHECK_EQ(v2(r->symbol, &p2, r->version, r->per_thread ? 2 : 0, &status), 0);
	/* This one the stub gives at an address that it does not export. */
	CHECK_EQ(p == dlsym(driver, r->name), on || row != ROW_cuStreamSynchronize);
	CHECK(p2 == p);
}

/* What a name stands for is the driver's to say: the hook is that of the entry which it gave. */
static void by_the_drivers_word(void)
{
	static const struct {
		const char *symbol;
		int version;
		uint64_t flags;
		const char *entry;
	} asked[] = {
		{ "cuGraphInstantiate", 11000, 0, "cuGraphInstantiate_v2" },
		{ "cuGraphInstantiate", 12000, 0, "cuGraphInstantiateWithFlags" },
		{ "cuLaunchKernel", 4000, 2, "cuLaunchKernel_ptsz" },
		{ "cuLaunchKernel", 99000, 0, "cuLaunchKernel" },
		{ "cuMemFree", 99000, 0, "cuNewer00" },
	};
	fn_cuGetProcAddress *ask = (fn_cuGetProcAddress *)dlsym(driver, "cuGetProcAddress");
	void *p = NULL;

	for (unsigned i = 0; i < sizeof(asked) / sizeof(*asked); i++) {
		CHECK_EQ(ask(asked[i].symbol, &p, asked[i].version, asked[i].flags), 0);
		CHECK_EQ(is_ours(p), on);
		CHECK(p == dlsym(driver, asked[i].entry));
	}
	CHECK_EQ(ask("cuNoSuchThing", &p, 13000, 0), 500);
}

static void others_pass(void)
{
	CHECK(!dlsym(driver, "cuNoSuchThing"));
	CHECK(strstr(dlerror(), "cuNoSuchThing"));
	CHECK(dlsym(RTLD_DEFAULT, "malloc") == (void *)malloc);
	CHECK(dlvsym(RTLD_DEFAULT, "malloc", "GLIBC_2.2.5") || dlerror());
	CHECK_EQ(is_ours(dlvsym(driver, "cuMemFree_v2", "X")), false);
}

/* Linked against the driver: through the PLT, as a program built with -lcuda calls it. */
extern any_fn cuMemFree_v2, cuMemcpyPeerAsync_ptsz;

static void by_plt(void)
{
	reaches(ROW_cuMemFree_v2, cuMemFree_v2);
	reaches(ROW_cuMemcpyPeerAsync_ptsz, cuMemcpyPeerAsync_ptsz);
	CHECK_EQ(is_ours((void *)cuMemFree_v2), true);
}

int main(int argc, char **argv)
{
	CHECK(argc == 2);
	on = !strcmp(argv[1], "on");
	driver = dlopen("libcuda.so.1", RTLD_NOW);
	CHECK(driver);
	stub.result = 1;
	stub.fail_launch = 1;
	by_plt();
	for (unsigned i = 0; i < ROW_COUNT; i++) {
		stub.fail_launch = 1;
		by_dlsym(i);
		by_name_and_version(i);
	}
	by_the_drivers_word();
	others_pass();
	return 0;
}
