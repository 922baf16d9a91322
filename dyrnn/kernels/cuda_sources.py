"""The CUDA kernels, as text; the other ``cuda_*`` files compile and call them.

They need no header. ``T`` is the type in memory and ``A`` the type to compute in, which
differ for half precision; ``load`` and ``store`` go between them. Whatever differs
between a GPU and a compiler for the host is a macro in ``MACROS``, so the tests run the
same text without a GPU. Sums are added up in an order that is fixed by the sizes, never
by atomic operations: a run can be repeated bit by bit.
"""

from dyrnn.kernels.cuda_layers import STEPS, WINDOW

MACROS = r"""
#ifndef EMULATED
#define KERNEL extern "C" __global__
#define DEVICE __device__ __forceinline__
#define SHARED(type, name) \
    extern __shared__ __align__(16) double shared_memory[]; \
    type* name = reinterpret_cast<type*>(shared_memory)
#define PAUSE()
#define NAN __int_as_float(0x7fffffff)
#define BOUND(threads) __launch_bounds__(threads, 1)
#endif
#define ALL_LANES 0xffffffffu
typedef long long int64;
typedef unsigned long long uint64;
"""

FULL = r"""
DEVICE A widen(T x) { return x; }
DEVICE A load(const T* p) { return *p; }
DEVICE A load_fresh(const T* p) { return __ldcg(p); }
DEVICE void store(T* p, A x) { *p = x; }
"""
HALF = r"""
#ifdef EMULATED
DEVICE A widen(T h) { return from_half(h); }
DEVICE A load(const T* p) { return from_half(*p); }
DEVICE A load_fresh(const T* p) { return load(p); }
DEVICE void store(T* p, A x) { *p = to_half(x); }
#else
DEVICE A widen(T h) { A x; asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(h)); return x; }
DEVICE A load(const T* p) { return widen(*p); }
DEVICE A load_fresh(const T* p) { return widen(__ldcg(p)); }
DEVICE void store(T* p, A x) {
    T h; asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(x)); *p = h;
}
#endif
"""
TYPES = {
    "float32": "typedef float T, A; typedef float2 T2; typedef float4 T4;" + FULL,
    "float64": "typedef double T, A;" + FULL,
    "float16": "typedef unsigned short T; typedef ushort2 T2; typedef ushort4 T4;"
    "typedef float A;" + HALF,
}

HELPERS = r"""
DEVICE int64 position() { return (int64)blockIdx.x * blockDim.x + threadIdx.x; }
DEVICE A sigmoid(A x) { return 1 / (1 + exp(-x)); }

template <typename X> DEVICE X warp_sum(X x) {
    for (int offset = 16; offset > 0; offset /= 2)
        x += __shfl_xor_sync(ALL_LANES, x, offset);
    return x;
}

template <typename X> DEVICE X warp_max(X x) {
    for (int offset = 16; offset > 0; offset /= 2) {
        X other = __shfl_xor_sync(ALL_LANES, x, offset);
        x = other > x ? other : x;
    }
    return x;
}

// The whole block's sum or maximum, for all of its threads; scratch has 32 numbers.
template <bool is_sum, typename X> DEVICE X block_reduce(X x, X* scratch) {
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    x = is_sum ? warp_sum(x) : warp_max(x);
    __syncthreads();
    if (lane == 0) scratch[warp] = x;
    __syncthreads();
    x = scratch[lane < warps ? lane : 0];
    if (is_sum && lane >= warps) x = 0;
    return is_sum ? warp_sum(x) : warp_max(x);
}
"""

