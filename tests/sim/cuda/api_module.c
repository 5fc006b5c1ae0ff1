/* Modules, libraries, functions, occupancy. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api.h"

struct library {
	struct module *mod;
	struct library *next;
};

static void copy_log(const char *log, unsigned n, const int *options, void **values)
{
	char *buf = NULL;
	size_t cap = 0;

	for (unsigned i = 0; options && values && i < n; i++) {
		if (options[i] == CU_JIT_ERROR_LOG_BUFFER)
			buf = values[i];
		if (options[i] == CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES)
			cap = (size_t)(uintptr_t)values[i];
	}
	if (buf && cap)
		snprintf(buf, cap, "%s", log);
}

/* Lock held on entry and exit. */
static int load_image(struct ctx *ctx, const void *image, unsigned n, const int *options, void **values, struct module **ret)
{
	char log[512] = "", *text = NULL;
	int rc;

	if (!image || !ret)
		return REFUSE(CUDA_ERROR_INVALID_VALUE);
	rc = capture_blocks(ctx, NULL, true);
	if (!rc)
		rc = image_to_ptx(image, 0, &text);
	if (!rc)
		rc = module_load(ctx, text, log, sizeof(log), ret);
	free(text);
	if (rc) {
		copy_log(log, n, options, values);
		strict_report("module not loaded: %s", log);
	}
	return rc;
}

static char *read_file(const char *path, size_t *ret_n)
{
	FILE *f = fopen(path, "rb");
	char *buf = NULL;
	long n;

	if (!f)
		return NULL;
	if (!fseek(f, 0, SEEK_END) && (n = ftell(f)) >= 0 && !fseek(f, 0, SEEK_SET)) {
		buf = calloc(1, (size_t)n + 1);
		*ret_n = buf ? fread(buf, 1, (size_t)n, f) : 0;
	}
	fclose(f);
	return buf;
}

CUresult cuModuleLoadDataEx(CUmodule *ret, const void *image, unsigned int n, int *options, void **values)
{
	struct ctx *ctx;

	ENTER(ctx);
	CALL();
	LEAVE(load_image(ctx, image, n, options, values, ret));
}

CUresult cuModuleLoadData(CUmodule *ret, const void *image)
{
	struct ctx *ctx;

	ENTER(ctx);
	CALL();
	LEAVE(load_image(ctx, image, 0, NULL, NULL, ret));
}

CUresult cuModuleLoadFatBinary(CUmodule *ret, const void *image)
{
	return cuModuleLoadData(ret, image);
}

CUresult cuModuleLoad(CUmodule *ret, const char *path)
{
	size_t n = 0;
	char *buf = path ? read_file(path, &n) : NULL;
	CUresult rc;

	if (!buf)
		return CUDA_ERROR_FILE_NOT_FOUND;
	rc = cuModuleLoadData(ret, buf);
	free(buf);
	return rc;
}

CUresult cuModuleUnload(CUmodule m)
{
	struct ctx *ctx;

	ENTER(ctx);
	CALL();
	if (!handle_is(m, H_MODULE) || m->from_library)
		LEAVE(misuse(CUDA_ERROR_INVALID_HANDLE, "unloading what is no module"));
	ctx_wait(m->ctx);
	module_destroy(m);
	LEAVE(CUDA_SUCCESS);
}

CUresult cuModuleGetLoadingMode(int *mode)
{
	if (!mode)
		return REFUSE(CUDA_ERROR_INVALID_VALUE);
	*mode = 1; /* eager */
	return CUDA_SUCCESS;
}

#define MODULE(m) do { if (!handle_is(m, H_MODULE)) LEAVE(misuse(CUDA_ERROR_INVALID_HANDLE, "%p is no module", (void *)(m))); } while (0)

