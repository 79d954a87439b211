/* The rows of folders that move with the watch, for the table in config_schema.c, in the
 * words of which they are written. */

#ifndef ND_CONFIG_SCHEMA_FILES_H
#define ND_CONFIG_SCHEMA_FILES_H

#define FILES_ROWS                                                                       \
    {"files", ND_MAPS, RANGE(0, ND_FILES_MAX), LIST(c.files, c.files_n),                 \
     .prose =                                                                            \
         "Further folders whose contents move with the watch, as those of bridges that " \
         "belong to it do without being named here (`bridge-AREA`). The same on all "    \
         "nodes."},                                                                      \
        {"files[].name",                                                                 \
         ND_TEXT,                                                                        \
         .required = true,                                                               \
         RANGE(1, 47),                                                                   \
         AT(struct nd_config_files, name),                                               \
         .check = check_word,                                                            \
         .prose = "Name of the set: `vagtctl files history NAME`."},                     \
    {                                                                                    \
        "files[].dir", ND_TEXT,                                                          \
            .required = true, RANGE(2, 255), AT(struct nd_config_files, dir),            \
            .check = check_data_dir,                                                     \
            .prose =                                                                     \
                "The folder, the same path on each host: at most 256 files and 64 "      \
                "MiB. Laid out when the watch is taken, before `resources` are "         \
                "started."                                                               \
    }

#endif /* ND_CONFIG_SCHEMA_FILES_H */
