/* The costly half of eksblowfish.c for x86-64 with BMI, written by hand: three to five lanes whose halves never leave the registers.
 *
 * A compiler spends about 21 instructions on a step, half of them on moving halves to the stack and back; here it is ten, of which
 * five load. That matters most where the core is shared: what one thread does not issue, its sibling can. */

#include "eksblowfish.h"

#if defined(__x86_64__) && defined(__GNUC__)

/* The halves, as words and as their lowest bytes. The lanes' address is in rdi, two fields for bextr in ecx and edx; eax and ebx are
 * free. */
#define LEFT_0 "%%r8d", "%%r8b"
#define LEFT_1 "%%r9d", "%%r9b"
#define LEFT_2 "%%r10d", "%%r10b"
#define LEFT_3 "%%r11d", "%%r11b"
#define LEFT_4 "%%esi", "%%sil"
#define RIGHT_0 "%%r12d", "%%r12b"
#define RIGHT_1 "%%r13d", "%%r13b"
#define RIGHT_2 "%%r14d", "%%r14b"
#define RIGHT_3 "%%r15d", "%%r15b"
#define RIGHT_4 "%%ebp", "%%bpl"

/* The address of a word of the box of a lane, less what rdi is ahead. */
#define WORD(lane, word) #lane "*%c[stride]+4*(" word ")-%c[ahead]"
#define SUBSTITUTED(lane, box) WORD(lane, "18+256*" #box) "(%%rdi,%%rax,4)"

/* One step of one lane. shrx takes the lowest five bits of rdi as its distance: they are 24. */
#define STEP(...) STEP_OF(__VA_ARGS__)
#define STEP_OF(from, from_byte, to, to_byte, lane, word) \
    "shrxl %%edi, " from ", %%eax\n" \
    "movl " SUBSTITUTED(lane, 0) ", %%ebx\n" \
    "bextrl %%ecx, " from ", %%eax\n" \
    "addl " SUBSTITUTED(lane, 1) ", %%ebx\n" \
    "bextrl %%edx, " from ", %%eax\n" \
    "xorl " SUBSTITUTED(lane, 2) ", %%ebx\n" \
    "movzbl " from_byte ", %%eax\n" \
    "addl " SUBSTITUTED(lane, 3) ", %%ebx\n" \
    "xorl " WORD(lane, #word) "(%%rdi), " to "\n" \
    "xorl %%ebx, " to "\n"

#define CLEAR(...) CLEAR_OF(__VA_ARGS__)
#define CLEAR_OF(left, left_byte, right, right_byte, lane) "xorl " left ", " left "\nxorl " right ", " right "\n"
#define BEGIN(...) BEGIN_OF(__VA_ARGS__)
#define BEGIN_OF(left, left_byte, right, right_byte, lane) "xorl " WORD(lane, "0") "(%%rdi), " left "\n"
/* The halves change places, and are the next two words of the box; ebx has the number of the block. */
#define END(...) END_OF(__VA_ARGS__)
#define END_OF(left, left_byte, right, right_byte, lane) \
    "xorl " WORD(lane, "17") "(%%rdi), " right "\n" \
    "movl " left ", %%eax\n" \
    "movl " right ", " left "\n" \
    "movl %%eax, " right "\n" \
    "movl " left ", " WORD(lane, "0") "(%%rdi,%%rbx,8)\n" \
    "movl " right ", " WORD(lane, "1") "(%%rdi,%%rbx,8)\n"

#define LANES_3(what) what(LEFT_0, RIGHT_0, 0) what(LEFT_1, RIGHT_1, 1) what(LEFT_2, RIGHT_2, 2)
#define LANES_4(what) LANES_3(what) what(LEFT_3, RIGHT_3, 3)
#define LANES_5(what) LANES_4(what) what(LEFT_4, RIGHT_4, 4)
#define LEFTS_3(word) STEP(LEFT_0, RIGHT_0, 0, word) STEP(LEFT_1, RIGHT_1, 1, word) STEP(LEFT_2, RIGHT_2, 2, word)
#define LEFTS_4(word) LEFTS_3(word) STEP(LEFT_3, RIGHT_3, 3, word)
#define LEFTS_5(word) LEFTS_4(word) STEP(LEFT_4, RIGHT_4, 4, word)
#define RIGHTS_3(word) STEP(RIGHT_0, LEFT_0, 0, word) STEP(RIGHT_1, LEFT_1, 1, word) STEP(RIGHT_2, LEFT_2, 2, word)
#define RIGHTS_4(word) RIGHTS_3(word) STEP(RIGHT_3, LEFT_3, 3, word)
#define RIGHTS_5(word) RIGHTS_4(word) STEP(RIGHT_4, LEFT_4, 4, word)

/* rbp may be the compiler's frame pointer, which cannot be asked for: it is put aside by hand. The stack is not touched. */
#define CHURN(width) \
    __asm__ volatile("movq %%rbp, %c[kept](%%rdi)\n" \
                     "movl $0, %c[block](%%rdi)\n" \
                     "movl $0x0810, %%ecx\n" \
                     "movl $0x0808, %%edx\n" LANES_##width(CLEAR) ".p2align 6\n" \
                     "1:\n" LANES_##width(BEGIN) \
                     LEFTS_##width(1) RIGHTS_##width(2) LEFTS_##width(3) RIGHTS_##width(4) \
                     LEFTS_##width(5) RIGHTS_##width(6) LEFTS_##width(7) RIGHTS_##width(8) \
                     LEFTS_##width(9) RIGHTS_##width(10) LEFTS_##width(11) RIGHTS_##width(12) \
                     LEFTS_##width(13) RIGHTS_##width(14) LEFTS_##width(15) RIGHTS_##width(16) \
                     "movl %c[block](%%rdi), %%ebx\n" LANES_##width(END) \
                     "incl %%ebx\n" \
                     "movl %%ebx, %c[block](%%rdi)\n" \
                     "cmpl %[blocks], %%ebx\n" \
                     "jne 1b\n" \
                     "movq %c[kept](%%rdi), %%rbp\n" \
                     : \
                     : "D"((char *)lanes + AHEAD), [stride] "i"(sizeof(struct lane)), [ahead] "i"(AHEAD), [blocks] "i"(BOX_WORDS / 2), \
                       [kept] "i"(offsetof(struct lane, aside) - AHEAD), [block] "i"(offsetof(struct lane, aside) + 8 - AHEAD) \
                     : "rax", "rbx", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "cc", "memory")

enum { AHEAD = 24 };
_Static_assert(_Alignof(struct lane) % 32 == 0 && AHEAD % 32 == 24, "the lowest five bits of the lanes' address are a distance");
_Static_assert(LEAST_BY_HAND == 3 && MOST_BY_HAND == 5, "each width has its own case below");

int hand_is_known(void) { return __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2"); }

void churn_by_hand(struct lane *lanes, int count) {
    switch (count) {
        case 3: CHURN(3); break;
        case 4: CHURN(4); break;
        case 5: CHURN(5); break;
        default: break;
    }
}

#else

int hand_is_known(void) { return 0; }

void churn_by_hand(struct lane *lanes, int count) {
    (void)lanes;
    (void)count;
}

#endif
