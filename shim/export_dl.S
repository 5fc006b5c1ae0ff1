/*
 * dlsym and dlvsym. Only what is asked of the driver's names goes to lookup.c; everything else jumps
 * on to the real function with the caller's return address in place, because RTLD_NEXT and
 * RTLD_DEFAULT mean something else for every caller. Exported without a version, so that every
 * version asked for is found here.
 */
	.text

#if defined(__x86_64__)

	/* entry: the pointer to the real function; to: where names of the driver go */
	.macro hook name, entry, to
	.globl \name
	.type \name, %function
\name:
	.cfi_startproc
	cmpq $0, \entry(%rip)
	je 3f
1:	cmpb $'c', (%rsi)
	jne 2f
	cmpb $'u', 1(%rsi)
	jne 2f
	cmpq $-1, %rdi
	je 2f
	pushq %rdi
	.cfi_adjust_cfa_offset 8
	pushq %rsi
	.cfi_adjust_cfa_offset 8
	pushq %rdx
	.cfi_adjust_cfa_offset 8
	call cuda_dlsym_wanted
	popq %rdx
	.cfi_adjust_cfa_offset -8
	popq %rsi
	.cfi_adjust_cfa_offset -8
	popq %rdi
	.cfi_adjust_cfa_offset -8
	testl %eax, %eax
	jnz \to
2:	jmp *\entry(%rip)
3:	pushq %rdi
	.cfi_adjust_cfa_offset 8
	pushq %rsi
	.cfi_adjust_cfa_offset 8
	pushq %rdx
	.cfi_adjust_cfa_offset 8
	call loader_init
	popq %rdx
	.cfi_adjust_cfa_offset -8
	popq %rsi
	.cfi_adjust_cfa_offset -8
	popq %rdi
	.cfi_adjust_cfa_offset -8
	jmp 1b
	.cfi_endproc
	.endm

#elif defined(__aarch64__)

	.macro hook name, entry, to
	.globl \name
	.type \name, %function
\name:
	.cfi_startproc
	adrp x16, \entry
	ldr x17, [x16, :lo12:\entry]
	cbz x17, 3f
1:	ldrb w9, [x1]
	cmp w9, #'c'
	b.ne 2f
	ldrb w9, [x1, #1]
	cmp w9, #'u'
	b.ne 2f
	cmn x0, #1
	b.eq 2f
	stp x29, x30, [sp, #-48]!
	.cfi_def_cfa_offset 48
	.cfi_offset x29, -48
	.cfi_offset x30, -40
	stp x0, x1, [sp, #16]
	str x2, [sp, #32]
	bl cuda_dlsym_wanted
	mov w9, w0
	ldp x0, x1, [sp, #16]
	ldr x2, [sp, #32]
	ldp x29, x30, [sp], #48
	.cfi_def_cfa_offset 0
	.cfi_restore x29
	.cfi_restore x30
	cbnz w9, \to
2:	adrp x16, \entry
	ldr x17, [x16, :lo12:\entry]
	br x17
3:	stp x29, x30, [sp, #-48]!
	.cfi_def_cfa_offset 48
	.cfi_offset x29, -48
	.cfi_offset x30, -40
	stp x0, x1, [sp, #16]
	str x2, [sp, #32]
	bl loader_init
	ldp x0, x1, [sp, #16]
	ldr x2, [sp, #32]
	ldp x29, x30, [sp], #48
	.cfi_def_cfa_offset 0
	.cfi_restore x29
	.cfi_restore x30
	b 1b
	.cfi_endproc
	.endm

#endif

	hook dlsym, loader_dlsym, cuda_dlsym
	hook dlvsym, loader_dlvsym, cuda_dlvsym

	.section .note.GNU-stack, "", %progbits
