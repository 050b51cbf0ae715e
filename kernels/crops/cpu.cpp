// CPU kernels of select_crops: `reference.py` bit for bit (peaks within 1e-6), through LibTorch's stable ABI.
//
// B clips, S samples, T frames, L classes, N crops, W samples in a crop. Choosing reads L + N * T scores a clip, under
// 1 % of the bytes at the paper's size; the rest is one copy of B * N * W samples. Both happen in one parallel region,
// split over the samples of the output: one clip still feeds every thread, and there is one barrier to wait at, not
// two (on a machine with other work each barrier can cost a time slice). A clip that two threads share is chosen twice.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <numeric>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

// SSE2 is part of every x86-64, so nothing is chosen at run time; wider vectors gain nothing on a copy.
#if defined(__SSE2__)
#include <emmintrin.h>
#endif
#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace {

using torch::headeronly::BFloat16;
using torch::headeronly::Half;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

constexpr int32_t kNeverKey = std::numeric_limits<int32_t>::min();  // NaN, and frames that may not be searched
constexpr int32_t kZeroKey = kNeverKey + 0x7FFFFF;                  // minus infinity: probability zero
constexpr float kInt16Scale = 1.0f / 32767.0f;
constexpr int64_t kGrain = 32768;  // samples; a thread is not worth waking for less

// Not STD_TORCH_CHECK, which prints where this file lay when it was compiled.
template <class... Parts>
void check(bool condition, const Parts&... parts) {
  if (condition) return;
  std::ostringstream message;
  ((message << parts), ...);
  throw std::runtime_error(message.str());
}

// ------------------------------------------------------------------------------------------------------- choosing

struct Sizes {
  int64_t B, S, T, L, N, W;
};

enum class Suppress { none, released, crop };

// Scores of one clip, whatever their dtype.
struct Scores {
  const void* data;
  ScalarType dtype;

  float operator[](int64_t i) const {
    switch (dtype) {
      case ScalarType::Half: return static_cast<const Half*>(data)[i];
      case ScalarType::BFloat16: return static_cast<const BFloat16*>(data)[i];
      default: return static_cast<const float*>(data)[i];
    }
  }
};

Scores scores_of_clip(const Tensor& scores, int64_t b) {
  const auto offset = b * scores.stride(0) * static_cast<int64_t>(scores.element_size());
  return {static_cast<const char*>(scores.const_data_ptr()) + offset, scores.scalar_type()};
}

// Integers in the order of the scores: -0.0 == 0.0, NaN lowest. By the bits: no float mode of the caller matters.
int32_t order_key(float score) {
  const auto bits = std::bit_cast<int32_t>(score);
  const int32_t magnitude = bits & 0x7FFFFFFF;
  if (magnitude > 0x7F800000) return kNeverKey;
  return magnitude == 0 ? 0 : bits ^ ((bits >> 31) & 0x7FFFFFFF);
}

// What is chosen in one clip, and the memory that choosing needs.
struct Choice {
  std::vector<int64_t> classes, starts;  // [N]
  std::vector<float> peaks;              // [N]
  std::vector<int64_t> order;            // [L]
  std::vector<int32_t> keys;             // [L]
  std::vector<int8_t> spent;             // [T]

  explicit Choice(const Sizes& s) : classes(s.N), starts(s.N), peaks(s.N), order(s.L), keys(s.L), spent(s.T) {}

  // The N best classes in descending order, equal scores by class.
  void rank(const Sizes& s, const Scores& scores, int64_t stride) {
    for (int64_t k = 0; k < s.L; ++k) keys[k] = order_key(scores[k * stride]);
    std::iota(order.begin(), order.end(), int64_t{0});
    std::partial_sort(order.begin(), order.begin() + s.N, order.end(), [this](int64_t a, int64_t b) {
      return keys[a] != keys[b] ? keys[a] > keys[b] : a < b;
    });
    std::copy_n(order.begin(), s.N, classes.begin());
  }

