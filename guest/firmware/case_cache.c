/* File pages and devices in the same memory. */
#include "cases.h"
#include "dma.h"

enum { FILE_PAGES = BATCH_PAGES };

static uint64_t staging(void)
{
	static uint64_t __attribute__((aligned(4096))) pages[BATCH_PAGES * 4096 / 8];

	return (uint64_t)pages;
}

int put_pages(uint64_t inode, uint64_t index, uint64_t count, uint64_t *stored)
{
	struct reply reply;

	for (uint64_t i = 0; i < count; i++)
		fill(staging() + i * PAGE, PAGE, page_seed(inode, index + i));
	RING(&reply, OP_PUT, inode, index, count, staging());
	*stored += reply.values[0];
	return reply.status;
}

int get_pages(uint64_t inode, uint64_t index, uint64_t count, struct seen *seen)
{
	struct reply reply;

	RING(&reply, OP_GET, inode, index, count, staging());
	if (reply.status)
		return reply.status;
	for (uint64_t i = 0; i < count; i++) {
		if (!(reply.values[1 + i / 64] >> i % 64 & 1))
			continue;
		seen->hits++;
		if (differing(staging() + i * PAGE, PAGE, page_seed(inode, index + i)))
			seen->stale++;
	}
	return 0;
}

int fill_cache(uint64_t first_inode, uint64_t pages)
{
	for (uint64_t done = 0; done < pages; done += FILE_PAGES) {
		uint64_t count = pages - done < FILE_PAGES ? pages - done : FILE_PAGES, stored = 0;
		int status = put_pages(first_inode + done / FILE_PAGES, 0, count, &stored);

		if (status)
			return status;
	}
	return 0;
}

static int read_all(uint64_t first_inode, uint64_t pages, struct seen *seen)
{
	struct reply reply;
	int status = 0;

	*seen = (struct seen){ 0 };
	for (uint64_t done = 0; done < pages && !status; done += FILE_PAGES)
		status = get_pages(first_inode + done / FILE_PAGES, 0,
				   pages - done < FILE_PAGES ? pages - done : FILE_PAGES, seen);
	if (seen->stale)
		RING(&reply, OP_STALE, seen->stale);
	return status;
}

uint32_t case_cache_roundtrip(struct result *result)
{
	enum { INODE = 1000, PAGES = 1024 };
	struct seen seen;

	REQUIRE(!fill_cache(INODE, PAGES), "put: %s", reply_text());
	REQUIRE(!read_all(INODE, PAGES, &seen), "get: %s", reply_text());
	REQUIRE(!seen.stale, "%lu of %lu pages came back with other bytes", seen.stale, seen.hits);
	REQUIRE(seen.hits == PAGES, "%lu of %u pages came back", seen.hits, PAGES);
	result->bytes = seen.hits * PAGE;
	SAY("%u file pages put, %lu read back equal", PAGES, seen.hits);
	return OUTCOME_PASSED;
}

uint32_t case_cache_invalidate(struct result *result)
{
	enum { INODE = 2000, PAGES = 64 };
	struct seen seen = { 0 };
	struct reply reply;
	uint64_t stored = 0;

	REQUIRE(!put_pages(INODE, 0, PAGES, &stored) && stored == PAGES, "put: %lu stored: %s", stored, reply_text());
	RING(&reply, OP_INVALIDATE, INODE);
	REQUIRE(!reply.status && reply.values[0] == PAGES, "%lu of %u pages dropped: %s", reply.values[0], PAGES,
		reply_text());
	REQUIRE(!get_pages(INODE, 0, PAGES, &seen), "get: %s", reply_text());
	REQUIRE(!seen.hits, "%lu pages of a dropped file were still there", seen.hits);
	REQUIRE(!put_pages(INODE, PAGES, PAGES, &stored), "put: %s", reply_text());
	REQUIRE(!get_pages(INODE, PAGES, PAGES, &seen) && seen.hits == PAGES && !seen.stale,
		"%lu of %u new pages came back, %lu wrong", seen.hits, PAGES, seen.stale);
	result->bytes = PAGES * PAGE;
	SAY("%u pages dropped, none seen again", PAGES);
	return OUTCOME_PASSED;
}

/* Writes a large buffer by DMA, from 1 MiB of source. */
static int dma_fill(const struct buffer *buffer, uint64_t source, uint64_t piece)
{
	unsigned count = (unsigned)(buffer->size / piece);
	struct control_block *chain = control_blocks(count);

	for (unsigned i = 0; i < count; i++) {
		copy_block(&chain[i], buffer->bus + i * piece, dma_bus(source), (uint32_t)piece);
		chain[i].next = i + 1 < count ? dma_bus((uint64_t)&chain[i + 1]) : 0;
	}
	return dma_run(1, chain, DMA_NONE);
}

uint32_t case_cache_reuse(struct result *result)
{
	enum { INODE = 3000, AFTER = 30000 };
	const uint64_t piece = MIB, pages = stats_now().total;
	uint64_t size = board.pool.size / 8 / piece * piece, source, dropped;
	struct buffer buffer;
	struct stats stats;
	struct seen seen;

	REQUIRE(size, "the pool has only %lu KiB", board.pool.size / KIB);
	REQUIRE(!fill_cache(INODE, pages), "put: %s", reply_text());
	stats = stats_now();
	REQUIRE(stats.cached == pages, "%lu of %lu pages hold file data", stats.cached, pages);
	dropped = stats.dropped;

	/* a device takes an eighth of it: at once, whatever lies there */
	ALLOCATE(&buffer, DEVICE_CODEC, size);
	stats = stats_now();
	REQUIRE(stats.dropped - dropped == size / PAGE, "%lu pages dropped for a buffer of %lu", stats.dropped - dropped,
		size / PAGE);
	source = scratch_take(piece, PAGE);
	fill(source, piece, 51);
	REQUIRE(!dma_fill(&buffer, source, piece), "DMA: %s", reply_text());

	/* every page of every file: gone, or as it was put; never what the device wrote */
	REQUIRE(!read_all(INODE, pages, &seen), "get: %s", reply_text());
	REQUIRE(!seen.stale, "%lu stale reads: pages came back with other bytes", seen.stale);
	REQUIRE(seen.hits == pages - size / PAGE, "%lu pages left of %lu", seen.hits, pages - size / PAGE);
	result->bytes += seen.hits * PAGE;

	/* a full cache turns over while the device holds its buffer */
	REQUIRE(!fill_cache(AFTER, pages / 4), "put: %s", reply_text());
	for (uint64_t at = 0; at < size; at += piece)
		SAME(buffer.cpu + at, piece, 51);
	RELEASE(&buffer);

	REQUIRE(!fill_cache(INODE, pages), "put again: %s", reply_text());
	REQUIRE(!read_all(INODE, pages, &seen), "get again: %s", reply_text());
	REQUIRE(!seen.stale && seen.hits == pages, "%lu of %lu pages after the release, %lu stale", seen.hits, pages,
		seen.stale);
	result->bytes += seen.hits * PAGE;
	SAY("%lu MiB of %lu MiB cached data dropped at once, 0 stale reads", size / MIB, pages * PAGE / MIB);
	return OUTCOME_PASSED;
}
