/* Virtual memory: address ranges, physical memory, mappings, access. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "api.h"

#define GRANULE ((size_t)2 << 20)

/* One piece of physical memory, shared by its handles and its mappings. */
struct physical {
	int fd, handles, maps;
	size_t size;
	CUmemAllocationProp prop;
	uint8_t *bytes;
};

struct mapping {
	CUdeviceptr addr;
	size_t size, off;
	struct physical *phys;
	bool access;
	struct mapping *next;
};

static struct mapping *mappings;

static void physical_put(struct physical *p)
{
	if (p->handles || p->maps)
		return;
	munmap(p->bytes, p->size);
	mem_uncharge(p->size);
	free(p);
}

static struct physical *physical_of(CUmemGenericAllocationHandle h)
{
	return handle_is((void *)(uintptr_t)h, H_VMM) ? (struct physical *)(uintptr_t)h : NULL;
}

CUresult cuMemGetAllocationGranularity(size_t *n, const CUmemAllocationProp *prop, int option)
{
	ENTER_INIT();
	CALL();
	if (!n || !prop)
		return REFUSE(CUDA_ERROR_INVALID_VALUE);
	*n = GRANULE;
	return CUDA_SUCCESS;
}

CUresult cuMemAddressReserve(CUdeviceptr *ret, size_t n, size_t align, CUdeviceptr hint, unsigned long long flags)
{
	struct ctx *ctx;
	uint64_t addr;

	ENTER(ctx);
	CALL();
	if (!ret || !n || n % GRANULE || (align & (align - 1)) || flags)
		LEAVE(CUDA_ERROR_INVALID_VALUE);
	if (mem_reserve(n, align > GRANULE ? align : GRANULE, &addr))
		LEAVE(CUDA_ERROR_OUT_OF_MEMORY);
	*ret = addr;
	LEAVE(CUDA_SUCCESS);
}

CUresult cuMemAddressFree(CUdeviceptr p, size_t n)
{
	struct ctx *ctx;

	ENTER(ctx);
	CALL();
	for (struct mapping *m = mappings; m; m = m->next)
		if (m->addr >= p && m->addr < p + n)
			LEAVE(misuse(CUDA_ERROR_INVALID_VALUE, "freeing an address range that is still mapped"));
	LEAVE(mem_unreserve(p, n) ? misuse(CUDA_ERROR_INVALID_VALUE, "0x%llx is no reserved range", p) : CUDA_SUCCESS);
}

CUresult cuMemCreate(CUmemGenericAllocationHandle *ret, size_t n, const CUmemAllocationProp *prop, unsigned long long flags)
{
	struct ctx *ctx;
	struct physical *p;

	ENTER(ctx);
	CALL();
	if (!ret || !prop || !n || n % GRANULE || flags || prop->type != 1)
		LEAVE(CUDA_ERROR_INVALID_VALUE);
	if (!mem_charge(n))
		LEAVE(CUDA_ERROR_OUT_OF_MEMORY);
	p = calloc(1, sizeof(*p));
	if (!p)
		abort();
	p->bytes = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p->bytes == MAP_FAILED) {
		mem_uncharge(n);
		free(p);
		LEAVE(CUDA_ERROR_OUT_OF_MEMORY);
	}
	p->size = n;
	p->handles = 1;
	p->prop = *prop;
	handle_add(p, H_VMM);
	*ret = (CUmemGenericAllocationHandle)(uintptr_t)p;
	LEAVE(CUDA_SUCCESS);
}

CUresult cuMemRelease(CUmemGenericAllocationHandle h)
{
	struct ctx *ctx;
	struct physical *p;

	ENTER(ctx);
	CALL();
	p = physical_of(h);
	if (!p)
		LEAVE(misuse(CUDA_ERROR_INVALID_VALUE, "releasing what is no memory handle"));
	if (!--p->handles)
		handle_remove(p);
	physical_put(p);
	LEAVE(CUDA_SUCCESS);
}

