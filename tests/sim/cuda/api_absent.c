#include "api.h"

#define ABSENT(symbol) \
	__attribute__((visibility("default"))) CUresult symbol(void); \
	CUresult symbol(void) \
	{ \
		CALL(); \
		return REFUSE(misuse(CUDA_ERROR_NOT_SUPPORTED, "%s: the simulated device has no such thing", #symbol)); \
	}
#include "absent.def"
