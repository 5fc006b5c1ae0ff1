/*
 * The exported driver entries, made from gpu/driver.def. A thunk knows nothing of its entry's
 * parameters: it asks cuda_gate what to do and then jumps on, registers and stack as the program
 * left them. Entries with a function of their own (hook_<name>) jump straight there.
 */
#define EXPORT(name) .globl name; .type name, %function; name: dl_hook_##name
#define CU(barrier, symbol, name, version, form) EMIT_##barrier(name); .set .Lrow, .Lrow + 1;
#define EMIT_PASS(name)
#define EMIT_SYNC(name) EMIT_DRAIN(name)
#define EMIT_WAIT(name) EMIT_DRAIN(name)
#define EMIT_ALLOC(name) EMIT_QUEUE(name)
#define EMIT_HOOK(name) EMIT_QUEUE(name)

	.text
	.set .Lrow, 0

#if defined(__x86_64__)

#define EMIT_DRAIN(name) EXPORT(name): movl $.Lrow, %r11d; jmp dl_barrier
#define EMIT_QUEUE(name)                                                                           \
	EXPORT(name): movl $.Lrow, %r11d; leaq hook_##name(%rip), %r10; jmp dl_handler
#define CUPTI(name) EXPORT(name): movl $.Lrow, %r11d; jmp dl_barrier; .set .Lrow, .Lrow + 1;

#include "driver.def"
	.macro spare n
dl_spare_\n:
	movl $.Lrow, %r11d
	jmp dl_barrier
	.set .Lrow, .Lrow + 1
	.endm
	.set .Lspare, 0
	.altmacro
	.rept 64
	spare %.Lspare
	.set .Lspare, .Lspare + 1
	.endr
	.noaltmacro
#include "cupti.def"

	.macro save_args
	pushq %rbp
	.cfi_def_cfa_offset 16
	.cfi_offset %rbp, -16
	movq %rsp, %rbp
	.cfi_def_cfa_register %rbp
	subq $0xc0, %rsp
	movq %rdi, (%rsp)
	movq %rsi, 8(%rsp)
	movq %rdx, 16(%rsp)
	movq %rcx, 24(%rsp)
	movq %r8, 32(%rsp)
	movq %r9, 40(%rsp)
	movq %r10, 48(%rsp)
	movups %xmm0, 0x40(%rsp)
	movups %xmm1, 0x50(%rsp)
	movups %xmm2, 0x60(%rsp)
	movups %xmm3, 0x70(%rsp)
	movups %xmm4, 0x80(%rsp)
	movups %xmm5, 0x90(%rsp)
	movups %xmm6, 0xa0(%rsp)
	movups %xmm7, 0xb0(%rsp)
	.endm

	.macro restore_args
	movq (%rsp), %rdi
	movq 8(%rsp), %rsi
	movq 16(%rsp), %rdx
	movq 24(%rsp), %rcx
	movq 32(%rsp), %r8
	movq 40(%rsp), %r9
	movq 48(%rsp), %r10
	movups 0x40(%rsp), %xmm0
	movups 0x50(%rsp), %xmm1
	movups 0x60(%rsp), %xmm2
	movups 0x70(%rsp), %xmm3
	movups 0x80(%rsp), %xmm4
	movups 0x90(%rsp), %xmm5
	movups 0xa0(%rsp), %xmm6
	movups 0xb0(%rsp), %xmm7
	leave
	.cfi_def_cfa %rsp, 8
	.endm

	.type dl_barrier, %function
dl_barrier:
	.cfi_startproc
	save_args
	movl %r11d, %edi
	movq %rsp, %rsi
	call cuda_gate
	movq %rax, %r11
	movq %rdx, %rax
	restore_args
	testq %r11, %r11
	jz 1f
	jmp *%r11
1:	ret
	.cfi_endproc

	.type dl_handler, %function
dl_handler:
	.cfi_startproc
	leaq cuda_real(%rip), %rax
	cmpq $0, (%rax, %r11, 8)
	je 1f
	jmp *%r10
1:	save_args
	movl %r11d, %edi
	call cuda_resolve_row
	restore_args
	testl %eax, %eax
	jnz 2f
	jmp *%r10
2:	movl $303, %eax
	ret
	.cfi_endproc

#elif defined(__aarch64__)

