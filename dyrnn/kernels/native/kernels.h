/* The kernels, once for each type of numbers and each kind of processor.

   `real` is the type, NAME(f) the name of a function for it. A kernel reads its arguments
   from a table, in the order of its declaration in the Python file beside this one, and
   does one of `parts` parts of the work, each in a thread of its own. All parts run at the
   same time, so they can wait for each other: meet(). Nothing is added up in an order that
   depends on the processor, and no product is fused with a sum: but for the products of
   matrices, which NumPy's BLAS makes, every processor computes the same bits. */

/* e^x = 2^k e^r, |r| <= ln(2) / 2, e^r by its series; 2^k as the bits of a number. */
static inline ALWAYS real NAME(series)(real r) {
#if IS_DOUBLE
  real p = C(1.) / 479001600;
  p = p * r + C(1.) / 39916800;
  p = p * r + C(1.) / 3628800;
  p = p * r + C(1.) / 362880;
  p = p * r + C(1.) / 40320;
  p = p * r + C(1.) / 5040;
#else
  real p = C(1.) / 5040;
#endif
  p = p * r + C(1.) / 720;
  p = p * r + C(1.) / 120;
  p = p * r + C(1.) / 24;
  p = p * r + C(1.) / 6;
  p = p * r + C(0.5);
  return p * r * r + r; /* e^r - 1, exact where r is small */
}

/* e^x - 1 = 2^k (e^r - 1) + (2^k - 1) as its two terms. */
static inline ALWAYS void NAME(split)(real x, real *scale, real *less_one) {
  x = x < -LARGEST ? -LARGEST : x; /* NaN stays NaN */
  x = x > LARGEST ? LARGEST : x;
  real shifted = x * C(1.4426950408889634) + ROUND; /* rounds x / ln 2, into the low bits */
  real k = shifted - ROUND;
  real r = x - k * LN2_HIGH;
  r = r - k * LN2_LOW;
  integer bits;
  memcpy(&bits, &shifted, sizeof bits);
  bits = (integer)((unsigned_integer)(bits - ROUND_BITS + BIAS) << MANTISSA);
  memcpy(scale, &bits, sizeof bits);
  *less_one = NAME(series)(r);
}

static inline ALWAYS real NAME(exponential)(real x) {
  real scale, p;
  NAME(split)(x, &scale, &p);
  real y = scale * p + scale;
  return x < -LARGEST ? 0 : y;
}

/* 0 at -infinity, so that a gate which is shut for good has no slope. */
static inline ALWAYS real NAME(sigmoid)(real x) {
  real scale, p;
  NAME(split)(-x, &scale, &p);
  real y = 1 / (1 + (scale * p + scale));
  return x < -LARGEST ? 0 : y;
}

/* tanh(x) = E / (E + 2) with E = e^2x - 1 */
static inline ALWAYS real NAME(tangent)(real x) {
  real scale, p;
  NAME(split)(2 * x, &scale, &p);
  real E = scale * p + (scale - 1);
  return E / (E + 2);
}

#include "products.h"

/* What a part has of a layer: sequences first..last of the batch, units low..high. With
   many sequences parts share them, and never wait; with few, they share the units, and
   wait for the others' states in every step. */
typedef struct {
  int64_t T, B, H, first, last, low, high, n, w;
  int is_shared;
} NAME(Share);

static inline NAME(Share) NAME(share)(int64_t T, int64_t B, int64_t H, int by_units, int part,
                                      int parts) {
  NAME(Share) s = {T, B, H, 0, B, 0, H, B, H, by_units && parts > 1};
  if (s.is_shared) {
    s.low = H * part / parts;
    s.high = H * (part + 1) / parts;
  } else {
    s.first = B * part / parts;
    s.last = B * (part + 1) / parts;
  }
  s.n = s.last - s.first;
  s.w = s.high - s.low;
  return s;
}

/* Pack b (k, gates * H) in its columns of this share's units, and return it packed. `room` has
   place for all of it: parts that share the units fill a region each, others all of it
   together. */
