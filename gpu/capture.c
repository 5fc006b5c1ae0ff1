/*
 * While the program captures, nothing is deferred and nobody of ours asks the driver anything: the
 * program's calls must reach the capture as they come.
 */
#include "gpu.h"
#include "hooks.h"
#include "queue.h"

#define MAX_CAPTURES 256

static struct lock lock;
static struct {
	CUstream stream;
	CUcontext ctx;
} open[MAX_CAPTURES];
static unsigned open_count;

/* One stream, one name: a capture may end by another than it began by. */
static CUstream named(unsigned row, CUstream s)
{
	if (s && s != CU_STREAM_LEGACY)
		return s;
	return !s && cuda_rows[row].per_thread ? CU_STREAM_PER_THREAD : NULL;
}

/* A table overflown stays a capture open for good: slow, never wrong. */
static void opened(CUstream s)
{
	CUcontext ctx = NULL;

	REAL(cuCtxGetCurrent)(&ctx);
	lock_take(&lock);
	if (open_count < MAX_CAPTURES) {
		open[open_count].stream = s;
		open[open_count++].ctx = ctx;
	}
	lock_drop(&lock);
}

static bool closed(CUstream s)
{
	unsigned i;

	lock_take(&lock);
	for (i = open_count; i > 0 && open[i - 1].stream != s; i--)
		;
	if (i)
		open[i - 1] = open[--open_count];
	lock_drop(&lock);
	return i;
}

/* gpu_capture_begins came before the call, so that nothing of ours was under way in it; taken back if it failed. */
static CUresult begun(unsigned row, CUstream s, CUresult result)
{
	if (result)
		gpu_capture_ends();
	else
		opened(named(row, s));
	return result;
}

#define BEGIN_CAPTURE(name)                                                                        \
	CUresult hook_##name(CUstream s)                                                           \
	{                                                                                          \
		fn_cuStreamBeginCapture *real = cuda_real[ROW_##name];                             \
		gpu_capture_begins();                                                              \
		return begun(ROW_##name, s, real(s));                                              \
	}
BEGIN_CAPTURE(cuStreamBeginCapture)
BEGIN_CAPTURE(cuStreamBeginCapture_ptsz)

#define BEGIN_CAPTURE_V2(name)                                                                     \
	CUresult hook_##name(CUstream s, int mode)                                                 \
	{                                                                                          \
		fn_cuStreamBeginCapture_v2 *real = cuda_real[ROW_##name];                          \
		gpu_capture_begins();                                                              \
		return begun(ROW_##name, s, real(s, mode));                                        \
	}
BEGIN_CAPTURE_V2(cuStreamBeginCapture_v2)
BEGIN_CAPTURE_V2(cuStreamBeginCapture_v2_ptsz)

#define BEGIN_TO_GRAPH(name)                                                                       \
	CUresult hook_##name(CUstream s, CUgraph g, const CUgraphNode *after,                      \
		const void *data, size_t n, int mode)                                              \
	{                                                                                          \
		fn_cuStreamBeginCaptureToGraph *real = cuda_real[ROW_##name];                      \
		gpu_capture_begins();                                                              \
		return begun(ROW_##name, s, real(s, g, after, data, n, mode));                     \
	}
BEGIN_TO_GRAPH(cuStreamBeginCaptureToGraph)
BEGIN_TO_GRAPH(cuStreamBeginCaptureToGraph_ptsz)

/* Also of a capture that was invalidated; false where the driver cannot say. */
static bool still_open(unsigned row, CUstream s)
{
	typedef CUresult status_fn(CUstream, int *);
	void *ask = cuda_real[cuda_rows[row].per_thread ? ROW_cuStreamIsCapturing_ptsz : ROW_cuStreamIsCapturing];
	int status = 0;

	return ask && !((status_fn *)ask)(s, &status) && status;
}

static CUresult end_capture(unsigned row, CUstream s, CUgraph *ret_graph)
{
	CUresult result = ((fn_cuStreamEndCapture *)cuda_real[row])(s, ret_graph);

	if (!result || !still_open(row, s))
		capture_is_over(named(row, s), result);
	return result;
}

/*
 * An invalidated capture ends with an error and is over all the same; a call by the wrong thread or
 * on a stream that does not capture ends nothing.
 */
void capture_is_over(CUstream s, CUresult result)
{
	const CUresult unmatched = 903, wrong_thread = 908;

	if (result != unmatched && result != wrong_thread && closed(s))
		gpu_capture_ends();
}

void capture_context_ends(CUcontext ctx)
{
	unsigned kept = 0, ended;

	lock_take(&lock);
	for (unsigned i = 0; i < open_count; i++)
		if (open[i].ctx != ctx)
			open[kept++] = open[i];
	ended = open_count - kept;
	open_count = kept;
	lock_drop(&lock);
	while (ended--)
		gpu_capture_ends();
}

CUresult hook_cuStreamEndCapture(CUstream s, CUgraph *ret_graph)
{
	return end_capture(ROW_cuStreamEndCapture, s, ret_graph);
}

CUresult hook_cuStreamEndCapture_ptsz(CUstream s, CUgraph *ret_graph)
{
	return end_capture(ROW_cuStreamEndCapture_ptsz, s, ret_graph);
}

void capture_after_fork(void)
{
	atomic_store(&lock.word, 0);
	open_count = 0;
}
