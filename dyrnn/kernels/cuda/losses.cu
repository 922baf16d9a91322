#include "common.cu"

// One block per row: its maximum, then exponentials and their sum in one pass.
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
        store(e + start + v, is_counted ? x : (A)0);  // 0 also for NaN in ignored rows
    }
    total = block_reduce<true>(total, scratch);
    if (threadIdx.x == 0) {
        if (is_bad) total = NAN;
        store(loss + row, is_counted ? log(total) + (largest - target) : (A)0);
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