static const real *NAME(packed)(int64_t k, int64_t gates, const real *b, int64_t row,
                                int64_t column, int64_t gap, real *room, NAME(Share) s, int part,
                                int parts) {
  int64_t first = 0, last = k;
  room = NAME(aligned)(room);
  if (s.is_shared) {
    int64_t columns = gates * ((s.H + parts - 1) / parts);
    room += part * k * ((columns + PANEL - 1) / PANEL * PANEL);
  } else {
    first = k * part / parts;
    last = k * (part + 1) / parts;
  }
  NAME(Matrix) columns_of_b = {(real *)b + s.low * column, row, column};
  NAME(pack)(k, gates * s.w, columns_of_b, s.w, gap, first, last, room);
  if (!s.is_shared) meet(parts);
  return room;
}

/* U (gates * H, H) of some gates, for h U^T and for gz U */
#define FORWARD(U, gates, room) \
  NAME(packed)(H, gates, U, 1, H, H * H, room, s, part, parts)
#define BACKWARD(U, rows, room) NAME(packed)(rows, 1, U, H, 1, 0, room, s, part, parts)

#define EACH(j, n) for (int64_t j = 0; j < (n); j++)
#define ROW(b) for (int64_t b = s.first; b < s.last; b++)
#define WAIT() do { if (s.is_shared) meet(parts); } while (0)

/* One row of an LSTM: z becomes the gates' values, a is what the state adds; `gap` is from
   gate to gate. */
static inline ALWAYS void NAME(lstm_row)(real *restrict z, int64_t gap, const real *restrict a,
                                         int64_t a_gap, int64_t w, const real *restrict c0, real *restrict c,
                                         real *restrict h, real *restrict tanh_c) {
  real *restrict i = z, *restrict f = z + gap, *restrict g = z + 2 * gap;
  real *restrict o = z + 3 * gap;
  EACH(j, w) {
    i[j] = NAME(sigmoid)(i[j] + a[j]);
    f[j] = NAME(sigmoid)(f[j] + a[a_gap + j]);
  }
  EACH(j, w) {
    g[j] = NAME(tangent)(g[j] + a[2 * a_gap + j]);
    o[j] = NAME(sigmoid)(o[j] + a[3 * a_gap + j]);
  }
  EACH(j, w) {
    real next = f[j] * c0[j] + i[j] * g[j], t = NAME(tangent)(next);
    c[j] = next;
    h[j] = o[j] * t;
    tanh_c[j] = t;
  }
}

/* Gradients of a row; dc is replaced by that of the state before. */
static inline ALWAYS void NAME(lstm_row_backward)(const real *restrict z, real *restrict gz,
                                                  int64_t gap, int64_t w, const real *restrict c0,
                                                  const real *restrict t, const real *restrict dh,
                                                  real *restrict dc) {
  EACH(j, w) {
    real i = z[j], f = z[gap + j], g = z[2 * gap + j], o = z[3 * gap + j];
    real d = dc[j] + dh[j] * o * (1 - t[j] * t[j]);
    gz[j] = d * g * (i * (1 - i));
    gz[gap + j] = d * c0[j] * (f * (1 - f));
    gz[2 * gap + j] = d * i * (1 - g * g);
    gz[3 * gap + j] = dh[j] * t[j] * (o * (1 - o));
    dc[j] = d * f;
  }
}

static void NAME(lstm_gates)(const Slot *s, int part, int parts) {
  real *a = s[0].array, *c0 = s[1].array, *x = s[2].array, *c = s[3].array;
  real *tanh_c = s[4].array, *h = s[5].array;
  int64_t B = s[6].size, H = s[7].size;
  for (int64_t b = B * part / parts; b < B * (part + 1) / parts; b++) {
    int64_t o = b * H;
    NAME(lstm_row)(a + 4 * o, H, x + 4 * o, H, H, c0 + o, c + o, h + o, tanh_c + o);
  }
}

