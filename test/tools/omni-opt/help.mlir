// Each pass of the descriptions has a flag, with its options and its summary.
// RUN: sed -n 's/^def .* Pass<"\([^"]*\)".*/CHECK-DAG: --\1{{ }}/p' \
// RUN:   %omnimoe_src/include/omnimoe/Dialect/OmniMoE/Transforms/*Passes.td \
// RUN:   %omnimoe_src/include/omnimoe/Conversion/*Passes.td > %t.passes
// RUN: omni-opt --help > %t.help
// RUN: FileCheck %t.passes < %t.help
// RUN: FileCheck %s < %t.help

// CHECK:      Available Dialects: {{.*}}omnimoe
// CHECK:      --convert-linalg-to-vector - Lower bufferized linalg operations
// CHECK-NEXT:   --vector-bits=<long>
// CHECK:      --convert-omnimoe-to-vector - Lower bufferized omnimoe operations
// CHECK-NEXT:   --vector-bits=<long>
// CHECK:      --omnimoe-select-schedule - Write the schedule of every expert block
// CHECK-NEXT:   --deterministic
// CHECK-NEXT:   --measured=<string>
// CHECK-NEXT:   --schedule=<string>
// CHECK-NEXT:   --threads=<long>
// CHECK:      --omnimoe-tile - Cut the program along its tokens
// CHECK-NEXT:   --threads=<long>
// CHECK-NEXT:   --token-tile=<long>
// CHECK:      --omnimoe-verify-stage
// CHECK-NEXT:   --stage=<string>

// The pipelines, each option of which has a test of its own in test/Pipelines.
// CHECK:      --omnimoe-to-llvm
// CHECK-NEXT:   --measured=<string>
// CHECK-NEXT:   --schedule=<string>
// CHECK-NEXT:   --threads=<long>
// CHECK-NEXT:   --token-tile=<long>
// CHECK-NEXT:   --vector-bits=<long>
// CHECK:      --omnimoe-to-nvvm
// CHECK-NEXT:   --chip=<string>
// CHECK-NEXT:   --concurrent
// CHECK-NEXT:   --deterministic
// CHECK-NEXT:   --features=<string>
// CHECK-NEXT:   --format=<string>
// CHECK-NEXT:   --measured=<string>
// CHECK-NEXT:   --overlap
// CHECK-NEXT:   --schedule=<string>
