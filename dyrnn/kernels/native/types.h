/* kernels.h for both types, and a table of what it makes; KIND is the kind of processor. */

#define JOIN_(f, type, kind) f##_##type##_##kind
#define JOIN(f, type, kind) JOIN_(f, type, kind)

#define real float
#define integer int32_t
#define unsigned_integer uint32_t
#define IS_DOUBLE 0
#define C(x) ((float)(x))
#define NAME(f) JOIN(f, float, KIND)
#define vector JOIN(vector, float, KIND)
#define MULTIPLY_ADD JOIN(multiply_add, float, KIND)
#define WIDTH ((int64_t)(BYTES / sizeof(float)))
#define LOG logf
#define SQRT sqrtf
#define LARGEST 87.f
#define MANTISSA 23
#define BIAS 127
#define ROUND 12582912.f /* 1.5 * 2^23: what is added to it has no fraction */
#define ROUND_BITS 0x4B400000
#define LN2_HIGH 0.693359375f
#define LN2_LOW -2.12194440e-4f
#include "kernels.h"

#define real double
#define integer int64_t
#define unsigned_integer uint64_t
#define IS_DOUBLE 1
#define C(x) (x)
#define NAME(f) JOIN(f, double, KIND)
#define vector JOIN(vector, double, KIND)
#define MULTIPLY_ADD JOIN(multiply_add, double, KIND)
#define WIDTH ((int64_t)(BYTES / sizeof(double)))
#define LOG log
#define SQRT sqrt
#define LARGEST 708.
#define MANTISSA 52
#define BIAS 1023
#define ROUND 6755399441055744. /* 1.5 * 2^52 */
#define ROUND_BITS 0x4338000000000000
#define LN2_HIGH 6.93145751953125e-1
#define LN2_LOW 1.42860682030941723212e-6
#include "kernels.h"

#define NAME(f) {JOIN(f, float, KIND), JOIN(f, double, KIND)}
#define RULE(name, ...) NAME(name),
static const Kernel JOIN(table, of, KIND)[][2] = {
    NAME(lstm_gates),    NAME(lstm_gates_backward),
    NAME(lstm_forward),  NAME(lstm_backward),
    NAME(gru_gates),     NAME(gru_gates_backward),
    NAME(gru_forward),   NAME(gru_backward),
    NAME(rnn_forward),   NAME(rnn_backward),
    NAME(softmax_cross_entropy), NAME(matmul),
#include "rules.h"
};
#undef RULE
#undef NAME
