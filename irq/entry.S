/* SPDX-License-Identifier: BSD-2-Clause */
/* 256 stubs of 5 bytes: each is a call, and the return address that it pushes gives the vector. */
#define STUB_SIZE	5		/* as in idt.c */
	.text
	.globl	trap_stubs
trap_stubs:
	.rept	256
	call	trap_common
	.endr

trap_common:
	/* The CPU aligned the stack to 16 bytes and pushed 5 quadwords, or 6 with an error code; else 0 is pushed for it. */
	test	$8, %spl
	jnz	1f
	push	(%rsp)
	movq	$0, 8(%rsp)
1:
	push	%rax
	push	%rbx
	push	%rcx
	push	%rdx
	push	%rsi
	push	%rdi
	push	%rbp
	push	%r8
	push	%r9
	push	%r10
	push	%r11
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	mov	15 * 8(%rsp), %rax
	lea	trap_stubs + STUB_SIZE(%rip), %rcx
	sub	%rcx, %rax
	xor	%edx, %edx
	mov	$STUB_SIZE, %ecx
	div	%ecx
	mov	%rax, 15 * 8(%rsp)	/* the vector */
	cld
	mov	%rsp, %rdi
	mov	%rsp, %rbx		/* callee-saved */
	and	$-16, %rsp		/* the ABI's alignment; the CPU aligned before it pushed 5 words, we pushed 17 */
	call	trap_dispatch
	mov	%rbx, %rsp
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%r11
	pop	%r10
	pop	%r9
	pop	%r8
	pop	%rbp
	pop	%rdi
	pop	%rsi
	pop	%rdx
	pop	%rcx
	pop	%rbx
	pop	%rax
	add	$16, %rsp
	iretq

	.section .note.GNU-stack, "", @progbits
