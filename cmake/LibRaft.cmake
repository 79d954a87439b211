# vagt::raft          libraft 0.22, with what it needs to link
# vagt::raft_fixture  the same, only there if its test fixture (raft/fixture.h) is
#
# Two sources, in this order:
#   the folder deploy/setup.sh filled on Debian 12 (static; VAGT_DEPS_DIR, build/deps)
#   the system's package, on Debian 13 and later
# Anything but 0.22.x is refused: 0.15 can lose committed entries (tests/figure8.c), and
# others have another raft_step().

include_guard(GLOBAL)
include(CheckCSourceCompiles)
find_package(PkgConfig REQUIRED)

if(DEFINED ENV{VAGT_DEPS_DIR})
  set(_vagt_deps "$ENV{VAGT_DEPS_DIR}")
else()
  set(_vagt_deps "${CMAKE_CURRENT_LIST_DIR}/../build/deps")
endif()
cmake_path(NORMAL_PATH _vagt_deps)
set(VAGT_DEPS_DIR "${_vagt_deps}" CACHE PATH "Where deploy/setup.sh put libraft")

function(_vagt_refuse_raft version where)
  message(FATAL_ERROR
    "libraft ${version} in ${where} will not do: vagt needs 0.22.x. Earlier versions can "
    "lose committed entries, later ones are untried. Run deploy/setup.sh to get 0.22.1.")
endfunction()

# The part of libraft's C library that Debian 12 lacks, see isoc23.c.
function(_vagt_add_isoc23)
  set(CMAKE_REQUIRED_QUIET ON)
  check_c_source_compiles("
    #include <features.h>
    #if !__GLIBC_PREREQ(2, 38)
    #error older
    #endif
    int main(void) { return 0; }" VAGT_HAVE_ISOC23)
  if(NOT VAGT_HAVE_ISOC23)
    add_library(vagt_isoc23 STATIC "${CMAKE_CURRENT_FUNCTION_LIST_DIR}/isoc23.c")
    target_link_libraries(vagt_raft INTERFACE vagt_isoc23)
  endif()
endfunction()

function(_vagt_raft_from_deps dir)
  file(STRINGS "${dir}/stamp" line REGEX "^version=")
  string(REPLACE "version=" "" version "${line}")
  if(NOT version MATCHES "^0\\.22\\.")
    _vagt_refuse_raft("${version}" "${dir}")
  endif()
  pkg_check_modules(VAGT_RAFT_NEEDS REQUIRED IMPORTED_TARGET GLOBAL libuv>=1.44 liblz4)
  add_library(vagt_raft STATIC IMPORTED GLOBAL)
  set_target_properties(vagt_raft PROPERTIES
    IMPORTED_LOCATION "${dir}/lib/libraft.a"
    INTERFACE_INCLUDE_DIRECTORIES "${dir}/include")
  _vagt_add_isoc23()
  target_link_libraries(vagt_raft INTERFACE PkgConfig::VAGT_RAFT_NEEDS)
  set(VAGT_RAFT_VERSION "${version}" PARENT_SCOPE)
  message(STATUS "libraft ${version} (static, ${dir})")
endfunction()

function(_vagt_raft_from_system)
  pkg_check_modules(VAGT_RAFT_SYSTEM IMPORTED_TARGET GLOBAL raft)
  if(NOT VAGT_RAFT_SYSTEM_FOUND)
    message(FATAL_ERROR
      "libraft is missing: neither is it in ${VAGT_DEPS_DIR}/libraft nor is the package "
      "libraft-dev installed. Run deploy/setup.sh, which gets it on Debian 12 and 13.")
  endif()
  if(NOT VAGT_RAFT_SYSTEM_VERSION MATCHES "^0\\.22\\.")
    _vagt_refuse_raft("${VAGT_RAFT_SYSTEM_VERSION}" "the system")
  endif()
  pkg_check_modules(VAGT_RAFT_NEEDS REQUIRED IMPORTED_TARGET GLOBAL libuv>=1.44)
  add_library(vagt_raft INTERFACE IMPORTED GLOBAL)
  target_link_libraries(vagt_raft INTERFACE
    PkgConfig::VAGT_RAFT_SYSTEM PkgConfig::VAGT_RAFT_NEEDS)
  set(VAGT_RAFT_VERSION "${VAGT_RAFT_SYSTEM_VERSION}" PARENT_SCOPE)
  message(STATUS "libraft ${VAGT_RAFT_SYSTEM_VERSION} (the system's)")
endfunction()

if(EXISTS "${VAGT_DEPS_DIR}/libraft/stamp")
  _vagt_raft_from_deps("${VAGT_DEPS_DIR}/libraft")
  set(_vagt_raft_headers "${VAGT_DEPS_DIR}/libraft/include")
else()
  _vagt_raft_from_system()
  set(_vagt_raft_headers ${VAGT_RAFT_SYSTEM_INCLUDE_DIRS} /usr/include)
endif()
add_library(vagt::raft ALIAS vagt_raft)

find_file(VAGT_RAFT_FIXTURE_H raft/fixture.h PATHS ${_vagt_raft_headers} NO_DEFAULT_PATH)
mark_as_advanced(VAGT_RAFT_FIXTURE_H)
if(VAGT_RAFT_FIXTURE_H)
  add_library(vagt::raft_fixture ALIAS vagt_raft)
endif()
