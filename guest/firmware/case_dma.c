/* The DMA controller between contiguous buffers. */
#include "cases.h"
#include "dma.h"

enum { LITE_LIMIT = 65536, GUARD = 64 };

static uint64_t unequal(uint64_t a, uint64_t b, uint64_t size)
{
	const uint64_t *x = (const uint64_t *)a, *y = (const uint64_t *)b;
	uint64_t wrong = 0;

	for (uint64_t n = size / 8; n; n--)
		wrong += *x++ != *y++;
	return wrong;
}

uint32_t case_dma_random(struct result *result)
{
	const uint64_t size = MIB;
	uint64_t state = 20250321;
	struct buffer from, to;

	ALLOCATE(&from, DEVICE_DMA, size);
	ALLOCATE(&to, DEVICE_DMA, size);
	fill(from.cpu, size, 30);
	for (unsigned n = 0; n < 100; n++) {
		unsigned channel = (unsigned)(random_next(&state) % board.dma_channels);
		uint64_t length = (1 + random_next(&state) % (LITE_LIMIT / 8 - 1)) * 8;
		uint64_t source = random_next(&state) % ((size - length) / 8) * 8;
		uint64_t target = GUARD + random_next(&state) % ((size - length - 2 * GUARD) / 8) * 8;
		struct control_block *block = control_blocks(1);

		memset((void *)(to.cpu + target - GUARD), 0x77, length + 2 * GUARD);
		copy_block(block, to.bus + target, from.bus + source, (uint32_t)length);
		DMA(channel, block);
		REQUIRE(!unequal(to.cpu + target, from.cpu + source, length), "copy %u on channel %u differs", n, channel);
		for (unsigned i = 0; i < GUARD; i += 8)
			REQUIRE(read64(to.cpu + target - GUARD + i) == 0x7777777777777777 &&
				read64(to.cpu + target + length + i) == 0x7777777777777777,
				"copy %u on channel %u wrote beside its target", n, channel);
		result->bytes += length;
	}
	RELEASE(&to);
	RELEASE(&from);
	SAY("100 copies, %lu KiB", result->bytes / KIB);
	return OUTCOME_PASSED;
}

uint32_t case_dma_channels(struct result *result)
{
	const uint64_t size = 32 * KIB;
	struct buffer from, to;

	REQUIRE(board.dma_channels == 15, "the tree gives %u channels instead of 15", board.dma_channels);
	ALLOCATE(&from, DEVICE_DMA, size);
	ALLOCATE(&to, DEVICE_DMA, size * 15);
	for (unsigned channel = 0; channel < 15; channel++) {
		struct control_block *block = control_blocks(1);

		fill(from.cpu, size, channel);
		copy_block(block, to.bus + channel * size, from.bus, (uint32_t)size);
		DMA(channel, block);
	}
	for (unsigned channel = 0; channel < 15; channel++)
		SAME(to.cpu + channel * size, size, channel);
	RELEASE(&to);
	RELEASE(&from);
	SAY("channels 0 to 14");
	return OUTCOME_PASSED;
}

uint32_t case_dma_sizes(struct result *result)
{
	static const uint64_t sizes[] = { 4 * KIB, 64 * KIB, MIB, 8 * MIB, 32 * MIB };

	for (unsigned i = 0; i < COUNT(sizes); i++) {
		struct control_block *block = control_blocks(1);
		struct buffer from, to;

		if (2 * sizes[i] > board.pool.size) {
			SAY("up to %lu KiB: the pool of %lu MiB has no two larger buffers", sizes[i - 1] / KIB,
			    board.pool.size / MIB);
			return OUTCOME_PASSED;
		}
		ALLOCATE(&from, DEVICE_DMA, sizes[i] < LEAST ? LEAST : sizes[i]);
		ALLOCATE(&to, DEVICE_DMA, sizes[i] < LEAST ? LEAST : sizes[i]);
		fill(from.cpu, sizes[i], i);
		memset((void *)to.cpu, 0, sizes[i]);
		copy_block(block, to.bus, from.bus, (uint32_t)sizes[i]);
		DMA(0, block);
		SAME(to.cpu, sizes[i], i);
		RELEASE(&to);
		RELEASE(&from);
	}
	SAY("4 KiB, 64 KiB, 1 MiB, 8 MiB, 32 MiB");
	return OUTCOME_PASSED;
}

