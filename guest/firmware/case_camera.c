/* Camera frames in contiguous buffers, every byte checked by guest and host. */
#include "camera.h"
#include "cases.h"

enum { POISON = 0x5a, RING_BUFFERS = 4, RING_FRAMES = 30 };

static uint32_t check_frame(struct result *result, const struct buffer *buffer, const struct frame *frame)
{
	struct reply reply;
	uint64_t wrong = frame_differing(buffer->cpu, frame);

	REQUIRE(!wrong, "frame %u: %lu bytes differ", frame->number, wrong);
	RING(&reply, OP_FRAME, buffer->cpu, frame->form, frame->width, frame->height, frame->stride, frame->number);
	REQUIRE(!reply.status && !reply.values[0], "frame %u: the host sees %lu bytes differ: %s", frame->number,
		reply.values[0], reply_text());
	result->bytes += (uint64_t)line_bytes(frame->form, frame->width) * frame->height;
	return OUTCOME_PASSED;
}

static uint32_t one_frame(struct result *result, const struct frame *frame)
{
	uint32_t line = line_bytes(frame->form, frame->width), number, outcome;
	struct buffer buffer;
	uint64_t bus;

	ALLOCATE(&buffer, DEVICE_CAMERA, (uint64_t)frame->stride * frame->height);
	REQUIRE(buffer.bus == buffer.cpu + board.devices[DEVICE_CAMERA].bus_offset,
		"dma-ranges put %lx at bus %lx, the host says %lx", buffer.cpu,
		buffer.cpu + board.devices[DEVICE_CAMERA].bus_offset, buffer.bus);
	memset((void *)buffer.cpu, POISON, buffer.size);
	camera_start(frame);
	camera_queue(buffer.bus);
	REQUIRE(camera_wait(&bus, &number), "no frame came (camera error %u)", camera_error());
	camera_stop();
	REQUIRE(bus == buffer.bus && number == frame->number, "frame %u at %lx instead of %u at %lx", number, bus,
		frame->number, buffer.bus);
	outcome = check_frame(result, &buffer, frame);
	if (outcome)
		return outcome;
	for (uint32_t y = 0; y < frame->height; y++)
		for (uint32_t x = line; x < frame->stride; x++)
			REQUIRE(((uint8_t *)buffer.cpu)[(uint64_t)y * frame->stride + x] == POISON,
				"line %u: the padding was written", y);
	RELEASE(&buffer);
	SAY("%u x %u in %lu pages at %lx", frame->width, frame->height, buffer.size / PAGE, buffer.cpu);
	return OUTCOME_PASSED;
}

uint32_t case_camera_fhd_rgba(struct result *result)
{
	return one_frame(result, &(struct frame){ FORMAT_RGBA8888, 1920, 1080, 1920 * 4, 1 });
}

uint32_t case_camera_12mp_raw(struct result *result)
{
	return one_frame(result, &(struct frame){ FORMAT_RAW12, 4056, 3040, 6112, 2 });
}

uint32_t case_camera_ring(struct result *result)
{
	struct frame frame = { FORMAT_RGBA8888, 1920, 1080, 1920 * 4, 100 };
	struct buffer buffers[RING_BUFFERS];

	for (unsigned i = 0; i < RING_BUFFERS; i++)
		ALLOCATE(&buffers[i], DEVICE_CAMERA, (uint64_t)frame.stride * frame.height);
	camera_start(&frame);
	for (unsigned i = 0; i < RING_BUFFERS; i++)
		camera_queue(buffers[i].bus);
	for (unsigned n = 0; n < RING_FRAMES; n++, frame.number++) {
		const struct buffer *buffer = &buffers[n % RING_BUFFERS];
		uint32_t number, outcome;
		uint64_t bus;

		REQUIRE(camera_wait(&bus, &number), "frame %u did not come (camera error %u)", n, camera_error());
		REQUIRE(bus == buffer->bus && number == frame.number, "frame %u at %lx instead of %u at %lx", number,
			bus, frame.number, buffer->bus);
		outcome = check_frame(result, buffer, &frame);
		if (outcome)
			return outcome;
		if (n + RING_BUFFERS < RING_FRAMES)
			camera_queue(buffer->bus);
	}
	camera_stop();
	for (unsigned i = 0; i < RING_BUFFERS; i++)
		RELEASE(&buffers[i]);
	SAY("%u frames through %u buffers, none lost", RING_FRAMES, RING_BUFFERS);
	return OUTCOME_PASSED;
}
