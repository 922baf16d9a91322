#include "common.cu"

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