  // Peaks and starts of those classes; `length` is the number of valid samples.
  void locate(const Sizes& s, const Scores& logits, int64_t stride_t, int64_t stride_l, int64_t length,
              Suppress suppress) {
    const int64_t end = (s.T * length + s.S - 1) / s.S;  // frames that begin before the clip ends
    const int64_t last_start = std::max<int64_t>(0, length - s.W);
    const int32_t spent_key = suppress == Suppress::released ? kZeroKey : kNeverKey;
    std::fill(spent.begin(), spent.end(), 0);
    for (int64_t n = 0; n < s.N; ++n) {
      const int64_t column = classes[n] * stride_l;
      int64_t m = 0;
      int32_t best = kNeverKey;
      for (int64_t t = 0; t < end; ++t) {
        const int32_t key = spent[t] ? spent_key : order_key(logits[column + t * stride_t]);
        if (key > best) best = key, m = t;  // the first of equals
      }
      const int64_t centre = s.S * m / s.T;
      const int64_t start = std::min(std::max<int64_t>(0, centre - s.W / 2), last_start);
      starts[n] = start;
      peaks[n] = static_cast<float>(1.0 / (1.0 + std::exp(-static_cast<double>(logits[column + m * stride_t]))));

      if (suppress == Suppress::crop) {
        for (int64_t t = 0; t < end; ++t) {
          const int64_t sample = s.S * t / s.T;
          if (sample >= start && sample < start + s.W) spent[t] = 1;
        }
      } else if (suppress == Suppress::released) {
        const int64_t o = s.W * s.T / s.S / 4;
        int64_t low = m - o, high = m + o;
        if (centre + s.W / 2 >= last_start + s.W) {  // the right edge is tested first
          low = o ? end - 2 * o : 0;                 // o == 0: the slice [-0:] is the whole map
          high = end;
        } else if (centre < s.W / 2) {
          low = 0;
          high = 2 * o;
        }
        for (int64_t t = std::max<int64_t>(0, low); t < std::min(high, end); ++t) spent[t] = 1;
      }
    }
  }
};

// Valid samples of clip b. The values are the caller's data, so they are clamped and not trusted.
int64_t length_of_clip(const Sizes& s, const std::optional<Tensor>& lengths, int64_t b) {
  if (!lengths) return s.S;
  const int64_t i = b * lengths->stride(0);
  const int64_t length = lengths->scalar_type() == ScalarType::Int
                             ? static_cast<const int32_t*>(lengths->const_data_ptr())[i]
                             : static_cast<const int64_t*>(lengths->const_data_ptr())[i];
  return std::clamp<int64_t>(length, 0, s.S);
}

// -------------------------------------------------------------------------------------------------------- copying

// Streaming stores go past the cache: no line is read before it is overwritten. Measured with two threads on a
// Zen 5 with 32 MiB of L3 (out= against copy_ of the same bytes): from 44 MB they take 0.70-0.74 of copy_'s time and
// ordinary stores 0.84-0.90; at 15 MB they take twice as long as ordinary stores and leave the reader a cold cache.
constexpr int64_t kStreamBytes = int64_t{32} << 20;

template <bool kStream>
void copy_samples(char* to, const char* from, int64_t bytes) {
#if defined(__SSE2__)
  if constexpr (kStream) {
    const int64_t head = std::min<int64_t>(bytes, -reinterpret_cast<intptr_t>(to) & 63);
    std::memcpy(to, from, head);
    int64_t i = head;
    for (; i + 64 <= bytes; i += 64) {  // one cache line, so that it leaves in one piece
      const auto* source = reinterpret_cast<const __m128i*>(from + i);
      auto* target = reinterpret_cast<__m128i*>(to + i);
      const __m128i x0 = _mm_loadu_si128(source), x1 = _mm_loadu_si128(source + 1);
      const __m128i x2 = _mm_loadu_si128(source + 2), x3 = _mm_loadu_si128(source + 3);
      _mm_stream_si128(target, x0);
      _mm_stream_si128(target + 1, x1);
      _mm_stream_si128(target + 2, x2);
      _mm_stream_si128(target + 3, x3);
    }
    std::memcpy(to + i, from + i, bytes - i);
    return;
  }
#endif
  std::memcpy(to, from, bytes);
}

