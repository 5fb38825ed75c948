#include "camera.h"

struct registers {
	uint32_t control, form, width, height, stride, first, queued, done, error, zero;
	uint64_t queue[CAMERA_SLOTS];
	uint32_t frames[CAMERA_SLOTS];
};

static uint32_t seen;

static volatile struct registers *camera(void)
{
	return (volatile struct registers *)(board.doorbell.base + CAMERA_AT);
}

void camera_start(const struct frame *first)
{
	volatile struct registers *r = camera();

	camera_stop();
	r->form = first->form;
	r->width = first->width;
	r->height = first->height;
	r->stride = first->stride;
	r->first = first->number;
	r->queued = r->done = r->error = seen = 0;
	barrier();
	r->control = 1;
}

void camera_stop(void)
{
	camera()->control = 0;
	barrier();
}

void camera_queue(uint64_t bus)
{
	volatile struct registers *r = camera();

	r->queue[r->queued % CAMERA_SLOTS] = bus;
	barrier();
	r->queued++;
}

uint32_t camera_error(void)
{
	return camera()->error;
}

bool camera_wait(uint64_t *bus, uint32_t *number)
{
	volatile struct registers *r = camera();
	uint64_t deadline = ticks() + 5 * ticks_per_second();

	while (r->done == seen)
		if (r->error || ticks() > deadline)
			return false;
	barrier();
	*bus = r->queue[seen % CAMERA_SLOTS];
	*number = r->frames[seen % CAMERA_SLOTS];
	seen++;
	return true;
}
