/*
 * dlsym and dlvsym. Only what is asked of the driver's names is answered by lookup.c, which, once there is a
 * driver, also looks at libraries that have come; everything else jumps on to the real function with the
 * caller's return address in place, because RTLD_NEXT and RTLD_DEFAULT mean something else for every caller.
 * Exported without a version, so that every version asked for is found here.
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
	jne 4f
	cmpb $'u', 1(%rsi)
	jne 4f
5:	pushq %rdi
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
4:	cmpb $0, past_watched(%rip)
	jne 5b
	jmp 2b
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
	b.ne 4f
	ldrb w9, [x1, #1]
	cmp w9, #'u'
	b.ne 4f
5:	stp x29, x30, [sp, #-48]!
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
4:	adrp x16, past_watched
	ldrb w9, [x16, :lo12:past_watched]
	cbnz w9, 5b
	b 2b
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
