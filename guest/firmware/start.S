/* Entry, exception vectors, and the park where the other cores sleep. */

	.section .text.head, "ax"
	.global _start
_start:
	/* arm64 Image header (Documentation/arch/arm64/booting.rst) */
	b	1f
	.word	0
	.quad	0			/* text_offset */
	.quad	__bss_end - 0x200000	/* image_size */
	.quad	0xa			/* little-endian, 4 KiB pages, anywhere */
	.quad	0, 0, 0
	.ascii	"ARM\x64"
	.word	0

1:	mov	x19, x0			/* the devicetree */
	mrs	x1, mpidr_el1
	and	x1, x1, #0xff
	cbnz	x1, park_core
	ldr	x1, =__stack_top
	mov	sp, x1
	ldr	x1, =vectors
	mrs	x2, CurrentEL
	cmp	x2, #8
	b.ne	2f
	msr	vbar_el2, x1
	b	3f
2:	msr	vbar_el1, x1
3:	isb
	ldr	x1, =__bss_start
	ldr	x2, =__bss_end
4:	cmp	x1, x2
	b.hs	5f
	stp	xzr, xzr, [x1], #16
	b	4b
5:	mov	x0, x19
	bl	firmware_main
	b	park_core

	/* WFE does not sleep under TCG, WFI does: four spinning vCPUs would starve the first. */
	.text
	.global park_core
park_core:
	msr	daifset, #0xf
6:	wfi
	b	6b

	/* int context_save(struct context *): 0 now, 1 when context_restore comes back */
	.global context_save
context_save:
	stp	x19, x20, [x0, #0]
	stp	x21, x22, [x0, #16]
	stp	x23, x24, [x0, #32]
	stp	x25, x26, [x0, #48]
	stp	x27, x28, [x0, #64]
	stp	x29, x30, [x0, #80]
	mov	x1, sp
	str	x1, [x0, #96]
	mov	w0, #0
	ret

	.global context_restore
context_restore:
	ldp	x19, x20, [x0, #0]
	ldp	x21, x22, [x0, #16]
	ldp	x23, x24, [x0, #32]
	ldp	x25, x26, [x0, #48]
	ldp	x27, x28, [x0, #64]
	ldp	x29, x30, [x0, #80]
	ldr	x1, [x0, #96]
	mov	sp, x1
	mov	w0, #1
	ret

	/* Every exception ends up in fault_entry with its vector's number. */
	.macro	vector number
	.balign	0x80
	str	x30, [sp, #-16]!
	mov	x30, #\number
	b	fault_entry
	.endm

	.balign	0x800
vectors:
	vector	0
	vector	1
	vector	2
	vector	3
	vector	4
	vector	5
	vector	6
	vector	7
	vector	8
	vector	9
	vector	10
	vector	11
	vector	12
	vector	13
	vector	14
	vector	15

	.global fault_registers
fault_entry:
	/* sp may be what broke: save to a fixed place, go on with a stack of our own. The
	 * vector pushed the true x30; x29 goes beside it to free a register. */
	str	x29, [sp, #8]
	ldr	x29, =fault_registers
	stp	x0, x1, [x29, #0]
	stp	x2, x3, [x29, #16]
	stp	x4, x5, [x29, #32]
	stp	x6, x7, [x29, #48]
	stp	x8, x9, [x29, #64]
	stp	x10, x11, [x29, #80]
	stp	x12, x13, [x29, #96]
	stp	x14, x15, [x29, #112]
	stp	x16, x17, [x29, #128]
	stp	x18, x19, [x29, #144]
	stp	x20, x21, [x29, #160]
	stp	x22, x23, [x29, #176]
	stp	x24, x25, [x29, #192]
	stp	x26, x27, [x29, #208]
	str	x28, [x29, #224]
	ldp	x1, x0, [sp], #16		/* x30, x29 */
	stp	x0, x1, [x29, #232]
	mov	x0, sp
	str	x0, [x29, #248]
	mov	x4, x30				/* vector */
	ldr	x0, =__fault_stack_top
	mov	sp, x0
	mrs	x0, CurrentEL
	cmp	x0, #8
	b.ne	7f
	mrs	x0, esr_el2
	mrs	x1, elr_el2
	mrs	x2, far_el2
	mrs	x3, spsr_el2
	b	fault_report
7:	mrs	x0, esr_el1
	mrs	x1, elr_el1
	mrs	x2, far_el1
	mrs	x3, spsr_el1
	b	fault_report
