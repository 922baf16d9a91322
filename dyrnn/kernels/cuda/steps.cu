#include "cells.cu"

// One step of a recurrent layer, one thread per sequence and unit. Pointers that a
// caller has no use for are null. ``later`` and ``rest`` are what comes back from the
// step after: through the product, and past it.

DEVICE A optional(const T* p, int64 at) { return p ? load(p + at) : (A)0; }

KERNEL void lstm_step(int B, int H, T* z, const T* a, const T* c_prev, const T* h_prev,
                      const bool* mask, T* c, T* tanh_c, T* h) {
    int64 n = position();
    if (n >= (int64)B * H) return;
    int64 row = n / H, at = row * 4 * H + n % H;
    A i = sigmoid(load(z + at) + optional(a, at));
    A f = sigmoid(load(z + at + H) + optional(a, at + H));
    A g = tanh(load(z + at + 2 * H) + optional(a, at + 2 * H));
    A o = sigmoid(load(z + at + 3 * H) + optional(a, at + 3 * H));
    store(z + at, i);
    store(z + at + H, f);
    store(z + at + 2 * H, g);
    store(z + at + 3 * H, o);
    A before = load(c_prev + n), next = f * before + i * g, t = tanh(next);
    if (tanh_c) store(tanh_c + n, t);
    bool is_on = !mask || mask[row];
    store(c + n, is_on ? next : before);
    store(h + n, is_on ? o * t : load(h_prev + n));
}

KERNEL void lstm_step_backward(int B, int H, const T* gates, const T* c_prev,
                               const T* c, const T* tanh_c, const T* gh,
                               const T* later, const T* rest, const T* gc,
                               const bool* mask, T* gz, T* gc_prev, T* gh_rest) {
    int64 n = position();
    if (n >= (int64)B * H) return;
    int64 row = n / H, at = row * 4 * H + n % H;
    A t = tanh_c ? load(tanh_c + n) : tanh(load(c + n)), before = load(c_prev + n);
    A dh = optional(gh, n) + optional(later, n) + optional(rest, n);
    A dc = optional(gc, n);
    bool is_on = !mask || mask[row];
    store(gc_prev + n, lstm_gradients(gates, at, H, t, before, dh, dc, is_on, gz));
    if (gh_rest) store(gh_rest + n, is_on ? (A)0 : dh);
}

KERNEL void gru_step(int B, int H, T* z, const T* a, const T* b, const T* h_prev,
                     const bool* mask, T* inner, T* h) {
    int64 n = position();
    if (n >= (int64)B * H) return;
    int64 row = n / H, unit = n % H, at = row * 3 * H + unit;
    A r = sigmoid(load(z + at) + load(a + at));
    A u = sigmoid(load(z + at + H) + load(a + at + H));
    A product = load(a + at + 2 * H) + optional(b, unit);
    A y = tanh(load(z + at + 2 * H) + r * product), before = load(h_prev + n);
    store(z + at, r);
    store(z + at + H, u);
    store(z + at + 2 * H, y);
    if (inner) store(inner + n, product);
    store(h + n, !mask || mask[row] ? (1 - u) * y + u * before : before);
}

// The product inside the candidate is inner[row * stride + unit].
KERNEL void gru_step_backward(int B, int H, const T* gates, const T* inner, int stride,
                              const T* h_prev, const T* gh, const T* later,
                              const T* rest, const bool* mask, T* gz, T* ga,
                              T* gh_rest) {
    int64 n = position();
    if (n >= (int64)B * H) return;
    int64 row = n / H, unit = n % H, at = row * 3 * H + unit;
    A dh = optional(gh, n) + optional(later, n) + optional(rest, n);
    A product = load(inner + row * stride + unit), before = load(h_prev + n);
    bool is_on = !mask || mask[row];
    A past = gru_gradients(gates, at, H, product, before, dh, is_on, gz, ga);
    store(gh_rest + n, past);
}

KERNEL void rnn_step(int B, int H, int is_relu, const T* z, const T* a,
                     const T* h_prev, const bool* mask, T* h) {
    int64 n = position();
    if (n >= (int64)B * H) return;
    A y = activation(load(z + n) + load(a + n), is_relu);
    store(h + n, !mask || mask[n / H] ? y : load(h_prev + n));
}

KERNEL void rnn_step_backward(int B, int H, int is_relu, const T* h, const T* gh,
                              const T* later, const T* rest, const bool* mask, T* gz,
                              T* gh_rest) {
    int64 n = position();
    if (n >= (int64)B * H) return;
    A y = load(h + n), dh = optional(gh, n) + optional(later, n) + optional(rest, n);
    bool is_on = !mask || mask[n / H];
    store(gz + n, is_on ? dh * slope_at(y, is_relu) : (A)0);
    if (gh_rest) store(gh_rest + n, is_on ? (A)0 : dh);
}
