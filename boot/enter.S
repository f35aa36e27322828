/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * image_enter(entry, params): the jump, as the 64-bit boot protocol requires it (Linux Documentation/x86/boot.rst, "64-bit BOOT
 * PROTOCOL"). Shared by the UEFI loader and the chain-load.
 */
	.text

/*
 * Loads our own GDT and every segment register from it; clobbers rcx. The GDT that an image was entered with may be overwritten at
 * any time.
 */
	.globl	gdt_load
	.type	gdt_load, @function
gdt_load:
	lea	gdt(%rip), %rcx
	mov	%rcx, gdtr+2(%rip)
	lgdt	gdtr(%rip)
	mov	$0x18, %ecx
	mov	%ecx, %ds
	mov	%ecx, %es
	mov	%ecx, %ss
	xor	%ecx, %ecx
	mov	%ecx, %fs
	mov	%ecx, %gs
	pop	%rcx
	pushq	$0x10
	push	%rcx
	lretq
	.size	gdt_load, . - gdt_load

	.globl	image_enter
	.type	image_enter, @function
image_enter:
	cli
	cld
	call	gdt_load
	mov	%rdi, %rax		/* entry; rsi holds params already */
	xor	%ebx, %ebx
	xor	%ecx, %ecx
	xor	%edx, %edx
	xor	%edi, %edi
	xor	%ebp, %ebp
	xor	%r8d, %r8d
	xor	%r9d, %r9d
	xor	%r10d, %r10d
	xor	%r11d, %r11d
	xor	%r12d, %r12d
	xor	%r13d, %r13d
	xor	%r14d, %r14d
	xor	%r15d, %r15d
	jmp	*%rax
	.size	image_enter, . - image_enter

	.data
	.balign	8
gdt:	.quad	0
	.quad	0
	.quad	0x00af9b000000ffff	/* 0x10: 64-bit code */
	.quad	0x00cf93000000ffff	/* 0x18: flat data */
gdtr:	.word	gdtr - gdt - 1
	.quad	0

	.section .note.GNU-stack, "", @progbits