template <bool kStream>
void scale_samples(char* to, const char* from, int64_t count) {
  int64_t i = 0;
  const auto scale_up_to = [&](int64_t end) {
    for (; i < end; ++i) {  // by memcpy: a buffer that torch did not allocate can lie at any address
      int16_t x;
      std::memcpy(&x, from + i * 2, sizeof x);
      const float scaled = static_cast<float>(x) * kInt16Scale;
      std::memcpy(to + i * 4, &scaled, sizeof scaled);
    }
  };
#if defined(__SSE2__)
  const auto address = reinterpret_cast<intptr_t>(to);
  scale_up_to(address % 4 ? count : std::min<int64_t>(count, (-address & 63) / 4));
  const __m128 scale = _mm_set1_ps(kInt16Scale);
  const auto put = [to](int64_t k, __m128 x) {
    auto* target = reinterpret_cast<float*>(to + k * 4);
    kStream ? _mm_stream_ps(target, x) : _mm_store_ps(target, x);
  };
  for (; i + 8 <= count; i += 8) {
    const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i * 2));
    const __m128i low = _mm_srai_epi32(_mm_unpacklo_epi16(x, x), 16);  // sign extension
    const __m128i high = _mm_srai_epi32(_mm_unpackhi_epi16(x, x), 16);
    put(i, _mm_mul_ps(_mm_cvtepi32_ps(low), scale));
    put(i + 4, _mm_mul_ps(_mm_cvtepi32_ps(high), scale));
  }
#endif
  scale_up_to(count);
}

// Fresh memory costs a page fault a page, and in pages of 2 MiB one where it was 512: at the paper's size (61 MB, two
// threads) a quarter to a third of the time. The whole range is about to be written, so no memory is wasted; where the
// kernel offers no such pages nothing happens. Below 4 MiB malloc hands out memory that was used before, and `out=` has
// no faults at all.
void ask_for_large_pages(void* data, int64_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  constexpr intptr_t page = intptr_t{2} << 20;
  if (bytes < 2 * page) return;
  const intptr_t first = (reinterpret_cast<intptr_t>(data) + page - 1) & -page;
  const intptr_t last = (reinterpret_cast<intptr_t>(data) + bytes) & -page;
  if (first < last) madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
#else
  (void)data, (void)bytes;
#endif
}

// ------------------------------------------------------------------------------------------------------ operators

using Selection = std::tuple<Tensor, Tensor, Tensor>;  // classes, starts, peaks

template <bool kStream>
Selection choose_and_cut(const Sizes& s, const Tensor& rank_scores, const Tensor& frame_logits, const Tensor& wave,
                         const std::optional<Tensor>& lengths, Suppress suppress, const Tensor& audio) {
  Selection selection{torch::stable::empty({s.B, s.N}, ScalarType::Long),
                      torch::stable::empty({s.B, s.N}, ScalarType::Long),
                      torch::stable::empty({s.B, s.N}, ScalarType::Float)};
  auto* classes = static_cast<int64_t*>(std::get<0>(selection).mutable_data_ptr());
  auto* starts = static_cast<int64_t*>(std::get<1>(selection).mutable_data_ptr());
  auto* peaks = static_cast<float*>(std::get<2>(selection).mutable_data_ptr());
  const bool is_int16 = wave.scalar_type() == ScalarType::Short;
  const auto size = static_cast<int64_t>(wave.element_size());
  const auto* from = static_cast<const char*>(wave.const_data_ptr());
  auto* to = static_cast<char*>(audio.mutable_data_ptr());

  const int64_t clip = s.N * s.W, choosing = s.L + s.N * s.T;  // work for one clip, in samples and in scores
  const int64_t grain = std::max<int64_t>(1, kGrain / (1 + choosing / clip));
  torch::stable::parallel_for(0, s.B * clip, grain, [&](int64_t begin, int64_t end) {
    Choice choice(s);
    for (int64_t b = begin / clip; begin < end; ++b) {
      choice.rank(s, scores_of_clip(rank_scores, b), rank_scores.stride(1));
      choice.locate(s, scores_of_clip(frame_logits, b), frame_logits.stride(1), frame_logits.stride(2),
                    length_of_clip(s, lengths, b), suppress);
      if (begin == b * clip) {  // the thread with the clip's first sample reports it
        std::copy_n(choice.classes.begin(), s.N, classes + b * s.N);
        std::copy_n(choice.starts.begin(), s.N, starts + b * s.N);
        std::copy_n(choice.peaks.begin(), s.N, peaks + b * s.N);
      }
      const int64_t end_here = std::min(end, (b + 1) * clip);
      while (begin < end_here) {
        const int64_t n = begin / s.W % s.N, i = begin % s.W, count = std::min(s.W - i, end_here - begin);
        const char* source = from + (b * wave.stride(0) + choice.starts[n] + i) * size;
        if (is_int16) {
          scale_samples<kStream>(to + begin * 4, source, count);
        } else {
          copy_samples<kStream>(to + begin * size, source, count * size);
        }
        begin += count;
      }
    }
#if defined(__SSE2__)
    if constexpr (kStream) _mm_sfence();  // streaming stores are not ordered with the barrier otherwise
#endif
  });
  return selection;
}

