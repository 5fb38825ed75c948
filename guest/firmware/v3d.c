#include "v3d.h"

struct registers { uint32_t kick, done, error, mmu; uint64_t table, address, size, seed; };

enum { ETIMEDOUT = 110 };

int v3d_fill(uint64_t address, uint64_t size, uint64_t seed, const uint32_t *page_table)
{
	volatile struct registers *r = (volatile struct registers *)(board.doorbell.base + V3D_AT);
	uint64_t deadline = ticks() + 5 * ticks_per_second();

	r->mmu = page_table != NULL;
	r->table = (uint64_t)page_table;
	r->address = address;
	r->size = size;
	r->seed = seed;
	barrier();
	r->kick = r->done + 1;
	while (r->done != r->kick)
		if (ticks() > deadline)
			return -ETIMEDOUT;
	barrier();
	return -(int)r->error;
}
