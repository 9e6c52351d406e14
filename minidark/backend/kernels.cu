// The kernels of numpy_kernels.py for a GPU: the same names, the same order of operations. And
// cells over whole sequences, as in compiled/.
//
// Compiled with real=float to run and real=double to check, and without fused multiply-add, so
// that a sum of products rounds as numpy's does; but for the products of whole sequences, which
// are cuBLAS's elsewhere. Every array is contiguous. S streams, N rows,
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

// An activation by its number in RNN_ACTIVATIONS.
__device__ real activate(real x, long long activation) {
  switch (activation) {
    case 1: return squash_logistic(x);
    case 2: return tanh(x * real(0.5));
    case 3: return tanh(x);
    case 4: return x > 0 ? x : x * 0;
    case 5: return x > 0 ? x : x * real(0.1);
  }
  return x;
}

// Its derivative, from its output.
__device__ real activation_slope(real y, long long activation) {
  switch (activation) {
    case 1: return y * (1 - y);
    case 2: return real(0.5) * (1 - y * y);
    case 3: return 1 - y * y;
    case 4: return y > 0;
    case 5: return y > 0 ? real(1) : real(0.1);
  }
  return 1;
}

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

__global__ void gru_reset_after(real* gates, const real* recurrent, const real* biases,
                                const real* state, real* inner, real* new_state, long long n,
                                long long H, long long is_tanh) {
  long long i = THREAD;
  if (i >= n) return;
  real* z = gates + i / H * 3 * H + i % H;
  real *r = z + H, *c = z + 2 * H;
  const real* from_state = recurrent + i / H * 3 * H + i % H;
  *z = squash_logistic(*z + from_state[0]);
  *r = squash_logistic(*r + from_state[H]);
  inner[i] = from_state[2 * H] + biases[i % H];
  *c = squash(*c + *r * inner[i], is_tanh);
  new_state[i] = (state[i] - *c) * *z + *c;
}

__global__ void gru_reset_after_backward(real* gates, const real* state, real* inner,
                                         const real* dy, real* dh, long long n, long long H,
                                         long long is_tanh) {
  long long i = THREAD;
  if (i >= n) return;
  real* z = gates + i / H * 3 * H + i % H;
  real *r = z + H, *c = z + 2 * H;
  real d = dh[i] + dy[i], keep = 1 - *z;
  real dz = (state[i] - *c) * d * keep;
  dh[i] = d * *z;
  *z = dz * *z;
  *c = keep * d * squash_slope(*c, is_tanh);
  real dr = *c * inner[i] * *r;
  inner[i] = *c * *r;
  *r = (1 - *r) * dr;
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

}  // extern "C"

// --- whole sequences: a block takes up to STREAMS streams through all steps -------------------
//
// No block waits for another, and what a step costs is barriers, not launches. Of a product, each
// thread has one column of the weights, inputs first, for all streams of its block, and a part of
// the depth; the parts are added in their order. What is multiplied lies in shared memory, streams
// innermost. Threads of a block are at least as many as units, and at most UNITS.

#define STREAMS 4
#define UNITS (4096 / sizeof(real))
#define SEQUENCE __launch_bounds__(UNITS)

struct alignas(STREAMS * sizeof(real)) Streams {
  real of[STREAMS];
};

// The streams of a block: so many from `first` on.
struct Own {
  long long first, count;
};

__device__ Own own(long long S, long long each) {
  long long first = blockIdx.x * each;
  return {first, S - first < each ? S - first : each};
}

// A thread's share of columns x STREAMS numbers, of which each is that of a stream s and a column
// j. Its n-th one is the same whenever this is asked, so that x[n] may be kept between two steps.
#define FOR_SHARE(columns)                             \
  _Pragma("unroll") for (int n = 0; n < STREAMS; n++)  \
    if (int i = threadIdx.x + n * blockDim.x, s = i % STREAMS, j = i / STREAMS; j < (columns))

// How a block's threads divide a product: its columns from `from` on, and its depth.
struct Division {
  int columns, parts, part, column;
};

