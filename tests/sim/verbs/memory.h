/* What the two devices know of memory: registrations, and windows that are bound to a part of one for one queue pair. */
#pragma once
#include "device.h"

void sim_memory_install(void);
/* The part of a device's table that is not verbs_api's. */
void sim_memory_of(struct ibv_context *c);
/* Between memory and a packet, while the key is good and of the queue's own protection domain: of the device's own requests, and of its
 * peer's, who may do what the key's owner lets it. */
bool sim_dma(const struct ibv_pd *pd, uint32_t key, uint64_t at, char *packet, size_t n, bool into);
bool sim_remote_dma(const struct ibv_qp *qp, uint32_t key, uint64_t at, char *packet, size_t n, bool into);
/* As strict as type 2: a window is bound while it is free, with another key than before.  False: it is not. */
bool sim_bind(const struct ibv_qp *qp, const struct ibv_send_wr *wr);
bool sim_invalidate(uint32_t key);
/* Drivers take a window's last key from its structure, which they do not keep. */
bool sim_is_known(const struct ibv_mw *mw);
bool sim_is_window(uint32_t key);
/* The queue pair is gone, and what was bound to it. */
void sim_unbind(const struct ibv_qp *qp);
/* device.c: the library's, where there is a peer by hand. */
bool sim_is_first(const struct ibv_context *context);
