/* Camera to screen: a 2D DMA cuts the middle out of a frame and puts it into the framebuffer. */
#include "camera.h"
#include "cases.h"
#include "dma.h"
#include "mailbox.h"

enum { WIDTH = 1280, HEIGHT = 720, LEFT = 320, TOP = 180 };

uint32_t case_display_blit(struct result *result)
{
	struct frame frame = { FORMAT_RGBA8888, 1920, 1080, 1920 * 4, 3 };
	struct buffer picture;
	struct screen screen;
	struct reply reply;
	uint32_t number;
	uint64_t bus;

	REQUIRE(screen_open(&screen, WIDTH, HEIGHT), "no framebuffer of %u x %u from the mailbox", WIDTH, HEIGHT);
	ALLOCATE(&picture, DEVICE_CAMERA, (uint64_t)frame.stride * frame.height);
	camera_start(&frame);
	camera_queue(picture.bus);
	REQUIRE(camera_wait(&bus, &number), "no frame came (camera error %u)", camera_error());
	camera_stop();

	struct control_block *block = control_blocks(1);

	rectangle_block(block, dma_bus(screen.cpu), screen.pitch, picture.bus + TOP * frame.stride + LEFT * 4,
			frame.stride, WIDTH * 4, HEIGHT);
	DMA(0, block);
	RELEASE(&picture);
	RING(&reply, OP_SCREEN, WIDTH, HEIGHT, frame.number, LEFT, TOP);
	REQUIRE(!reply.status, "no picture of the screen: %s", reply_text());
	REQUIRE(!reply.values[0], "%lu of %lu pixels differ on the screen", reply.values[0],
		(uint64_t)WIDTH * HEIGHT);
	result->bytes = WIDTH * HEIGHT * 4;
	SAY("%u x %u cut out of a camera frame, every pixel on the screen", WIDTH, HEIGHT);
	return OUTCOME_PASSED;
}
