/* SPDX-License-Identifier: GPL-2.0 */
/* What /dev/gcma-bench does: one call of the kernel's CMA, timed. */
#ifndef CMA_BENCH_H
#define CMA_BENCH_H

struct cma_bench_call {
	unsigned long long pages;
	unsigned long long align; /* order */
	unsigned long long pfn; /* out of an allocation, 0 when it failed; into a release */
	unsigned long long ticks; /* of the guest's counter */
};

enum { CMA_BENCH_ALLOC = 0x6701, CMA_BENCH_RELEASE = 0x6702 };

#endif
