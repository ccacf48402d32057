# Static linkage (OMNIMOE_STATIC): one library or program that needs only libc
# and libm (and libz and libzstd, where the system has no archives of them).
#
# Nearly every exported MLIR archive also names the LLVM dylib in its link
# interface. Linked as they are, a process would hold LLVM twice and abort with
# "attach an interface to an unregistered operation", so the dylibs are taken
# out of all interfaces and LLVM's archives are listed by component.

foreach(target ${MLIR_EXPORTED_TARGETS} LLVMSupport)
  if(NOT TARGET ${target})
    continue()
  endif()
  get_target_property(libraries ${target} INTERFACE_LINK_LIBRARIES)
  if(libraries)
    list(FILTER libraries EXCLUDE REGEX "^(LLVM|MLIR)$|libz3|^Z3::|^-lz3$")
    # In a static archive a private dependency hides in $<LINK_ONLY:...>.
    list(FILTER libraries EXCLUDE REGEX "LINK_ONLY:(LLVM|MLIR|.*z3.*)>")
    set_target_properties(${target} PROPERTIES INTERFACE_LINK_LIBRARIES "${libraries}")
  endif()
endforeach()

# LLVM's support library names the shared libraries of zlib and zstd.
find_library(OMNIMOE_ZLIB_ARCHIVE libz.a)
find_library(OMNIMOE_ZSTD_ARCHIVE libzstd.a)
get_target_property(libraries LLVMSupport INTERFACE_LINK_LIBRARIES)
if(OMNIMOE_ZLIB_ARCHIVE)
  string(REPLACE "ZLIB::ZLIB" "${OMNIMOE_ZLIB_ARCHIVE}" libraries "${libraries}")
endif()
if(OMNIMOE_ZSTD_ARCHIVE)
  string(REPLACE "zstd::libzstd_shared" "${OMNIMOE_ZSTD_ARCHIVE}" libraries "${libraries}")
endif()
set_target_properties(LLVMSupport PROPERTIES INTERFACE_LINK_LIBRARIES "${libraries}")

llvm_map_components_to_libnames(OMNIMOE_LLVM_ARCHIVES
  core support analysis asmparser bitreader bitwriter irreader passes
  scalaropts instcombine vectorize transformutils ipo target mc mcdisassembler
  orcjit orctargetprocess jitlink runtimedyld executionengine object
  frontendopenmp perfjitevents targetparser
  native nativecodegen nvptxcodegen nvptxdesc nvptxinfo)

# MLIRRegisterAllPasses names every dialect and pass; the linker keeps what is
# reached.
set(OMNIMOE_MLIR_ARCHIVES
  MLIRRegisterAllPasses MLIROptLib MLIRNVVMTarget
  MLIRBuiltinToLLVMIRTranslation MLIRGPUToLLVMIRTranslation
  MLIRLLVMToLLVMIRTranslation MLIRNVVMToLLVMIRTranslation
  MLIROpenMPToLLVMIRTranslation)

function(omnimoe_link_static_llvm target)
  target_link_libraries(${target} PRIVATE ${OMNIMOE_MLIR_ARCHIVES} ${OMNIMOE_LLVM_ARCHIVES})
  target_link_options(${target} PRIVATE
    -Wl,--gc-sections -Wl,--icf=all -Wl,--exclude-libs,ALL -Wl,--strip-all
    -static-libstdc++ -static-libgcc)
endfunction()
