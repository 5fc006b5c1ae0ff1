#include "probe.h"

probe_fn *probe_sink;