static void NAME(lstm_gates_backward)(const Slot *s, int part, int parts) {
  real *z = s[0].array, *c0 = s[1].array, *tanh_c = s[2].array, *gh = s[3].array;
  real *gz = s[4].array, *gc = s[5].array;
  int64_t B = s[6].size, H = s[7].size;
  for (int64_t b = B * part / parts; b < B * (part + 1) / parts; b++) {
    int64_t o = b * H;
    NAME(lstm_row_backward)(z + 4 * o, gz + 4 * o, H, H, c0 + o, tanh_c + o, gh + o, gc + o);
  }
}

static void NAME(lstm_forward)(const Slot *a, int part, int parts) {
  real *z = a[0].array, *h = a[1].array, *c = a[2].array, *U = a[3].array, *room = a[4].array;
  real *scratch = a[5].array;
  unsigned char *mask = a[6].array;
  NAME(Share) s = NAME(share)(a[7].size, a[8].size, a[9].size, (int)a[10].size, part, parts);
  int64_t H = s.H, G = 4 * H;
  const real *UT = FORWARD(U, 4, room);
  /* products (B, 4H) of all parts side by side, then a row of tanh(c) for each */
  real *p = scratch + (s.is_shared ? 4 * s.low * s.B : s.first * G);
  real *tanh_c = scratch + s.B * G + part * H;
  for (int64_t t = 0; t < s.T; t++) {
    int64_t now = t * s.B * H, next = now + s.B * H;
    NAME(product)(s.n, 4 * s.w, H, h + now + s.first * H, H, UT, p, 4 * s.w);
    ROW(b) {
      int64_t o = b * H + s.low;
      if (mask && !mask[t * s.B + b]) {
        memcpy(h + next + o, h + now + o, s.w * sizeof(real));
        memcpy(c + next + o, c + now + o, s.w * sizeof(real));
        continue;
      }
      NAME(lstm_row)(z + (now + b * H) * 4 + s.low, H, p + (b - s.first) * 4 * s.w, s.w, s.w,
                     c + now + o, c + next + o, h + next + o, tanh_c);
    }
    WAIT();
  }
}

static void NAME(lstm_backward)(const Slot *a, int part, int parts) {
  real *gh = a[0].array, *z = a[1].array, *c = a[2].array, *U = a[3].array;
  real *gz = a[4].array, *dh = a[5].array, *dc = a[6].array, *room = a[7].array;
  real *scratch = a[8].array;
  unsigned char *mask = a[9].array;
  NAME(Share) s = NAME(share)(a[10].size, a[11].size, a[12].size, (int)a[13].size, part, parts);
  int64_t H = s.H, G = 4 * H;
  const real *UG = BACKWARD(U, G, room);
  real *tanh_c = scratch + s.B * H + part * H;
  /* scratch (B, H): what comes from the later step; dh: its sum with gh */
  for (int64_t t = s.T - 1; t >= 0; t--) {
    int64_t now = t * s.B * H, next = now + s.B * H;
    ROW(b) {
      int64_t o = b * H + s.low;
      real *restrict d = dh + o, *later = scratch + o, *restrict gates = z + (now + b * H) * 4 + s.low;
      real *restrict out = gz + (now + b * H) * 4 + s.low, *restrict after = c + next + o;
      if (gh)
        EACH(j, s.w) d[j] = later[j] + gh[now + o + j];
      else
        EACH(j, s.w) d[j] = later[j];
      if (mask && !mask[t * s.B + b]) {
        EACH(g, 4) EACH(j, s.w) out[g * H + j] = 0;
        continue;
      }
      EACH(j, s.w) tanh_c[j] = NAME(tangent)(after[j]);
      NAME(lstm_row_backward)(gates, out, H, s.w, c + now + o, tanh_c, d, dc + o);
    }
    WAIT();
    NAME(product)(s.n, s.w, G, gz + (now + s.first * H) * 4, G, UG, scratch + s.first * H + s.low,
                  H);
    if (mask)
      ROW(b) if (!mask[t * s.B + b])
        memcpy(scratch + b * H + s.low, dh + b * H + s.low, s.w * sizeof(real));
  }
  ROW(b) memcpy(dh + b * H + s.low, scratch + b * H + s.low, s.w * sizeof(real));
}

