#include "doorbell.h"

static uint32_t sequence;

void request_text(const char *text)
{
	char *to = (char *)(board.doorbell.base + REQUEST_TEXT_AT);
	size_t size = strlen(text);

	if (size > TEXT_BYTES - 1)
		size = TEXT_BYTES - 1;
	memcpy(to, text, size);
	to[size] = 0;
}

const char *reply_text(void)
{
	return (const char *)(board.doorbell.base + REPLY_TEXT_AT);
}

void ring(struct reply *reply, uint32_t op, const uint64_t arguments[6])
{
	uint64_t request = board.doorbell.base + REQUEST_AT, answer = board.doorbell.base + REPLY_AT;

	write32(request + 4, op);
	for (unsigned i = 0; i < 6; i++)
		write64(request + 8 + 8 * i, arguments[i]);
	barrier();
	write32(request, ++sequence);	/* last: the host looks at nothing before it */
	while (read32(answer) != sequence)
		;
	barrier();
	reply->status = (int32_t)read32(answer + 4);
	for (unsigned i = 0; i < 6; i++)
		reply->values[i] = read64(answer + 8 + 8 * i);
	request_text("");
}

int allocate(struct buffer *buffer, unsigned device, uint64_t size)
{
	struct reply reply;

	RING(&reply, OP_ALLOC, device, size);
	*buffer = (struct buffer){ device, reply.values[0], reply.values[1], reply.values[2] };
	return reply.status;
}

int release(const struct buffer *buffer)
{
	struct reply reply;

	RING(&reply, OP_FREE, buffer->device, buffer->cpu, buffer->size);
	return reply.status;
}