uint32_t case_dma_2d(struct result *result)
{
	static const struct { uint32_t width, rows, from_pitch, to_pitch; } cuts[] = {
		{ 640 * 4, 480, 1024 * 4, 704 * 4 },	/* out of a wide picture into a narrower one */
		{ 64, 16, 64, 4096 },			/* packed to one line a page */
		{ 4096, 200, 8192, 4096 },		/* every other page, packed */
	};

	for (unsigned i = 0; i < COUNT(cuts); i++) {
		uint64_t from_size = (uint64_t)cuts[i].from_pitch * cuts[i].rows;
		uint64_t to_size = (uint64_t)cuts[i].to_pitch * cuts[i].rows;
		struct control_block *block = control_blocks(1);
		struct buffer from, to;

		ALLOCATE(&from, DEVICE_DMA, from_size < LEAST ? LEAST : from_size);
		ALLOCATE(&to, DEVICE_DMA, to_size);
		fill(from.cpu, from_size, 33 + i);
		memset((void *)to.cpu, 0x77, to_size);
		rectangle_block(block, to.bus, cuts[i].to_pitch, from.bus, cuts[i].from_pitch, cuts[i].width,
				cuts[i].rows);
		DMA(i, block);
		for (uint32_t y = 0; y < cuts[i].rows; y++) {
			uint64_t line = to.cpu + (uint64_t)y * cuts[i].to_pitch;

			REQUIRE(!unequal(line, from.cpu + (uint64_t)y * cuts[i].from_pitch, cuts[i].width),
				"rectangle %u: line %u differs", i, y);
			for (uint32_t x = cuts[i].width; x < cuts[i].to_pitch; x += 8)
				REQUIRE(read64(line + x) == 0x7777777777777777,
					"rectangle %u: line %u was written beside", i, y);
		}
		result->bytes += to_size;
		RELEASE(&to);
		RELEASE(&from);
	}
	SAY("%u rectangles, gaps untouched", (unsigned)COUNT(cuts));
	return OUTCOME_PASSED;
}

/* A coded picture's planes are moved by one chain: luma by rows of macroblocks in reverse
 * order, then both chroma planes. */
uint32_t case_codec_chain(struct result *result)
{
	enum { WIDTH = 1920, HEIGHT = 1088, ROW = WIDTH * 16, ROWS = HEIGHT / 16, LUMA = WIDTH * HEIGHT };
	const uint64_t size = LUMA * 3 / 2;
	struct control_block *chain = control_blocks(ROWS + 2);
	struct buffer from, to;

	ALLOCATE(&from, DEVICE_CODEC, size);
	ALLOCATE(&to, DEVICE_CODEC, size);
	fill(from.cpu, size, 34);
	memset((void *)to.cpu, 0, size);
	for (unsigned i = 0; i < ROWS; i++)
		copy_block(&chain[i], to.bus + (uint64_t)(ROWS - 1 - i) * ROW, from.bus + (uint64_t)(ROWS - 1 - i) * ROW, ROW);
	for (unsigned i = 0; i < 2; i++)
		copy_block(&chain[ROWS + i], to.bus + LUMA + i * LUMA / 4, from.bus + LUMA + i * LUMA / 4, LUMA / 4);
	for (unsigned i = 0; i < ROWS + 1; i++)
		chain[i].next = dma_bus((uint64_t)&chain[i + 1]);
	DMA(4, chain);
	SAME(to.cpu, size, 34);
	RELEASE(&to);
	RELEASE(&from);
	SAY("%u control blocks, one 1080p picture", ROWS + 2);
	return OUTCOME_PASSED;
}