const char* name_of(ScalarType dtype) { return torch::headeronly::toString(dtype); }

bool is_float(const Tensor& tensor) {
  const ScalarType dtype = tensor.scalar_type();
  return dtype == ScalarType::Float || dtype == ScalarType::Half || dtype == ScalarType::BFloat16;
}

ScalarType audio_dtype(const Tensor& wave) {
  return wave.scalar_type() == ScalarType::Short ? ScalarType::Float : wave.scalar_type();
}

// What `api.py` checks, for those who call the operator itself: nothing here may read or write out of bounds.
Sizes check_inputs(const Tensor& rank_scores, const Tensor& frame_logits, const Tensor& wave,
                   const std::optional<Tensor>& lengths, int64_t N, int64_t W) {
  const auto check_tensor = [](const char* name, const Tensor& tensor, int64_t rank, bool dtype_fits) {
    check(tensor.is_cpu(), name, ": wanted a tensor on the CPU, as the others are");
    check(tensor.dim() == rank, name, ": wanted ", rank, " axes, got ", tensor.dim());
    check(dtype_fits, name, ": got a tensor of ", name_of(tensor.scalar_type()), ", which is not taken");
  };
  check_tensor("rank_scores", rank_scores, 2, is_float(rank_scores));
  check_tensor("frame_logits", frame_logits, 3, is_float(frame_logits));
  check_tensor("wave", wave, 2, is_float(wave) || wave.scalar_type() == ScalarType::Short);
  const int64_t B = wave.size(0), S = wave.size(1), T = frame_logits.size(1), L = frame_logits.size(2);
  check(frame_logits.size(0) == B, "frame_logits: wanted B = ", B, " clips as wave has, got ", frame_logits.size(0));
  check(T > 0, "frame_logits: wanted at least one frame, got none");
  check(rank_scores.size(0) == B && rank_scores.size(1) == L, "rank_scores: wanted [B, L] = [", B, ", ", L, "], got [",
        rank_scores.size(0), ", ", rank_scores.size(1), "]");
  check(S == 1 || wave.stride(1) == 1, "wave: wanted a dense last axis (stride 1), got stride ", wave.stride(1));
  check(1 <= N && N <= L, "num_crops: wanted 1 to L = ", L, ", got ", N);
  check(1 <= W && W <= S, "crop_samples: wanted 1 to S = ", S, " samples, got ", W);
  if (lengths) {
    const ScalarType dtype = lengths->scalar_type();
    check_tensor("lengths", *lengths, 1, dtype == ScalarType::Long || dtype == ScalarType::Int);
    check(lengths->size(0) == B, "lengths: wanted shape [B] = [", B, "], got [", lengths->size(0), "]");
  }
  return {B, S, T, L, N, W};
}

