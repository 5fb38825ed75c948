/* The 3D block: the host's device model fills a texture, through the page table if there is an MMU. */
#pragma once
#include "doorbell.h"

int v3d_fill(uint64_t address, uint64_t size, uint64_t seed, const uint32_t *page_table);
