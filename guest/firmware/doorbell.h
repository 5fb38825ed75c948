/* Asks the host: one request at a time, its reply awaited. guest/protocol.py defines it. */
#pragma once
#include "board.h"

struct reply { int32_t status; uint64_t values[6]; };
struct buffer { unsigned device; uint64_t cpu, bus, size; };

void ring(struct reply *reply, uint32_t op, const uint64_t arguments[6]);
#define RING(reply, op, ...) ring(reply, op, (const uint64_t[6]){ __VA_ARGS__ })
void request_text(const char *text);	/* goes with the next request */
const char *reply_text(void);

int allocate(struct buffer *buffer, unsigned device, uint64_t size);
int release(const struct buffer *buffer);
