/*
 * Log lines on stderr (or the --log file): "pipit: OBJECT: text". Thread safe. What a guest can trigger is logged
 * through log_guest, which is rate limited per call site.
 */
#ifndef PIPIT_BASE_LOG_H
#define PIPIT_BASE_LOG_H

#include <stdint.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* Messages above `level` are dropped; the default is LOG_INFO. */
void log_set_level(enum log_level level);
/* Program name at the start of each line (not copied); the default is "pipit". */
void log_set_name(const char *name);
/* Sends lines to `fd` instead of 2; the log does not own it. */
void log_set_fd(int fd);

__attribute__((format(printf, 3, 4))) void log_print(enum log_level level, const char *obj, const char *fmt, ...);

#define log_error(obj, ...) log_print(LOG_ERROR, obj, __VA_ARGS__)
#define log_warn(obj, ...) log_print(LOG_WARN, obj, __VA_ARGS__)
#define log_info(obj, ...) log_print(LOG_INFO, obj, __VA_ARGS__)
#define log_debug(obj, ...) log_print(LOG_DEBUG, obj, __VA_ARGS__)

/* A call site's budget: ten lines in any ten seconds, then one line that says how many were left out. */
struct log_ratelimit {
    uint64_t window_start_ns;
    uint32_t printed;
    uint32_t missed;
};
__attribute__((format(printf, 3, 4))) void log_print_limited(struct log_ratelimit *rl, const char *obj, const char *fmt,
                                                             ...);
#define log_guest(obj, ...)                                                                                            \
    do {                                                                                                               \
        static struct log_ratelimit _rl;                                                                               \
        log_print_limited(&_rl, obj, __VA_ARGS__);                                                                     \
    } while (0)

#endif