// Raise where `out` shares memory with an input: crops would be cut out of crops.
void check_apart(const Tensor& out, const char* name, const Tensor& input) {
  if (out.numel() == 0 || input.numel() == 0) return;
  const auto span = [](const Tensor& tensor) {
    int64_t last = 0;
    for (int64_t axis = 0; axis < tensor.dim(); ++axis) last += (tensor.size(axis) - 1) * tensor.stride(axis);
    const auto first = reinterpret_cast<intptr_t>(tensor.const_data_ptr());
    return std::pair<intptr_t, intptr_t>(first, first + (last + 1) * static_cast<int64_t>(tensor.element_size()));
  };
  const auto [out_first, out_end] = span(out);
  const auto [first, end] = span(input);
  check(out_end <= first || end <= out_first, "out: wanted memory apart from ", name, ", got memory that overlaps it");
}

// Not std::string: torch 2.13's own conversion to it leaks a string a call. Checked by hand: the name of torch's macro for
// it changed between 2.12 and 2.13.
Suppress take_suppress(StringHandle handle) {
  const char* text = nullptr;
  check(torch_string_c_str(handle, &text) == TORCH_SUCCESS, "suppress: torch could not read the string");
  const std::string name = text;
  check(torch_delete_string(handle) == TORCH_SUCCESS, "suppress: torch could not free the string");
  check(name == "none" || name == "released" || name == "crop", "suppress: wanted 'none', 'released' or 'crop', got '",
        name, "'");
  return name == "none" ? Suppress::none : name == "crop" ? Suppress::crop : Suppress::released;
}

std::tuple<Tensor, Tensor, Tensor, Tensor> select_crops(Tensor rank_scores, Tensor frame_logits, Tensor wave,
                                                        std::optional<Tensor> lengths, int64_t num_crops,
                                                        int64_t crop_samples, StringHandle suppress_name) {
  const Suppress suppress = take_suppress(suppress_name);
  const Sizes s = check_inputs(rank_scores, frame_logits, wave, lengths, num_crops, crop_samples);
  const Tensor audio = torch::stable::empty({s.B, s.N, s.W}, audio_dtype(wave));
  ask_for_large_pages(audio.mutable_data_ptr(), audio.numel() * static_cast<int64_t>(audio.element_size()));
  // Ordinary stores whatever the size: the page has just been cleared and is in the cache.
  const auto selection = choose_and_cut<false>(s, rank_scores, frame_logits, wave, lengths, suppress, audio);
  return std::tuple_cat(std::tuple(audio), selection);
}

Selection select_crops_into(Tensor rank_scores, Tensor frame_logits, Tensor wave, std::optional<Tensor> lengths,
                            int64_t num_crops, int64_t crop_samples, StringHandle suppress_name, Tensor out) {
  const Suppress suppress = take_suppress(suppress_name);
  const Sizes s = check_inputs(rank_scores, frame_logits, wave, lengths, num_crops, crop_samples);
  check(out.is_cpu(), "out: wanted a tensor on the CPU, as the others are");
  check(out.dim() == 3 && out.size(0) == s.B && out.size(1) == s.N && out.size(2) == s.W,
        "out: wanted shape [B, N, W] = [", s.B, ", ", s.N, ", ", s.W, "]");
  check(out.scalar_type() == audio_dtype(wave), "out: wanted ", name_of(audio_dtype(wave)), " for this wave, got ",
        name_of(out.scalar_type()));
  check(out.is_contiguous(), "out: wanted a contiguous tensor");
  check_apart(out, "rank_scores", rank_scores);
  check_apart(out, "frame_logits", frame_logits);
  check_apart(out, "wave", wave);
  if (lengths) check_apart(out, "lengths", *lengths);
  const bool stream = out.numel() * static_cast<int64_t>(out.element_size()) >= kStreamBytes;
  const auto run = stream ? &choose_and_cut<true> : &choose_and_cut<false>;
  return run(s, rank_scores, frame_logits, wave, lengths, suppress, out);
}

