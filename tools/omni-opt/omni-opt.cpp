//===- omni-opt.cpp - The omnimoe optimizer driver ------------------------===//

#include "mlir/InitAllPasses.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"
#include "omnimoe/Pipelines/Pipelines.h"

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  mlir::omnimoe::registerAllDialects(registry);
  mlir::registerAllPasses();
  mlir::omnimoe::registerPassesAndPipelines();
  return mlir::asMainReturnCode(
      mlir::MlirOptMain(argc, argv, "omnimoe optimizer driver\n", registry));
}
