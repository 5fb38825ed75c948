#include "mailbox.h"

enum { READ = 0x00, STATUS = 0x18, WRITE = 0x20, FULL = 1u << 31, EMPTY = 1u << 30, PROPERTY = 8 };

static bool call(uint32_t *message)
{
	uint32_t address = (uint32_t)(uint64_t)message;
	uint64_t deadline = ticks() + ticks_per_second();

	barrier();
	while (read32(board.mailbox + STATUS) & FULL)
		if (ticks() > deadline)
			return false;
	write32(board.mailbox + WRITE, address | PROPERTY);
	do {
		while (read32(board.mailbox + STATUS) & EMPTY)
			if (ticks() > deadline)
				return false;
	} while (read32(board.mailbox + READ) != (address | PROPERTY));
	barrier();
	return message[1] == 0x80000000;
}

bool screen_open(struct screen *screen, uint32_t width, uint32_t height)
{
	static uint32_t __attribute__((aligned(16))) message[36];
	const uint32_t request[] = {
		sizeof message, 0,
		0x48003, 8, 8, width, height,		/* physical size */
		0x48004, 8, 8, width, height,		/* virtual size */
		0x48005, 4, 4, 32,			/* depth */
		0x48006, 4, 4, 1,			/* pixel order: red in the lowest byte */
		0x40001, 8, 8, PAGE, 0,			/* allocate */
		0x40008, 4, 4, 0,			/* pitch */
		0,
	};

	_Static_assert(sizeof request <= sizeof message, "message too small");
	if (!board.mailbox)
		return false;
	memcpy(message, request, sizeof request);
	if (!call(message))
		return false;
	*screen = (struct screen){ message[23] & 0x3fffffff, message[5], message[6], message[28] };
	return screen->cpu && screen->width == width && screen->height == height && message[19] == 1;
}
