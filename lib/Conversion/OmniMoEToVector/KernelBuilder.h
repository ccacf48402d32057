//===- KernelBuilder.h - Moved to lib/Conversion/Utils -----------*- C++
//-*-===//

#include "Utils/KernelBuilder.h"