__device__ Division divide(int from, int outputs) {
  int threads = blockDim.x, thread = threadIdx.x;
  int columns = (outputs - from + LANES - 1) / LANES * LANES;
  if (columns > threads) columns = threads;
  return {columns, threads / columns, thread / columns, from + thread % columns};
}

// Adds to sum what this thread has of given (depth, STREAMS) times w (depth, outputs).
__device__ void multiply(Streams& sum, const Division& by, const Streams* given, const real* w,
                         int depth, long long outputs) {
  if (by.part >= by.parts || by.column >= outputs) return;
  int k = depth * by.part / by.parts, end = depth * (by.part + 1) / by.parts;
  w += k * outputs + by.column;
#pragma unroll 8
  for (; k < end; k++, w += outputs)
    for (int s = 0; s < STREAMS; s++) sum.of[s] = fma(*w, given[k].of[s], sum.of[s]);
}

// The parts of such a product, which `whole` adds up. All threads meet here.
__device__ void product(Streams* parts, const Division& by, const Streams* given, const real* w,
                        int depth, long long outputs) {
  Streams sum = {};
  multiply(sum, by, given, w, depth, outputs);
  parts[threadIdx.x] = sum;
  __syncthreads();
}

__device__ real whole(const Streams* parts, const Division& by, int column, int s) {
  real sum = 0;
  for (int part = 0; part < by.parts; part++) sum += parts[part * by.columns + column].of[s];
  return sum;
}

// A block's states before step 0; zero for streams that there are not. All threads meet here.
__device__ void load(Streams* h, const real* states, const Own& mine, long long H) {
  FOR_SHARE(H) h[j].of[s] = s < mine.count ? states[(mine.first + s) * H + j] : 0;
  __syncthreads();
}

// Zero for streams that there are not, which are multiplied too. All threads meet here.
__device__ void clear(Streams* given, int depth) {
  for (int k = threadIdx.x; k < depth; k += blockDim.x) given[k] = Streams();
  __syncthreads();
}

