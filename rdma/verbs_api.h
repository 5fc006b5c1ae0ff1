/*
 * The functions of libibverbs and librdmacm, from verbs_api.def, and the registrar over them.
 * verbs_load may be called from any thread, but not from a signal handler: it allocates.
 */
#pragma once
#include "memreg.h"

#include <infiniband/verbs.h>
#include <rdma/rdma_cma.h>

#undef ibv_reg_mr /* a macro that calls the library past the table */
#undef ibv_query_port

struct verbs_api {
#define VERB(library, name) __typeof__(name) *name;
#include "verbs_api.def"
#undef VERB
};

extern struct verbs_api verbs;

/* 0 once every row is resolved; -ENOENT (said once, with the name) where a library or a row is
 * missing; -ENOTSUP where this kernel would move registered pages away at a fork. */
int verbs_load(void);

/* Registers with a protection domain: the `device` of memreg is a struct ibv_pd. */
extern const struct memreg_ops verbs_registrar, verbs_registrar_windows, verbs_registrar_on_demand;

/* The one that suits the device; `windows`: what it registers may be opened to a peer for a while (IBV_MW_TYPE_2). */
const struct memreg_ops *verbs_registrar_for(struct ibv_context *context);
