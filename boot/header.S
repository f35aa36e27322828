/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The file's first KiB: the setup header of the Linux/x86 boot protocol (Documentation/x86/boot.rst). kexec, and our own loader,
 * read it; only a BIOS-style loader such as `qemu -kernel` would run the 16-bit entry, which prints how to start the image.
 *
 * IMAGE_NAME comes from the Makefile. The addresses come from linker.ld; the loaded part is linked at LOAD_START, this part below
 * it.
 */
#define SETUP_SIZE	1024
#define LOAD_START	4096
#define COM1		0x3f8
#define UART_LSR	5
#define UART_LSR_THRE	0x20
#define CPUID1_ECX_HYPERVISOR 0x80000000
#define DEBUG_EXIT	0xf4
#define DEBUG_EXIT_ERROR 0x30
#define HINT \
	"pci-handoff ", IMAGE_NAME, ": use the 64-bit boot protocol: ", \
	"qemu -kernel build/handoff.efi, or kexec -l --entry-64bit\r\n\0"

/* The same source in 16 and in 32 bits: prints the text at ESI on COM1, exits QEMU if this is one, and halts. */
	.macro	say_and_stop
1:	lodsb
	test	%al, %al
	jz	3f
	mov	%al, %ah
	mov	$0xffff, %ecx		/* a UART that never gets ready must not hang the message */
2:	mov	$(COM1 + UART_LSR), %dx
	inb	%dx, %al
	test	$UART_LSR_THRE, %al
	loopz	2b
	mov	%ah, %al
	mov	$COM1, %dx
	outb	%al, %dx
	jmp	1b
3:	mov	$1, %eax
	cpuid
	test	$CPUID1_ECX_HYPERVISOR, %ecx
	jz	4f
	mov	$DEBUG_EXIT_ERROR, %eax
	mov	$DEBUG_EXIT, %dx
	outl	%eax, %dx
4:	cli
	hlt
	jmp	4b
	.endm

/*
 * Three fields depend on the link (syssize, pref_address, init_size) and a relocation could not express them in a static-pie, so
 * linker.ld writes them between the pieces of this part.
 */
#define HEADER_BASE	0x202
#define HEADER_END	0x268
#define TAIL		0x264	/* after init_size */

	.section .setup.head, "a", @progbits
	.org	0x1f1
	.byte	SETUP_SIZE / 512 - 1	/* setup_sects */
	.word	0			/* root_flags */
	/* syssize */

	.section .setup.middle, "a", @progbits
	.word	0, 0, 0			/* ram_size, vid_mode, root_dev */
	.word	0xaa55			/* boot_flag */
	.byte	0xeb, HEADER_END - HEADER_BASE	/* jump: to the 16-bit entry */
	.ascii	"HdrS"
	.word	0x020f			/* version 2.15 */
	.long	0			/* realmode_swtch */
	.word	0			/* start_sys_seg */
	.word	TAIL + version - tail - 0x200	/* kernel_version */
	.byte	0			/* type_of_loader */
	.byte	1			/* loadflags: LOADED_HIGH */
	.word	0			/* setup_move_size */
	.long	0x100000		/* code32_start */
	.long	0, 0			/* ramdisk_image, ramdisk_size */
	.long	0			/* bootsect_kludge */
	.word	0			/* heap_end_ptr */
	.byte	0, 0			/* ext_loader_ver, ext_loader_type */
	.long	0			/* cmd_line_ptr */
	.long	0x7fffffff		/* initrd_addr_max: as Linux has it */
	.long	4096			/* kernel_alignment */
	.byte	1			/* relocatable_kernel */
	.byte	12			/* min_alignment: 2^12 */
	.word	0x0023			/* xloadflags: KERNEL_64, CAN_BE_LOADED_ABOVE_4G, 5LEVEL */
	.long	2047			/* cmdline_size */
	.long	0			/* hardware_subarch: PC */
	.quad	0			/* hardware_subarch_data */
	.long	0, 0			/* payload_offset, payload_length */
	.quad	0			/* setup_data */
	/* pref_address, init_size */

	.section .setup.tail, "a", @progbits
	.code16
tail:
	.long	0			/* handover_offset */

	/* 16-bit entry: DS is the segment of this part, SS:SP a stack (boot.rst, "RUNNING THE KERNEL"). */
	mov	$(TAIL + hint16 - tail), %esi
	say_and_stop

version:
	.ascii	"pci-handoff ", IMAGE_NAME, "\0"
hint16:	.ascii	HINT
	.org	SETUP_SIZE - TAIL

	.section .head, "ax", @progbits
	.code32
	/*
	 * 32-bit entry, at +0: ESI = boot_params, flat segments, paging off, no stack: boot_params.scratch (0x1e4) serves for one
	 * call.
	 */
head:
	lea	0x1e8(%esi), %esp
	call	1f
1:	pop	%esi
	add	$(hint32 - 1b), %esi
	say_and_stop
hint32:	.ascii	HINT

	/*
	 * 64-bit entry, at +0x200: RSI = boot_params, CS 0x10, DS/ES/SS 0x18, IF=0, paging on with at least the image, boot_params
	 * and the command line mapped at their own addresses. CR4, PAT, IDT and the stack are whatever they are (kexec leaves CR4 =
	 * PAE and no IDT).
	 */
	.org	0x200
	.code64
	.globl	entry64
entry64:
	cli
	cld
	lea	stack_top(%rip), %rsp
	xor	%ebp, %ebp		/* the stack walk ends here */

	/* Neither the boot protocol nor kexec promises zeroed memory after the file. */
	mov	%rsi, %rbx
	lea	bss_start(%rip), %rdi
	lea	bss_end(%rip), %rcx
	sub	%rdi, %rcx
	shr	$3, %rcx		/* whole pages, see linker.ld */
	xor	%eax, %eax
	rep stosq

	/*
	 * static-pie: apply the relative relocations, of which the Makefile lets no other kind through. They are packed (gABI,
	 * SHT_RELR): an even entry is the address of a word to relocate, an odd one says by its bits 1 to 63 which of the 63 words
	 * after are, too.
	 */
	lea	head-LOAD_START(%rip), %rdx	/* the load bias */
	lea	relr_start(%rip), %rsi
	lea	relr_end(%rip), %rcx
1:	cmp	%rcx, %rsi
	jae	5f
	lodsq
	test	$1, %al
	jnz	2f
	lea	(%rdx,%rax), %rdi
	add	%rdx, (%rdi)
	add	$8, %rdi
	jmp	1b
2:	mov	$63, %r8d
3:	shr	%rax
	test	$1, %al
	jz	4f
	add	%rdx, (%rdi)
4:	add	$8, %rdi
	dec	%r8d
	jnz	3b
	jmp	1b
5:
	call	gdt_load
	mov	%rbx, %rdi
	call	boot_start
	ud2				/* boot_start does not return */

	.bss
	.balign	16
	.skip	131072		/* a bus chain of 255 bridges takes 86 KiB (pci/enumerate.c) */
	.globl	stack_top
stack_top:

	.section .note.GNU-stack, "", @progbits
