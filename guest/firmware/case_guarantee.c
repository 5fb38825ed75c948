/* A request succeeds while there is room, whatever the cache holds. */
#include "cases.h"

enum { MOST = 1024, HELD = 32, ROUNDS = 1000 };

uint32_t case_guarantee_fill(struct result *result)
{
	static struct buffer buffers[MOST];
	const uint64_t pages = stats_now().total;
	uint64_t piece = MIB, count = board.pool.size / piece;
	struct buffer one_more;
	struct stats stats;
	char refusal[TEXT_BYTES];

	for (; count > MOST; piece *= 2)
		count /= 2;
	REQUIRE(!fill_cache(50000, pages), "put: %s", reply_text());
	for (uint64_t i = 0; i < count; i++) {
		ALLOCATE(&buffers[i], DEVICE_CODEC, piece);
		write64(buffers[i].cpu, i);
		write64(buffers[i].cpu + piece - 8, ~i);
	}
	stats = stats_now();
	/* a pool that is no multiple of the piece has a rest */
	REQUIRE(stats.available < piece / PAGE, "%lu pages left after %lu buffers", stats.available, count);
	uint64_t rest = stats.available * PAGE / LEAST;

	REQUIRE(count + rest <= MOST, "a rest of %lu pages is too many", stats.available);
	for (uint64_t i = count; i < count + rest; i++)
		ALLOCATE(&buffers[i], DEVICE_CODEC, LEAST);
	stats = stats_now();
	REQUIRE(!stats.available && !stats.cached, "%lu pages available, %lu cached in a full pool", stats.available,
		stats.cached);

	int status = allocate(&one_more, DEVICE_CODEC, LEAST);

	REQUIRE(status, "pages at %lx out of a full pool", one_more.cpu);
	memcpy(refusal, reply_text(), strlen(reply_text()) + 1);
	REQUIRE(starts(refusal, "cma: "), "errno %d, but not the kernel's words: %s", -status, refusal);
	for (uint64_t i = 0; i < count; i++)
		REQUIRE(read64(buffers[i].cpu) == i && read64(buffers[i].cpu + piece - 8) == ~i,
			"buffer %lu at %lx was written by another", i, buffers[i].cpu);
	for (uint64_t i = 0; i < count + rest; i++)
		RELEASE(&buffers[i]);
	stats = stats_now();
	REQUIRE(stats.available == pages, "%lu of %lu pages after the release", stats.available, pages);
	result->bytes = count * 16;
	SAY("%lu x %lu MiB fill it; then: %s", count, piece / MIB, refusal);
	return OUTCOME_PASSED;
}

/* With at most 32 buffers held, the free pages lie in at most 33 runs. Held are at most an
 * eighth of the pool; the longest run is then over 1/38 of it, more than a 1/128 and the
 * alignment (at most 1 MiB, CONFIG_CMA_ALIGNMENT): no request of these sizes can fail. */
uint32_t case_guarantee_rounds(struct result *result)
{
	static struct buffer held[HELD];
	uint64_t state = 20141027, largest = board.pool.size / PAGE / 128, pages = 0;
	struct stats before = stats_now(), after;

	memset(held, 0, sizeof held);
	REQUIRE(largest >= LEAST / PAGE, "the pool has only %lu KiB", board.pool.size / KIB);
	REQUIRE(!fill_cache(60000, before.total), "put: %s", reply_text());
	for (unsigned round = 0; round < ROUNDS + HELD; round++) {
		struct buffer *buffer = &held[random_next(&state) % HELD];
		uint64_t stored = 0;

		if (round >= ROUNDS)
			buffer = &held[round - ROUNDS];
		if (buffer->size) {
			uint64_t seed = buffer->cpu;

			for (uint64_t at = 0; at < buffer->size; at += PAGE)
				REQUIRE(read64(buffer->cpu + at) == seed + at, "round %u: page %lx was overwritten", round,
					buffer->cpu + at);
			result->bytes += buffer->size / PAGE * 8;
			RELEASE(buffer);
			buffer->size = 0;
		}
		if (round >= ROUNDS)
			continue;
		ALLOCATE(buffer, DEVICE_CODEC, LEAST + random_next(&state) % (largest - LEAST / PAGE + 1) * PAGE);
		for (uint64_t at = 0; at < buffer->size; at += PAGE)
			write64(buffer->cpu + at, buffer->cpu + at);
		pages += buffer->size / PAGE;
		/* and the cache takes back what it can get */
		REQUIRE(!put_pages(70000 + round, 0, 16, &stored), "put: %s", reply_text());
	}
	after = stats_now();
	REQUIRE(after.available == after.total, "%lu of %lu pages after the last release", after.available, after.total);
	REQUIRE(after.failures == before.failures, "%lu requests failed", after.failures - before.failures);
	SAY("%u allocations of up to %lu KiB, %lu MiB in all, none failed", ROUNDS, largest * 4, pages * PAGE / MIB);
	return OUTCOME_PASSED;
}
