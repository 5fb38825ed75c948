/* The camera receiver: the host's device model writes frames to the buffers queued here. */
#pragma once
#include "doorbell.h"
#include "pattern.h"

void camera_start(const struct frame *first);	/* number = the first frame's */
void camera_stop(void);
void camera_queue(uint64_t bus);
/* The next finished frame: its slot's bus address and number; false when none came in time. */
bool camera_wait(uint64_t *bus, uint32_t *number);
uint32_t camera_error(void);			/* errno of the last refused buffer, 0: none */
