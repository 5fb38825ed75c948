/* What the devicetree says is here. */
#pragma once
#include "fdt.h"
#include "protocol.h"

struct range { uint64_t base, size; };

struct device {
	const char *name;
	struct node node;		/* at == 0: not in the tree */
	struct range window;		/* what it reaches, CPU view */
	uint64_t bus_offset;		/* bus = cpu + bus_offset */
	bool behind_mmu;
};

struct board {
	uint64_t dtb, uart, mailbox, dma;
	unsigned dma_channels;
	struct range doorbell, pool;
	struct range high;		/* RAM at or above 1 GiB, size 0: none */
	struct device devices[DEVICE_DMA + 1];
	const char *trouble;		/* why the pool in the tree cannot be as the host says; null: it can */
};

extern struct board board;

/* false: nothing can be said to anybody (no tree, no doorbell) */
bool board_read(uint64_t dtb);
static inline bool in_range(uint64_t at, struct range range) { return at - range.base < range.size; }