# One block per row: its maximum, then exponentials and their sum in one pass.
LOSS = r"""
DEVICE int64 id_at(const void* ids, int is_wide, int64 n) {
    return is_wide ? ((const int64*)ids)[n] : ((const int*)ids)[n];
}

KERNEL void softmax_cross_entropy(int V, int64 ignored, int is_wide, const T* logits,
                                  const void* labels, T* e, T* loss, T* inverse) {
    SHARED(A, scratch);
    int64 row = blockIdx.x, start = row * V, label = id_at(labels, is_wide, row);
    bool is_counted = label != ignored;
    bool is_bad = is_counted && (label < 0 || label >= V);
    A target = is_counted && !is_bad ? load(logits + start + label) : (A)0;
    A largest = load(logits + start), total = 0;
    for (int v = threadIdx.x; v < V; v += blockDim.x) {
        A x = load(logits + start + v);
        largest = x > largest ? x : largest;
    }
    largest = block_reduce<false>(largest, scratch);
    for (int v = threadIdx.x; v < V; v += blockDim.x) {
        A x = exp(load(logits + start + v) - largest);
        total += x;
        store(e + start + v, x);
    }
    total = block_reduce<true>(total, scratch);
    if (threadIdx.x == 0) {
        if (is_bad) total = NAN;
        store(loss + row, is_counted ? log(total) + largest - target : (A)0);
        store(inverse + row, is_counted ? 1 / total : (A)0);
        if (is_counted && !is_bad)
            store(e + start + label, load(e + start + label) - total);
    }
}

// One block. A divisor of 0 stands for the number of labels that count.
KERNEL void mean_loss(int64 N, int64 ignored, int is_wide, double divisor,
                      const void* labels, const T* loss, const T* inverse, T* mean,
                      T* scale) {
    SHARED(double, scratch);
    double count = 0, sum = 0;
    for (int64 n = threadIdx.x; n < N; n += blockDim.x)
        if (id_at(labels, is_wide, n) != ignored) {
            count += 1;
            sum += load(loss + n);
        }
    count = block_reduce<true>(count, scratch);
    sum = block_reduce<true>(sum, scratch);
    double factor = 1 / (divisor ? divisor : count > 1 ? count : 1);
    for (int64 n = threadIdx.x; n < N; n += blockDim.x) {
        bool is_counted = id_at(labels, is_wide, n) != ignored;
        store(scale + n, is_counted ? load(inverse + n) * (A)factor : (A)0);
    }
    if (threadIdx.x == 0) store(mean, (A)(sum * factor));
}

// One block per id.
KERNEL void take_rows(int64 V, int64 D, int has_ignored, int64 ignored, int is_wide,
                      const T* W, const void* ids, T* y) {
    int64 row = blockIdx.x, id = id_at(ids, is_wide, row);
    bool is_ignored = has_ignored && id == ignored, is_bad = id < 0 || id >= V;
    A instead = is_ignored ? (A)0 : (A)NAN;
    for (int64 d = threadIdx.x; d < D; d += blockDim.x)
        store(y + row * D + d, is_ignored || is_bad ? instead : load(W + id * D + d));
}

// Rows sorted by id: the block of the first one of an id adds them all.
KERNEL void add_rows(int64 N, int64 V, int64 D, const int64* ids, const int64* order,
                     const T* rows, T* target) {
    int64 first = blockIdx.x, id = ids[first];
    if (id < 0 || id >= V || (first > 0 && ids[first - 1] == id)) return;
    for (int64 d = threadIdx.x; d < D; d += blockDim.x) {
        A sum = load(target + id * D + d);
        for (int64 n = first; n < N && ids[n] == id; n++)
            sum += load(rows + order[n] * D + d);
        store(target + id * D + d, sum);
    }
}
"""

# Philox4x64-10 of Salmon et al. (2011), as numpy.random.Philox runs it: a thread makes
# one block of four words; those left over from the host's last block come first.
MASK = r"""
struct Stream { uint64 counter[4]; uint64 key[2]; uint64 buffer[4]; int64 left; };

DEVICE void philox(uint64 (&c)[4], uint64 k0, uint64 k1) {
    const uint64 m0 = 0xD2E7470EE14C6C93ull, m1 = 0xCA5A826395121157ull;
    for (int round = 0; round < 10; round++) {
        uint64 high0 = __umul64hi(m0, c[0]), low0 = m0 * c[0];
        uint64 high1 = __umul64hi(m1, c[2]), low1 = m1 * c[2];
        c[0] = high1 ^ c[1] ^ k0;
        c[1] = low1;
        c[2] = high0 ^ c[3] ^ k1;
        c[3] = low0;
        k0 += 0x9E3779B97F4A7C15ull;
        k1 += 0xBB67AE8584CAA73Bull;
    }
}

KERNEL void dropout_mask(int64 size, int threshold, double scale, Stream s, T* mask) {
    int64 block = position(), first = s.left + 4 * (block - 1);
    uint64 words[4], carry = (uint64)block;
    for (int k = 0; k < 4; k++) {
        words[k] = block == 0 ? s.buffer[k] : s.counter[k] + carry;
        carry = words[k] < carry;
    }
    if (block > 0) philox(words, s.key[0], s.key[1]);
    #pragma unroll
    for (int k = 0; k < 4; k++)
        #pragma unroll
        for (int part = 0; part < 4; part++) {
            int64 n = 4 * (first + k) + part;
            int bits = (int)(words[k] >> (16 * part) & 0xffff);
            bool is_in = n >= 0 && n < size;  // words used before come first
            if (is_in) store(mask + n, bits >= threshold ? (A)scale : (A)0);
        }
}
"""