extern "C" {

SEQUENCE __global__ void gru_sequence(real* gates, const real* biases, real* states,
                                      real* reset_states, const real* wzr, const real* wh,
                                      long long T, long long S, long long H, long long each,
                                      long long is_tanh) {
  __shared__ Streams h[UNITS], reset[UNITS], parts[UNITS];
  Own mine = own(S, each);
  clear(reset, H);
  load(h, states, mine, H);
  for (long long t = 0; t < T; t++) {
    real* gate = gates + (t * S + mine.first) * 3 * H;
    real* reset_state = reset_states + (t * S + mine.first) * H;
    real* new_state = states + ((t + 1) * S + mine.first) * H;
    for (int from = 0; from < 2 * H; from += blockDim.x) {
      Division by = divide(from, 2 * H);
      product(parts, by, h, wzr, H, 2 * H);
      FOR_SHARE(by.columns) {
        long long o = from + j;
        if (s >= mine.count || o >= 2 * H) continue;
        real& opened = gate[s * 3 * H + o];
        opened = squash_logistic(opened + biases[o] + whole(parts, by, j, s));
        if (o < H) continue;
        reset[o - H].of[s] = opened * h[o - H].of[s];
        reset_state[s * H + o - H] = reset[o - H].of[s];
      }
      __syncthreads();
    }
    Division by = divide(0, H);
    product(parts, by, reset, wh, H, H);
    FOR_SHARE(H) {
      if (s >= mine.count) continue;
      real *z = gate + s * 3 * H + j, *c = z + 2 * H;
      *c = squash(*c + biases[2 * H + j] + whole(parts, by, j, s), is_tanh);
      h[j].of[s] = (h[j].of[s] - *c) * *z + *c;
      new_state[s * H + j] = h[j].of[s];
    }
    __syncthreads();
  }
}

SEQUENCE __global__ void gru_sequence_backward(real* gates, const real* states, const real* dy,
                                               const real* wzr, const real* wh, long long T,
                                               long long S, long long H, long long each,
                                               long long is_tanh) {
  __shared__ Streams dgates[2 * UNITS], parts[UNITS];
  Streams *dz = dgates, *dcr = dgates + H;  // of c, and of r when that of c has been multiplied
  Own mine = own(S, each);
  Division by = divide(0, H);
  real dh[STREAMS] = {};
  clear(dgates, 2 * H);
  for (long long t = T - 1; t >= 0; t--) {
    real* gate = gates + (t * S + mine.first) * 3 * H;
    const real* h = states + (t * S + mine.first) * H;
    const real* d_of_y = dy + (t * S + mine.first) * H;
    FOR_SHARE(H) {
      if (s >= mine.count) continue;
      real *z = gate + s * 3 * H + j, *c = z + 2 * H;
      real d = dh[n] + d_of_y[s * H + j], keep = 1 - *z;
      dz[j].of[s] = (h[s * H + j] - *c) * d * keep * *z;
      dcr[j].of[s] = keep * d * squash_slope(*c, is_tanh);
      dh[n] = d * *z;
      *z = dz[j].of[s];
      *c = dcr[j].of[s];
    }
    __syncthreads();
    product(parts, by, dcr, wh, H, H);
    FOR_SHARE(H) {
      if (s >= mine.count) continue;
      real* r = gate + s * 3 * H + H + j;
      real through = whole(parts, by, j, s) * *r;
      dh[n] += through;
      *r = dcr[j].of[s] = (1 - *r) * (through * h[s * H + j]);
    }
    __syncthreads();
    product(parts, by, dgates, wzr, 2 * H, H);
    FOR_SHARE(H) dh[n] += whole(parts, by, j, s);
  }
}

// Biases are those of the gates, and wh's alone, which are wh h's own.
SEQUENCE __global__ void gru_reset_after_sequence(real* gates, const real* biases, real* states,
                                                  real* inner, const real* w, long long T,
                                                  long long S, long long H, long long each,
                                                  long long is_tanh) {
  __shared__ Streams h[UNITS], parts[UNITS];
  Own mine = own(S, each);
  load(h, states, mine, H);
  for (long long t = 0; t < T; t++) {
    real* gate = gates + (t * S + mine.first) * 3 * H;
    real* q = inner + (t * S + mine.first) * H;
    for (int from = 0; from < 3 * H; from += blockDim.x) {
      Division by = divide(from, 3 * H);
      product(parts, by, h, w, H, 3 * H);
      FOR_SHARE(by.columns) {
        long long o = from + j;
        if (s >= mine.count || o >= 3 * H) continue;
        real sum = whole(parts, by, j, s);
        real& opened = gate[s * 3 * H + o];
        if (o < 2 * H) opened = squash_logistic(opened + biases[o] + sum);
        else q[s * H + o - 2 * H] = sum + biases[o + H];
      }
      __syncthreads();
    }
    FOR_SHARE(H) {
      if (s >= mine.count) continue;
      real *z = gate + s * 3 * H + j, *r = z + H, *c = z + 2 * H;
      *c = squash(*c + biases[2 * H + j] + *r * q[s * H + j], is_tanh);
      h[j].of[s] = (h[j].of[s] - *c) * *z + *c;
      states[((t + 1) * S + mine.first + s) * H + j] = h[j].of[s];
    }
    __syncthreads();
  }
}

SEQUENCE __global__ void gru_reset_after_sequence_backward(real* gates, const real* states,
                                                           real* inner, const real* dy,
                                                           const real* w, long long T,
                                                           long long S, long long H,
                                                           long long each, long long is_tanh) {
  __shared__ Streams dgates[2 * UNITS], parts[UNITS];  // of z and r, then of inner
  Own mine = own(S, each);
  Division by = divide(0, H);
  real dh[STREAMS] = {};
  clear(dgates, 2 * H);
  for (long long t = T - 1; t >= 0; t--) {
    real* gate = gates + (t * S + mine.first) * 3 * H;
    real* q = inner + (t * S + mine.first) * H;
    const real* h = states + (t * S + mine.first) * H;
    const real* d_of_y = dy + (t * S + mine.first) * H;
    FOR_SHARE(H) {
      if (s >= mine.count) continue;
      real *z = gate + s * 3 * H + j, *r = z + H, *c = z + 2 * H;
      real d = dh[n] + d_of_y[s * H + j], keep = 1 - *z;
      dh[n] = d * *z;
      *z = dgates[j].of[s] = (h[s * H + j] - *c) * d * keep * *z;
      *c = keep * d * squash_slope(*c, is_tanh);
      real dr = *c * q[s * H + j] * *r;
      q[s * H + j] = *c * *r;
      *r = dgates[H + j].of[s] = (1 - *r) * dr;
    }
    __syncthreads();
    Streams sum = {};
    multiply(sum, by, dgates, w, 2 * H, H);
    __syncthreads();
    FOR_SHARE(H) if (s < mine.count) dgates[j].of[s] = q[s * H + j];
    __syncthreads();
    multiply(sum, by, dgates, w + 2 * H * H, H, H);
    parts[threadIdx.x] = sum;
    __syncthreads();
    FOR_SHARE(H) dh[n] += whole(parts, by, j, s);
  }
}

SEQUENCE __global__ void lstm_sequence(real* gates, const real* biases, real* states, real* cells,
                                       real* squashed, const real* w, long long T, long long S,
                                       long long H, long long each) {
  __shared__ Streams h[UNITS], parts[UNITS];
  Own mine = own(S, each);
  load(h, states, mine, H);
  for (long long t = 0; t < T; t++) {
    real* gate = gates + (t * S + mine.first) * 4 * H;
    for (int from = 0; from < 4 * H; from += blockDim.x) {
      Division by = divide(from, 4 * H);
      product(parts, by, h, w, H, 4 * H);
      FOR_SHARE(by.columns) {
        long long o = from + j;
        if (s >= mine.count || o >= 4 * H) continue;
        real& opened = gate[s * 4 * H + o];
        opened = squash(opened + biases[o] + whole(parts, by, j, s), o >= 3 * H);
      }
      __syncthreads();
    }
    FOR_SHARE(H) {
      if (s >= mine.count) continue;
      const real* opened = gate + s * 4 * H + j;
      long long at = (t * S + mine.first + s) * H + j, next = at + S * H;
      cells[next] = opened[H] * cells[at] + opened[0] * opened[3 * H];
      squashed[at] = tanh(cells[next]);
      states[next] = h[j].of[s] = opened[2 * H] * squashed[at];
    }
    __syncthreads();
  }
}

SEQUENCE __global__ void lstm_sequence_backward(real* gates, const real* cells,
                                                const real* squashed, const real* dy,
                                                const real* w, long long T, long long S,
                                                long long H, long long each) {
  __shared__ Streams dgates[2 * UNITS], parts[UNITS];  // of in and forget, then of the others
  Own mine = own(S, each);
  Division by = divide(0, H);
  real dh[STREAMS] = {}, dcell[STREAMS] = {};
  clear(dgates, 2 * H);
  for (long long t = T - 1; t >= 0; t--) {
    real* gate = gates + (t * S + mine.first) * 4 * H;
    FOR_SHARE(H) {
      if (s >= mine.count) continue;
      real* opened = gate + s * 4 * H + j;
      long long at = (t * S + mine.first + s) * H + j;
      real in = opened[0], forget = opened[H], out = opened[2 * H], candidate = opened[3 * H];
      real d = dh[n] + dy[at];
      real dc = dcell[n] + d * out * (1 - squashed[at] * squashed[at]);
      opened[0] = dgates[j].of[s] = dc * candidate * in * (1 - in);
      opened[H] = dgates[H + j].of[s] = forget * (dc * cells[at] * (1 - forget));
      opened[2 * H] = out * (d * squashed[at] * (1 - out));
      opened[3 * H] = (1 - candidate * candidate) * (dc * in);
      dcell[n] = dc * forget;
    }
    __syncthreads();
    Streams sum = {};
    multiply(sum, by, dgates, w, 2 * H, H);
    __syncthreads();
    FOR_SHARE(H) {
      if (s >= mine.count) continue;
      const real* opened = gate + s * 4 * H + j;
      dgates[j].of[s] = opened[2 * H];
      dgates[H + j].of[s] = opened[3 * H];
    }
    __syncthreads();
    multiply(sum, by, dgates, w + 2 * H * H, 2 * H, H);
    parts[threadIdx.x] = sum;
    __syncthreads();
    FOR_SHARE(H) dh[n] = whole(parts, by, j, s);
  }
}

SEQUENCE __global__ void rnn_sequence(const real* from_input, const real* biases, real* from_self,
                                      real* states, const real* w, long long T, long long S,
                                      long long H, long long each, long long activation,
                                      long long shortcut) {
  __shared__ Streams h[UNITS], parts[UNITS];
  Own mine = own(S, each);
  Division by = divide(0, H);
  load(h, states, mine, H);
  for (long long t = 0; t < T; t++) {
    product(parts, by, h, w, H, H);
    FOR_SHARE(H) {
      if (s >= mine.count) continue;
      long long at = (t * S + mine.first + s) * H + j;
      from_self[at] = activate(whole(parts, by, j, s) + biases[j], activation);
      real old = shortcut ? h[j].of[s] : real(0);
      states[at + S * H] = h[j].of[s] = from_input[at] + from_self[at] + old;
    }
    __syncthreads();
  }
}

// States after the first contain the sums of input and biases.
SEQUENCE __global__ void elman_sequence(real* states, const real* w, long long T, long long S,
                                        long long H, long long each, long long activation) {
  __shared__ Streams h[UNITS], parts[UNITS];
  Own mine = own(S, each);
  Division by = divide(0, H);
  load(h, states, mine, H);
  for (long long t = 0; t < T; t++) {
    product(parts, by, h, w, H, H);
    FOR_SHARE(H) {
      if (s >= mine.count) continue;
      real& state = states[((t + 1) * S + mine.first + s) * H + j];
      state = h[j].of[s] = activate(state + whole(parts, by, j, s), activation);
    }
    __syncthreads();
  }
}

SEQUENCE __global__ void rnn_sequence_backward(real* from_self, real* dstates, const real* w,
                                               long long T, long long S, long long H,
                                               long long each, long long activation,
                                               long long shortcut) {
  __shared__ Streams dself[UNITS], parts[UNITS];
  Own mine = own(S, each);
  Division by = divide(0, H);
  clear(dself, H);
  real later[STREAMS] = {};  // what comes from the state after this one
  for (long long t = T - 1; t >= 0; t--) {
    FOR_SHARE(H) {
      if (s >= mine.count) continue;
      long long at = (t * S + mine.first + s) * H + j;
      dstates[at] += later[n];
      from_self[at] = dself[j].of[s] = dstates[at] * activation_slope(from_self[at], activation);
      later[n] = shortcut ? dstates[at] : real(0);
    }
    __syncthreads();
    product(parts, by, dself, w, H, H);
    FOR_SHARE(H) later[n] += whole(parts, by, j, s);
  }
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
                                     real* difference, long long n, long long O, real tiny,
                                     real weight, real rest) {
  long long i = THREAD;
  if (i >= n) return;
  bool hit = truth[i / O] == i % O;
  difference[i] = (hit ? p[i] - weight : p[i]) - rest;
  if (hit) costs[i / O] = -log(at_least(p[i], tiny));
}

__global__ void cross_entropy_of_rows(const real* p, const real* truth, real* costs,
                                      real* difference, long long N, long long O, real tiny,
                                      real weight, real rest) {
  long long row = THREAD / LANES, lane = THREAD % LANES;
  if (row >= N) return;
  real cost = 0;
  for (long long i = row * O + lane; i < row * O + O; i += LANES) {
    difference[i] = p[i] - weight * truth[i] - rest;
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
