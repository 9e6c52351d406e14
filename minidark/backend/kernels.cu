// The kernels of numpy_kernels.py for a GPU: the same names, the same order of operations.
//
// Compiled with real=float to run and real=double to check, and without fused multiply-add, so
// that a sum of products rounds as numpy's does. Every array is contiguous. S streams, N rows,
// I inputs, O outputs, H hidden, F features. Nothing here is atomic: the same input gives the same
// bits again.

#define THREAD (blockIdx.x * (long long)blockDim.x + threadIdx.x)
#define LANES 32    // threads of a warp; a row of probabilities has one
#define COLUMNS 32  // features that a block of the batch norm works on,
#define ROWS 8      // and rows of them side by side

__device__ real squash_logistic(real x) { return tanh(x * real(0.5)) * real(0.5) + real(0.5); }

__device__ real squash(real x, long long is_tanh) { return is_tanh ? tanh(x) : squash_logistic(x); }

// The derivative of squash, from its output.
__device__ real squash_slope(real y, long long is_tanh) { return is_tanh ? 1 - y * y : y * (1 - y); }

// NaN stays NaN, where fmax would drop it and with it the news that training has diverged.
__device__ real at_least(real x, real least) { return x < least ? least : x; }

__device__ real warp_sum(real x) {
  for (int apart = LANES / 2; apart; apart /= 2) x += __shfl_xor_sync(0xffffffffu, x, apart);
  return x;
}

__device__ real warp_max(real x) {
  for (int apart = LANES / 2; apart; apart /= 2) {
    real other = __shfl_xor_sync(0xffffffffu, x, apart);
    x = x < other ? other : x;
  }
  return x;
}

// The sum over a block's rows of what each of its threads has of a column.
__device__ real column_sum(real part) {
  __shared__ real parts[ROWS][COLUMNS];
  parts[threadIdx.y][threadIdx.x] = part;
  __syncthreads();
  real sum = 0;
  for (int y = 0; y < ROWS; y++) sum += parts[y][threadIdx.x];
  __syncthreads();
  return sum;
}

