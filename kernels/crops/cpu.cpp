// CPU kernels of select_crops, LibTorch stable ABI.
#include <torch/csrc/stable/library.h>
