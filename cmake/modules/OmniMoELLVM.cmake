# Finds LLVM and MLIR, sets the flags of the project, and defines the functions
# that the CMakeLists.txt files use:
#
#   add_omnimoe_library(NAME [NO_LLVM] [SOURCES...]) one folder of lib/ as objects
#   add_omnimoe_tool(NAME SOURCES...)                an executable over all of them
#   omnimoe_link_llvm(TARGET)                        links LLVM and MLIR
#
# Two linkages exist and are never mixed, since two copies of LLVM in a process
# do not know each other's types: shared libMLIR.so and libLLVM.so (default, for
# development), and static archives (OMNIMOE_STATIC, for shipping).

find_package(MLIR 22.1 REQUIRED CONFIG)
message(STATUS "omnimoe: LLVM ${LLVM_PACKAGE_VERSION} in ${LLVM_INSTALL_PREFIX}")

list(APPEND CMAKE_MODULE_PATH "${MLIR_CMAKE_DIR}" "${LLVM_CMAKE_DIR}")
include(TableGen)
include(AddLLVM)
include(AddMLIR)

include_directories(SYSTEM ${LLVM_INCLUDE_DIRS} ${MLIR_INCLUDE_DIRS})
# LLVM_DEFINITIONS is one string; add_definitions corrupts it unless split.
separate_arguments(OMNIMOE_LLVM_DEFINITIONS NATIVE_COMMAND ${LLVM_DEFINITIONS})
add_definitions(${OMNIMOE_LLVM_DEFINITIONS})
link_directories(${LLVM_BUILD_LIBRARY_DIR})

#===------------------------------------------------------------------------===#
# Flags
#===------------------------------------------------------------------------===#

