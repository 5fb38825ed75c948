#include "lib.h"

void *memcpy(void *to, const void *from, size_t size)
{
	char *t = to;
	const char *f = from;

	/* the MMU is off: memory is of the device kind, and words must be aligned */
	if ((((uintptr_t)t | (uintptr_t)f) & 7) == 0)
		for (; size >= 8; size -= 8, t += 8, f += 8)
			*(uint64_t *)t = *(const uint64_t *)f;
	while (size--)
		*t++ = *f++;
	return to;
}

void *memset(void *to, int byte, size_t size)
{
	char *t = to;
	uint64_t word = 0x0101010101010101ul * (uint8_t)byte;

	if (((uintptr_t)t & 7) == 0)
		for (; size >= 8; size -= 8, t += 8)
			*(uint64_t *)t = word;
	while (size--)
		*t++ = (char)byte;
	return to;
}

int memcmp(const void *a, const void *b, size_t size)
{
	const uint8_t *x = a, *y = b;

	for (; size; size--, x++, y++)
		if (*x != *y)
			return *x - *y;
	return 0;
}

size_t strlen(const char *s)
{
	size_t n = 0;

	while (s[n])
		n++;
	return n;
}

bool same(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

bool starts(const char *s, const char *prefix)
{
	while (*prefix && *s == *prefix)
		s++, prefix++;
	return !*prefix;
}

struct out { char *at, *end; };

static void put(struct out *out, char c)
{
	if (out->at < out->end)
		*out->at++ = c;
}

static void put_number(struct out *out, uint64_t value, unsigned base)
{
	char digits[24];
	int n = 0;

	do
		digits[n++] = "0123456789abcdef"[value % base];
	while (value /= base);
	while (n)
		put(out, digits[--n]);
}

void format_list(char *to, size_t size, const char *format, va_list values)
{
	struct out out = { to, to + size - 1 };

	for (; *format; format++) {
		if (*format != '%') {
			put(&out, *format);
			continue;
		}
		bool is_long = *++format == 'l';

		if (is_long)
			format++;
		switch (*format) {
		case 's':
			for (const char *s = va_arg(values, const char *); *s; s++)
				put(&out, *s);
			break;
		case 'c':
			put(&out, (char)va_arg(values, int));
			break;
		case 'd': {
			int64_t value = is_long ? va_arg(values, int64_t) : va_arg(values, int);

			if (value < 0)
				put(&out, '-');
			put_number(&out, value < 0 ? -(uint64_t)value : (uint64_t)value, 10);
			break;
		}
		case 'u':
			put_number(&out, is_long ? va_arg(values, uint64_t) : va_arg(values, unsigned), 10);
			break;
		case 'x':
			put(&out, '0');
			put(&out, 'x');
			put_number(&out, is_long ? va_arg(values, uint64_t) : va_arg(values, unsigned), 16);
			break;
		case '%':
			put(&out, '%');
			break;
		default:
			put(&out, '?');
			break;
		}
	}
	*out.at = 0;
}

void format(char *to, size_t size, const char *pattern, ...)
{
	va_list values;

	va_start(values, pattern);
	format_list(to, size, pattern, values);
	va_end(values);
}

extern char __scratch_start[], __scratch_end[];
static uint64_t scratch_next;

void scratch_reset(void)
{
	scratch_next = (uint64_t)__scratch_start;
}

uint64_t scratch_take(uint64_t size, uint64_t align)
{
	uint64_t at = (scratch_next + align - 1) & -align;

	if (at + size > (uint64_t)__scratch_end)
		__builtin_trap();
	scratch_next = at + size;
	return at;
}
