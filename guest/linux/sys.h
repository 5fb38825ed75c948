/* SPDX-License-Identifier: GPL-2.0 */
/* System calls of arm64 Linux for programs without a C library. */
#ifndef SYS_H
#define SYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	SYS_IOCTL = 29, SYS_MKDIRAT = 34, SYS_UMOUNT2 = 39, SYS_MOUNT = 40, SYS_OPENAT = 56, SYS_CLOSE = 57,
	SYS_GETDENTS64 = 61, SYS_READ = 63, SYS_WRITE = 64, SYS_EXIT = 93, SYS_NANOSLEEP = 101, SYS_SYNC = 81,
	SYS_SETSID = 157, SYS_REBOOT = 142, SYS_BRK = 214, SYS_CLONE = 220, SYS_EXECVE = 221, SYS_WAIT4 = 260,
};

enum { AT_FDCWD = -100, O_RDONLY = 0, O_WRONLY = 1, O_RDWR = 2, SIGCHLD = 17, TIOCSCTTY = 0x540e };

static inline long syscall6(long number, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;

	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
	return x0;
}

#define SYS1(n, a) syscall6(n, (long)(a), 0, 0, 0, 0, 0)
#define SYS2(n, a, b) syscall6(n, (long)(a), (long)(b), 0, 0, 0, 0)
#define SYS3(n, a, b, c) syscall6(n, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define SYS4(n, a, b, c, d) syscall6(n, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)
#define SYS5(n, a, b, c, d, e) syscall6(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), 0)

#endif
