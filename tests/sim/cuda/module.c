/* A module: its text parsed, its variables placed in device memory, its kernels compiled. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api.h"

static uint64_t aligned(uint64_t v, uint64_t a)
{
	return a > 1 ? (v + a - 1) & ~(a - 1) : v;
}

static struct ptx_var *find_var(const struct ptx_module *m, const char *name)
{
	for (struct ptx_var *v = m->vars; v; v = v->next)
		if (!strcmp(v->name, name) && !v->external)
			return v;
	return NULL;
}

static int place(struct module *m, struct ptx_var *v)
{
	struct global *g;
	uint64_t addr;

	if (mem_alloc(aligned(v->size ? v->size : 1, 8), v->align, MEM_MODULE, m, &addr))
		return CUDA_ERROR_OUT_OF_MEMORY;
	v->addr = addr;
	memset(mem_host(addr, 1), 0, v->size);
	if (v->init)
		memcpy(mem_host(addr, 1), v->init, v->size);
	g = calloc(1, sizeof(*g));
	if (!g)
		abort();
	g->name = strdup(v->name);
	g->addr = addr;
	g->size = v->size;
	g->next = m->globals;
	m->globals = g;
	return 0;
}

/* References between variables need all addresses. */
static int relocate(struct module *m, struct ptx_var *v, char *log, size_t loglen)
{
	uint32_t n = ptx_type_size(v->type);
	uint64_t func = 1;

	for (struct ptx_reloc *r = v->relocs; r; r = r->next) {
		struct ptx_var *t = r->name ? find_var(m->ptx, r->name) : NULL;
		uint64_t val = t ? t->addr + (uint64_t)r->add : 0;

		if (!t) {
			func = 1;
			for (struct ptx_func *f = m->ptx->funcs; f; f = f->next, func++)
				if (r->name && !strcmp(f->name, r->name))
					val = (UINT64_C(1) << 40) | func;
		}
		if (!val) {
			snprintf(log, loglen, "unresolved symbol '%s'", r->name ? r->name : "");
			return CUDA_ERROR_INVALID_PTX;
		}
		if (r->at + n <= v->size)
			memcpy(mem_host(v->addr, v->size) + r->at, &val, n);
	}
	return 0;
}

static int place_vars(struct module *m, char *log, size_t loglen)
{
	int rc = 0;

	for (struct ptx_var *v = m->ptx->vars; v && !rc; v = v->next) {
		struct ptx_var *def = v->external ? find_var(m->ptx, v->name) : v;

		if (v->space != SP_GLOBAL && v->space != SP_CONST)
			continue;
		if (!def) {
			snprintf(log, loglen, "unresolved extern variable '%s'", v->name);
			return CUDA_ERROR_INVALID_PTX;
		}
		if (def == v)
			rc = place(m, v);
	}
	for (struct ptx_var *v = m->ptx->vars; v && !rc; v = v->next)
		if (v->external && find_var(m->ptx, v->name))
			v->addr = find_var(m->ptx, v->name)->addr;
	for (struct ptx_var *v = m->ptx->vars; v && !rc; v = v->next)
		rc = relocate(m, v, log, loglen);
	return rc;
}

static int compile(struct module *m, struct ptx_func *pf, char *log, size_t loglen)
{
	struct func *f = calloc(1, sizeof(*f));

	if (!f)
		abort();
	f->code = ptx_compile(m->ptx, pf, log, loglen);
	if (!f->code) {
		free(f);
		return CUDA_ERROR_INVALID_PTX;
	}
	f->name = name_intern(pf->name);
	f->mod = m;
	f->max_dyn_shared = f->code->shared_size > MAX_SHARED ? 0 : MAX_SHARED - (int)f->code->shared_size;
	f->carveout = -1;
	f->next = m->funcs;
	m->funcs = f;
	return 0;
}

static int check_target(const struct ptx_module *p, char *log, size_t loglen)
{
	if (p->target > settings.cc || (p->target_suffix == 'a' && p->target != settings.cc)) {
		snprintf(log, loglen, "PTX for sm_%d%c does not run on sm_%d", p->target,
			 p->target_suffix ? p->target_suffix : ' ', settings.cc);
		return CUDA_ERROR_NO_BINARY_FOR_GPU;
	}
	return 0;
}

int module_load(struct ctx *ctx, const char *text, char *log, size_t loglen, struct module **ret)
{
	struct module *m = calloc(1, sizeof(*m));
	int rc = CUDA_ERROR_INVALID_PTX;

	if (!m)
		abort();
	m->ctx = ctx;
	m->ptx = ptx_parse(text, log, loglen);
	if (m->ptx)
		rc = check_target(m->ptx, log, loglen);
	if (!rc)
		rc = place_vars(m, log, loglen);
	for (struct ptx_func *f = m->ptx ? m->ptx->funcs : NULL; f && !rc; f = f->next)
		if (f->entry && f->has_body)
			rc = compile(m, f, log, loglen);
	m->next = ctx->modules;
	ctx->modules = m;
	handle_add(m, H_MODULE);
	for (struct func *f = m->funcs; f; f = f->next)
		handle_add(f, H_FUNC);
	if (rc) {
		module_destroy(m);
		return rc;
	}
	*ret = m;
	return 0;
}

void module_destroy(struct module *m)
{
	for (struct module **p = &m->ctx->modules; *p; p = &(*p)->next)
		if (*p == m) {
			*p = m->next;
			break;
		}
	for (struct func *f = m->funcs, *n; f; f = n) {
		n = f->next;
		handle_remove(f);
		code_destroy(f->code);
		free(f);
	}
	for (struct global *g = m->globals, *n; g; g = n) {
		n = g->next;
		free(g->name);
		free(g);
	}
	mem_free_owned(m);
	handle_remove(m);
	ptx_free(m->ptx);
	free(m);
}

struct func *module_func(struct module *m, const char *name)
{
	for (struct func *f = m->funcs; f; f = f->next)
		if (!strcmp(f->name, name))
			return f;
	return NULL;
}