/* One row of a GRU: ru is what the state adds to r and u, inner to n before the reset. */
static inline ALWAYS void NAME(gru_row)(real *restrict z, int64_t gap, const real *restrict a,
                                        int64_t a_gap, int64_t w, const real *restrict inner,
                                        const real *restrict h0, real *restrict h) {
  real *restrict r = z, *restrict u = z + gap, *restrict n = z + 2 * gap;
  EACH(j, w) {
    r[j] = NAME(sigmoid)(r[j] + a[j]);
    u[j] = NAME(sigmoid)(u[j] + a[a_gap + j]);
  }
  EACH(j, w) {
    real y = NAME(tangent)(n[j] + r[j] * inner[j]);
    n[j] = y;
    h[j] = (1 - u[j]) * y + u[j] * h0[j];
  }
}

static void NAME(gru_gates)(const Slot *s, int part, int parts) {
  real *z = s[0].array, *h0 = s[1].array, *a = s[2].array, *h = s[3].array;
  int64_t B = s[4].size, H = s[5].size;
  for (int64_t b = B * part / parts; b < B * (part + 1) / parts; b++) {
    real *row = a + 3 * b * H;
    NAME(gru_row)(z + 3 * b * H, H, row, H, H, row + 2 * H, h0 + b * H, h + b * H);
  }
}

/* Gradients of a row: of the gates' inputs gz, of r * inner if `ga` is there, and what of
   dh goes past the gates. */
static inline ALWAYS void NAME(gru_row_backward)(const real *restrict z, real *restrict gz,
                                                 real *restrict ga, int64_t gap, int64_t w,
                                                 const real *restrict inner,
                                                 const real *restrict h0, const real *restrict dh,
                                                 real *restrict past) {
  EACH(j, w) {
    real r = z[j], u = z[gap + j], n = z[2 * gap + j], d = dh[j];
    real g_n = d * (1 - u) * (1 - n * n), g_u = d * (h0[j] - n) * (u * (1 - u));
    real g_r = g_n * inner[j] * (r * (1 - r));
    gz[j] = ga[j] = g_r;
    gz[gap + j] = ga[gap + j] = g_u;
    gz[2 * gap + j] = g_n;
    ga[2 * gap + j] = g_n * r;
    past[j] = d * u;
  }
}

static void NAME(gru_gates_backward)(const Slot *s, int part, int parts) {
  real *gy = s[0].array, *z = s[1].array, *h = s[2].array, *a = s[3].array;
  real *gz = s[4].array, *ga = s[5].array, *gh = s[6].array;
  int64_t B = s[7].size, H = s[8].size;
  for (int64_t b = B * part / parts; b < B * (part + 1) / parts; b++) {
    int64_t o = b * H;
    NAME(gru_row_backward)(z + 3 * o, gz + 3 * o, ga + 3 * o, H, H, a + 3 * o + 2 * H, h + o,
                           gy + o, gh + o);
  }
}

