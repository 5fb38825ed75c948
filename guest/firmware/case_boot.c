/* Did both sides read the same board out of the tree? */
#include "cases.h"

uint32_t case_boot_devicetree(struct result *result)
{
	struct stats stats = stats_now();

	REQUIRE(!board.trouble, "pool at %lx, %lu MiB: %s", board.pool.base, board.pool.size / MIB, board.trouble);
	REQUIRE(board.pool.size, "no guaranteed pool in the tree the firmware was handed");
	REQUIRE(stats.total == board.pool.size / PAGE, "the tree's pool has %lu pages, the host's area %lu",
		board.pool.size / PAGE, stats.total);
	REQUIRE(stats.available == stats.total, "%lu of %lu pages available at boot", stats.available, stats.total);
	SAY("pool %lx, %lu MiB; %u DMA channels", board.pool.base, board.pool.size / MIB, board.dma_channels);
	return OUTCOME_PASSED;
}
