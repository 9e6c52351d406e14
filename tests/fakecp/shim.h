// CUDA C++ as a CPU's: what kernels.cu needs of the language, and a loop over blocks and threads.
//
// Threads that meet at barriers are fibers, run in turn until each waits; those of a kernel
// without barriers are plain calls. SHIM_BARRIERS says which of the two a kernel gets. It does
// not show races within a warp, nor what a GPU rounds otherwise than C's math library.

#include <math.h>  // C++'s, where tanh of a float is a float, as in CUDA
#include <setjmp.h>
#include <ucontext.h>

#include <cstdint>
#include <functional>
#include <vector>

#define __global__
#define __launch_bounds__(threads)
#define __device__ static inline
#define __shared__ static  // one block runs at a time

struct Index {
  unsigned x, y, z;
};
static Index threadIdx, blockIdx, blockDim, gridDim;

enum Waiting { RUNS, AT_BLOCK, AT_WARP, DONE };

struct Fiber {
  jmp_buf place;  // where it goes on
  bool begun = false;
  std::vector<char> stack = std::vector<char>(1 << 14);
  Index index;
  Waiting waiting;
  int line;
  double given;  // to the other lanes of the warp
};

static std::vector<Fiber> fibers;
static jmp_buf scheduler;
static size_t current;
static const std::function<void()>* body;

static void wait_for(Waiting what, int line) {
  Fiber& fiber = fibers[current];
  fiber.waiting = what;
  fiber.line = line;
  if (!_setjmp(fiber.place)) _longjmp(scheduler, 1);
}

#define __syncthreads() wait_for(AT_BLOCK, __LINE__)
#define __shfl_xor_sync(mask, value, apart) shuffled(value, apart, __LINE__)

template <typename T>
static T shuffled(T value, int apart, int line) {
  fibers[current].given = value;
  wait_for(AT_WARP, line);
  T other = (T)fibers[current ^ apart].given;
  wait_for(AT_WARP, -line);  // nobody gives anew before all have read
  return other;
}

// A fiber outlives its thread, and becomes the same thread of the next block.
static void run_fiber() {
  for (;;) {
    (*body)();
    wait_for(DONE, 0);
  }
}

static void begin(Fiber& fiber) {
  ucontext_t context;
  getcontext(&context);
  context.uc_stack.ss_sp = fiber.stack.data();
  context.uc_stack.ss_size = fiber.stack.size();
  context.uc_link = nullptr;
  makecontext(&context, run_fiber, 0);
  fiber.begun = true;
  setcontext(&context);
}

// Until it waits. Jumps are quicker than swapcontext, which asks the kernel for signals.
__attribute__((noinline)) static void resume(Fiber& fiber) {
  threadIdx = fiber.index;
  if (_setjmp(scheduler)) return;
  if (fiber.begun) _longjmp(fiber.place, 1);
  begin(fiber);
}

// Let those go on who have all arrived at the same barrier; whether there was anybody.
static bool release(size_t from, size_t to, Waiting what) {
  for (size_t i = from; i < to; i++)
    if (fibers[i].waiting != what || fibers[i].line != fibers[from].line) return false;
  for (size_t i = from; i < to; i++) fibers[i].waiting = RUNS;
  return true;
}

// 0, or 1 where a barrier was reached by a part of a block or of a warp only.
static int run_block(bool reverse) {
  size_t n = blockDim.x * blockDim.y;
  fibers.resize(n);
  for (size_t i = 0; i < n; i++) {
    fibers[i].index = {unsigned(i % blockDim.x), unsigned(i / blockDim.x), 0};
    fibers[i].waiting = RUNS;
  }
  for (;;) {
    for (size_t k = 0; k < n; k++) {
      current = reverse ? n - 1 - k : k;
      if (fibers[current].waiting == RUNS) resume(fibers[current]);
    }
    if (release(0, n, AT_BLOCK)) continue;
    bool going = false, waiting = false;
    for (size_t i = 0; i < n; i += 32) going |= release(i, i + 32 < n ? i + 32 : n, AT_WARP);
    for (size_t i = 0; i < n; i++) waiting |= fibers[i].waiting != DONE;
    if (!waiting) return 0;
    if (!going) {
      fibers.clear();  // they hang in the middle of a kernel
      return 1;
    }
  }
}

static int run_grid(const int64_t* grid, const int64_t* block, bool reverse, bool barriers,
                    const std::function<void()>& kernel) {
  body = &kernel;
  gridDim = {unsigned(grid[0]), unsigned(grid[1]), 1};
  blockDim = {unsigned(block[0]), unsigned(block[1]), 1};
  for (unsigned y = 0; y < gridDim.y; y++)
    for (unsigned x = 0; x < gridDim.x; x++) {
      blockIdx = {x, y, 0};
      if (barriers) {
        if (run_block(reverse)) return 1;
        continue;
      }
      unsigned n = blockDim.x * blockDim.y;
      for (unsigned k = 0; k < n; k++) {
        unsigned i = reverse ? n - 1 - k : k;
        threadIdx = {i % blockDim.x, i / blockDim.x, 0};
        kernel();
      }
    }
  return 0;
}
