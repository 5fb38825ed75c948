/* The firmware as the hands of the host: a test on the host says what, the board does it. */
#include "camera.h"
#include "cases.h"
#include "dma.h"
#include "mailbox.h"

static uint32_t move(const uint64_t *words, struct result *result)
{
	unsigned channel = (unsigned)words[1];

	REQUIRE(board.dma, "the tree has no DMA controller");
	int status = dma_run_at(channel, (uint32_t)words[2], (uint32_t)words[3]);

	REQUIRE(!status, "channel %u: %s", channel, *reply_text() ? reply_text() : "the engine reports an error");
	return OUTCOME_PASSED;
}

static uint32_t capture(const uint64_t *words, struct result *result)
{
	struct frame frame = { (uint32_t)words[2], (uint32_t)(words[3] >> 32), (uint32_t)words[3], (uint32_t)words[4],
			       (uint32_t)words[5] };
	uint32_t number;
	uint64_t bus;

	camera_start(&frame);
	camera_queue(words[1]);
	bool came = camera_wait(&bus, &number);

	camera_stop();
	REQUIRE(came, "no frame came (camera error %u)", camera_error());
	REQUIRE(bus == words[1] && number == frame.number, "frame %u at %lx instead of %u at %lx", number, bus,
		frame.number, words[1]);
	return OUTCOME_PASSED;
}

static uint32_t show(const uint64_t *words, struct result *result)
{
	struct screen screen;

	REQUIRE(screen_open(&screen, (uint32_t)words[1], (uint32_t)words[2]), "no framebuffer of %lu x %lu from the mailbox",
		words[1], words[2]);
	result->values[0] = screen.cpu;
	result->values[1] = screen.pitch;
	return OUTCOME_PASSED;
}

uint32_t obey(const uint64_t words[6], struct result *result)
{
	switch ((uint32_t)words[0]) {
	case DIRECTIVE_DMA: return move(words, result);
	case DIRECTIVE_CAPTURE: return capture(words, result);
	case DIRECTIVE_SCREEN: return show(words, result);
	}
	SAY("the firmware knows no directive %lx", words[0]);
	return OUTCOME_FAILED;
}
