#include "iteration_internal.h"

enum token_kind { TOKEN_LAUNCH = 1, TOKEN_COPY, TOKEN_GRAPH, TOKEN_ALLOC, TOKEN_SOCKET };

static uint32_t add32(uint32_t h, uint32_t v)
{
	return mix32(h + 0x9e3779b9U + v);
}

static uint32_t add64(uint32_t h, uint64_t v)
{
	return add32(add32(h, (uint32_t)v), (uint32_t)(v >> 32));
}

/* Four classes an octave: what varies a little with the data stays the same token. */
static uint32_t size_class(uint64_t bytes)
{
	uint32_t octave;

	if (bytes < 8)
		return (uint32_t)bytes;
	octave = 63 - (uint32_t)__builtin_clzll(bytes);
	return octave * 4 + (uint32_t)(bytes >> (octave - 2) & 3);
}

uint32_t iteration_token_launch(uint64_t function, const uint32_t grid[3], const uint32_t block[3],
	uint32_t shared, uint32_t stream_role)
{
	uint32_t k, h = add64(TOKEN_LAUNCH, function);

	for (k = 0; k < 3; k++)
		h = add32(add32(h, grid[k]), block[k]);
	return add32(add32(h, shared), stream_role);
}

uint32_t iteration_token_copy(uint32_t kind, uint64_t bytes, uint32_t stream_role)
{
	return add32(add64(add32(TOKEN_COPY, kind), bytes), stream_role);
}

uint32_t iteration_token_graph(uint64_t graph, uint32_t stream_role)
{
	return add32(add64(TOKEN_GRAPH, graph), stream_role);
}

uint32_t iteration_token_alloc(uint64_t bytes)
{
	return add32(TOKEN_ALLOC, size_class(bytes));
}

uint32_t iteration_token_socket(uint32_t direction, uint64_t bytes)
{
	return add32(add32(TOKEN_SOCKET, direction), size_class(bytes));
}