static void NAME(gru_forward)(const Slot *a, int part, int parts) {
  real *z = a[0].array, *h = a[1].array, *inner = a[2].array, *U = a[3].array, *bias = a[4].array;
  real *room = a[5].array, *room_n = a[6].array, *scratch = a[7].array;
  unsigned char *mask = a[8].array;
  int is_after = room_n == NULL; /* the reset comes after the product */
  NAME(Share) s = NAME(share)(a[9].size, a[10].size, a[11].size, (int)a[12].size, part, parts);
  int64_t H = s.H, w = s.w, gates = is_after ? 3 : 2;
  const real *UT = FORWARD(U, gates, room);
  const real *UT_n = is_after ? NULL : FORWARD(U + 2 * H * H, 1, room_n);
  real *p = scratch + 3 * (s.is_shared ? s.low * s.B : s.first * H);
  for (int64_t t = 0; t < s.T; t++) {
    int64_t now = t * s.B * H, next = now + s.B * H;
    NAME(product)(s.n, gates * w, H, h + now + s.first * H, H, UT, p, 3 * w);
    if (is_after) {
      ROW(b) {
        real *restrict q = p + (b - s.first) * 3 * w + 2 * w;
        real *restrict into = inner + now + b * H + s.low;
        if (bias)
          EACH(j, w) into[j] = q[j] + bias[s.low + j];
        else
          EACH(j, w) into[j] = q[j];
      }
    } else {
      ROW(b) {
        int64_t o = b * H + s.low;
        real *restrict q = p + (b - s.first) * 3 * w, *restrict r = z + (now + b * H) * 3 + s.low;
        real *restrict into = inner + now + o, *restrict before = h + now + o;
        EACH(j, w) {
          r[j] = NAME(sigmoid)(r[j] + q[j]);
          into[j] = r[j] * before[j];
        }
      }
      WAIT();
      NAME(product)(s.n, w, H, inner + now + s.first * H, H, UT_n, p + 2 * w, 3 * w);
    }
    ROW(b) {
      int64_t o = b * H + s.low;
      real *restrict gates = z + (now + b * H) * 3 + s.low, *q = p + (b - s.first) * 3 * w;
      real *restrict before = h + now + o, *restrict after = h + next + o;
      if (mask && !mask[t * s.B + b]) {
        memcpy(after, before, w * sizeof(real));
      } else if (is_after) {
        NAME(gru_row)(gates, H, q, w, w, inner + now + o, before, after);
      } else {
        real *restrict u = gates + H, *restrict n = gates + 2 * H;
        EACH(j, w) u[j] = NAME(sigmoid)(u[j] + q[w + j]);
        EACH(j, w) {
          real y = NAME(tangent)(n[j] + q[2 * w + j]);
          n[j] = y;
          after[j] = (1 - u[j]) * y + u[j] * before[j];
        }
      }
    }
    WAIT();
  }
}

static void NAME(gru_backward)(const Slot *a, int part, int parts) {
  real *gh = a[0].array, *z = a[1].array, *inner = a[2].array, *h = a[3].array, *U = a[4].array;
  real *gz = a[5].array, *ga = a[6].array, *dh = a[7].array, *room = a[8].array;
  real *room_n = a[9].array, *scratch = a[10].array;
  unsigned char *mask = a[11].array;
  int is_after = ga != NULL;
  NAME(Share) s = NAME(share)(a[12].size, a[13].size, a[14].size, (int)a[15].size, part, parts);
  int64_t H = s.H, G = 3 * H, size = s.B * H, terms = is_after ? G : 2 * H;
  const real *UG = BACKWARD(U, terms, room);
  const real *UG_n = is_after ? NULL : BACKWARD(U + 2 * H * H, H, room_n);
  /* what comes from the later step by its product, what past it, and the gradient of r h */
  real *later = scratch, *past = scratch + size, *reset = scratch + 2 * size;
  for (int64_t t = s.T - 1; t >= 0; t--) {
    int64_t now = t * size;
    ROW(b) {
      int64_t o = b * H + s.low;
      real *restrict d = dh + o, *restrict l = later + o, *restrict q = past + o;
      real *restrict given = gh + now + o, *restrict out = gz + (now + b * H) * 3 + s.low;
      real *gates = z + (now + b * H) * 3 + s.low;
      EACH(j, s.w) d[j] = l[j] + q[j] + given[j];
      if (mask && !mask[t * s.B + b]) {
        EACH(g, 3) EACH(j, s.w) out[g * H + j] = 0;
        if (is_after) EACH(g, 3) EACH(j, s.w) ga[(now + b * H) * 3 + s.low + g * H + j] = 0;
        EACH(j, s.w) q[j] = d[j];
      } else if (is_after) {
        NAME(gru_row_backward)(gates, out, ga + (now + b * H) * 3 + s.low, H, s.w, inner + now + o,
                               h + now + o, d, q);
      } else {
        real *restrict u = gates + H, *restrict n = gates + 2 * H, *restrict before = h + now + o;
        EACH(j, s.w) {
          out[2 * H + j] = d[j] * (1 - u[j]) * (1 - n[j] * n[j]);
          out[H + j] = d[j] * (before[j] - n[j]) * (u[j] * (1 - u[j]));
          q[j] = d[j] * u[j];
        }
      }
    }
    WAIT();
    real *rows = (is_after ? ga : gz) + (now + s.first * H) * 3;
    if (!is_after) {
      NAME(product)(s.n, s.w, H, rows + 2 * H, G, UG_n, reset + s.first * H + s.low, H);
      ROW(b) {
        int64_t o = b * H + s.low;
        real *restrict out = gz + (now + b * H) * 3 + s.low, *restrict d = reset + o;
        real *restrict r = z + (now + b * H) * 3 + s.low, *restrict before = h + now + o;
        real *restrict q = past + o;
        if (mask && !mask[t * s.B + b]) continue;
        EACH(j, s.w) {
          out[j] = d[j] * before[j] * (r[j] * (1 - r[j]));
          q[j] += d[j] * r[j];
        }
      }
      WAIT();
    }
    NAME(product)(s.n, s.w, terms, rows, G, UG, later + s.first * H + s.low, H);
  }
  ROW(b) EACH(j, s.w) {
    int64_t o = b * H + s.low + j;
    dh[o] = later[o] + past[o];
  }
}