// grad[b, s] = sum over n of grad_audio[b, n, s - starts[b, n]], in float32 from 0 in the order of the crops and
// rounded once; a block of samples at a time, so that the sums stay in the first cache and the output is written once.
template <class T>
void add_crops(const Tensor& grad_audio, const Tensor& starts, const Tensor& grad) {
  constexpr int64_t block = 2048;
  const int64_t B = grad.size(0), S = grad.size(1), N = grad_audio.size(1), W = grad_audio.size(2);
  const int64_t stride_b = grad_audio.stride(0), stride_n = grad_audio.stride(1), stride_w = grad_audio.stride(2);
  const auto* from = static_cast<const T*>(grad_audio.const_data_ptr());
  const auto* first = static_cast<const int64_t*>(starts.const_data_ptr());
  auto* to = static_cast<T*>(grad.mutable_data_ptr());
  torch::stable::parallel_for(0, B * S, kGrain, [&](int64_t begin, int64_t end) {
    float sums[block];
    while (begin < end) {
      const int64_t b = begin / S, s = begin % S, count = std::min({block, S - s, end - begin});
      std::fill_n(sums, count, 0.0f);
      for (int64_t n = 0; n < N; ++n) {
        const int64_t start = first[b * starts.stride(0) + n * starts.stride(1)];
        const int64_t low = std::max(s, start), high = std::min(s + count, start + W);
        if (low >= high) continue;
        const T* source = from + b * stride_b + n * stride_n + (low - start) * stride_w;
        float* target = sums + (low - s);
        if (stride_w == 1) {
          for (int64_t i = 0; i < high - low; ++i) target[i] += static_cast<float>(source[i]);
        } else {  // the gradient of a sum has stride 0
          for (int64_t i = 0; i < high - low; ++i) target[i] += static_cast<float>(source[i * stride_w]);
        }
      }
      for (int64_t i = 0; i < count; ++i) to[begin + i] = static_cast<T>(sums[i]);
      begin += count;
    }
  });
}

Tensor select_crops_backward(Tensor grad_audio, Tensor starts, int64_t wave_samples) {
  check(grad_audio.is_cpu() && starts.is_cpu(), "grad_audio, starts: wanted tensors on the CPU");
  check(grad_audio.dim() == 3, "grad_audio: wanted 3 axes [B, N, W], got ", grad_audio.dim());
  const int64_t B = grad_audio.size(0), N = grad_audio.size(1), W = grad_audio.size(2);
  check(starts.dim() == 2 && starts.size(0) == B && starts.size(1) == N, "starts: wanted shape [B, N] = [", B, ", ", N,
        "]");
  check(starts.scalar_type() == ScalarType::Long, "starts: wanted Long, got ", name_of(starts.scalar_type()));
  check(W <= wave_samples, "wave_samples: wanted at least W = ", W, ", got ", wave_samples);
  for (int64_t b = 0; b < B; ++b) {
    for (int64_t n = 0; n < N; ++n) {
      const auto start = static_cast<const int64_t*>(
          starts.const_data_ptr())[b * starts.stride(0) + n * starts.stride(1)];
      check(0 <= start && start <= wave_samples - W, "starts: wanted 0 to S - W = ", wave_samples - W, ", got ", start);
    }
  }
  const Tensor grad = torch::stable::empty({B, wave_samples}, grad_audio.scalar_type());
  ask_for_large_pages(grad.mutable_data_ptr(), grad.numel() * static_cast<int64_t>(grad.element_size()));
  switch (grad_audio.scalar_type()) {
    case ScalarType::Float: add_crops<float>(grad_audio, starts, grad); break;
    case ScalarType::Half: add_crops<Half>(grad_audio, starts, grad); break;
    case ScalarType::BFloat16: add_crops<BFloat16>(grad_audio, starts, grad); break;
    default: check(false, "grad_audio: got a tensor of ", name_of(grad_audio.scalar_type()), ", which is not taken");
  }
  return grad;
}

STABLE_TORCH_LIBRARY_IMPL(glat, CPU, library) {
  library.impl("select_crops", TORCH_BOX(&select_crops));
  library.impl("select_crops_into", TORCH_BOX(&select_crops_into));
  library.impl("select_crops_backward", TORCH_BOX(&select_crops_backward));
}

}  // namespace