CUresult cuMemMap(CUdeviceptr addr, size_t n, size_t off, CUmemGenericAllocationHandle h, unsigned long long flags)
{
	struct ctx *ctx;
	struct physical *p;
	struct mapping *m;

	ENTER(ctx);
	CALL();
	p = physical_of(h);
	if (!p || !n || n % GRANULE || addr % GRANULE || off || n > p->size || flags || !mem_reserved(addr, n))
		LEAVE(misuse(CUDA_ERROR_INVALID_VALUE, "a mapping that does not fit its range or its memory"));
	for (m = mappings; m; m = m->next)
		if (addr < m->addr + m->size && m->addr < addr + n)
			LEAVE(misuse(CUDA_ERROR_INVALID_VALUE, "mapping where something is mapped"));
	m = calloc(1, sizeof(*m));
	if (!m)
		abort();
	*m = (struct mapping){addr, n, off, p, false, mappings};
	mappings = m;
	p->maps++;
	LEAVE(CUDA_SUCCESS);
}

static void unmap_one(struct mapping **at)
{
	struct mapping *m = *at;

	*at = m->next;
	if (m->access)
		mem_detach(m->addr, NULL, NULL);
	m->phys->maps--;
	physical_put(m->phys);
	free(m);
}

CUresult cuMemUnmap(CUdeviceptr p, size_t n)
{
	struct ctx *ctx;
	size_t done = 0;

	ENTER(ctx);
	CALL();
	ctx_wait(ctx);
	for (struct mapping **at = &mappings; *at;) {
		if ((*at)->addr >= p && (*at)->addr + (*at)->size <= p + n) {
			done += (*at)->size;
			unmap_one(at);
		} else {
			at = &(*at)->next;
		}
	}
	LEAVE(done ? CUDA_SUCCESS : misuse(CUDA_ERROR_INVALID_VALUE, "unmapping 0x%llx, where nothing is mapped", p));
}

/* flags: 0 none, 1 read, 3 read and write. Memory without access is not the device's to touch. */
CUresult cuMemSetAccess(CUdeviceptr p, size_t n, const CUmemAccessDesc *desc, size_t count)
{
	struct ctx *ctx;
	size_t done = 0;

	ENTER(ctx);
	CALL();
	if (!desc || !count)
		LEAVE(CUDA_ERROR_INVALID_VALUE);
	for (struct mapping *m = mappings; m; m = m->next) {
		bool want = desc[0].flags != 0;

		if (m->addr < p || m->addr + m->size > p + n)
			continue;
		done += m->size;
		if (want && !m->access)
			mem_attach(m->addr, m->size, m->phys->bytes + m->off, MEM_VMM, 0, ctx);
		if (!want && m->access)
			mem_detach(m->addr, NULL, NULL);
		m->access = want;
	}
	LEAVE(done == n ? CUDA_SUCCESS : misuse(CUDA_ERROR_INVALID_VALUE, "setting access to what is not mapped"));
}

static struct mapping *mapping_at(CUdeviceptr p)
{
	for (struct mapping *m = mappings; m; m = m->next)
		if (p - m->addr < m->size)
			return m;
	return NULL;
}

CUresult cuMemGetAccess(unsigned long long *flags, const CUmemLocation *location, CUdeviceptr p)
{
	struct ctx *ctx;
	struct mapping *m;

	ENTER(ctx);
	CALL();
	m = mapping_at(p);
	if (!flags || !location || !m)
		LEAVE(CUDA_ERROR_INVALID_VALUE);
	*flags = m->access ? 3 : 0;
	LEAVE(CUDA_SUCCESS);
}

CUresult cuMemGetAllocationPropertiesFromHandle(CUmemAllocationProp *prop, CUmemGenericAllocationHandle h)
{
	struct ctx *ctx;
	struct physical *p;

	ENTER(ctx);
	CALL();
	p = physical_of(h);
	if (!p || !prop)
		LEAVE(CUDA_ERROR_INVALID_VALUE);
	*prop = p->prop;
	LEAVE(CUDA_SUCCESS);
}

CUresult cuMemRetainAllocationHandle(CUmemGenericAllocationHandle *ret, void *p)
{
	struct ctx *ctx;
	struct mapping *m;

	ENTER(ctx);
	CALL();
	m = mapping_at((uint64_t)(uintptr_t)p);
	if (!ret || !m)
		LEAVE(CUDA_ERROR_INVALID_VALUE);
	if (!m->phys->handles++)
		handle_add(m->phys, H_VMM);
	*ret = (CUmemGenericAllocationHandle)(uintptr_t)m->phys;
	LEAVE(CUDA_SUCCESS);
}
