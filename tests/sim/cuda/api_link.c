/*
 * The linker. Inputs are PTX texts; what comes out is again a text, handed to cuModuleLoadData as an
 * image. Several inputs become one module: their headers are dropped but the first.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api.h"

struct link {
	char *text;
	size_t n;
	int inputs;
};

static int append(struct link *l, const char *s)
{
	size_t n = strlen(s);
	char *t = realloc(l->text, l->n + n + 2);

	if (!t)
		return CUDA_ERROR_OUT_OF_MEMORY;
	l->text = t;
	memcpy(t + l->n, s, n + 1);
	l->n += n;
	t[l->n++] = '\n';
	t[l->n] = '\0';
	return 0;
}

CUresult cuLinkCreate_v2(unsigned int n, int *options, void **values, CUlinkState *ret)
{
	struct ctx *ctx;
	struct link *l;

	ENTER(ctx);
	CALL();
	if (!ret)
		LEAVE(CUDA_ERROR_INVALID_VALUE);
	l = calloc(1, sizeof(*l));
	if (!l)
		abort();
	handle_add(l, H_LINK);
	*ret = l;
	LEAVE(CUDA_SUCCESS);
}

/* .version, .target and .address_size stand once, at the head of the whole. */
static void blank_directive(char *text, const char *name)
{
	for (char *p = strstr(text, name); p; p = strstr(p, name))
		while (*p && *p != '\n')
			*p++ = ' ';
}

static int add(struct link *l, const void *data, size_t size)
{
	char err[256], *text = NULL;
	struct ptx_module *m;
	int rc = image_to_ptx(data, size, &text);

	if (rc)
		return rc;
	m = ptx_parse(text, err, sizeof(err));
	if (!m) {
		strict_report("link input refused: %s", err);
		rc = CUDA_ERROR_INVALID_PTX;
	}
	ptx_free(m);
	if (!rc && l->inputs++) {
		blank_directive(text, ".version");
		blank_directive(text, ".target");
		blank_directive(text, ".address_size");
	}
	if (!rc)
		rc = append(l, text);
	free(text);
	return rc;
}

CUresult cuLinkAddData_v2(CUlinkState l, int type, void *data, size_t size, const char *name, unsigned int n, int *options,
			  void **values)
{
	struct ctx *ctx;

	ENTER(ctx);
	CALL();
	if (!handle_is(l, H_LINK))
		LEAVE(CUDA_ERROR_INVALID_HANDLE);
	if (!data || !size)
		LEAVE(CUDA_ERROR_INVALID_VALUE);
	if (type != CU_JIT_INPUT_PTX && type != CU_JIT_INPUT_FATBINARY)
		LEAVE(CUDA_ERROR_NO_BINARY_FOR_GPU);
	LEAVE(add(l, data, type == CU_JIT_INPUT_PTX ? size : 0));
}

CUresult cuLinkAddFile_v2(CUlinkState l, int type, const char *path, unsigned int n, int *options, void **values)
{
	FILE *f = path ? fopen(path, "rb") : NULL;
	char *buf;
	long size;
	CUresult rc = CUDA_ERROR_FILE_NOT_FOUND;

	if (!f)
		return rc;
	if (!fseek(f, 0, SEEK_END) && (size = ftell(f)) > 0 && !fseek(f, 0, SEEK_SET)) {
		buf = calloc(1, (size_t)size + 1);
		if (buf && fread(buf, 1, (size_t)size, f) == (size_t)size)
			rc = cuLinkAddData_v2(l, type, buf, (size_t)size, path, n, options, values);
		free(buf);
	}
	fclose(f);
	return rc;
}

CUresult cuLinkComplete(CUlinkState l, void **image, size_t *size)
{
	struct ctx *ctx;

	ENTER(ctx);
	CALL();
	if (!handle_is(l, H_LINK))
		LEAVE(CUDA_ERROR_INVALID_HANDLE);
	if (!image || !l->text)
		LEAVE(CUDA_ERROR_INVALID_VALUE);
	*image = l->text;
	if (size)
		*size = l->n + 1;
	LEAVE(CUDA_SUCCESS);
}

CUresult cuLinkDestroy(CUlinkState l)
{
	struct ctx *ctx;

	ENTER(ctx);
	CALL();
	if (!handle_is(l, H_LINK))
		LEAVE(CUDA_ERROR_INVALID_HANDLE);
	handle_remove(l);
	free(l->text);
	free(l);
	LEAVE(CUDA_SUCCESS);
}
