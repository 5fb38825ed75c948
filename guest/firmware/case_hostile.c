/* A guest that lies: the host refuses, loses nothing, and goes on. */
#include "cases.h"
#include "dma.h"
#include "uart.h"

enum { EINVAL = 22, ENOMEM = 12, EBUSY = 16, ENOSYS = 38 };

/* Every request here must be refused, and must leave the area as it was. */
struct bad { const char *what; uint32_t op; uint64_t arguments[6]; };

static uint32_t refuse_all(struct result *result, const struct bad *list, unsigned count)
{
	struct stats before = stats_now(), after;

	for (unsigned i = 0; i < count; i++) {
		struct reply reply;

		ring(&reply, list[i].op, list[i].arguments);
		REQUIRE(reply.status < 0, "%s: let through (value %lx)", list[i].what, reply.values[0]);
		REQUIRE(*reply_text(), "%s: refused without a reason", list[i].what);
	}
	after = stats_now();
	REQUIRE(after.available == before.available, "%lu pages available instead of %lu", after.available,
		before.available);
	REQUIRE(after.cached == before.cached, "%lu pages cached instead of %lu", after.cached, before.cached);
	SAY("%u requests refused, nothing lost", count);
	return OUTCOME_PASSED;
}

#define REFUSE_ALL(list) refuse_all(result, list, COUNT(list))

uint32_t case_hostile_malformed(struct result *result)
{
	const uint64_t page = scratch_take(PAGE, PAGE);
	const struct bad list[] = {
		{ "operation 0", 0, { 0 } },
		{ "operation 0xffffffff", 0xffffffff, { 0 } },
		{ "device 0", OP_ALLOC, { 0, PAGE } },
		{ "device 2^64-1", OP_ALLOC, { ~0ul, PAGE } },
		{ "size 0", OP_ALLOC, { DEVICE_CODEC, 0 } },
		{ "put of nothing", OP_PUT, { 1, 0, 0, page } },
		{ "put from an odd address", OP_PUT, { 1, 0, 1, page + 1 } },
		{ "get to an odd address", OP_GET, { 1, 0, 1, page + 1 } },
		{ "page index 2^64-1", OP_PUT, { 1, ~0ul, 1, page } },
		{ "inode 2^64-1", OP_PUT, { ~0ul, 0, 1, page } },
		{ "report of a case that does not run", OP_REPORT, { 9999, 0 } },
		{ "a frame of no format", OP_FRAME, { page, 7, 16, 16, 64, 0 } },
		{ "a frame of no height", OP_FRAME, { page, 0, 16, 0, 64, 0 } },
		{ "a screen of no size", OP_SCREEN, { 0, 0, 0, 0, 0 } },
		{ "channel 99", OP_DMA, { 99, dma_bus(page), 0 } },
		{ "unknown DMA flags", OP_DMA, { 0, dma_bus(page), ~0ul } },
	};

	return REFUSE_ALL(list);
}

uint32_t case_hostile_oversized(struct result *result)
{
	const uint64_t page = scratch_take(PAGE, PAGE);
	const struct bad list[] = {
		{ "a page more than the pool", OP_ALLOC, { DEVICE_CODEC, board.pool.size + PAGE } },
		{ "2^63 bytes", OP_ALLOC, { DEVICE_CODEC, 1ul << 63 } },
		{ "2^64-1 bytes", OP_ALLOC, { DEVICE_CODEC, ~0ul } },
		{ "257 pages in one put", OP_PUT, { 1, 0, BATCH_PAGES + 1, page } },
		{ "2^64-1 pages in one put", OP_PUT, { 1, 0, ~0ul, page } },
		{ "2^52 pages in one get", OP_GET, { 1, 0, 1ul << 52, page } },
		{ "a check of 2^63 bytes", OP_CHECK, { page, 1ul << 63, 0 } },
		{ "a frame of 2^32 lines", OP_FRAME, { page, 0, 1920, 1ul << 32, 7680, 0 } },
		{ "a frame of 2^31 columns", OP_FRAME, { page, 0, 1ul << 31, 16, 1ul << 33, 0 } },
		{ "a screen of 2^31 columns", OP_SCREEN, { 1ul << 31, 1ul << 31, 0, 0, 0 } },
	};

	return REFUSE_ALL(list);
}

uint32_t case_hostile_double_free(struct result *result)
{
	struct buffer once, other;

	ALLOCATE(&once, DEVICE_CODEC, 64 * KIB);
	ALLOCATE(&other, DEVICE_CODEC, 64 * KIB);
	fill(other.cpu, other.size, 82);
	RELEASE(&once);
	const struct bad list[] = {
		{ "the same again", OP_FREE, { DEVICE_CODEC, once.cpu, once.size } },
		{ "half of another", OP_FREE, { DEVICE_CODEC, other.cpu, other.size / 2 } },
		{ "the second half of another", OP_FREE, { DEVICE_CODEC, other.cpu + other.size / 2, other.size / 2 } },
		{ "another and more", OP_FREE, { DEVICE_CODEC, other.cpu, other.size * 2 } },
		{ "another, for the wrong device", OP_FREE, { DEVICE_DMA, other.cpu, other.size } },
	};
	uint32_t outcome = REFUSE_ALL(list);

	if (outcome)
		return outcome;
	SAME(other.cpu, other.size, 82);
	RELEASE(&other);
	return OUTCOME_PASSED;
}

