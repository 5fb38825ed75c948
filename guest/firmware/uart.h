/* PL011 serial line: text out, single characters in. */
#pragma once
#include "lib.h"

void uart_init(uint64_t base);
void uart_put(char c);
void uart_write(const char *s);
__attribute__((format(printf, 1, 2)))
void uart_print(const char *format, ...);
int uart_get(void);		/* -1: nothing there */
