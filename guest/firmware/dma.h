/* BCM2835 DMA controller (BCM2835 ARM Peripherals, chapter 4). */
#pragma once
#include "doorbell.h"

struct control_block {
	uint32_t information, source, destination, length, stride, next, zero[2];
} __attribute__((aligned(32)));

enum {
	TI_WAIT_RESP = 1 << 3, TI_2D = 1 << 1, TI_D_INC = 1 << 4, TI_S_INC = 1 << 8,
	TI_COPY = TI_WAIT_RESP | TI_D_INC | TI_S_INC,
};

/* Ordinary memory, as the engine addresses it. */
uint32_t dma_bus(uint64_t cpu);
struct control_block *control_blocks(unsigned count);	/* cleared, from scratch memory */
void copy_block(struct control_block *block, uint64_t to_bus, uint64_t from_bus, uint32_t size);
/* `rows` lines of `width` bytes; the pitches are what lies between line starts */
void rectangle_block(struct control_block *block, uint64_t to_bus, uint32_t to_pitch, uint64_t from_bus,
		     uint32_t from_pitch, uint32_t width, uint32_t rows);

/* Has the host check the chain, runs it, waits: 0, or a negative errno (reply_text() says why). */
int dma_run(unsigned channel, const struct control_block *chain, uint32_t flags);
int dma_run_at(unsigned channel, uint32_t chain_bus, uint32_t flags);
