#include "pattern.h"
#include "protocol.h"

#define STEP 0x9e3779b97f4a7c15ul	/* 2^64 / golden ratio */

uint64_t mix(uint64_t seed)
{
	uint64_t value = seed + STEP;

	value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9ul;
	value = (value ^ value >> 27) * 0x94d049bb133111ebul;
	return value ^ value >> 31;
}

uint64_t page_seed(uint64_t inode, uint64_t index)
{
	return mix(inode << 32 ^ index);
}

void fill(uint64_t at, uint64_t size, uint64_t seed)
{
	uint64_t *word = (uint64_t *)at, value = mix(seed);

	for (uint64_t n = size / 8; n; n--, value += STEP)
		*word++ = value;
}

uint64_t differing(uint64_t at, uint64_t size, uint64_t seed)
{
	const uint64_t *word = (const uint64_t *)at;
	uint64_t value = mix(seed), wrong = 0;

	for (uint64_t n = size / 8; n; n--, value += STEP)
		wrong += *word++ != value;
	return wrong;
}

uint32_t line_bytes(uint32_t form, uint32_t width)
{
	return form == FORMAT_RGBA8888 ? width * 4 : width * 3 / 2;
}

static uint32_t triangle(uint32_t value)
{
	uint32_t phase = value & 511;

	return phase < 256 ? phase : 511 - phase;
}

/* What a whole line is before its row's constant is XORed in. */
static void columns(uint64_t *to, const struct frame *frame)
{
	if (frame->form != FORMAT_RGBA8888) {
		fill((uint64_t)to, (line_bytes(frame->form, frame->width) + 7) / 8 * 8, frame->number);
		return;
	}
	for (uint32_t i = 0; i < frame->width; i++) {
		uint32_t x = i + 8 * frame->number;

		((uint32_t *)to)[i] = triangle(x) | (x & 64 ? 0xa0u : 0x20u) << 16 | 0xff000000u;
	}
}

static uint64_t row(const struct frame *frame, uint32_t y)
{
	if (frame->form != FORMAT_RGBA8888)
		return mix(((uint64_t)frame->number << 32) + y);
	uint32_t at = y + 4 * frame->number, pixel = triangle(at) << 8 | (at & 64 ? 0x80u : 0u) << 16;

	return (uint64_t)pixel << 32 | pixel;
}

uint64_t frame_differing(uint64_t at, const struct frame *frame)
{
	static uint64_t line[8192 / 8];
	uint32_t size = line_bytes(frame->form, frame->width);
	uint64_t wrong = 0;

	if (size > sizeof line || frame->stride % 8)
		return ~0ul;
	columns(line, frame);
	for (uint32_t y = 0; y < frame->height; y++) {
		const uint64_t *word = (const uint64_t *)(at + (uint64_t)y * frame->stride);
		uint64_t constant = row(frame, y);
		uint32_t n = size / 8;

		for (uint32_t i = 0; i < n; i++)
			if (word[i] != (line[i] ^ constant))
				wrong += 8;
		uint64_t tail = (word[n] ^ line[n] ^ constant) & ((1ul << size % 8 * 8) - 1);

		for (; tail; tail >>= 8)
			wrong += (tail & 0xff) != 0;
	}
	return wrong;
}