static void NAME(rnn_forward)(const Slot *a, int part, int parts) {
  real *z = a[0].array, *h = a[1].array, *U = a[2].array, *room = a[3].array;
  real *scratch = a[4].array;
  unsigned char *mask = a[5].array;
  int is_relu = (int)a[6].size;
  NAME(Share) s = NAME(share)(a[7].size, a[8].size, a[9].size, (int)a[10].size, part, parts);
  int64_t H = s.H;
  const real *UT = FORWARD(U, 1, room);
  real *p = scratch + (s.is_shared ? s.low * s.B : s.first * H);
  for (int64_t t = 0; t < s.T; t++) {
    int64_t now = t * s.B * H, next = now + s.B * H;
    NAME(product)(s.n, s.w, H, h + now + s.first * H, H, UT, p, s.w);
    ROW(b) {
      int64_t o = b * H + s.low;
      real *restrict x = z + now + o, *restrict q = p + (b - s.first) * s.w;
      real *restrict y = h + next + o;
      if (mask && !mask[t * s.B + b])
        memcpy(y, h + now + o, s.w * sizeof(real));
      else if (is_relu)
        EACH(j, s.w) y[j] = x[j] + q[j] < 0 ? 0 : x[j] + q[j];
      else
        EACH(j, s.w) y[j] = NAME(tangent)(x[j] + q[j]);
    }
    WAIT();
  }
}

static void NAME(rnn_backward)(const Slot *a, int part, int parts) {
  real *gh = a[0].array, *h = a[1].array, *U = a[2].array, *gz = a[3].array, *dh = a[4].array;
  real *room = a[5].array, *scratch = a[6].array;
  unsigned char *mask = a[7].array;
  int is_relu = (int)a[8].size;
  NAME(Share) s = NAME(share)(a[9].size, a[10].size, a[11].size, (int)a[12].size, part, parts);
  int64_t H = s.H;
  const real *UG = BACKWARD(U, H, room);
  for (int64_t t = s.T - 1; t >= 0; t--) {
    int64_t now = t * s.B * H;
    ROW(b) {
      int64_t o = b * H + s.low;
      real *restrict d = dh + o, *restrict later = scratch + o, *restrict given = gh + now + o;
      real *restrict out = gz + now + o, *restrict y = h + now + s.B * H + o;
      EACH(j, s.w) d[j] = later[j] + given[j];
      if (mask && !mask[t * s.B + b])
        EACH(j, s.w) out[j] = 0;
      else if (is_relu)
        EACH(j, s.w) out[j] = d[j] * (y[j] > 0 ? C(1.) : C(0.));
      else
        EACH(j, s.w) out[j] = d[j] * (1 - y[j] * y[j]);
    }
    WAIT();
    NAME(product)(s.n, s.w, H, gz + now + s.first * H, H, UG, scratch + s.first * H + s.low, H);
    if (mask)
      ROW(b) if (!mask[t * s.B + b])
        memcpy(scratch + b * H + s.low, dh + b * H + s.low, s.w * sizeof(real));
  }
  ROW(b) memcpy(dh + b * H + s.low, scratch + b * H + s.low, s.w * sizeof(real));
}

