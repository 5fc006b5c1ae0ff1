/*
 * Device memory: one table of spans, looked up by device address.
 *
 * A device address is never readable by the host: the addresses handed out lie in a reserved range
 * without access, and each span says where its bytes really are. Pinned and managed memory are the
 * exception, as on the real thing: there the host sees the same address.
 *
 * Thread-safe. A span found stays valid until mem_version() changes.
 */
#ifndef SIMCUDA_MEM_H
#define SIMCUDA_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum mem_kind { MEM_DEVICE, MEM_PINNED, MEM_REGISTERED, MEM_MANAGED, MEM_VMM, MEM_POOL, MEM_MODULE, MEM_INTERNAL };

struct mem_span {
	uint64_t base, size;
	uint8_t *host;
	enum mem_kind kind;
	uint32_t flags;
	uint64_t id;   /* grows with each allocation */
	void *owner;   /* the context it was made in */
	bool readonly;
	uint8_t *old, *dirty; /* second copy for the stale-cache mode, shadow for races: owned by watch.c */
};

int mem_init(uint64_t capacity);
int mem_alloc(uint64_t size, uint64_t align, enum mem_kind kind, void *owner, uint64_t *ret_addr);
int mem_free(uint64_t addr, enum mem_kind kind);
/* Makes [host, host+size) known to the device under addr (usually the same number). */
int mem_attach(uint64_t addr, uint64_t size, uint8_t *host, enum mem_kind kind, uint32_t flags, void *owner);
int mem_detach(uint64_t addr, uint8_t **ret_host, uint64_t *ret_size);
bool mem_find(uint64_t addr, struct mem_span *ret_span);
/* The bytes behind [addr, addr+n), NULL when not all of them are the device's. */
uint8_t *mem_host(uint64_t addr, uint64_t n);
uint64_t mem_version(void);
void mem_usage(uint64_t *ret_free, uint64_t *ret_total);
bool mem_charge(uint64_t size); /* counts physical memory that lies elsewhere (VMM) */
void mem_uncharge(uint64_t size);
/* Address space without memory, for VMM. */
int mem_reserve(uint64_t size, uint64_t align, uint64_t *ret_addr);
int mem_unreserve(uint64_t addr, uint64_t size);
bool mem_reserved(uint64_t addr, uint64_t size);
/* Frees everything that owner made; returns how many there were. */
unsigned mem_free_owned(void *owner);
unsigned mem_count(enum mem_kind kind);

#endif