uint32_t case_hostile_foreign(struct result *result)
{
	const uint64_t free_page = board.pool.base + board.pool.size - PAGE, outside = 0xfff00000000ul;
	const struct bad list[] = {
		{ "free of the doorbell", OP_FREE, { DEVICE_CODEC, board.doorbell.base, PAGE } },
		{ "free of the kernel's memory", OP_FREE, { DEVICE_CODEC, 0x200000, PAGE } },
		{ "free of pages never taken", OP_FREE, { DEVICE_CODEC, free_page, PAGE } },
		{ "free beyond memory", OP_FREE, { DEVICE_CODEC, outside, PAGE } },
		{ "put from pages of the cache", OP_PUT, { 1, 0, 1, free_page } },
		{ "put from beyond memory", OP_PUT, { 1, 0, 1, outside } },
		{ "put from the last byte on", OP_PUT, { 1, 0, 1, ~0ul - PAGE + 1 } },
		{ "get into pages of the cache", OP_GET, { 1, 0, 1, free_page } },
		{ "get into the doorbell", OP_GET, { 1, 0, 1, board.doorbell.base } },
		{ "get beyond memory", OP_GET, { 1, 0, 1, outside } },
		{ "check beyond memory", OP_CHECK, { outside, PAGE, 0 } },
		{ "reach beyond 2^64", OP_REACH, { DEVICE_CODEC, ~0ul - PAGE + 1, 2 * PAGE } },
	};

	return REFUSE_ALL(list);
}

uint32_t case_hostile_dma(struct result *result)
{
	const uint64_t free_page = board.pool.base + board.pool.size - PAGE;
	struct control_block *block = control_blocks(2);
	struct buffer buffer;
	struct reply reply;

	ALLOCATE(&buffer, DEVICE_CODEC, 128 * KIB);
	fill(buffer.cpu, buffer.size, 84);
	const uint32_t from = dma_bus(scratch_take(128 * KIB, PAGE)), to = (uint32_t)buffer.bus;
	const struct { const char *what; unsigned channel; struct control_block block; uint32_t loop; } list[] = {
		{ "a length that is no multiple of 4", 0, { TI_COPY, from, to, 6, 0, 0, { 0 } }, 0 },
		{ "a length of 0", 0, { TI_COPY, from, to, 0, 0, 0, { 0 } }, 0 },
		{ "a chain that ends in itself", 0, { TI_COPY, from, to, 64, 0, 0, { 0 } }, 1 },
		{ "64 KiB on a lite channel", 8, { TI_COPY, from, to, 64 * KIB, 0, 0, { 0 } }, 0 },
		{ "2D on a lite channel", 8, { TI_COPY | TI_2D, from, to, 64, 0, 0, { 0 } }, 0 },
		{ "a target past its buffer", 0, { TI_COPY, from, to, 132 * KIB, 0, 0, { 0 } }, 0 },
		{ "a target the cache owns", 0, { TI_COPY, from, dma_bus(free_page), 64, 0, 0, { 0 } }, 0 },
		{ "a source the cache owns", 0, { TI_COPY, dma_bus(free_page), to, 64, 0, 0, { 0 } }, 0 },
		{ "a target in the boot stub", 0, { TI_COPY, from, dma_bus(0), 64, 0, 0, { 0 } }, 0 },
		{ "a target in the doorbell", 0, { TI_COPY, from, dma_bus(board.doorbell.base), 64, 0, 0, { 0 } }, 0 },
		{ "a peripheral's registers", 0, { TI_COPY, from, 0x7e007000, 64, 0, 0, { 0 } }, 0 },
		{ "a rectangle that leaves its buffer", 0, { TI_COPY | TI_2D, from, to, 15 << 16 | 64, 0x7000u << 16, 0, { 0 } }, 0 },
		{ "a next block off its grid", 0, { TI_COPY, from, to, 64, 0, from + 4, { 0 } }, 0 },
	};

	for (unsigned i = 0; i < COUNT(list); i++) {
		block[0] = list[i].block;
		if (list[i].loop)
			block[0].next = dma_bus((uint64_t)block);
		REQUIRE(dma_run(list[i].channel, block, DMA_NONE) == -EINVAL, "%s: let through", list[i].what);
	}
	RING(&reply, OP_DMA, 0, dma_bus((uint64_t)block) + 4, 0);
	REQUIRE(reply.status == -EINVAL, "a control block off its grid: let through");
	RING(&reply, OP_DMA, 0, dma_bus(board.doorbell.base), 0);
	REQUIRE(reply.status == -EINVAL, "a control block in the doorbell: let through");
	SAME(buffer.cpu, buffer.size, 84);
	RELEASE(&buffer);
	SAY("%u control blocks refused before any byte moved", (unsigned)COUNT(list) + 2);
	return OUTCOME_PASSED;
}

uint32_t case_hostile_serial(struct result *result)
{
	uint64_t state = 85;

	for (unsigned i = 0; i < 16 * KIB; i++)
		uart_put((char)random_next(&state));
	/* what a terminal would act on, and what a log reader might take for ours */
	uart_write("\033]0;title\007\033[2J\n{\"outcome\": \"failed\"}\ngcma: ready\n");
	SAY("16 KiB of noise");
	return OUTCOME_PASSED;
}

uint32_t case_hostile_still_alive(struct result *result)
{
	struct buffer buffer;
	struct seen seen = { 0 };
	uint64_t stored = 0;

	ALLOCATE(&buffer, DEVICE_CODEC, 4 * MIB);
	fill(buffer.cpu, buffer.size, 86);
	REQUIRE(!put_pages(8600, 0, 64, &stored), "put: %s", reply_text());
	REQUIRE(!get_pages(8600, 0, 64, &seen) && !seen.stale, "get: %lu stale: %s", seen.stale, reply_text());
	REQUIRE(seen.hits == stored, "%lu of %lu pages came back", seen.hits, stored);
	SAME(buffer.cpu, buffer.size, 86);
	RELEASE(&buffer);
	return OUTCOME_PASSED;
}