#define LANES 16 /* sums have so many terms at a time, on every processor */

static void NAME(softmax_cross_entropy)(const Slot *s, int part, int parts) {
  real *logits = s[0].array, *e = s[2].array, *loss = s[3].array, *inverse = s[4].array;
  int64_t *t = s[1].array, N = s[5].size, V = s[6].size, ignored = s[7].size;
  for (int64_t i = N * part / parts; i < N * (part + 1) / parts; i++) {
    const real *x = logits + i * V;
    real *y = e + i * V, lane[LANES], largest = -INFINITY, total = 0;
    int64_t label = t[i], j = 0;
    if (label == ignored) {
      memset(y, 0, V * sizeof(real));
      loss[i] = inverse[i] = 0;
      continue;
    }
    EACH(k, LANES) lane[k] = largest;
    for (; j + LANES <= V; j += LANES)
      EACH(k, LANES) lane[k] = x[j + k] > lane[k] ? x[j + k] : lane[k];
    EACH(k, LANES) largest = lane[k] > largest ? lane[k] : largest;
    for (; j < V; j++) largest = x[j] > largest ? x[j] : largest;
    int is_bad = label < 0 || label >= V;
    real target = is_bad ? (real)NAN : x[label] - largest;
    EACH(k, LANES) lane[k] = 0;
    for (j = 0; j + LANES <= V; j += LANES)
      EACH(k, LANES) {
        y[j + k] = NAME(exponential)(x[j + k] - largest);
        lane[k] += y[j + k];
      }
    for (; j < V; j++) lane[j % LANES] += y[j] = NAME(exponential)(x[j] - largest);
    EACH(k, LANES) total += lane[k];
    loss[i] = LOG(total) - target;
    inverse[i] = is_bad ? (real)NAN : 1 / total;
    if (!is_bad) y[label] -= total;
  }
}

/* The update rules: a part does a run of elements. */
#define A real
#define sqrt SQRT
#define NUMBER(k, name) const real name = (real)s[5 + k].number;
#define STATE(k, name) real *restrict array_##k = s[2 + k].array;
#define RULE(name, load, store, states, numbers, ...)                                        \
  static void NAME(name)(const Slot *s, int part, int parts) {                               \
    real *restrict parameters = s[0].array, *restrict gradients = s[1].array;                \
    int64_t size = s[13].size, start = size * part / parts, stop = size * (part + 1) / parts; \
    const real rate = (real)s[14].number;                                                    \
    states numbers                                                                           \
    for (int64_t element = start; element < stop; element++) {                               \
      real g = gradients[element] * rate, p = parameters[element];                           \
      load __VA_ARGS__ store                                                                 \
      parameters[element] = p;                                                               \
    }                                                                                        \
  }
#include "rules.h"
#undef RULE
#undef A
#undef sqrt
#undef EACH
#undef ROW
#undef WAIT
#undef LANES
#undef FORWARD
#undef BACKWARD
#undef PANEL

/* What types.h says of one type of numbers. */
#undef real
#undef integer
#undef unsigned_integer
#undef IS_DOUBLE
#undef C
#undef NAME
#undef vector
#undef MULTIPLY_ADD
#undef WIDTH
#undef LOG
#undef SQRT
#undef LARGEST
#undef MANTISSA
#undef BIAS
#undef ROUND
#undef ROUND_BITS
#undef LN2_HIGH
#undef LN2_LOW
