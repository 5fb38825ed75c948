#include "uart.h"

enum { DR = 0x00, FR = 0x18, CR = 0x30, FR_RXFE = 1 << 4, FR_TXFF = 1 << 5, CR_ON = 0x301 };

static uint64_t uart;

void uart_init(uint64_t base)
{
	uart = base;
	write32(uart + CR, CR_ON);
}

void uart_put(char c)
{
	/* before the tree is read there is no line to write to */
	if (!uart)
		return;
	while (read32(uart + FR) & FR_TXFF)
		;
	write32(uart + DR, (uint8_t)c);
}

void uart_write(const char *s)
{
	for (; *s; s++) {
		if (*s == '\n')
			uart_put('\r');
		uart_put(*s);
	}
}

void uart_print(const char *pattern, ...)
{
	char text[512];
	va_list values;

	va_start(values, pattern);
	format_list(text, sizeof text, pattern, values);
	va_end(values);
	uart_write(text);
}

int uart_get(void)
{
	if (!uart || read32(uart + FR) & FR_RXFE)
		return -1;
	return (int)(read32(uart + DR) & 0xff);
}