set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_C_STANDARD 99)
# Everything is hidden but what omnimoe.h marks, in both linkages, so that a
# symbol that works in development also works in the shipped library.
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin")
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/lib")
set(CMAKE_ARCHIVE_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/lib")

set(OMNIMOE_CXX_FLAGS -fno-exceptions -fno-rtti -Wall -Wextra
    -Wno-unused-parameter -Wno-missing-field-initializers)
if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  list(APPEND OMNIMOE_CXX_FLAGS -Wno-c++20-extensions)
  if(OMNIMOE_PCH)
    # Without the time stamp a precompiled header can be found in ccache.
    list(APPEND OMNIMOE_CXX_FLAGS "SHELL:-Xclang -fno-pch-timestamp")
  endif()
endif()

# For sources that use LLVM.
set(OMNIMOE_LLVM_FLAGS "SHELL:-include ${PROJECT_SOURCE_DIR}/lib/LLVMLayout.h")

if(OMNIMOE_SANITIZE)
  # LLVM itself is not instrumented: its allocators' user poisoning would be
  # half seen, so run with ASAN_OPTIONS=allow_user_poisoning=0.
  set(OMNIMOE_SANITIZE_FLAGS -fsanitize=${OMNIMOE_SANITIZE} -fno-sanitize=vptr,function
      -fno-omit-frame-pointer -fno-sanitize-recover=all -g1)
  if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    # One run-time for the library and whatever loads it.
    list(APPEND OMNIMOE_SANITIZE_FLAGS -shared-libsan)
    # Tests of several programs find the run-time through this path.
    execute_process(COMMAND ${CMAKE_CXX_COMPILER} -print-runtime-dir
      OUTPUT_VARIABLE OMNIMOE_SANITIZER_DIR OUTPUT_STRIP_TRAILING_WHITESPACE)
    add_link_options(-Wl,-rpath,${OMNIMOE_SANITIZER_DIR})
  endif()
  add_compile_options(${OMNIMOE_SANITIZE_FLAGS})
  add_link_options(${OMNIMOE_SANITIZE_FLAGS})
endif()

find_program(OMNIMOE_CCACHE ccache)
if(OMNIMOE_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_C_COMPILER_LAUNCHER env CCACHE_SLOPPINESS=pch_defines,time_macros ${OMNIMOE_CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_C_COMPILER_LAUNCHER})
endif()

#===------------------------------------------------------------------------===#
# LLVM and MLIR libraries
#===------------------------------------------------------------------------===#

if(OMNIMOE_STATIC)
  include(OmniMoEStatic)
endif()

function(omnimoe_link_llvm target)
  if(OMNIMOE_STATIC)
    omnimoe_link_static_llvm(${target})
  else()
    target_link_libraries(${target} PRIVATE MLIR LLVM)
  endif()
  target_link_libraries(${target} PRIVATE ${CMAKE_DL_LIBS})
endfunction()

#===------------------------------------------------------------------------===#
# Libraries and tools of the project
#===------------------------------------------------------------------------===#

# Headers that TableGen writes; every source waits for them.
add_custom_target(omnimoe-headers)
add_custom_target(omnimoe-doc)

# Adds an mlir_tablegen target (call it after mlir_tablegen lines).
macro(add_omnimoe_tablegen_target target)
  add_public_tablegen_target(${target})
  add_dependencies(omnimoe-headers ${target})
endmacro()

# Writes docs/<path> in the build folder from a .td file.
function(add_omnimoe_doc td output)
  set(LLVM_TARGET_DEFINITIONS ${td})
  get_filename_component(name ${output} NAME_WE)
  tablegen(MLIR ${name}.md ${ARGN})
  set(file ${CMAKE_BINARY_DIR}/docs/${output})
  add_custom_command(OUTPUT ${file}
    COMMAND ${CMAKE_COMMAND} -E copy ${CMAKE_CURRENT_BINARY_DIR}/${name}.md ${file}
    DEPENDS ${CMAKE_CURRENT_BINARY_DIR}/${name}.md)
  add_custom_target(omnimoe-doc-${name} DEPENDS ${file})
  add_dependencies(omnimoe-doc omnimoe-doc-${name})
endfunction()

# The headers of MLIR are most of the compile time, so they are compiled once.
if(OMNIMOE_PCH)
  file(WRITE ${CMAKE_BINARY_DIR}/PrecompiledHeader.cpp.tmp "// Holds the precompiled header.\n")
  configure_file(${CMAKE_BINARY_DIR}/PrecompiledHeader.cpp.tmp
    ${CMAKE_BINARY_DIR}/PrecompiledHeader.cpp COPYONLY)
  add_library(omnimoe_pch OBJECT ${CMAKE_BINARY_DIR}/PrecompiledHeader.cpp)
  target_compile_options(omnimoe_pch PRIVATE ${OMNIMOE_CXX_FLAGS} ${OMNIMOE_LLVM_FLAGS})
  target_precompile_headers(omnimoe_pch PRIVATE
    "$<$<COMPILE_LANGUAGE:CXX>:${PROJECT_SOURCE_DIR}/lib/PrecompiledHeader.h>")
endif()

function(omnimoe_use_llvm_headers target)
  target_compile_options(${target} PRIVATE ${OMNIMOE_CXX_FLAGS} ${OMNIMOE_LLVM_FLAGS})
  add_dependencies(${target} omnimoe-headers)
  if(OMNIMOE_PCH)
    target_precompile_headers(${target} REUSE_FROM omnimoe_pch)
  endif()
endfunction()

# Without sources given, takes the .cpp files of the current folder.
function(add_omnimoe_library name)
  cmake_parse_arguments(ARG "NO_LLVM" "" "" ${ARGN})
  set(sources ${ARG_UNPARSED_ARGUMENTS})
  if(NOT sources)
    file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cpp)
  endif()
  if(NOT sources)
    return()
  endif()
  add_library(${name} OBJECT ${sources})
  if(ARG_NO_LLVM)
    target_compile_options(${name} PRIVATE ${OMNIMOE_CXX_FLAGS})
  else()
    omnimoe_use_llvm_headers(${name})
  endif()
  set_property(GLOBAL APPEND PROPERTY OMNIMOE_LIBRARIES ${name})
endfunction()

# The objects of every library but the C API, to be linked into a program.
function(omnimoe_link_objects target)
  get_property(libraries GLOBAL PROPERTY OMNIMOE_LIBRARIES)
  foreach(library ${libraries})
    target_sources(${target} PRIVATE $<TARGET_OBJECTS:${library}>)
  endforeach()
  omnimoe_link_llvm(${target})
endfunction()

function(add_omnimoe_tool name)
  add_executable(${name} ${ARGN})
  target_compile_options(${name} PRIVATE ${OMNIMOE_CXX_FLAGS} ${OMNIMOE_LLVM_FLAGS})
  add_dependencies(${name} omnimoe-headers)
  omnimoe_link_objects(${name})
endfunction()
