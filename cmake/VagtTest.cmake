# vagt_test(name [SOURCES a.c ...] [LIBS x ...] [TIMEOUT s] [LABELS l ...])
# One cmocka program from name.c beside the caller's CMakeLists.txt.
find_package(cmocka QUIET)

function(vagt_test name)
  cmake_parse_arguments(T "" "TIMEOUT" "SOURCES;LIBS;LABELS" ${ARGN})
  if(NOT T_TIMEOUT)
    set(T_TIMEOUT 60)
  endif()
  add_executable(${name} ${name}.c ${T_SOURCES})
  target_link_libraries(${name} PRIVATE sy_flags ${T_LIBS} cmocka)
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES TIMEOUT ${T_TIMEOUT} LABELS "${T_LABELS}")
endfunction()

# vagt_fuzz(name [SOURCES ...] [LIBS ...]): a libFuzzer program, only with VAGT_FUZZ.
# Without it the same file becomes a test that replays tests/fuzz/corpus/<name>/.
function(vagt_fuzz name)
  cmake_parse_arguments(F "" "" "SOURCES;LIBS" ${ARGN})
  set(corpus ${CMAKE_CURRENT_SOURCE_DIR}/corpus/${name})
  if(VAGT_FUZZ)
    add_executable(${name} ${name}.c ${F_SOURCES})
    target_compile_options(${name} PRIVATE -fsanitize=fuzzer)
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
    add_test(NAME ${name} COMMAND ${name} -max_total_time=60 -timeout=5
                                  ${CMAKE_CURRENT_BINARY_DIR}/corpus-${name} ${corpus})
    file(MAKE_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/corpus-${name})
  else()
    add_executable(${name} ${name}.c replay.c ${F_SOURCES})
    add_test(NAME ${name} COMMAND ${name} ${corpus})
  endif()
  target_link_libraries(${name} PRIVATE sy_flags ${F_LIBS})
  set_tests_properties(${name} PROPERTIES TIMEOUT 120 LABELS fuzz)
endfunction()