#define EMIT_DRAIN(name) EXPORT(name): mov w16, .Lrow; b dl_barrier
#define EMIT_QUEUE(name)                                                                           \
	EXPORT(name): mov w16, .Lrow; adrp x17, hook_##name;                                       \
	add x17, x17, :lo12:hook_##name; b dl_handler
#define CUPTI(name) EXPORT(name): mov w16, .Lrow; b dl_barrier; .set .Lrow, .Lrow + 1;

#include "driver.def"
	.macro spare n
dl_spare_\n:
	mov w16, .Lrow
	b dl_barrier
	.set .Lrow, .Lrow + 1
	.endm
	.set .Lspare, 0
	.altmacro
	.rept 64
	spare %.Lspare
	.set .Lspare, .Lspare + 1
	.endr
	.noaltmacro
#include "cupti.def"

	.macro save_args
	stp x29, x30, [sp, #-224]!
	.cfi_def_cfa_offset 224
	.cfi_offset x29, -224
	.cfi_offset x30, -216
	mov x29, sp
	stp x0, x1, [sp, #16]
	stp x2, x3, [sp, #32]
	stp x4, x5, [sp, #48]
	stp x6, x7, [sp, #64]
	stp x8, x17, [sp, #80]
	stp q0, q1, [sp, #96]
	stp q2, q3, [sp, #128]
	stp q4, q5, [sp, #160]
	stp q6, q7, [sp, #192]
	.endm

	.macro restore_args
	ldp x0, x1, [sp, #16]
	ldp x2, x3, [sp, #32]
	ldp x4, x5, [sp, #48]
	ldp x6, x7, [sp, #64]
	ldp x8, x17, [sp, #80]
	ldp q0, q1, [sp, #96]
	ldp q2, q3, [sp, #128]
	ldp q4, q5, [sp, #160]
	ldp q6, q7, [sp, #192]
	ldp x29, x30, [sp], #224
	.cfi_def_cfa_offset 0
	.cfi_restore x29
	.cfi_restore x30
	.endm

	.type dl_barrier, %function
dl_barrier:
	.cfi_startproc
	save_args
	mov w0, w16
	add x1, sp, #16
	bl cuda_gate
	mov x16, x0
	mov x9, x1
	restore_args
	cbz x16, 1f
	br x16
1:	mov x0, x9
	ret
	.cfi_endproc

	.type dl_handler, %function
dl_handler:
	.cfi_startproc
	adrp x9, cuda_real
	add x9, x9, :lo12:cuda_real
	ldr x9, [x9, x16, lsl #3]
	cbz x9, 1f
	br x17
1:	save_args
	mov w0, w16
	bl cuda_resolve_row
	mov w9, w0
	restore_args
	cbnz w9, 2f
	br x17
2:	mov w0, #303
	ret
	.cfi_endproc

#endif

	.section .data.rel.ro, "aw"
	.balign 8
	.globl dl_hooks
	.hidden dl_hooks
dl_hooks:
#undef CU
#undef EMIT_PASS
#undef EMIT_SYNC
#undef EMIT_WAIT
#undef EMIT_ALLOC
#undef EMIT_HOOK
#undef EMIT_DRAIN
#undef EMIT_QUEUE
#undef CUPTI
#define CU(barrier, symbol, name, version, form) .quad EMIT_##barrier(name);
#define EMIT_PASS(name) 0
#define EMIT_DRAIN(name) dl_hook_##name
#define EMIT_SYNC(name) dl_hook_##name
#define EMIT_WAIT(name) dl_hook_##name
#define EMIT_ALLOC(name) dl_hook_##name
#define EMIT_HOOK(name) dl_hook_##name
#define EMIT_QUEUE(name) dl_hook_##name
#define CUPTI(name) .quad dl_hook_##name;
#include "driver.def"

	.globl dl_spare_hooks
	.hidden dl_spare_hooks
dl_spare_hooks:
	.macro spare_quad n
	.quad dl_spare_\n
	.endm
	.set .Lspare, 0
	.altmacro
	.rept 64
	spare_quad %.Lspare
	.set .Lspare, .Lspare + 1
	.endr
	.noaltmacro

	.globl dl_cupti_hooks
	.hidden dl_cupti_hooks
dl_cupti_hooks:
#include "cupti.def"
	.quad 0

	.section .note.GNU-stack, "", %progbits
