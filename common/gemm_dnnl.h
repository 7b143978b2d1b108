/* For gemm.c alone. */
#ifndef HP_GEMM_DNNL_H
#define HP_GEMM_DNNL_H

void hp_dnnl_set_threads(int threads); /* of the calling thread's products */

#endif
