#include "dma.h"

enum { CS = 0x00, CONBLK_AD = 0x04, DEBUG = 0x20, CHANNEL_BYTES = 0x100, ENABLE = 0xff0 };
enum { CS_ACTIVE = 1 << 0, CS_END = 1 << 1, CS_INT = 1 << 2, CS_ERROR = 1 << 8 };
enum { EIO = 5, ETIMEDOUT = 110 };

uint32_t dma_bus(uint64_t cpu)
{
	return (uint32_t)(cpu + board.devices[DEVICE_DMA].bus_offset);
}

struct control_block *control_blocks(unsigned count)
{
	uint64_t at = scratch_take(count * sizeof(struct control_block), 32);

	memset((void *)at, 0, count * sizeof(struct control_block));
	return (struct control_block *)at;
}

void copy_block(struct control_block *block, uint64_t to_bus, uint64_t from_bus, uint32_t size)
{
	block->information = TI_COPY;
	block->source = (uint32_t)from_bus;
	block->destination = (uint32_t)to_bus;
	block->length = size;
}

void rectangle_block(struct control_block *block, uint64_t to_bus, uint32_t to_pitch, uint64_t from_bus,
		     uint32_t from_pitch, uint32_t width, uint32_t rows)
{
	block->information = TI_COPY | TI_2D;
	block->source = (uint32_t)from_bus;
	block->destination = (uint32_t)to_bus;
	block->length = (rows - 1) << 16 | width;
	block->stride = (to_pitch - width) << 16 | ((from_pitch - width) & 0xffff);
}

int dma_run(unsigned channel, const struct control_block *chain, uint32_t flags)
{
	return dma_run_at(channel, dma_bus((uint64_t)chain), flags);
}

int dma_run_at(unsigned channel, uint32_t chain_bus, uint32_t flags)
{
	uint64_t engine = board.dma + channel * CHANNEL_BYTES, deadline;
	struct reply reply;

	barrier();
	RING(&reply, OP_DMA, channel, chain_bus, flags);
	if (reply.status)
		return reply.status;
	write32(board.dma + ENABLE, read32(board.dma + ENABLE) | 1u << channel);
	write32(engine + CS, CS_END | CS_INT);
	write32(engine + CONBLK_AD, chain_bus);
	write32(engine + CS, CS_ACTIVE);
	deadline = ticks() + 10 * ticks_per_second();
	while (read32(engine + CS) & CS_ACTIVE)
		if (ticks() > deadline)
			return -ETIMEDOUT;
	barrier();
	return read32(engine + CS) & CS_ERROR ? -EIO : 0;
}