extern "C" {

// --- rows: a thread for each number that is written -----------------------------------------

__global__ void gather(const real* weights, const long long* ids, real* rows, long long n,
                       long long I, long long O) {
  long long i = THREAD;
  if (i < n) rows[i] = weights[i % O * I + ids[i / O]];
}

// A block for each row. The first row of each symbol adds up the others in their order.
__global__ void scatter_add(real* gradient, const long long* ids, const real* dy, long long N,
                            long long I, long long O) {
  long long first = blockIdx.x, id = ids[first];
  for (long long row = 0; row < first; row++)
    if (ids[row] == id) return;
  long long o = blockIdx.y * (long long)blockDim.x + threadIdx.x;
  if (o >= O) return;
  real sum = 0;
  for (long long row = first; row < N; row++)
    if (ids[row] == id) sum += dy[row * O + o];
  gradient[o * I + id] += sum;
}

// --- elementwise ----------------------------------------------------------------------------

__global__ void logistic(real* x, long long n) {
  long long i = THREAD;
  if (i < n) x[i] = squash_logistic(x[i]);
}

// --- gru: a thread for each unit of each stream ---------------------------------------------

__global__ void gru_gates(real* gates, const real* recurrent, const real* state, real* reset_state,
                          long long n, long long H) {
  long long i = THREAD;
  if (i >= n) return;
  real* z = gates + i / H * 3 * H + i % H;
  real* r = z + H;
  const real* from_state = recurrent + i / H * 2 * H + i % H;
  *z = squash_logistic(*z + from_state[0]);
  *r = squash_logistic(*r + from_state[H]);
  reset_state[i] = *r * state[i];
}

__global__ void gru_state(real* gates, const real* recurrent, const real* state, real* new_state,
                          long long n, long long H, long long is_tanh) {
  long long i = THREAD;
  if (i >= n) return;
  real* z = gates + i / H * 3 * H + i % H;
  real* c = z + 2 * H;
  *c = squash(*c + recurrent[i], is_tanh);
  new_state[i] = (state[i] - *c) * *z + *c;
}

__global__ void gru_state_backward(real* gates, const real* state, const real* dy, real* dh,
                                   long long n, long long H, long long is_tanh) {
  long long i = THREAD;
  if (i >= n) return;
  real* z = gates + i / H * 3 * H + i % H;
  real* c = z + 2 * H;
  real d = dh[i] + dy[i], keep = 1 - *z;
  real dz = (state[i] - *c) * d * keep;
  dh[i] = d * *z;
  *z = dz * *z;
  *c = keep * d * squash_slope(*c, is_tanh);
}

__global__ void gru_gates_backward(real* gates, const real* state, const real* dreset_state,
                                   real* dh, long long n, long long H) {
  long long i = THREAD;
  if (i >= n) return;
  real* r = gates + i / H * 3 * H + H + i % H;
  real through = dreset_state[i] * *r;
  dh[i] += through;
  *r = (1 - *r) * (through * state[i]);
}

// --- lstm -----------------------------------------------------------------------------------

__global__ void lstm_state(real* gates, const real* recurrent, const real* cell, real* new_cell,
                           real* squashed, real* new_state, long long n, long long H) {
  long long i = THREAD;
  if (i >= n) return;
  real* gate = gates + i / H * 4 * H + i % H;
  const real* from_state = recurrent + i / H * 4 * H + i % H;
  real in = gate[0] = squash_logistic(gate[0] + from_state[0]);
  real forget = gate[H] = squash_logistic(gate[H] + from_state[H]);
  real out = gate[2 * H] = squash_logistic(gate[2 * H] + from_state[2 * H]);
  real candidate = gate[3 * H] = tanh(gate[3 * H] + from_state[3 * H]);
  new_cell[i] = forget * cell[i] + in * candidate;
  squashed[i] = tanh(new_cell[i]);
  new_state[i] = out * squashed[i];
}

__global__ void lstm_state_backward(real* gates, const real* cell, const real* squashed,
                                    const real* dy, const real* dh, real* dcell, long long n,
                                    long long H) {
  long long i = THREAD;
  if (i >= n) return;
  real* gate = gates + i / H * 4 * H + i % H;
  real in = gate[0], forget = gate[H], out = gate[2 * H], candidate = gate[3 * H];
  real d = dh[i] + dy[i];
  real dc = dcell[i] + d * out * (1 - squashed[i] * squashed[i]);
  gate[0] = dc * candidate * in * (1 - in);
  gate[H] = forget * (dc * cell[i] * (1 - forget));
  gate[2 * H] = out * (d * squashed[i] * (1 - out));
  gate[3 * H] = (1 - candidate * candidate) * (dc * in);
  dcell[i] = dc * forget;
}

// --- batch norm: a block for COLUMNS features of one step -----------------------------------

__global__ void batch_statistics(const real* v, real* mean, real* variance, long long N,
                                 long long F) {
  long long f = blockIdx.x * (long long)COLUMNS + threadIdx.x, step = blockIdx.y;
  const real* column = v + step * N * F + f;
  real part = 0;
  for (long long row = threadIdx.y; f < F && row < N; row += ROWS) part += column[row * F];
  real m = column_sum(part) / N;
  part = 0;
  for (long long row = threadIdx.y; f < F && row < N; row += ROWS)
    part += (column[row * F] - m) * (column[row * F] - m);
  real sum = column_sum(part);
  if (f >= F || threadIdx.y) return;
  mean[step * F + f] = m;
  variance[step * F + f] = sum / (N - 1);
}

__global__ void normalize_backward(const real* dnormalized, const real* normalized,
                                   const real* deviation, real* dv, long long N, long long F,
                                   real epsilon) {
  long long f = blockIdx.x * (long long)COLUMNS + threadIdx.x, step = blockIdx.y;
  long long at = step * N * F + f;
  real d = 0, along = 0;
  for (long long row = threadIdx.y; f < F && row < N; row += ROWS) {
    d += dnormalized[at + row * F];
    along += dnormalized[at + row * F] * normalized[at + row * F];
  }
  real mean = column_sum(d) / N;
  along = column_sum(along);
  if (f >= F) return;
  real deviates = deviation[step * F + f];
  if (deviates > 0) along /= (N - 1) * deviates;
  for (long long row = threadIdx.y; row < N; row += ROWS)
    dv[at + row * F] = (dnormalized[at + row * F] - mean) / (deviates + epsilon) -
                       normalized[at + row * F] * along;
}

// A thread for each feature.
__global__ void roll(real* rolling, const real* batch, long long F, long long T, real kept,
                     real taken) {
  long long f = THREAD;
  if (f >= F) return;
  real value = rolling[f];
  for (long long t = 0; t < T; t++) value = value * kept + taken * batch[t * F + f];
  rolling[f] = value;
}

// --- softmax: a warp for each row -----------------------------------------------------------

__global__ void softmax(const real* x, real* y, long long N, long long O, real temperature) {
  long long row = THREAD / LANES, lane = THREAD % LANES;
  if (row >= N) return;
  x += row * O;
  y += row * O;
  real most = x[0] / temperature;
  for (long long o = lane; o < O; o += LANES) {
    y[o] = x[o] / temperature;
    most = most < y[o] ? y[o] : most;
  }
  most = warp_max(most);
  real sum = 0;
  for (long long o = lane; o < O; o += LANES) sum += y[o] = exp(y[o] - most);
  sum = warp_sum(sum);
  for (long long o = lane; o < O; o += LANES) y[o] /= sum;
}

__global__ void cross_entropy_of_ids(const real* p, const long long* truth, real* costs,
                                     real* difference, long long n, long long O, real tiny) {
  long long i = THREAD;
  if (i >= n) return;
  bool hit = truth[i / O] == i % O;
  difference[i] = hit ? p[i] - 1 : p[i];
  if (hit) costs[i / O] = -log(at_least(p[i], tiny));
}

__global__ void cross_entropy_of_rows(const real* p, const real* truth, real* costs,
                                      real* difference, long long N, long long O, real tiny) {
  long long row = THREAD / LANES, lane = THREAD % LANES;
  if (row >= N) return;
  real cost = 0;
  for (long long i = row * O + lane; i < row * O + O; i += LANES) {
    difference[i] = p[i] - truth[i];
    cost -= truth[i] * log(at_least(p[i], tiny));
  }
  cost = warp_sum(cost);
  if (lane == 0) costs[row] = cost;
}

// --- sampling: a thread for each stream, which adds as darknet's loop does ------------------

__global__ void draw(const real* p, const float* starts, long long* ids, long long S, long long O,
                     real least) {
  long long s = THREAD;
  if (s >= S) return;
  p += s * O;
  float total = 0;
  for (long long o = 0; o < O; o++) total += p[o] < least ? 0.f : (float)p[o];
  ids[s] = isfinite(total) ? O - 1 : -1;
  if (!isfinite(total) || total == 0) return;
  float left = starts[s], scale = 1.f / total;
  for (long long o = 0; o < O; o++) {
    left -= (p[o] < least ? 0.f : (float)p[o]) * scale;
    if (left <= 0) {
      ids[s] = o;
      return;
    }
  }
}

// --- optimizers: a thread for each number ---------------------------------------------------

__global__ void sgd_step(real* value, real* grad, real* velocity, long long n, real rate,
                         real momentum, real decay) {
  long long i = THREAD;
  if (i >= n) return;
  real v = velocity[i] - grad[i];
  if (decay != 0) v -= decay * value[i];
  value[i] += rate * v;
  velocity[i] = v * momentum;
  grad[i] = 0;
}

__global__ void adam_step(real* value, real* grad, real* m, real* v, long long n, real rate,
                          real B1, real one_less_B1, real B2, real one_less_B2, real unbias2,
                          real eps, real decay) {
  long long i = THREAD;
  if (i >= n) return;
  real d = -grad[i];
  if (decay != 0) d -= decay * value[i];
  m[i] = m[i] * B1 + one_less_B1 * d;
  v[i] = v[i] * B2 + d * d * one_less_B2;
  value[i] += m[i] / (sqrt(v[i] * unbias2) + eps) * rate;
  grad[i] = 0;
}

__global__ void shorten(real* x, const real* norm, long long n, real longest) {
  long long i = THREAD;
  if (i < n && *norm > longest) x[i] *= longest / *norm;
}

}
