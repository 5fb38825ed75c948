/* The bytes both sides expect; guest/pattern.py is the host's half. */
#pragma once
#include "lib.h"

uint64_t mix(uint64_t seed);
uint64_t page_seed(uint64_t inode, uint64_t index);
void fill(uint64_t at, uint64_t size, uint64_t seed);			/* 8-byte aligned */
uint64_t differing(uint64_t at, uint64_t size, uint64_t seed);		/* words that are not the pattern's */

struct frame { uint32_t form, width, height, stride, number; };
uint32_t line_bytes(uint32_t form, uint32_t width);
uint64_t frame_differing(uint64_t at, const struct frame *frame);	/* bytes that are not the camera's */
