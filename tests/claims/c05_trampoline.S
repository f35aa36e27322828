/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where a CPU begins after INIT and SIPI (Intel SDM Vol. 3, 8.4.4): in real mode, at the start of a page below 1 MiB, to which this
 * is copied. From there it enters long mode in one step, with the tables of the CPU that woke it. trampoline_parameters has their
 * addresses: struct parameters of c05_two_cpus.c.
 */
#define CR0_ENABLE	0x80000011	/* PG, ET, PE; caches on */
#define CR4_PAE		0x00000020
#define MSR_EFER	0xc0000080
#define EFER_LME	0x00000100
#define CODE		0x10		/* in the images' GDT (boot/enter.S) */
#define DATA		0x18
#define HERE(symbol)	(symbol - trampoline)

	.text
	.code16
	.globl	trampoline
trampoline:
	cli
	mov	%cs, %ax
	mov	%ax, %ds
	mov	$CR4_PAE, %eax
	mov	%eax, %cr4
	mov	HERE(cr3), %eax
	mov	%eax, %cr3
	mov	$MSR_EFER, %ecx
	rdmsr
	or	$EFER_LME, %eax
	wrmsr
	lgdtl	HERE(gdtr)
	mov	$CR0_ENABLE, %eax
	mov	%eax, %cr0
	ljmpl	*HERE(far)

	.code64
long_mode:
	mov	$DATA, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %ss
	lidt	idtr(%rip)
	mov	stack(%rip), %rsp
	xor	%ebp, %ebp		/* the stack walk ends here */
	call	*main(%rip)
	ud2				/* it does not return */

	.balign	8
	.globl	trampoline_parameters
trampoline_parameters:
cr3:	.quad	0
stack:	.quad	0
main:	.quad	0
gdtr:	.word	0
	.quad	0
idtr:	.word	0
	.quad	0
far:	.long	HERE(long_mode)		/* the address of the copy is added */
	.word	CODE
	.globl	trampoline_end
trampoline_end:

	.section .note.GNU-stack, "", @progbits
