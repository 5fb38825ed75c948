/* The difference an MMU makes: scattered pages serve as well as contiguous ones. */
#include "cases.h"
#include "v3d.h"

enum { VIRTUAL = 0x10000000, PAGES = 2048, SPREAD = 4096, STRIDE = 1031 };

uint32_t case_v3d_texture(struct result *result)
{
	const uint64_t size = PAGES * PAGE;

	if (!board.devices[DEVICE_V3D].behind_mmu) {
		struct buffer texture;

		ALLOCATE(&texture, DEVICE_V3D, size);
		REQUIRE(!v3d_fill(texture.bus, size, 40, NULL), "the 3D block refused %lx", texture.bus);
		SAME(texture.cpu, size, 40);
		RELEASE(&texture);
		SAY("no MMU: %lu MiB had to be contiguous", size / MIB);
		return OUTCOME_PASSED;
	}

	/* No two neighbours: 1031 and 4096 have no common factor, so each page gets a place of its own. */
	uint64_t ground = board.high.size >= SPREAD * PAGE ? board.high.base : scratch_take(SPREAD * PAGE, PAGE);
	uint32_t *table = (uint32_t *)scratch_take(PAGES * sizeof *table, PAGE);
	struct stats before = stats_now(), after;

	for (uint64_t i = 0; i < PAGES; i++)
		table[i] = (uint32_t)(ground / PAGE + i * STRIDE % SPREAD) | V3D_VALID;
	REQUIRE(!v3d_fill(VIRTUAL, size, 40, table), "the 3D block refused its page table");
	for (uint64_t i = 0; i < PAGES; i++) {
		uint64_t page = ground + i * STRIDE % SPREAD * PAGE, wrong = 0;
		const uint64_t *word = (const uint64_t *)page;

		for (uint64_t n = 0; n < PAGE / 8; n++)
			wrong += word[n] != mix(40) + (i * (PAGE / 8) + n) * 0x9e3779b97f4a7c15ul;
		REQUIRE(!wrong, "page %lu at %lx: %lu words differ", i, page, wrong);
	}
	result->bytes = size;
	after = stats_now();
	REQUIRE(after.allocations == before.allocations, "contiguous buffers were taken behind an MMU");
	SAY("MMU: %lu MiB in %u scattered pages at %lx, nothing contiguous", size / MIB, PAGES, ground);
	return OUTCOME_PASSED;
}
