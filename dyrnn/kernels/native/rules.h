/* The optimizers' rules for one element: `cuda` in dyrnn/optimizers/rules.py, by which text
   they are found. Before it, the names of states and numbers, in their order. */

#define IN(k, name) real name = array_##k[element];
#define OUT(k, name) array_##k[element] = name;
#define RULE0(name, numbers, ...) RULE(name, , , , numbers, __VA_ARGS__)
#define RULE1(name, a, numbers, ...) \
  RULE(name, IN(0, a), OUT(0, a), STATE(0, a), numbers, __VA_ARGS__)
#define RULE2(name, a, b, numbers, ...)                                                    \
  RULE(name, IN(0, a) IN(1, b), OUT(0, a) OUT(1, b), STATE(0, a) STATE(1, b), numbers,     \
       __VA_ARGS__)
#define RULE3(name, a, b, c, numbers, ...)                                                 \
  RULE(name, IN(0, a) IN(1, b) IN(2, c), OUT(0, a) OUT(1, b) OUT(2, c),                    \
       STATE(0, a) STATE(1, b) STATE(2, c), numbers, __VA_ARGS__)
#define N1(a) NUMBER(0, a)
#define N2(a, b) N1(a) NUMBER(1, b)
#define N3(a, b, c) N2(a, b) NUMBER(2, c)
#define N4(a, b, c, d) N3(a, b, c) NUMBER(3, d)
#define N5(a, b, c, d, e) N4(a, b, c, d) NUMBER(4, e)

RULE0(sgd, N1(lr), p -= lr * g;)
RULE1(momentum_sgd, v, N2(lr, momentum), v = momentum * v - lr * g; p += v;)
RULE1(nesterov_ag, v, N2(lr, momentum),
      v = momentum * v - lr * g; p += momentum * v - lr * g;)
RULE1(ada_grad, h, N2(lr, eps), h += g * g; p -= lr * g / (sqrt(h) + eps);)
RULE2(ada_delta, msg, msdx, N2(rho, eps),
      msg = rho * msg + (1 - rho) * g * g;
      A dx = g * sqrt((msdx + eps) / (msg + eps));
      msdx = rho * msdx + (1 - rho) * dx * dx;
      p -= dx;)
RULE1(rmsprop, ms, N3(lr, alpha, eps),
      ms = alpha * ms + (1 - alpha) * g * g; p -= lr * g / (sqrt(ms) + eps);)
RULE3(rmsprop_graves, n, mean, delta, N4(lr, alpha, momentum, eps),
      n = alpha * n + (1 - alpha) * g * g;
      mean = alpha * mean + (1 - alpha) * g;
      A variance = n - mean * mean;
      delta = momentum * delta - lr * g / sqrt((variance > 0 ? variance : 0) + eps);
      p += delta;)
RULE2(rprop, step, previous, N4(shrink, grow, min_step, max_step),
      int change = ((g > 0) - (g < 0)) * ((previous > 0) - (previous < 0));
      A factor = change > 0 ? grow : change < 0 ? shrink : (A)1;
      step *= factor;
      step = step < min_step ? min_step : step > max_step ? max_step : step;
      previous = change < 0 ? (A)0 : g;
      p -= previous > 0 ? step : previous < 0 ? -step : (A)0;)
RULE2(adam, m, v, N5(step_size, beta1, beta2, eps, decay),
      m = beta1 * m + (1 - beta1) * g;
      v = beta2 * v + (1 - beta2) * g * g;
      A vhat = v;
      p = p * (1 - decay) - step_size * m / (sqrt(vhat) + eps);)
RULE3(amsgrad, m, v, vhat, N5(step_size, beta1, beta2, eps, decay),
      m = beta1 * m + (1 - beta1) * g;
      v = beta2 * v + (1 - beta2) * g * g;
      vhat = vhat > v ? vhat : v;
      p = p * (1 - decay) - step_size * m / (sqrt(vhat) + eps);)
RULE3(smorms3, memory, mean, square, N2(lr, eps),
      A r = 1 / (memory + 1);
      mean += r * (g - mean);
      square += r * (g * g - square);
      A x = mean * mean / (square + eps);
      p -= g * (x < lr ? x : lr) / (sqrt(square) + eps);
      memory = memory * (1 - x) + 1;)

#undef STATE
#undef NUMBER
#undef IN
#undef OUT
#undef RULE0
#undef RULE1
#undef RULE2
#undef RULE3
#undef N1
#undef N2
#undef N3
#undef N4
#undef N5