# Many arrays in one launch: a table of pointers is passed by value, and blocks of CHUNK
# elements are dealt to the arrays one after the other.
MANY = r"""
#define MANY 24
#define CHUNK 4096
struct Table {
    int64 size[MANY];
    T* p[MANY];
    const T* g[MANY];
    A* s0[MANY];
    A* s1[MANY];
    A* s2[MANY];
    double rate[MANY];
    int first[MANY + 1];  // number of each array's first block
    int count;
};

struct Place { int array; int64 start, stop; };

DEVICE Place place(const Table& table) {
    Place here;
    here.array = 0;
    while ((int)blockIdx.x >= table.first[here.array + 1]) here.array++;
    here.start = (int64)(blockIdx.x - table.first[here.array]) * CHUNK;
    here.stop = here.start + CHUNK;
    if (here.stop > table.size[here.array]) here.stop = table.size[here.array];
    return here;
}

KERNEL void partial_squares(Table table, double* parts) {
    SHARED(double, scratch);
    Place here = place(table);
    double sum = 0;
    for (int64 n = here.start + threadIdx.x; n < here.stop; n += blockDim.x) {
        double x = load(table.p[here.array] + n);
        sum += x * x;
    }
    sum = block_reduce<true>(sum, scratch);
    if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

// One block per array.
KERNEL void add_squares(Table table, const double* parts, double* squares, bool* bad) {
    SHARED(double, scratch);
    double sum = 0;
    for (int n = table.first[blockIdx.x] + threadIdx.x;
         n < table.first[blockIdx.x + 1]; n += blockDim.x)
        sum += parts[n];
    sum = block_reduce<true>(sum, scratch);
    if (threadIdx.x == 0) {
        squares[blockIdx.x] = sum;
        bad[blockIdx.x] = !isfinite(sum);
    }
}

KERNEL void clip(Table table, double threshold, int arrays, const double* squares) {
    double sum = 0;
    for (int i = 0; i < arrays; i++) sum += squares[i];
    double norm = sqrt(sum);
    if (norm <= threshold) return;
    Place here = place(table);
    A rate = (A)(threshold / norm);
    for (int64 n = here.start + threadIdx.x; n < here.stop; n += blockDim.x) {
        T* p = table.p[here.array] + n;
        store(p, isfinite(norm) ? load(p) * rate : (A)0);
    }
}
"""

UPDATE = r"""
struct Numbers { double k[8]; };

KERNEL void update(Table table, Numbers numbers) {
    Place here = place(table);
    int i = here.array;
    A k[8], rate = (A)table.rate[i];
    for (int j = 0; j < 8; j++) k[j] = (A)numbers.k[j];
    for (int64 n = here.start + threadIdx.x; n < here.stop; n += blockDim.x) {
        A p = load(table.p[i] + n), g = load(table.g[i] + n) * rate;
        A s0 = table.s0[i] ? table.s0[i][n] : (A)0;
        A s1 = table.s1[i] ? table.s1[i][n] : (A)0;
        A s2 = table.s2[i] ? table.s2[i][n] : (A)0;
        RULE
        store(table.p[i] + n, p);
        if (table.s0[i]) table.s0[i][n] = s0;
        if (table.s1[i]) table.s1[i][n] = s1;
        if (table.s2[i]) table.s2[i][n] = s2;
    }
}
"""

# The rules of dyrnn.optimizers: k are the class's ``numbers``, s0 to s2 its states.
RULES = {
    "SGD": "p -= k[0] * g;",
    "MomentumSGD": "s0 = k[1] * s0 - k[0] * g; p += s0;",
    "NesterovAG": "s0 = k[1] * s0 - k[0] * g; p += k[1] * s0 - k[0] * g;",
    "AdaGrad": "s0 += g * g; p -= k[0] * g / (sqrt(s0) + k[1]);",
    "AdaDelta": """
        s0 = k[0] * s0 + (1 - k[0]) * g * g;
        g *= sqrt((s1 + k[1]) / (s0 + k[1]));
        s1 = k[0] * s1 + (1 - k[0]) * g * g;
        p -= g;""",
    "RMSprop": """
        s0 = k[1] * s0 + (1 - k[1]) * g * g;
        p -= k[0] * g / (sqrt(s0) + k[2]);""",
    "RMSpropGraves": """
        s0 = k[1] * s0 + (1 - k[1]) * g * g;
        s1 = k[1] * s1 + (1 - k[1]) * g;
        s2 = k[2] * s2 - k[0] * g / sqrt(s0 - s1 * s1 + k[3]);
        p += s2;""",
    "Adam": """
        s0 = k[1] * s0 + (1 - k[1]) * g;
        s1 = k[2] * s1 + (1 - k[2]) * g * g;
        A v = s1;
        if (table.s2[i]) { s2 = s2 > s1 ? s2 : s1; v = s2; }
        p = p * (1 - k[4]) - k[0] * s0 / (sqrt(v) + k[3]);""",
    "SMORMS3": """
        A r = 1 / (s0 + 1);
        s1 += r * (g - s1);
        s2 += r * (g * g - s2);
        A x = s1 * s1 / (s2 + k[1]);
        p -= g * (x < k[0] ? x : k[0]) / (sqrt(s2) + k[1]);
        s0 = s0 * (1 - x) + 1;""",
}


MODULES = {"steps": STEPS, "window": WINDOW, "loss": LOSS, "mask": MASK, "many": MANY}
MODULES |= {rule: MANY + UPDATE.replace("RULE", text) for rule, text in RULES.items()}


def source(module, dtype, **constants):
    """Return the text of one of MODULES for arrays of ``dtype``."""
    defines = "".join(f"#define {key} {value}\n" for key, value in constants.items())
    return defines + MACROS + TYPES[str(dtype)] + HELPERS + MODULES[module]
