#include "textflag.h"

// func sumAVX2(b *byte, n int) int32
//
// There is no addition of unsigned 16-bit words into wider ones. But a word with
// its first bit flipped is, as a signed one, the word less 32768, and VPMADDWD
// multiplies signed words (here by one) and adds them in pairs to 32 bits. Four
// sums, Y0 to Y3, keep the four additions of a round from waiting for each other.
TEXT ·sumAVX2(SB), NOSPLIT, $0-20
	MOVQ b+0(FP), SI
	MOVQ n+8(FP), CX
	VPCMPEQD Y14, Y14, Y14
	VPSRLW $15, Y14, Y15 // every word is 1
	VPSLLW $15, Y14, Y14 // every word is 0x8000
	VPXOR Y0, Y0, Y0
	VPXOR Y1, Y1, Y1
	VPXOR Y2, Y2, Y2
	VPXOR Y3, Y3, Y3
	SUBQ $128, CX
	JLT blocks

round: // 128 bytes; CX is what remains behind them
	VPXOR (SI), Y14, Y4
	VPXOR 32(SI), Y14, Y5
	VPXOR 64(SI), Y14, Y6
	VPXOR 96(SI), Y14, Y7
	VPMADDWD Y4, Y15, Y4
	VPMADDWD Y5, Y15, Y5
	VPMADDWD Y6, Y15, Y6
	VPMADDWD Y7, Y15, Y7
	VPADDD Y4, Y0, Y0
	VPADDD Y5, Y1, Y1
	VPADDD Y6, Y2, Y2
	VPADDD Y7, Y3, Y3
	ADDQ $128, SI
	SUBQ $128, CX
	JGE round

blocks:
	ADDQ $96, CX
	JLT add

block: // 32 bytes
	VPXOR (SI), Y14, Y4
	VPMADDWD Y4, Y15, Y4
	VPADDD Y4, Y0, Y0
	ADDQ $32, SI
	SUBQ $32, CX
	JGE block

add: // the four sums, then the eight lanes of the one
	VPADDD Y1, Y0, Y0
	VPADDD Y3, Y2, Y2
	VPADDD Y2, Y0, Y0
	VEXTRACTI128 $1, Y0, X1
	VPADDD X1, X0, X0
	VPSHUFD $0x4e, X0, X1
	VPADDD X1, X0, X0
	VPSHUFD $0xb1, X0, X1
	VPADDD X1, X0, X0
	VMOVD X0, AX
	VZEROUPPER
	MOVL AX, ret+16(FP)
	RET
