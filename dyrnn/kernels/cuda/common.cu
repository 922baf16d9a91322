// What all kernels share. They need no header. T is the type in memory and A the type to
// compute in, which differ for half precision; ``load`` and ``store`` go between them.
// One of FLOAT32, FLOAT64 and FLOAT16 is defined. Whatever differs between a GPU and a
// compiler for the host is a macro, so that the tests run the same text without a GPU.
// Sums are added up in an order that is fixed by the sizes, never by atomic operations:
// a run can be repeated bit by bit.

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

#if defined(FLOAT32)
typedef float T, A;
typedef float2 T2;
typedef float4 T4;
#elif defined(FLOAT64)
typedef double T, A;
#else
typedef unsigned short T;
typedef ushort2 T2;
typedef ushort4 T4;
typedef float A;
#endif

#if !defined(FLOAT16)
DEVICE A widen(T x) { return x; }
DEVICE A load(const T* p) { return *p; }
DEVICE A load_fresh(const T* p) { return __ldcg(p); }
DEVICE void store(T* p, A x) { *p = x; }
#elif defined(EMULATED)
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

DEVICE int64 id_at(const void* ids, int is_wide, int64 n) {
    return is_wide ? ((const int64*)ids)[n] : ((const int*)ids)[n];
}
