/*
 * What this machine offers, as far as it can be seen without opening any driver's library.
 */
#pragma once
#include <stddef.h>

/* "mlx5_0, mlx5_1"; "" if there is no RDMA device. */
void machine_rdma(char *ret_names, size_t room);
/* "580.65.06": NVIDIA's driver as loaded; "" if it is not. */
void machine_cuda(char *ret_version, size_t room);
/* The host's name, with anything that cannot stand in a file name replaced. */
void machine_name(char *ret_name, size_t room);