#define LIBRARY(l) do { if (!handle_is(l, H_LIBRARY)) LEAVE(misuse(CUDA_ERROR_INVALID_HANDLE, "%p is no library", (void *)(l))); } while (0)
#define FUNC(f) do { if (!handle_is(f, H_FUNC)) LEAVE(misuse(CUDA_ERROR_INVALID_HANDLE, "%p is no function", (void *)(f))); } while (0)

/* Entries that tell one thing of a module, library or function h. */
#define GETTER(entry, type, handle, CHECK, what)                                                   \
	CUresult entry(type *ret, handle h)                                                        \
	{                                                                                          \
		struct ctx *ctx;                                                                   \
                                                                                                   \
		ENTER(ctx);                                                                        \
		CALL();                                                                            \
		CHECK(h);                                                                          \
		if (!ret)                                                                          \
			LEAVE(CUDA_ERROR_INVALID_VALUE);                                           \
		*ret = what;                                                                       \
		LEAVE(CUDA_SUCCESS);                                                               \
	}

static int find_func(struct module *m, const char *name, struct func **ret)
{
	struct func *f;

	if (!ret || !name)
		return REFUSE(CUDA_ERROR_INVALID_VALUE);
	f = module_func(m, name);
	if (f)
		*ret = f;
	return f ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

CUresult cuModuleGetFunction(CUfunction *ret, CUmodule m, const char *name)
{
	struct ctx *ctx;

	ENTER(ctx);
	CALL();
	MODULE(m);
	LEAVE(find_func(m, name, ret));
}

static unsigned list_funcs(struct module *m, struct func **list, unsigned cap)
{
	unsigned n = 0;

	for (struct func *f = m->funcs; f; f = f->next, n++)
		if (n < cap)
			list[n] = f;
	return n;
}

GETTER(cuModuleGetFunctionCount, unsigned int, CUmodule, MODULE, list_funcs(h, NULL, 0))

static int enumerate(struct module *m, struct func **list, unsigned n)
{
	if (!list)
		return REFUSE(CUDA_ERROR_INVALID_VALUE);
	list_funcs(m, list, n);
	return CUDA_SUCCESS;
}

CUresult cuModuleEnumerateFunctions(CUfunction *list, unsigned int n, CUmodule m)
{
	struct ctx *ctx;

	ENTER(ctx);
	CALL();
	MODULE(m);
	LEAVE(enumerate(m, list, n));
}

static int find_global(struct module *m, const char *name, CUdeviceptr *addr, size_t *size)
{
	if (!name || (!addr && !size))
		return REFUSE(CUDA_ERROR_INVALID_VALUE);
	for (struct global *g = m->globals; g; g = g->next) {
		if (strcmp(g->name, name))
			continue;
		if (addr)
			*addr = g->addr;
		if (size)
			*size = g->size;
		return CUDA_SUCCESS;
	}
	return CUDA_ERROR_NOT_FOUND;
}

CUresult cuModuleGetGlobal_v2(CUdeviceptr *addr, size_t *size, CUmodule m, const char *name)
{
	struct ctx *ctx;

	ENTER(ctx);
	CALL();
	MODULE(m);
	LEAVE(find_global(m, name, addr, size));
}

/* A library is a module that any context may use: there is one device memory behind them all. */
CUresult cuLibraryLoadData(CUlibrary *ret, const void *image, int *jo, void **jv, unsigned int nj, int *lo, void **lv,
			   unsigned int nl)
{
	struct ctx *ctx;
	struct library *l;
	struct module *m;
	int rc;

	ENTER(ctx);
	CALL();
	if (!ret)
		LEAVE(CUDA_ERROR_INVALID_VALUE);
	rc = load_image(ctx, image, nj, jo, jv, &m);
	if (rc)
		LEAVE(rc);
	l = calloc(1, sizeof(*l));
	if (!l)
		abort();
	m->from_library = true;
	m->lib = l;
	l->mod = m;
	handle_add(l, H_LIBRARY);
	*ret = l;
	LEAVE(CUDA_SUCCESS);
}

CUresult cuLibraryLoadFromFile(CUlibrary *ret, const char *path, int *jo, void **jv, unsigned int nj, int *lo, void **lv,
			       unsigned int nl)
{
	size_t n = 0;
	char *buf = path ? read_file(path, &n) : NULL;
	CUresult rc;

	if (!buf)
		return CUDA_ERROR_FILE_NOT_FOUND;
	rc = cuLibraryLoadData(ret, buf, jo, jv, nj, lo, lv, nl);
	free(buf);
	return rc;
}

CUresult cuLibraryUnload(CUlibrary l)
{
	struct ctx *ctx;

	ENTER(ctx);
	CALL();
	LIBRARY(l);
	ctx_wait(ctx);
	module_destroy(l->mod);
	handle_remove(l);
	free(l);
	LEAVE(CUDA_SUCCESS);
}

void library_orphan(struct library *l)
{
	handle_remove(l);
	free(l);
}

CUresult cuLibraryGetKernel(CUkernel *ret, CUlibrary l, const char *name)
{
	struct ctx *ctx;

	ENTER(ctx);
	CALL();
	LIBRARY(l);
	LEAVE(find_func(l->mod, name, ret));
}

GETTER(cuLibraryGetKernelCount, unsigned int, CUlibrary, LIBRARY, list_funcs(h->mod, NULL, 0))

CUresult cuLibraryEnumerateKernels(CUkernel *list, unsigned int n, CUlibrary l)
{
	struct ctx *ctx;

	ENTER(ctx);
	CALL();
	LIBRARY(l);
	LEAVE(enumerate(l->mod, list, n));
}

GETTER(cuLibraryGetModule, CUmodule, CUlibrary, LIBRARY, h->mod)

CUresult cuLibraryGetGlobal(CUdeviceptr *addr, size_t *size, CUlibrary l, const char *name)
{
	struct ctx *ctx;

	ENTER(ctx);
	CALL();
	LIBRARY(l);
	LEAVE(find_global(l->mod, name, addr, size));
}

GETTER(cuKernelGetFunction, CUfunction, CUkernel, FUNC, h)

CUresult cuKernelGetLibrary(CUlibrary *ret, CUkernel k)
{
	struct ctx *ctx;

	ENTER(ctx);
	CALL();
	FUNC(k);
	if (!ret || !k->mod->lib)
		LEAVE(CUDA_ERROR_INVALID_VALUE);
	*ret = k->mod->lib;
	LEAVE(CUDA_SUCCESS);
}

GETTER(cuFuncGetModule, CUmodule, CUfunction, FUNC, h->mod)
GETTER(cuFuncGetName, const char *, CUfunction, FUNC, h->name)

CUresult cuKernelGetName(const char **name, CUkernel k)
{
	return cuFuncGetName(name, k);
}

CUresult cuFuncGetParamInfo(CUfunction f, size_t i, size_t *off, size_t *size)
{
	struct ctx *ctx;

	ENTER(ctx);
	CALL();
	FUNC(f);
	if (!off || i >= f->code->nparams)
		LEAVE(CUDA_ERROR_INVALID_VALUE);
	*off = f->code->params[i].off;
	if (size)
		*size = f->code->params[i].size;
	LEAVE(CUDA_SUCCESS);
}

CUresult cuKernelGetParamInfo(CUkernel k, size_t i, size_t *off, size_t *size)
{
	return cuFuncGetParamInfo(k, i, off, size);
}

static int max_threads(const struct func *f)
{
	const struct code *c = f->code;

	if (c->has_reqntid)
		return (int)(c->reqntid[0] * c->reqntid[1] * c->reqntid[2]);
	return c->has_maxntid ? (int)(c->maxntid[0] * c->maxntid[1] * c->maxntid[2]) : 1024;
}

static int get_attribute(const struct func *f, int attr, int *value)
{
	switch (attr) {
	case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK: *value = max_threads(f); break;
	case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES: *value = (int)f->code->shared_size; break;
	case CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES: *value = 0; break;
	case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES: *value = (int)f->code->local_size; break;
	case CU_FUNC_ATTRIBUTE_NUM_REGS: *value = (int)f->code->nregs32; break;
	case CU_FUNC_ATTRIBUTE_PTX_VERSION: *value = f->mod->ptx->target; break;
	case CU_FUNC_ATTRIBUTE_BINARY_VERSION: *value = settings.cc; break;
	case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES: *value = f->max_dyn_shared; break;
	case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT: *value = f->carveout; break;
	default:
		if (attr < 0 || attr >= CU_FUNC_ATTRIBUTE_MAX)
			return REFUSE(CUDA_ERROR_INVALID_VALUE);
		*value = 0;
	}
	return 0;
}

static int set_attribute(struct func *f, int attr, int value)
{
	switch (attr) {
	case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
		if (value < 0 || value + (int)f->code->shared_size > MAX_SHARED_OPTIN)
			return REFUSE(CUDA_ERROR_INVALID_VALUE);
		f->max_dyn_shared = value;
		return 0;
	case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
		if (value < -1 || value > 100)
			return REFUSE(CUDA_ERROR_INVALID_VALUE);
		f->carveout = value;
		return 0;
	default:
		return attr >= CU_FUNC_ATTRIBUTE_CLUSTER_SIZE_MUST_BE_SET && attr < CU_FUNC_ATTRIBUTE_MAX ? 0 : CUDA_ERROR_INVALID_VALUE;
	}
}

CUresult cuFuncGetAttribute(int *value, int attr, CUfunction f)
{
	struct ctx *ctx;

	ENTER(ctx);
	CALL();
	FUNC(f);
	LEAVE(value ? get_attribute(f, attr, value) : CUDA_ERROR_INVALID_VALUE);
}

CUresult cuFuncSetAttribute(CUfunction f, int attr, int value)
{
	struct ctx *ctx;

	ENTER(ctx);
	CALL();
	FUNC(f);
	LEAVE(set_attribute(f, attr, value));
}

CUresult cuKernelGetAttribute(int *value, int attr, CUkernel k, CUdevice dev)
{
	return cuFuncGetAttribute(value, attr, k);
}

CUresult cuKernelSetAttribute(int attr, int value, CUkernel k, CUdevice dev)
{
	return cuFuncSetAttribute(k, attr, value);
}

/* These two speak to cuLaunch and its like only, which are not here. */
CUresult cuFuncSetBlockShape(CUfunction f, int x, int y, int z)
{
	struct ctx *ctx;

	ENTER(ctx);
	CALL();
	FUNC(f);
	LEAVE(x < 1 || y < 1 || z < 1 || (int64_t)x * y * z > 1024 ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS);
}

CUresult cuFuncSetSharedSize(CUfunction f, unsigned int n)
{
	struct ctx *ctx;

	ENTER(ctx);
	CALL();
	FUNC(f);
	LEAVE(n > 227u << 10 ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS);
}

CUresult cuFuncSetCacheConfig(CUfunction f, int config)
{
	struct ctx *ctx;

	ENTER(ctx);
	CALL();
	FUNC(f);
	LEAVE(config < 0 || config > 3 ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS);
}

CUresult cuKernelSetCacheConfig(CUkernel k, int config, CUdevice dev)
{
	return cuFuncSetCacheConfig(k, config);
}

CUresult cuFuncSetSharedMemConfig(CUfunction f, int config)
{
	return cuFuncSetCacheConfig(f, config);
}

GETTER(cuFuncIsLoaded, int, CUfunction, FUNC, 1)

CUresult cuFuncLoad(CUfunction f)
{
	struct ctx *ctx;

	ENTER(ctx);
	CALL();
	FUNC(f);
	LEAVE(CUDA_SUCCESS);
}
