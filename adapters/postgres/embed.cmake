# Writes the migrations into a C file: cmake -DOUT=x.c -DDIR=deploy/schema -P embed.cmake
# As bytes, since C guarantees string literals of 4,095 characters only.
file(GLOB files ${DIR}/[0-9][0-9][0-9]_*.sql)
list(SORT files)
set(data "")
set(rows "")
set(last 0)
foreach(file ${files})
  get_filename_component(stem ${file} NAME_WE)
  string(REGEX MATCH "^0*([1-9][0-9]*)_(.*)$" ok ${stem})
  if(NOT ok)
    message(FATAL_ERROR "${file}: must be named NNN_name.sql, from 001")
  endif()
  set(version ${CMAKE_MATCH_1})
  set(name ${CMAKE_MATCH_2})
  math(EXPR want "${last} + 1")
  if(NOT version EQUAL want)
    message(FATAL_ERROR "${file}: migrations must be numbered without gaps")
  endif()
  set(last ${version})
  file(READ ${file} hex HEX)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
  string(REGEX REPLACE
         "(0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,)" "\\1\n" bytes
         "${bytes}")
  string(APPEND data "static const unsigned char sql_${version}[] = {\n${bytes}0x00};\n\n")
  string(APPEND rows "    {${version}, \"${name}\", (const char *)sql_${version}},\n")
endforeach()
file(WRITE ${OUT} "/* Generated from deploy/schema. */\n\n"
  "#include \"adapters/postgres/postgres.h\"\n\n${data}"
  "const struct ad_pg_migration ad_pg_migrations[] = {\n${rows}    {0, NULL, NULL}};\n")
