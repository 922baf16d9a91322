#include "common.cu"

// What steps and windows compute for one unit of one sequence.

// Of a plain RNN: the activation, and its derivative where it gave y.
DEVICE A activation(A x, bool is_relu) {
    return is_relu ? (x < 0 ? (A)0 : x) : tanh(x);
}
DEVICE A slope_at(A y, bool is_relu) { return is_relu ? (A)(y > 0) : 1 - y * y; }

// From the gradients of h and c to those of the gates, at ``at``; return that of the c
// before.
DEVICE A lstm_gradients(const T* gates, int64 at, int H, A tanh_c, A c_prev, A dh,
                        A dc, bool is_on, T* gz) {
    A i = load(gates + at), f = load(gates + at + H);
    A g = load(gates + at + 2 * H), o = load(gates + at + 3 * H);
    A all = dc + dh * o * (1 - tanh_c * tanh_c);
    store(gz + at, is_on ? all * g * i * (1 - i) : (A)0);
    store(gz + at + H, is_on ? all * c_prev * f * (1 - f) : (A)0);
    store(gz + at + 2 * H, is_on ? all * i * (1 - g * g) : (A)0);
    store(gz + at + 3 * H, is_on ? dh * tanh_c * o * (1 - o) : (A)0);
    return is_on ? all * f : dc;
}

// The same of a GRU, and those of the product, ga; return what goes past the product.
DEVICE A gru_gradients(const T* gates, int64 at, int H, A inner, A h_prev, A dh,
                       bool is_on, T* gz, T* ga) {
    A r = load(gates + at), u = load(gates + at + H), y = load(gates + at + 2 * H);
    A dy = is_on ? dh * (1 - u) * (1 - y * y) : (A)0;
    A dr = dy * inner * r * (1 - r);
    A du = is_on ? dh * (h_prev - y) * u * (1 - u) : (A)0;
    store(gz + at, dr);
    store(gz + at + H, du);
    store(gz + at + 2 * H, dy);
    store(ga + at, dr);
    store(ga + at + H, du);
    store(ga + at + 2 * H, dy * r);
    return is_on ? dh * u : dh;
}
