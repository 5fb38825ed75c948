/* VideoCore's mailbox, property channel: the framebuffer. */
#pragma once
#include "board.h"

struct screen { uint64_t cpu; uint32_t width, height, pitch; };
bool screen_open(struct screen *screen, uint32_t width, uint32_t height);
